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
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/task"
)

// readerFunc is a [state.FileReader].
type readerFunc func() ([]byte, error)

// ReadFile implements [state.FileReader].
func (f readerFunc) ReadFile(_ context.Context, _ state.File, _, n int64) ([]byte, error) {
	b, err := f()
	if err != nil {
		return nil, err
	}
	return append(b, make([]byte, n)...)[:n], nil
}

// A restart doesn't mend a damaged state file, so that ends the job; a storage that can't be read may come back.
func TestCore_DamagedStateIsFatal(t *testing.T) {
	t.Parallel()
	outage := errors.New("the storage can't be reached")
	for name, tc := range map[string]struct {
		read  readerFunc
		fatal bool
	}{
		"a damaged file": {func() ([]byte, error) { return []byte("no state file"), nil }, true},
		"an outage":      {func() ([]byte, error) { return nil, outage }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := openKeyed(t, tc.read)
			if _, fatal := errors.AsType[*task.FatalError](err); err == nil || fatal != tc.fatal {
				t.Errorf("fatal is %v, want %v: %v", fatal, tc.fatal, err)
			}
		})
	}
}

// openKeyed opens a task whose keyed state is in a file of the reader.
func openKeyed(t *testing.T, r state.FileReader) error {
	t.Helper()
	h := &harness{journal: &journal{}, t: t, room: true, blocked: map[int]bool{}, async: map[int64]task.Async{}}
	plan, err := graph.NewPlan(&graph.Graph{Nodes: []*graph.Node{
		{Name: "in", Parallelism: 1, Output: ints, NewSource: func() operator.Source { return nil }},
		{
			Name: "mid", Parallelism: 1, Keyed: true, Inputs: []graph.Edge{{From: "in", Partition: graph.Hash, NewHasher: func() record.Hasher { return nil }}},
			NewOperator: func() operator.Operator { return &repeat{journal: h.journal} },
		},
	}}, graph.Options{})
	h.must(err)
	file := state.File{Path: "f", Size: 4096, FirstGroup: 0, LastGroup: plan.MaxParallelism - 1}
	core := task.New(task.Options{
		Plan: plan, Vertex: plan.Vertex("mid"), Attempt: protocol.Attempt{K: 1}, Env: h, Inputs: h, Wake: func() {},
		Log: logr.Discard(), Now: func() time.Time { return time.Unix(0, 0) }, Reader: r,
		Deployment: protocol.TaskDeployment{Operators: map[string]protocol.OperatorRestore{"mid": {Keyed: []state.File{file}}}},
	})
	err = core.Open(t.Context())
	h.must(core.Close())
	return err
}

// mistyped is an operator whose state has another type in the snapshot.
type mistyped struct{ repeat }

// Open implements [operator.Operator].
func (*mistyped) Open(context.Context, *operator.Context) error {
	return &state.SchemaError{State: "count", What: "value type", Old: "int64", New: "string"}
}

func TestCore_StateOfAnotherTypeIsFatal(t *testing.T) {
	t.Parallel()
	h := &harness{journal: &journal{}, t: t, room: true, blocked: map[int]bool{}, async: map[int64]task.Async{}}
	plan, err := graph.NewPlan(&graph.Graph{Nodes: []*graph.Node{
		{Name: "in", Parallelism: 2, Output: ints, NewSource: func() operator.Source { return nil }},
		{
			Name: "mid", Parallelism: 1, Inputs: []graph.Edge{{From: "in"}},
			NewOperator: func() operator.Operator { return &mistyped{repeat{journal: h.journal}} },
		},
	}}, graph.Options{})
	h.must(err)
	core := task.New(task.Options{
		Plan: plan, Vertex: plan.Vertex("mid"), Attempt: protocol.Attempt{K: 1}, Env: h, Inputs: h, Wake: func() {},
		Log: logr.Discard(), Now: func() time.Time { return time.Unix(0, 0) },
	})
	err = core.Open(t.Context())
	if _, fatal := errors.AsType[*task.FatalError](err); !fatal {
		t.Errorf("got %v", err)
	}
	h.must(core.Close())
}

// forgetful is an operator that asks for some of its lists only.
type forgetful struct {
	repeat
	asks []string
}

// Open implements [operator.Operator].
func (f *forgetful) Open(_ context.Context, c *operator.Context) error {
	for _, name := range f.asks {
		_ = c.List(name)
	}
	return nil
}

// Operator state that an operator doesn't ask for, because it was another kind of operator when that was written, isn't dropped silently.
func TestCore_OperatorStateThatNobodyAsksForIsFatal(t *testing.T) {
	t.Parallel()
	lists := []operator.List{{Name: "positions", Entries: [][]byte{{1}}}, {Name: "transactions", Entries: [][]byte{{2}}}, {Name: "empty"}}
	for name, tc := range map[string]struct {
		asks  []string
		allow bool
		fatal bool
	}{
		"all are asked for":        {asks: []string{"positions", "transactions"}},
		"one is not":               {asks: []string{"positions"}, fatal: true},
		"none is":                  {fatal: true},
		"one is not, with a leave": {asks: []string{"positions"}, allow: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &harness{journal: &journal{}, t: t, room: true, blocked: map[int]bool{}, async: map[int64]task.Async{}}
			plan, err := graph.NewPlan(&graph.Graph{Nodes: []*graph.Node{
				{Name: "in", Parallelism: 2, Output: ints, NewSource: func() operator.Source { return nil }},
				{
					Name: "mid", Parallelism: 1, Inputs: []graph.Edge{{From: "in"}},
					NewOperator: func() operator.Operator { return &forgetful{repeat{journal: h.journal}, tc.asks} },
				},
			}}, graph.Options{})
			h.must(err)
			core := task.New(task.Options{
				Plan: plan, Vertex: plan.Vertex("mid"), Attempt: protocol.Attempt{K: 1}, Env: h, Inputs: h, Wake: func() {},
				Log: logr.Discard(), Now: func() time.Time { return time.Unix(0, 0) }, AllowNonRestoredState: tc.allow,
				Deployment: protocol.TaskDeployment{Operators: map[string]protocol.OperatorRestore{"mid": {Lists: lists}}},
			})
			err = core.Open(t.Context())
			_, fatal := errors.AsType[*task.FatalError](err)
			_, unused := errors.AsType[*operator.UnusedStateError](err)
			if fatal != tc.fatal || unused != tc.fatal {
				t.Errorf("fatal is %v, want %v: %v", fatal, tc.fatal, err)
			}
			h.must(core.Close())
		})
	}
}
