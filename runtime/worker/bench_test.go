// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/stream"
	"github.com/weir-stream/weir/runtime/transport"
)

// BenchmarkKeyedCount counts random keys at parallelism 2 on one worker and on two that are connected over
// loopback, all in this process.
func BenchmarkKeyedCount(b *testing.B) {
	for name, tc := range map[string]struct {
		workers int
		tls     bool
	}{"one": {workers: 1}, "two": {workers: 2}, "two-mTLS": {workers: 2, tls: true}} {
		b.Run(name, func(b *testing.B) { benchCount(b, tc.workers, tc.tls) })
	}
}

func benchCount(b *testing.B, workers int, secure bool) {
	b.Helper()
	const parallelism, keys = 2, 1_000_000
	f := newFakeCoordinator(b)
	var sunk atomic.Int64
	build := stream.Build(func(j *stream.Job) {
		s := stream.From(j, "random", func() stream.Source[int64] {
			return &random{left: int64(b.N/parallelism + 1), keys: keys}
		})
		c := stream.Count(stream.KeyBy(s, func(k int64) int64 { return k }), "count")
		stream.To(c, "sink", func() operator.Operator { return &sink{n: &sunk} })
	})
	dir := b.TempDir()
	if err := transport.GenerateCerts(dir, nil); err != nil {
		b.Fatal(err)
	}
	var conns []*fakeConn
	for i := range workers {
		o := Options{
			Name: fmt.Sprintf("w%d", i), Slots: parallelism, Connect: f.connect, DataListenAddr: "127.0.0.1:0",
			Build: func(c contract.JobConfig) (*graph.Graph, error) { return build(c) },
			Store: constStore(newStore()),
		}
		if secure {
			files := transport.CertFiles(dir, "worker")
			o.TLS = &files
		}
		startWorker(b.Context(), b, o)
		conns = append(conns, f.accept())
	}
	b.ResetTimer()
	for c, d := range deploymentOf(1, parallelism, conns, nil, "random", "count") {
		c.send(protocol.ToWorker{Deploy: d})
	}
	for _, c := range conns {
		c.states(protocol.TaskFinished, 2*parallelism/workers)
	}
	b.StopTimer()
	if want := int64(parallelism) * int64(b.N/parallelism+1); sunk.Load() != want {
		b.Errorf("%d rows came out, want %d", sunk.Load(), want)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

// random is a source of uniformly random keys.
type random struct {
	left, keys int64
	x          uint64
}

func (r *random) Open(_ context.Context, c *operator.Context) error {
	r.x = uint64(c.Subtask+1) * 0x9e3779b97f4a7c15
	return nil
}

func (r *random) Poll(rows []int64) ([]int64, operator.Polled, error) {
	n := min(r.left, record.TargetRows)
	for range n {
		r.x ^= r.x << 13
		r.x ^= r.x >> 7
		r.x ^= r.x << 17
		rows = append(rows, int64((r.x>>32)*uint64(r.keys)>>32))
	}
	if r.left -= n; r.left == 0 {
		return rows, operator.Polled{State: operator.End}, nil
	}
	return rows, operator.Polled{}, nil
}

func (r *random) Close() error { return nil }

// sink counts rows.
type sink struct{ n *atomic.Int64 }

func (s *sink) Open(context.Context, *operator.Context) error { return nil }
func (s *sink) Process(_ int, b record.Batch) (operator.Status, error) {
	s.n.Add(int64(b.Len()))
	return operator.Done, nil
}
func (s *sink) Resume() (operator.Status, error) { return operator.Done, nil }
func (s *sink) Close() error                     { return nil }
