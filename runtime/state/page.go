// SPDX-License-Identifier: Apache-2.0

package state

import "unsafe"

// pageRef names one page from the directory of its group. A page is an open-addressing table of
// mask+1 slots with linear probing that wraps around within the page.
type pageRef struct {
	ptr   unsafe.Pointer
	epoch uint32 // of the last change: whatever writes to a page, or to an entry of the log that it refers to, stamps it first
	mask  uint32
	count uint32
	// number is that of the page in the newest snapshot, if the page was sealed then and that has a plan.
	number uint32
}

const pageRefSize = unsafe.Sizeof(pageRef{})

// group is one key group: a directory of 1<<(63-shift) page references, indexed by the uppermost bits
// of the hash. A page that was split less often than others has several references, side by side.
type group struct {
	dir   unsafe.Pointer // *pageRef, the first
	shift uint32         // 63 - depth
	pages uint32
	n     int
}

// emptySlot stands for the page of every empty group: one slot, empty, sealed for ever.
var emptySlot [1 + maxInlineValue/8 + 2]uint64

var emptyDir = pageRef{ptr: unsafe.Pointer(&emptySlot)}

// at returns the reference of the page for a hash.
func (g *group) at(hash uint64) *pageRef {
	return (*pageRef)(unsafe.Add(g.dir, uintptr((hash>>1)>>(g.shift&63))*pageRefSize))
}

func (g *group) size() int { return 1 << (63 - g.shift) }

// refs returns the directory.
func (g *group) refs() []pageRef { return unsafe.Slice((*pageRef)(g.dir), g.size()) }

// block returns all references to the page that r refers to, and the index of the first.
func (g *group) block(r *pageRef) ([]pageRef, int) {
	refs := g.refs()
	i := int((uintptr(unsafe.Pointer(r)) - uintptr(g.dir)) / pageRefSize)
	n := 1
	for n < len(refs) && refs[i^n].ptr == r.ptr {
		n <<= 1
	}
	i &^= n - 1
	return refs[i : i+n], i
}

// alone is block for a reference that is known to be the only one to its page.
func (g *group) alone(r *pageRef) ([]pageRef, int) {
	return unsafe.Slice(r, 1), int((uintptr(unsafe.Pointer(r)) - uintptr(g.dir)) / pageRefSize)
}

// set makes all references to the page of r equal to to.
func (g *group) set(r *pageRef, to pageRef) {
	b, _ := g.block(r)
	for i := range b {
		b[i] = to
	}
}

// retiredPage is a page that the tables no longer refer to, but perhaps snapshots with an epoch of from <= e < to.
type retiredPage struct {
	ptr      unsafe.Pointer // nil for memory that is only accounted for, not reused
	bytes    int
	from, to uint32
}

// newPage makes a page, all zero, and writes to it before anyone looks for a place in it. Memory that is new to the process and read first gets the kernel's page of zeros; the
// write that follows would then fault once more, and stop all other processors for a moment.
func newPage(bytes int) unsafe.Pointer {
	page := unsafe.Pointer(unsafe.SliceData(make([]uint64, bytes/8)))
	touch(page, bytes)
	return page
}

// touch writes to a page that is all zero.
func touch(page unsafe.Pointer, bytes int) {
	for i := 0; i < bytes; i += pageBytes {
		*(*uint64)(unsafe.Add(page, i)) = 0
	}
}

// pagePool keeps pages for reuse, by size.
type pagePool struct {
	lists   map[int]*freeList
	bytes   int64
	account *Account
}

type freeList struct {
	pages []unsafe.Pointer
	low   int // the shortest the list has been since the last trim
}

func (p *pagePool) take(bytes int) unsafe.Pointer {
	l := p.lists[bytes]
	if l == nil || len(l.pages) == 0 {
		return nil
	}
	n := len(l.pages) - 1
	page := l.pages[n]
	l.pages[n] = nil
	l.pages = l.pages[:n]
	l.low = min(l.low, n)
	p.count(-bytes)
	return page
}

func (p *pagePool) put(page unsafe.Pointer, bytes int) {
	l := p.lists[bytes]
	if l == nil {
		l = &freeList{}
		p.lists[bytes] = l
	}
	l.pages = append(l.pages, page)
	p.count(bytes)
}

func (p *pagePool) count(bytes int) {
	p.bytes += int64(bytes)
	p.account.pool(int64(bytes))
}

// drop gives up all pages and returns their bytes.
func (p *pagePool) drop() int {
	dropped := int(p.bytes)
	clear(p.lists)
	p.count(-dropped)
	return dropped
}

// trim drops half of the pages that nobody took since the last trim, and returns their bytes.
func (p *pagePool) trim() int {
	dropped := 0
	for size, l := range p.lists {
		drop := (l.low + 1) / 2
		n := len(l.pages) - drop
		clear(l.pages[n:])
		l.pages = l.pages[:n]
		l.low = n
		dropped += drop * size
	}
	p.count(-dropped)
	return dropped
}
