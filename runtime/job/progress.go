// SPDX-License-Identifier: Apache-2.0

package job

import (
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/protocol"
)

// HandleProgress takes what tasks say of themselves in heartbeats. It decides nothing and has no effects.
func (m *Machine) HandleProgress(tasks []protocol.TaskMetrics) {
	if m.snapshots != nil {
		m.snapshots.HandleProgress(tasks)
	}
}

// Snapshot describes one snapshot, in flight or among those that ended last; false if it isn't known.
func (m *Machine) Snapshot(now time.Time, id int64) (checkpoint.Detail, bool) {
	if m.snapshots == nil {
		return checkpoint.Detail{}, false
	}
	return m.snapshots.Detail(now, id)
}

// EndedSince returns the snapshots that ended after the first n, oldest first and as far as the history goes back, and how many have ended.
func (m *Machine) EndedSince(n int64) ([]checkpoint.Stats, int64) {
	if m.snapshots == nil {
		return nil, 0
	}
	return m.snapshots.EndedSince(n)
}

// Advice says what the last checkpoints tell of the settings; empty if nothing.
func (m *Machine) Advice() []string {
	if m.snapshots == nil {
		return nil
	}
	return m.snapshots.Advice()
}
