// SPDX-License-Identifier: Apache-2.0

package fuzztest

import (
	"strings"
	"testing"
)

// sink keeps what is allocated from being optimized away.
var sink []byte

// TestBound_CountsWhatIsAllocated isn't parallel: it counts what its process allocates.
func TestBound_CountsWhatIsAllocated(t *testing.T) {
	bound := Bound{Fixed: 1 << 10, PerByte: 4} // and the noise
	tests := map[string]struct {
		size, alloc, times int
		exceeded           bool
	}{
		"nothing":                        {0, 0, 1, false},
		"within what is fixed":           {0, 1 << 9, 1, false},
		"a length that was believed":     {9, 1 << 20, 1, true},
		"in proportion":                  {1 << 20, 3 << 20, 1, false},
		"out of proportion":              {1 << 20, 5 << 20, 1, true},
		"freed again, but out of bounds": {1 << 10, 1 << 10, 200, true},
		"freed again, and within bounds": {1 << 20, 1 << 10, 100, false},
		"too much for its small input":   {1 << 8, 4<<8 + 2<<10 + noise, 1, true},
	}
	for name, tc := range tests {
		err := bound.exceeded(tc.size, func() {
			for range tc.times {
				sink = make([]byte, tc.alloc)
			}
		})
		if (err != nil) != tc.exceeded || err != nil && !strings.Contains(err.Error(), "bytes of memory for an input of") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	sink = nil
}
