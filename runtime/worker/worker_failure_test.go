// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
	"github.com/weir-stream/weir/runtime/transport"
)

func TestStorageFailureDeclines(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	f.job.Checkpointing = &contract.Checkpointing{Interval: contract.Duration(time.Hour)}
	store := memstore.New("test", nil).Client(memstore.Options{Faults: func(op, _ string, _ int) memstore.Fault {
		if op == memstore.OpPutIfAbsent {
			return memstore.FailBefore(errors.New("no space"))
		}
		return memstore.None()
	}})
	startWorker(t.Context(), t, options(t, "w", f, j, store))
	c := f.accept()
	j.allow(100, false)
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	j.awaitTotal(t, 200)
	c.send(protocol.ToWorker{Trigger: &protocol.Trigger{
		Attempt: attemptK(1), Barrier: record.Barrier{Checkpoint: 1, Target: "chk/"},
		Tasks: []protocol.TaskID{{Vertex: "numbers"}, {Vertex: "numbers", Subtask: 1}},
	}})
	acks, declines := 0, 0
	c.until(func(m protocol.FromWorker) bool {
		if m.Ack != nil {
			acks++
		}
		if m.Decline != nil {
			declines++
			if m.Decline.Reason != protocol.DeclinedAsync || !strings.Contains(m.Decline.Error, "no space") {
				t.Errorf("declined as %s: %s", m.Decline.Reason, m.Decline.Error)
			}
		}
		return acks+declines == 8
	})
	if declines != 2 {
		t.Errorf("%d tasks decline, want the 2 with keyed state", declines)
	}
	// The job goes on.
	j.allow(200, false)
	j.awaitTotal(t, 400)
}

func TestAPanicFailsTheTaskAlone(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	var panicked atomic.Int32
	j.onRow = func(n int64) {
		if n == 77 && panicked.Add(1) <= 2 {
			panic("seventy-seven")
		}
	}
	startWorker(t.Context(), t, options(t, "w", f, j, newStore()))
	c := f.accept()
	j.allow(100, false)
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	ms := c.until(func(m protocol.FromWorker) bool { return m.Status != nil && m.Status.State == protocol.TaskFailed })
	failed := ms[len(ms)-1].Status
	for _, want := range []string{`operator "check"`, "panic: seventy-seven", "TestAPanicFailsTheTaskAlone"} {
		if !strings.Contains(failed.Error, want) {
			t.Errorf("the failure doesn't say %q:\n%s", want, failed.Error)
		}
	}
	if failed.Task.Vertex != "check" || failed.Fatal {
		t.Errorf("failed: %+v", failed)
	}
	// The next attempt runs in the same worker, once all that will panic has.
	for c.next().Status.State != protocol.TaskFailed {
	}
	c.send(protocol.ToWorker{Cancel: &protocol.Cancel{Attempt: attemptK(1)}})
	c.states(protocol.TaskCanceled, 6)
	j.reset()
	j.allow(300, true)
	c.send(protocol.ToWorker{Deploy: deployment(2, 2, []*fakeConn{c}, nil)[c]})
	left := 8
	c.until(func(m protocol.FromWorker) bool {
		if m.Status != nil && m.Status.State == protocol.TaskFinished {
			left--
		}
		return left == 0
	})
	j.awaitTotal(t, 600)
}

func TestATaskThatIsStuckEndsTheWorker(t *testing.T) {
	tests := map[string]protocol.ToWorker{
		"canceled":        {Cancel: &protocol.Cancel{Attempt: attemptK(1)}},
		"the job is over": {Shutdown: true},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			f, j := newFakeCoordinator(t), newTestJob()
			release, stuck := make(chan struct{}), make(chan struct{}, 2)
			j.onRow = func(int64) {
				stuck <- struct{}{}
				<-release
			}
			o := options(t, "w", f, j, newStore())
			o.CancelTimeout = 50 * time.Millisecond
			result := startWorker(t.Context(), t, o)
			c := f.accept()
			j.allow(1, false)
			c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
			<-stuck
			c.send(end)
			err := await(t, result)
			if err == nil || !strings.Contains(err.Error(), "stuck in code of the job: check/") {
				t.Errorf("Run() = %v; want it to name the tasks that are stuck", err)
			}
			close(release)
		})
	}
}

func TestLosingThePeerFailsTheTasks(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	o := options(t, "a", f, j, newStore())
	o.DataListenAddr = "127.0.0.1:0"
	startWorker(t.Context(), t, o)
	a := f.accept()

	// The peer is an exchange without a worker, that takes one of the channels and then goes away.
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &fakeConn{worker: protocol.Register{Worker: "b", DataAddr: l.Addr().String()}}
	peer := transport.NewExchange(transport.ExchangeOptions{Worker: "b", Listener: l, Failed: func(string, error) {}, Log: logr.Discard()})
	ctx, kill := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- peer.Run(ctx) }()
	plan := planOf(t, j)
	edge := plan.Vertex("count").Inputs[0]
	ready := transport.NewSignal()
	gate := transport.NewGate(1, 0, ready)
	if err := peer.RegisterGate(attemptK(1).String(), []transport.GateChannel{{ID: transport.ChannelID{Edge: edge.Index, From: 0, To: 1}, Type: edge.Type}}, gate); err != nil {
		t.Fatal(err)
	}
	j.allow(100, false)
	a.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{a, b}, nil)[a]})
	for {
		if _, e, ok := gate.Next(); ok {
			e.Batch.Release()
			break
		}
		<-ready.C()
	}
	kill()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for id, st := range a.states(protocol.TaskFailed, 4) {
		if !strings.Contains(st.Error, "connection to worker b at "+l.Addr().String()+" lost") {
			t.Errorf("task %s failed: %s", id, st.Error)
		}
	}
}

// planOf returns the plan of the test job as workers make it.
func planOf(t *testing.T, j *testJob) *graph.Plan {
	t.Helper()
	g, err := j.build(contract.JobConfig{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := graph.NewPlan(g, graph.Options{Parallelism: 2, MaxParallelism: 128})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestStaleMessagesAreIgnored(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	startWorker(t.Context(), t, options(t, "w", f, j, newStore()))
	c := f.accept()
	deploy := func(k int64) protocol.ToWorker {
		return protocol.ToWorker{Deploy: deployment(k, 2, []*fakeConn{c}, nil)[c]}
	}
	cancel := func(k int64) protocol.ToWorker {
		return protocol.ToWorker{Cancel: &protocol.Cancel{Attempt: attemptK(k)}}
	}
	// Cancelled before it came, older than what was cancelled, and one that runs.
	c.send(cancel(3))
	c.send(deploy(3))
	c.send(deploy(2))
	c.send(deploy(5))
	c.send(deploy(5))
	c.send(deploy(4))
	c.send(cancel(4))
	for id, st := range c.states(protocol.TaskRunning, 8) {
		if st.Attempt != attemptK(5) {
			t.Errorf("task %s of attempt %s was started", id, st.Attempt)
		}
	}
	c.send(protocol.ToWorker{Trigger: &protocol.Trigger{Attempt: attemptK(4), Barrier: record.Barrier{Checkpoint: 1}, Tasks: []protocol.TaskID{{Vertex: "numbers"}}}})
	// A newer attempt takes over.
	c.send(deploy(6))
	left := 8
	c.until(func(m protocol.FromWorker) bool {
		switch {
		case m.Status == nil:
			t.Errorf("unexpected %+v", m)
		case m.Status.Attempt == attemptK(5) && m.Status.State != protocol.TaskCanceled:
			t.Errorf("task %s of the old attempt: %s", m.Status.Task, m.Status.State)
		case m.Status.Attempt == attemptK(6) && m.Status.State == protocol.TaskRunning:
			left--
		}
		return left == 0
	})
}

func TestTheCoordinatorComesBack(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	startWorker(t.Context(), t, options(t, "w", f, j, newStore()))
	c := f.accept()
	j.allow(100, false)
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	j.awaitTotal(t, 200)
	c.close()
	// The tasks go on meanwhile.
	j.allow(200, false)
	j.awaitTotal(t, 400)
	c = f.accept()
	if c.worker.Worker != "w" || c.worker.Fingerprint == "" {
		t.Errorf("registers as %+v", c.worker)
	}
	// A coordinator has given up the tasks of a worker whose connection ended.
	c.states(protocol.TaskCanceled, 8)
	c.close()
	f.epoch.N = 2
	c = f.accept()
	// One of an older epoch isn't listened to.
	c.close()
	f.epoch.N = 1
	old := f.accept()
	select {
	case _, open := <-old.got:
		if open {
			t.Error("the worker talks to a coordinator of an old epoch")
		}
	case <-time.After(patience):
		t.Error("the worker stays with a coordinator of an old epoch")
	}
}

func TestTasksEndWithoutACoordinator(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	f.timeout = 100 * time.Millisecond
	startWorker(t.Context(), t, options(t, "w", f, j, newStore()))
	c := f.accept()
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	// The coordinator is silent: the worker connects again, and says that its tasks were cancelled meanwhile.
	f.timeout = patience
	f.setDown(true)
	for range c.got {
	}
	if c.s.Context().Err() == nil {
		t.Error("the connection is still there")
	}
	deadline := time.Now().Add(patience)
	for ended := false; !ended && time.Now().Before(deadline); {
		j.mu.Lock()
		ended = len(j.mu.wake) == 0
		j.mu.Unlock()
		if !ended {
			j.allow(0, false)
		}
	}
	f.setDown(false)
	c = f.accept()
	c.states(protocol.TaskCanceled, 8)
}

func TestWhatEndsAWorker(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		f, j := newFakeCoordinator(t), newTestJob()
		result := startWorker(t.Context(), t, options(t, "w", f, j, newStore()))
		c := <-f.conns
		c.send(protocol.ToWorker{Refused: "another version"})
		if err := await(t, result); err == nil || !strings.Contains(err.Error(), "another version") {
			t.Errorf("Run() = %v", err)
		}
	})
	t.Run("shut down at once", func(t *testing.T) {
		f, j := newFakeCoordinator(t), newTestJob()
		result := startWorker(t.Context(), t, options(t, "w", f, j, newStore()))
		c := <-f.conns
		c.send(protocol.ToWorker{Shutdown: true})
		if err := await(t, result); err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		f, j := newFakeCoordinator(t), newTestJob()
		f.setDown(true)
		o := options(t, "w", f, j, newStore())
		o.ConnectTimeout = time.Millisecond
		if err := await(t, startWorker(t.Context(), t, o)); err == nil || !strings.Contains(err.Error(), "nobody is there") {
			t.Errorf("Run() = %v", err)
		}
	})
	t.Run("its context", func(t *testing.T) {
		f, j := newFakeCoordinator(t), newTestJob()
		ctx, cancel := context.WithCancel(t.Context())
		result := startWorker(ctx, t, options(t, "w", f, j, newStore()))
		c := f.accept()
		c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
		c.states(protocol.TaskRunning, 8)
		cancel()
		if err := await(t, result); !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v", err)
		}
	})
	t.Run("options", func(t *testing.T) {
		if err := Run(t.Context(), Options{}); err == nil {
			t.Error("empty options are accepted")
		}
	})
	t.Run("an address in use", func(t *testing.T) {
		f, j := newFakeCoordinator(t), newTestJob()
		o := options(t, "w", f, j, newStore())
		o.DataListenAddr = "256.0.0.1:1"
		if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "256.0.0.1:1") {
			t.Errorf("Run() = %v", err)
		}
	})
}

func TestAJobThatCanNotRunFailsFatally(t *testing.T) {
	tests := map[string]struct {
		change func(*fakeCoordinator, *Options)
		fatal  bool
		want   string
	}{
		"graph that can't be built": {
			change: func(_ *fakeCoordinator, o *Options) {
				o.Build = func(contract.JobConfig) (*graph.Graph, error) { return nil, errors.New("no such field") }
			},
			fatal: true, want: "building the graph of the job: no such field",
		},
		"Build that panics": {
			change: func(_ *fakeCoordinator, o *Options) {
				o.Build = func(contract.JobConfig) (*graph.Graph, error) { panic("oh") }
			},
			fatal: true, want: "panic: oh",
		},
		"another graph": {
			change: func(f *fakeCoordinator, _ *Options) { f.fingerprint = "0123" },
			fatal:  true, want: "the coordinator 0123: run the same build",
		},
		"storage that can't be opened": {
			change: func(_ *fakeCoordinator, o *Options) {
				o.Store = func(context.Context, contract.JobConfig) (storage.Store, error) { return nil, errors.New("no bucket") }
			},
			want: "opening the storage of the job: no bucket",
		},
		"an error of any length": {
			change: func(_ *fakeCoordinator, o *Options) {
				o.Store = func(context.Context, contract.JobConfig) (storage.Store, error) {
					return nil, errors.New(strings.Repeat("no bucket ", 500_000))
				}
			},
			want: "… (cut, 5000032 bytes in all)",
		},
		"fewer slots than subtasks": {
			change: func(f *fakeCoordinator, _ *Options) { f.job.Parallelism = 3 },
			want:   "the deployment has 2 slots only",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f, j := newFakeCoordinator(t), newTestJob()
			o := options(t, "w", f, j, newStore())
			tc.change(f, &o)
			startWorker(t.Context(), t, o)
			c := f.accept()
			c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
			for id, st := range c.states(protocol.TaskFailed, 8) {
				if st.Fatal != tc.fatal || !strings.Contains(st.Error, tc.want) || len(st.Error) > snapshot.MaxText {
					t.Errorf("task %s: fatal %v: %.200s", id, st.Fatal, st.Error)
				}
			}
		})
	}
}

func TestStorageIsOpenedAgainForTheNextAttempt(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	o := options(t, "w", f, j, newStore())
	var tries atomic.Int32
	deployed := make(chan struct{})
	o.Store = func(context.Context, contract.JobConfig) (storage.Store, error) {
		if tries.Add(1) == 1 {
			<-deployed // one that failed before is tried again by the deployment
			return nil, errors.New("no answer")
		}
		return newStore(), nil
	}
	startWorker(t.Context(), t, o)
	c := f.accept()
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	for b := range c.beats {
		if len(b.Tasks) > 0 {
			break
		}
	}
	close(deployed)
	c.states(protocol.TaskFailed, 8)
	c.send(protocol.ToWorker{Deploy: deployment(2, 2, []*fakeConn{c}, nil)[c]})
	c.states(protocol.TaskRunning, 8)
}

func TestAdvertised(t *testing.T) {
	for addr, want := range map[string]string{
		"": "127.0.0.1:7000", "pod-1": "pod-1:7000", "pod-1:0": "pod-1:7000", "pod-1:9": "pod-1:9", "[::1]:9": "[::1]:9",
	} {
		got, err := advertised(addr, "127.0.0.1:7000")
		if err != nil || got != want {
			t.Errorf("advertised(%q) = %q, %v; want %q", addr, got, err, want)
		}
	}
}

// slowStore blocks writes while slow is set, until they are cancelled.
type slowStore struct {
	storage.Store
	slow    atomic.Bool
	entered chan struct{}
}

func (s *slowStore) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if s.slow.Load() {
		s.entered <- struct{}{}
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return s.Store.PutIfAbsent(ctx, key, data)
}

func TestAnAbortEndsTheAsynchronousParts(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	f.job.Checkpointing = &contract.Checkpointing{Interval: contract.Duration(time.Hour)}
	store := &slowStore{Store: newStore(), entered: make(chan struct{}, 8)}
	store.slow.Store(true)
	o := options(t, "w", f, j, store)
	o.AsyncParts = 1
	startWorker(t.Context(), t, o)
	c := f.accept()
	j.allow(100, false)
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	j.awaitTotal(t, 200)
	trigger := protocol.Trigger{
		Attempt: attemptK(1), Barrier: record.Barrier{Checkpoint: 1, Target: "chk/"},
		Tasks: []protocol.TaskID{{Vertex: "numbers"}, {Vertex: "numbers", Subtask: 1}},
	}
	c.send(protocol.ToWorker{Trigger: &trigger})
	<-store.entered
	// Rows flow on beside the write, which holds the only slot for asynchronous parts.
	j.allow(200, false)
	j.awaitTotal(t, 400)
	store.slow.Store(false)
	c.send(protocol.ToWorker{Aborted: &protocol.Aborted{Attempt: attemptK(1), Checkpoint: 1}})
	trigger.Barrier.Checkpoint = 2
	c.send(protocol.ToWorker{Trigger: &trigger})
	left := 8
	c.until(func(m protocol.FromWorker) bool {
		if m.Decline != nil && m.Decline.Checkpoint == 2 {
			t.Fatalf("task %s declines: %s %s", m.Decline.Task, m.Decline.Reason, m.Decline.Error)
		}
		if m.Ack != nil && m.Ack.Checkpoint == 2 {
			left--
		}
		return left == 0
	})
	// A cancelled attempt doesn't wait for writes either.
	store.slow.Store(true)
	trigger.Barrier.Checkpoint = 3
	c.send(protocol.ToWorker{Trigger: &trigger})
	<-store.entered
	c.send(protocol.ToWorker{Cancel: &protocol.Cancel{Attempt: attemptK(1)}})
	c.states(protocol.TaskCanceled, 8)
}

// A coordinator that stood by claims the job and tells the workers that wait: they go on under its epoch, on the same connection.
func TestAStandbyCoordinatorClaimsTheJob(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	f.epoch = protocol.Epoch{Grant: 1}
	told := make(chan bool, 10)
	o := options(t, "w", f, j, newStore())
	o.Registered = func(registered bool) { told <- registered }
	startWorker(t.Context(), t, o)
	c := f.accept()
	if !<-told {
		t.Error("the worker doesn't count itself as registered in standby")
	}
	job, err := json.Marshal(f.job)
	if err != nil {
		t.Fatal(err)
	}
	hello := protocol.Registered{Epoch: protocol.Epoch{Grant: 1, N: 1}, Job: job, HeartbeatInterval: 20 * time.Millisecond, HeartbeatTimeout: patience}
	c.send(protocol.ToWorker{Registered: &hello})
	j.allow(100, false)
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	j.awaitTotal(t, 200)
	stale := hello
	stale.Epoch.N = 0
	c.send(protocol.ToWorker{Registered: &stale}) // not from the one that owns the job: the connection isn't trusted any more
	if <-told {
		t.Error("it registered again on the same connection")
	}
}

// A worker that is to end waits for a checkpoint while its tasks run, as long as there is a coordinator and time.
func TestDrain(t *testing.T) {
	tests := map[string]struct {
		timeout time.Duration
		deploy  bool
		// then ends the wait; nil: nothing does but the timeout.
		then func(*fakeConn)
	}{
		"the checkpoint is complete": {patience, true, func(c *fakeConn) { c.send(protocol.ToWorker{Drained: true}) }},
		"it takes too long":          {50 * time.Millisecond, true, nil},
		"the coordinator goes away":  {patience, true, func(c *fakeConn) { c.close() }},
		"without tasks":              {patience, false, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f, j := newFakeCoordinator(t), newTestJob()
			drain := make(chan struct{})
			o := options(t, "w", f, j, newStore())
			o.Drain, o.DrainTimeout = drain, tc.timeout
			result := startWorker(t.Context(), t, o)
			c := f.accept()
			if tc.deploy {
				j.allow(100, false)
				c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
				j.awaitTotal(t, 200)
			} else {
				<-c.beats // it has taken the answer to its registration
			}
			close(drain)
			if tc.deploy {
				c.until(func(m protocol.FromWorker) bool { return m.Draining })
			}
			if tc.then != nil {
				select {
				case err := <-result:
					t.Errorf("it didn't wait: %v", err)
				default:
				}
				tc.then(c)
			}
			select {
			case err := <-result:
				if !errors.Is(err, ErrDrained) {
					t.Errorf("it ended with %v", err)
				}
			case <-time.After(patience / 2):
				t.Error("it doesn't end")
			}
		})
	}
}
