// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// wordList returns n words with the lengths of words in source text.
func wordList(n int) [][]byte {
	r := rand.New(rand.NewPCG(3, 4))
	seen := map[string]bool{}
	var words [][]byte
	for len(words) < n {
		w := make([]byte, 1+r.IntN(6)+r.IntN(6))
		for i := range w {
			w[i] = byte('a' + r.IntN(26))
		}
		if !seen[string(w)] {
			seen[string(w)] = true
			words = append(words, w)
		}
	}
	return words
}

func BenchmarkWords(b *testing.B) {
	for _, n := range []int{10_000, 200_000, 3_000_000} {
		words := wordList(n)
		m := mustMemory(b, Options{MaxParallelism: 128, Last: 127})
		t := mustTable(b, m, Descriptor{Name: "count", Keys: BytesKeys, ValueSize: 8})
		r := rand.New(rand.NewPCG(1, 1))
		keys, hashes := make([][]byte, 1<<20), make([]uint64, 1<<20)
		for i := range keys {
			keys[i] = words[min(r.IntN(n), r.IntN(n), r.IntN(n))]
		}
		HashByteKeys(hashes, keys)
		step := func(prefetch bool) func(b *testing.B) {
			return func(b *testing.B) {
				b.Helper()
				for i, at := 0, 0; i < b.N; i += 64 {
					if prefetch {
						t.PrefetchBytes(hashes[at : at+64])
					}
					for j := at; j < at+64; j++ {
						p, _ := t.RefBytes(keys[j], hashes[j])
						*(*int64)(p)++
					}
					at = (at + 64) & (len(keys) - 1)
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "M/s")
			}
		}
		b.Run(fmt.Sprintf("words=%d/RefBytes", n), step(false))
		b.Run(fmt.Sprintf("words=%d/Prefetch+RefBytes", n), step(true))
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, c := range []struct {
		n      int64
		groups int
	}{{1_000_000, 128}, {10_000_000, 128}, {100_000, MaxKeyGroups}} {
		m, t := newCounts(b, Options{MaxParallelism: c.groups, Last: c.groups - 1})
		fill(t, c.n)
		b.Run(fmt.Sprintf("keys=%d/groups=%d", c.n, c.groups), func(b *testing.B) {
			for b.Loop() {
				m.Seal().Release()
			}
		})
	}
}

// discard takes files and keeps nothing.
type discard struct{}

func (discard) WriteFile(context.Context, []byte) (File, error) { return File{}, nil }

func BenchmarkWrite(b *testing.B) {
	write := func(m *Memory, n, entry int64) func(*testing.B) {
		return func(b *testing.B) {
			b.Helper()
			s := m.Seal()
			defer s.Release()
			b.SetBytes(n * entry)
			for b.Loop() {
				if _, err := s.Write(b.Context(), discard{}); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	m, t := newCounts(b, Options{MaxParallelism: 128, Last: 127})
	fill(t, 1_000_000)
	b.Run("int64", write(m, 1_000_000, 16))
	m = mustMemory(b, Options{MaxParallelism: 128, Last: 127})
	t = mustTable(b, m, Descriptor{Name: "count", Keys: BytesKeys, ValueSize: 8})
	for _, w := range wordList(200_000) {
		t.RefBytes(w, HashBytes(w))
	}
	b.Run("words", write(m, 200_000, 15))
}

func BenchmarkRestore(b *testing.B) {
	m, t := newCounts(b, Options{MaxParallelism: 128, Last: 127})
	fill(t, 1_000_000)
	store := &fileStore{}
	files, err := m.Seal().Write(b.Context(), store)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(16_000_000)
	n, cpu := 0, threadTime(b)
	for b.Loop() {
		n++
		if err := mustMemory(b, m.opts).Restore(b.Context(), files, store); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(16*float64(n)/(threadTime(b)-cpu).Seconds(), "MB/cpu-s")
}

// BenchmarkCountWithSnapshots counts while a snapshot is sealed now and then and written beside it.
func BenchmarkCountWithSnapshots(b *testing.B) {
	for _, n := range []int64{1_000_000, 10_000_000} {
		keys, hashes := randomKeys(n)
		for _, every := range []time.Duration{0, 100 * time.Millisecond, time.Second} {
			b.Run(fmt.Sprintf("keys=%d/every=%s", n, every), func(b *testing.B) {
				m, t := newCounts(b, Options{MaxParallelism: 128, Last: 127})
				fill(t, n)
				var wg sync.WaitGroup
				seal, last, count := time.Duration(0), time.Now(), 0
				batches(b, keys, hashes, func(keys []int64, hashes []uint64) {
					t.AddInt64s(keys, hashes, nil, nil)
					if every == 0 || time.Since(last) < every {
						return
					}
					wg.Wait()
					last = time.Now()
					s := m.Seal()
					seal = max(seal, time.Since(last))
					count++
					wg.Go(func() {
						defer s.Release()
						if _, err := s.Write(b.Context(), discard{}); err != nil {
							b.Error(err)
						}
					})
				})
				wg.Wait()
				b.ReportMetric(float64(seal.Microseconds()), "seal-µs")
				b.ReportMetric(float64(count), "snapshots")
			})
		}
	}
}

func BenchmarkEmptyGroups(b *testing.B) {
	for b.Loop() {
		m := mustMemory(b, Options{MaxParallelism: MaxKeyGroups, Last: MaxKeyGroups - 1})
		mustTable(b, m, Descriptor{Name: "a", Keys: Int64Keys, ValueSize: 8})
		b.ReportMetric(float64(m.MemoryBytes())/MaxKeyGroups, "B/group")
	}
}
