// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"fmt"
	"testing"
)

// sliceReader reads from memory without a copy, so that a restore is all there is to measure.
type sliceReader struct {
	files map[string][]byte
	// atOnce is how many reads may run at the same time.
	atOnce int
}

func (r *sliceReader) WriteFile(_ context.Context, data []byte) (File, error) {
	path := fmt.Sprint("f", len(r.files))
	r.files[path] = append([]byte(nil), data...)
	return File{Path: path}, nil
}

func (r *sliceReader) ReadFile(_ context.Context, f File, off, n int64) ([]byte, error) {
	return r.files[f.Path][off : off+n : off+n], nil
}

func (r *sliceReader) ReadsAtOnce() int { return r.atOnce }

// BenchmarkRestoreLoad restores counts, in as many pages as the table needs, from memory: with full, half empty and nearly empty pages.
func BenchmarkRestoreLoad(b *testing.B) {
	for _, n := range []int64{16_000_000} {
		m, t := newCounts(b, Options{MaxParallelism: 128, Last: 127})
		fill(t, n)
		r := &sliceReader{files: map[string][]byte{}}
		files, err := m.Seal().Write(b.Context(), r)
		if err != nil {
			b.Fatal(err)
		}
		for _, atOnce := range []int{1, 4} {
			r.atOnce = atOnce
			b.Run(fmt.Sprintf("keys=%d/reads=%d", n, atOnce), func(b *testing.B) {
				b.SetBytes(16 * n)
				var back *Memory
				for i, cpu := 0, processTime(b); b.Loop(); i++ {
					back = mustMemory(b, Options{MaxParallelism: 128, Last: 127})
					if err := back.Restore(b.Context(), files, r); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(16e-6*float64(n)*float64(i+1)/(processTime(b)-cpu).Seconds(), "MB/cpu-s")
				}
				b.ReportMetric(float64(back.MemoryBytes())/float64(n), "B/key")
			})
		}
	}
}
