// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// folder stores files in a directory and flushes each to the disk, as local storage does.
type folder struct {
	dir string
	n   int
}

func (f *folder) WriteFile(_ context.Context, data []byte) (File, error) {
	f.n++
	name := fmt.Sprintf("%s/%d", f.dir, f.n)
	file, err := os.Create(name)
	if err != nil {
		return File{}, err
	}
	defer file.Close()
	if _, err := file.Write(data); err != nil {
		return File{}, err
	}
	return File{Path: name}, file.Sync()
}

func (f *folder) WriteShared(ctx context.Context, data []byte) (File, error) {
	file, err := f.WriteFile(ctx, data)
	file.Shared = true
	return file, err
}

// BenchmarkFirstUpload counts with ten million keys while the first snapshot is written to a disk, or to nowhere: how much of the
// rate before is left meanwhile, by the clock and by the processor time of the goroutine that counts.
func BenchmarkFirstUpload(b *testing.B) {
	const n = 10_000_000
	keys, hashes := randomKeys(n)
	for name, to := range map[string]SharedWriter{"nowhere": &counted{}, "disk": &folder{dir: b.TempDir()}} {
		b.Run(name, func(b *testing.B) {
			var rate, cost [2]float64 // records per second, processor seconds per record
			took, rounds, copied := time.Duration(0), 0, 0.0
			for b.Loop() {
				b.StopTimer()
				m, t := newCounts(b, Options{MaxParallelism: 128, Last: 127})
				fill(t, n)
				count := func(i int, done func(records int) bool) {
					records, at, start, cpu := 0, 0, time.Now(), threadTime(b)
					for !done(records) {
						t.AddInt64s(keys[at:at+1024], hashes[at:at+1024], nil, nil)
						at, records = (at+1024)&(len(keys)-1), records+1024
					}
					rate[i] += float64(records) / time.Since(start).Seconds()
					cost[i] += (threadTime(b) - cpu).Seconds() / float64(records)
				}
				count(0, func(records int) bool { return records >= len(keys) })
				b.StartTimer()
				var written atomic.Bool
				start, s, size := time.Now(), m.SealIncremental(1, 0), float64(t.memory())
				go func() {
					defer written.Store(true)
					if _, err := s.Write(b.Context(), to); err != nil {
						b.Error(err)
					}
					copied += float64(m.held.Load()) / size
					s.Release()
				}()
				count(1, func(int) bool { return written.Load() })
				took += time.Since(start)
				rounds++
			}
			b.ReportMetric(rate[0]/1e6/float64(rounds), "M/s-before")
			b.ReportMetric(100*copied/float64(rounds), "%-copied")
			b.ReportMetric(100*rate[1]/rate[0], "%-left")
			b.ReportMetric(100*cost[0]/cost[1], "%-left-cpu")
			b.ReportMetric(float64(took.Milliseconds())/float64(rounds), "upload-ms")
		})
	}
}

// BenchmarkUnseal writes to every page of a sealed state of four million keys: what copying a page costs the goroutine that counts,
// for the first snapshot, whose copies need new memory, and for the next one.
func BenchmarkUnseal(b *testing.B) {
	const n = 4_000_000
	names := [...]string{"first-ns/page", "next-ns/page"}
	var cost [len(names)]time.Duration
	pages := 0
	for b.Loop() {
		b.StopTimer()
		m, t := newCounts(b, Options{MaxParallelism: 128, Last: 127})
		fill(t, n)
		for i := range cost {
			s := m.Seal()
			cpu := threadTime(b)
			for g := range t.groups {
				for r := range t.groups[g].refs() {
					if r := &t.groups[g].refs()[r]; r.epoch != t.epoch {
						t.unseal(&t.groups[g], r)
					}
				}
			}
			cost[i] += threadTime(b) - cpu
			s.Release()
			m.Seal().Release()
		}
		pages += t.pages
		b.StartTimer()
	}
	for i, name := range names {
		b.ReportMetric(float64(cost[i].Nanoseconds())/float64(pages), name)
	}
}
