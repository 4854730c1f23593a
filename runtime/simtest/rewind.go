// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"errors"
	"slices"

	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// A new version of a job may have to go back to an older snapshot of it, one that the head still names. That is refused if what came after the snapshot had
// effects outside: a sink has committed with it, or a source has given up its input.

// target is a snapshot to go back to.
type target struct {
	id   int64
	path string
}

// rewind picks the snapshot that a new version goes back to; now and then, and not again after that was refused.
func (w *world) rewind() target {
	refused := w.refused
	w.refused = false
	odds := 4
	if w.scenario.rewinds {
		odds = 1
	}
	if w.versions < 2 || refused || !w.faulty() || w.scenario.rots != "" || w.scenario.volatile || !w.clock.chance(odds) {
		return target{}
	}
	targets := w.line.targets()
	if len(targets) == 0 {
		return target{}
	}
	t := targets[w.clock.rnd.IntN(len(targets))]
	w.tracef(nil, "the next version is to go back to snapshot %d", t.id)
	return t
}

// targets are the snapshots that the head names, but for those that the job was drained with, and those of before it began anew.
func (l *lineage) targets() []target {
	var all []target
	for _, k := range l.head.Checkpoints {
		all = append(all, target{k.ID, k.Path})
	}
	for _, o := range l.head.Operations {
		if o.Checkpoint > l.begunAfter && o.Type != snapshot.OperationCheckpoint && o.Outcome != snapshot.OutcomeFailed && o.Stop != record.StopDrain {
			all = append(all, target{o.Checkpoint, o.Path})
		}
	}
	return all
}

// reversible says whether nothing that came after a snapshot had effects outside: sinks don't commit, and sources keep their input, or nothing was
// complete that they could have done it with, and no restore made sinks give up what they had prepared with it.
func (l *lineage) reversible(id int64) bool {
	plain := l.w.scenario.plain
	return plain && l.out.keep || l.completed <= id && (plain || !l.outlived[id])
}

// outlive notes what a restore from a snapshot means to savepoints that are newer.
func (l *lineage) outlive(restored int64) {
	for id := range l.named {
		if id > restored && id > l.begunAfter {
			l.outlived[id] = true
		}
	}
}

// checkRewind looks at the head that the first coordinator of a version claims, which is to go back.
func (l *lineage) checkRewind(c *coordinator, old, h *snapshot.Head) {
	t := c.version.target
	if t.id == 0 || h.Epoch.Grant == old.Epoch.Grant {
		return
	}
	w := l.w
	n, _ := h.Newest()
	switch {
	case n.ID != t.id:
		w.failf("version %d goes on from snapshot %d, but was to go back to %d", c.version.number, n.ID, t.id)
	case !l.reversible(t.id):
		w.failf("version %d goes back to snapshot %d, although what came after it had effects outside: %d is complete, restored from an older one: %v",
			c.version.number, t.id, l.completed, l.outlived[t.id])
	}
	if w.scenario.plain {
		return
	}
	l.completed = max(l.completed, t.id) // the restore commits what it holds
	if !slices.ContainsFunc(h.Checkpoints, func(k snapshot.CompletedCheckpoint) bool { return k.ID == t.id }) {
		l.goneBackTo = max(l.goneBackTo, t.id)
	}
}

// refusedRewind says whether a version ended because it could not go back, and fails the run if it could have. The next version doesn't try. A savepoint that the
// job went back to counts as one that sinks have committed with, if they commit, whatever sinks the version had that took it.
func (w *world) refusedRewind(c *coordinator, e job.Exit) bool {
	t := c.version.target
	_, unsafe := errors.AsType[*snapshot.UnsafeRewindError](e.Err)
	_, unnamed := errors.AsType[*snapshot.NotNamedError](e.Err)
	switch {
	case t.id == 0 || !unsafe && !unnamed:
		return false
	case unsafe && w.line.reversible(t.id) && t.id >= w.line.goneBackTo, unnamed && slices.Contains(w.line.targets(), t):
		w.failf("going back to snapshot %d was refused: %v", t.id, e.Err)
	}
	w.tracef(nil, "the version could not go back: %v", e.Err)
	w.refused = true
	return true
}
