// SPDX-License-Identifier: Apache-2.0

package task

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
)

// phase is how far a task has come.
type phase uint8

const (
	running phase = iota
	// ending: the inputs ended, the operators are finishing.
	ending
	// ended: everything is emitted; the task waits for a snapshot that started after that.
	ended
	// finished: nothing is left to do.
	finished
)

// step is work that may be cut short by back-pressure. A step that answers Paused has been
// started and is gone on with by resuming the operators; it isn't called again.
type step func() (operator.Status, error)

// Core is the step function of a task. It is used from one goroutine but for Metrics.
type Core struct {
	o     Options
	links []*link
	// keyed are the links with keyed state.
	keyed    []*link
	out      exchange
	channels []graph.Channel
	// open is the number of input channels that haven't ended.
	open int
	// ended is by channel.
	ended    []bool
	marks    watermarks
	handler  barrier.Handler
	counters operator.Counters

	phase phase
	// frozen is the snapshot that stops the job and that the task waits for; 0 for none.
	frozen int64
	steps  []step
	// paused: outputs or operators have to be resumed before anything else.
	paused bool
	// held is the input batch being processed while paused.
	held record.Batch

	snap snapshots
	over overtaking
	// replay is what was in flight when the snapshot was taken that the task was restored from, in order.
	replay []replay
	// replayed is the memory that it takes.
	replayed int64
	progress progress
	load     workload

	stats struct {
		in, out, watermark atomic.Int64
	}
	gatheredSince time.Time
}

// New makes the core of a task. It runs no user code but the constructors of the operators.
func New(o Options) *Core {
	if o.Linger == 0 {
		o.Linger = defaultLinger
	}
	c := &Core{o: o, channels: o.Vertex.InputChannels(o.Subtask)}
	c.open, c.ended = len(c.channels), make([]bool, len(c.channels))
	c.out = newExchange(&c.o)
	c.marks = newWatermarks(len(c.channels))
	c.newHandler()
	c.snap.init()
	c.progress.channels = c.channels
	c.newChain()
	return c
}

// Start begins the work of an opened task.
func (c *Core) Start() error {
	c.load.open(c.o.Now())
	if !c.o.Deployment.Finished {
		return nil
	}
	// It had finished before the snapshot: all it emitted is in the state of those after it.
	c.phase = ended
	for ch := range c.channels {
		c.o.Inputs.SetBlocked(ch, true)
	}
	c.out.control(record.End())
	if c.o.Deployment.Stays && c.o.Checkpointed {
		c.o.Env.EndOfData()
		return nil
	}
	c.phase = finished
	return nil
}

// Channels lists the input channels in the order of their numbers.
func (c *Core) Channels() []graph.Channel { return c.channels }

// Finished says that nothing is left to do.
func (c *Core) Finished() bool { return c.phase == finished }

// Paused says that outputs have no room: call Resume when they may have.
func (c *Core) Paused() bool { return c.paused }

// Frozen says that the task waits for the snapshot that stops the job.
func (c *Core) Frozen() bool { return c.frozen != 0 }

// Readable says that HandleElement may be called.
func (c *Core) Readable() bool {
	return !c.paused && c.frozen == 0 && c.phase == running && len(c.channels) > 0 && len(c.replay) == 0
}

// Pollable says that Poll may be called.
func (c *Core) Pollable() bool {
	return !c.paused && c.frozen == 0 && c.phase == running && len(c.channels) == 0 && len(c.replay) == 0
}

// HandleElement takes the next element of an input channel; it owns the batch in it.
// Only to be called when Readable.
func (c *Core) HandleElement(ch int, e record.Element) error {
	switch e.Kind {
	case record.KindBatch:
		c.marks.active(ch)
		return c.handleBatch(ch, e.Batch)
	case record.KindWatermark:
		if t, ok := c.marks.advance(ch, e.Time); ok {
			c.pushWatermark(t)
		}
	case record.KindIdle:
		c.handleIdle(ch)
	case record.KindBarrier:
		c.noteBarrier(ch, e.Barrier.Checkpoint)
		c.apply(c.handler.Barrier(ch, e.Barrier))
	case record.KindCancelBarrier:
		c.apply(c.handler.Cancel(ch, e.Barrier.Checkpoint))
	case record.KindEnd:
		return c.handleEnd(ch)
	default:
		return fmt.Errorf("reading channel %s: unknown element %s", c.channels[ch], e.Kind)
	}
	return c.advance()
}

func (c *Core) handleBatch(ch int, b record.Batch) error {
	c.stats.in.Add(int64(b.Len()))
	return c.processBatch(c.links[0], c.channels[ch].PhysicalEdge.Input, b)
}

// stateErr is what keyed state reports beside its methods: over the memory budget, or a coder that failed.
func (c *Core) stateErr() error {
	for _, l := range c.keyed {
		if err := l.backend.Err(); err != nil {
			return l.wrap(fmt.Errorf("updating keyed state: %w", err))
		}
	}
	return nil
}

func (c *Core) handleIdle(ch int) {
	t, advanced, idle := c.marks.idle(ch)
	switch {
	case idle:
		c.push(func() (operator.Status, error) {
			c.out.control(record.Idle())
			return operator.Done, nil
		})
	case advanced:
		c.pushWatermark(t)
	}
}

func (c *Core) handleEnd(ch int) error {
	c.open--
	c.ended[ch] = true
	c.apply(c.handler.End(ch))
	c.o.Inputs.SetBlocked(ch, true)
	t, ok := c.marks.advance(ch, record.MaxTime)
	if ok {
		c.pushWatermark(t)
	}
	if c.open == 0 {
		c.pushEnd()
	}
	return c.advance()
}

// Poll polls the source once and processes what it yields. The result says how to go on.
// Only to be called when Pollable.
func (c *Core) Poll() (operator.PollState, time.Time, error) {
	l := c.links[0]
	p, err := l.src.Poll()
	if err != nil {
		return operator.More, time.Time{}, l.wrap(err)
	}
	if p.Batch != nil && p.Batch.Len() > 0 {
		c.stats.in.Add(int64(p.Batch.Len()))
		c.marks.sourceIdle = false
		// A source emits into its own output and so is never itself paused.
		st, err := l.ctx.Out.Emit(p.Batch)
		if err != nil {
			return operator.More, time.Time{}, err
		}
		c.stats.out.Store(c.out.rows)
		c.paused = st == operator.Paused
	}
	c.afterPoll(p)
	return p.State, p.WakeAt, c.advance()
}

func (c *Core) afterPoll(p operator.Polled) {
	if p.Watermark != 0 && p.Watermark > c.marks.out {
		c.marks.out = p.Watermark
		c.pushWatermark(p.Watermark)
	}
	if p.Idle && !c.marks.sourceIdle {
		c.marks.sourceIdle = true
		c.push(func() (operator.Status, error) {
			c.out.control(record.Idle())
			return operator.Done, nil
		})
	}
	if p.State == operator.End {
		c.pushEnd()
	}
}

// Resume goes on after outputs had no room.
func (c *Core) Resume() error {
	if !c.paused {
		return nil
	}
	if !c.out.hasRoom() {
		return nil
	}
	for _, l := range slices.Backward(c.links) {
		if !l.paused {
			continue
		}
		st, err := l.note(l.op.Resume())
		if err != nil {
			return err
		}
		c.stats.out.Store(c.out.rows)
		if st == operator.Paused {
			return nil
		}
	}
	c.paused = false
	if c.held != nil {
		c.held.Release()
		c.held = nil
	}
	return c.advance()
}

// push adds a step to be done once those before it are.
func (c *Core) push(s step) { c.steps = append(c.steps, s) }

// advance does steps until one pauses or none is left.
func (c *Core) advance() error {
	for len(c.steps) > 0 && !c.paused {
		s := c.steps[0]
		c.steps = c.steps[1:]
		st, err := s()
		if err != nil {
			return err
		}
		c.stats.out.Store(c.out.rows)
		c.paused = st == operator.Paused
	}
	if len(c.steps) == 0 {
		c.steps = nil
		if c.out.urgent && !c.paused {
			c.out.urgent = false
			c.paused = c.phase == running && !c.out.hasRoom()
		}
	}
	return nil
}

// pushWatermark lets a watermark go down the chain and out.
func (c *Core) pushWatermark(t int64) {
	for _, l := range c.links {
		if l.watermark != nil {
			c.push(func() (operator.Status, error) { return l.note(l.watermark.OnWatermark(t)) })
		}
	}
	c.push(func() (operator.Status, error) {
		c.stats.watermark.Store(t)
		c.out.control(record.OfWatermark(t))
		return operator.Done, nil
	})
}

// pushFinish lets the operators emit what they held back, head first, after the final watermark.
func (c *Core) pushFinish() {
	if c.marks.out < record.MaxTime {
		c.marks.out = record.MaxTime
		c.pushWatermark(record.MaxTime)
	}
	for _, l := range c.links {
		if l.finisher != nil {
			c.push(func() (operator.Status, error) { return l.note(l.finisher.Finish()) })
		}
	}
}

// pushEnd ends the task: operators finish, the end is forwarded, and the last snapshot is waited for.
func (c *Core) pushEnd() {
	if c.phase != running {
		return
	}
	c.phase = ending
	c.pushFinish()
	c.push(func() (operator.Status, error) {
		c.out.control(record.End())
		c.phase = ended
		c.snap.endedAfter = c.snap.last
		if !c.o.Checkpointed {
			c.phase = finished
			return operator.Done, nil
		}
		c.o.Env.EndOfData()
		return operator.Done, nil
	})
}

// Flush hands over gathered rows; the shell calls it when the task has nothing else to do.
func (c *Core) Flush() { c.out.flush() }

// FlushDue hands over gathered rows that have waited for the linger time, and says when the rest is
// due; zero when nothing waits. The shell calls it now and then while the task is busy.
func (c *Core) FlushDue(now time.Time) time.Time {
	if !c.out.waiting() {
		c.gatheredSince = time.Time{}
		return time.Time{}
	}
	if c.gatheredSince.IsZero() {
		c.gatheredSince = now
	}
	due := c.gatheredSince.Add(c.o.Linger)
	if now.Before(due) {
		return due
	}
	c.out.flush()
	c.gatheredSince = time.Time{}
	return time.Time{}
}

// Metrics returns the running counts; safe from any goroutine.
func (c *Core) Metrics() protocol.TaskMetrics {
	now := c.o.Now()
	return protocol.TaskMetrics{
		Attempt: c.o.Attempt, Task: protocol.TaskID{Vertex: c.o.Vertex.Name, Subtask: c.o.Subtask},
		RecordsIn: c.stats.in.Load(), RecordsOut: c.stats.out.Load(), Watermark: c.stats.watermark.Load(),
		Counters: c.counters.Snapshot(), Load: c.load.load(now), Snapshots: c.progress.report(now),
	}
}

// Close ends the operators and releases what is held. No other method may be called afterwards.
func (c *Core) Close() error {
	var errs []error
	for _, l := range c.links {
		if !l.opened {
			continue
		}
		l.opened = false
		var err error
		if l.src != nil {
			err = l.src.Close()
		} else {
			err = l.op.Close()
		}
		if err != nil {
			errs = append(errs, l.wrap(fmt.Errorf("closing: %w", err)))
		}
	}
	if c.held != nil {
		c.held.Release()
		c.held = nil
	}
	for _, p := range c.snap.pending {
		if p.flight != nil {
			c.discard(p)
		}
	}
	c.holdReplay(-c.replayed)
	for _, l := range c.keyed {
		l.backend.Close()
	}
	c.keyed = nil
	return errors.Join(errs...)
}
