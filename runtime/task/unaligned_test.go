// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/stream"
	"github.com/weir-stream/weir/runtime/task/tasktest"
)

// event is the Seq-th row of a key.
type event struct{ Key, Seq int64 }

const (
	streams       = 6  // shares of the input, dealt out to the subtasks of the source
	keysPerStream = 20 //
)

// program counts events by key twice, with a rebalance to a slow step between.
type program struct {
	rows int64 // of each key
	slow time.Duration
	end  atomic.Bool // sources may end
	mu   sync.Mutex
	// counts is the highest count of each key that came out at the end.
	counts map[int64]int64
	wrong  []string
}

// graph of a run.
func (p *program) graph(tb testing.TB) *graph.Graph {
	tb.Helper()
	j := &stream.Job{}
	in := stream.From(j, "in", func() stream.Source[event] { return &events{p: p} })
	checked := stream.Reduce(stream.KeyBy(in, func(e event) int64 { return e.Key }), "check", func(last, e event) event {
		if e.Seq != last.Seq+1 {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.wrong = append(p.wrong, fmt.Sprintf("row %d of key %d after %d", e.Seq, e.Key, last.Seq))
		}
		return e
	})
	slow := stream.Map(checked.Rebalance(), "slow", func(e event) event {
		if e.Seq%64 == 0 && p.slow > 0 {
			time.Sleep(p.slow)
		}
		return e
	}, stream.NoChain())
	counted := stream.Count(stream.KeyBy(slow, func(e event) int64 { return e.Key }), "count")
	stream.ForEach(counted, "out", func(c stream.Counted[int64]) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.counts[c.Key] = max(p.counts[c.Key], c.Count)
	})
	g, err := j.Graph()
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// events is a source of several streams.
type events struct {
	p    *program
	at   map[int64]int64 // position in each stream
	next []int64
}

// Open takes the streams of this subtask.
func (s *events) Open(_ context.Context, c *operator.Context) error {
	s.at = map[int64]int64{}
	if c.RestoredFrom == 0 {
		for i := int64(c.Subtask); i < streams; i += int64(c.Parallelism) {
			s.at[i] = 0
		}
	}
	for _, e := range c.List("streams") {
		id, at, _ := strings.Cut(string(e), ":")
		i, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			return err
		}
		if s.at[i], err = strconv.ParseInt(at, 10, 64); err != nil {
			return err
		}
	}
	for i := range s.at {
		s.next = append(s.next, i)
	}
	return nil
}

// Poll takes a portion of the streams in turn.
func (s *events) Poll(rows []event) ([]event, operator.Polled, error) {
	for range len(s.next) {
		i := s.next[0]
		s.next = append(s.next[1:], i)
		if s.at[i] == s.p.rows*keysPerStream {
			continue
		}
		for range min(100, s.p.rows*keysPerStream-s.at[i]) {
			n := s.at[i]
			rows = append(rows, event{Key: i*keysPerStream + n%keysPerStream, Seq: n/keysPerStream + 1})
			s.at[i]++
		}
		return rows, operator.Polled{State: operator.More}, nil
	}
	if s.p.end.Load() {
		return rows, operator.Polled{State: operator.End}, nil
	}
	return rows, operator.Polled{State: operator.Wait, WakeAt: time.Now().Add(time.Millisecond)}, nil
}

func (s *events) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	l := operator.List{Name: "streams"}
	for i, at := range s.at {
		l.Entries = append(l.Entries, fmt.Appendf(nil, "%d:%d", i, at))
	}
	return func(context.Context) ([]operator.List, error) { return []operator.List{l}, nil }, nil
}
func (s *events) Close() error { return nil }

// TestUnaligned_ExactlyOnceThroughFailures kills a job under back-pressure again and again, each time after an unaligned snapshot, some of
// them taken while the last restore was still processing what had been in flight, and goes on at another parallelism.
func TestUnaligned_ExactlyOnceThroughFailures(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		workers int
		timeout time.Duration
	}{
		"one process":                    {workers: 1},
		"two processes":                  {workers: 2},
		"one process, after a timeout":   {workers: 1, timeout: 3 * time.Millisecond},
		"two processes, after a timeout": {workers: 2, timeout: 3 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exactlyOnce(t, tc.workers, tc.timeout)
		})
	}
}

func exactlyOnce(t *testing.T, workers int, timeout time.Duration) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(7, uint64(workers)))
	p := &program{rows: 1500, slow: 200 * time.Microsecond, counts: map[int64]int64{}}
	files := &tasktest.Files{}
	var m *snapshot.Manifest
	id, inFlight := int64(0), int64(0)
	for range 8 {
		parallelism := 1 + rnd.IntN(4)
		j := tasktest.StartJob(t, p.graph(t), tasktest.JobOptions{
			Parallelism: parallelism, MaxParallelism: 128, Workers: min(workers, parallelism), Restore: m, Files: files,
		})
		for range 1 + rnd.IntN(3) {
			time.Sleep(time.Duration(rnd.IntN(12)) * time.Millisecond) // so that back-pressure builds up, or not
			id++
			b := record.Barrier{Checkpoint: id, Unaligned: id%5 != 0, AlignmentTimeout: timeout}
			if rnd.IntN(4) == 0 {
				j.Trigger(b)
				j.Abort(id)
				continue
			}
			j.Trigger(b)
			if m = j.Acked(b); m == nil {
				t.Fatalf("snapshot %d failed", id)
			}
			for _, f := range m.ChannelFiles() {
				for _, s := range f.Sections {
					inFlight += s.Rows
				}
			}
			j.Complete(t.Context(), id)
		}
		time.Sleep(time.Duration(rnd.IntN(5)) * time.Millisecond)
		j.Stop()
	}
	p.end.Store(true)
	p.slow = 0
	j := tasktest.StartJob(t, p.graph(t), tasktest.JobOptions{Parallelism: 3, MaxParallelism: 128, Workers: workers, Restore: m, Files: files})
	j.Finish(id + 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.wrong) > 0 {
		t.Errorf("%d rows came out of order, lost or twice, the first: %s", len(p.wrong), p.wrong[0])
	}
	for k := range int64(streams * keysPerStream) {
		if p.counts[k] != p.rows {
			t.Fatalf("key %d was counted %d times, want %d", k, p.counts[k], p.rows)
		}
	}
	if inFlight == 0 {
		t.Error("no snapshot held anything in flight: this tested nothing")
	}
	t.Logf("%d snapshots held %d rows in flight", id, inFlight)
}
