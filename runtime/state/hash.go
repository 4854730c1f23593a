// SPDX-License-Identifier: Apache-2.0

package state

import (
	"math/bits"

	"github.com/zeebo/xxh3"
)

// Constants of xxh3-64 for inputs of eight bytes with the default secret and seed 0.
const (
	xxhFlip8 = 0x1cad21f72c81017c ^ 0xdb979083e96dd4de
	xxhMul8  = 0x9fb21c651e98df25
)

// HashInt64 returns the key hash of an integer key: xxh3-64 of its eight bytes, little endian.
// No two integers have the same hash.
func HashInt64(key int64) uint64 {
	h := bits.RotateLeft64(uint64(key), 32) ^ xxhFlip8
	h ^= bits.RotateLeft64(h, 49) ^ bits.RotateLeft64(h, 24)
	h *= xxhMul8
	h ^= h>>35 + 8
	h *= xxhMul8
	return h ^ h>>28
}

// HashInt64s sets dst[i] to the hash of keys[i]. dst must be at least as long as keys.
func HashInt64s(dst []uint64, keys []int64) {
	dst = dst[:len(keys)]
	for i, k := range keys {
		dst[i] = HashInt64(k)
	}
}

// HashString returns the key hash of a string key: xxh3-64 of its bytes.
func HashString(key string) uint64 { return xxh3.HashString(key) }

// HashStrings sets dst[i] to the hash of keys[i]. dst must be at least as long as keys.
func HashStrings(dst []uint64, keys []string) {
	dst = dst[:len(keys)]
	for i, k := range keys {
		dst[i] = xxh3.HashString(k)
	}
}

// HashBytes returns the key hash of a key in its encoded form: xxh3-64 of its bytes.
func HashBytes(key []byte) uint64 { return xxh3.Hash(key) }

// HashByteKeys sets dst[i] to the hash of keys[i]. dst must be at least as long as keys.
func HashByteKeys(dst []uint64, keys [][]byte) {
	dst = dst[:len(keys)]
	for i, k := range keys {
		dst[i] = xxh3.Hash(k)
	}
}
