// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/task"
)

// taskRun is the shell of one task.
type taskRun struct {
	w       *world
	worker  *worker
	attempt *attempt
	id      protocol.TaskID
	deploy  *protocol.TaskDeployment
	vertex  *graph.Vertex
	core    *task.Core

	inputs  []*pipe
	outputs []*pipe
	// blocked, since when, and ended are by channel.
	blocked      []bool
	blockedSince []time.Time
	endedInput   []bool

	opened, stopped, finished bool
	// scheduled says that a step is going to happen.
	scheduled bool
	// wait says that the source waits to be woken or for its time.
	wait bool
	// eventAt keeps triggers and notifications in order.
	eventAt time.Time
	// canceled are the snapshots whose asynchronous part must not go on.
	canceled map[int64]bool
	files    int
	// announcing says that the core hears of what arrives: news it hasn't heard of; capture gets a copy of all of it.
	announcing bool
	news       []barrier.Arrival
	capture    *barrier.Capture
	// dueAt and timerAt are when the core is called for its deadline and for its timers.
	dueAt, timerAt time.Time
	// inFlight says that the task still processes what was in flight before a restore; replaying that it did at the last capture.
	inFlight, replaying bool
	// early are the snapshots that were taken in that time.
	early map[int64]bool
	// acked is the last snapshot that was acknowledged.
	acked int64
	// taken is the last snapshot taken, frozenBy the last one that stops the job.
	taken, frozenBy int64
	answers         *answers
	// frozen says that the task has not been told yet what became of the snapshot that froze it. disguised are those of which the core doesn't know that they freeze it.
	frozen    bool
	disguised map[int64]bool
}

func newTaskRun(a *attempt, d *protocol.TaskDeployment) *taskRun {
	k := a.worker
	return &taskRun{
		w: k.w, worker: k, attempt: a, id: d.Task, deploy: d, vertex: k.version.plan.Vertex(d.Task.Vertex), canceled: map[int64]bool{},
		early: map[int64]bool{},
	}
}

// open makes the core and restores its state.
func (t *taskRun) open() {
	if t.stopped {
		return
	}
	d := t.attempt.deploy
	for ch, c := range t.vertex.InputChannels(t.id.Subtask) {
		p := t.w.pipe(d.Attempt, c.ChannelID, c.PhysicalEdge)
		p.to, p.channel = t, ch
		t.inputs = append(t.inputs, p)
	}
	t.blocked, t.blockedSince, t.endedInput = make([]bool, len(t.inputs)), make([]time.Time, len(t.inputs)), make([]bool, len(t.inputs))
	t.answers = newAnswers(len(t.inputs))
	writers := make([][]task.Writer, len(t.vertex.Outputs))
	for i, e := range t.vertex.Outputs {
		for _, id := range e.OutputChannels(t.id.Subtask) {
			p := t.w.pipe(d.Attempt, id, e)
			p.from = t
			p.local = t.attempt.place(id.To) == t.worker.p.name
			t.outputs = append(t.outputs, p)
			writers[i] = append(writers[i], p)
		}
	}
	t.core = task.New(task.Options{
		Plan: t.worker.version.plan, Vertex: t.vertex, Subtask: t.id.Subtask, Deployment: *t.deploy,
		Attempt: d.Attempt, RestoredFrom: d.RestoredFrom, JobID: t.worker.version.config.JobID, JobName: "sim", Checkpointed: true,
		AtLeastOnce: t.w.mutation == NoAlignment || t.w.scenario.atLeastOnce, Reader: stateReader{t.w, d.RestoreDir}, Env: t, Inputs: t, Writers: writers,
		Wake: t.wake, Now: t.worker.now, Log: logr.Discard(),
	})
	if err := t.core.Open(t.w.ctx); err != nil {
		t.attempt.fail(t, err)
		return
	}
	if err := t.core.Start(); err != nil {
		t.attempt.fail(t, err)
		return
	}
	t.opened, t.inFlight = true, t.core.Replaying()
	t.report(protocol.TaskRunning, nil)
	for _, p := range slices.Concat(t.inputs, t.outputs) {
		if p.broken {
			p.tell(t, "it was broken before the task started")
		}
	}
	t.settle()
	t.wake()
}

// wake makes a step happen soon.
func (t *taskRun) wake() {
	t.wait = false
	t.schedule()
}

func (t *taskRun) schedule() {
	if t.scheduled || t.stopped || t.finished || !t.opened {
		return
	}
	t.scheduled = true
	d := t.w.clock.between(0, t.w.stepTime)
	if t.inFlight && (t.w.faulty() || t.w.restores < 12) { // not for ever, or checkpoints never complete
		d += t.w.clock.between(0, t.w.replayTime)
		t.w.slowed = later(t.w.slowed, t.w.clock.now.Add(d))
	}
	if t.w.scenario.crowded && t.w.faulty() && t.w.clock.chance(50) {
		d += t.w.clock.between(0, 300*time.Millisecond)
	}
	t.w.clock.after(t.worker.p, d, func() {
		t.scheduled = false
		t.handle(t.step)
	})
}

// handle lets the core do something, and takes its failure.
func (t *taskRun) handle(f func() error) {
	if t.stopped || t.finished || !t.opened || t.w.failure != nil {
		return
	}
	err := f()
	if err == nil && !t.stopped {
		err = t.core.HandleArrivals()
	}
	if err != nil {
		t.attempt.fail(t, err)
		return
	}
	if !t.stopped {
		t.checkAnswers()
	}
	t.settle()
}

// step resumes the core, or feeds it one element of some channel, or polls the source.
func (t *taskRun) step() error {
	c := t.core
	if c.Paused() {
		return c.Resume()
	}
	if c.Replaying() {
		return c.Replay()
	}
	if c.Pollable() && !t.wait {
		st, at, err := c.Poll()
		if err != nil {
			return err
		}
		if st == operator.Wait {
			t.wait = true
			if !at.IsZero() {
				t.w.clock.after(t.worker.p, max(at.Sub(t.worker.now()), time.Millisecond), t.wake)
			}
		}
	} else if ch := t.pick(); c.Readable() && ch >= 0 {
		e := t.inputs[ch].pop()
		t.endedInput[ch] = e.Kind == record.KindEnd
		t.answers.read(ch, e)
		if t.skips(e) {
			return nil
		}
		if err := c.HandleElement(ch, t.disguise(e)); err != nil {
			return err
		}
	}
	if !c.Paused() && t.w.clock.chance(2) {
		c.Flush()
	}
	return nil
}

// pick chooses a channel that has something to read, or -1.
func (t *taskRun) pick() int {
	best, n := -1, 0
	for i, p := range t.inputs {
		if !t.blocked[i] && len(p.queue) > 0 {
			n++
			if t.w.clock.rnd.IntN(n) == 0 {
				best = i
			}
		}
	}
	return best
}

// settle looks at the core after something happened: is it finished, is there more to do.
func (t *taskRun) settle() {
	if t.stopped || t.finished {
		return
	}
	if t.core.Finished() {
		t.finished = true
		t.report(protocol.TaskFinished, nil)
		t.closeCore()
		return
	}
	t.arm()
	t.inFlight = t.inFlight && (t.core.Replaying() || t.core.Paused() || t.core.Frozen())
	switch c := t.core; {
	case c.Replaying():
		t.schedule()
	case c.Paused():
		room := true
		for _, p := range t.outputs {
			room = p.HasRoom() && room
		}
		if room {
			t.schedule()
		}
	case c.Pollable() && !t.wait, c.Readable() && t.pick() >= 0:
		t.schedule()
	default:
		t.core.Flush()
	}
}

// post makes f happen soon, after what was posted before.
func (t *taskRun) post(f func() error) {
	at := t.w.clock.now.Add(t.w.clock.between(0, 3*time.Millisecond))
	if at.Before(t.eventAt) {
		at = t.eventAt
	}
	t.eventAt = at
	t.w.clock.after(t.worker.p, at.Sub(t.w.clock.now), func() {
		if !t.opened && !t.stopped {
			t.post(f) // its state is still being read
			return
		}
		t.handle(f)
	})
}

// stop ends the task without a report. What is sent to it is dropped from now on.
func (t *taskRun) stop() {
	if t.stopped {
		return
	}
	t.stopped = true
	for _, p := range t.inputs {
		p.shut()
		if p.from != nil {
			p.from.wake() // there is room now
		}
	}
	if !t.finished {
		t.closeCore()
	}
}

// hangUp breaks the channels to other workers.
func (t *taskRun) hangUp(why string) {
	for _, p := range slices.Concat(t.inputs, t.outputs) {
		if !p.local {
			p.fail(why)
		}
	}
}

func (t *taskRun) closeCore() {
	if t.core != nil {
		if err := t.core.Close(); err != nil {
			t.w.failf("closing task %s: %v", t.id, err)
		}
	}
}

func (t *taskRun) report(s protocol.TaskState, err error) {
	m := protocol.TaskStatus{Attempt: t.attempt.deploy.Attempt, Task: t.id, State: s}
	if err != nil {
		_, m.Fatal = errors.AsType[*task.FatalError](err)
		m.Error, m.Damaged = err.Error(), damaged(err)
	}
	t.worker.send(protocol.FromWorker{Status: &m})
}

// SetBlocked implements task.Inputs.
func (t *taskRun) SetBlocked(ch int, blocked bool) {
	if blocked && !t.blocked[ch] {
		t.blockedSince[ch] = t.w.clock.now
	}
	t.blocked[ch] = blocked
	if !blocked {
		t.schedule()
	}
}

// StartAsync implements task.Env: the asynchronous part runs later, while the task goes on.
func (t *taskRun) StartAsync(b record.Barrier, run task.Async) {
	t.taken = max(t.taken, b.Checkpoint)
	t.answers.taken[b.Checkpoint] = true
	if b.Stop != record.StopNone || t.disguised[b.Checkpoint] {
		t.frozenBy, t.frozen = b.Checkpoint, true
		t.thawEarly()
	}
	t.early[b.Checkpoint] = t.inFlight || t.replaying
	t.replaying = false
	d := t.w.clock.between(time.Millisecond, 40*time.Millisecond)
	if t.w.clock.chance(30) {
		d += t.w.clock.between(0, time.Second)
	}
	t.w.clock.after(t.worker.p, d, func() {
		ctx, cancel := context.WithCancel(t.w.ctx)
		defer cancel()
		if t.stopped || t.canceled[b.Checkpoint] {
			cancel()
		}
		w := &stateWriter{t: t, b: b}
		r, err := run(ctx, w)
		if err == nil && b.Checkpoint <= t.w.calls.unwritten {
			err = errRefused
		}
		if err == nil && t.w.scenario.crowded && t.w.faulty() && t.w.clock.chance(10) {
			err = errRefused
		}
		t.w.clock.after(t.worker.p, t.w.clock.between(0, 20*time.Millisecond), func() {
			w.ended = true
			t.handle(func() error {
				w.acked = t.core.AsyncDone(b.Checkpoint, r, err)
				t.checkReported(b.Checkpoint)
				return nil
			})
			if !w.acked {
				w.discard()
			}
		})
	})
}

// thawEarly is the mutation that lets a frozen source go on.
func (t *taskRun) thawEarly() {
	if t.w.mutation != NotFrozen || len(t.inputs) > 0 {
		return
	}
	t.w.clock.after(t.worker.p, t.w.clock.between(time.Millisecond, 50*time.Millisecond), func() {
		t.handle(func() error {
			if !t.core.Frozen() || t.core.Paused() {
				return nil
			}
			_, _, err := t.core.Poll()
			t.core.Flush()
			return err
		})
	})
}

// CancelAsync implements task.Env.
func (t *taskRun) CancelAsync(checkpoint int64) { t.canceled[checkpoint] = true }

// Ack implements task.Env.
func (t *taskRun) Ack(checkpoint int64, ops map[string]snapshot.SubtaskState, m protocol.AckMetrics) {
	t.answers.give(checkpoint)
	t.forget(checkpoint, ops)
	t.hideReuse(checkpoint, ops)
	t.worker.send(protocol.FromWorker{Ack: &protocol.Ack{
		Attempt: t.attempt.deploy.Attempt, Task: t.id, Checkpoint: checkpoint, Operators: ops, Metrics: m,
	}})
}

// Decline implements task.Env.
func (t *taskRun) Decline(checkpoint int64, reason protocol.DeclineReason, err error) {
	t.answers.give(checkpoint)
	d := &protocol.Decline{Attempt: t.attempt.deploy.Attempt, Task: t.id, Checkpoint: checkpoint, Reason: reason}
	if err != nil {
		d.Error = err.Error()
	}
	t.worker.send(protocol.FromWorker{Decline: d})
}

// EndOfData implements task.Env.
func (t *taskRun) EndOfData() {
	if t.w.mutation == EarlyFinish {
		t.finished = true
		t.report(protocol.TaskFinished, nil)
		return
	}
	t.worker.send(protocol.FromWorker{EndOfData: &protocol.EndOfData{Attempt: t.attempt.deploy.Attempt, Task: t.id}})
}

// Notified implements task.Env.
func (t *taskRun) Notified(checkpoint int64) {
	t.worker.send(protocol.FromWorker{Notified: &protocol.Notified{Attempt: t.attempt.deploy.Attempt, Task: t.id, Checkpoint: checkpoint}})
}
