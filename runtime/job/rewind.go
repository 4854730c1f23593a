// SPDX-License-Identifier: Apache-2.0

package job

import (
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/snapshot"
)

// rewind lets a head that is being claimed name the snapshot that the configuration wants the job to go back to as the newest, and returns the checkpoints
// that it doesn't name any more. That is done once, by the first claim of a grant: a head of the same grant has gone back already, and what
// it names since then is newer.
func (m *Machine) rewind(before, next *snapshot.Head) ([]snapshot.CompletedCheckpoint, error) {
	if m.o.Config.RewindTo == "" || before.Epoch.Grant >= m.o.Grant {
		return nil, nil
	}
	return next.RewindTo(m.o.Config.RewindTo, m.commits())
}

// commits says that the job has sinks that commit.
func (m *Machine) commits() bool {
	return slices.ContainsFunc(m.o.Plan.Vertices, func(v Vertex) bool { return v.Transactional })
}

// outlive notes in the head that the job is restored from a snapshot: savepoints that are newer are no way back any more, if its sinks commit.
func (m *Machine) outlive(h *snapshot.Head, restored int64) {
	if m.commits() {
		h.Outlive(restored)
	}
}

// discard deletes what the claim took out of the head.
func (m *Machine) discard(now time.Time) {
	dropped := m.heads.dropped
	m.heads.dropped = nil
	if len(dropped) > 0 {
		m.snapshots.Discard(dropped)
		m.pump(now)
	}
}
