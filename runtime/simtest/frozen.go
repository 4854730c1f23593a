// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"slices"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/record"
)

// A task that a snapshot froze sends no row until it is told what became of it. Whether it is frozen is kept here, and not asked of the core.

// thawed notes that the task is going to be told of the end of the snapshot that froze it, if it is that one.
func (t *taskRun) thawed(it bool) { t.frozen = t.frozen && !it }

// disguise is what the core gets of an element. Under TimersNotFrozen a task with timers takes the snapshot that stops the job for one that doesn't, and goes on.
func (t *taskRun) disguise(e record.Element) record.Element {
	if t.w.mutation != TimersNotFrozen || e.Kind != record.KindBarrier || e.Barrier.Stop != record.StopFreeze || !slices.ContainsFunc(t.vertex.Nodes, timed) {
		return e
	}
	if t.disguised == nil {
		t.disguised = map[int64]bool{}
	}
	t.disguised[e.Barrier.Checkpoint] = true
	e.Barrier.Stop = record.StopNone
	return e
}

// undisguise is what others get of an element of the core.
func (t *taskRun) undisguise(e record.Element) record.Element {
	if e.Kind == record.KindBarrier && t.disguised[e.Barrier.Checkpoint] {
		e.Barrier.Stop = record.StopFreeze
	}
	return e
}

// timed says whether an operator has timers of processing time.
func timed(n *graph.Node) bool { return n.Name == "delay" }
