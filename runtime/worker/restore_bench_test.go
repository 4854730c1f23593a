// SPDX-License-Identifier: Apache-2.0

//go:build unix

package worker

import (
	"context"
	"encoding/binary"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage/s3store"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

// serial is read one part after the other.
type serial struct{ state.FileReader }

// ReadsAtOnce implements [state.ConcurrentReader].
func (serial) ReadsAtOnce() int { return 1 }

// distant answers each read later, as storage far away does.
type distant struct{ state.ConcurrentReader }

func (d distant) ReadFile(ctx context.Context, f state.File, off, n int64) ([]byte, error) {
	time.Sleep(30 * time.Millisecond)
	return d.ConcurrentReader.ReadFile(ctx, f, off, n)
}

// BenchmarkRestoreS3 restores 64 million counts, one gigabyte, from an S3 server on this machine, against the download of the same files:
// whole files one after the other, and four at once. Distant storage takes 30 ms more for each read. What was restored last must be all counts.
func BenchmarkRestoreS3(b *testing.B) {
	const n = 64_000_000
	store, err := s3store.Open(b.Context(), storagetest.StartVersityGW(b).Config("weir", ""))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	o := state.Options{MaxParallelism: 128, Last: 127}
	f := files{store: store, dir: "job/chk-1"}
	list := writeCounts(b, o, n, f)
	total := int64(0)
	for _, file := range list {
		total += file.Size
	}
	run := func(name string, do func() error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(total)
			n, cpu := 0, processTime(b)
			for b.Loop() {
				n++
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(1e-6*float64(total)*float64(n)/(processTime(b)-cpu).Seconds(), "MB/cpu-s")
		})
	}
	var last *state.Memory
	restore := func(r state.FileReader) func() error {
		return func() error {
			last = nil // memory for one is enough
			m, err := state.NewMemory(o)
			if err != nil {
				return err
			}
			last = m
			return m.Restore(b.Context(), list, r)
		}
	}
	run("download", func() error { return download(b.Context(), f, list) })
	run("download-4", func() error {
		var wg sync.WaitGroup
		var errs [readsAtOnce]error
		for i := range readsAtOnce {
			wg.Go(func() { errs[i] = download(b.Context(), f, list[i*len(list)/readsAtOnce:(i+1)*len(list)/readsAtOnce]) })
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	})
	run("restore-serial", restore(serial{f}))
	run("restore", restore(f))
	run("restore-distant-serial", restore(serial{distant{f}}))
	run("restore-distant", restore(distant{f}))
	if last != nil {
		checkCounts(b, last, n)
	}
}

// checkCounts wants each of n keys once.
func checkCounts(b *testing.B, m *state.Memory, n int64) {
	b.Helper()
	t, err := m.Table(counts)
	if err != nil {
		b.Fatal(err)
	}
	keys, sum := int64(0), int64(0)
	t.RangeInt64(func(_ int, key int64, val []byte) bool {
		keys += key
		sum += int64(binary.LittleEndian.Uint64(val))
		return true
	})
	if int64(t.Len()) != n || sum != n || keys != n*(n-1)/2 {
		b.Errorf("restored %d keys with %d counts, the keys' sum is %d: want %d of each", t.Len(), sum, keys, n)
	}
}

// processTime is the processor time of this process; the server is another one.
func processTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// counts is the state of the benchmark.
var counts = state.Descriptor{Name: "count", Keys: state.Int64Keys, ValueSize: 8}

// writeCounts stores a snapshot of a count for each of n keys.
func writeCounts(b *testing.B, o state.Options, n int64, f files) []state.File {
	b.Helper()
	m, err := state.NewMemory(o)
	if err != nil {
		b.Fatal(err)
	}
	t, err := m.Table(counts)
	if err != nil {
		b.Fatal(err)
	}
	keys, hashes := make([]int64, 1024), make([]uint64, 1024)
	for k := int64(0); k < n; k += int64(len(keys)) {
		for i := range keys {
			keys[i] = k + int64(i)
		}
		state.HashInt64s(hashes, keys)
		t.AddInt64s(keys, hashes, nil, nil)
	}
	s := m.Seal()
	defer s.Release()
	list, err := s.Write(b.Context(), f)
	if err != nil {
		b.Fatal(err)
	}
	return list
}

// download reads whole files and does nothing with them.
func download(ctx context.Context, f files, list []state.File) error {
	for _, file := range list {
		if _, err := f.store.GetRange(ctx, f.key(file.Path), 0, file.Size); err != nil {
			return err
		}
	}
	return nil
}
