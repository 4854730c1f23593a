// SPDX-License-Identifier: Apache-2.0

package state

import "unsafe"

// populateBytes is how much memory is populated at once, aligned: what Go's allocator hands out to a processor at once. It stays in the cache until it is used.
const populateBytes = 512 << 10

// populateFrom is how large a state must be for memory to be populated while it grows, or while its pages are copied: a small one would hold more of what it doesn't use
// yet than it has.
const populateFrom = 64 << 20

// pageMaker makes pages for one goroutine. The first page in a part of the heap that is new to the process has the kernel provide that part at
// once: a page that is in place already doesn't interrupt whoever fills it.
type pageMaker struct {
	// at is the part of the heap that was populated last.
	at uintptr
	// bytes have been made that aren't counted yet: the loaders of a restore would wait for each other's count.
	bytes int64
}

// make returns a page, all zero.
func (p *pageMaker) make(bytes int) unsafe.Pointer {
	page := unsafe.Pointer(unsafe.SliceData(make([]uint64, bytes/8)))
	if at := uintptr(page) &^ (populateBytes - 1); at != p.at {
		if p.at = at; !present(uintptr(page)) {
			populate(at, populateBytes)
		}
	}
	touch(page, bytes)
	p.bytes += int64(bytes)
	return page
}

// count has the memory counted.
func (p *pageMaker) count(m *Memory) {
	m.bytes.Add(p.bytes)
	p.bytes = 0
}
