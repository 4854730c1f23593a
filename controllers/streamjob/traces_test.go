// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

func TestTraces_ShowTheTimelineOfAnUpgrade(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	traces := NewTraces(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)))
	start := time.Unix(1900000000, 0)
	upgraded := func(at time.Time) *streamv1.UpgradeReport {
		return &streamv1.UpgradeReport{
			FromRevision: "a", ToRevision: "b", Path: "s3://b/sp", StartedAt: metav1.NewMicroTime(at), CompletedAt: metav1.NewMicroTime(at.Add(10 * time.Second)),
			CheckMillis: 2000, SaveMillis: 500, PodsMillis: 1500, RestoreMillis: 1000,
		}
	}
	job := deployed()
	job.Status.LastUpgrade = upgraded(start.Add(-time.Hour))
	traces.update(job) // that one is the operator's before
	job.Status.LastUpgrade = upgraded(start)
	job.Status.LastUpgrade.CompletedAt = metav1.MicroTime{}
	traces.update(job) // under way
	job.Status.LastUpgrade = upgraded(start)
	job.Status.Restore = &streamv1.RestoreReport{RequestedMode: "Savepoint", EffectiveMode: "Savepoint", CheckpointID: 7}
	traces.update(job)
	traces.update(job)

	type span struct {
		Name     string
		From, To time.Duration
		Root     bool
	}
	var got []span
	spans := recorder.Ended()
	if len(spans) != 5 {
		t.Fatalf("%d spans, want 5", len(spans))
	}
	root := spans[len(spans)-1]
	for _, s := range spans {
		if s.SpanContext().TraceID() != root.SpanContext().TraceID() {
			t.Errorf("%s is of another trace", s.Name())
		}
		if s != root && s.Parent().SpanID() != root.SpanContext().SpanID() {
			t.Errorf("%s is not below the upgrade", s.Name())
		}
		got = append(got, span{s.Name(), s.StartTime().Sub(start), s.EndTime().Sub(start), !s.Parent().IsValid()})
	}
	want := []span{
		{"check", 0, 2 * time.Second, false},
		{"save", 7 * time.Second, 7500 * time.Millisecond, false},
		{"pods", 7500 * time.Millisecond, 9 * time.Second, false},
		{"restore", 9 * time.Second, 10 * time.Second, false},
		{"upgrade", 0, 10 * time.Second, true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	attributes := attribute.NewSet(root.Attributes()...)
	for key, want := range map[attribute.Key]string{"weir.streamjob": "words", "weir.revision.to": "b", "weir.restore.effective": "Savepoint", "weir.savepoint": "s3://b/sp"} {
		if v, _ := attributes.Value(key); v.AsString() != want {
			t.Errorf("%s is %q, want %q", key, v.AsString(), want)
		}
	}
	traces.drop(wordsKey)
	traces.update(job) // seen anew
	if n := len(recorder.Ended()); n != 5 {
		t.Errorf("%d spans after the job was seen anew, want 5", n)
	}
	var none *Traces
	none.update(job)
	none.drop(wordsKey)
}
