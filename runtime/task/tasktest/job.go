// SPDX-License-Identifier: Apache-2.0

package tasktest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/task"
	"github.com/weir-stream/weir/runtime/transport"
)

// Files keeps state files in memory. The zero value is ready; safe for use by several goroutines.
type Files struct {
	mu    sync.Mutex
	files [][]byte
}

// WriteFile implements [state.FileWriter].
func (f *Files) WriteFile(ctx context.Context, data []byte) (state.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files = append(f.files, slices.Clone(data))
	return state.File{Path: fmt.Sprint(len(f.files)), Size: int64(len(data)), CRC32C: snapshot.Checksum(data)}, ctx.Err()
}

// ReadFile implements [state.FileReader].
func (f *Files) ReadFile(_ context.Context, file state.File, off, n int64) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var i int
	if _, err := fmt.Sscan(file.Path, &i); err != nil || i < 1 || i > len(f.files) || off+n > int64(len(f.files[i-1])) {
		return nil, fmt.Errorf("reading %d bytes of file %q from %d: there is no such thing", n, file.Path, off)
	}
	return f.files[i-1][off : off+n], nil
}

// JobOptions say how a job is run.
type JobOptions struct {
	// Parallelism, default 1, and MaxParallelism, by default that of the graph.
	Parallelism, MaxParallelism int
	// Workers is over how many exchanges the slots are spread, which are connected over loopback. Default 1: all channels are in one process.
	Workers int
	// Restore is the snapshot to start from; nil for none.
	Restore *snapshot.Manifest
	// Files holds the state. Mandatory.
	Files *Files
}

// Job is a graph whose tasks run in this process, each in a goroutine, with snapshots on demand. The test is the coordinator.
type Job struct {
	tb    testing.TB
	plan  *graph.Plan
	o     JobOptions
	tasks map[protocol.TaskID]*jobTask
	stop  context.CancelCauseFunc
	wg    sync.WaitGroup

	mu struct {
		sync.Mutex
		changed *sync.Cond
		acks    map[int64]map[protocol.TaskID]map[string]snapshot.SubtaskState
		metrics map[int64]map[protocol.TaskID]protocol.AckMetrics
		decline error
		ended   int
		stopped bool
	}
}

// errStopped ends the tasks of a job that is stopped.
var errStopped = errors.New("the job is stopped")

// StartJob starts the tasks of a graph. The test's cleanup stops them.
func StartJob(tb testing.TB, g *graph.Graph, o JobOptions) *Job {
	tb.Helper()
	plan, err := graph.NewPlan(g, graph.Options{Parallelism: o.Parallelism, MaxParallelism: o.MaxParallelism})
	if err != nil {
		tb.Fatal(err)
	}
	deployments, err := assign.Assign(assign.ShapeOf(plan), o.Restore, assign.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	o.Workers = max(o.Workers, 1)
	j := &Job{tb: tb, plan: plan, o: o, tasks: map[protocol.TaskID]*jobTask{}}
	j.mu.changed = sync.NewCond(&j.mu)
	j.mu.acks = map[int64]map[protocol.TaskID]map[string]snapshot.SubtaskState{}
	j.mu.metrics = map[int64]map[protocol.TaskID]protocol.AckMetrics{}
	ctx, stop := context.WithCancelCause(context.WithoutCancel(tb.Context()))
	j.stop = stop
	for _, v := range plan.Vertices {
		for s := range v.Parallelism {
			id := protocol.TaskID{Vertex: v.Name, Subtask: s}
			t := &jobTask{j: j, id: id, vertex: v, deployment: deployments[id], signal: transport.NewSignal()}
			t.gate = transport.NewGate(len(v.InputChannels(s)), 0, t.signal)
			t.mail = task.NewMailbox(t.signal.Set)
			j.tasks[id] = t
		}
	}
	j.connect(ctx)
	for _, id := range slices.SortedFunc(maps.Keys(j.tasks), compareTasks) {
		t := j.tasks[id]
		t.core = j.newCore(t)
		j.wg.Go(func() { t.run(ctx) })
	}
	tb.Cleanup(j.Stop)
	return j
}

func compareTasks(a, b protocol.TaskID) int {
	if a.Vertex == b.Vertex {
		return a.Subtask - b.Subtask
	}
	if a.Vertex < b.Vertex {
		return -1
	}
	return 1
}

// connect makes the exchanges and the writers of all channels.
func (j *Job) connect(ctx context.Context) {
	exchanges, peers := make([]*transport.Exchange, j.o.Workers), make([]transport.Peer, j.o.Workers)
	for i := range exchanges {
		if j.o.Workers == 1 {
			break
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			j.tb.Fatal(err)
		}
		peers[i] = transport.Peer{Worker: fmt.Sprint("w", i), Addr: l.Addr().String()}
		exchanges[i] = transport.NewExchange(transport.ExchangeOptions{
			Worker: peers[i].Worker, Listener: l, Failed: func(_ string, err error) { j.fail(err) }, Log: logr.Discard(),
		})
		j.wg.Go(func() { _ = exchanges[i].Run(ctx) })
	}
	for _, t := range j.tasks {
		var remote []transport.GateChannel
		for i, c := range t.vertex.InputChannels(t.id.Subtask) {
			if c.From%j.o.Workers != t.id.Subtask%j.o.Workers {
				remote = append(remote, transport.GateChannel{ID: transport.ChannelID(c.ChannelID), Index: i, Type: c.PhysicalEdge.Type})
			}
		}
		if x := exchanges[t.id.Subtask%j.o.Workers]; x != nil {
			if err := x.RegisterGate("a", remote, t.gate); err != nil {
				j.tb.Fatal(err)
			}
		}
	}
	for _, t := range j.tasks {
		for _, e := range t.vertex.Outputs {
			var ws []task.Writer
			for _, c := range e.OutputChannels(t.id.Subtask) {
				ws = append(ws, j.writer(t, e, c, exchanges, peers))
			}
			t.writers = append(t.writers, ws)
		}
	}
}

func (j *Job) writer(t *jobTask, e *graph.PhysicalEdge, c graph.ChannelID, xs []*transport.Exchange, peers []transport.Peer) task.Writer {
	from, to := c.From%j.o.Workers, c.To%j.o.Workers
	if from != to {
		w, err := xs[from].OpenWriter("a", transport.ChannelID(c), peers[to], e.Type, t.signal)
		if err != nil {
			j.tb.Fatal(err)
		}
		return w
	}
	r := j.tasks[protocol.TaskID{Vertex: e.To.Name, Subtask: c.To}]
	i := slices.IndexFunc(r.vertex.InputChannels(c.To), func(in graph.Channel) bool { return in.ChannelID == c })
	return r.gate.Writer(i, t.signal)
}

func (j *Job) newCore(t *jobTask) *task.Core {
	restored := int64(0)
	if j.o.Restore != nil {
		restored = j.o.Restore.Checkpoint
	}
	return task.New(task.Options{
		Plan: j.plan, Vertex: t.vertex, Subtask: t.id.Subtask, Deployment: t.deployment, Attempt: protocol.Attempt{K: restored + 1},
		RestoredFrom: restored, Checkpointed: true, Env: t, Inputs: t.gate, Writers: t.writers, Reader: j.o.Files,
		Wake: t.signal.Set, Now: time.Now, Log: logr.Discard(),
	})
}

func (j *Job) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.mu.stopped {
		j.tb.Error(err)
	}
	j.mu.decline = errors.Join(j.mu.decline, err)
	j.mu.changed.Broadcast()
}

// Stop ends all tasks as a failure would, and waits for them.
func (j *Job) Stop() {
	j.mu.Lock()
	j.mu.stopped = true
	j.mu.Unlock()
	j.stop(errStopped)
	j.wg.Wait()
}

// Trigger starts a snapshot at the sources, or, if all tasks are at the end of their data, at all of them.
func (j *Job) Trigger(b record.Barrier) {
	j.mu.Lock()
	all := j.mu.ended == len(j.tasks)
	j.mu.Unlock()
	for _, t := range j.tasks {
		if all || t.vertex.Source() {
			t.mail.Post(func(c *task.Core) error { return c.Trigger(b) })
		}
	}
}

// Abort tells all tasks that a snapshot was given up.
func (j *Job) Abort(id int64) {
	for _, t := range j.tasks {
		t.mail.Post(func(c *task.Core) error { return c.Aborted(id) })
	}
}

// Complete tells all tasks that a snapshot is complete.
func (j *Job) Complete(ctx context.Context, id int64) {
	for _, t := range j.tasks {
		t.mail.Post(func(c *task.Core) error { return c.Complete(ctx, id, record.StopNone) })
	}
}

// Acked waits until every task has acknowledged a snapshot and returns its manifest; nil if one declined it.
func (j *Job) Acked(b record.Barrier) *snapshot.Manifest {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.mu.acks[b.Checkpoint]) < len(j.tasks) && j.mu.decline == nil {
		j.mu.changed.Wait()
	}
	if j.mu.decline != nil {
		j.tb.Logf("snapshot %d: %v", b.Checkpoint, j.mu.decline)
		return nil
	}
	m := &snapshot.Manifest{JobID: "j", Checkpoint: b.Checkpoint, Kind: b.Kind, MaxParallelism: j.plan.MaxParallelism}
	for _, v := range j.plan.Vertices {
		for _, n := range v.Nodes {
			o := snapshot.OperatorState{Name: n.Name, Parallelism: v.Parallelism}
			for s := range v.Parallelism {
				st := j.mu.acks[b.Checkpoint][protocol.TaskID{Vertex: v.Name, Subtask: s}][n.Name]
				st.Index = s
				o.Subtasks = append(o.Subtasks, st)
			}
			m.Operators = append(m.Operators, o)
		}
	}
	slices.SortFunc(m.Operators, func(a, b snapshot.OperatorState) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	if err := m.Validate(); err != nil {
		j.tb.Fatalf("the manifest of snapshot %d: %v", b.Checkpoint, err)
	}
	return m
}

// Metrics returns what a task reported of a snapshot.
func (j *Job) Metrics(id int64, t protocol.TaskID) protocol.AckMetrics {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.mu.metrics[id][t]
}

// Finish waits until all tasks are at the end of their data, takes the last snapshot, and waits until they have ended.
func (j *Job) Finish(id int64) {
	j.mu.Lock()
	for j.mu.ended < len(j.tasks) && j.mu.decline == nil {
		j.mu.changed.Wait()
	}
	j.mu.Unlock()
	b := record.Barrier{Checkpoint: id}
	j.Trigger(b)
	if j.Acked(b) == nil {
		j.tb.Fatal("the last snapshot was declined")
	}
	j.Complete(j.tb.Context(), id)
	for _, t := range j.tasks {
		<-t.signalDone()
	}
}

// jobTask is one task; it is the environment of its core.
type jobTask struct {
	j          *Job
	id         protocol.TaskID
	vertex     *graph.Vertex
	deployment protocol.TaskDeployment
	signal     *transport.Signal
	gate       *transport.Gate
	mail       *task.Mailbox
	writers    [][]task.Writer
	core       *task.Core
	async      sync.WaitGroup
	once       sync.Once
	done       chan struct{}
}

func (t *jobTask) signalDone() chan struct{} {
	t.once.Do(func() { t.done = make(chan struct{}) })
	return t.done
}

func (t *jobTask) run(ctx context.Context) {
	l := task.Loop{Core: t.core, Gate: t.gate, Mail: t.mail, Signal: t.signal.C()}
	if err := l.Run(ctx); err != nil && !errors.Is(err, errStopped) {
		t.j.fail(fmt.Errorf("task %s: %w", t.id, err))
	}
	t.async.Wait()
	t.gate.Close()
	close(t.signalDone())
}

// StartAsync implements [task.Env].
func (t *jobTask) StartAsync(b record.Barrier, run task.Async) {
	t.async.Go(func() {
		r, err := run(context.WithoutCancel(t.j.tb.Context()), t.j.o.Files)
		t.mail.Post(func(c *task.Core) error {
			c.AsyncDone(b.Checkpoint, r, err)
			return nil
		})
	})
}

// CancelAsync implements [task.Env].
func (*jobTask) CancelAsync(int64) {}

// Ack implements [task.Env].
func (t *jobTask) Ack(id int64, ops map[string]snapshot.SubtaskState, m protocol.AckMetrics) {
	j := t.j
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.mu.acks[id] == nil {
		j.mu.acks[id] = map[protocol.TaskID]map[string]snapshot.SubtaskState{}
		j.mu.metrics[id] = map[protocol.TaskID]protocol.AckMetrics{}
	}
	j.mu.acks[id][t.id], j.mu.metrics[id][t.id] = ops, m
	j.mu.changed.Broadcast()
}

// Decline implements [task.Env]. A snapshot that was aborted or overtaken is no failure.
func (t *jobTask) Decline(id int64, r protocol.DeclineReason, err error) {
	if r == protocol.DeclinedAsync {
		t.j.fail(fmt.Errorf("task %s declines snapshot %d: %w", t.id, id, err))
	}
}

// EndOfData implements [task.Env].
func (t *jobTask) EndOfData() {
	t.j.mu.Lock()
	defer t.j.mu.Unlock()
	t.j.mu.ended++
	t.j.mu.changed.Broadcast()
}

// Notified implements [task.Env].
func (*jobTask) Notified(int64) {}
