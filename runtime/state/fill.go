// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"unsafe"
)

// blank says whether the page of r is still to be made: reserve leaves those of larger groups to whoever adds the first entry.
func (r *pageRef) blank() bool { return r.ptr == unsafe.Pointer(&emptySlot) }

// makePage makes the page of a blank reference. Unlike alloc, it may be called for different groups at the same time.
func (t *Table) makePage(r *pageRef, capacity uint32) {
	bytes := int(uintptr(capacity) * t.stride)
	*r = pageRef{ptr: newPage(bytes), epoch: t.epoch, mask: capacity - 1}
	t.m.bytes.Add(int64(bytes))
}

// makeBlanks makes the pages that were reserved and got no entry. Nothing but loadNew copes with blank ones.
func (t *Table) makeBlanks() {
	for i := range t.groups {
		if t.groups[i].pages < 2 {
			continue
		}
		refs := t.groups[i].refs()
		for k := range refs {
			if refs[k].blank() {
				t.makePage(&refs[k], minSlots)
			}
		}
	}
}

// filling is a page that is being filled with entries of a file.
type filling struct {
	page pageRef
	// limit is how many entries the page may have.
	limit uint32
	// The hashes of its entries have the bits of want where bits has ones; if the number of key groups is no power of two, their group is to be
	// looked at, too.
	want, bits uint64
	group      uint64
}

// fillingOf returns the filling of a page that has n references, of which the first is that of the directory with the given place.
func (t *Table) fillingOf(g *group, page pageRef, first, n int) filling {
	f := filling{page: page, limit: (page.mask + 1) / 2, group: uint64(t.number(g))}
	if f.page.mask+1 >= t.pageCap {
		f.limit = (f.page.mask + 1) / 4 * 3
	}
	f.want = uint64(first) << (g.shift + 1)
	f.bits = ^(uint64(n)<<(g.shift+1) - 1)
	if n == g.size() {
		f.bits = 0 // all hashes have this page
	}
	if !t.anyMax {
		f.want |= f.group + t.first
		f.bits |= t.gmask
	}
	return f
}

// loadNew adds entries of a group, relative to first, with integer keys, and returns how many. Those that have no room in pages that may be written, are
// there already or aren't of this group are appended to left. It writes to nothing but the group and its pages.
func (t *Table) loadNew(group int, b, left []byte, pages *pageMaker) ([]byte, int) {
	g, n, size := &t.groups[group], 0, int(t.stride)
	for len(b) > 0 {
		r := g.at(HashInt64(int64(binary.LittleEndian.Uint64(b))))
		added := 0
		if g.pages > 0 && (r.epoch == t.epoch || r.blank()) {
			added = t.loadPage(g, r, b, pages)
			n, b = n+added, b[added*size:]
		}
		if added == 0 {
			left = append(left, b[:size]...)
			b = b[size:]
		}
	}
	g.n += n
	return left, n
}

// loadPage adds entries to the page of r, up to the first that it can't take, and returns how many.
func (t *Table) loadPage(g *group, r *pageRef, b []byte, pages *pageMaker) int {
	page := *r
	refs, first := g.alone(r)
	if r.blank() {
		page = pageRef{ptr: pages.make(int(uintptr(t.pageCap) * t.stride)), epoch: t.epoch, mask: t.pageCap - 1}
	} else {
		refs, first = g.block(r)
	}
	f := t.fillingOf(g, page, first, len(refs))
	if t.stride == 16 {
		t.fillPairs(&f, b)
	} else {
		t.fillSlots(&f, b)
	}
	for i := range refs {
		refs[i] = f.page
	}
	return int(f.page.count - page.count)
}

// fillPairs adds entries of sixteen bytes to a page, up to the first that is not for it or that it can't take.
func (t *Table) fillPairs(f *filling, b []byte) {
	ptr, mask, count, limit := f.page.ptr, uint64(f.page.mask), f.page.count, f.limit
	want, bits, anyMax := f.want, f.bits, t.anyMax
	for ; len(b) >= 16 && count < limit; b = b[16:] {
		key := binary.LittleEndian.Uint64(b)
		hash := HashInt64(int64(key))
		tag := key ^ emptyTag
		if (hash^want)&bits != 0 || tag == 0 || anyMax && t.index(hash) != f.group {
			break
		}
		i := hash >> slotBits & mask
		p := (*[2]uint64)(unsafe.Add(ptr, i*16))
		for p[0] != 0 && p[0] != tag {
			i = (i + 1) & mask
			p = (*[2]uint64)(unsafe.Add(ptr, i*16))
		}
		if p[0] == tag {
			break
		}
		p[0] = tag
		*(*[8]byte)(unsafe.Pointer(&p[1])) = [8]byte(b[8:16])
		count++
	}
	f.page.count = count
}

// fillSlots is fillPairs for entries of any size.
func (t *Table) fillSlots(f *filling, b []byte) {
	size := int(t.stride)
	for ; len(b) >= size && f.page.count < f.limit; b = b[size:] {
		key := int64(binary.LittleEndian.Uint64(b))
		hash := HashInt64(key)
		tag := uint64(key ^ emptyKey)
		if (hash^f.want)&f.bits != 0 || tag == 0 || t.anyMax && t.index(hash) != f.group {
			break
		}
		i := uint32(hash>>slotBits) & f.page.mask
		p := unsafe.Add(f.page.ptr, uintptr(i)*t.stride)
		for *(*uint64)(p) != 0 && *(*uint64)(p) != tag {
			i = (i + 1) & f.page.mask
			p = unsafe.Add(f.page.ptr, uintptr(i)*t.stride)
		}
		if *(*uint64)(p) == tag {
			break
		}
		*(*uint64)(p) = tag
		copy(unsafe.Slice((*byte)(unsafe.Add(p, 8)), size-8), b[8:size])
		f.page.count++
	}
}
