// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
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
			CheckMillis: 2000, WarmMillis: 4000, SaveMillis: 500, PodsMillis: 1500, RestoreMillis: 1000,
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
	if len(spans) != 6 {
		t.Fatalf("%d spans, want 6", len(spans))
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
		{"warm", 3 * time.Second, 7 * time.Second, false},
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
	if n := len(recorder.Ended()); n != 6 {
		t.Errorf("%d spans after the job was seen anew, want 6", n)
	}
	var none *Traces
	none.update(job)
	none.drop(wordsKey)
}

// TestTraces_ShowAnUpgradeThatFailed has a version rolled back that never ran: its upgrade ends with an error where it got stuck, and the rollback has a trace
// of its own.
func TestTraces_ShowAnUpgradeThatFailed(t *testing.T) {
	start := time.Unix(1900000000, 0)
	rollback := func(outcome streamv1.RollbackOutcome, completed time.Time) *streamv1.RollbackReport {
		return &streamv1.RollbackReport{
			FromRevision: "b", FromGeneration: 2, ToRevision: "a", Reason: streamv1.ReasonCrashLoop, Outcome: outcome,
			At: metav1.NewTime(start.Add(20 * time.Second)), CompletedAt: metav1.NewTime(completed),
		}
	}
	type span struct {
		Name     string
		From, To time.Duration
		Status   codes.Code
		Why      string
	}
	failed := []span{
		{"check", 0, 2 * time.Second, codes.Unset, ""},
		{"save", 4500 * time.Millisecond, 5 * time.Second, codes.Unset, ""},
		{"pods", 5 * time.Second, 20 * time.Second, codes.Unset, ""},
		{"upgrade", 0, 20 * time.Second, codes.Error, streamv1.ReasonCrashLoop},
	}
	tests := map[string]struct {
		completed bool // the version ran before
		ended     *streamv1.RollbackReport
		want      []span
	}{
		"the stable version runs": {
			false, rollback(streamv1.RollbackCompleted, start.Add(30*time.Second)),
			append(failed, span{"rollback", 20 * time.Second, 30 * time.Second, codes.Unset, ""}),
		},
		"it can't go on": {
			false, rollback(streamv1.RollbackBlocked, time.Time{}),
			append(failed, span{"rollback", 20 * time.Second, 40 * time.Second, codes.Error, "Blocked"}),
		},
		"the version that failed had run": {
			true, rollback(streamv1.RollbackCompleted, start.Add(30*time.Second)),
			[]span{{"rollback", 20 * time.Second, 30 * time.Second, codes.Unset, ""}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			recorder := tracetest.NewSpanRecorder()
			traces := NewTraces(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)))
			traces.now = func() time.Time { return start.Add(40 * time.Second) }
			job := deployed()
			st := &job.Status
			st.History = []streamv1.HistoryEntry{{Revision: "a", DeployedAt: metav1.NewTime(start)}, {Revision: "b", Generation: 2, DeployedAt: metav1.NewTime(start.Add(5 * time.Second))}}
			st.LastUpgrade = &streamv1.UpgradeReport{FromRevision: "a", ToRevision: "b", StartedAt: metav1.NewMicroTime(start), CheckMillis: 2000, SaveMillis: 500}
			if tc.completed {
				st.LastUpgrade.CompletedAt = metav1.NewMicroTime(start.Add(10 * time.Second))
			}
			traces.update(job)
			for _, st.Rollback = range []*streamv1.RollbackReport{rollback(streamv1.RollbackStarted, time.Time{}), tc.ended, tc.ended, nil} {
				traces.update(job)
			}
			var got []span
			for _, s := range recorder.Ended() {
				got = append(got, span{s.Name(), s.StartTime().Sub(start), s.EndTime().Sub(start), s.Status().Code, s.Status().Description})
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
		})
	}
}
