// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"maps"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
)

// maxSubtasks bounds the parts of ended snapshots that are remembered, over all snapshots.
const maxSubtasks = 50_000

// ledger is what is known of the cost of snapshots besides their statistics.
type ledger struct {
	// seen is what each task said last, in heartbeats.
	seen map[protocol.TaskID]protocol.TaskMetrics
	// subtasks are the parts of ended snapshots, by id.
	subtasks map[int64][]SubtaskStats
	// endedAt is when the last snapshot of this attempt ended.
	endedAt time.Time
}

// costs is what is known of the cost of a snapshot in flight.
type costs struct {
	parts map[protocol.TaskID]*SubtaskStats
	// before is what the tasks had said last when it was triggered.
	before map[protocol.TaskID]protocol.Load
	// ackedAt is when the last acknowledgement came.
	ackedAt time.Time
}

// HandleProgress takes what tasks say of themselves in heartbeats. It decides nothing.
func (c *Coordinator) HandleProgress(tasks []protocol.TaskMetrics) {
	if c.ledger.seen == nil {
		c.ledger.seen = map[protocol.TaskID]protocol.TaskMetrics{}
	}
	for _, m := range tasks {
		if c.tasks[m.Task] != nil && m.Attempt.Compare(c.ledger.seen[m.Task].Attempt) >= 0 {
			c.ledger.seen[m.Task] = m
		}
	}
}

// opened begins the statistics of a snapshot that is triggered now.
func (c *Coordinator) opened(now time.Time, p *pending) {
	p.costs = costs{parts: map[protocol.TaskID]*SubtaskStats{}, before: make(map[protocol.TaskID]protocol.Load, len(c.ledger.seen))}
	for id, m := range c.ledger.seen {
		p.costs.before[id] = m.Load
	}
	p.stats.IdleGap = -1
	if len(c.pending) == 0 && !c.ledger.endedAt.IsZero() {
		p.stats.IdleGap = now.Sub(c.ledger.endedAt)
	}
	if !p.request.at.IsZero() {
		p.stats.Queued = now.Sub(p.request.at)
	}
}

// note adds an acknowledgement to the statistics.
func (p *pending) note(now time.Time, a *protocol.Ack) {
	t := &SubtaskStats{Task: a.Task, Acked: true, AckedAfter: now.Sub(p.createdAt), Cost: a.Metrics}
	t.StartDelay = max(t.AckedAfter-a.Metrics.Total, 0)
	for _, o := range a.Operators {
		for _, f := range o.Keyed {
			t.Size += f.Size
			if f.Reused {
				t.Reused += f.Size
			}
		}
		for _, l := range o.Lists {
			for _, e := range l.Entries {
				t.Size += int64(len(e))
			}
		}
		for _, ch := range o.Channels {
			t.Size += ch.Length
		}
	}
	p.costs.parts[a.Task], p.costs.ackedAt = t, now
	s, m := &p.stats, &a.Metrics
	s.Acked++
	s.Slowest = a.Task
	s.Duration = t.AckedAfter
	s.Size += t.Size
	s.Reused += t.Reused
	s.Bytes += m.Bytes
	s.AlignmentBytes += m.AlignmentBytes
	s.ChannelBytes += m.ChannelBytes
	s.StartDelay = max(s.StartDelay, t.StartDelay)
	if p.triggered[a.Task] {
		s.TriggerDelay = max(s.TriggerDelay, t.StartDelay)
	}
	s.Alignment = max(s.Alignment, m.Alignment)
	s.Waited = max(s.Waited, m.Waited)
	s.Sync = max(s.Sync, m.Sync)
	s.Async = max(s.Async, m.Async)
	s.Upload = max(s.Upload, m.Upload)
}

// remember ends the statistics of a snapshot, which was completed or given up, and adds them to the history.
func (c *Coordinator) remember(now time.Time, p *pending) {
	s := &p.stats
	s.Duration = now.Sub(p.createdAt)
	if s.Acked > 0 && len(p.outstanding) == 0 {
		s.Finalize = now.Sub(p.costs.ackedAt)
	}
	if s.State == StateCompleted {
		s.Culprit = c.blamer(p).slowest(s)
		c.counts.Completed++
		c.counts.Totals.add(s)
	} else {
		c.rememberFailure(p)
	}
	c.ledger.endedAt = now
	c.history = append(c.history, *s)
	if n := len(c.history) - c.o.History; n > 0 {
		c.history = append([]Stats(nil), c.history[n:]...)
	}
	c.keepSubtasks(p)
}

func (c *Coordinator) rememberFailure(p *pending) {
	s := &p.stats
	s.Missing = p.missing()
	if s.Culprit == (Culprit{}) && s.Reason == ReasonExpired {
		s.Culprit = c.blamer(p).stuck(s.Duration)
	}
	c.counts.Failed++
	c.counts.FailedBy = maps.Clone(c.counts.FailedBy)
	if c.counts.FailedBy == nil {
		c.counts.FailedBy = map[Reason]int64{}
	}
	c.counts.FailedBy[s.Reason]++
}

// keepSubtasks keeps the parts of a snapshot that ended, and drops those of the oldest beyond what is kept.
func (c *Coordinator) keepSubtasks(p *pending) {
	if c.ledger.subtasks == nil {
		c.ledger.subtasks = map[int64][]SubtaskStats{}
	}
	c.ledger.subtasks[p.id] = c.subtasks(p)
	kept, room := map[int64][]SubtaskStats{}, maxSubtasks
	for _, s := range slices.Backward(c.history) {
		parts := c.ledger.subtasks[s.ID]
		if room -= len(parts); room < 0 && len(kept) > 0 {
			break
		}
		kept[s.ID] = parts
	}
	c.ledger.subtasks = kept
}

// subtasks lists the parts of a snapshot, also of those that have not acknowledged.
func (c *Coordinator) subtasks(p *pending) []SubtaskStats {
	var out []SubtaskStats
	for i := range c.o.Vertices {
		v := &c.o.Vertices[i]
		for n := range v.Parallelism {
			id := protocol.TaskID{Vertex: v.Name, Subtask: n}
			switch {
			case p.costs.parts[id] != nil:
				out = append(out, *p.costs.parts[id])
			case p.outstanding[id]:
				out = append(out, SubtaskStats{Task: id, Progress: c.progressOf(p, id)})
			}
		}
	}
	return out
}

// progressOf is what a task said last of a snapshot; nil if nothing.
func (c *Coordinator) progressOf(p *pending, id protocol.TaskID) *protocol.SnapshotProgress {
	m := c.ledger.seen[id]
	for i := range m.Snapshots {
		if m.Snapshots[i].Checkpoint == p.id {
			return &m.Snapshots[i]
		}
	}
	return nil
}
