// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"sync"
	"testing"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/stream"
	"github.com/weir-stream/weir/runtime/task/tasktest"
)

type randomKeys struct {
	n, total int64
	step     int64
	keys     uint64
}

func (r *randomKeys) Open(_ context.Context, c *operator.Context) error {
	r.n, r.step = int64(c.Subtask), int64(c.Parallelism)
	return nil
}
func (r *randomKeys) Close() error { return nil }
func (r *randomKeys) Poll(rows []int64) ([]int64, operator.Polled, error) {
	for range record.TargetRows {
		if r.n >= r.total {
			return rows, operator.Polled{State: operator.End}, nil
		}
		z := uint64(r.n + 1)
		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
		z = (z ^ (z >> 27)) * 0x94d049bb133111eb
		rows = append(rows, int64((z^(z>>31))&(1<<63-1)%r.keys))
		r.n += r.step
	}
	return rows, operator.Polled{State: operator.More}, nil
}

// sum adds up the increments it sees.
type sum struct {
	mu   *sync.Mutex
	rows *int64
	n    int64
}

func (s *sum) Open(context.Context, *operator.Context) error { return nil }
func (s *sum) Resume() (operator.Status, error)              { return operator.Done, nil }
func (s *sum) Process(_ int, b record.Batch) (operator.Status, error) {
	s.n += int64(b.Len())
	return operator.Done, nil
}

func (s *sum) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.rows += s.n
	return nil
}

func benchCount(b *testing.B, keys uint64) {
	var mu sync.Mutex
	var rows int64
	j := &stream.Job{}
	total := int64(b.N)
	src := stream.From(j, "source", func() stream.Source[int64] { return &randomKeys{total: total, keys: keys} })
	counts := stream.Count(stream.KeyBy(src, func(k int64) int64 { return k }), "count")
	stream.To(counts, "sink", func() operator.Operator { return &sum{mu: &mu, rows: &rows} })
	g, err := j.Graph()
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	tasktest.Run(b, g, 2)
	if rows != total {
		b.Fatalf("counted %d rows of %d", rows, total)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
}

func BenchmarkKeyedCount10k(b *testing.B) { benchCount(b, 10_000) }
func BenchmarkKeyedCount1M(b *testing.B)  { benchCount(b, 1_000_000) }

func BenchmarkChain(b *testing.B) {
	var mu sync.Mutex
	var rows int64
	j := &stream.Job{}
	total := int64(b.N)
	src := stream.From(j, "source", func() stream.Source[int64] { return &randomKeys{total: total, keys: 1 << 40} })
	m := stream.Map(src, "m1", func(k int64) int64 { return k + 1 })
	f := stream.Filter(m, "f", func(k int64) bool { return k&3 != 0 })
	m2 := stream.Map(f, "m2", func(k int64) int64 { return k * 3 })
	stream.To(m2, "sink", func() operator.Operator { return &sum{mu: &mu, rows: &rows} })
	g, err := j.Graph()
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	tasktest.Run(b, g, 2)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
}
