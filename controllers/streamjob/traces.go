// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// Traces make a trace of each upgrade and each rollback when it is over, from the times in the status: a span for all of it, and for an upgrade one below for each
// part. Safe for concurrent use. A nil one makes none.
type Traces struct {
	tracer trace.Tracer
	now    func() time.Time

	mu sync.Mutex
	// told is what was traced of each StreamJob.
	told map[types.NamespacedName]traced
}

// traced tells the newest upgrade that was over, the newest rollback that had begun, which ends an upgrade too, and the newest one that was over.
type traced struct{ upgraded, failed, rolledBack time.Time }

// NewTraces returns traces that go to a provider.
func NewTraces(p trace.TracerProvider) *Traces {
	return &Traces{
		tracer: p.Tracer("github.com/weir-stream/weir/controllers/streamjob"), now: time.Now, //nolint:forbidigo // tests put another one in its place
		told: map[types.NamespacedName]traced{},
	}
}

// update takes a StreamJob up, as it was read or written. What its status told when it is seen first was traced by the operator before.
func (t *Traces) update(job *streamv1.StreamJob) {
	if t == nil {
		return
	}
	var now traced
	u, r := job.Status.LastUpgrade, job.Status.Rollback
	if u != nil {
		now.upgraded = u.CompletedAt.Time
	}
	if r != nil {
		now.failed = r.At.Time
		if r.Outcome != streamv1.RollbackStarted {
			now.rolledBack = r.At.Time
		}
	}
	key := types.NamespacedName{Namespace: job.Namespace, Name: job.Name}
	t.mu.Lock()
	before, seen := t.told[key]
	t.told[key] = now
	t.mu.Unlock()
	if !seen {
		return
	}
	if isNew(now.upgraded, before.upgraded) {
		t.upgrade(job)
	}
	if isNew(now.failed, before.failed) && u != nil && u.CompletedAt.IsZero() && u.ToRevision == r.FromRevision {
		t.failedUpgrade(job)
	}
	if isNew(now.rolledBack, before.rolledBack) {
		t.rollback(job)
	}
}

func isNew(at, before time.Time) bool { return !at.IsZero() && !at.Equal(before) }

// drop forgets a StreamJob that is gone.
func (t *Traces) drop(key types.NamespacedName) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.told, key)
}

// period is a part of an operation that is traced.
type period struct {
	name     string
	from, to time.Time
}

// upgrade makes the spans of the newest upgrade. The check comes first; warming, saving, pods and restoring follow each other up to the end. What is between
// the check and the rest is time in which a try had failed and the next one was waited for.
func (t *Traces) upgrade(job *streamv1.StreamJob) {
	u := job.Status.LastUpgrade
	end := u.CompletedAt.Time
	restoring := end.Add(-millis(u.RestoreMillis))
	starting := restoring.Add(-millis(u.PodsMillis))
	attributes := upgradeAttributes(job)
	if r := job.Status.Restore; r != nil {
		attributes = append(attributes, attribute.String("weir.restore.requested", r.RequestedMode), attribute.String("weir.restore.effective", r.EffectiveMode),
			attribute.Int64("weir.restore.checkpoint", r.CheckpointID))
	}
	t.trace(period{"upgrade", u.StartedAt.Time, end}, attributes, "", slices.Concat(untilStart(u, starting), []period{
		{"pods", starting, restoring},
		{"restore", restoring, end},
	}))
}

// failedUpgrade makes those of an upgrade whose version never ran and is rolled back. The last part is the one that it got stuck in.
func (t *Traces) failedUpgrade(job *streamv1.StreamJob) {
	u, r := job.Status.LastUpgrade, job.Status.Rollback
	starting := u.StartedAt.Add(millis(u.CheckMillis + u.WarmMillis + u.SaveMillis))
	for i := range job.Status.History {
		// A second try of its savepoint may have come before.
		if h := &job.Status.History[i]; h.Revision == r.FromRevision && h.Generation == r.FromGeneration && h.DeployedAt.After(starting) {
			starting = h.DeployedAt.Time
		}
	}
	end := r.At.Time
	if end.Before(starting) {
		end = starting // it is known to the second only
	}
	stuck := []period{{"pods", starting, end}}
	if u.PodsMillis > 0 {
		restoring := starting.Add(millis(u.PodsMillis))
		stuck = []period{{"pods", starting, restoring}, {"restore", restoring, end}}
	}
	t.trace(period{"upgrade", u.StartedAt.Time, end}, upgradeAttributes(job), r.Reason, slices.Concat(untilStart(u, starting), stuck))
}

// untilStart are the parts of an upgrade before its version was started.
func untilStart(u *streamv1.UpgradeReport, starting time.Time) []period {
	saving := starting.Add(-millis(u.SaveMillis))
	return []period{
		{"check", u.StartedAt.Time, u.StartedAt.Add(millis(u.CheckMillis))},
		{"warm", saving.Add(-millis(u.WarmMillis)), saving},
		{"save", saving, starting},
	}
}

// rollback makes the span of a rollback that is over: the stable version runs, or can't.
func (t *Traces) rollback(job *streamv1.StreamJob) {
	r := job.Status.Rollback
	attributes := append(jobAttributes(job), attribute.String("weir.revision.from", r.FromRevision), attribute.String("weir.revision.to", r.ToRevision),
		attribute.String("weir.rollback.reason", r.Reason), attribute.String("weir.rollback.message", r.Message), attribute.String("weir.rollback.outcome", string(r.Outcome)))
	end, failed := r.CompletedAt.Time, ""
	if r.Outcome != streamv1.RollbackCompleted {
		end, failed = t.now(), string(r.Outcome)
		attributes = append(attributes, attribute.String("weir.rollback.blockedBy", r.BlockedBy))
	}
	t.trace(period{"rollback", r.At.Time, end}, attributes, failed, nil)
}

// trace makes a trace of its own: a span, with an error unless failed is empty, and below it one for each part that took time.
func (t *Traces) trace(whole period, attributes []attribute.KeyValue, failed string, parts []period) {
	ctx, span := t.tracer.Start(context.Background(), whole.name, trace.WithNewRoot(), trace.WithTimestamp(whole.from), trace.WithAttributes(attributes...)) //nolint:forbidigo // a trace of its own
	if failed != "" {
		span.SetStatus(codes.Error, failed)
	}
	for _, part := range parts {
		if part.to.After(part.from) {
			_, child := t.tracer.Start(ctx, part.name, trace.WithTimestamp(part.from))
			child.End(trace.WithTimestamp(part.to))
		}
	}
	span.End(trace.WithTimestamp(whole.to))
}

func jobAttributes(job *streamv1.StreamJob) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("k8s.namespace.name", job.Namespace), attribute.String("weir.streamjob", job.Name)}
}

func upgradeAttributes(job *streamv1.StreamJob) []attribute.KeyValue {
	u := job.Status.LastUpgrade
	attributes := append(jobAttributes(job), attribute.String("weir.revision.from", u.FromRevision), attribute.String("weir.revision.to", u.ToRevision))
	if u.Path != "" {
		attributes = append(attributes, attribute.String("weir.savepoint", u.Path))
	}
	return attributes
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
