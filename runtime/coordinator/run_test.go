// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"net"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage/memstore"
	"github.com/weir-stream/weir/runtime/transport/control"
)

// rows is a type of batch that these tests never use.
type rows struct{ record.Type }

func (rows) Name() string { return "rows" }

// buildTwo is a source and a sink, in one chain.
func buildTwo(contract.JobConfig) (*graph.Graph, error) {
	return &graph.Graph{Nodes: []*graph.Node{
		{Name: "source", NewSource: func() operator.Source { return nil }, Output: rows{}},
		{Name: "sink", NewOperator: func() operator.Operator { return nil }, Inputs: []graph.Edge{{From: "source"}}},
	}}, nil
}

// cluster is a store on which coordinators run one after the other.
type cluster struct {
	t     *testing.T
	store *memstore.Memory
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	return &cluster{t: t, store: memstore.New("test", time.Now)}
}

func (c *cluster) options() Options {
	return Options{
		Job: contract.JobConfig{
			Namespace: "default", Name: "test", JobID: "0123456789",
			Checkpointing: &contract.Checkpointing{Interval: contract.Duration(time.Second)},
			Storage:       &contract.Storage{Volume: &contract.Volume{Path: "/test"}},
			Restart:       contract.Restart{FixedDelay: &contract.FixedDelay{Delay: contract.Duration(time.Second)}},
		},
		Build: buildTwo, Store: c.store.Client(memstore.Options{}), Location: "/test", Durable: true,
		Log: testr.NewWithOptions(c.t, testr.Options{Verbosity: 2}),
	}
}

// running is a coordinator with its result to come.
type running struct {
	*Coordinator
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}
	result Result
	err    error
}

func (c *cluster) start(o Options) *running {
	c.t.Helper()
	co, err := New(o)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	r := &running{Coordinator: co, t: c.t, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.result, r.err = co.Run(ctx)
	}()
	return r
}

// wait returns the result, which has to come without help.
func (r *running) wait() (Result, error) {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(time.Hour):
		r.t.Fatal("the coordinator doesn't end")
	}
	return r.result, r.err
}

// await polls the status until it is as wanted.
func (r *running) await(what string, want func(*contract.JobStatus) bool) *contract.JobStatus {
	r.t.Helper()
	for range 600 {
		s, err := r.Job(r.t.Context())
		if err == nil && want(s) {
			return s
		}
		select {
		case <-r.done:
			r.t.Fatalf("waiting for %s: the coordinator ended: %+v %v", what, r.result, r.err)
		case <-time.After(100 * time.Millisecond):
		}
	}
	s, err := r.Job(r.t.Context())
	r.t.Fatalf("waiting for %s in vain: %+v %v", what, s, err)
	return nil
}

// fakeWorker does what a worker does, with tasks that do nothing.
type fakeWorker struct {
	stream control.WorkerStream
	done   chan struct{}
	mu     struct {
		sync.Mutex
		deployed []*protocol.Deploy
		refused  string
		shutdown bool
		drained  bool
		// deaf makes it ignore triggers, mute keeps it from answering at all.
		deaf, mute bool
		// stubborn makes tasks fail that are to stop.
		stubborn bool
		// part makes a task's part of a snapshot, in place of the usual one.
		part func(record.Barrier, protocol.TaskID) map[string]snapshot.SubtaskState
	}
}

func (w *fakeWorker) setPart(f func(record.Barrier, protocol.TaskID) map[string]snapshot.SubtaskState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.part = f
}

func (r *running) worker(name string) *fakeWorker {
	r.t.Helper()
	stream, end, closeEnd := control.Pipe(r.t.Context())
	w := &fakeWorker{stream: stream, done: make(chan struct{})}
	go func() {
		_ = r.Handle(end)
		closeEnd()
	}()
	go w.run(protocol.Register{Worker: name, Slots: 1, Version: r.o.Version})
	return w
}

func (w *fakeWorker) run(reg protocol.Register) {
	defer close(w.done)
	defer func() { _ = w.stream.Close() }()
	if w.stream.Send(protocol.FromWorker{Register: &reg}) != nil {
		return
	}
	for {
		m, err := w.stream.Recv()
		if err != nil {
			return
		}
		w.mu.Lock()
		answers, end := w.handle(m)
		w.mu.Unlock()
		for _, a := range answers {
			if w.stream.Send(a) != nil {
				break // what was sent before the end is still read
			}
		}
		if end {
			return
		}
	}
}

// handle is called with the lock held.
func (w *fakeWorker) handle(m protocol.ToWorker) (answers []protocol.FromWorker, end bool) {
	status := func(a protocol.Attempt, t protocol.TaskID, s protocol.TaskState) {
		answers = append(answers, protocol.FromWorker{Status: &protocol.TaskStatus{Attempt: a, Task: t, State: s}})
	}
	switch {
	case m.Refused != "":
		w.mu.refused = m.Refused
		return nil, true
	case m.Shutdown:
		w.mu.shutdown = true
		return nil, true
	case m.Drained:
		w.mu.drained = true
	case w.mu.mute:
	case m.Heartbeat != nil:
		answers = append(answers, protocol.FromWorker{Heartbeat: &protocol.Heartbeat{}})
	case m.Deploy != nil:
		w.mu.deployed = append(w.mu.deployed, m.Deploy)
		for _, t := range m.Deploy.Tasks {
			status(m.Deploy.Attempt, t.Task, protocol.TaskRunning)
		}
	case m.Cancel != nil:
		for _, t := range w.tasks() {
			status(m.Cancel.Attempt, t, protocol.TaskCanceled)
		}
	case m.Trigger != nil && !w.mu.deaf:
		for _, t := range m.Trigger.Tasks {
			ack := &protocol.Ack{Attempt: m.Trigger.Attempt, Task: t, Checkpoint: m.Trigger.Barrier.Checkpoint}
			ack.Operators = map[string]snapshot.SubtaskState{
				"source": {Index: t.Subtask, Lists: []operator.List{{Name: "position", Entries: [][]byte{{1}}}}},
			}
			if w.mu.part != nil {
				ack.Operators = w.mu.part(m.Trigger.Barrier, t)
			}
			answers = append(answers, protocol.FromWorker{Ack: ack})
		}
	case m.Complete != nil && m.Complete.Stop != record.StopNone && w.mu.stubborn:
		status(m.Complete.Attempt, w.tasks()[0], protocol.TaskFailed)
	case m.Complete != nil && m.Complete.Stop != record.StopNone:
		for _, t := range w.tasks() {
			answers = append(answers, protocol.FromWorker{Notified: &protocol.Notified{
				Attempt: m.Complete.Attempt, Task: t, Checkpoint: m.Complete.Checkpoint,
			}})
			status(m.Complete.Attempt, t, protocol.TaskFinished)
		}
	}
	return answers, false
}

func (w *fakeWorker) tasks() (out []protocol.TaskID) {
	if n := len(w.mu.deployed); n > 0 {
		for _, t := range w.mu.deployed[n-1].Tasks {
			out = append(out, t.Task)
		}
	}
	return out
}

func (w *fakeWorker) deployments() []*protocol.Deploy {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.deployed
}

func isRunning(s *contract.JobStatus) bool { return s.State == contract.JobRunning }

func hasCheckpoint(s *contract.JobStatus) bool { return s.LastCheckpoint != nil }

// stop stops the job and returns the operation.
func (r *running) stop(id string) contract.Operation {
	r.t.Helper()
	op, err := r.Stop(r.t.Context(), contract.StopRequest{OperationID: id})
	if err != nil {
		r.t.Fatal(err)
	}
	op, err = r.Operation(r.t.Context(), op.ID, time.Minute)
	if err != nil {
		r.t.Fatal(err)
	}
	return op
}

func TestRun_CheckpointsAndStopsWithASavepoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		r := c.start(c.options())
		r.await("workers to be missing", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
		w := r.worker("w1")
		r.await("a checkpoint", hasCheckpoint)
		op := r.stop("op-1")
		if op.Phase != contract.OperationSucceeded || op.Path != "/test/savepoints/savepoint-012345-op-1/" {
			t.Errorf("the operation is %+v", op)
		}
		res, err := r.wait()
		if err != nil || res.State != contract.JobStopped {
			t.Errorf("ended %s, %v", res.State, err)
		}
		<-w.done
		if !w.mu.shutdown {
			t.Error("the worker was not told to end")
		}
		again, err := r.Operation(t.Context(), "op-1", 0)
		if err != nil || again.Path != op.Path {
			t.Errorf("after the end the operation is %+v, %v", again, err)
		}
	})
}

func TestRun_ResumesFromWhatTheHeadNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.JobID = "" // found by listing the second time
		r := c.start(o)
		r.worker("w1")
		r.await("running", isRunning)
		op := r.stop("op-1")
		first, _ := r.wait()

		r = c.start(o)
		w := r.worker("w2")
		s := r.await("running again", isRunning)
		if s.JobID != first.Status.JobID || s.RestoredFrom == nil || s.RestoredFrom.Path != op.Path {
			t.Errorf("job %s restored from %+v, want %s from %s", s.JobID, s.RestoredFrom, first.Status.JobID, op.Path)
		}
		if d := w.deployments(); len(d) != 1 || d[0].RestoredFrom != op.Checkpoint {
			t.Errorf("deployed %+v, want a restore from %d", d, op.Checkpoint)
		}
		r.cancel()
		res, err := r.wait()
		if err != nil || res.State != contract.JobSuspended {
			t.Errorf("ended %s, %v", res.State, err)
		}
	})
}

func TestRun_FreshStartsAnotherJobBesideTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.JobID, o.Fresh = "", true
		var ids []string
		for range 2 {
			r := c.start(o)
			r.worker("w")
			ids = append(ids, r.await("a checkpoint", hasCheckpoint).JobID)
			r.cancel()
			_, _ = r.wait()
		}
		if ids[0] == ids[1] {
			t.Errorf("both jobs have id %s", ids[0])
		}
		found, err := FindJob(t.Context(), o.Store, o.Job)
		if err != nil || found == nil || found.JobID != ids[1] {
			t.Errorf("found %+v, %v, want the one that was active last, %s", found, err, ids[1])
		}
	})
}

func TestRun_RestartsWhenAWorkerIsLost(t *testing.T) {
	tests := map[string]func(w *fakeWorker){
		"its connection ends": func(w *fakeWorker) { _ = w.stream.Close() },
		"it is silent": func(w *fakeWorker) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.mu.mute = true
		},
	}
	for name, lose := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				r := c.start(c.options())
				w := r.worker("w1")
				r.await("a checkpoint", hasCheckpoint)
				lose(w)
				next := r.worker("w2")
				s := r.await("a restart", func(s *contract.JobStatus) bool { return s.Restarts == 1 && isRunning(s) })
				if s.LastFailure == nil || s.LastFailure.Worker != "w1" || s.RestoredFrom == nil {
					t.Errorf("last failure %+v, restored from %+v", s.LastFailure, s.RestoredFrom)
				}
				if d := next.deployments(); len(d) != 1 || d[0].RestoredFrom == 0 {
					t.Errorf("deployed %+v, want a restore", d)
				}
				<-w.done
				r.cancel()
				_, _ = r.wait()
			})
		})
	}
}

func TestRun_IsFencedByANewerCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		old := c.start(c.options())
		old.worker("w1")
		old.await("running", isRunning)
		o := c.options()
		o.Grant = 2
		next := c.start(o)
		next.worker("w2")
		res, err := old.wait()
		if !Fenced(err) || res.State != contract.JobSuspended {
			t.Errorf("the old one ended %s, %v, want fenced", res.State, err)
		}
		next.await("running", isRunning)
		next.cancel()
		_, _ = next.wait()

		o.Grant = 1
		_, err = c.start(o).wait()
		if !Fenced(err) {
			t.Errorf("a lower grant ends with %v, want fenced", err)
		}
	})
}

func TestRun_ReadsBackSwapsOfUnknownOutcome(t *testing.T) {
	tests := map[string]func(call int) memstore.Fault{
		"the answer is lost":  func(int) memstore.Fault { return memstore.FailAfter(nil) },
		"the request is lost": func(int) memstore.Fault { return memstore.FailBefore(nil) },
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				o := c.options()
				swaps := 0
				o.Store = c.store.Client(memstore.Options{Faults: func(op, key string, _ int) memstore.Fault {
					if op != memstore.OpSwap || !strings.HasSuffix(key, HeadName) {
						return memstore.None()
					}
					if swaps++; swaps%2 == 0 {
						return memstore.None()
					}
					return fault(swaps)
				}})
				r := c.start(o)
				r.worker("w1")
				r.await("a checkpoint", hasCheckpoint)
				if op := r.stop("op-1"); op.Phase != contract.OperationSucceeded {
					t.Errorf("the operation is %+v", op)
				}
				if _, err := r.wait(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What could not be deleted for a while is gone later: while the job runs, and with the end that takes its checkpoints along.
func TestRun_DeletesLaterWhatItCouldNotDelete(t *testing.T) {
	tests := map[string]func(*running){
		"with the next": func(*running) {},
		"at the end": func(r *running) {
			if _, err := r.Cancel(r.t.Context(), contract.CancelRequest{OperationID: "cancel-1"}); err != nil {
				r.t.Fatal(err)
			}
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				o := c.options()
				o.Job.Checkpointing.RetentionCount, o.Job.Checkpointing.DeleteOnCancel = 1, true
				var denied atomic.Bool
				denied.Store(true)
				refused := make(chan struct{}, 100)
				o.Store = c.store.Client(memstore.Options{Faults: func(op, key string, _ int) memstore.Fault {
					if op == memstore.OpDelete && strings.Contains(key, "/chk-") && denied.Load() {
						refused <- struct{}{}
						return memstore.FailBefore(errors.New("denied"))
					}
					return memstore.None()
				}})
				r := c.start(o)
				r.worker("w1")
				s := r.await("two checkpoints", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID > 1 })
				first := strings.TrimPrefix(s.LastCheckpoint.Path, "/test/")
				<-refused
				r.await("a third", func(s *contract.JobStatus) bool { return s.LastCheckpoint.ID > 2 })
				<-refused
				denied.Store(false)
				end(r)
				for range 600 {
					if !slices.ContainsFunc(c.store.Keys(), func(key string) bool {
						return strings.HasPrefix(key, first) || strings.Contains(key, "/chk-1/")
					}) {
						return
					}
					time.Sleep(100 * time.Millisecond)
				}
				t.Errorf("left: %v", c.store.Keys())
			})
		})
	}
}

func TestRun_EndsInEveryState(t *testing.T) {
	tests := map[string]func(r *running){
		"before anything": func(*running) {},
		"without workers": func(r *running) {
			r.await("workers", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
		},
		"running": func(r *running) { r.worker("w1"); r.await("running", isRunning) },
		"waiting to restart": func(r *running) {
			w := r.worker("w1")
			r.await("running", isRunning)
			_ = w.stream.Close()
			r.await("restarting", func(s *contract.JobStatus) bool { return s.State == contract.JobRestarting })
		},
	}
	for name, reach := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				r := c.start(c.options())
				reach(r)
				r.cancel()
				res, err := r.wait()
				if res.State != contract.JobSuspended || (err != nil && !errors.Is(err, context.Canceled)) {
					t.Errorf("ended %s, %v", res.State, err)
				}
			})
		})
	}
}

func TestRun_TellsTheWorkersOfAFailedJobThatItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.Restart = contract.Restart{None: &struct{}{}}
		r := c.start(o)
		w := r.worker("w1")
		r.await("running", isRunning)
		d := w.deployments()[0]
		failed := protocol.TaskStatus{Attempt: d.Attempt, Task: d.Tasks[0].Task, State: protocol.TaskFailed, Error: "boom"}
		if err := w.stream.Send(protocol.FromWorker{Status: &failed}); err != nil {
			t.Fatal(err)
		}
		if res, err := r.wait(); err != nil || res.State != contract.JobFailed {
			t.Errorf("ended %s, %v", res.State, err)
		}
		<-w.done
		if !w.mu.shutdown {
			t.Error("the worker was not told to end")
		}
	})
}

// A job that goes on from the savepoint that stopped it has that stop in its head, and until it is claimed nothing else says that it is over.
func TestRun_ThatEndsBeforeAResumedJobIsClaimedSaysNothingOfTheJob(t *testing.T) {
	tests := map[string]func(c *cluster, r *running){
		"it is told to end":          func(_ *cluster, r *running) { r.cancel() },
		"the storage takes too long": func(*cluster, *running) {},
		"another coordinator claimed it": func(c *cluster, _ *running) {
			if _, err := Fence(c.t.Context(), c.granted(7), nil); err != nil {
				c.t.Error(err)
			}
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				c.stopped()
				o := c.granted(2)
				o.Store = c.store.Client(memstore.Options{Faults: func(op, _ string, _ int) memstore.Fault {
					if op == memstore.OpSwap {
						return memstore.FailBefore(nil)
					}
					return memstore.None()
				}})
				r := c.start(o)
				w := r.worker("w2")
				r.await("the storage", func(s *contract.JobStatus) bool { return s.Problem != nil })
				end(c, r)
				res, _ := r.wait()
				if res.State != contract.JobSuspended || res.Status.State != contract.JobSuspended {
					t.Errorf("ended %s, with the status %s", res.State, res.Status.State)
				}
				<-w.done
				if w.mu.shutdown {
					t.Error("the worker was told that the job is over")
				}
			})
		})
	}
}

func TestRun_StopsServersThatDidNotServeYet(t *testing.T) {
	defer goruntime.GOMAXPROCS(goruntime.GOMAXPROCS(1)) // what is started runs only when the one who starts it waits
	o := newCluster(t).options()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	o.Control, o.API = listen(), listen()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.startServers().stop(t.Context()); err != nil {
		t.Errorf("stopping servers at once: %v", err)
	}
	for name, l := range map[string]net.Listener{"control": o.Control, "API": o.API} {
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the listener of the %s server is not closed: %v", name, err)
		}
	}
}

func TestRun_RefusesWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Version = "v2"
		r := c.start(o)
		r.await("workers to be missing", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
		stream, end, closeEnd := control.Pipe(t.Context())
		go func() {
			_ = r.Handle(end)
			closeEnd()
		}()
		w := &fakeWorker{stream: stream, done: make(chan struct{})}
		go w.run(protocol.Register{Worker: "w1", Slots: 1, Version: "v1"})
		<-w.done
		if want := "the worker has version v1 and the coordinator v2: run the same build"; w.mu.refused != want {
			t.Errorf("refused with %q, want %q", w.mu.refused, want)
		}
		r.cancel()
		_, _ = r.wait()
	})
}

func TestRun_WithoutStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Durable, o.Job.Storage = false, nil
		r := c.start(o)
		w := r.worker("w1")
		s := r.await("a checkpoint", hasCheckpoint)
		if len(s.Warnings) == 0 {
			t.Error("the status doesn't warn that checkpoints are in memory")
		}
		_, err := r.Stop(t.Context(), contract.StopRequest{OperationID: "op-1"})
		if e, ok := errors.AsType[*contract.APIError](err); !ok || e.Status != 409 || e.Remedy == "" {
			t.Errorf("a stop with savepoint ends with %v, want a refusal", err)
		}
		_ = w.stream.Close()
		r.worker("w2")
		s = r.await("a restart", func(s *contract.JobStatus) bool { return s.Restarts == 1 && isRunning(s) })
		if s.RestoredFrom == nil {
			t.Error("the restart did not restore from the checkpoint in memory")
		}
		if _, err := r.Cancel(t.Context(), contract.CancelRequest{OperationID: "op-2"}); err != nil {
			t.Fatal(err)
		}
		if res, err := r.wait(); err != nil || res.State != contract.JobCancelled {
			t.Errorf("ended %s, %v", res.State, err)
		}
	})
}

func TestRun_BadConfigurations(t *testing.T) {
	tests := map[string]struct {
		change func(o *Options)
		want   string
	}{
		"the graph can't be built": {
			func(o *Options) {
				o.Build = func(contract.JobConfig) (*graph.Graph, error) { return nil, errors.New("no such column") }
			},
			"no such column",
		},
		"parallelism": {func(o *Options) { o.Job.Parallelism, o.Job.MaxParallelism = 4, 2 }, "above maxParallelism 2"},
		"restore from elsewhere": {
			func(o *Options) { o.Job.RestoreFrom = "/other/savepoint" },
			"is not in the job's storage /test",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			o := c.options()
			tc.change(&o)
			_, err := c.start(o).wait()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("ended with %v, want %q", err, tc.want)
			}
		})
	}
}
