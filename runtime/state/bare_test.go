// SPDX-License-Identifier: Apache-2.0

package state

// The bare table is what the engine's is measured against: linear probing over pages of 256 slots
// with a bitmap of the slots in use, and nothing else that a backend has to do.
const bareSlots = 256

type barePage struct {
	slots [bareSlots]struct{ k, v int64 }
	used  [bareSlots / 64]uint64
}

type bareTable struct {
	pages  []*barePage
	sealed []bool
	mask   uint64
	n      int
}

func newBareTables(n int) []*bareTable {
	tabs := make([]*bareTable, n)
	for i := range tabs {
		tabs[i] = newBareTable(bareSlots)
	}
	return tabs
}

func newBareTable(slots int) *bareTable {
	t := &bareTable{mask: uint64(slots - 1), sealed: make([]bool, slots/bareSlots)}
	for range slots / bareSlots {
		t.pages = append(t.pages, new(barePage))
	}
	return t
}

func (t *bareTable) inc(k int64, h uint64) {
	for i := h >> 16 & t.mask; ; i = (i + 1) & t.mask {
		pi, o := i/bareSlots, i%bareSlots
		p := t.pages[pi]
		used := p.used[o/64]>>(o%64)&1 == 1
		if used && p.slots[o].k != k {
			continue
		}
		if t.sealed[pi] {
			c := *p
			t.pages[pi], t.sealed[pi], p = &c, false, &c
		}
		p.slots[o].v++
		if used {
			return
		}
		p.used[o/64] |= 1 << (o % 64)
		p.slots[o].k = k
		if t.n++; uint64(t.n)*10 > (t.mask+1)*7 {
			t.grow()
		}
		return
	}
}

func (t *bareTable) grow() {
	nt := newBareTable(int(t.mask+1) * 2)
	for _, p := range t.pages {
		for o := range p.slots {
			if p.used[o/64]>>(o%64)&1 == 0 {
				continue
			}
			i := HashInt64(p.slots[o].k) >> 16 & nt.mask
			for nt.pages[i/bareSlots].used[i%bareSlots/64]>>(i%64)&1 == 1 {
				i = (i + 1) & nt.mask
			}
			np := nt.pages[i/bareSlots]
			np.used[i%bareSlots/64] |= 1 << (i % 64)
			np.slots[i%bareSlots] = p.slots[o]
		}
	}
	nt.n = t.n
	*t = *nt
}
