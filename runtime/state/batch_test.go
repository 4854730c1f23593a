// SPDX-License-Identifier: Apache-2.0

package state

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// textCoder writes integers as text, to take the way of coded values.
type textCoder struct{ JSON[int64] }

// batchesAgree runs Sum and AddAll over batches of keys and compares each result with a map.
func batchesAgree[K comparable](t *testing.T, key func(n int64) K, coder Coder[int64]) {
	t.Helper()
	m := smallMemory(t)
	v, err := OpenValue(m, "sum", keysOf[K](t, nil), coder)
	if err != nil {
		t.Fatal(err)
	}
	reduced, err := OpenReducing(m, "max", v.Keys(), coder, func(a, b int64) int64 { return max(a, b) })
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(2, 2))
	sums, largest := map[K]int64{}, map[K]int64{}
	for range 50 {
		var keys []K
		var vals, wantSum, wantMax []int64
		for range r.IntN(300) {
			k, val := key(r.Int64N(200)), r.Int64N(1000)-500
			if old, ok := largest[k]; !ok || val > old {
				largest[k] = val
			}
			sums[k] += val
			keys, vals = append(keys, k), append(vals, val)
			wantSum, wantMax = append(wantSum, sums[k]), append(wantMax, largest[k])
		}
		hashes := v.Keys().AppendHashes(nil, keys)
		out := make([]int64, len(keys))
		Sum(v, keys, hashes, vals, out)
		if !slices.Equal(out, wantSum) {
			t.Fatalf("sums %v, want %v", out, wantSum)
		}
		reduced.AddAll(keys, hashes, vals, out)
		if !slices.Equal(out, wantMax) {
			t.Fatalf("largest %v, want %v", out, wantMax)
		}
		Sum(v, keys, hashes, nil, nil)
		for _, k := range keys {
			sums[k]++
		}
	}
	for k, want := range sums {
		if got, _ := v.Get(k, v.Keys().Hash(k)); got != want {
			t.Errorf("sum of %v is %d, want %d", k, got, want)
		}
	}
	if err := m.Err(); err != nil {
		t.Error(err)
	}
}

func TestBatches(t *testing.T) {
	integer := func(n int64) int64 { return n - 100 }
	text := func(n int64) string { return string(make([]byte, n/10)) + string(rune('a'+n%10)) }
	t.Run("int64", func(t *testing.T) { batchesAgree(t, integer, nil) })
	t.Run("int16", func(t *testing.T) { batchesAgree(t, func(n int64) int16 { return int16(n - 100) }, nil) })
	t.Run("string", func(t *testing.T) { batchesAgree(t, text, nil) })
	t.Run("int64 coded", func(t *testing.T) { batchesAgree(t, integer, Coder[int64](textCoder{})) })
	t.Run("string coded", func(t *testing.T) { batchesAgree(t, text, Coder[int64](textCoder{})) })
}

func BenchmarkTyped(b *testing.B) {
	keys, hashes := randomKeys(1_000_000)
	m := mustMemory(b, Options{MaxParallelism: 128, Last: 127})
	k, err := KeysOf[int64](nil)
	if err != nil {
		b.Fatal(err)
	}
	v, err := OpenReducing(m, "sum", k, nil, func(a, c int64) int64 { return a + c })
	if err != nil {
		b.Fatal(err)
	}
	ones, out := make([]int64, 1024), make([]int64, 1024)
	fill(v.Table(), 1_000_000)
	b.Run("Sum", func(b *testing.B) {
		batches(b, keys, hashes, func(keys []int64, hashes []uint64) { Sum(&v.Value, keys, hashes, nil, out) })
	})
	b.Run("AddAll", func(b *testing.B) {
		batches(b, keys, hashes, func(keys []int64, hashes []uint64) { v.AddAll(keys, hashes, ones, out) })
	})
	b.Run("Add", func(b *testing.B) {
		batches(b, keys, hashes, func(keys []int64, hashes []uint64) {
			for i, key := range keys {
				out[i] = v.Add(key, hashes[i], 1)
			}
		})
	})
	b.Run("AppendHashes", func(b *testing.B) {
		batches(b, keys, hashes, func(keys []int64, hs []uint64) { k.AppendHashes(hs[:0:0], keys) })
	})
	b.Run("HashInt64s", func(b *testing.B) {
		batches(b, keys, hashes, func(keys []int64, hs []uint64) { HashInt64s(hs, keys) })
	})
}

func BenchmarkVariable(b *testing.B) {
	keys, hashes := randomKeys(1_000_000)
	for name, seals := range map[string]bool{"quiet": false, "sealed": true} {
		m := mustMemory(b, Options{MaxParallelism: 128, Last: 127})
		t := mustTable(b, m, Descriptor{Name: "v", Keys: Int64Keys})
		val := make([]byte, 40)
		for i := range 1 << 21 {
			t.PutVarInt64(keys[i], hashes[i], val)
		}
		b.Run("Put/"+name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			batches(b, keys, hashes, func(keys []int64, hashes []uint64) {
				for i, k := range keys {
					t.PutVarInt64(k, hashes[i], val)
				}
				if n++; seals && n%2000 == 0 {
					s := m.Seal()
					defer s.Release()
				}
			})
		})
		b.Run("Get/"+name, func(b *testing.B) {
			batches(b, keys, hashes, func(keys []int64, hashes []uint64) {
				for i, k := range keys {
					t.GetVarInt64(k, hashes[i])
				}
			})
		})
	}
}
