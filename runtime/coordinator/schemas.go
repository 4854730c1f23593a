// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
)

// checkSchemas says which operators can't take the state that they are to take, so that a state of another type, or of another kind of operator, is found before anything is stopped.
func (c *Coordinator) checkSchemas(ctx context.Context, p *prepared) (warnings []string, err error) {
	problems, warnings := c.schemaProblems(ctx, p)
	if len(problems) == 0 {
		return warnings, nil
	}
	incompatible := &assign.IncompatibleError{Checkpoint: p.from.manifest.Checkpoint, Kind: p.from.manifest.Kind}
	for _, s := range problems {
		incompatible.Problems = append(incompatible.Problems, s.String())
	}
	return warnings, incompatible
}

// schemaProblem says that an operator uses its state in another way than the snapshot has it.
type schemaProblem struct {
	operator string
	err      error
}

// String names the operator and why.
func (s schemaProblem) String() string {
	name := fmt.Sprintf("operator %q: ", s.operator)
	return name + strings.TrimPrefix(s.err.Error(), name) // some of them name it
}

// schemaProblems opens one instance of each operator with keyed state over the smallest part of the state that it is to take. Only operators know what state they
// use, and they say so when they are opened; one that can't be opened here for another reason, such as a server that it can't reach, is a
// warning: its tasks may well be able to.
func (c *Coordinator) schemaProblems(ctx context.Context, p *prepared) (problems []schemaProblem, warnings []string) {
	if p.from == nil || p.from.manifest == nil {
		return nil, nil
	}
	files := snapshotFiles{store: c.o.Store, dir: path.Dir(manifestKey(p.from.Path))}
	for _, v := range p.graph.Vertices {
		for _, n := range v.Nodes {
			if err := p.checkLists(v, n); err != nil {
				problems = append(problems, schemaProblem{n.Name, err})
			}
			if !n.Keyed || n.NewOperator == nil || n.Transactional {
				continue
			}
			err := c.tryOpen(ctx, p, n, p.stateOf(v, n.Name), files)
			_, other := errors.AsType[*state.SchemaError](err)
			unused, lost := errors.AsType[*state.UnusedError](err)
			switch {
			case lost && p.cfg.AllowNonRestoredState:
				warnings = append(warnings, fmt.Sprintf("state %q of operator %q is dropped: the operator doesn't use it any more, and upgrade.allowNonRestoredState is set", unused.States, n.Name))
			case other || lost:
				problems = append(problems, schemaProblem{n.Name, err})
			case err != nil:
				warnings = append(warnings, fmt.Sprintf("whether operator %q can take its state was not found out: %v", n.Name, err))
			}
		}
	}
	return problems, warnings
}

// checkLists says whether an operator can take its operator state, as far as it tells without being opened.
func (p *prepared) checkLists(v *graph.Vertex, n *graph.Node) error {
	if n.CheckState == nil {
		return nil
	}
	for s := range v.Parallelism {
		err := n.CheckState(p.tasks[protocol.TaskID{Vertex: v.Name, Subtask: s}].Operators[n.Name].Lists)
		if _, unused := errors.AsType[*operator.UnusedStateError](err); err != nil && (!unused || !p.cfg.AllowNonRestoredState) {
			return err
		}
	}
	return nil
}

// stateOf returns the files with the keyed state of an operator, by subtask, but for subtasks that have none. A subtask may have shared files that no index of its own refers to: these alone
// are none.
func (p *prepared) stateOf(v *graph.Vertex, name string) [][]state.File {
	var all [][]state.File
	for s := range v.Parallelism {
		if files := p.tasks[protocol.TaskID{Vertex: v.Name, Subtask: s}].Operators[name].Keyed; firstOf(files) >= 0 {
			all = append(all, files)
		}
	}
	return all
}

// firstOf returns the first key group that files say to have entries of; -1 for none.
func firstOf(files []state.File) int {
	if i := slices.IndexFunc(files, func(f state.File) bool { return !f.Shared }); i >= 0 {
		return files[i].FirstGroup
	}
	return -1
}

// tryOpen opens and closes an operator over the first key group that its state has entries of, and looks whether it has asked for all states that have any, in
// whatever group.
func (c *Coordinator) tryOpen(ctx context.Context, p *prepared, n *graph.Node, all [][]state.File, files state.FileReader) (err error) {
	first, old := 0, []state.File(nil)
	if len(all) > 0 {
		first, old = firstOf(all[0]), all[0]
	}
	keyed, err := state.NewMemory(state.Options{MaxParallelism: p.cfg.MaxParallelism, First: first, Last: first})
	if err != nil {
		return err
	}
	if err := keyed.Restore(ctx, old, files); err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it panicked: %v", r)
		}
	}()
	op := n.NewOperator()
	defer func() { err = errors.Join(err, op.Close()) }()
	if err := op.Open(ctx, &operator.Context{
		JobID: p.cfg.JobID, JobName: p.cfg.Name, Name: n.Name, Parallelism: 1, MaxParallelism: p.cfg.MaxParallelism, Attempt: "check",
		Out: nowhere{}, Keyed: keyed, RestoredFrom: p.from.manifest.Checkpoint, Checkpointed: true, Wake: func() {}, Now: time.Now,
		Log: c.o.Log.WithValues("operator", n.Name), Counters: &operator.Counters{},
	}); err != nil {
		return err
	}
	return unusedState(ctx, keyed.Unasked(), slices.Concat(all...), files)
}

// unusedState is a [state.UnusedError] if some of the named states have entries.
func unusedState(ctx context.Context, names []string, all []state.File, files state.FileReader) error {
	if len(names) == 0 {
		return nil
	}
	lost, err := state.WithEntries(ctx, all, files, names)
	if err != nil || len(lost) == 0 {
		return err
	}
	return &state.UnusedError{States: lost}
}

// nowhere takes what an operator emits that is only tried.
type nowhere struct{}

// Emit implements operator.Output.
func (nowhere) Emit(record.Batch) (operator.Status, error) { return operator.Done, nil }

// snapshotFiles reads the files of a snapshot.
type snapshotFiles struct {
	store storage.Reader
	dir   string
}

// ReadFile implements state.FileReader.
func (s snapshotFiles) ReadFile(ctx context.Context, f state.File, off, n int64) ([]byte, error) {
	return s.store.GetRange(ctx, snapshot.FileKey(s.dir, f.Path), off, n)
}
