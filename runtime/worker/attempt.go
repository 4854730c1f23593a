// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/task"
	"github.com/weir-stream/weir/runtime/transport"
)

var (
	errCanceled = errors.New("canceled")
	errOutdated = errors.New("a newer attempt takes over")
	errFenced   = errors.New("the coordinator could not be reached for too long")
)

// channelError is the failure of a channel to or from another worker.
type channelError struct{ err error }

// Error implements error.
func (e *channelError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *channelError) Unwrap() error { return e.err }

// attempt is one deployment of tasks of a region on this worker. Attempts of other regions run beside it.
type attempt struct {
	w      *worker
	id     protocol.Attempt
	key    string
	deploy *protocol.Deploy
	job    *jobSetup
	tasks  []*taskSlot
	byID   map[protocol.TaskID]*taskSlot
	// end makes the tasks end; the first cause counts.
	end context.CancelCauseFunc
	// done is closed when all tasks have ended.
	done chan struct{}
}

// newAttempt prepares a deployment; messages for its tasks are taken from now on.
func newAttempt(w *worker, d *protocol.Deploy, job *jobSetup, end context.CancelCauseFunc) *attempt {
	a := &attempt{
		w: w, id: d.Attempt, key: d.Attempt.String(), deploy: d, job: job,
		byID: map[protocol.TaskID]*taskSlot{}, end: end, done: make(chan struct{}),
	}
	for i := range d.Tasks {
		s := newTaskSlot(a, &d.Tasks[i])
		a.tasks = append(a.tasks, s)
		a.byID[s.id] = s
	}
	return a
}

// run is the life of the attempt. It starts when the tasks of the last one have ended.
func (a *attempt) run(ctx context.Context, last *attempt) {
	defer close(a.done)
	defer a.watch(ctx)()
	if last != nil {
		<-last.done
	}
	select {
	case <-a.job.done:
	case <-ctx.Done():
	}
	if err := a.wire(ctx); err != nil {
		for _, s := range a.tasks {
			state, err := outcome(ctx, err)
			s.report(state, err, a.job.ready() && a.job.fatal && a.job.err != nil)
			s.ended.Store(true)
		}
		return
	}
	var wg sync.WaitGroup
	for _, s := range a.tasks {
		s.report(protocol.TaskDeploying, nil, false)
		wg.Go(func() { s.run(ctx) })
	}
	wg.Wait()
}

// watch closes the channels of the attempt once it is told to end, and ends the worker if a task
// doesn't end in time then. The function it returns says that all tasks have ended.
func (a *attempt) watch(ctx context.Context) (ended func()) {
	tasksEnded := make(chan struct{})
	a.w.attempts.Go(func() {
		<-ctx.Done()
		a.w.exchange.CloseAttempt(a.key)
		timer := time.NewTimer(a.w.opts.CancelTimeout)
		defer timer.Stop()
		select {
		case <-tasksEnded:
		case <-timer.C:
			err := fmt.Errorf("canceling attempt %s: after %s these tasks are still busy, stuck in code of the job: %s",
				a.key, a.w.opts.CancelTimeout, strings.Join(a.running(), ", "))
			a.w.log.Error(err, "Tasks are stuck")
			a.w.stuck(err)
		}
	})
	return func() { close(tasksEnded) }
}

// running lists the tasks that have not ended.
func (a *attempt) running() []string {
	var names []string
	for _, s := range a.tasks {
		if !s.ended.Load() {
			names = append(names, s.id.String())
		}
	}
	return names
}

// wire makes the tasks and connects them.
func (a *attempt) wire(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if a.job.err != nil {
		return a.job.err
	}
	a.job.local.recheck()
	for _, s := range a.tasks {
		v := a.job.plan.Vertex(s.id.Vertex)
		if v == nil || s.id.Subtask < 0 || s.id.Subtask >= v.Parallelism {
			return fmt.Errorf("deploying task %s: the graph of this worker has no such task: run the same build as the coordinator", s.id)
		}
		s.vertex = v
		s.gate = transport.NewGate(len(v.InputChannels(s.id.Subtask)), 0, s.signal)
	}
	for _, s := range a.tasks {
		if err := a.openInputs(s); err != nil {
			return err
		}
		if err := a.openOutputs(s); err != nil {
			return err
		}
	}
	return nil
}

// openInputs registers the channels of a task that come from other workers.
func (a *attempt) openInputs(s *taskSlot) error {
	var remote []transport.GateChannel
	for i, c := range s.vertex.InputChannels(s.id.Subtask) {
		local, _, err := a.place(c.PhysicalEdge.From, c.From)
		if err != nil {
			return err
		}
		if !local {
			remote = append(remote, transport.GateChannel{ID: transport.ChannelID(c.ChannelID), Index: i, Type: c.PhysicalEdge.Type})
		}
	}
	if err := a.w.exchange.RegisterGate(a.key, remote, s.gate); err != nil {
		return fmt.Errorf("deploying task %s: %w", s.id, err)
	}
	return nil
}

// openOutputs opens a writer for each output channel of a task.
func (a *attempt) openOutputs(s *taskSlot) error {
	s.writers = make([][]task.Writer, len(s.vertex.Outputs))
	for i, e := range s.vertex.Outputs {
		for _, id := range e.OutputChannels(s.id.Subtask) {
			w, err := a.writer(s, e, id)
			if err != nil {
				return fmt.Errorf("deploying task %s: %w", s.id, err)
			}
			s.writers[i] = append(s.writers[i], w)
		}
	}
	return nil
}

// writer opens one channel: to a gate of this worker, or through the exchange.
func (a *attempt) writer(s *taskSlot, e *graph.PhysicalEdge, id graph.ChannelID) (transport.Writer, error) {
	local, peer, err := a.place(e.To, id.To)
	if err != nil {
		return nil, err
	}
	if !local {
		return a.w.exchange.OpenWriter(a.key, transport.ChannelID(id), peer, e.Type, s.signal)
	}
	to := a.byID[protocol.TaskID{Vertex: e.To.Name, Subtask: id.To}]
	if to == nil {
		return nil, fmt.Errorf("task %s/%d is placed here but is not among those to start", e.To.Name, id.To)
	}
	for i, c := range to.vertex.InputChannels(id.To) {
		if c.ChannelID == id {
			return to.gate.Writer(i, s.signal), nil
		}
	}
	return nil, fmt.Errorf("task %s has no channel %s", to.id, id)
}

// place says where a subtask runs.
func (a *attempt) place(v *graph.Vertex, subtask int) (local bool, peer transport.Peer, err error) {
	if subtask >= len(a.deploy.Slots) {
		return false, peer, fmt.Errorf("placing task %s/%d: the deployment has %d slots only", v.Name, subtask, len(a.deploy.Slots))
	}
	p := a.deploy.Slots[subtask]
	if p.Worker == a.w.opts.Name {
		return true, peer, nil
	}
	if p.DataAddr == "" {
		return false, peer, fmt.Errorf("reaching worker %s: it has no data address: start it with one", p.Worker)
	}
	return false, transport.Peer{Worker: p.Worker, Addr: p.DataAddr}, nil
}

// trigger starts a snapshot at the named tasks.
func (a *attempt) trigger(m *protocol.Trigger) {
	for _, id := range m.Tasks {
		if s := a.byID[id]; s != nil {
			s.trigger(m.Barrier)
		}
	}
}

// complete tells all tasks that a snapshot is complete.
func (a *attempt) complete(m *protocol.Complete) {
	if a.job.ready() {
		a.job.local.complete(m.Checkpoint)
	}
	for _, s := range a.tasks {
		s.complete(m.Checkpoint, m.Stop, slices.Contains(m.Stay, s.id))
	}
}

// aborted tells all tasks that a snapshot was given up.
func (a *attempt) aborted(m *protocol.Aborted) {
	if a.job.ready() {
		a.job.local.aborted(m.Checkpoint)
	}
	for _, s := range a.tasks {
		s.aborted(m.Checkpoint)
	}
}

// metrics returns the counts of all tasks.
func (a *attempt) metrics() []protocol.TaskMetrics {
	ms := make([]protocol.TaskMetrics, 0, len(a.tasks))
	for _, s := range a.tasks {
		ms = append(ms, s.metrics())
	}
	return ms
}
