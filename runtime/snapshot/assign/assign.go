// SPDX-License-Identifier: Apache-2.0

package assign

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// Shape describes the physical graph that is to take the state.
type Shape struct {
	// MaxParallelism is the number of key groups.
	MaxParallelism int
	// Vertices are the chains of operators.
	Vertices []Vertex
}

// Vertex is a chain of operators.
type Vertex struct {
	// Name of the vertex, as in [protocol.TaskID].
	Name string
	// Parallelism is the number of its subtasks.
	Parallelism int
	// Inputs are the vertices it reads from; empty exactly for a source. They come before it in the shape.
	Inputs []Input
	// Operators of the chain, in order.
	Operators []Operator
}

// Input is an input of a vertex.
type Input struct {
	// Vertex is the name of the producer.
	Vertex string
	// Forward says that subtask i reads from subtask i alone; else every subtask reads from every one.
	Forward bool
}

// Operator is one dataflow operator.
type Operator struct {
	// Name is the identity; state is found by it, else by the first of PreviousNames that has state.
	Name          string
	PreviousNames []string
	// Keyed says that it has keyed state.
	Keyed bool
	// Edges are what it reads, for rows that were in flight.
	Edges []Edge
}

// Options are the consents of the user.
type Options struct {
	// AllowNonRestoredState lets state be dropped that the graph has no place for.
	AllowNonRestoredState bool
	// AllowDrained lets a job go on from a savepoint that it was drained with.
	AllowDrained bool
}

// IncompatibleError says why the graph can't take the state. A restart doesn't help.
type IncompatibleError struct {
	// Checkpoint is the id of the snapshot, Kind what it is.
	Checkpoint int64
	Kind       record.SnapshotKind
	// Problems are sentences that each name the thing and the remedy.
	Problems []string
}

// Error returns all problems.
func (e *IncompatibleError) Error() string {
	if e.Checkpoint == 0 {
		return "the job can't be deployed: " + strings.Join(e.Problems, "; ")
	}
	return fmt.Sprintf("the job can't be restored from %s %d: %s", e.Kind, e.Checkpoint, strings.Join(e.Problems, "; "))
}

// Assign returns the deployment of every task of the shape, with the state of m. A nil m is an empty start.
func Assign(shape Shape, m *snapshot.Manifest, o Options) (map[protocol.TaskID]protocol.TaskDeployment, error) {
	a := &assigner{shape: shape, m: m, o: o, old: map[string]*snapshot.OperatorState{}}
	a.checkShape()
	if m != nil && len(a.problems) == 0 {
		a.checkManifest()
		a.match()
		a.checkFinished()
	}
	if len(a.problems) > 0 {
		return nil, a.err()
	}
	out := map[protocol.TaskID]protocol.TaskDeployment{}
	for i := range shape.Vertices {
		a.deploy(&shape.Vertices[i], out)
	}
	if len(a.problems) > 0 {
		return nil, a.err()
	}
	return out, nil
}

type assigner struct {
	shape    Shape
	m        *snapshot.Manifest
	o        Options
	old      map[string]*snapshot.OperatorState // by name of the new operator
	problems []string
}

func (a *assigner) problemf(format string, args ...any) {
	a.problems = append(a.problems, fmt.Sprintf(format, args...))
}

func (a *assigner) err() error {
	e := &IncompatibleError{Problems: a.problems}
	if a.m != nil {
		e.Checkpoint, e.Kind = a.m.Checkpoint, a.m.Kind
	}
	return e
}

func (a *assigner) checkShape() {
	groups := a.shape.MaxParallelism
	if groups < 1 || groups > snapshot.MaxKeyGroups {
		a.problemf("maxParallelism is %d and must be 1 to %d", groups, snapshot.MaxKeyGroups)
		return
	}
	vertices, operators := map[string]bool{}, map[string]bool{}
	for _, v := range a.shape.Vertices {
		if vertices[v.Name] {
			a.problemf("the graph has two vertices %q", v.Name)
		}
		vertices[v.Name] = true
		if v.Parallelism < 1 {
			a.problemf("parallelism of %q is %d and must be 1 or more", v.Name, v.Parallelism)
		}
		if v.Parallelism > groups {
			a.problemf("parallelism %d of %q is above maxParallelism %d: lower the parallelism (maxParallelism can't change once there is state)",
				v.Parallelism, v.Name, groups)
		}
		for _, op := range v.Operators {
			if operators[op.Name] {
				a.problemf("the graph has two operators %q: give each a name of its own", op.Name)
			}
			operators[op.Name] = true
		}
	}
}

func (a *assigner) checkManifest() {
	if a.m.MaxParallelism != a.shape.MaxParallelism {
		a.problemf("the snapshot was taken with maxParallelism %d and the job has %d: set maxParallelism to %d",
			a.m.MaxParallelism, a.shape.MaxParallelism, a.m.MaxParallelism)
	}
	if a.m.Stop == record.StopDrain && !a.o.AllowDrained {
		a.problemf("the job was drained with it, so what it held back has been emitted already: resume from another savepoint, or set spec.restoreFrom.allowDrained beside its path (--allow-drained) to go on from it all the same")
	}
}

// match finds the old state of every operator, and the state that none takes.
func (a *assigner) match() {
	byName := map[string]*snapshot.OperatorState{}
	for i := range a.m.Operators {
		byName[a.m.Operators[i].Name] = &a.m.Operators[i]
	}
	takenBy := map[string]string{}
	for _, v := range a.shape.Vertices {
		for _, op := range v.Operators {
			if old := byName[op.Name]; old != nil {
				a.old[op.Name], takenBy[op.Name] = old, op.Name
			}
		}
	}
	for _, v := range a.shape.Vertices {
		for _, op := range v.Operators {
			a.matchPrevious(op, byName, takenBy)
		}
	}
	var lost []string
	for i := range a.m.Operators {
		old := &a.m.Operators[i]
		if takenBy[old.Name] == "" && !old.Empty() {
			lost = append(lost, fmt.Sprintf("%q", old.Name))
		}
	}
	if len(lost) > 0 && !a.o.AllowNonRestoredState {
		a.problemf("the graph has no operator for the state of %s: give the old name to the operator that takes it, or list it there in previousNames, or set upgrade.allowNonRestoredState to drop it",
			strings.Join(lost, ", "))
	}
}

func (a *assigner) matchPrevious(op Operator, byName map[string]*snapshot.OperatorState, takenBy map[string]string) {
	if a.old[op.Name] != nil {
		return
	}
	for _, name := range op.PreviousNames {
		old := byName[name]
		if old == nil {
			continue
		}
		if other := takenBy[name]; other != "" {
			a.problemf("operators %q and %q both claim the state of %q: remove it from previousNames of one of them, or rename the operator that is new",
				other, op.Name, name)
			return
		}
		a.old[op.Name], takenBy[name] = old, op.Name
		return
	}
}

// finished says whether all subtasks of the operator had finished.
func finished(o *snapshot.OperatorState) bool {
	return o != nil && (o.Finished || finishedSubtasks(o) == o.Parallelism)
}

func finishedSubtasks(o *snapshot.OperatorState) int {
	n := 0
	for i := range o.Subtasks {
		if o.Subtasks[i].Finished {
			n++
		}
	}
	return n
}

// hasUnion says whether an operator has union state.
func hasUnion(o *snapshot.OperatorState) bool {
	return slices.ContainsFunc(o.Subtasks, func(s snapshot.SubtaskState) bool {
		return slices.ContainsFunc(s.Lists, func(l operator.List) bool { return l.Mode == operator.Union })
	})
}

// checkFinished finds vertices that are neither finished nor unfinished as a whole, and finished ones whose input goes on.
func (a *assigner) checkFinished() {
	done := map[string]bool{}
	for _, v := range a.shape.Vertices {
		var yes, no []string
		for _, op := range v.Operators {
			if finished(a.old[op.Name]) {
				yes = append(yes, op.Name)
			} else {
				no = append(no, op.Name)
			}
		}
		done[v.Name] = len(no) == 0 && len(yes) > 0
		if len(yes) > 0 && len(no) > 0 {
			a.problemf("operators %q of the chain %q had finished and %q had not: keep the chain as it was when the snapshot was taken, or disable chaining",
				yes, v.Name, no)
		}
	}
	for _, v := range a.shape.Vertices {
		for _, in := range v.Inputs {
			if done[v.Name] && !done[in.Vertex] {
				a.problemf("%q had finished and would get input from %q, which had not: give %q a new name to start it anew", v.Name, in.Vertex, v.Name)
			}
		}
	}
}

// deploy adds the tasks of one vertex.
func (a *assigner) deploy(v *Vertex, out map[protocol.TaskID]protocol.TaskDeployment) {
	tasks := make([]protocol.TaskDeployment, v.Parallelism)
	for i := range tasks {
		tasks[i].Task = protocol.TaskID{Vertex: v.Name, Subtask: i}
		tasks[i].Finished = a.taskFinished(v, i, out)
	}
	stays := false
	for _, op := range v.Operators {
		if old := a.old[op.Name]; old != nil {
			a.addState(op, old, tasks)
			stays = stays || hasUnion(old) && !finished(old)
		}
	}
	for i := range tasks {
		tasks[i].Stays = stays && tasks[i].Finished
	}
	for _, t := range tasks {
		out[t.Task] = t
	}
}

// taskFinished says whether subtask i stays finished. Of operators that had finished in part a subtask stays so at the
// old parallelism only, and if nothing can come from the tasks before it.
func (a *assigner) taskFinished(v *Vertex, i int, out map[protocol.TaskID]protocol.TaskDeployment) bool {
	all := len(v.Operators) > 0
	for _, op := range v.Operators {
		old := a.old[op.Name]
		if finished(old) {
			continue
		}
		all = false
		if old == nil || old.Parallelism != v.Parallelism || !slices.ContainsFunc(old.Subtasks, func(s snapshot.SubtaskState) bool { return s.Index == i && s.Finished }) {
			return false
		}
	}
	return all || len(v.Operators) > 0 && a.inputsFinished(v, i, out)
}

// inputsFinished says whether all tasks that subtask i reads from stay finished.
func (a *assigner) inputsFinished(v *Vertex, i int, out map[protocol.TaskID]protocol.TaskDeployment) bool {
	for _, in := range v.Inputs {
		k := slices.IndexFunc(a.shape.Vertices, func(x Vertex) bool { return x.Name == in.Vertex })
		if k < 0 {
			return false
		}
		for j := range a.shape.Vertices[k].Parallelism {
			if (j == i || !in.Forward) && !out[protocol.TaskID{Vertex: in.Vertex, Subtask: j}].Finished {
				return false
			}
		}
	}
	return true
}

// addState adds the state of one operator to its tasks. A finished task gets lists only: what a sink had not committed when it
// finished is still to be committed.
func (a *assigner) addState(op Operator, old *snapshot.OperatorState, tasks []protocol.TaskDeployment) {
	restores := make([]protocol.OperatorRestore, len(tasks))
	a.addKeyed(op, old, restores)
	a.addLists(op, old, restores)
	a.addChannels(op, old, restores)
	for i, r := range restores {
		if tasks[i].Finished {
			r.Keyed = nil
			if len(r.Channels) > 0 {
				a.problemf("subtask %d of operator %q had finished and has rows on their way to it: the snapshot can't be used", i, op.Name)
			}
		}
		if len(r.Keyed) == 0 && len(r.Lists) == 0 && len(r.Channels) == 0 {
			continue
		}
		if tasks[i].Operators == nil {
			tasks[i].Operators = map[string]protocol.OperatorRestore{}
		}
		tasks[i].Operators[op.Name] = r
	}
}

func (a *assigner) addKeyed(op Operator, old *snapshot.OperatorState, restores []protocol.OperatorRestore) {
	var files []state.File
	for i := range old.Subtasks {
		files = append(files, old.Subtasks[i].Keyed...)
	}
	if len(files) == 0 {
		return
	}
	if !op.Keyed {
		if !a.o.AllowNonRestoredState {
			a.problemf("operator %q has keyed state in the snapshot and is not keyed in the graph: key its input, or set upgrade.allowNonRestoredState to drop that state", op.Name)
		}
		return
	}
	for i := range restores {
		first, last := state.GroupRange(i, len(restores), a.m.MaxParallelism)
		for _, f := range files {
			if f.FirstGroup <= last && f.LastGroup >= first {
				restores[i].Keyed = append(restores[i].Keyed, f)
			}
		}
	}
}

// copies are the instances of one list, in order of subtask.
type copies struct {
	mode  operator.Mode
	at    []int // index of the subtask
	lists []operator.List
}

func (a *assigner) addLists(op Operator, old *snapshot.OperatorState, restores []protocol.OperatorRestore) {
	byName := map[string]*copies{}
	for i := range old.Subtasks {
		for _, l := range old.Subtasks[i].Lists {
			c := byName[l.Name]
			if c == nil {
				c = &copies{mode: l.Mode}
				byName[l.Name] = c
			}
			if c.mode != l.Mode || len(c.lists) > 0 && c.lists[0].Type != l.Type {
				a.problemf("list %q of operator %q has different modes or types in different subtasks: the snapshot can't be used", l.Name, op.Name)
				return
			}
			c.at, c.lists = append(c.at, old.Subtasks[i].Index), append(c.lists, l)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		c := byName[name]
		if gone := c.gone(old); c.mode == operator.Union && gone > 0 && c.entries() > 0 && !finished(old) {
			a.problemf("operator %q has the union list %q, and %d of its %d subtasks had finished and left nothing of it: resume from another snapshot",
				op.Name, name, gone, old.Parallelism)
			return
		}
		for i, entries := range c.redistribute(old.Parallelism, len(restores)) {
			restores[i].Lists = append(restores[i].Lists, operator.List{Name: name, Mode: c.mode, Type: c.lists[0].Type, Entries: entries})
		}
	}
}

// gone counts the subtasks that had finished and left no copy of the list.
func (c *copies) gone(old *snapshot.OperatorState) int {
	n := 0
	for i := range old.Subtasks {
		if s := &old.Subtasks[i]; s.Finished && !slices.Contains(c.at, s.Index) {
			n++
		}
	}
	return n
}

// entries counts those of all copies.
func (c *copies) entries() int {
	n := 0
	for _, l := range c.lists {
		n += len(l.Entries)
	}
	return n
}

// redistribute returns the entries for each of q subtasks; there were p.
func (c *copies) redistribute(p, q int) [][][]byte {
	out := make([][][]byte, q)
	switch {
	case c.mode == operator.Broadcast:
		for i := range out {
			out[i] = c.lists[i%len(c.lists)].Entries
		}
	case c.mode == operator.Split && p == q:
		for k, i := range c.at {
			out[i] = c.lists[k].Entries
		}
	default:
		var all [][]byte
		for _, l := range c.lists {
			all = append(all, l.Entries...)
		}
		for i := range out {
			if c.mode == operator.Union {
				out[i] = all
			} else {
				out[i] = all[i*len(all)/q : (i+1)*len(all)/q]
			}
		}
	}
	return out
}
