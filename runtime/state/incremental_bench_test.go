// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime/metrics"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// counted takes files, keeps nothing and counts the bytes.
type counted struct{ index, data int64 }

func (c *counted) WriteFile(_ context.Context, data []byte) (File, error) {
	c.index += int64(len(data))
	return File{Path: fmt.Sprint("i", c.index)}, nil
}

func (c *counted) WriteShared(_ context.Context, data []byte) (File, error) {
	c.data += int64(len(data))
	return File{Path: fmt.Sprint("s", c.data), Shared: true}, nil
}

// BenchmarkIncremental uploads a state of ten million keys of which one per cent changed since the base, in consecutive pages
// or spread evenly.
func BenchmarkIncremental(b *testing.B) {
	const n = 10_000_000
	m, t := newCounts(b, Options{MaxParallelism: 128, Last: 127})
	fill(t, n)
	full := &counted{}
	increment(b, m, full, 1, 0)
	r := rand.New(rand.NewPCG(8, 8))
	uniform, clustered := make([]int64, n/100), make([]int64, 0, n/100)
	for i := range uniform {
		uniform[i] = r.Int64N(n)
	}
	t.RangeInt64(func(_ int, key int64, _ []byte) bool {
		clustered = append(clustered, key)
		return len(clustered) < n/100
	})
	id := int64(1)
	for name, keys := range map[string][]int64{"clustered": clustered, "uniform": uniform} {
		hashes := make([]uint64, len(keys))
		HashInt64s(hashes, keys)
		b.Run(name, func(b *testing.B) {
			var c *counted
			for b.Loop() {
				b.StopTimer()
				t.AddInt64s(keys, hashes, nil, nil)
				c = &counted{}
				id++
				b.StartTimer()
				increment(b, m, c, id, id-1)
			}
			b.ReportMetric(float64(c.data+c.index)/1e6, "MB")
			b.ReportMetric(100*float64(c.data+c.index)/float64(full.data+full.index), "%-of-full")
			b.ReportMetric(float64(c.index)/1e6, "index-MB")
		})
	}
}

// BenchmarkSealGigabyte is the synchronous part of a snapshot of one gigabyte of state that is being changed.
func BenchmarkSealGigabyte(b *testing.B) {
	m, t := newCounts(b, Options{MaxParallelism: 128, Last: 127})
	n := int64(0)
	keys, hashes := make([]int64, 1024), make([]uint64, 1024)
	for m.MemoryBytes() < 1<<30 {
		for i := range keys {
			keys[i] = n
			n++
		}
		HashInt64s(hashes, keys)
		t.AddInt64s(keys, hashes, nil, nil)
	}
	r := rand.New(rand.NewPCG(8, 9))
	var times []time.Duration
	for b.Loop() {
		b.StopTimer()
		for i := range keys {
			keys[i] = r.Int64N(n)
		}
		HashInt64s(hashes, keys)
		t.AddInt64s(keys, hashes, nil, nil)
		b.StartTimer()
		start := time.Now()
		s := m.SealIncremental(int64(len(times))+1, 0)
		times = append(times, time.Since(start))
		s.Release()
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1e3, "p99-ms")
	b.ReportMetric(float64(times[len(times)-1].Microseconds())/1e3, "max-ms")
	b.ReportMetric(float64(t.pages), "pages")
}

// gcShare returns the seconds of processor that the garbage collector and all took so far.
func gcShare() (gc, all float64) {
	s := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64(), s[1].Value.Float64() - s[2].Value.Float64()
}

// BenchmarkCountDuringUpload counts with ten million keys while one full snapshot after the other is written, and without.
func BenchmarkCountDuringUpload(b *testing.B) {
	const n = 10_000_000
	keys, hashes := randomKeys(n)
	for _, upload := range []bool{false, true} {
		b.Run(fmt.Sprintf("upload=%t", upload), func(b *testing.B) {
			m, t := newCounts(b, Options{MaxParallelism: 128, Last: 127})
			fill(t, n)
			gc, all := gcShare()
			var busy atomic.Bool
			id := int64(0)
			batches(b, keys, hashes, func(keys []int64, hashes []uint64) {
				if upload && busy.CompareAndSwap(false, true) {
					id++
					s := m.SealIncremental(id, 0)
					go func() {
						if _, err := s.Write(b.Context(), &counted{}); err != nil {
							b.Error(err)
						}
						s.Release()
						busy.Store(false)
					}()
				}
				t.AddInt64s(keys, hashes, nil, nil)
			})
			gc2, all2 := gcShare()
			if all2 > all { // the counters move with each collection
				b.ReportMetric(100*(gc2-gc)/(all2-all), "GC-%")
			}
			b.ReportMetric(float64(id), "snapshots")
			for busy.Load() {
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// BenchmarkStrings reads, changes and writes values of 100 bytes under keys of 64 bytes, of which there are five million.
func BenchmarkStrings(b *testing.B) {
	const n = 5_000_000
	key := func(buf []byte, k int64) []byte {
		buf = append(buf[:0], "customer/account/transactions/by-day/0000000000000000000000000000"[:56]...)
		return binary.BigEndian.AppendUint64(buf, uint64(k))
	}
	r := rand.New(rand.NewPCG(2, 2))
	keys, hashes := make([][]byte, 1<<20), make([]uint64, 1<<20)
	for i := range keys {
		keys[i] = key(nil, r.Int64N(n))
	}
	HashByteKeys(hashes, keys)
	run := func(b *testing.B, t *Table, change func(key []byte, hash uint64)) {
		b.Helper()
		b.ResetTimer()
		cpu := threadTime(b)
		for i, at := 0, 0; i < b.N; i += 64 {
			t.PrefetchBytes(hashes[at : at+64])
			for j := at; j < at+64; j++ {
				change(keys[j], hashes[j])
			}
			at = (at + 64) & (len(keys) - 1)
		}
		b.ReportMetric(float64(b.N)/(threadTime(b)-cpu).Seconds()/1e6, "M/cpu-s")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "M/s")
	}
	buf := make([]byte, 0, 64)
	b.Run("fixed", func(b *testing.B) {
		m := mustMemory(b, Options{MaxParallelism: 128, Last: 127})
		t := mustTable(b, m, Descriptor{Name: "v", Keys: BytesKeys, ValueSize: 104})
		for k := range int64(n) {
			buf = key(buf, k)
			t.RefBytes(buf, HashBytes(buf))
		}
		run(b, t, func(key []byte, hash uint64) {
			p, _ := t.RefBytes(key, hash)
			v := unsafe.Slice((*byte)(p), 100)
			v[0]++
			v[99]++
		})
	})
	b.Run("variable", func(b *testing.B) {
		m := mustMemory(b, Options{MaxParallelism: 128, Last: 127})
		t := mustTable(b, m, Descriptor{Name: "v", Keys: BytesKeys})
		val := make([]byte, 100)
		for k := range int64(n) {
			buf = key(buf, k)
			t.PutVarBytes(buf, HashBytes(buf), val)
		}
		run(b, t, func(key []byte, hash uint64) {
			v, _ := t.GetVarBytes(key, hash)
			copy(val, v)
			val[0]++
			val[99]++
			t.PutVarBytes(key, hash, val)
		})
	})
}
