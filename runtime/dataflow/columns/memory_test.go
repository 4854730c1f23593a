// SPDX-License-Identifier: Apache-2.0

package columns

import "testing"

func TestBatch_Memory(t *testing.T) {
	b := &Batch{n: 2, Columns: []Vector{
		{Kind: Int, Ints: make([]int64, 2, 4)},
		{Kind: String, Spans: make([]Span, 2, 4), Arena: make([]byte, 100, 128)},
	}}
	b.SetHashes(make([]uint64, 2, 4))
	if rows, all := b.Memory(); rows != 2*8+2*8+100+2*8 || all != 4*8+4*8+128+4*8 {
		t.Errorf("Memory() = %d, %d", rows, all)
	}
}
