// SPDX-License-Identifier: Apache-2.0

package state

import "unsafe"

const (
	// hugePage is the size of a huge page of x86-64 and, with pages of 4 KiB, of arm64.
	hugePage = 2 << 20
	// hugeMin is from which size on a buffer is made of huge pages.
	hugeMin = 2 * hugePage
)

// newBuffer returns an empty buffer with room for n bytes. A large one begins where a huge page can.
func newBuffer(n int) []byte {
	if n < hugeMin {
		return make([]byte, 0, n)
	}
	b := make([]byte, 0, n+hugePage)
	skip := int(-address(b) & (hugePage - 1))
	return b[skip:skip]
}

// settle is told of a buffer that was written to storage. One that is used for the second time, and so for many more, is made of huge pages: the owner of the tables
// writes to it all over while it encodes pages between records, and storage that writes it past the page cache looks up each of its pages. To make them takes
// longer than a seal may, so it is done here, beside the processing.
func (m *Memory) settle(b []byte) {
	if cap(b) < hugeMin {
		return
	}
	at := address(b)
	m.encodeMu.Lock()
	again := m.usedBuffer == at && m.hugeBuffer != at
	m.usedBuffer = at
	if again {
		m.hugeBuffer = at
	}
	m.encodeMu.Unlock()
	if again {
		makeHuge((at+hugePage-1)&^(hugePage-1), at+uintptr(cap(b)))
	}
}

// address tells a buffer apart from others that are in use. It is never followed.
func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
