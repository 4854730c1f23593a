// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/task"
	"github.com/weir-stream/weir/runtime/transport"
)

// taskSlot is one task of an attempt.
type taskSlot struct {
	a          *attempt
	id         protocol.TaskID
	deployment *protocol.TaskDeployment
	signal     *transport.Signal
	mail       *task.Mailbox
	core       atomic.Pointer[task.Core]
	// commit tells the core that a snapshot is complete. Set and used by the goroutine of the task.
	commit   func(c *task.Core, checkpoint int64, stop record.StopMode) error
	finished atomic.Bool
	ended    atomic.Bool

	// Set by wire.
	vertex  *graph.Vertex
	gate    *transport.Gate
	writers [][]task.Writer
}

func newTaskSlot(a *attempt, d *protocol.TaskDeployment) *taskSlot {
	s := &taskSlot{a: a, id: d.Task, deployment: d, signal: transport.NewSignal()}
	s.mail = task.NewMailbox(s.signal.Set)
	return s
}

// run is the life of the task.
func (s *taskSlot) run(ctx context.Context) {
	defer s.ended.Store(true)
	s.commit = func(c *task.Core, checkpoint int64, stop record.StopMode) error {
		return c.Complete(ctx, checkpoint, stop)
	}
	env := newTaskEnv(ctx, s)
	err := s.drive(ctx, env)
	env.close()
	s.gate.Close()
	end, err := outcome(ctx, err)
	s.finished.Store(end == protocol.TaskFinished)
	if end == protocol.TaskFailed {
		err = s.explain(err)
	}
	_, fatal := errors.AsType[*task.FatalError](err)
	s.report(end, err, fatal)
}

// outcome says what the end of a task means: once it was told to end, what else it says doesn't count.
func outcome(ctx context.Context, err error) (protocol.TaskState, error) {
	if err == nil {
		return protocol.TaskFinished, nil
	}
	if ctx.Err() == nil {
		return protocol.TaskFailed, err
	}
	cause := context.Cause(ctx)
	if _, ok := errors.AsType[*channelError](cause); ok {
		return protocol.TaskFailed, cause
	}
	return protocol.TaskCanceled, nil
}

// explain names the operators of the task, if the error doesn't.
func (s *taskSlot) explain(err error) error {
	if _, ok := errors.AsType[*task.OperatorError](err); ok || s.vertex == nil {
		return err
	}
	if _, ok := errors.AsType[*task.PanicError](err); !ok {
		return err
	}
	names := make([]string, len(s.vertex.Nodes))
	for i, n := range s.vertex.Nodes {
		names[i] = fmt.Sprintf("%q", n.Name)
	}
	return fmt.Errorf("operator %s: %w", strings.Join(names, " or "), err)
}

// drive makes the core and runs it to its end.
func (s *taskSlot) drive(ctx context.Context, env *taskEnv) error {
	core, err := s.newCore(env)
	if err != nil {
		return err
	}
	s.core.Store(core)
	loop := task.Loop{
		Core: core, Gate: s.gate, Mail: s.mail, Signal: s.signal.C(),
		Opened: func() { s.report(protocol.TaskRunning, nil, false) },
	}
	return loop.Run(ctx)
}

// newCore makes the core; the constructors of the job's operators may panic.
func (s *taskSlot) newCore(env *taskEnv) (core *task.Core, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &task.PanicError{Value: v, Stack: string(debug.Stack())}
		}
	}()
	a := s.a
	c := &a.job.config
	return task.New(task.Options{
		Plan: a.job.plan, Vertex: s.vertex, Subtask: s.id.Subtask, Deployment: *s.deployment,
		Attempt: a.id, RestoredFrom: a.deploy.RestoredFrom, JobID: c.JobID, JobName: c.Name,
		Checkpointed: c.Checkpointing != nil,
		AtLeastOnce:  c.Checkpointing != nil && c.Checkpointing.Mode == contract.AtLeastOnce,
		Memory:       a.job.memory,
		Reader:       files{store: a.job.store, dir: a.deploy.RestoreDir, local: a.job.local},
		Env:          env, Inputs: s.gate, Writers: s.writers,
		Wake: s.signal.Set, Now: time.Now, Linger: a.w.opts.Linger,
		Log: a.w.log.WithValues("task", s.id.String(), "attempt", a.key),
	}), nil
}

// report tells the coordinator what became of the task.
func (s *taskSlot) report(now protocol.TaskState, err error, fatal bool) {
	st := &protocol.TaskStatus{Attempt: s.a.id, Task: s.id, State: now, Fatal: fatal}
	if err != nil {
		st.Error = snapshot.CutText(err.Error(), snapshot.MaxText)
		st.Damaged = damaged(err)
	}
	log := s.a.w.log.WithValues("task", s.id.String(), "attempt", s.a.key, "state", string(now))
	if now == protocol.TaskFailed {
		log.Error(err, "Task failed", "fatal", fatal)
	} else {
		log.V(1).Info("Task changed its state")
	}
	s.a.w.out.put(protocol.FromWorker{Status: st})
}

// damaged says of the error of a task that the state that was given to it isn't what was written.
func damaged(err error) bool {
	_, file := errors.AsType[*state.CorruptError](err)
	_, manifest := errors.AsType[*snapshot.CorruptError](err)
	return file || manifest
}

// trigger starts a snapshot. A task that has ended says so, which answers it: one that finished has nothing left to save.
func (s *taskSlot) trigger(b record.Barrier) {
	s.mail.Post(func(c *task.Core) error { return c.Trigger(b) })
}

// complete tells the task that a snapshot is complete. One that has finished has nothing left to commit.
func (s *taskSlot) complete(checkpoint int64, stop record.StopMode, stay bool) {
	posted := s.mail.Post(func(c *task.Core) error {
		if stay {
			c.Stay(checkpoint)
		}
		return s.commit(c, checkpoint, stop)
	})
	if !posted && stop != record.StopNone && s.finished.Load() {
		s.notified(checkpoint)
	}
}

// aborted tells the task that a snapshot was given up.
func (s *taskSlot) aborted(checkpoint int64) {
	if !s.mail.Post(func(c *task.Core) error { return c.Aborted(checkpoint) }) && s.finished.Load() {
		s.notified(checkpoint)
	}
}

func (s *taskSlot) notified(checkpoint int64) {
	s.a.w.out.put(protocol.FromWorker{Notified: &protocol.Notified{Attempt: s.a.id, Task: s.id, Checkpoint: checkpoint}})
}

// metrics returns the counts of the task.
func (s *taskSlot) metrics() protocol.TaskMetrics {
	if c := s.core.Load(); c != nil {
		return c.Metrics()
	}
	return protocol.TaskMetrics{Attempt: s.a.id, Task: s.id}
}
