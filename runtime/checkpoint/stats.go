// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
)

// State says how far a snapshot is.
type State string

// The states of a snapshot.
const (
	// StatePending waits for acknowledgements.
	StatePending State = "Pending"
	// StateFinalizing has them all and is being written to the head.
	StateFinalizing State = "Finalizing"
	// StateCompleted is in the head.
	StateCompleted State = "Completed"
	// StateFailed was given up.
	StateFailed State = "Failed"
)

// Stats describes one snapshot.
type Stats struct {
	ID        int64               `json:"id"`
	Kind      record.SnapshotKind `json:"kind"`
	Stop      record.StopMode     `json:"stop,omitempty"`
	Operation string              `json:"operation,omitempty"`
	State     State               `json:"state"`
	Path      string              `json:"path,omitempty"`
	// TriggeredAt and Duration (from there to the end) are by the coordinator's clock.
	TriggeredAt time.Time     `json:"triggeredAt"`
	Duration    time.Duration `json:"duration,omitempty"`
	// Size is the sum of the files of state, Bytes what was written for it.
	Size  int64 `json:"size"`
	Bytes int64 `json:"bytes"`
	// The longest of any task.
	Alignment time.Duration `json:"alignment,omitempty"`
	Sync      time.Duration `json:"sync,omitempty"`
	Async     time.Duration `json:"async,omitempty"`
	// Slowest is the last task to acknowledge.
	Slowest protocol.TaskID `json:"slowest,omitzero"`
	Tasks   int             `json:"tasks"`
	Acked   int             `json:"acked"`
	// Reason of a failure, and the tasks that had not acknowledged then (at most some).
	Reason  Reason            `json:"reason,omitempty"`
	Error   string            `json:"error,omitempty"`
	Missing []protocol.TaskID `json:"missing,omitempty"`
}

// Summary counts the snapshots of one coordinator incarnation.
type Summary struct {
	Triggered  int64 `json:"triggered"`
	Completed  int64 `json:"completed"`
	Failed     int64 `json:"failed"`
	InProgress int   `json:"inProgress"`
	// ConsecutiveFailures is compared with what is tolerable.
	ConsecutiveFailures int `json:"consecutiveFailures"`
	// LastCompleted is the id of the newest completed snapshot, 0 for none.
	LastCompleted int64 `json:"lastCompleted,omitempty"`
	// Waiting says why the next snapshot doesn't start, if something holds it.
	Waiting string `json:"waiting,omitempty"`
}

// remember adds an ended snapshot to the history.
func (c *Coordinator) remember(s Stats) {
	c.history = append(c.history, s)
	if n := len(c.history) - c.o.History; n > 0 {
		c.history = append([]Stats(nil), c.history[n:]...)
	}
}

// Summary returns the counts.
func (c *Coordinator) Summary() Summary {
	s := c.counts
	s.InProgress = len(c.pending)
	s.ConsecutiveFailures = c.failures.Count()
	return s
}

// Pending describes the snapshots in flight.
func (c *Coordinator) Pending(now time.Time) []Stats {
	var out []Stats
	for _, p := range c.pending {
		s := p.stats
		s.Duration = now.Sub(p.createdAt)
		s.Missing = p.missing()
		out = append(out, s)
	}
	return out
}

// History describes the ended snapshots, newest last.
func (c *Coordinator) History() []Stats { return append([]Stats(nil), c.history...) }
