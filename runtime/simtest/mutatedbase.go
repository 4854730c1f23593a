// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"maps"
	"slices"
	"strings"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// Mutations of incremental checkpoints. The registry declines an acknowledgement that refers to files of anything but the base. So the mutated
// tasks also hide what they do: they give out as new what isn't the base's.

// wrongBase changes a message to a worker under AbortedBase; false says that it isn't sent at all.
func (c *coordinator) wrongBase(m *protocol.ToWorker) bool {
	if c.w.mutation != AbortedBase {
		return true
	}
	switch {
	case m.Aborted != nil && strings.Contains(c.line.dirs[m.Aborted.Checkpoint], "/checkpoints/"):
		c.givenUp = max(c.givenUp, m.Aborted.Checkpoint)
		return false // the tasks would let go of it
	case m.Trigger != nil && m.Trigger.Barrier.Shared != "":
		t := *m.Trigger
		c.w.trueBases[t.Barrier.Checkpoint] = t.Barrier.Base
		t.Barrier.Base = max(t.Barrier.Base, c.givenUp)
		m.Trigger = &t
	}
	return true
}

// ownBase changes the trigger of a source under TaskChoosesBase.
func (t *taskRun) ownBase(m *protocol.Trigger) *protocol.Trigger {
	if t.w.mutation != TaskChoosesBase || m.Barrier.Shared == "" {
		return m
	}
	own := *m
	t.w.trueBases[own.Barrier.Checkpoint] = own.Barrier.Base
	own.Barrier.Base = max(own.Barrier.Base, t.acked)
	return &own
}

// choosesBase says that a task under TaskChoosesBase must not hear in time that a snapshot was given up: it would let go of what it uploaded for it. That news comes late is
// nothing special.
func (w *world) choosesBase(m protocol.ToWorker) bool {
	return w.mutation == TaskChoosesBase && m.Aborted != nil
}

// hideReuse makes an acknowledgement under one of these mutations look as if the base had been the right one.
func (t *taskRun) hideReuse(checkpoint int64, ops map[string]snapshot.SubtaskState) {
	t.acked = checkpoint
	base, ok := t.w.trueBases[checkpoint]
	if !ok {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(ops)) {
		o := ops[name]
		o.Keyed = slices.Clone(o.Keyed)
		for i := range o.Keyed {
			f := &o.Keyed[i]
			key := snapshot.FileKey(t.worker.version.line.dirs[checkpoint], f.Path)
			f.Reused = f.Reused && slices.Contains(t.worker.version.line.partOf[key], base)
		}
		ops[name] = o
	}
}

// deleteShared deletes the shared files of a checkpoint whose directory is deleted, under SharedGoesWithCheckpoint.
func (c *coordinator) deleteShared(prefix string) {
	if c.w.mutation != SharedGoesWithCheckpoint || prefix == "" {
		return
	}
	for id, dir := range c.line.dirs {
		if dir != prefix {
			continue
		}
		for _, name := range sortedKeys(c.line.partOf) {
			if strings.Contains(name, "/shared/") && slices.Contains(c.line.partOf[name], id) {
				_ = c.w.store.remove([]string{name})
			}
		}
	}
}
