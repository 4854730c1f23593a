// SPDX-License-Identifier: Apache-2.0

package job

import (
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
	return next.RewindTo(m.o.Config.RewindTo)
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
