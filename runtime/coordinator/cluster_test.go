// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"sync"
	"testing"
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
	go w.run(protocol.Register{Worker: name, Slots: 1, Protocol: protocol.ControlVersion, Version: r.o.Version})
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
