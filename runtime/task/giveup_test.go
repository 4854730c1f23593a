// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/task"
)

// rowSource yields one row at each poll.
type rowSource struct{}

func (rowSource) Open(context.Context, *operator.Context) error { return nil }
func (rowSource) Close() error                                  { return nil }
func (rowSource) Poll() (operator.Polled, error) {
	b := ints.Get()
	b.Values = append(b.Values, 1)
	return operator.Polled{Batch: b, State: operator.More}, nil
}

// pausedSource returns the core of a source whose output has no room.
func pausedSource(t *testing.T, change ...func(*task.Options)) *harness {
	t.Helper()
	h := &harness{journal: &journal{}, t: t, blocked: map[int]bool{}, async: map[int64]task.Async{}}
	plan, err := graph.NewPlan(&graph.Graph{Nodes: []*graph.Node{
		{Name: "in", Parallelism: 1, Output: ints, NewSource: func() operator.Source { return rowSource{} }},
		{
			Name: "out", Parallelism: 1, NoChain: true, Inputs: []graph.Edge{{From: "in"}},
			NewOperator: func() operator.Operator { return nil },
		},
	}}, graph.Options{})
	h.must(err)
	o := task.Options{
		Plan: plan, Vertex: plan.Vertex("in"), Attempt: protocol.Attempt{K: 1}, Checkpointed: true,
		Env: h, Inputs: h, Writers: [][]task.Writer{{h}}, Wake: func() {}, Log: logr.Discard(),
		Now: func() time.Time { return time.Unix(0, 0) },
	}
	for _, f := range change {
		f(&o)
	}
	h.core = task.New(o)
	h.must(h.core.Open(t.Context()))
	h.must(h.core.Start())
	_, _, err = h.core.Poll()
	h.must(err)
	if !h.core.Paused() {
		t.Fatal("the source isn't paused")
	}
	return h
}

// A stop that expires because of back-pressure is given up while a source is paused in front of its barrier. The source has
// answered and isn't told again, so it must not freeze once there is room.
func TestCore_StopGivenUpWhilePaused(t *testing.T) {
	t.Parallel()
	h := pausedSource(t)
	h.must(h.core.Trigger(record.Barrier{Checkpoint: 1, Stop: record.StopFreeze}))
	h.must(h.core.Trigger(record.Barrier{Checkpoint: 2}))
	h.must(h.core.Aborted(1))
	h.want("notified 1")
	h.room = true
	h.must(h.core.Resume())
	h.want("rows 1; cancel-barrier 1; barrier 2; async 2")
	if h.core.Frozen() || !h.core.Pollable() {
		t.Error("the source is frozen by a stop that was given up")
	}
}

// The operators of a drain finish before its barrier: giving it up there is an error as well.
func TestCore_DrainGivenUpWhilePaused(t *testing.T) {
	t.Parallel()
	h := pausedSource(t)
	h.must(h.core.Trigger(record.Barrier{Checkpoint: 1}))
	h.must(h.core.Trigger(record.Barrier{Checkpoint: 2, Stop: record.StopDrain}))
	h.must(h.core.Aborted(1))
	if err := h.core.Aborted(2); err == nil {
		t.Error("giving up a drain is no error, though the operators finish for it")
	}
}
