// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
)

// A conductor is the smallest control there can be: it deploys tasks to workers, takes snapshots, up to three at a time, gives
// some up, and after a failure deploys the tasks anew from the last one. It loses nothing and needs no storage for itself.
type conductor struct {
	w       *world
	plan    *version
	attempt protocol.Attempt
	last    *snapshot.Manifest
	id      int64
	pending map[int64]map[protocol.TaskID]*protocol.Ack
	states  map[protocol.TaskID]protocol.TaskState
	atEnd   map[protocol.TaskID]bool
	parts   []*worker
}

func (c *conductor) deploy() {
	c.attempt.K++
	c.pending = map[int64]map[protocol.TaskID]*protocol.Ack{}
	c.states, c.atEnd = map[protocol.TaskID]protocol.TaskState{}, map[protocol.TaskID]bool{}
	tasks, err := assign.Assign(assign.ShapeOf(c.plan.plan), c.last, assign.Options{})
	if err != nil {
		c.w.failf("assigning: %v", err)
		return
	}
	var placed []protocol.Placement
	for i := range c.plan.plan.Slots {
		placed = append(placed, protocol.Placement{Worker: c.parts[i%len(c.parts)].p.name})
	}
	for i, k := range c.parts {
		d := &protocol.Deploy{Attempt: c.attempt, Slots: placed}
		if c.last != nil {
			d.RestoredFrom, d.RestoreDir = c.last.Checkpoint, fmt.Sprintf("chk-%d/", c.last.Checkpoint)
		}
		for _, v := range c.plan.plan.Vertices {
			for s := range v.Parallelism {
				if s%len(c.parts) == i {
					d.Tasks = append(d.Tasks, tasks[protocol.TaskID{Vertex: v.Name, Subtask: s}])
				}
			}
		}
		k.deploy(d)
	}
	c.w.restores++
	c.w.clock.after(nil, 100*time.Millisecond, c.trigger(c.attempt))
}

// trigger starts a snapshot of the attempt and later the next.
func (c *conductor) trigger(a protocol.Attempt) func() {
	return func() {
		if c.attempt != a || c.w.done {
			return
		}
		if c.ready() && len(c.pending) < 3 {
			c.id++
			c.pending[c.id] = map[protocol.TaskID]*protocol.Ack{}
			c.send(c.id, func(id protocol.TaskID) bool {
				return len(c.plan.plan.Vertex(id.Vertex).Inputs) == 0 || c.atEnd[id]
			})
			if id := c.id; c.w.faulty() && c.w.clock.chance(4) {
				c.w.clock.after(nil, c.w.clock.between(0, 200*time.Millisecond), func() { c.abort(id) })
			}
		}
		c.w.clock.after(nil, c.w.clock.between(20*time.Millisecond, 200*time.Millisecond), c.trigger(a))
	}
}

// abort gives up a snapshot in flight.
func (c *conductor) abort(id int64) {
	if c.pending[id] == nil {
		return
	}
	delete(c.pending, id)
	for _, k := range c.parts {
		for _, a := range k.regions {
			a.aborted(&protocol.Aborted{Attempt: c.attempt, Checkpoint: id})
		}
	}
}

func (c *conductor) send(checkpoint int64, want func(protocol.TaskID) bool) {
	var ids []protocol.TaskID
	c.each(func(id protocol.TaskID) {
		if want(id) && c.states[id] == protocol.TaskRunning {
			ids = append(ids, id)
		}
	})
	for _, k := range c.parts {
		for _, a := range k.regions {
			a.trigger(&protocol.Trigger{Attempt: c.attempt, Tasks: ids, Barrier: record.Barrier{Checkpoint: checkpoint, Target: fmt.Sprintf("chk-%d/", checkpoint)}})
		}
	}
}

func (c *conductor) each(f func(protocol.TaskID)) {
	for _, v := range c.plan.plan.Vertices {
		for s := range v.Parallelism {
			f(protocol.TaskID{Vertex: v.Name, Subtask: s})
		}
	}
}

func (c *conductor) ready() bool {
	ready := true
	c.each(func(id protocol.TaskID) {
		ready = ready && (c.states[id] == protocol.TaskRunning || c.states[id] == protocol.TaskFinished)
	})
	return ready
}

// receive takes a message of a worker.
func (c *conductor) receive(_ *worker, m protocol.FromWorker) {
	switch {
	case m.Status != nil && m.Status.Attempt == c.attempt:
		c.states[m.Status.Task] = m.Status.State
		if m.Status.State == protocol.TaskFailed {
			c.deploy()
			return
		}
		c.complete()
	case m.EndOfData != nil && m.EndOfData.Attempt == c.attempt:
		c.atEnd[m.EndOfData.Task] = true
		for _, id := range slices.Sorted(maps.Keys(c.pending)) {
			c.send(id, func(id protocol.TaskID) bool { return id == m.EndOfData.Task })
		}
	case m.Ack != nil && m.Ack.Attempt == c.attempt && c.pending[m.Ack.Checkpoint] != nil:
		c.pending[m.Ack.Checkpoint][m.Ack.Task] = m.Ack
		c.complete()
	case m.Decline != nil && m.Decline.Attempt == c.attempt:
		c.abort(m.Decline.Checkpoint)
	}
}

// complete ends the snapshots for which everything is in, or the job.
func (c *conductor) complete() {
	finished := true
	c.each(func(id protocol.TaskID) { finished = finished && c.states[id] == protocol.TaskFinished })
	if finished {
		c.w.finish()
		return
	}
	for _, id := range slices.Sorted(maps.Keys(c.pending)) {
		acks, in := c.pending[id], true
		c.each(func(id protocol.TaskID) { in = in && (acks[id] != nil || c.states[id] == protocol.TaskFinished) })
		if in {
			c.completeOne(id, acks)
			return
		}
	}
}

func (c *conductor) completeOne(id int64, acks map[protocol.TaskID]*protocol.Ack) {
	for older := range c.pending {
		if older <= id {
			delete(c.pending, older)
		}
	}
	m := &snapshot.Manifest{JobID: "j", Checkpoint: id, Attempt: c.attempt.String(), MaxParallelism: c.plan.plan.MaxParallelism}
	for _, v := range c.plan.plan.Vertices {
		for _, n := range v.Nodes {
			o := snapshot.OperatorState{Name: n.Name, Parallelism: v.Parallelism}
			for s := range v.Parallelism {
				st := snapshot.SubtaskState{Index: s, Finished: true}
				if a := acks[protocol.TaskID{Vertex: v.Name, Subtask: s}]; a != nil {
					st = a.Operators[n.Name]
				}
				o.Subtasks = append(o.Subtasks, st)
			}
			m.Operators = append(m.Operators, o)
		}
	}
	slices.SortFunc(m.Operators, func(a, b snapshot.OperatorState) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	if err := m.Validate(); err != nil {
		c.w.failf("%v", err)
	}
	c.last = m
	c.w.checkpoints++
	for _, k := range c.parts {
		for _, a := range k.regions {
			a.complete(&protocol.Complete{Attempt: c.attempt, Checkpoint: id})
		}
	}
}

// bound makes all sources end: nothing but the whole life of a job ends an endless one.
func (w *world) bound() {
	w.scenario.endless = false
	for _, n := range w.scenario.nodes {
		if n.source != nil {
			n.source.endless = false
		}
	}
}

// runTasks runs the tasks of a seed under a conductor.
func runTasks(t *testing.T, seed uint64, trace bool) *world {
	t.Helper()
	w := newWorld(t.Context(), seed, Options{Trace: trace, Mutation: Mutation(*mutationFlag)})
	for _, n := range w.scenario.nodes {
		if n.source != nil {
			n.source.union = false // who may finish when is the coordinator's to say
		}
	}
	w.bound()
	w.describe()
	var err error
	if w.version, err = w.scenario.version(w.clock.rnd, 1, true, false, w.line.out); err != nil {
		t.Fatal(err)
	}
	w.tracef(nil, "%s", describePlan(w.version.plan))
	c := &conductor{w: w, plan: w.version}
	w.tap = c.receive
	for i := range 1 + w.clock.rnd.IntN(3) {
		c.parts = append(c.parts, &worker{w: w, p: &process{name: fmt.Sprintf("worker-%d", i)}, version: w.version})
	}
	c.deploy()
	for range 5 {
		w.clock.after(nil, w.clock.between(0, 4*time.Second), func() {
			// Everything fails at once and starts again, at another parallelism.
			if w.done {
				return
			}
			for _, k := range c.parts {
				endAll(k.regions)
			}
			if c.plan, err = w.scenario.version(w.clock.rnd, 1, true, false, w.line.out); err != nil {
				w.failf("%v", err)
				return
			}
			for _, k := range c.parts {
				k.version = c.plan
			}
			c.deploy()
		})
	}
	for w.failure == nil && !w.done && w.clock.step() {
		w.checkLimits()
	}
	if w.failure == nil && !w.done {
		w.failf("nothing happens any more")
	}
	return w
}

// TestTasks checks tasks, state and assignment without the coordinator: what it finds is not the coordinator's fault.
func TestTasks(t *testing.T) {
	if *seedFlag != 0 {
		w := runTasks(t, *seedFlag, true)
		for _, l := range w.trace {
			t.Log(l)
		}
		if w.failure != nil {
			t.Error(w.failure)
		}
		return
	}
	checkpoints, restores := 0, 0
	for seed := uint64(1); seed <= *seedsFlag && !t.Failed(); seed++ {
		w := runTasks(t, seed, false)
		checkpoints += w.checkpoints
		restores += w.restores
		if w.failure != nil {
			t.Errorf("seed %d: %v\nreplay: go test ./runtime/simtest -run TestTasks -seed=%d -v", seed, w.failure, seed)
		}
	}
	t.Logf("%d checkpoints, %d restores", checkpoints, restores)
}
