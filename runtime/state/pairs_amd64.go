// SPDX-License-Identifier: Apache-2.0

package state

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// vectors says that the processor has the instructions of packVectors: Ice Lake and Zen 4 are the first ones for servers that do.
var vectors = cpu.X86.HasAVX512VBMI2 && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512F && cpu.X86.HasBMI2 && cpu.X86.HasPOPCNT

// pairVectors are constants of packVectors for some widths.
type pairVectors struct {
	written [4 * pairSize]byte // ones where bytes of four slots are written
	tags    [8]uint64          // what four slots are combined with to be entries
}

func vectorsOf(w widths) (v pairVectors) {
	for i := range v.written {
		if in := uint8(i % pairSize); in < w.key || in >= 8 && in-8 < w.val {
			v.written[i] = 0xff
		}
	}
	for i := 0; i < len(v.tags); i += 2 {
		v.tags[i] = emptyTag
	}
	return v
}

// packVectors is pack for n slots, a multiple of four. It writes to room bytes at most, and has the processor fetch as much from next on as the slots take.
//
//go:noescape
func packVectors(to unsafe.Pointer, room int, slots unsafe.Pointer, n int, next unsafe.Pointer, v *pairVectors, entry int) (written int, keys, vals uint64)

func (p *pairs) pack(b []byte, page snapPage, next unsafe.Pointer) (written int, keys, vals uint64) {
	if !vectors {
		return p.packEach(b, page)
	}
	if next == nil {
		next = page.ptr
	}
	return packVectors(unsafe.Pointer(unsafe.SliceData(b)), len(b), page.ptr, int(page.mask)+1, next, &p.vectors, p.entry(pairSize))
}
