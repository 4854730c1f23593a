// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/task"
	"github.com/weir-stream/weir/runtime/task/tasktest"
)

// idleSource yields nothing.
type idleSource struct{}

func (idleSource) Open(context.Context, *operator.Context) error { return nil }
func (idleSource) Poll() (operator.Polled, error)                { return operator.Polled{State: operator.Wait}, nil }
func (idleSource) Close() error                                  { return nil }

// notifiedEnv remembers the answers.
type notifiedEnv struct {
	tasktest.NoEnv
	notified []int64
}

func (e *notifiedEnv) Notified(checkpoint int64) { e.notified = append(e.notified, checkpoint) }

// The coordinator repeats the end of a stop until every task has answered, so each must: frozen by it, not reached by it,
// or told of it for the second time.
func TestCore_AnswersEveryAbort(t *testing.T) {
	p, err := graph.NewPlan(&graph.Graph{Nodes: []*graph.Node{{Name: "s", NewSource: func() operator.Source { return idleSource{} }}}}, graph.Options{})
	if err != nil {
		t.Fatal(err)
	}
	env := &notifiedEnv{}
	c := task.New(task.Options{Plan: p, Vertex: p.Vertices[0], Checkpointed: true, Env: env, Now: func() time.Time { return time.Unix(0, 0) }})
	if err := c.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Trigger(record.Barrier{Checkpoint: 1, Kind: record.Savepoint, Stop: record.StopFreeze}); err != nil {
		t.Fatal(err)
	}
	if !c.Frozen() {
		t.Fatal("the task isn't frozen by the stop")
	}
	for _, id := range []int64{1, 1, 2} {
		if err := c.Aborted(id); err != nil {
			t.Fatal(err)
		}
	}
	if c.Frozen() {
		t.Error("the task is still frozen")
	}
	if d := cmp.Diff([]int64{1, 1, 2}, env.notified); d != "" {
		t.Errorf("answers differ (-want +got):\n%s", d)
	}
}
