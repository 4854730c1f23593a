// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func newCounts(tb testing.TB, o Options) (*Memory, *Table) {
	tb.Helper()
	m, err := NewMemory(o)
	if err != nil {
		tb.Fatal(err)
	}
	t, err := m.Table(Descriptor{Name: "count", Keys: Int64Keys, ValueSize: 8})
	if err != nil {
		tb.Fatal(err)
	}
	return m, t
}

// randomKeys returns keys below n and their hashes, many times more than fit into the cache.
func randomKeys(n int64) ([]int64, []uint64) {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	keys := make([]int64, 1<<23)
	for i := range keys {
		keys[i] = r.Int64N(n)
	}
	hashes := make([]uint64, len(keys))
	HashInt64s(hashes, keys)
	return keys, hashes
}

func fill(t *Table, n int64) {
	keys, hashes := make([]int64, 0, 1024), make([]uint64, 1024)
	for k := range n {
		keys = append(keys, k)
		if len(keys) == 1024 || k == n-1 {
			HashInt64s(hashes, keys)
			t.AddInt64s(keys, hashes, nil, nil)
			keys = keys[:0]
		}
	}
}

func batches(b *testing.B, keys []int64, hashes []uint64, f func(keys []int64, hashes []uint64)) {
	b.Helper()
	b.ResetTimer()
	cpu := threadTime(b)
	for i, at := 0, 0; i < b.N; i += 1024 {
		f(keys[at:at+1024], hashes[at:at+1024])
		at = (at + 1024) & (len(keys) - 1)
	}
	b.ReportMetric(float64(b.N)/(threadTime(b)-cpu).Seconds()/1e6, "M/cpu-s")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "M/s")
}

func BenchmarkCount(b *testing.B) {
	for _, n := range []int64{10_000, 1_000_000, 10_000_000} {
		keys, hashes := randomKeys(n)
		b.Run(fmt.Sprintf("keys=%d/bare", n), func(b *testing.B) {
			tabs := newBareTables(128)
			for k := range n {
				h := HashInt64(k)
				tabs[h&127].inc(k, h)
			}
			batches(b, keys, hashes, func(keys []int64, hashes []uint64) {
				for i, k := range keys {
					tabs[hashes[i]&127].inc(k, hashes[i])
				}
			})
		})
		_, t := newCounts(b, Options{MaxParallelism: 128, Last: 127})
		fill(t, n)
		b.Run(fmt.Sprintf("keys=%d/AddInt64s", n), func(b *testing.B) {
			batches(b, keys, hashes, func(keys []int64, hashes []uint64) { t.AddInt64s(keys, hashes, nil, nil) })
		})
		out := make([]int64, 1024)
		b.Run(fmt.Sprintf("keys=%d/AddInt64s-out", n), func(b *testing.B) {
			batches(b, keys, hashes, func(keys []int64, hashes []uint64) { t.AddInt64s(keys, hashes, nil, out) })
		})
		b.Run(fmt.Sprintf("keys=%d/RefInt64", n), func(b *testing.B) {
			batches(b, keys, hashes, func(keys []int64, hashes []uint64) {
				for i, k := range keys {
					p, _ := t.RefInt64(k, hashes[i])
					*(*int64)(p)++
				}
			})
		})
		b.Run(fmt.Sprintf("keys=%d/Prefetch+RefInt64", n), func(b *testing.B) {
			batches(b, keys, hashes, func(keys []int64, hashes []uint64) {
				for len(keys) > 0 {
					t.PrefetchInt64(keys[:64], hashes[:64])
					for i, k := range keys[:64] {
						p, _ := t.RefInt64(k, hashes[i])
						*(*int64)(p)++
					}
					keys, hashes = keys[64:], hashes[64:]
				}
			})
		})
	}
}
