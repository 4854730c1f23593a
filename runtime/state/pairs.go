// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"unsafe"
)

// pairs writes entries with integer keys and values of eight bytes to files: as many bytes of each as the widths say. Its method
//
//	pack(b []byte, page snapPage, next unsafe.Pointer) (written int, keys, vals uint64)
//
// writes those of a page to b. It returns how many bytes that took, -1 if b has too few for them, and the keys and the values, each combined by or; where they don't hold with
// these widths, what b has is of no use. A page that will be written next, nil if it isn't known, is fetched meanwhile.
type pairs struct {
	widths
	vectors pairVectors
}

func newPairs(w widths) pairs { return pairs{w, vectorsOf(w)} }

// wholePairs writes all bytes.
var wholePairs = newPairs(widths{8, 8})

// packEach is pack for any processor. Every slot is written, and what comes next goes only behind those in use, which leaves nothing for the processor to guess.
func (p *pairs) packEach(b []byte, page snapPage) (written int, keys, vals uint64) {
	if p.widths == wholePairs.widths {
		return packWhole(b, page)
	}
	slots := unsafe.Slice((*[2]uint64)(page.ptr), page.mask+1)
	start, at, i := unsafe.Pointer(unsafe.SliceData(b)), 0, 0
	key, entry := int(p.key), p.entry(pairSize)
	for ; i < len(slots) && at+pairSize <= len(b); i++ {
		s := &slots[i]
		k, v := s[0]^emptyTag, s[1]
		binary.LittleEndian.PutUint64((*[8]byte)(unsafe.Add(start, at))[:], k)
		binary.LittleEndian.PutUint64((*[8]byte)(unsafe.Add(start, at+key))[:], v)
		used, n := uint64(0), 0
		if s[0] != 0 {
			used, n = ^uint64(0), entry
		}
		keys, vals = keys|k&used, vals|v&used
		at += n
	}
	for ; i < len(slots); i++ {
		s := &slots[i]
		switch {
		case s[0] == 0:
			continue
		case at+entry > len(b):
			return -1, keys, vals
		}
		var e [pairSize]byte
		k, v := s[0]^emptyTag, s[1]
		binary.LittleEndian.PutUint64(e[:], k)
		binary.LittleEndian.PutUint64(e[key:], v)
		at += copy(b[at:at+entry], e[:])
		keys, vals = keys|k, vals|v
	}
	return at, keys, vals
}

// packWhole is packEach for whole entries: with their size known when it is compiled it is twice as fast.
func packWhole(b []byte, page snapPage) (written int, keys, vals uint64) {
	slots := unsafe.Slice((*[2]uint64)(page.ptr), page.mask+1)
	start, at, i := unsafe.Pointer(unsafe.SliceData(b)), 0, 0
	for ; i+4 <= len(slots) && at+4*pairSize <= len(b); i += 4 {
		s := (*[4][2]uint64)(unsafe.Pointer(&slots[i]))
		second := at + putWhole(unsafe.Add(start, at), &s[0])
		third := second + putWhole(unsafe.Add(start, second), &s[1])
		fourth := third + putWhole(unsafe.Add(start, third), &s[2])
		at = fourth + putWhole(unsafe.Add(start, fourth), &s[3])
	}
	for ; i < len(slots); i++ {
		switch {
		case slots[i][0] == 0:
			continue
		case at+pairSize > len(b):
			return -1, keys, vals
		}
		at += putWhole(unsafe.Add(start, at), &slots[i])
	}
	for e := b[:at]; len(e) > 0; e = e[pairSize:] {
		keys |= binary.LittleEndian.Uint64(e)
		vals |= binary.LittleEndian.Uint64(e[8:])
	}
	return at, keys, vals
}

// putWhole writes a slot to pairSize bytes and returns how many of them are in use.
func putWhole(to unsafe.Pointer, slot *[2]uint64) int {
	b := (*[pairSize]byte)(to)
	binary.LittleEndian.PutUint64(b[:8], slot[0]^emptyTag)
	binary.LittleEndian.PutUint64(b[8:], slot[1])
	used := 0
	if slot[0] != 0 {
		used = pairSize
	}
	return used
}
