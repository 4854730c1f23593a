// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// An entry of the log is a header of three 32-bit numbers (size of the entry with its slack, length of the key,
// length of the value), the key and the value. A slot refers to it by the index of its page, plus one, and its offset.
const (
	entryHeader = 12
	minLogPage  = 4 << 10
	maxLogPage  = 64 << 10
	// maxEntry bounds key and value of one entry.
	maxEntry = 1 << 30
	// inlineRef marks a reference that holds a key of up to seven bytes itself.
	inlineRef = 1 << 63
)

// entryLog is the append-only log behind a table. What a snapshot has seen is never changed.
type entryLog struct {
	pages   []*logPage // nil where a page was given up
	vacant  []int      // indexes of nil pages
	tail    int        // index of the page to append to, -1 for none
	total   int        // bytes of all pages
	pending []int      // pages to look at for compaction
}

// logPage is one page of the log. buf doesn't change once made, the other fields belong to the owner of the table.
type logPage struct {
	buf     []byte
	used    int
	live    int    // bytes of entries that slots refer to
	created uint32 // epoch in which the page was made
	epoch   uint32 // epoch in which entries from fresh on were appended
	fresh   int
}

// slotRef returns the reference in slot p of a logged table.
func slotRef(p unsafe.Pointer) uint64 { return *(*uint64)(unsafe.Add(p, 8)) }

func setSlotRef(p unsafe.Pointer, ref uint64) { *(*uint64)(unsafe.Add(p, 8)) = ref }

// inlineKey returns the reference that holds key itself, or 0 when key is too long for that.
func inlineKey(key []byte) uint64 {
	n := len(key)
	switch {
	case n > 7:
		return 0
	case n >= 4: // two reads that overlap
		lo, hi := binary.LittleEndian.Uint32(key), binary.LittleEndian.Uint32(key[n-4:])
		return inlineRef | uint64(n)<<56 | uint64(hi)<<(8*uint(n-4)) | uint64(lo)
	case n >= 2:
		lo, hi := binary.LittleEndian.Uint16(key), binary.LittleEndian.Uint16(key[n-2:])
		return inlineRef | uint64(n)<<56 | uint64(hi)<<(8*uint(n-2)) | uint64(lo)
	case n == 1:
		return inlineRef | 1<<56 | uint64(key[0])
	default:
		return inlineRef
	}
}

// appendInlineKey appends the key that an inline reference holds.
func appendInlineKey(dst []byte, ref uint64) []byte {
	for n := ref >> 56 & 7; n > 0; n-- {
		dst = append(dst, byte(ref))
		ref >>= 8
	}
	return dst
}

// entryAt returns key and value of the entry at ref.
func entryAt(pages []*logPage, ref uint64) (key, val []byte) {
	b := pages[ref>>32-1].buf[uint32(ref):]
	k := entryHeader + int(binary.LittleEndian.Uint32(b[4:]))
	return b[entryHeader:k:k], b[k : k+int(binary.LittleEndian.Uint32(b[8:]))]
}

// appendEntry adds an entry to the log and returns its reference, 0 if it is too large.
func (t *Table) appendEntry(key, val []byte) uint64 {
	if len(key) > maxEntry || len(val) > maxEntry-len(key) {
		t.m.fail(fmt.Errorf("state %q: entry of %d bytes is too large; at most %d are allowed", t.desc.Name, len(key)+len(val), maxEntry))
		return 0
	}
	size := (entryHeader + len(key) + len(val) + 7) &^ 7
	l := &t.log
	if l.tail < 0 || l.pages[l.tail].used+size > len(l.pages[l.tail].buf) {
		t.newTail(size)
	}
	p := l.pages[l.tail]
	if p.epoch != t.epoch {
		p.epoch, p.fresh = t.epoch, p.used
	}
	b := p.buf[p.used : p.used+size]
	binary.LittleEndian.PutUint32(b, uint32(size))
	binary.LittleEndian.PutUint32(b[4:], uint32(len(key)))
	binary.LittleEndian.PutUint32(b[8:], uint32(len(val)))
	copy(b[entryHeader:], key)
	copy(b[entryHeader+len(key):], val)
	ref := uint64(l.tail+1)<<32 | uint64(p.used)
	p.used += size
	p.live += size
	return ref
}

// newTail starts a page with room for size bytes at least.
func (t *Table) newTail(size int) {
	l := &t.log
	if l.tail >= 0 {
		l.pending = append(l.pending, l.tail)
	}
	n := minLogPage
	for n < maxLogPage && n < l.total/4 {
		n *= 2
	}
	n = max(n, size)
	p := &logPage{buf: make([]byte, n), created: t.epoch, epoch: t.epoch}
	t.m.bytes.Add(int64(n))
	l.total += n
	if k := len(l.vacant); k > 0 {
		l.tail, l.vacant = l.vacant[k-1], l.vacant[:k-1]
		l.pages[l.tail] = p
		return
	}
	l.tail = len(l.pages)
	l.pages = append(l.pages, p)
}

// kill notes that nothing refers to the entry at ref any more.
func (t *Table) kill(ref uint64) {
	if ref&inlineRef != 0 {
		return
	}
	i := int(ref>>32) - 1
	p := t.log.pages[i]
	p.live -= int(binary.LittleEndian.Uint32(p.buf[uint32(ref):]))
	if i != t.log.tail && p.live*2 < p.used {
		t.log.pending = append(t.log.pending, i)
	}
}

// compactPending moves the live entries of pages with few of them to the tail. It is called at the end of
// an operation, when slots and log agree.
func (t *Table) compactPending() {
	l := &t.log
	for len(l.pending) > 0 {
		i := l.pending[len(l.pending)-1]
		l.pending = l.pending[:len(l.pending)-1]
		if p := l.pages[i]; p != nil && i != l.tail && p.live*2 < p.used {
			t.compact(i)
		}
	}
}

func (t *Table) compact(i int) {
	p := t.log.pages[i]
	for off := 0; off < p.used && p.live > 0; {
		ref := uint64(i+1)<<32 | uint64(off)
		size := int(binary.LittleEndian.Uint32(p.buf[off:]))
		off += size
		key, val := entryAt(t.log.pages, ref)
		g, r, slot := t.findEntry(key)
		if slot == nil || slotRef(slot) != ref {
			continue
		}
		p.live -= size
		moved := t.appendEntry(key, val)
		setSlotRef(t.writable(g, r, slot), moved)
	}
	t.giveUp(i)
}

// findEntry finds the slot of a key by its bytes.
func (t *Table) findEntry(key []byte) (*group, *pageRef, unsafe.Pointer) {
	if t.ints {
		k := int64(binary.LittleEndian.Uint64(key))
		return t.findInt64(k, HashInt64(k))
	}
	return t.findBytes(key, t.hashOf(key))
}

// writable returns slot p of the page of r in a page that may be written. g is nil for the entry of emptyKey.
func (t *Table) writable(g *group, r *pageRef, p unsafe.Pointer) unsafe.Pointer {
	if r.epoch == t.epoch {
		return p
	}
	off := uintptr(p) - uintptr(r.ptr)
	if g == nil {
		g = &group{dir: unsafe.Pointer(r), shift: 63, pages: 1}
	}
	t.unseal(g, r)
	return unsafe.Add(r.ptr, off)
}

// giveUp takes page i out of the log. Its memory is the garbage collector's once no snapshot refers to it.
func (t *Table) giveUp(i int) {
	p := t.log.pages[i]
	t.log.pages[i] = nil
	t.log.vacant = append(t.log.vacant, i)
	t.log.total -= len(p.buf)
	t.m.retire(retiredPage{bytes: len(p.buf), from: p.created})
}

// overwrites says whether the value of the entry at ref can be replaced by one of n bytes where it is.
func (t *Table) overwrites(ref uint64, n int) bool {
	t.m.refresh()
	p := t.log.pages[ref>>32-1]
	off := int(uint32(ref))
	b := p.buf[off:]
	room := int(binary.LittleEndian.Uint32(b)) - entryHeader - int(binary.LittleEndian.Uint32(b[4:]))
	return n <= room && (t.m.openMax == 0 || p.epoch == t.epoch && off >= p.fresh)
}

// overwrite replaces the value of the entry at ref.
func (t *Table) overwrite(ref uint64, val []byte) {
	b := t.log.pages[ref>>32-1].buf[uint32(ref):]
	binary.LittleEndian.PutUint32(b[8:], uint32(len(val)))
	copy(b[entryHeader+int(binary.LittleEndian.Uint32(b[4:])):], val)
}

func (t *Table) clearLog() {
	for i, p := range t.log.pages {
		if p != nil {
			t.giveUp(i)
		}
	}
	t.log = entryLog{tail: -1}
}
