// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"
	"unsafe"
)

const (
	// pageBytes is what a full page aims at.
	pageBytes = 4096
	// minSlots is the capacity of the first page of a group.
	minSlots = 8
	// slotBits is how far the hash is shifted for the place within a page: the bits below choose the key group.
	slotBits = 16
	// emptyKey is the integer key that has no place in the slots, because its tag would be that of an empty slot.
	emptyKey int64 = -0x61c8864680b583eb
	// emptyTag makes tags of integer keys, by exclusive or.
	emptyTag = 1<<64 - 0x61c8864680b583eb
)

// Table is one named state. It belongs to the goroutine of its Memory. Pointers and slices that its
// methods return are valid until the next call of any method that can write, and until the next Seal.
//
// The hash that comes with a key must be the key's ([HashInt64], [HashBytes]), and its key group one of the range of
// the Memory; anything else is a mistake of the caller and panics or loses entries.
type Table struct {
	groups []group
	epoch  uint32
	anyMax bool   // the number of key groups is no power of two
	gmask  uint64 // number of key groups - 1
	first  uint64
	stride uintptr
	valOff uintptr
	sink   uint64
	grown  int // counts the times that pages or directories changed their shape

	m        *Memory
	desc     Descriptor
	ints     bool // keys are integers, in the slot
	logged   bool // entries or keys are in the log
	claimed  bool
	pageCap  uint32
	n        int
	pages    int
	special  pageRef    // the entry of emptyKey: one slot, or no page at all
	specialG int        // its group, relative to first
	plan     *tablePlan // of the newest snapshot, nil if that has none or is released
	// experience is with the entries in snapshots, for how to pack them.
	experience experience
	log        entryLog
}

func newTable(m *Memory, d Descriptor) *Table {
	t := &Table{
		m: m, desc: d, epoch: m.epoch,
		ints:   d.Keys == Int64Keys,
		logged: d.Keys != Int64Keys || d.ValueSize == 0,
		gmask:  uint64(m.opts.MaxParallelism - 1),
		anyMax: m.opts.MaxParallelism&(m.opts.MaxParallelism-1) != 0,
		first:  uint64(m.opts.First),
		groups: make([]group, m.opts.Last-m.opts.First+1),
		valOff: 8,
	}
	if t.logged {
		t.valOff = 16
	}
	t.stride = t.valOff + uintptr(d.ValueSize)
	t.pageCap = minSlots
	for uintptr(t.pageCap)*2*t.stride <= pageBytes {
		t.pageCap *= 2
	}
	for i := range t.groups {
		t.reset(&t.groups[i])
	}
	t.log.tail = -1
	m.bytes.Add(int64(len(t.groups)) * int64(unsafe.Sizeof(group{})))
	return t
}

// Descriptor returns what the state was registered with.
func (t *Table) Descriptor() Descriptor { return t.desc }

// Len is the number of keys.
func (t *Table) Len() int { return t.n }

func (t *Table) reset(g *group) {
	*g = group{dir: unsafe.Pointer(&emptyDir), shift: 63}
}

// index returns the place of the key group of hash in groups.
func (t *Table) index(hash uint64) uint64 {
	if t.anyMax {
		return hash%(t.gmask+1) - t.first
	}
	return hash&t.gmask - t.first
}

// slotHash returns the hash of the entry in a slot with the given tag, exact in all bits but the lowest.
func (t *Table) slotHash(tag uint64) uint64 {
	if t.ints {
		return HashInt64(int64(tag) ^ emptyKey)
	}
	return tag
}

// unseal makes the page of r writable: it copies the page if an open snapshot needs it as it is, has not written it yet, and can't take it now.
func (t *Table) unseal(g *group, r *pageRef) {
	t.m.refresh()
	to := *r
	to.epoch = t.epoch
	if r.epoch <= t.m.openMax && !t.passed(g, r) {
		bytes := int(uintptr(r.mask+1) * t.stride)
		to.ptr = t.m.alloc(bytes, false)
		copy(unsafe.Slice((*uint64)(to.ptr), bytes/8), unsafe.Slice((*uint64)(r.ptr), bytes/8))
	}
	old := *r
	g.set(r, to)
	if old.ptr != to.ptr {
		t.retire(old)
	}
}

// passed says whether no open snapshot needs the page of r, in group g, as it is any more. Snapshots with a plan take it now, if they can.
func (t *Table) passed(g *group, r *pageRef) bool {
	n := t.number(g)
	if n == len(t.groups) {
		return false
	}
	for _, s := range t.m.open {
		switch {
		case s.epoch < r.epoch:
		case s.plan != nil:
			if !t.plan.encoded(s, r) {
				return false
			}
		case !s.spend(n):
			return false
		}
	}
	return true
}

// number is the place of g in groups. For the group that stands for the one of emptyKey it is one that doesn't exist.
func (t *Table) number(g *group) int {
	n := (uintptr(unsafe.Pointer(g)) - uintptr(unsafe.Pointer(unsafe.SliceData(t.groups)))) / unsafe.Sizeof(group{})
	return int(min(n, uintptr(len(t.groups))))
}

// insert adds an entry for a tag that is not in the table and returns its slot, zero but for the tag.
func (t *Table) insert(g *group, tag, hash uint64) unsafe.Pointer {
	r := g.at(hash)
	for t.full(r) {
		t.grow(g, r)
		r = g.at(hash)
	}
	if r.epoch != t.epoch {
		t.unseal(g, r)
	}
	b, _ := g.block(r)
	for i := range b {
		b[i].count++
	}
	g.n++
	t.n++
	p := t.vacant(r.ptr, r.mask, hash)
	*(*uint64)(p) = tag
	return p
}

// full says whether the page has no room for another entry: small pages are filled to half, for speed, full-sized
// ones to three quarters.
func (t *Table) full(r *pageRef) bool {
	if r.mask+1 < t.pageCap {
		return (r.count+1)*2 > r.mask+1
	}
	return (r.count+1)*4 > (r.mask+1)*3
}

// vacant returns the first empty slot for a hash.
func (t *Table) vacant(page unsafe.Pointer, mask uint32, hash uint64) unsafe.Pointer {
	i := uint32(hash>>slotBits) & mask
	for {
		p := unsafe.Add(page, uintptr(i)*t.stride)
		if *(*uint64)(p) == 0 {
			return p
		}
		i = (i + 1) & mask
	}
}

// grow makes room in the page of r.
func (t *Table) grow(g *group, r *pageRef) {
	capacity := r.mask + 1
	t.grown++
	switch {
	case r.ptr == unsafe.Pointer(&emptySlot):
		t.firstPage(g)
	case capacity < t.pageCap || !t.canSplit(g, r):
		t.resize(g, r, capacity*2)
	default:
		t.split(g, r)
	}
}

func (t *Table) firstPage(g *group) {
	*g = group{shift: 63, pages: 1, dir: unsafe.Pointer(t.newDir(1))}
	*g.at(0) = pageRef{ptr: t.m.alloc(int(minSlots*t.stride), true), epoch: t.epoch, mask: minSlots - 1}
	t.pages++
}

// reserve makes room for n entries in a group that is empty, so that it need not grow step by step. If that takes several pages and
// there is no log, only the directory is made: its references are blank until loadNew or makeBlanks makes their pages, and nothing else may be done
// with the group before. It returns how many pages these are, for the owner to count; it may be called for different groups at the same time.
func (t *Table) reserve(g *group, n int) int {
	if g.pages > 0 || n <= minSlots/2 {
		return 0
	}
	capacity, pages, shift := t.pageCap, 1, uint32(63)
	if n <= int(t.pageCap)/2 {
		capacity = t.fit(uint32(n))
	}
	for n > pages*int(capacity)*5/8 {
		pages *= 2
		shift--
	}
	dir := t.newDir(pages)
	refs := unsafe.Slice(dir, pages)
	for i := range refs {
		if refs[i] = emptyDir; pages == 1 || t.logged {
			t.makePage(&refs[i], capacity)
		}
	}
	*g = group{dir: unsafe.Pointer(dir), shift: shift, pages: uint32(pages)}
	return pages
}

func (t *Table) newDir(n int) *pageRef {
	t.m.bytes.Add(int64(n) * int64(pageRefSize))
	return unsafe.SliceData(make([]pageRef, n))
}

// canSplit says whether the page of r can be split without the directory outgrowing the pages, as it
// would if many hashes shared their upper bits.
func (t *Table) canSplit(g *group, r *pageRef) bool {
	b, _ := g.block(r)
	return len(b) > 1 || (g.size() <= 16+8*int(g.pages) && g.shift > slotBits)
}

// resize moves the entries of a page to one of another capacity.
func (t *Table) resize(g *group, r *pageRef, capacity uint32) {
	old := *r
	page := pageRef{ptr: t.m.alloc(int(uintptr(capacity)*t.stride), true), epoch: t.epoch, mask: capacity - 1, count: old.count}
	for i := uint32(0); i <= old.mask; i++ {
		from := unsafe.Add(old.ptr, uintptr(i)*t.stride)
		if tag := *(*uint64)(from); tag != 0 {
			t.copySlot(t.vacant(page.ptr, page.mask, t.slotHash(tag)), from)
		}
	}
	g.set(r, page)
	t.retire(old)
}

// split spreads the entries of a page over two by the next bit of their hashes.
func (t *Table) split(g *group, r *pageRef) {
	b, base := g.block(r)
	if len(b) == 1 {
		t.doubleDir(g)
		b, base = g.refs()[2*base:2*base+2], 2*base
	}
	old := b[0]
	middle := uint64(base + len(b)/2)
	var count [2]uint32
	half := func(hash uint64) int {
		if (hash>>1)>>(g.shift&63) < middle {
			return 0
		}
		return 1
	}
	for i := uint32(0); i <= old.mask; i++ {
		if tag := *(*uint64)(unsafe.Add(old.ptr, uintptr(i)*t.stride)); tag != 0 {
			count[half(t.slotHash(tag))]++
		}
	}
	var to [2]pageRef
	for h := range to {
		c := t.fit(count[h])
		to[h] = pageRef{ptr: t.m.alloc(int(uintptr(c)*t.stride), true), epoch: t.epoch, mask: c - 1, count: count[h]}
	}
	for i := uint32(0); i <= old.mask; i++ {
		from := unsafe.Add(old.ptr, uintptr(i)*t.stride)
		if tag := *(*uint64)(from); tag != 0 {
			hash := t.slotHash(tag)
			h := half(hash)
			t.copySlot(t.vacant(to[h].ptr, to[h].mask, hash), from)
		}
	}
	for i := range b {
		b[i] = to[2*i/len(b)]
	}
	g.pages++
	t.pages++
	t.retire(old)
}

// fit returns a capacity that n entries fill to half at most.
func (t *Table) fit(n uint32) uint32 {
	c := uint32(minSlots)
	for c < 2*n {
		c *= 2
	}
	return c
}

func (t *Table) doubleDir(g *group) {
	old := g.refs()
	dir := unsafe.Slice(t.newDir(2*len(old)), 2*len(old))
	for i, r := range old {
		dir[2*i], dir[2*i+1] = r, r
	}
	t.m.bytes.Add(-int64(len(old)) * int64(pageRefSize))
	g.dir = unsafe.Pointer(unsafe.SliceData(dir))
	g.shift--
}

func (t *Table) copySlot(to, from unsafe.Pointer) {
	if t.stride == 16 {
		*(*[2]uint64)(to) = *(*[2]uint64)(from)
		return
	}
	copy(unsafe.Slice((*uint64)(to), t.stride/8), unsafe.Slice((*uint64)(from), t.stride/8))
}

func (t *Table) retire(r pageRef) {
	t.m.retire(retiredPage{ptr: r.ptr, bytes: int(uintptr(r.mask+1) * t.stride), from: r.epoch})
}

// remove deletes the entry in slot p of the page of r.
func (t *Table) remove(g *group, r *pageRef, p unsafe.Pointer) {
	off := uintptr(p) - uintptr(r.ptr)
	t.n--
	g.n--
	if g.n == 0 {
		t.drop(g)
		return
	}
	if r.epoch != t.epoch {
		t.unseal(g, r)
	}
	b, _ := g.block(r)
	for i := range b {
		b[i].count--
	}
	t.closeGap(r, uint32(off/t.stride))
	if r.mask+1 > minSlots && r.count*8 < r.mask+1 {
		t.resize(g, r, (r.mask+1)/2)
	}
}

// closeGap empties slot hole and moves later entries of its run back, so that each is found from its own place on.
func (t *Table) closeGap(r *pageRef, hole uint32) {
	for i := (hole + 1) & r.mask; ; i = (i + 1) & r.mask {
		p := unsafe.Add(r.ptr, uintptr(i)*t.stride)
		tag := *(*uint64)(p)
		if tag == 0 {
			break
		}
		home := uint32(t.slotHash(tag)>>slotBits) & r.mask
		if (i-home)&r.mask >= (i-hole)&r.mask {
			t.copySlot(unsafe.Add(r.ptr, uintptr(hole)*t.stride), p)
			hole = i
		}
	}
	clear(unsafe.Slice((*uint64)(unsafe.Add(r.ptr, uintptr(hole)*t.stride)), t.stride/8))
}

// drop gives up all pages of a group.
func (t *Table) drop(g *group) {
	if g.pages == 0 {
		return
	}
	refs := g.refs()
	for i := 0; i < len(refs); {
		b, _ := g.block(&refs[i])
		t.retire(refs[i])
		i += len(b)
	}
	t.m.bytes.Add(-int64(len(refs)) * int64(pageRefSize))
	t.pages -= int(g.pages)
	t.reset(g)
}

// clear removes all entries and gives up the memory of the table.
func (t *Table) clear() {
	for i := range t.groups {
		t.drop(&t.groups[i])
	}
	if t.special.ptr != nil {
		t.dropSpecial()
	}
	t.clearLog()
	t.n = 0
	t.m.bytes.Add(-int64(len(t.groups)) * int64(unsafe.Sizeof(group{})))
	t.groups = nil
}

// memory is what the table takes, without copies for snapshots. It looks at every page.
func (t *Table) memory() int64 {
	n := int64(t.log.total) + int64(len(t.groups))*int64(unsafe.Sizeof(group{}))
	for i := range t.groups {
		g := &t.groups[i]
		if g.pages == 0 {
			continue
		}
		n += int64(g.size()) * int64(pageRefSize)
		for _, p := range g.appendPages(nil, false) {
			n += int64(p.mask+1) * int64(t.stride)
		}
	}
	return n
}

// want panics when a method is called that does not fit the layout: a mistake in the program, not in its data.
func (t *Table) want(ok bool, method string) {
	if !ok {
		panic(fmt.Sprintf("state %q (%s keys, value size %d): %s does not fit this layout", t.desc.Name, t.desc.Keys, t.desc.ValueSize, method))
	}
}
