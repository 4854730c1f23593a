// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/task"
)

// keyed is an operator that uses its keyed state.
type keyed struct {
	repeat
	table *state.Table
}

func (k *keyed) Open(_ context.Context, c *operator.Context) (err error) {
	k.table, err = c.Keyed.Table(state.Descriptor{Name: "count", Keys: state.Int64Keys, ValueSize: 8})
	return err
}

func (k *keyed) touch(key int64) { k.table.RefInt64(key, state.HashInt64(key)) }

// sharedFiles takes files and keeps how many there were.
type sharedFiles struct{ n int }

func (s *sharedFiles) WriteFile(context.Context, []byte) (state.File, error) {
	s.n++
	return state.File{Path: fmt.Sprint("f", s.n)}, nil
}

func (s *sharedFiles) WriteShared(ctx context.Context, data []byte) (state.File, error) {
	f, err := s.WriteFile(ctx, data)
	f.Path, f.Shared = snapshot.SharedPrefix+f.Path, true
	return f, err
}

// acks notes what is acknowledged.
type acks struct {
	*harness
	files map[int64][]state.File
}

func (a *acks) Ack(id int64, ops map[string]snapshot.SubtaskState, m protocol.AckMetrics) {
	a.files[id] = ops["mid"].Keyed
	a.harness.Ack(id, ops, m)
}

// newKeyed opens a task with one keyed operator.
func newKeyed(t *testing.T, account *state.Account) (*acks, *keyed) {
	t.Helper()
	h := &harness{journal: &journal{}, t: t, room: true, blocked: map[int]bool{}, async: map[int64]task.Async{}}
	op := &keyed{repeat: repeat{journal: h.journal}}
	plan, err := graph.NewPlan(&graph.Graph{Nodes: []*graph.Node{
		{Name: "in", Parallelism: 1, Output: ints, NewSource: func() operator.Source { return nil }},
		{
			Name: "mid", Parallelism: 1, Keyed: true, Inputs: []graph.Edge{{From: "in", Partition: graph.Hash, NewHasher: func() record.Hasher { return nil }}},
			NewOperator: func() operator.Operator { return op },
		},
	}}, graph.Options{})
	h.must(err)
	a := &acks{harness: h, files: map[int64][]state.File{}}
	h.core = task.New(task.Options{
		Plan: plan, Vertex: plan.Vertex("mid"), Attempt: protocol.Attempt{K: 1}, Env: a, Inputs: h, Wake: func() {}, Checkpointed: true,
		Log: logr.Discard(), Now: func() time.Time { return time.Unix(0, 0) }, Memory: account,
	})
	h.must(h.core.Open(t.Context()))
	h.must(h.core.Start())
	return a, op
}

// checkpoint brings the barrier and runs the asynchronous part, whose outcome it returns.
func (a *acks) checkpoint(id, base int64, w state.FileWriter) (task.AsyncResult, error) {
	a.t.Helper()
	a.must(a.core.HandleElement(0, record.OfBarrier(record.Barrier{Checkpoint: id, Base: base, Target: "chk/", Shared: "shared/"})))
	return a.async[id](a.t.Context(), w)
}

func reused(files []state.File) (n int) {
	for _, f := range files {
		if f.Reused {
			n++
		}
	}
	return n
}

// The base is the one that the barrier names, never one of the task's choice.
func TestCore_TheBarrierNamesTheBase(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		between func(a *acks)
		base    int64
		want    int
	}{
		"named":                     {base: 1, want: 1},
		"named, complete":           {base: 1, want: 1, between: func(a *acks) { a.must(a.core.Complete(a.t.Context(), 1, record.StopNone)) }},
		"complete, but not named":   {base: 0, between: func(a *acks) { a.must(a.core.Complete(a.t.Context(), 1, record.StopNone)) }},
		"aborted":                   {base: 1, between: func(a *acks) { a.must(a.core.Aborted(1)) }},
		"of an attempt before this": {base: 7},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, op := newKeyed(t, nil)
			w := &sharedFiles{}
			for k := range int64(1000) {
				op.touch(k)
			}
			r, err := a.checkpoint(1, 0, w)
			a.core.AsyncDone(1, r, err)
			if tc.between != nil {
				tc.between(a)
			}
			r, err = a.checkpoint(9, tc.base, w)
			a.core.AsyncDone(9, r, err)
			if n := reused(a.files[9]); n != tc.want {
				t.Errorf("%d files are reused, want %d: %+v", n, tc.want, a.files[9])
			}
			a.must(a.core.Close())
		})
	}
}

// A savepoint, and a checkpoint of a job that isn't incremental, stand alone.
func TestCore_WithoutSharedFilesASnapshotStandsAlone(t *testing.T) {
	t.Parallel()
	a, op := newKeyed(t, nil)
	op.touch(3)
	a.must(a.core.HandleElement(0, record.OfBarrier(record.Barrier{Checkpoint: 1, Kind: record.Savepoint, Target: "sp/"})))
	r, err := a.async[1](t.Context(), &sharedFiles{})
	a.core.AsyncDone(1, r, err)
	if f := a.files[1]; len(f) != 1 || f[0].Shared || f[0].Index {
		t.Errorf("files are %+v", f)
	}
	a.must(a.core.Close())
}

// Shared files of a checkpoint that was given up meanwhile are made known, or nobody would delete them.
func TestCore_LateSharedFilesAreAcknowledged(t *testing.T) {
	t.Parallel()
	a, op := newKeyed(t, nil)
	w := &sharedFiles{}
	op.touch(3)
	r, err := a.checkpoint(1, 0, w)
	a.must(a.core.Aborted(1))
	a.core.AsyncDone(1, r, err)
	if f := a.files[1]; len(f) != 2 || !f[1].Shared || f[1].Reused {
		t.Errorf("files are %+v", f)
	}
	// It created none, so there is nothing to say.
	r, err = a.checkpoint(2, 0, w)
	a.core.AsyncDone(2, r, err)
	r, err = a.checkpoint(3, 2, w)
	a.must(a.core.Aborted(3))
	a.core.AsyncDone(3, r, err)
	if f, ok := a.files[3]; ok {
		t.Errorf("checkpoint 3 is acknowledged with %+v", f)
	}
	a.must(a.core.Close())
}

func TestCore_MemoryOfAllTasksIsCounted(t *testing.T) {
	t.Parallel()
	account := state.NewAccount(0)
	a, first := newKeyed(t, account)
	b, second := newKeyed(t, account)
	empty := account.Used()
	for k := range int64(10_000) {
		first.touch(k)
		second.touch(k)
	}
	r, err := a.checkpoint(1, 0, &sharedFiles{})
	a.core.AsyncDone(1, r, err)
	if n := account.Used() - empty; n < 2*160_000 {
		t.Errorf("two tasks with 10000 keys each take %d bytes", n)
	}
	a.must(a.core.Close())
	b.must(b.core.Close())
	if n := account.Used(); n != 0 {
		t.Errorf("%d bytes are counted after the tasks have ended", n)
	}
}
