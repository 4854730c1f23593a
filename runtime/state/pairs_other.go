// SPDX-License-Identifier: Apache-2.0

//go:build !amd64

package state

import "unsafe"

// pairVectors are not needed where packVectors isn't.
type pairVectors struct{}

func vectorsOf(widths) (v pairVectors) { return v }

func (p *pairs) pack(b []byte, page snapPage, _ unsafe.Pointer) (written int, keys, vals uint64) {
	return p.packEach(b, page)
}
