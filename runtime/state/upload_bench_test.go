// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"encoding/binary"
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

// BenchmarkFirstUpload counts with ten million keys, and with a gigabyte of state, while the first snapshot is written to a disk, or to nowhere: how much of the
// rate before is left meanwhile, by the clock and by the processor time of the goroutine that counts. In the end every record must have been counted.
func BenchmarkFirstUpload(b *testing.B) {
	for _, n := range []int64{10_000_000, 46_000_000} {
		keys, hashes := randomKeys(n)
		for _, to := range []string{"nowhere", "disk"} {
			b.Run(fmt.Sprintf("keys=%d/%s", n, to), func(b *testing.B) {
				var w SharedWriter = &counted{}
				if to == "disk" {
					w = &folder{dir: b.TempDir()}
				}
				u := uploading{b: b, n: n, keys: keys, hashes: hashes, to: w}
				for b.Loop() {
					u.round()
				}
				u.report()
			})
		}
	}
}

// uploading counts before and during the first upload of a state.
type uploading struct {
	b      *testing.B
	n      int64
	keys   []int64
	hashes []uint64
	to     SharedWriter

	rate, cost [2]float64 // records per second, processor seconds per record; before and meanwhile
	took       time.Duration
	rounds     int
	copied     float64
	counted    int64
}

func (u *uploading) round() {
	u.b.StopTimer()
	m, t := newCounts(u.b, Options{MaxParallelism: 128, Last: 127})
	fill(t, u.n)
	u.counted = u.n
	u.count(t, 0, func(records int) bool { return records >= len(u.keys) })
	u.b.StartTimer()
	var written atomic.Bool
	start, s, size := time.Now(), m.SealIncremental(1, 0), float64(t.memory())
	go func() {
		defer written.Store(true)
		if _, err := s.Write(u.b.Context(), u.to); err != nil {
			u.b.Error(err)
		}
		u.copied += float64(m.held.Load()) / size
		s.Release()
	}()
	u.count(t, 1, func(int) bool { return written.Load() })
	u.took += time.Since(start)
	u.rounds++
	u.b.StopTimer()
	sum := int64(0)
	t.RangeInt64(func(_ int, _ int64, val []byte) bool {
		sum += int64(binary.LittleEndian.Uint64(val))
		return true
	})
	if sum != u.counted {
		u.b.Errorf("the table has %d of %d counts", sum, u.counted)
	}
	u.b.StartTimer()
}

func (u *uploading) count(t *Table, i int, done func(records int) bool) {
	records, at, start, cpu := 0, 0, time.Now(), threadTime(u.b)
	for !done(records) {
		t.AddInt64s(u.keys[at:at+1024], u.hashes[at:at+1024], nil, nil)
		at, records = (at+1024)&(len(u.keys)-1), records+1024
	}
	u.rate[i] += float64(records) / time.Since(start).Seconds()
	u.cost[i] += (threadTime(u.b) - cpu).Seconds() / float64(records)
	u.counted += int64(records)
}

func (u *uploading) report() {
	rounds := float64(u.rounds)
	u.b.ReportMetric(u.rate[0]/1e6/rounds, "M/s-before")
	u.b.ReportMetric(100*u.copied/rounds, "%-copied")
	u.b.ReportMetric(100*u.rate[1]/u.rate[0], "%-left")
	u.b.ReportMetric(100*u.cost[0]/u.cost[1], "%-left-cpu")
	u.b.ReportMetric(float64(u.took.Milliseconds())/rounds, "upload-ms")
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
