// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// Traces make a trace of each upgrade when it is over, from the times in the status: a span for all of it, and one below for each part.
// Safe for concurrent use. A nil one makes none.
type Traces struct {
	tracer trace.Tracer

	mu sync.Mutex
	// upgrades are when the newest upgrade of each StreamJob was over.
	upgrades map[types.NamespacedName]time.Time
}

// NewTraces returns traces that go to a provider.
func NewTraces(p trace.TracerProvider) *Traces {
	return &Traces{tracer: p.Tracer("github.com/weir-stream/weir/controllers/streamjob"), upgrades: map[types.NamespacedName]time.Time{}}
}

// update takes a StreamJob up, as it was read or written. What its status told when it is seen first was traced by the operator before.
func (t *Traces) update(job *streamv1.StreamJob) {
	if t == nil {
		return
	}
	var over time.Time
	if u := job.Status.LastUpgrade; u != nil {
		over = u.CompletedAt.Time
	}
	key := types.NamespacedName{Namespace: job.Namespace, Name: job.Name}
	t.mu.Lock()
	before, seen := t.upgrades[key]
	t.upgrades[key] = over
	t.mu.Unlock()
	if seen && !over.IsZero() && !over.Equal(before) {
		t.upgrade(job)
	}
}

// drop forgets a StreamJob that is gone.
func (t *Traces) drop(key types.NamespacedName) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.upgrades, key)
}

// upgrade makes the spans of the newest upgrade. The check comes first; saving, pods and restoring follow each other up to the end. What is between
// the check and the rest is time in which a try had failed and the next one was waited for.
func (t *Traces) upgrade(job *streamv1.StreamJob) {
	u := job.Status.LastUpgrade
	attributes := []attribute.KeyValue{
		attribute.String("k8s.namespace.name", job.Namespace), attribute.String("weir.streamjob", job.Name),
		attribute.String("weir.revision.from", u.FromRevision), attribute.String("weir.revision.to", u.ToRevision),
	}
	if u.Path != "" {
		attributes = append(attributes, attribute.String("weir.savepoint", u.Path))
	}
	rolledBack := job.Status.Rollback != nil && job.Status.Rollback.ToRevision == u.ToRevision
	if r := job.Status.Restore; r != nil {
		attributes = append(attributes, attribute.String("weir.restore.requested", r.RequestedMode), attribute.String("weir.restore.effective", r.EffectiveMode),
			attribute.Int64("weir.restore.checkpoint", r.CheckpointID))
	}
	ctx, span := t.tracer.Start(context.Background(), "upgrade", trace.WithNewRoot(), trace.WithTimestamp(u.StartedAt.Time), trace.WithAttributes(attributes...)) //nolint:forbidigo // a trace of its own
	if rolledBack {
		span.SetStatus(codes.Error, job.Status.Rollback.Reason)
	}
	millis := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	end := u.CompletedAt.Time
	restoring := end.Add(-millis(u.RestoreMillis))
	starting := restoring.Add(-millis(u.PodsMillis))
	saving := starting.Add(-millis(u.SaveMillis))
	for _, part := range []struct {
		name     string
		from, to time.Time
	}{
		{"check", u.StartedAt.Time, u.StartedAt.Add(millis(u.CheckMillis))},
		{"save", saving, starting},
		{"pods", starting, restoring},
		{"restore", restoring, end},
	} {
		if part.to.After(part.from) {
			_, child := t.tracer.Start(ctx, part.name, trace.WithTimestamp(part.from))
			child.End(trace.WithTimestamp(part.to))
		}
	}
	span.End(trace.WithTimestamp(end))
}
