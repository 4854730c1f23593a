// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/task"
	"github.com/weir-stream/weir/runtime/transport/control"
)

var (
	errAborted = errors.New("the snapshot was given up")
	errEnded   = errors.New("the task has ended")
)

// taskEnv carries out what the core of one task asks for. All methods are called by the task's goroutine.
type taskEnv struct {
	s *taskSlot
	// begin returns a context for the asynchronous part of a snapshot, that ends with the task.
	begin func() (context.Context, context.CancelCauseFunc)
	end   context.CancelCauseFunc
	parts sync.WaitGroup
	// running are the asynchronous parts under way, or whose outcome the core has not taken yet.
	running map[int64]asyncPart
}

// asyncPart is the asynchronous part of a snapshot.
type asyncPart struct {
	cancel context.CancelCauseFunc
	// discard begins to delete the files that were written for it.
	discard func()
}

func newTaskEnv(ctx context.Context, s *taskSlot) *taskEnv {
	ctx, end := context.WithCancelCause(ctx)
	return &taskEnv{
		s: s, end: end, running: map[int64]asyncPart{},
		begin: func() (context.Context, context.CancelCauseFunc) { return context.WithCancelCause(ctx) },
	}
}

// close ends all asynchronous parts and waits for them. What they have written belongs to nothing: the core doesn't acknowledge any more.
func (e *taskEnv) close() {
	e.end(errEnded)
	e.parts.Wait()
	for _, p := range e.running {
		p.discard()
	}
}

// StartAsync implements [task.Env].
func (e *taskEnv) StartAsync(b record.Barrier, run task.Async) {
	ctx, cancel := e.begin()
	w := e.s.a.w
	f := files{store: e.s.a.job.store, dir: b.Target, shared: b.Shared, created: &createdFiles{}}
	if b.Kind == record.Checkpoint {
		f.local, f.checkpoint = e.s.a.job.local, b.Checkpoint
		f.pace = state.CheckpointPace() // a savepoint is waited for
	} else {
		f.prefix = snapshot.SavepointFilePrefix(b.Checkpoint)
	}
	discard := func() { w.attempts.Go(func() { f.discard(ctx, w.log) }) } // beside the task, which need not wait for storage
	e.running[b.Checkpoint] = asyncPart{cancel, discard}
	e.parts.Go(func() {
		r, err := e.part(ctx, f, run)
		e.s.mail.Post(func(c *task.Core) error {
			delete(e.running, b.Checkpoint)
			if !c.AsyncDone(b.Checkpoint, r, err) {
				discard()
			}
			return nil
		})
		cancel(nil)
	})
}

// part runs an asynchronous part when one of the slots for them is free. It runs also when it has
// been cancelled by then, to release what it holds.
func (e *taskEnv) part(ctx context.Context, f files, run task.Async) (r task.AsyncResult, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic in the asynchronous part: %v\n%s", v, debug.Stack())
		}
	}()
	if e.s.a.w.async.Acquire(ctx, 1) == nil {
		defer e.s.a.w.async.Release(1)
	}
	r, err = run(ctx, f)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = fitsAck(r.Operators)
	}
	return r, err
}

// fitsAck says of state that one acknowledgement can't carry which operator has the most of it.
func fitsAck(operators map[string]snapshot.SubtaskState) error {
	total, most, largest := 0, 0, ""
	for _, name := range slices.Sorted(maps.Keys(operators)) {
		s := operators[name]
		n := control.AckSize(&s)
		total += n
		if n > most {
			most, largest = n, name
		}
	}
	if total <= control.MaxAck {
		return nil
	}
	entries, size := 0, 0
	for _, l := range operators[largest].Lists {
		entries += len(l.Entries)
		for _, e := range l.Entries {
			size += len(e)
		}
	}
	return fmt.Errorf("operator %q has %d bytes of operator state in %d entries: the state that the operators of one task hold beside their files takes %d bytes as it is sent, and may take %d: keep large state in keyed state, or raise the parallelism so that each subtask has less",
		largest, size, entries, total, control.MaxAck)
}

// CancelAsync implements [task.Env].
func (e *taskEnv) CancelAsync(checkpoint int64) {
	if p, ok := e.running[checkpoint]; ok {
		p.cancel(errAborted)
	}
}

// Ack implements [task.Env].
func (e *taskEnv) Ack(checkpoint int64, operators map[string]snapshot.SubtaskState, m protocol.AckMetrics) {
	e.s.a.job.local.acknowledged(checkpoint, operators)
	e.s.a.w.out.put(protocol.FromWorker{Ack: &protocol.Ack{
		Attempt: e.s.a.id, Task: e.s.id, Checkpoint: checkpoint, Operators: operators, Metrics: m,
	}})
}

// Decline implements [task.Env].
func (e *taskEnv) Decline(checkpoint int64, reason protocol.DeclineReason, err error) {
	d := &protocol.Decline{Attempt: e.s.a.id, Task: e.s.id, Checkpoint: checkpoint, Reason: reason}
	if err != nil {
		d.Error = snapshot.CutText(err.Error(), snapshot.MaxText)
	}
	e.s.a.w.out.put(protocol.FromWorker{Decline: d})
}

// EndOfData implements [task.Env].
func (e *taskEnv) EndOfData() {
	e.s.a.w.out.put(protocol.FromWorker{EndOfData: &protocol.EndOfData{Attempt: e.s.a.id, Task: e.s.id}})
}

// Notified implements [task.Env].
func (e *taskEnv) Notified(checkpoint int64) { e.s.notified(checkpoint) }
