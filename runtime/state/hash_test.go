// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/zeebo/xxh3"
)

func TestHashInt64_EqualsLibrary(t *testing.T) {
	keys := []int64{0, 1, -1, math.MinInt64, math.MaxInt64, 1 << 32, -1 << 32, emptyKey}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		keys = append(keys, int64(r.Uint64()))
	}
	got := make([]uint64, len(keys))
	HashInt64s(got, keys)
	for i, k := range keys {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(k))
		if want := xxh3.Hash(b[:]); got[i] != want || HashBytes(b[:]) != want || HashString(string(b[:])) != want {
			t.Fatalf("hash of %d is %#x, want %#x", k, got[i], want)
		}
	}
}

// The values are frozen: snapshots rely on them. They stand in docs/formats/keys.md.
func TestHash_Golden(t *testing.T) {
	for k, want := range map[int64]uint64{
		0: 0xc77b3abb6f87acd9, 1: 0x2fbc593564db792e, -1: 0x5111c7e47d784413, 1_000_000: 0x2c27ac0713086960,
	} {
		if got := HashInt64(k); got != want {
			t.Errorf("hash of %d is %#x, want %#x", k, got, want)
		}
	}
	for s, want := range map[string]uint64{
		"": 0x2d06800538d394c2, "a": 0xe6c632b61e964e1f, "weir": 0x09831dc741817118,
		"a key of more than sixteen bytes": 0x27258608776bc78a,
	} {
		if got := HashString(s); got != want {
			t.Errorf("hash of %q is %#x, want %#x", s, got, want)
		}
	}
}
