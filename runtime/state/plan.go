// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

// followMin is from which length on it is faster to work a checksum out from those of the parts than from the bytes.
const followMin = 8 << 10

// plan is the layout of the only file of a snapshot, made at the seal. So its pages can be encoded in any order: by the writer of the snapshot, and by
// the owner of the tables, who encodes a page into the file instead of copying it before it changes. It is for tables whose entries are all of
// one size.
type plan struct {
	// buf has the header, and room for the whole file. room is how many bytes of memory the plan takes in all.
	buf    []byte
	room   int
	tables []*tablePlan
	// end is where the last section ends.
	end int

	// packed has the widths of each state, nil if none is packed.
	packed []widths

	mu       sync.Mutex
	finished bool      // guarded by mu
	file     []byte    // guarded by mu; what was finished
	sections []Section // guarded by mu; without checksums until finished
	crc      uint32    // guarded by mu; of the whole file
}

// tablePlan is the part of a plan that holds the pages of one table.
type tablePlan struct {
	s      *Snapshot
	buf    []byte
	stride int
	// entry is how many bytes an entry takes in the file, widths how it is packed.
	entry  int
	widths widths
	// pairs encodes if entries are pairs.
	pairs pairs
	// next is the page that the owner will encode after another, nil if it isn't known. It is the owner's.
	next unsafe.Pointer
	// lens are, if entries can be packed, those of the page's, each written by the one who encodes the page; learn is told of them.
	lens  []lens
	learn *experience
	pages []snapPage
	// states says of each page how far it is, to be used atomically.
	states []uint32
	// sums are the checksums of the pages' entries, each written by the one who encodes the page.
	sums []uint32
	// shifts is what a checksum is multiplied with when a page follows that has so many entries; 0 where that isn't worked out yet.
	shifts []uint32
}

// The states of a page in a plan.
const (
	pageSealed  = iota // as it was sealed, not looked at yet
	pageClaimed        // being encoded by one goroutine; it must not change
	pageEncoded        // not needed any more
	pageWide           // it has entries that can't be packed as planned; it must not change
	pageDamaged        // it had another number of entries than it should have
)

// plannedSize returns how large the file of a snapshot can be, and 0 if the snapshot is not to be planned: it is empty, has entries whose size isn't known before
// they are encoded, or takes several files.
func (m *Memory) plannedSize() int {
	entries, sections := 0, 0
	for _, t := range m.tables {
		if t.n > 0 && t.logged {
			return 0
		}
		entries += t.n * int(t.stride)
		sections += min(t.n, len(t.groups))
	}
	header := fixedHeader + 4
	for _, t := range m.tables {
		header += minStateHeader + len(t.desc.Name) + len(t.desc.KeyType) + len(t.desc.ValueType)
	}
	if entries == 0 || header+entries >= m.opts.PartSize {
		return 0
	}
	return header + entries + sections*indexEntrySize + trailerSize
}

// layOut plans the file. When the pages don't have as many entries as their groups, nothing is planned.
func (s *Snapshot) layOut(size int) {
	buf := s.m.takeBuffer(size)
	room := cap(buf)
	p := &plan{room: room, tables: make([]*tablePlan, len(s.tables)), packed: s.packing()}
	p.buf = appendHeader(buf, s.m.opts.MaxParallelism, s.descriptors(), contentsOf{packed: p.packed})
	p.end = len(p.buf)
	groups, _ := s.extent()
	fits := true
	for g := range groups {
		for i := range s.tables {
			if t := &s.tables[i]; g < len(t.groups) && t.groups[g].count > 0 {
				start := p.end
				p.end = t.layOut(g, start)
				count := t.groups[g].count
				fits = fits && p.end-start == count*t.widths.entry(int(t.stride))
				p.sections = append(p.sections, Section{
					State: i, Group: s.m.opts.First + g, Offset: int64(start), Length: int64(p.end - start), Count: count,
				})
			}
		}
	}
	if !fits || p.end+len(p.sections)*indexEntrySize+trailerSize > cap(p.buf) {
		s.m.giveBuffer(buf, room)
		return
	}
	for i := range s.tables {
		t := &s.tables[i]
		p.tables[i] = &tablePlan{
			s: s, buf: p.buf[:p.end], stride: int(t.stride), entry: t.widths.entry(int(t.stride)), widths: t.widths, pairs: wholePairs, pages: t.pages,
			states: make([]uint32, len(t.pages)), sums: make([]uint32, len(t.pages)),
		}
		if t.widths.packed() {
			p.tables[i].pairs = newPairs(t.widths)
		}
		if t.learn {
			p.tables[i].lens, p.tables[i].learn = make([]lens, len(t.pages)), &s.m.tables[i].experience
		}
		s.m.tables[i].plan = p.tables[i]
	}
	s.plan = p
}

// packing decides how the entries of each table are packed. It returns nil if none are.
func (s *Snapshot) packing() []widths {
	list, some := make([]widths, len(s.tables)), false
	for i := range s.tables {
		if s.tables[i].n == 0 {
			continue
		}
		t := &s.tables[i]
		t.widths, t.learn = s.m.tables[i].widths()
		list[i] = t.widths
		some = some || t.widths.packed()
	}
	if !some {
		return nil
	}
	return list
}

// layOut gives the pages of group g their places from at on, and returns where they end.
func (s *tableSnapshot) layOut(g, at int) int {
	if s.special != nil && s.specialG == g {
		at += int(s.stride)
	}
	pages := s.pagesOf(g)
	for i := range pages {
		pages[i].at = uint32(at)
		at += int(pages[i].count) * s.widths.entry(int(s.stride))
	}
	return at
}

// encoded says whether the page of r is in the file of the snapshot, and may change. It encodes the page if nobody has begun to.
func (t *tablePlan) encoded(s *Snapshot, r *pageRef) bool {
	if t == nil || t.s != s || int(r.number) >= len(t.pages) || t.pages[r.number].ptr != r.ptr {
		return false
	}
	i := int(r.number)
	next := t.next
	t.next = nil
	return t.encode(i, next) || atomic.LoadUint32(&t.states[i]) == pageEncoded
}

// encode encodes page i, and says whether it did: not if somebody else has, or has begun to. A page that will be next, nil if it isn't known, is fetched meanwhile.
func (t *tablePlan) encode(i int, next unsafe.Pointer) bool {
	if !atomic.CompareAndSwapUint32(&t.states[i], pageSealed, pageClaimed) {
		return false
	}
	p := &t.pages[i]
	to := t.buf[p.at:][: int(p.count)*t.entry : int(p.count)*t.entry]
	outcome := uint32(pageEncoded)
	if t.stride == pairSize {
		written, keys, vals := t.pairs.pack(to, *p, next)
		switch {
		case written != len(to):
			outcome = pageDamaged
		case t.widths.packed() && !t.widths.hold(keys, vals):
			outcome = pageWide
		}
		if t.lens != nil {
			t.lens[i] = lensOf(keys, vals)
		}
		if outcome == pageWide {
			t.learn.add(t.lens[i]) // now: the snapshot may never be finished, and others are sealed before it is
		}
	} else if !putEntries(to, *p, t.stride) {
		outcome = pageDamaged
	}
	t.sums[i] = crc32.Checksum(to, castagnoli) // while it is in the cache
	atomic.StoreUint32(&t.states[i], outcome)
	return outcome == pageEncoded
}

// putEntries writes the entries of a page with integer keys and values of any fixed size to b, and says whether they fill it.
func putEntries(b []byte, page snapPage, stride int) bool {
	for i := 0; i <= int(page.mask) && len(b) > 0; i++ {
		slot := unsafe.Slice((*byte)(unsafe.Add(page.ptr, i*stride)), stride)
		if tag := *(*uint64)(unsafe.Pointer(&slot[0])); tag != 0 {
			binary.LittleEndian.PutUint64(b, tag^emptyTag)
			copy(b[8:], slot[8:])
			b = b[stride:]
		}
	}
	return len(b) == 0
}

// writePlanned encodes what the owner hasn't, and stores the file.
func (s *Snapshot) writePlanned(ctx context.Context, w FileWriter) ([]File, error) {
	done := 0
	for _, t := range s.plan.tables {
		for i := range t.pages {
			var next unsafe.Pointer
			if i+1 < len(t.pages) {
				next = t.pages[i+1].ptr
			}
			if !t.encode(i, next) {
				continue
			}
			if done += int(t.pages[i].count) * t.entry; done < yieldBytes {
				continue
			}
			done = 0
			runtime.Gosched()
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("writing keyed state: %w", err)
			}
		}
	}
	for i, t := range s.plan.tables {
		if err := t.wait(ctx); err != nil {
			return nil, fmt.Errorf("writing state %q: %w", s.tables[i].desc.Name, err)
		}
	}
	e := s.newEncoder(w.WriteFile)
	data, sections, crc := s.plan.finish(s)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("writing keyed state: %w", err)
	}
	if err := e.storeFile(ctx, data, sections, crc); err != nil {
		return nil, fmt.Errorf("writing keyed state: %w", err)
	}
	s.m.settle(data)
	return e.files, nil
}

// wait returns when all pages are encoded. All have been claimed; what the owner claimed takes it a microsecond.
func (t *tablePlan) wait(ctx context.Context) error {
	for i := range t.states {
		state := atomic.LoadUint32(&t.states[i])
		for ; state == pageClaimed; state = atomic.LoadUint32(&t.states[i]) {
			if err := ctx.Err(); err != nil {
				return err
			}
			runtime.Gosched()
		}
		if state != pageEncoded && state != pageWide {
			return fmt.Errorf("page %d of %d doesn't have the %d entries that it was sealed with", i, len(t.states), t.pages[i].count)
		}
	}
	return nil
}

// finish completes the file, once, when all pages are encoded. It returns its bytes, its sections and its checksum.
func (p *plan) finish(s *Snapshot) ([]byte, []Section, uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished {
		return p.file, p.sections, p.crc
	}
	p.finished = true
	wide := false
	for _, t := range p.tables {
		wide = t.learned() || wide
	}
	if wide {
		p.unpack(s)
		return p.file, p.sections, p.crc
	}
	crc, done := uint32(0), 0
	pages := make([]int, len(s.tables)) // how many of each table are done
	for i := range p.sections {
		sec := &p.sections[i]
		b, t := p.buf[:p.end][sec.Offset:][:sec.Length], &s.tables[sec.State]
		t.putSpecial(b, sec.Group)
		from, to := pages[sec.State], t.groups[sec.Group-t.first].end
		pages[sec.State] = to
		if sec.Length < followMin {
			sec.Checksum = checksum(b)
			continue // in the checksum of the file with what follows
		}
		sum := p.tables[sec.State].sum(b, from, to)
		sec.Checksum = bits.RotateLeft32(sum, turn)
		crc = follow(crc32.Update(crc, castagnoli, p.buf[:p.end][done:sec.Offset]), sum, sec.Length)
		done = int(sec.Offset + sec.Length)
	}
	p.buf = appendIndex(p.buf[:p.end], p.sections, contentsOf{packed: p.packed})
	p.file, p.crc = p.buf, crc32.Update(crc, castagnoli, p.buf[done:])
	return p.file, p.sections, p.crc
}

// putSpecial writes the entry that is in no page, if it is of this group, to the beginning of the section.
func (s *tableSnapshot) putSpecial(b []byte, group int) {
	if s.special != nil && s.specialG == group-s.first {
		s.appendSlot(b[:0], s.special)
	}
}

// learned tells the table how long the entries of all pages are, and says whether some can't be packed as planned.
func (t *tablePlan) learned() (wide bool) {
	all := lens{}
	for i, l := range t.lens {
		all = all.max(l)
		wide = wide || atomic.LoadUint32(&t.states[i]) == pageWide
	}
	if t.learn != nil {
		t.learn.add(all)
	}
	return wide
}

// unpack makes another file of one in which some entries can't be packed as planned: without any packed ones. That is in other memory, for this one time; the next snapshot
// is planned with more room.
func (p *plan) unpack(s *Snapshot) {
	size := int(p.sections[0].Offset) + pageBytes + indexEntrySize*len(p.sections) + trailerSize
	for i := range p.tables {
		size += s.tables[i].n * int(s.tables[i].stride)
	}
	p.room += size
	s.m.beside(int64(size))
	b := appendHeader(make([]byte, 0, size), s.m.opts.MaxParallelism, s.descriptors(), contentsOf{})
	pages := make([]int, len(s.tables))
	for i := range p.sections {
		sec := &p.sections[i]
		part, t := p.buf[:p.end][sec.Offset:][:sec.Length], p.tables[sec.State]
		start := len(b)
		if !t.widths.packed() {
			s.tables[sec.State].putSpecial(part, sec.Group)
			b = append(b, part...)
		}
		end := s.tables[sec.State].groups[sec.Group-s.tables[sec.State].first].end
		for ; pages[sec.State] < end; pages[sec.State]++ {
			if t.widths.packed() {
				b = t.appendWhole(b, pages[sec.State])
			}
		}
		sec.Offset, sec.Length = int64(start), int64(len(b)-start)
		sec.Checksum = checksum(b[start:])
	}
	p.file = appendIndex(b, p.sections, contentsOf{})
	p.crc = crc32.Checksum(p.file, castagnoli)
}

// appendWhole appends the entries of page i, which are packed or have stayed in the page, as whole ones.
func (t *tablePlan) appendWhole(b []byte, i int) []byte {
	p := &t.pages[i]
	if atomic.LoadUint32(&t.states[i]) == pageWide {
		b, _ = appendPairs(b, *p)
		return b
	}
	return t.widths.appendUnpacked(b, t.buf[p.at:][:int(p.count)*t.entry])
}

// sum returns the checksum of a section b, which has some pages, of those that are its last part.
func (t *tablePlan) sum(b []byte, from, to int) uint32 {
	inPages := 0
	for i := from; i < to; i++ {
		inPages += int(t.pages[i].count) * t.entry
	}
	sum := crc32.Checksum(b[:len(b)-inPages], castagnoli)
	for i := from; i < to; i++ {
		sum = times(sum, t.shift(int(t.pages[i].count))) ^ t.sums[i]
	}
	return sum
}

// shift returns what a checksum is multiplied with when n entries follow.
func (t *tablePlan) shift(n int) uint32 {
	if n >= len(t.shifts) {
		t.shifts = append(t.shifts, make([]uint32, n+1-len(t.shifts))...)
	}
	if t.shifts[n] == 0 {
		t.shifts[n] = follow(1<<31, 0, int64(n*t.entry))
	}
	return t.shifts[n]
}

// endPlan takes the buffer of a snapshot back that nobody writes any more.
func (m *Memory) endPlan(s *Snapshot) {
	if s.plan == nil {
		return
	}
	for _, t := range m.tables {
		if t.plan != nil && t.plan.s == s {
			t.plan = nil
		}
	}
	m.reuseBuffer(s.plan.buf)
}
