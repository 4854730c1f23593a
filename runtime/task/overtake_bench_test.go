// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/stream"
	"github.com/weir-stream/weir/runtime/task/tasktest"
)

// endlessKeys is a source of random keys that never ends; its position is not kept.
type endlessKeys struct{ randomKeys }

func (s *endlessKeys) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	return func(context.Context) ([]operator.List, error) { return nil, nil }, nil
}

// slowSink takes a fixed time for each batch.
type slowSink struct{ pause time.Duration }

func (*slowSink) Open(context.Context, *operator.Context) error { return nil }
func (*slowSink) Resume() (operator.Status, error)              { return operator.Done, nil }
func (*slowSink) Close() error                                  { return nil }
func (s *slowSink) Process(int, record.Batch) (operator.Status, error) {
	if s.pause > 0 {
		time.Sleep(s.pause)
	}
	return operator.Done, nil
}

// countingJob counts random keys from some sources in two subtasks, and hands the counts to sinks.
func countingJob(tb testing.TB, sources int, pause time.Duration) *tasktest.Job {
	tb.Helper()
	j := &stream.Job{}
	src := stream.From(j, "source", func() stream.Source[int64] {
		return &endlessKeys{randomKeys{total: 1 << 60, keys: 10_000}}
	}, stream.Parallelism(sources))
	counts := stream.Count(stream.KeyBy(src, func(k int64) int64 { return k }), "count")
	stream.To(counts.Rebalance(), "sink", func() operator.Operator { return &slowSink{pause: pause} })
	g, err := j.Graph()
	if err != nil {
		tb.Fatal(err)
	}
	return tasktest.StartJob(tb, g, tasktest.JobOptions{Parallelism: 2, MaxParallelism: 128, Files: &tasktest.Files{}})
}

// percentiles reports the median and the 99th of a hundred.
func percentiles(b *testing.B, ds []time.Duration) {
	b.Helper()
	slices.Sort(ds)
	b.ReportMetric(float64(ds[len(ds)/2])/1e6, "p50-ms")
	b.ReportMetric(float64(ds[len(ds)*99/100])/1e6, "p99-ms")
}

// BenchmarkAlignmentPause measures how long two tasks with 64 channels each align, at full load. One iteration is one checkpoint.
func BenchmarkAlignmentPause(b *testing.B) {
	for name, barrier := range map[string]record.Barrier{"aligned": {}, "unaligned": {Unaligned: true}} {
		b.Run(name, func(b *testing.B) {
			job := countingJob(b, 64, 0)
			time.Sleep(200 * time.Millisecond) // until the queues are full
			var pauses []time.Duration
			id := int64(0)
			for b.Loop() {
				id++
				barrier.Checkpoint = id
				job.Trigger(barrier)
				if job.Acked(barrier) == nil {
					b.Fatal("a checkpoint was declined")
				}
				for s := range 2 {
					pauses = append(pauses, job.Metrics(id, protocol.TaskID{Vertex: "count", Subtask: s}).Alignment)
				}
				job.Complete(b.Context(), id)
			}
			percentiles(b, pauses)
		})
	}
}

// BenchmarkBackPressure measures whole checkpoints with sinks that are a hundred times slower than the rest. One iteration is one checkpoint.
func BenchmarkBackPressure(b *testing.B) {
	for name, barrier := range map[string]record.Barrier{
		"aligned": {}, "unaligned": {Unaligned: true}, "after100ms": {Unaligned: true, AlignmentTimeout: 100 * time.Millisecond},
	} {
		b.Run(name, func(b *testing.B) {
			job := countingJob(b, 2, 10*time.Millisecond)
			time.Sleep(time.Second) // until the queues are full
			var took []time.Duration
			id := int64(0)
			for b.Loop() {
				id++
				barrier.Checkpoint = id
				start := time.Now()
				job.Trigger(barrier)
				if job.Acked(barrier) == nil {
					b.Fatal("a checkpoint was declined")
				}
				took = append(took, time.Since(start))
				job.Complete(b.Context(), id)
			}
			percentiles(b, took)
		})
	}
}
