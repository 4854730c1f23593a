// SPDX-License-Identifier: Apache-2.0

package state

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func TestFollow_IsTheChecksumOfBoth(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 70000)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	want := crc32.Checksum(b, castagnoli)
	for _, at := range []int{0, 1, 2, 7, 8, 255, 256, 4096, 65535, 65536, len(b) - 1, len(b)} {
		got := follow(crc32.Checksum(b[:at], castagnoli), crc32.Checksum(b[at:], castagnoli), int64(len(b)-at))
		if got != want {
			t.Errorf("cut at %d: got %08x, want %08x", at, got, want)
		}
	}
}

func BenchmarkFollow(b *testing.B) {
	sum := uint32(12345)
	for b.Loop() {
		sum = follow(sum, 6789, 4000)
	}
}
