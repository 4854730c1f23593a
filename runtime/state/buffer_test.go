// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"testing"
)

func TestNewBuffer(t *testing.T) {
	for _, n := range []int{0, 1, hugeMin - 1, hugeMin, 9<<20 + 5, 70 << 20} {
		b := newBuffer(n)
		if len(b) != 0 || cap(b) < n || cap(b) > n+hugePage {
			t.Errorf("room for %d bytes: length %d, capacity %d", n, len(b), cap(b))
		}
		if n >= hugeMin && address(b)%hugePage != 0 {
			t.Errorf("room for %d bytes begins at %x, not with a huge page", n, address(b))
		}
	}
}

func TestSettle_LeavesTheContent(t *testing.T) {
	m := mustMemory(t, Options{MaxParallelism: 1})
	for _, n := range []int{100, hugeMin + 4097} {
		b := newBuffer(n)[:n]
		for i := range b {
			b[i] = byte(i * 7)
		}
		want := bytes.Clone(b)
		for use := range 3 {
			m.settle(b)
			if huge := m.hugeBuffer == address(b); huge != (n >= hugeMin && use > 0) {
				t.Errorf("%d bytes, use %d: made of huge pages: %v", n, use, huge)
			}
			if !bytes.Equal(b, want) {
				t.Fatalf("%d bytes, use %d: the content is another one", n, use)
			}
		}
	}
}
