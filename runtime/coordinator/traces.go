// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
)

const (
	// maxTraced bounds the subtasks that the trace of one snapshot shows, the slowest ones.
	maxTraced = 100
	// tracesQueued bounds the snapshots that wait to be traced; more are not.
	tracesQueued = 16
)

// tracer makes a trace of each snapshot when it is over, from its statistics: all times are the coordinator's, or durations that tasks have measured, laid
// out from the trigger on. The loop only hands statistics over, and never waits for it. A nil one makes none.
type tracer struct {
	tracer trace.Tracer
	job    []attribute.KeyValue
	queue  chan tracedSnapshot
	// seen is how many ended snapshots the loop has handed over, or dropped.
	seen int64
}

// tracedSnapshot is a snapshot that is over.
type tracedSnapshot struct {
	checkpoint.Detail
	plan     *job.Plan
	location string
	// told is when its outcome had been sent to the tasks.
	told time.Time
}

// newTracer returns a tracer of a job; nil without a provider.
func newTracer(p trace.TracerProvider, cfg *contract.JobConfig) *tracer {
	if p == nil {
		return nil
	}
	return &tracer{
		tracer: p.Tracer("github.com/weir-stream/weir/runtime/coordinator"), queue: make(chan tracedSnapshot, tracesQueued),
		job: []attribute.KeyValue{attribute.String("k8s.namespace.name", cfg.Namespace), attribute.String("weir.streamjob", cfg.Name)},
	}
}

// run makes the traces of what is queued until the queue is closed.
func (t *tracer) run(ctx context.Context) {
	for s := range t.queue {
		t.snapshot(ctx, &s)
	}
}

// traceEnded hands over the snapshots that have ended since it was called last. It belongs to the loop.
func (l *loop) traceEnded() {
	t := l.tracer
	if t == nil || l.machine == nil {
		return
	}
	ended, seen := l.machine.EndedSince(t.seen)
	t.seen = seen
	for i := range ended {
		now := time.Now()
		d, ok := l.machine.Snapshot(now, ended[i].ID)
		if !ok {
			continue
		}
		select {
		case t.queue <- tracedSnapshot{Detail: d, plan: &l.prepared.plan, location: l.located(d.Path), told: now}:
		default: // its trace is lost, which is better than to wait
		}
	}
}

// snapshot makes the spans of a snapshot.
func (t *tracer) snapshot(ctx context.Context, s *tracedSnapshot) {
	end := s.TriggeredAt.Add(s.Duration)
	name := "checkpoint"
	if s.Kind == record.Savepoint {
		name = "savepoint"
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithNewRoot(), trace.WithTimestamp(s.TriggeredAt), trace.WithAttributes(t.job...), trace.WithAttributes(attributes(s)...))
	defer span.End(trace.WithTimestamp(end))
	if !span.IsRecording() { // it was not sampled
		return
	}
	parts := slowestParts(s.Subtasks)
	if n := len(s.Subtasks) - len(parts); n > 0 {
		span.SetAttributes(attribute.Int("weir.subtasks.omitted", n))
	}
	for len(parts) > 0 {
		n := 1
		for n < len(parts) && parts[n].Task.Vertex == parts[0].Task.Vertex {
			n++
		}
		t.vertex(ctx, s, parts[:n])
		parts = parts[n:]
	}
	if s.Finalize > 0 {
		acked, written := end.Add(-s.Finalize), end.Add(s.Manifest-s.Finalize)
		t.part(ctx, "manifest", acked, written)
		t.part(ctx, "head swap", written, end)
	}
	if s.State == checkpoint.StateFailed {
		span.SetStatus(codes.Error, cmp.Or(s.Error, string(s.Reason)))
	} else {
		span.AddEvent("tasks notified", trace.WithTimestamp(s.told))
	}
}

// slowestParts leaves so many subtasks, in their order: those that have not acknowledged before others, then those that did last.
func slowestParts(all []checkpoint.SubtaskStats) []checkpoint.SubtaskStats {
	if len(all) <= maxTraced {
		return all
	}
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if all[a].Acked != all[b].Acked {
			if all[b].Acked {
				return -1
			}
			return 1
		}
		return cmp.Compare(all[b].AckedAfter, all[a].AckedAfter)
	})
	order = order[:maxTraced]
	slices.Sort(order)
	kept := make([]checkpoint.SubtaskStats, len(order))
	for i, n := range order {
		kept[i] = all[n]
	}
	return kept
}

// vertex makes the span of a chain of operators and those of its subtasks: until the last of them had acknowledged.
func (t *tracer) vertex(ctx context.Context, s *tracedSnapshot, parts []checkpoint.SubtaskStats) {
	last := time.Duration(0)
	for i := range parts {
		last = max(last, taskEnd(s, &parts[i]))
	}
	ctx, span := t.tracer.Start(ctx, parts[0].Task.Vertex, trace.WithTimestamp(s.TriggeredAt),
		trace.WithAttributes(attribute.StringSlice("weir.operators", operatorsOf(s.plan, parts[0].Task.Vertex))))
	for i := range parts {
		t.subtask(ctx, s, &parts[i])
	}
	span.End(trace.WithTimestamp(s.TriggeredAt.Add(last)))
}

// taskEnd is when a subtask had acknowledged, counted from the trigger, or when the snapshot was given up without it.
func taskEnd(s *tracedSnapshot, p *checkpoint.SubtaskStats) time.Duration {
	if p.Acked {
		return p.AckedAfter
	}
	return s.Duration
}

// subtask makes the spans of one task.
func (t *tracer) subtask(ctx context.Context, s *tracedSnapshot, p *checkpoint.SubtaskStats) {
	c := &p.Cost
	ctx, span := t.tracer.Start(ctx, p.Task.String(), trace.WithTimestamp(s.TriggeredAt), trace.WithAttributes(
		attribute.String("weir.task", p.Task.String()), attribute.Bool("weir.task.acknowledged", p.Acked),
	))
	if p.Acked {
		span.SetAttributes(
			attribute.Int64("weir.size_bytes", p.Size), attribute.Int64("weir.written_bytes", c.Bytes), attribute.Int64("weir.reused_bytes", p.Reused),
			attribute.Int64("weir.alignment_bytes", c.AlignmentBytes), attribute.Int64("weir.overtaken_bytes", c.ChannelBytes),
			attribute.Float64("weir.upload_seconds", c.Upload.Seconds()),
		)
		for _, part := range taskParts(p) {
			t.part(ctx, part.name, s.TriggeredAt.Add(part.from), s.TriggeredAt.Add(part.to))
		}
	} else {
		if p.Progress != nil {
			span.SetAttributes(attribute.String("weir.task.stage", string(p.Progress.Stage)))
		}
		span.SetStatus(codes.Error, "it had not acknowledged")
	}
	if c.Last != nil {
		span.SetAttributes(attribute.String("weir.task.last_barrier_from", c.Last.From.String()))
	}
	span.End(trace.WithTimestamp(s.TriggeredAt.Add(taskEnd(s, p))))
}

// taskPart is a part of the work of a task, counted from the trigger.
type taskPart struct {
	name     string
	from, to time.Duration
}

// taskParts lays the work of a task out. Its parts follow each other, except in a snapshot whose barriers overtook: there its state was fixed while
// barriers were still to come, and what it consists of was written when they had.
func taskParts(p *checkpoint.SubtaskStats) []taskPart {
	c := &p.Cost
	first := p.StartDelay
	aligned := first + c.Alignment
	begin := aligned
	if overtook := c.Alignment+c.Waited+c.Sync+c.Async > c.Total; overtook {
		begin = first
	}
	synced := begin + c.Waited + c.Sync
	writes := max(synced, aligned)
	delay := "start delay"
	if c.Last == nil {
		delay = "trigger delay"
	}
	return []taskPart{
		{delay, 0, first},
		{"alignment", first, aligned},
		{"waiting", begin, begin + c.Waited},
		{"synchronous", begin + c.Waited, synced},
		{"asynchronous", writes, writes + c.Async},
		{"acknowledgement", writes + c.Async, p.AckedAfter},
	}
}

// part makes the span of a part that took time.
func (t *tracer) part(ctx context.Context, name string, from, to time.Time) {
	if to.After(from) {
		_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(from))
		span.End(trace.WithTimestamp(to))
	}
}

// attributes say what the snapshot was and what became of it.
func attributes(s *tracedSnapshot) []attribute.KeyValue {
	out := []attribute.KeyValue{
		attribute.Int64("weir.checkpoint.id", s.ID), attribute.String("weir.checkpoint.type", kindName(s.Kind)),
		attribute.String("weir.checkpoint.path", s.location), attribute.String("weir.checkpoint.outcome", string(s.State)),
		attribute.Int64("weir.size_bytes", s.Size), attribute.Int64("weir.written_bytes", s.Bytes), attribute.Int64("weir.reused_bytes", s.Reused),
		attribute.Int64("weir.alignment_bytes", s.AlignmentBytes), attribute.Int64("weir.overtaken_bytes", s.ChannelBytes),
		attribute.Int("weir.tasks", s.Tasks), attribute.Int("weir.tasks.acknowledged", s.Acked),
		attribute.Float64("weir.queued_seconds", s.Queued.Seconds()),
	}
	text := func(key, value string) {
		if value != "" {
			out = append(out, attribute.String(key, value))
		}
	}
	switch s.Stop {
	case record.StopFreeze:
		text("weir.checkpoint.stop", "Freeze")
	case record.StopDrain:
		text("weir.checkpoint.stop", "Drain")
	case record.StopNone:
	}
	text("weir.operation", s.Operation)
	text("weir.checkpoint.reason", string(s.Reason))
	text("weir.culprit", s.Culprit.Text)
	text("weir.culprit.phase", string(s.Culprit.Phase))
	text("weir.culprit.task", taskName(s.Culprit.Task))
	if len(s.Missing) > 0 {
		out = append(out, attribute.StringSlice("weir.tasks.missing", taskNames(s.Missing)))
	}
	return out
}

func taskNames(tasks []protocol.TaskID) []string {
	names := make([]string, 0, len(tasks))
	for _, id := range tasks {
		names = append(names, id.String())
	}
	return names
}
