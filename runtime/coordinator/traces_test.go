// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/telemetry"
	"github.com/weir-stream/weir/runtime/telemetry/telemetrytest"
)

// recorded are the spans of one trace.
type recorded []sdktrace.ReadOnlySpan

// traceOf returns the trace with a root of that name whose outcome is that; it waits for it.
func traceOf(t *testing.T, r *tracetest.SpanRecorder, name, outcome string) recorded {
	t.Helper()
	ended := r.Ended()
	for _, root := range ended {
		if root.Name() != name || root.Parent().IsValid() || text(root, "weir.checkpoint.outcome") != outcome {
			continue
		}
		var of recorded
		for _, s := range ended {
			if s.SpanContext().TraceID() == root.SpanContext().TraceID() {
				of = append(of, s)
			}
		}
		return of
	}
	t.Fatalf("there is no trace %s that is %s among %d spans", name, outcome, len(ended))
	return nil
}

func (r recorded) root() sdktrace.ReadOnlySpan { return r[len(r)-1] }

// below returns the spans right below one, by name.
func (r recorded) below(parent sdktrace.ReadOnlySpan) map[string]sdktrace.ReadOnlySpan {
	out := map[string]sdktrace.ReadOnlySpan{}
	for _, s := range r {
		if s.Parent().SpanID() == parent.SpanContext().SpanID() {
			out[s.Name()] = s
		}
	}
	return out
}

func text(s sdktrace.ReadOnlySpan, key string) string {
	for _, a := range s.Attributes() {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

func took(s sdktrace.ReadOnlySpan) time.Duration { return s.EndTime().Sub(s.StartTime()) }

func TestRun_TracesWhereTheTimeOfACheckpointWent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder := tracetest.NewSpanRecorder()
		traced := func(o *Options) { o.Traces = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)) }
		s := &slowness{vertex: "map", subtask: 1, sync: 2 * time.Second, manifest: 3 * time.Second}
		_, d := slowJob(t, s, traced, completed(1))
		spans := traceOf(t, recorder, "checkpoint", "Completed")
		root := spans.root()
		for key, want := range map[string]string{
			"weir.checkpoint.id": "1", "weir.checkpoint.type": "Checkpoint", "k8s.namespace.name": "default", "weir.streamjob": "test",
			"weir.tasks": "6", "weir.tasks.acknowledged": "6", "weir.culprit.phase": "Finalize", "weir.checkpoint.path": d.Path,
		} {
			if got := text(root, key); got != want {
				t.Errorf("attribute %s is %q, want %q", key, got, want)
			}
		}
		if e := root.Events(); len(e) != 1 || e[0].Name != "tasks notified" || e[0].Time.Before(root.EndTime()) {
			t.Errorf("events of a completed checkpoint: %+v", e)
		}
		parts := spans.below(root)
		for _, name := range []string{"src", "map", "sink", "manifest"} {
			if parts[name] == nil {
				t.Fatalf("%s has no span below the checkpoint: %v", name, parts)
			}
		}
		if got := took(parts["manifest"]); got < 3*time.Second || got > 4*time.Second {
			t.Errorf("the manifest took %v, want 3s", got)
		}
		tasks := spans.below(parts["map"])
		if len(tasks) != 2 {
			t.Fatalf("%d subtasks below map, want 2", len(tasks))
		}
		slow := spans.below(tasks["map/1"])
		if slow["synchronous"] == nil || took(slow["synchronous"]) < 2*time.Second {
			t.Fatalf("the synchronous part of map/1 isn't shown with its 2s: %v", slow)
		}
		for _, span := range spans {
			if span.StartTime().Before(root.StartTime()) || span.EndTime().After(root.EndTime()) {
				t.Errorf("%s reaches beyond the checkpoint: %v to %v of %v to %v", span.Name(), span.StartTime(), span.EndTime(), root.StartTime(), root.EndTime())
			}
		}
	})
}

func TestRun_TracesWhyACheckpointFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder := tracetest.NewSpanRecorder()
		traced := func(o *Options) {
			o.Traces = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
			o.Job.Checkpointing.Timeout = contract.Duration(8 * time.Second)
		}
		s := &slowness{vertex: "map", subtask: 0, async: time.Minute}
		slowJob(t, s, traced, func(h *contract.CheckpointsReport) bool { return h.FailedByReason["Expired"] > 0 })
		spans := traceOf(t, recorder, "checkpoint", "Failed")
		root := spans.root()
		if text(root, "weir.checkpoint.reason") != "Expired" || !strings.Contains(text(root, "weir.tasks.missing"), "map/0") ||
			!strings.Contains(root.Status().Description, "map/0 had been writing its part for") || len(root.Events()) != 0 {
			t.Errorf("status %+v, attributes %+v", root.Status(), root.Attributes())
		}
		if got := took(root); got != 8*time.Second {
			t.Errorf("it took %v, want 8s", got)
		}
		tasks := spans.below(spans.below(root)["map"])
		if stuck := tasks["map/0"]; stuck == nil || took(stuck) != 8*time.Second || text(stuck, "weir.task.stage") != "Writing" || stuck.Status().Description == "" {
			t.Errorf("the task that is missing is shown as %+v", stuck)
		}
		if _, shown := spans.below(root)["head swap"]; shown {
			t.Error("a head swap is shown that never was")
		}
	})
}

func TestRun_SendsTracesOfCheckpointsToACollector(t *testing.T) {
	collector := telemetrytest.New(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	traces, err := telemetry.Open(t.Context(), telemetry.Service{Name: "weir-coordinator", Version: "v1", Log: logr.Discard()}, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t)
	o := c.options()
	o.Job.Checkpointing.Interval, o.Traces = contract.Duration(50*time.Millisecond), traces.Provider()
	r := c.start(o)
	r.worker("w1")
	r.await("a checkpoint", hasCheckpoint)
	op, err := r.submit(t.Context(), submission{id: "sp-1", typ: contract.SavepointOperation})
	if err != nil {
		t.Fatal(err)
	}
	if op, err = r.Operation(t.Context(), op.ID, 20*time.Second); err != nil || op.Phase != contract.OperationSucceeded {
		t.Fatalf("the savepoint is %+v, %v", op, err)
	}
	r.cancel()
	_, _ = r.wait()
	traces.Close(t.Context())
	names := map[string]int{}
	var savepoint, chain telemetrytest.Span
	for _, s := range collector.Spans() {
		if s.Service != "weir-coordinator" {
			t.Errorf("span %s is of service %q", s.Name, s.Service)
		}
		names[s.Name]++
		switch s.Name {
		case "savepoint":
			savepoint = s
		case "source":
			chain = s
		}
	}
	for _, name := range []string{"checkpoint", "savepoint", "source", "source/0", "head swap"} {
		if names[name] == 0 {
			t.Errorf("no span %q arrived, only %v", name, names)
		}
	}
	if d := cmp.Diff([]string{"source", "sink"}, chain.Attributes["weir.operators"]); d != "" {
		t.Errorf("operators of the chain (-want +got):\n%s", d)
	}
	if savepoint.Parent != "" || savepoint.Attributes["weir.operation"] != "sp-1" || savepoint.Attributes["weir.checkpoint.outcome"] != "Completed" ||
		savepoint.Attributes["weir.streamjob"] != "test" || savepoint.Error != "" {
		t.Errorf("the savepoint arrived as %+v", savepoint)
	}
}

// stuckProcessor never lets go of a span, as nothing that the coordinator is given should be.
type stuckProcessor struct {
	sdktrace.SpanProcessor
	release chan struct{}
	once    sync.Once
	stuck   chan struct{}
}

func (p *stuckProcessor) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

func (p *stuckProcessor) OnEnd(sdktrace.ReadOnlySpan) {
	p.once.Do(func() { close(p.stuck) })
	<-p.release
}

func TestRun_DoesNotWaitForTraces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &stuckProcessor{release: make(chan struct{}), stuck: make(chan struct{})}
		c := newCluster(t)
		o := c.options()
		o.Traces = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(p))
		r := c.start(o)
		r.worker("w1")
		r.await("many more checkpoints than wait to be traced", func(s *contract.JobStatus) bool {
			return s.LastCheckpoint != nil && s.LastCheckpoint.ID > 3*tracesQueued
		})
		<-p.stuck
		h, err := r.checkpoints(t.Context())
		if err != nil || h.Failed > 0 || h.Summary.DurationMillis.Max > 100 {
			t.Errorf("%d checkpoints failed, the slowest took %d ms, %v", h.Failed, h.Summary.DurationMillis.Max, err)
		}
		close(p.release)
		r.cancel()
		_, _ = r.wait()
	})
}

func TestTaskParts_LayTheWorkOfATaskOut(t *testing.T) {
	const ms = time.Millisecond
	from := &protocol.ChannelRef{From: protocol.TaskID{Vertex: "src"}}
	tests := map[string]struct {
		part checkpoint.SubtaskStats
		want []taskPart
	}{
		"of a source": {
			checkpoint.SubtaskStats{StartDelay: 2 * ms, AckedAfter: 12 * ms, Cost: protocol.AckMetrics{Total: 10 * ms, Waited: 1 * ms, Sync: 2 * ms, Async: 4 * ms}},
			[]taskPart{{"trigger delay", 0, 2 * ms}, {"waiting", 2 * ms, 3 * ms}, {"synchronous", 3 * ms, 5 * ms}, {"asynchronous", 5 * ms, 9 * ms}, {"acknowledgement", 9 * ms, 12 * ms}},
		},
		"aligned": {
			checkpoint.SubtaskStats{StartDelay: 5 * ms, AckedAfter: 25 * ms, Cost: protocol.AckMetrics{Total: 20 * ms, Alignment: 10 * ms, Last: from, Sync: 3 * ms, Async: 7 * ms}},
			[]taskPart{{"start delay", 0, 5 * ms}, {"alignment", 5 * ms, 15 * ms}, {"synchronous", 15 * ms, 18 * ms}, {"asynchronous", 18 * ms, 25 * ms}},
		},
		"overtaken: fixed at once, written when all barriers were in": {
			checkpoint.SubtaskStats{StartDelay: 5 * ms, AckedAfter: 25 * ms, Cost: protocol.AckMetrics{Total: 20 * ms, Alignment: 15 * ms, Last: from, Sync: 3 * ms, Async: 5 * ms}},
			[]taskPart{{"start delay", 0, 5 * ms}, {"alignment", 5 * ms, 20 * ms}, {"synchronous", 5 * ms, 8 * ms}, {"asynchronous", 20 * ms, 25 * ms}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := slices.DeleteFunc(taskParts(&tc.part), func(p taskPart) bool { return p.to <= p.from }) // as no span is made of those
			if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(taskPart{})); d != "" {
				t.Errorf("parts (-want +got):\n%s", d)
			}
		})
	}
}

func TestSlowestParts_KeepsWhatIsMissingAndWhatWasLate(t *testing.T) {
	var all []checkpoint.SubtaskStats
	for n := range 3 * maxTraced {
		all = append(all, checkpoint.SubtaskStats{Task: protocol.TaskID{Vertex: "v", Subtask: n}, Acked: n != 7, AckedAfter: time.Duration(n)})
	}
	all[7].AckedAfter = 0
	kept := slowestParts(all)
	if len(kept) != maxTraced || kept[0].Task.Subtask != 7 || kept[1].Task.Subtask != 2*maxTraced+1 {
		t.Errorf("kept %d, the first two %v and %v", len(kept), kept[0].Task, kept[1].Task)
	}
}
