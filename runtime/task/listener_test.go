// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/stream"
	"github.com/weir-stream/weir/runtime/task"
)

// acknowledging is a source that acknowledges upstream what a completed snapshot covers: never more than its position in it.
type acknowledging struct {
	*journal
	at        int64
	positions map[int64]int64
	acked     int64
	fail      error
}

func (s *acknowledging) Open(context.Context, *operator.Context) error { return nil }
func (s *acknowledging) Close() error                                  { return nil }

func (s *acknowledging) Poll(rows []int64) ([]int64, operator.Polled, error) {
	s.at++
	return append(rows, s.at), operator.Polled{State: operator.More}, nil
}

func (s *acknowledging) Snapshot(b record.Barrier) (operator.AsyncSnapshot, error) {
	s.positions[b.Checkpoint] = s.at
	return func(context.Context) ([]operator.List, error) { return nil, nil }, nil
}

func (s *acknowledging) NotifyComplete(_ context.Context, id int64) error {
	if s.fail != nil {
		return s.fail
	}
	for n, at := range s.positions {
		if n <= id {
			s.acked = max(s.acked, at)
			delete(s.positions, n)
		}
	}
	s.add("acknowledged up to %d", s.acked)
	return nil
}

func (s *acknowledging) NotifyAborted(id int64) { s.add("aborted %d", id) }

func TestCore_SourceHearsOfCompletion(t *testing.T) {
	t.Parallel()
	h := &harness{journal: &journal{}, t: t, room: true, blocked: map[int]bool{}, async: map[int64]task.Async{}}
	src := &acknowledging{journal: h.journal, positions: map[int64]int64{}}
	j := &stream.Job{}
	rows := stream.From(j, "in", func() stream.Source[int64] { return src })
	stream.ForEach(rows, "out", func(int64) {}, stream.NoChain())
	g, err := j.Graph()
	h.must(err)
	plan, err := graph.NewPlan(g, graph.Options{})
	h.must(err)
	h.core = task.New(task.Options{
		Plan: plan, Vertex: plan.Vertex("in"), Attempt: protocol.Attempt{K: 1}, Checkpointed: true, Env: h, Inputs: h, Writers: [][]task.Writer{{h}},
		Wake: func() {}, Log: logr.Discard(), Now: func() time.Time { return time.Unix(0, 0) },
	})
	h.must(h.core.Open(t.Context()))
	h.must(h.core.Start())
	poll := func(n int) {
		for range n {
			_, _, err := h.core.Poll()
			h.must(err)
		}
	}
	poll(2)
	h.must(h.core.Trigger(record.Barrier{Checkpoint: 1}))
	poll(3)
	h.must(h.core.Trigger(record.Barrier{Checkpoint: 2}))
	poll(1)
	h.take()
	h.must(h.core.Aborted(1))
	h.want("cancel async 1; aborted 1; notified 1") // nothing is acknowledged for one that was given up
	h.must(h.core.Complete(t.Context(), 2, record.StopNone))
	h.want("acknowledged up to 5") // not 6, where it is
	h.must(h.core.Complete(t.Context(), 2, record.StopNone))
	h.want("acknowledged up to 5")
	src.fail = errors.New("upstream is away")
	if err := h.core.Complete(t.Context(), 3, record.StopNone); !errors.Is(err, src.fail) {
		t.Errorf("an acknowledgement that fails is passed over: %v", err)
	}
}
