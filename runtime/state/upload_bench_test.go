// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/filestore"
)

// folder stores files as jobs with local storage do, at the pace that workers keep.
type folder struct {
	store *filestore.Store
	keys  []string
	pace  *Pace
}

func newFolder(tb testing.TB) *folder {
	tb.Helper()
	store, err := filestore.Open(storage.FileConfig{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = store.Close() })
	return &folder{store: store, pace: CheckpointPace()}
}

func (f *folder) WriteFile(ctx context.Context, data []byte) (File, error) {
	time.Sleep(f.pace.Wait(time.Now(), len(data)))
	key := fmt.Sprintf("%d", len(f.keys))
	f.keys = append(f.keys, key)
	return File{Path: key}, f.store.PutIfAbsent(ctx, key, data)
}

func (f *folder) WriteShared(ctx context.Context, data []byte) (File, error) {
	file, err := f.WriteFile(ctx, data)
	file.Shared = true
	return file, err
}

// empty deletes all files, for another snapshot.
func (f *folder) empty(ctx context.Context) error {
	keys := f.keys
	f.keys, f.pace = nil, CheckpointPace()
	return f.store.Delete(ctx, keys...)
}

// BenchmarkUpload counts with ten million keys, and with a gigabyte of state, while whole snapshots of it are written to a disk, or to nowhere: how much of the
// rate before is left meanwhile, by the clock and by the processor time of the goroutine that counts. The first snapshot of a process needs new memory for the copies of its
// pages, the next ones have that of those before. In the end every record must have been counted.
func BenchmarkUpload(b *testing.B) {
	for _, n := range []int64{10_000_000, 46_000_000} {
		keys, hashes := randomKeys(n)
		for _, to := range []string{"nowhere", "disk"} {
			b.Run(fmt.Sprintf("keys=%d/%s", n, to), func(b *testing.B) {
				u := uploading{b: b, n: n, keys: keys, hashes: hashes, to: &counted{}}
				if to == "disk" {
					u.disk = newFolder(b)
					u.to = u.disk
				}
				for b.Loop() {
					u.round()
				}
				u.report()
			})
		}
	}
}

// nextUploads is how many snapshots follow the first one of a state.
const nextUploads = 3

// uploading counts before and during the uploads of a state.
type uploading struct {
	b      *testing.B
	n      int64
	keys   []int64
	hashes []uint64
	to     SharedWriter
	disk   *folder

	before, first, next counting
	counted             int64
}

// counting sums up some stretches of counting.
type counting struct {
	stretches  int
	rate, cost float64 // records per second, processor seconds per record
	took       time.Duration
	copied     float64 // of the state
}

func (u *uploading) round() {
	u.b.StopTimer()
	m, t := newCounts(u.b, Options{MaxParallelism: 128, Last: 127})
	fill(t, u.n)
	u.counted = u.n
	for i := range 1 + nextUploads {
		u.count(t, &u.before, func(records int) bool { return records >= len(u.keys) })
		u.b.StartTimer()
		if i == 0 {
			u.upload(m, t, int64(i+1), &u.first)
		} else {
			u.upload(m, t, int64(i+1), &u.next)
		}
		u.b.StopTimer()
		if u.disk != nil {
			if err := u.disk.empty(u.b.Context()); err != nil {
				u.b.Fatal(err)
			}
		}
	}
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

// upload counts until a whole snapshot is written.
func (u *uploading) upload(m *Memory, t *Table, checkpoint int64, c *counting) {
	var written atomic.Bool
	s, size := m.SealIncremental(checkpoint, 0), float64(t.memory())
	go func() {
		defer written.Store(true)
		if _, err := s.Write(u.b.Context(), u.to); err != nil {
			u.b.Error(err)
		}
		c.copied += float64(m.held.Load()) / size
		s.Release()
	}()
	u.count(t, c, func(int) bool { return written.Load() })
}

func (u *uploading) count(t *Table, c *counting, done func(records int) bool) {
	runtime.LockOSThread() // for the processor time to be of this goroutine
	defer runtime.UnlockOSThread()
	records, at, start, cpu := 0, 0, time.Now(), threadTime(u.b)
	for !done(records) {
		t.AddInt64s(u.keys[at:at+1024], u.hashes[at:at+1024], nil, nil)
		at, records = (at+1024)&(len(u.keys)-1), records+1024
	}
	took := time.Since(start)
	c.stretches++
	c.took += took
	c.rate += float64(records) / took.Seconds()
	c.cost += (threadTime(u.b) - cpu).Seconds() / float64(records)
	u.counted += int64(records)
}

func (u *uploading) report() {
	rate, cost := u.before.rate/float64(u.before.stretches), u.before.cost/float64(u.before.stretches)
	u.b.ReportMetric(rate/1e6, "M/s-before")
	for name, c := range map[string]*counting{"first": &u.first, "next": &u.next} {
		n := float64(c.stretches)
		u.b.ReportMetric(100*c.copied/n, name+"-%-copied")
		u.b.ReportMetric(100*c.rate/n/rate, name+"-%-left")
		u.b.ReportMetric(100*cost/(c.cost/n), name+"-%-left-cpu")
		u.b.ReportMetric(float64(c.took.Milliseconds())/n, name+"-ms")
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
