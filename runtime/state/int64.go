// SPDX-License-Identifier: Apache-2.0

package state

import "unsafe"

// RefInt64 returns the value of key for reading and writing. A key that is absent is added with a value of zeroes.
func (t *Table) RefInt64(key int64, hash uint64) (val unsafe.Pointer, created bool) {
	tag := uint64(key ^ emptyKey)
	if tag == 0 {
		t.want(!t.logged, "RefInt64")
		p, created := t.refSpecial(hash)
		return unsafe.Add(p, t.valOff), created
	}
	g := &t.groups[t.index(hash)]
	r := g.at(hash)
	i := uint32(hash>>slotBits) & r.mask
	for {
		p := unsafe.Add(r.ptr, uintptr(i)*t.stride)
		w := *(*uint64)(p)
		if w == tag {
			if r.epoch != t.epoch {
				t.unseal(g, r)
				p = unsafe.Add(r.ptr, uintptr(i)*t.stride)
			}
			return unsafe.Add(p, t.valOff), false
		}
		if w == 0 {
			t.want(t.ints && !t.logged, "RefInt64")
			return unsafe.Add(t.insert(g, tag, hash), t.valOff), true
		}
		i = (i + 1) & r.mask
	}
}

// GetInt64 returns the value of key for reading, or nil when the key is absent.
func (t *Table) GetInt64(key int64, hash uint64) unsafe.Pointer {
	t.want(t.ints && !t.logged, "GetInt64")
	if _, _, p := t.findInt64(key, hash); p != nil {
		return unsafe.Add(p, t.valOff)
	}
	return nil
}

// findInt64 returns the slot of key, nil when it is absent, and where it is.
func (t *Table) findInt64(key int64, hash uint64) (*group, *pageRef, unsafe.Pointer) {
	tag := uint64(key ^ emptyKey)
	if tag == 0 {
		return nil, &t.special, t.special.ptr
	}
	g := &t.groups[t.index(hash)]
	r := g.at(hash)
	i := uint32(hash>>slotBits) & r.mask
	for {
		p := unsafe.Add(r.ptr, uintptr(i)*t.stride)
		w := *(*uint64)(p)
		if w == tag {
			return g, r, p
		}
		if w == 0 {
			return g, r, nil
		}
		i = (i + 1) & r.mask
	}
}

// DeleteInt64 removes key and says whether it was there.
func (t *Table) DeleteInt64(key int64, hash uint64) bool {
	g, r, p := t.findInt64(key, hash)
	if p == nil {
		return false
	}
	var ref uint64
	if t.logged {
		ref = slotRef(p)
	}
	if g == nil {
		t.dropSpecial()
	} else {
		t.remove(g, r, p)
	}
	if t.logged {
		t.kill(ref)
		t.compactPending()
	}
	return true
}

// PrefetchInt64 touches the slots of keys, so that the cache misses of a batch overlap. It changes nothing.
func (t *Table) PrefetchInt64(keys []int64, hashes []uint64) {
	t.prefetch(hashes[:len(keys)])
}

func (t *Table) prefetch(hashes []uint64) {
	sum := uint64(0)
	for _, h := range hashes {
		r := t.groups[t.index(h)].at(h)
		sum += *(*uint64)(unsafe.Add(r.ptr, uintptr(uint32(h>>slotBits)&r.mask)*t.stride))
	}
	t.sink = sum
}

// addChunk is how many records AddInt64s looks up before it updates them.
const addChunk = 64

// AddInt64s adds deltas[i] to the first eight bytes of the value of keys[i], for all i in order; nil deltas stand
// for ones. A key that is absent counts as zero. When out is not nil, out[i] is the sum after that addition.
// The state has integer keys and values of a fixed size.
func (t *Table) AddInt64s(keys []int64, hashes []uint64, deltas, out []int64) {
	t.want(t.ints && !t.logged, "AddInt64s")
	for len(keys) > 0 {
		n := min(addChunk, len(keys))
		var d, o []int64
		if deltas != nil {
			d, deltas = deltas[:n], deltas[n:]
		}
		if out != nil {
			o, out = out[:n], out[n:]
		}
		t.addInt64s(keys[:n], hashes[:n], d, o)
		keys, hashes = keys[n:], hashes[n:]
	}
}

// addInt64s does at most addChunk records. The first pass finds the home slots and touches them, with nothing that
// depends on what it loads; the second pass updates. When a page grew, the first pass is done again for the rest.
func (t *Table) addInt64s(keys []int64, hashes []uint64, deltas, out []int64) {
	var refs [addChunk]*pageRef
	var places [addChunk]uint32
	epoch, stride, groups := t.epoch, t.stride, t.groups
	anyMax, gmask, first := t.anyMax, t.gmask, t.first
	delta := int64(1)
	hashes = hashes[:len(keys)]
	for done := 0; done < len(keys); {
		sum := uint64(0)
		for i := done; i < len(keys); i++ {
			h := hashes[i]
			g := h & gmask
			if anyMax {
				g = h % (gmask + 1)
			}
			r := groups[g-first].at(h)
			place := uint32(h>>slotBits) & r.mask
			sum += *(*uint64)(unsafe.Add(r.ptr, uintptr(place)*stride))
			refs[i&(addChunk-1)] = r
			places[i&(addChunk-1)] = place
		}
		t.sink = sum
		for grown := t.grown; done < len(keys) && grown == t.grown; done++ {
			tag := uint64(keys[done] ^ emptyKey)
			r, place := refs[done&(addChunk-1)], places[done&(addChunk-1)]
			p := unsafe.Add(r.ptr, uintptr(place)*stride)
			w := *(*uint64)(p)
			for w != tag && w != 0 {
				place = (place + 1) & r.mask
				p = unsafe.Add(r.ptr, uintptr(place)*stride)
				w = *(*uint64)(p)
			}
			if w == 0 || r.epoch != epoch {
				t.tellNext(refs[done:len(keys)])
				p, _ = t.RefInt64(keys[done], hashes[done])
			} else {
				p = unsafe.Add(p, 8)
			}
			if deltas != nil {
				delta = deltas[done]
			}
			sum := *(*int64)(p) + delta
			*(*int64)(p) = sum
			if out != nil {
				out[done] = sum
			}
		}
	}
}

// tellNext tells the plan, if there is one, which page will be encoded after the first of these, before it changes.
func (t *Table) tellNext(refs []*pageRef) {
	if t.plan == nil || refs[0].epoch == t.epoch {
		return
	}
	for _, r := range refs[1:] {
		if r.epoch != t.epoch {
			t.plan.next = r.ptr
			return
		}
	}
}

// refSpecial returns the slot of emptyKey, adding it when it is absent.
func (t *Table) refSpecial(hash uint64) (unsafe.Pointer, bool) {
	created := t.special.ptr == nil
	switch {
	case created:
		t.special = pageRef{ptr: t.m.alloc(int(t.stride), true), epoch: t.epoch, count: 1}
		t.specialG = int(t.index(hash))
		t.n++
	case t.special.epoch != t.epoch:
		g := group{dir: unsafe.Pointer(&t.special), shift: 63, pages: 1}
		t.unseal(&g, &t.special)
	}
	return t.special.ptr, created
}

func (t *Table) dropSpecial() {
	t.retire(t.special)
	t.special = pageRef{}
	t.n--
}
