// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"maps"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// report builds the status of the job as callers see it.
func (l *loop) report(now time.Time) *contract.JobStatus {
	if l.standby != nil {
		return l.reportStandby(now)
	}
	s := l.machine.Status(now)
	out := &contract.JobStatus{
		Namespace:      l.o.Job.Namespace,
		Name:           l.o.Job.Name,
		JobID:          s.JobID,
		State:          l.state(s),
		Epoch:          contract.Epoch{Grant: s.Epoch.Grant, N: s.Epoch.N},
		Restarts:       s.Restarts,
		StartedAt:      l.startedAt,
		Parallelism:    l.prepared.parallelism,
		MaxParallelism: l.prepared.plan.MaxParallelism,
		SlotsNeeded:    s.SlotsNeeded,
		SlotsOffered:   s.SlotsOffered,
		MeasuredAt:     now,
		Operations:     l.ops.list(),
		Storage:        l.o.Location,
		Durable:        l.o.Durable,
		Message:        s.Message,
		PolicyRevision: l.machine.Policy().Revision,
		DeployedAt:     s.StartedAt,
	}
	if s.State == job.StateInitializing && s.Message != "" {
		out.Problem = &contract.Problem{Reason: contract.StorageUnavailable, Message: s.Message, Since: l.startedAt}
		if at, ok := l.machine.NextWake(); ok {
			out.Problem.RetryAt = at
		}
	}
	if s.Trouble != "" && out.Problem == nil {
		out.StorageTrouble = &contract.StorageTrouble{Since: s.TroubleSince, Message: s.Trouble}
	}
	if s.Attempt.K > 0 {
		out.Attempt = s.Attempt.String()
	}
	if f := s.LastFailure; f != nil {
		out.LastFailure = &contract.Failure{At: f.At, Message: f.Error, Worker: f.Worker}
		if f.Task.Vertex != "" {
			out.LastFailure.Task = f.Task.String()
		}
	}
	if r := s.Restored; r != nil && !r.Empty {
		out.RestoredFrom = &contract.SnapshotInfo{
			ID: r.Checkpoint, Kind: kindName(s.Taken.Kind), Path: l.located(r.Path), CompletedAt: s.Taken.At, SizeBytes: s.Taken.Size,
			DurationMillis: durationOf(s.History, r.Checkpoint).Milliseconds(), Stopped: s.Taken.Stop != record.StopNone,
		}
		out.Warnings = append(out.Warnings, leftOutWarnings(r.LeftOut)...)
	}
	out.Warnings = append(out.Warnings, unreadableWarnings(s.Checkpoints.Unreadable)...)
	switch {
	case l.o.Job.Checkpointing == nil:
		out.Warnings = append(out.Warnings, "the job takes no checkpoints: a failure loses its state")
	case !l.o.Durable:
		out.Warnings = append(out.Warnings,
			"there is no storage: checkpoints live in the memory of the coordinator and are lost with it; savepoints are refused")
	}
	out.MaxOutage = contract.Duration(l.maxOutage())
	l.reportTasks(out, s)
	reportRegions(out, s)
	l.reportSnapshots(out, s)
	out.Sweeps = l.reportSweeps()
	return out
}

func kindName(k record.SnapshotKind) string {
	if k == record.Savepoint {
		return "Savepoint"
	}
	return "Checkpoint"
}

// state translates the machine's state for callers.
func (l *loop) state(s job.Status) contract.JobState {
	switch s.State {
	case job.StateInitializing:
		return contract.JobStarting
	case job.StateCreated:
		if s.SlotsOffered < s.SlotsNeeded {
			return contract.JobWaiting
		}
		return contract.JobDeploying
	case job.StateRunning:
		return contract.JobRunning
	case job.StateFailing, job.StateRestarting:
		return contract.JobRestarting
	case job.StateCancelling:
		return contract.JobStopping
	case job.StateCanceled:
		return contract.JobCancelled
	case job.StateFinished:
		return contract.JobFinished
	case job.StateFailed:
		return contract.JobFailed
	default:
		if l.exit != nil && l.exit.Ended {
			return contract.JobStopped
		}
		return contract.JobSuspended
	}
}

// records are counts of an attempt.
type records struct{ in, out int64 }

// counts returns what the workers last said of tasks, each of the attempt that it was deployed with.
func (l *loop) counts(tasks []job.TaskInfo) map[protocol.TaskID]protocol.TaskMetrics {
	attempts := map[protocol.TaskID]protocol.Attempt{}
	for _, t := range tasks {
		attempts[t.Task] = t.Attempt
	}
	counts := map[protocol.TaskID]protocol.TaskMetrics{}
	for _, k := range l.workers {
		for _, m := range k.metrics {
			if a, known := attempts[m.Task]; known && m.Attempt == a {
				counts[m.Task] = m
			}
		}
	}
	return counts
}

// tally adds up the records of sources and sinks. Between attempts the numbers of the last one stay.
func (l *loop) tally() {
	status := l.machine.Status(time.Now())
	counts := l.counts(status.Tasks)
	if len(counts) == 0 {
		return
	}
	produces := map[string]bool{}
	for _, v := range l.prepared.plan.Vertices {
		for _, in := range v.Inputs {
			produces[in.Vertex] = true
		}
	}
	var sum records
	for _, v := range l.prepared.plan.Vertices {
		for i := range v.Parallelism {
			m := counts[protocol.TaskID{Vertex: v.Name, Subtask: i}]
			if len(v.Inputs) == 0 {
				sum.in += m.RecordsIn
			}
			switch {
			case produces[v.Name]:
			case len(v.Operators) > 1:
				sum.out += m.RecordsOut // handed to the sink at the end of the chain
			default:
				sum.out += m.RecordsIn
			}
		}
	}
	l.records = sum
	restored := int64(0)
	if status.Restored != nil {
		restored = status.Restored.Checkpoint
	}
	l.replay.heard(counts, restored)
}

// reportTasks adds tasks and workers with the counts that heartbeats brought.
func (l *loop) reportTasks(out *contract.JobStatus, s job.Status) {
	counts := l.counts(s.Tasks)
	vertices := map[string]checkpoint.Vertex{}
	for _, v := range l.prepared.plan.Vertices {
		vertices[v.Name] = v
	}
	for _, t := range s.Tasks {
		v, m := vertices[t.Task.Vertex], counts[t.Task]
		out.Tasks = append(out.Tasks, contract.TaskReport{
			Task: t.Task.String(), Operators: v.Operators, Worker: t.Worker, State: string(t.State),
			RecordsIn: m.RecordsIn, RecordsOut: m.RecordsOut, Watermark: m.Watermark, Counters: maps.Clone(m.Counters),
		})
	}
	out.RecordsIn, out.RecordsOut = l.records.in, l.records.out
	out.RecordsReplayed = l.replay.total
	for _, w := range s.Workers {
		r := contract.WorkerReport{Name: w.Name, Slots: w.Slots, DataAddr: w.DataAddr}
		if k := l.workers[w.Name]; k != nil {
			r.LastSeen = k.lastSeen
		}
		out.Workers = append(out.Workers, r)
	}
}

// reportSnapshots adds the last checkpoint and savepoint.
func (l *loop) reportSnapshots(out *contract.JobStatus, s job.Status) {
	if n := len(s.Completed); n > 0 {
		out.LastCheckpoint = new(l.completed(s, s.Completed[n-1]))
	}
	for _, op := range slices.Backward(s.Operations) {
		// A failed one with a savepoint was left out: that is damaged.
		if op.Checkpoint > 0 && op.Type != snapshot.OperationCheckpoint && op.Outcome != snapshot.OutcomeFailed {
			out.LastSavepoint = &contract.SnapshotInfo{
				ID: op.Checkpoint, Kind: kindName(record.Savepoint), Path: l.located(op.Path),
				CompletedAt: op.At, SizeBytes: op.Size, DurationMillis: durationOf(s.History, op.Checkpoint).Milliseconds(),
			}
			break
		}
	}
}

func (l *loop) completed(s job.Status, c snapshot.CompletedCheckpoint) contract.SnapshotInfo {
	return contract.SnapshotInfo{
		ID: c.ID, Kind: kindName(record.Checkpoint), Path: l.located(c.Path), CompletedAt: c.CompletedAt,
		SizeBytes: c.Size, DurationMillis: durationOf(s.History, c.ID).Milliseconds(),
	}
}

func durationOf(history []checkpoint.Stats, id int64) time.Duration {
	for _, h := range history {
		if h.ID == id {
			return h.Duration
		}
	}
	return 0
}
