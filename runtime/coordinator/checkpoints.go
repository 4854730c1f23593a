// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
)

const (
	// maxMissing bounds the tasks that a report names as not having acknowledged.
	maxMissing = 10
	// maxRecent bounds the snapshots that a report describes.
	maxRecent = 20
	// maxSubtasks bounds the subtasks that the detail of one snapshot describes.
	maxSubtasks = 5000
)

// history builds the report on snapshots.
func (l *loop) history() *contract.CheckpointsReport {
	now := time.Now()
	s := l.machine.Status(now)
	out := &contract.CheckpointsReport{
		Triggered: s.Checkpoints.Triggered, Completed: s.Checkpoints.Completed, Failed: s.Checkpoints.Failed,
		InFlight: int64(s.Checkpoints.InProgress), ConsecutiveFailures: s.Checkpoints.ConsecutiveFailures,
		Waiting: s.Checkpoints.Waiting, Advice: l.machine.Advice(), Summary: summarize(s.History), Totals: totals(s.Checkpoints.Totals),
	}
	for r, n := range s.Checkpoints.FailedBy {
		if out.FailedByReason == nil {
			out.FailedByReason = map[string]int64{}
		}
		out.FailedByReason[string(r)] = n
	}
	for _, c := range slices.Backward(s.Completed) {
		out.Retained = append(out.Retained, l.completed(s, c))
	}
	for _, of := range [][]checkpoint.Stats{s.Pending, s.History} {
		for i := len(of) - 1; i >= 0 && len(out.Recent) < maxRecent; i-- {
			out.Recent = append(out.Recent, l.snapshotReport(&of[i]))
		}
	}
	out.Newest = l.newest(now, s)
	return out
}

// newest describes the newest ended checkpoint by vertex.
func (l *loop) newest(now time.Time, s job.Status) []contract.VertexCheckpoint {
	for _, h := range slices.Backward(s.History) {
		if h.Kind != record.Checkpoint {
			continue
		}
		d, _ := l.machine.Snapshot(now, h.ID)
		vertices := l.byVertex(d.Subtasks)
		for i := range vertices {
			vertices[i].Subtasks = nil
		}
		return vertices
	}
	return nil
}

// summarize describes how the completed checkpoints of a history went; nil if there is none.
func summarize(history []checkpoint.Stats) *contract.CheckpointsSummary {
	var done, gaps []checkpoint.Stats
	for _, h := range history {
		if h.Kind != record.Checkpoint || h.State != checkpoint.StateCompleted {
			continue
		}
		done = append(done, h)
		if h.IdleGap >= 0 {
			gaps = append(gaps, h)
		}
	}
	if len(done) == 0 {
		return nil
	}
	spread := func(of []checkpoint.Stats, value func(*checkpoint.Stats) int64) contract.Spread {
		values := make([]int64, len(of))
		for i := range of {
			values[i] = value(&of[i])
		}
		return contract.Spread(checkpoint.SpreadOf(values))
	}
	return &contract.CheckpointsSummary{
		Count:              len(done),
		DurationMillis:     spread(done, func(s *checkpoint.Stats) int64 { return s.Duration.Milliseconds() }),
		IdleGapMillis:      spread(gaps, func(s *checkpoint.Stats) int64 { return s.IdleGap.Milliseconds() }),
		TriggerDelayMillis: spread(done, func(s *checkpoint.Stats) int64 { return s.TriggerDelay.Milliseconds() }),
		StartDelayMillis:   spread(done, func(s *checkpoint.Stats) int64 { return s.StartDelay.Milliseconds() }),
		AlignmentMillis:    spread(done, func(s *checkpoint.Stats) int64 { return s.Alignment.Milliseconds() }),
		SyncMicros:         spread(done, func(s *checkpoint.Stats) int64 { return s.Sync.Microseconds() }),
		AsyncMillis:        spread(done, func(s *checkpoint.Stats) int64 { return s.Async.Milliseconds() }),
		UploadMillis:       spread(done, func(s *checkpoint.Stats) int64 { return s.Upload.Milliseconds() }),
		FinalizeMillis:     spread(done, func(s *checkpoint.Stats) int64 { return s.Finalize.Milliseconds() }),
		SizeBytes:          spread(done, func(s *checkpoint.Stats) int64 { return s.Size }),
		WrittenBytes:       spread(done, func(s *checkpoint.Stats) int64 { return s.Bytes }),
	}
}

func totals(t checkpoint.Totals) contract.CheckpointTotals {
	return contract.CheckpointTotals{
		DurationMillis: t.Duration.Milliseconds(), TriggerDelayMillis: t.TriggerDelay.Milliseconds(), StartDelayMillis: t.StartDelay.Milliseconds(),
		AlignmentMillis: t.Alignment.Milliseconds(), WaitedMillis: t.Waited.Milliseconds(), SyncMicros: t.Sync.Microseconds(),
		AsyncMillis: t.Async.Milliseconds(), UploadMillis: t.Upload.Milliseconds(), FinalizeMillis: t.Finalize.Milliseconds(),
		WrittenBytes: t.Bytes, ReusedBytes: t.Reused, ChannelBytes: t.ChannelBytes,
	}
}

func (l *loop) snapshotReport(c *checkpoint.Stats) contract.CheckpointReport {
	r := contract.CheckpointReport{
		SnapshotInfo: contract.SnapshotInfo{
			ID: c.ID, Kind: kindName(c.Kind), Path: l.located(c.Path),
			SizeBytes: c.Size, DurationMillis: c.Duration.Milliseconds(),
		},
		TriggeredAt: c.TriggeredAt, Error: c.Error, Acked: c.Acked, Tasks: c.Tasks,
		WrittenBytes: c.Bytes, ReusedBytes: c.Reused, AlignmentBytes: c.AlignmentBytes, ChannelBytes: c.ChannelBytes,
		QueuedMillis:       c.Queued.Milliseconds(),
		TriggerDelayMillis: c.TriggerDelay.Milliseconds(), StartDelayMillis: c.StartDelay.Milliseconds(),
		AlignmentMillis: c.Alignment.Milliseconds(), WaitedMillis: c.Waited.Milliseconds(), SyncMicros: c.Sync.Microseconds(),
		AsyncMillis: c.Async.Milliseconds(), UploadMillis: c.Upload.Milliseconds(), FinalizeMillis: c.Finalize.Milliseconds(),
		SlowestTask: taskName(c.Slowest), Culprit: culprit(&c.Culprit),
	}
	if c.IdleGap >= 0 {
		r.IdleGapMillis = new(c.IdleGap.Milliseconds())
	}
	switch c.State {
	case checkpoint.StateCompleted:
		r.State, r.CompletedAt = "Completed", c.TriggeredAt.Add(c.Duration)
	case checkpoint.StateFailed:
		r.State, r.Reason = "Failed", string(c.Reason)
		r.Error = cmp.Or(r.Error, r.Reason)
		r.Counted = c.Reason.Counts() && c.Kind == record.Checkpoint
	default:
		r.State = "InFlight"
	}
	for i, t := range c.Missing {
		if i == maxMissing {
			break
		}
		r.Missing = append(r.Missing, t.String())
	}
	return r
}

// taskName is the name of a task; empty for none.
func taskName(t protocol.TaskID) string {
	if t.Vertex == "" {
		return ""
	}
	return t.String()
}

func culprit(c *checkpoint.Culprit) *contract.Culprit {
	if c.Text == "" {
		return nil
	}
	out := &contract.Culprit{
		Phase: string(c.Phase), Task: taskName(c.Task), HeldUpBy: taskName(c.HeldUpBy), Millis: c.Duration.Milliseconds(), Text: c.Text,
	}
	if c.From.Vertex != "" {
		out.Channel = fmt.Sprintf("%s -> %s", c.From, c.Task)
	}
	return out
}

// detail describes one snapshot by vertex and subtask; nil if it isn't known.
func (l *loop) detail(id int64) *contract.CheckpointDetail {
	d, ok := l.machine.Snapshot(time.Now(), id)
	if !ok {
		return nil
	}
	out := &contract.CheckpointDetail{CheckpointReport: l.snapshotReport(&d.Stats), Vertices: l.byVertex(d.Subtasks)}
	for i := range out.Vertices {
		v := &out.Vertices[i]
		v.Subtasks, v.Omitted = slowest(v.Subtasks, maxSubtasks/len(out.Vertices))
	}
	return out
}

// slowest leaves so many subtasks: those that have not acknowledged before others, then those that did last.
func slowest(subtasks []contract.SubtaskCheckpoint, most int) (kept []contract.SubtaskCheckpoint, omitted int) {
	most = max(most, 10)
	if len(subtasks) <= most {
		return subtasks, 0
	}
	kept = slices.Clone(subtasks)
	slices.SortStableFunc(kept, func(a, b contract.SubtaskCheckpoint) int {
		if a.Acked != b.Acked {
			if b.Acked {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.AckedMillis, a.AckedMillis)
	})
	omitted = len(kept) - most
	kept = kept[:most:most]
	slices.SortFunc(kept, func(a, b contract.SubtaskCheckpoint) int { return cmp.Compare(a.Subtask, b.Subtask) })
	return kept, omitted
}

// checkpoints returns the report on snapshots, also after the end of the job.
func (c *Coordinator) checkpoints(ctx context.Context) (*contract.CheckpointsReport, error) {
	if c.waits() {
		return &contract.CheckpointsReport{}, nil
	}
	s, err := ask(ctx, c, (*loop).history)
	if errors.Is(err, errEnded) && c.final.history != nil {
		return c.final.history, nil
	}
	return s, err
}

// checkpoint returns all that is known of one snapshot, also after the end of the job.
func (c *Coordinator) checkpoint(ctx context.Context, id int64) (*contract.CheckpointDetail, error) {
	if err := c.inStandby(); err != nil {
		return nil, err
	}
	d, err := ask(ctx, c, func(l *loop) *contract.CheckpointDetail { return l.detail(id) })
	if errors.Is(err, errEnded) && c.final.history != nil {
		d, err = c.final.details[id], nil
	}
	if err == nil && d == nil {
		return nil, &contract.APIError{
			Status: http.StatusNotFound, Message: fmt.Sprintf("there is no checkpoint or savepoint %d among those in flight and the last 50", id),
			Remedy: "weir snapshot inspect shows what an older one holds",
		}
	}
	return d, err
}

// details are those of the recent snapshots, for after the end of the loop.
func (l *loop) details(h *contract.CheckpointsReport) map[int64]*contract.CheckpointDetail {
	out := map[int64]*contract.CheckpointDetail{}
	for i := range h.Recent {
		out[h.Recent[i].ID] = l.detail(h.Recent[i].ID)
	}
	return out
}
