// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"maps"
	"slices"
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

// Stats describes one snapshot. Of the durations that a task measured, on its own monotonic clock, it holds the longest of any task; those
// that span machines are measured by the coordinator's clock alone.
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
	// Queued is how long the request waited before the trigger; IdleGap how long nothing had been in flight then. It is negative for the
	// first snapshot of an attempt, and while another one was in flight.
	Queued  time.Duration `json:"queued,omitempty"`
	IdleGap time.Duration `json:"idleGap,omitempty"`
	// Size is that of all state, as [snapshot.Manifest.StateSize] says, Bytes what was written for it, Reused what files of checkpoints before it hold.
	Size   int64 `json:"size"`
	Bytes  int64 `json:"bytes"`
	Reused int64 `json:"reused,omitempty"`
	// AlignmentBytes waited in blocked channels, ChannelBytes were overtaken and are part of Bytes.
	AlignmentBytes int64 `json:"alignmentBytes,omitempty"`
	ChannelBytes   int64 `json:"channelBytes,omitempty"`
	// TriggerDelay is the longest from the trigger until a task that the coordinator triggers acted on it, StartDelay the longest until the
	// first barrier was at any task.
	TriggerDelay time.Duration `json:"triggerDelay,omitempty"`
	StartDelay   time.Duration `json:"startDelay,omitempty"`
	Alignment    time.Duration `json:"alignment,omitempty"`
	Waited       time.Duration `json:"waited,omitempty"`
	Sync         time.Duration `json:"sync,omitempty"`
	Async        time.Duration `json:"async,omitempty"`
	Upload       time.Duration `json:"upload,omitempty"`
	// Finalize is from the last acknowledgement to the end: manifest and head. Manifest is the part of it until the manifest was written.
	Finalize time.Duration `json:"finalize,omitempty"`
	Manifest time.Duration `json:"manifest,omitempty"`
	// Slowest is the last task to acknowledge.
	Slowest protocol.TaskID `json:"slowest,omitzero"`
	Tasks   int             `json:"tasks"`
	Acked   int             `json:"acked"`
	// Culprit is what took longest of a snapshot that ended, or is what keeps one from its end.
	Culprit Culprit `json:"culprit,omitzero"`
	// Reason of a failure, and the tasks that had not acknowledged then (at most some).
	Reason  Reason            `json:"reason,omitempty"`
	Error   string            `json:"error,omitempty"`
	Missing []protocol.TaskID `json:"missing,omitempty"`
}

// SubtaskStats is one task's part of a snapshot.
type SubtaskStats struct {
	Task  protocol.TaskID `json:"task"`
	Acked bool            `json:"acked"`
	// AckedAfter is from the trigger to the acknowledgement, by the coordinator's clock. StartDelay is the part of it that the task can't
	// account for: until its first barrier came, or, for a task without inputs, until it acted on the trigger. It includes the way of the
	// acknowledgement.
	AckedAfter time.Duration `json:"ackedAfter,omitempty"`
	StartDelay time.Duration `json:"startDelay,omitempty"`
	// Cost is what the task measured.
	Cost protocol.AckMetrics `json:"cost"`
	// Size of its part, and what of it files of checkpoints before hold.
	Size   int64 `json:"size,omitempty"`
	Reused int64 `json:"reused,omitempty"`
	// Progress is what a task that has not acknowledged said last; nil if it said nothing of this snapshot.
	Progress *protocol.SnapshotProgress `json:"progress,omitempty"`
}

// AckDelay is from the end of the asynchronous part until the task got to acknowledge it.
func (t *SubtaskStats) AckDelay() time.Duration {
	c := &t.Cost
	return max(c.Total-c.Alignment-c.Waited-c.Sync-c.Async, 0)
}

// Detail is all that is known of a snapshot.
type Detail struct {
	Stats
	// Subtasks are in topological order of the vertices. They are dropped from old snapshots of very large jobs.
	Subtasks []SubtaskStats `json:"subtasks,omitempty"`
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
	// Unreadable are kept checkpoints whose manifests turned out to be damaged, so that the shared files they may refer to are kept, too.
	Unreadable []int64 `json:"unreadable,omitempty"`
	// FailedBy counts the failures by reason. It must not be changed.
	FailedBy map[Reason]int64 `json:"failedBy,omitempty"`
	// Totals add up what completed snapshots cost.
	Totals Totals `json:"totals"`
}

// Totals are sums over the completed snapshots of one coordinator incarnation: durations are those of [Stats].
type Totals struct {
	Duration     time.Duration `json:"duration"`
	TriggerDelay time.Duration `json:"triggerDelay"`
	StartDelay   time.Duration `json:"startDelay"`
	Alignment    time.Duration `json:"alignment"`
	Waited       time.Duration `json:"waited"`
	Sync         time.Duration `json:"sync"`
	Async        time.Duration `json:"async"`
	Upload       time.Duration `json:"upload"`
	Finalize     time.Duration `json:"finalize"`
	Bytes        int64         `json:"bytes"`
	Reused       int64         `json:"reused"`
	ChannelBytes int64         `json:"channelBytes"`
}

func (t *Totals) add(s *Stats) {
	t.Duration += s.Duration
	t.TriggerDelay += s.TriggerDelay
	t.StartDelay += s.StartDelay
	t.Alignment += s.Alignment
	t.Waited += s.Waited
	t.Sync += s.Sync
	t.Async += s.Async
	t.Upload += s.Upload
	t.Finalize += s.Finalize
	t.Bytes += s.Bytes
	t.Reused += s.Reused
	t.ChannelBytes += s.ChannelBytes
}

// Summary returns the counts.
func (c *Coordinator) Summary() Summary {
	s := c.counts
	s.InProgress = len(c.pending)
	s.ConsecutiveFailures = c.failures.Count()
	for _, id := range slices.Sorted(maps.Keys(c.learn.damaged)) {
		if c.kept(id) {
			s.Unreadable = append(s.Unreadable, id)
		}
	}
	return s
}

// Pending describes the snapshots in flight.
func (c *Coordinator) Pending(now time.Time) []Stats {
	var out []Stats
	for _, p := range c.pending {
		out = append(out, c.pendingStats(now, p))
	}
	return out
}

func (c *Coordinator) pendingStats(now time.Time, p *pending) Stats {
	s := p.stats
	s.Duration = now.Sub(p.createdAt)
	s.Missing = p.missing()
	if p.state == collecting {
		s.Culprit = c.blamer(p).stuck(s.Duration)
	}
	return s
}

// History describes the ended snapshots, newest last.
func (c *Coordinator) History() []Stats { return append([]Stats(nil), c.history...) }

// EndedSince returns the snapshots that ended after the first n that this incarnation has ended, oldest first and as far as the history goes back, and how
// many have ended. It costs nothing when there are none.
func (c *Coordinator) EndedSince(n int64) ([]Stats, int64) {
	ended := c.counts.Completed + c.counts.Failed
	if n >= ended {
		return nil, ended
	}
	fresh := min(ended-n, int64(len(c.history)))
	return slices.Clone(c.history[int64(len(c.history))-fresh:]), ended
}

// Detail describes one snapshot, in flight or among those that ended last; false if it isn't known (any more).
func (c *Coordinator) Detail(now time.Time, id int64) (Detail, bool) {
	if p := c.find(id); p != nil {
		return Detail{Stats: c.pendingStats(now, p), Subtasks: c.subtasks(p)}, true
	}
	for _, s := range c.history {
		if s.ID == id {
			return Detail{Stats: s, Subtasks: c.ledger.subtasks[id]}, true
		}
	}
	return Detail{}, false
}
