// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
	"github.com/weir-stream/weir/runtime/transport/control"
	"github.com/weir-stream/weir/runtime/worker"
)

var numbers = record.NewRowType(record.MustCoderOf[int64]())

// slowness says where the job of these tests takes its time. Time is virtual, so it costs none.
type slowness struct {
	// task is the subtask that is slow, such as "sink/1".
	vertex  string
	subtask int
	// process is how long it takes for a batch, sync and async for the parts of a snapshot; manifest and object are of the storage.
	process, sync, async, manifest time.Duration
	// once makes only one batch slow, the first after the task has seen 20.
	once bool
}

func (s *slowness) at(c *operator.Context) bool { return c.Name == s.vertex && c.Subtask == s.subtask }

// ticker is a source of 100 rows every 10 ms.
type ticker struct {
	slow *slowness
	ctx  *operator.Context
	buf  *record.Rows[int64]
	next time.Time
}

func (s *ticker) Open(_ context.Context, c *operator.Context) error {
	s.ctx, s.buf = c, numbers.Get()
	return nil
}
func (s *ticker) Close() error { return nil }

func (s *ticker) Poll() (operator.Polled, error) {
	now := time.Now()
	if now.Before(s.next) {
		return operator.Polled{State: operator.Wait, WakeAt: s.next}, nil
	}
	if s.slow.at(s.ctx) {
		time.Sleep(s.slow.process)
	}
	s.next = now.Add(10 * time.Millisecond)
	s.buf.Values = s.buf.Values[:0]
	for i := range int64(100) {
		s.buf.Values = append(s.buf.Values, i)
	}
	return operator.Polled{Batch: s.buf, State: operator.More}, nil
}

// relay hands rows on, or drops them if it is the last.
type relay struct {
	slow *slowness
	ctx  *operator.Context
	seen int
}

func (r *relay) Open(_ context.Context, c *operator.Context) error {
	r.ctx = c
	return nil
}
func (r *relay) Close() error { return nil }

func (r *relay) Process(_ int, b record.Batch) (operator.Status, error) {
	r.seen++
	if r.slow.at(r.ctx) && (!r.slow.once || r.seen == 20) {
		time.Sleep(r.slow.process)
	}
	if r.ctx.Out == nil {
		return operator.Done, nil
	}
	return r.ctx.Out.Emit(b)
}
func (r *relay) Resume() (operator.Status, error) { return operator.Done, nil }

func (r *relay) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	slow := r.slow.at(r.ctx)
	if slow {
		time.Sleep(r.slow.sync)
	}
	return func(ctx context.Context) ([]operator.List, error) {
		if slow {
			select {
			case <-time.After(r.slow.async):
			case <-ctx.Done():
			}
		}
		return []operator.List{{Name: "seen", Entries: [][]byte{{1}}}}, nil
	}, nil
}

// graph is src (2) → map (2) → sink (2), every subtask connected with every one of the next.
func (s *slowness) graph(contract.JobConfig) (*graph.Graph, error) {
	relays := func() operator.Operator { return &relay{slow: s} }
	return &graph.Graph{Nodes: []*graph.Node{
		{Name: "src", Output: numbers, NewSource: func() operator.Source { return &ticker{slow: s} }},
		{Name: "map", Output: numbers, NoChain: true, Inputs: []graph.Edge{{From: "src", Partition: graph.Rebalance}}, NewOperator: relays},
		{Name: "sink", NoChain: true, Inputs: []graph.Edge{{From: "map", Partition: graph.Rebalance}}, NewOperator: relays},
	}}, nil
}

// realWorker runs a worker of the job and returns what waits for its end.
func (r *running) realWorker(s storage.Store, build func(contract.JobConfig) (*graph.Graph, error)) (wait func()) {
	r.t.Helper()
	done := make(chan struct{})
	o := worker.Options{
		Name: "w1", Slots: 2, Build: build,
		Store: func(context.Context, contract.JobConfig) (storage.Store, error) { return s, nil },
		Connect: func(ctx context.Context) (control.WorkerStream, error) {
			w, c, closeEnd := control.Pipe(ctx)
			go func() {
				_ = r.Handle(c)
				closeEnd()
			}()
			return w, nil
		},
		Log: testr.NewWithOptions(r.t, testr.Options{Verbosity: 0}),
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	go func() {
		defer close(done)
		_ = worker.Run(ctx, o)
	}()
	return func() {
		cancel()
		<-done
	}
}

// slowJob runs a job with that slowness until want likes the report on its checkpoints, and returns that and the details of the newest snapshot that ended, the
// first in the report.
func slowJob(t *testing.T, s *slowness, change func(*Options), want func(*contract.CheckpointsReport) bool) (*contract.CheckpointsReport, *contract.CheckpointDetail) {
	t.Helper()
	c := newCluster(t)
	o := c.options()
	o.Build, o.Job.Parallelism = s.graph, 2
	o.Job.Checkpointing.Interval = contract.Duration(5 * time.Second)
	o.Job.Checkpointing.TolerableFailures = 100
	o.Log = testr.NewWithOptions(t, testr.Options{Verbosity: 0})
	var manifests atomic.Int64
	o.Store = c.store.Client(memstore.Options{Faults: func(op, key string, _ int) memstore.Fault {
		if op != memstore.OpGet && strings.HasSuffix(key, "/_metadata") {
			manifests.Add(1)
			time.Sleep(s.manifest)
		}
		return memstore.None()
	}})
	if change != nil {
		change(&o)
	}
	r := c.start(o)
	wait := r.realWorker(c.store.Client(memstore.Options{}), s.graph)
	defer func() {
		r.cancel()
		_, _ = r.wait()
		wait()
	}()
	for range 3000 {
		time.Sleep(100 * time.Millisecond)
		h, err := r.checkpoints(t.Context())
		if err != nil || !want(h) {
			continue
		}
		for h.Recent[0].State == "InFlight" {
			h.Recent = h.Recent[1:]
		}
		d, err := r.checkpoint(t.Context(), h.Recent[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		return h, d
	}
	h, err := r.checkpoints(t.Context())
	t.Fatalf("waiting in vain: %+v %v", h, err)
	return nil, nil
}

// completed waits until so many checkpoints are complete.
func completed(n int64) func(*contract.CheckpointsReport) bool {
	return func(h *contract.CheckpointsReport) bool { return h.Completed >= n }
}

func TestRun_NamesWhatMadeACheckpointSlow(t *testing.T) {
	tests := map[string]struct {
		slow *slowness
		// phase of the culprit, and the task that is it or holds it up; texts are parts of what is said.
		phases string
		task   string
	}{
		"a slow sink":             {&slowness{vertex: "sink", subtask: 1, process: 100 * time.Millisecond}, "Channel Waiting", "sink/1"},
		"a slow operator":         {&slowness{vertex: "map", subtask: 0, process: 100 * time.Millisecond}, "Channel Waiting", "map/0"},
		"a slow synchronous part": {&slowness{vertex: "map", subtask: 1, sync: 2 * time.Second}, "Synchronous", "map/1"},
		"a slow upload":           {&slowness{vertex: "sink", subtask: 0, async: 2 * time.Second}, "Asynchronous", "sink/0"},
		"a source that is stuck":  {&slowness{vertex: "src", subtask: 1, process: 2 * time.Second}, "Trigger Acknowledge", "src/1"},
		"a slow storage":          {&slowness{manifest: 3 * time.Second}, "Finalize", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, d := slowJob(t, tc.slow, nil, completed(2))
				c := h.Recent[0].Culprit
				if c == nil {
					t.Fatalf("no culprit is named: %+v", h.Recent[0])
				}
				t.Logf("%s, after %d ms", c.Text, h.Recent[0].DurationMillis)
				if !strings.Contains(tc.phases, c.Phase) || (c.Task != tc.task && c.HeldUpBy != tc.task) {
					t.Errorf("the culprit is %+v, want %s of %s", c, tc.phases, tc.task)
				}
				checkDetail(t, d)
			})
		})
	}
}

// checkDetail looks at what every detail of a completed checkpoint of three vertices has.
func checkDetail(t *testing.T, d *contract.CheckpointDetail) {
	t.Helper()
	if len(d.Vertices) != 3 || d.Acked != 6 {
		t.Fatalf("%d vertices with %d acknowledgements, want 3 with 6", len(d.Vertices), d.Acked)
	}
	for _, v := range d.Vertices {
		if len(v.Subtasks) != 2 || v.Acked != 2 || len(v.Operators) != 1 {
			t.Fatalf("vertex %s is %+v, want two subtasks that acknowledged", v.Vertex, v)
		}
		for _, s := range v.Subtasks {
			if (s.LastFrom != "") != (v.Vertex != "src") {
				t.Errorf("%s/%d had its last barrier from %q", v.Vertex, s.Subtask, s.LastFrom)
			}
			own := s.StartDelayMillis + s.AlignmentMillis + s.WaitedMillis + s.SyncMicros/1000 + s.AsyncMillis + s.AckDelayMillis
			if own > s.AckedMillis || own < s.AckedMillis-5 {
				t.Errorf("%s/%d acknowledged after %d ms, its parts add up to %d ms", v.Vertex, s.Subtask, s.AckedMillis, own)
			}
		}
	}
}

func TestRun_NamesWhoDidNotAcknowledge(t *testing.T) {
	tests := map[string]struct {
		slow *slowness
		// task is the culprit, or holds it up; want are parts of the error.
		task string
		want []string
	}{
		"a sink that hangs": {
			&slowness{vertex: "sink", subtask: 1, process: 25 * time.Second, once: true},
			"sink/1",
			[]string{"not complete within 8s: no acknowledgement of", "sink/1", "% of the time"},
		},
		"an upload that hangs": {
			&slowness{vertex: "map", subtask: 0, async: time.Minute},
			"map/0",
			[]string{"not complete within 8s: no acknowledgement of map/0; map/0 had been writing its part for"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				short := func(o *Options) { o.Job.Checkpointing.Timeout = contract.Duration(8 * time.Second) }
				h, d := slowJob(t, tc.slow, short, func(h *contract.CheckpointsReport) bool {
					return h.FailedByReason["Expired"] > 0
				})
				t.Log(h.Recent[0].Error)
				for _, want := range tc.want {
					if !strings.Contains(h.Recent[0].Error, want) {
						t.Errorf("the error %q lacks %q", h.Recent[0].Error, want)
					}
				}
				if !h.Recent[0].Counted || h.Recent[0].Reason != "Expired" || h.ConsecutiveFailures == 0 {
					t.Errorf("reason %q, counted %v, %d in a row", h.Recent[0].Reason, h.Recent[0].Counted, h.ConsecutiveFailures)
				}
				if d.Culprit == nil || (d.Culprit.Task != tc.task && d.Culprit.HeldUpBy != tc.task) {
					t.Errorf("the culprit is %+v, want %s", d.Culprit, tc.task)
				}
				if len(d.Vertices) != 3 {
					t.Errorf("%d vertices, want 3", len(d.Vertices))
				}
			})
		})
	}
}

func TestRun_AdvisesOnTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowness{vertex: "sink", subtask: 1, process: 400 * time.Millisecond}
		h, _ := slowJob(t, s, nil, completed(4))
		if len(h.Advice) != 2 || !strings.Contains(h.Advice[0], "longer than the interval of 5s") || !strings.Contains(h.Advice[1], "sink/1") {
			t.Errorf("advice is %q, want one on the interval and one on sink/1", h.Advice)
		}
		if h.Summary == nil || h.Summary.Count < 4 || h.Summary.DurationMillis.P50 < 5000 || h.Summary.DurationMillis.Max < h.Summary.DurationMillis.P50 {
			t.Errorf("summary is %+v", h.Summary)
		}
		if h.Totals.DurationMillis < 20000 {
			t.Errorf("totals are %+v", h.Totals)
		}
	})
}

func TestRun_DetailOfAnUnknownCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		r := c.start(c.options())
		r.worker("w1")
		r.await("a checkpoint", hasCheckpoint)
		_, err := r.checkpoint(t.Context(), 999)
		if e, ok := err.(*contract.APIError); !ok || e.Status != 404 || e.Remedy == "" { //nolint:errorlint // it isn't wrapped
			t.Errorf("got %v, want a 404 with a remedy", err)
		}
		h, err := r.checkpoints(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.cancel()
		_, _ = r.wait()
		d, err := r.checkpoint(t.Context(), h.Recent[len(h.Recent)-1].ID)
		if err != nil || d.State != "Completed" {
			t.Errorf("after the end the detail is %+v, %v", d, err)
		}
	})
}

// While the head can't be swapped the tasks go on, nothing is committed, and the status says so and since when.
func TestRun_SaysThatItWaitsForStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		var broken atomic.Bool
		o.Store = c.store.Client(memstore.Options{Faults: func(op, _ string, _ int) memstore.Fault {
			if op == memstore.OpSwap && broken.Load() {
				return memstore.FailBefore(nil)
			}
			return memstore.None()
		}})
		r := c.start(o)
		r.worker("w1")
		if s := r.await("a checkpoint", hasCheckpoint); s.StorageTrouble != nil {
			t.Errorf("trouble before there is any: %+v", s.StorageTrouble)
		}
		broken.Store(true)
		first := r.await("trouble", func(s *contract.JobStatus) bool { return s.StorageTrouble != nil })
		time.Sleep(5 * time.Second)
		s := r.await("trouble", func(s *contract.JobStatus) bool { return s.StorageTrouble != nil })
		if s.State != contract.JobRunning || s.StorageTrouble.Since != first.StorageTrouble.Since || !strings.Contains(s.StorageTrouble.Message, "waiting for storage: ") {
			t.Errorf("job is %s, trouble %+v, want it running with trouble since %v", s.State, s.StorageTrouble, first.StorageTrouble.Since)
		}
		broken.Store(false)
		r.await("the end of it", func(s *contract.JobStatus) bool { return s.StorageTrouble == nil })
		r.cancel()
		_, _ = r.wait()
	})
}
