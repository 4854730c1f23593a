// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// maxAborted bounds how many aborted snapshots are remembered until their barriers arrive.
const maxAborted = 64

// snapshots is the part of a core that takes snapshots.
type snapshots struct {
	// last is the highest snapshot started here, or given up together with all before it.
	last int64
	// endedAfter is the highest snapshot taken before the end of data, or that the task has to outlast: one above it lets it finish.
	endedAfter int64
	// aborted holds snapshots above last whose end was heard of before their barrier. With at least once they are also those given up for a
	// cancel-barrier: barriers of older ones may come still.
	aborted map[int64]bool
	// begun are the snapshots whose barrier waits for the steps before it, maybe for room in the outputs.
	begun map[int64]*begunSnapshot
	// finishing says that the task may finish once no snapshot up to finishAfter is pending: the coordinator would take what they
	// hold of this task for finished, though they were taken before.
	finishing   bool
	finishAfter int64
	// drained says that the operators finished for a snapshot that drains the job.
	drained bool
	// pending are the snapshots whose asynchronous part runs, or waits for the barriers that are still to come.
	pending map[int64]*pendingSnapshot
	// blocked are the channels that wait for the barriers of others.
	blocked []hold
	// waiting are triggers that came while a restore was still processing what had been in flight.
	waiting []record.Barrier
	// load is what the task had done when the last snapshot was taken.
	load protocol.Load
}

type begunSnapshot struct {
	stop record.StopMode
	// overtakes says that what is in flight belongs to it.
	overtakes bool
	// holds are the channels that its alignment blocked.
	holds []hold
	// givenUp says that its end was heard of before its barrier was sent.
	givenUp bool
}

type pendingSnapshot struct {
	barrier record.Barrier
	metrics protocol.AckMetrics
	started time.Time
	// Until the asynchronous part begins: the fixed state of the chain, whether it was at its end, and what was in flight (nil for an aligned one).
	parts  []part
	end    bool
	flight *flight
	// capturing says that what arrives is still added to flight.
	capturing bool
	// holds are the channels that its alignment blocked.
	holds []hold
}

func (s *snapshots) init() {
	s.aborted, s.begun, s.pending = map[int64]bool{}, map[int64]*begunSnapshot{}, map[int64]*pendingSnapshot{}
}

// settle notes that a snapshot was started or given up, and that nothing of it or of those before it counts any more.
func (s *snapshots) settle(id int64) {
	s.last = max(s.last, id)
	maps.DeleteFunc(s.aborted, func(a int64, _ bool) bool { return a <= id })
}

// giveUp notes that a snapshot alone isn't started any more.
func (s *snapshots) giveUp(id int64) {
	if len(s.aborted) >= maxAborted {
		delete(s.aborted, slices.Min(slices.Collect(maps.Keys(s.aborted))))
	}
	s.aborted[id] = true
}

// apply carries out what the barrier handler decided.
func (c *Core) apply(steps []barrier.Step) {
	var holds []hold
	for _, s := range steps {
		switch s.Kind {
		case barrier.Start:
		case barrier.Block:
			c.o.Inputs.SetBlocked(s.Channel, true)
			c.snap.blocked = append(c.snap.blocked, hold{channel: s.Channel, since: c.o.Now()})
		case barrier.Unblock:
			holds = c.snap.release(c.o.Now())
			c.measureBlocked(holds)
			c.unblock()
		case barrier.Abort:
			if c.o.AtLeastOnce {
				c.snap.giveUp(s.Barrier.Checkpoint)
			} else {
				c.snap.settle(s.Barrier.Checkpoint)
			}
			c.cancelBarrier(s.Barrier.Checkpoint, s.Reason)
		case barrier.Trigger:
			c.begin(s.Barrier, false)
			c.noteHolds(s.Barrier, holds)
		case barrier.Overtake:
			c.begin(s.Barrier, true)
			c.noteHolds(s.Barrier, holds)
		case barrier.Delivered:
			c.deliver(s.Barrier.Checkpoint)
		}
	}
}

// unblock lets every channel be read that hasn't ended.
func (c *Core) unblock() {
	for ch := range c.channels {
		if !c.ended[ch] {
			c.o.Inputs.SetBlocked(ch, false)
		}
	}
}

// cancelBarrier declines a snapshot and tells those downstream not to wait for its barrier.
func (c *Core) cancelBarrier(id int64, reason protocol.DeclineReason) {
	c.progress.settle(id)
	c.o.Env.Decline(id, reason, nil)
	if b := c.snap.begun[id]; b != nil {
		b.givenUp = true // the cancel-barrier goes out in its place
		return
	}
	c.forget(id)
	c.push(func() (operator.Status, error) {
		if c.phase < ended {
			c.out.control(record.OfCancelBarrier(id))
		}
		return operator.Done, nil
	})
}

// Trigger starts a snapshot at a source task, or at a task whose inputs ended.
func (c *Core) Trigger(b record.Barrier) error {
	if len(c.channels) > 0 && c.phase < ended || c.phase == finished {
		return nil // the barrier comes, or came, through the channels
	}
	if len(c.replay) > 0 && !b.Unaligned {
		c.snap.waiting = append(c.snap.waiting, b)
		return nil
	}
	c.begin(b, len(c.replay) > 0)
	return c.goOn()
}

// begin takes a snapshot whose barriers are in, or one that overtakes.
func (c *Core) begin(b record.Barrier, overtakes bool) {
	id := b.Checkpoint
	if id <= c.snap.last {
		return
	}
	given := c.snap.aborted[id]
	c.snap.settle(id)
	if given {
		c.cancelBarrier(id, protocol.DeclinedCanceled)
		return
	}
	c.progress.overtaken(id)
	c.progress.reach(id, protocol.StageWaiting, c.o.Now())
	c.snap.begun[id] = &begunSnapshot{stop: b.Stop, overtakes: overtakes}
	c.out.urgent = c.out.urgent || b.Unaligned
	if b.Stop == record.StopDrain && c.phase == running {
		c.snap.drained = true
		c.pushFinish()
	}
	for _, l := range c.links {
		if l.preparer != nil {
			c.push(func() (operator.Status, error) { return l.note(l.preparer.PrepareSnapshot(b)) })
		}
	}
	c.push(func() (operator.Status, error) { return operator.Done, c.take(b) })
}

// take forwards the barrier, fixes the state, and starts the asynchronous part; of a snapshot that was given up while it
// waited for that only a cancel-barrier goes out.
func (c *Core) take(b record.Barrier) error {
	begun := c.snap.begun[b.Checkpoint]
	delete(c.snap.begun, b.Checkpoint)
	if begun.givenUp {
		c.progress.settle(b.Checkpoint)
		if c.phase < ended {
			c.out.control(record.OfCancelBarrier(b.Checkpoint))
		}
		return nil
	}
	if c.phase < ended {
		c.out.control(record.OfBarrier(b))
	}
	start := c.o.Now()
	parts := make([]part, 0, len(c.links))
	for _, l := range slices.Backward(c.links) {
		began := c.o.Now()
		p, err := l.fix(b)
		p.sync = c.o.Now().Sub(began)
		if err != nil {
			for _, q := range parts {
				q.release()
			}
			return fmt.Errorf("taking %s %d: %w", b.Kind, b.Checkpoint, err)
		}
		parts = append(parts, p)
	}
	if b.Stop != record.StopNone {
		c.frozen = b.Checkpoint
	}
	now := c.o.Now()
	p := &pendingSnapshot{
		barrier: b, started: now, metrics: c.costs(b.Checkpoint, start, now), parts: parts, end: c.phase >= ended, holds: begun.holds,
	}
	p.metrics.AlignmentBytes = queued(begun.holds)
	c.snap.pending[b.Checkpoint] = p
	if begun.overtakes {
		c.capture(p)
	}
	if !begun.overtakes || c.over.delivered >= b.Checkpoint {
		c.write(p)
	}
	return nil
}

// write begins the asynchronous part.
func (c *Core) write(p *pendingSnapshot) {
	c.endCapture(p)
	parts, flight, end := p.parts, p.flight, p.end
	p.parts, p.flight = nil, nil
	if flight != nil {
		p.started = c.o.Now()
		c.overtakeCosts(p)
	}
	c.o.Env.StartAsync(p.barrier, func(ctx context.Context, w state.FileWriter) (AsyncResult, error) {
		defer flight.release()
		m := &meter{FileWriter: w, now: c.o.Now}
		r, err := finishParts(ctx, m, parts, c.o.Subtask, end)
		if err != nil {
			return r, err
		}
		r.Overtaken, err = flight.write(ctx, m, c.links[0].node.Name, r.Operators)
		r.Bytes, r.Upload, r.Ended = m.bytes.Load(), time.Duration(m.time.Load()), c.o.Now()
		return r, err
	})
}

// forget drops what is still being done for a snapshot.
func (c *Core) forget(id int64) {
	p := c.snap.pending[id]
	if p == nil {
		return
	}
	delete(c.snap.pending, id)
	if p.flight != nil {
		c.discard(p)
	}
}

// part is the fixed state of one operator.
type part struct {
	link  *link
	keyed *state.Snapshot
	lists operator.AsyncSnapshot
	// sync is how long it took to fix it.
	sync time.Duration
}

func (p part) release() {
	if p.keyed != nil {
		p.keyed.Release()
	}
}

// fix is the synchronous part of one operator.
func (l *link) fix(b record.Barrier) (part, error) {
	p := part{link: l}
	if l.stateful != nil {
		lists, err := l.stateful.Snapshot(b)
		if err != nil {
			return p, l.wrap(err)
		}
		p.lists = lists
	}
	if l.backend != nil {
		if b.Shared == "" {
			p.keyed = l.backend.Seal()
		} else {
			p.keyed = l.backend.SealIncremental(b.Checkpoint, b.Base)
		}
	}
	return p, nil
}

// finishParts is the asynchronous part of the whole chain.
func finishParts(ctx context.Context, w *meter, parts []part, subtask int, end bool) (AsyncResult, error) {
	defer func() {
		for _, p := range parts {
			p.release()
		}
	}()
	r := AsyncResult{Operators: make(map[string]snapshot.SubtaskState, len(parts)), Costs: operatorCosts(parts)}
	cost := len(r.Costs)
	for _, p := range parts {
		began, written := w.now(), w.bytes.Load()
		s := snapshot.SubtaskState{Index: subtask, Finished: end}
		if p.keyed != nil {
			files, err := p.keyed.Write(ctx, w)
			if err != nil {
				return r, p.link.wrap(fmt.Errorf("writing keyed state: %w", err))
			}
			s.Keyed = files
		}
		if p.lists != nil {
			lists, err := p.lists(ctx)
			if err != nil {
				return r, p.link.wrap(fmt.Errorf("writing operator state: %w", err))
			}
			s.Lists = lists
		}
		r.Operators[p.link.node.Name] = s
		if p.keyed != nil || p.lists != nil {
			cost--
			r.Costs[cost].Async, r.Costs[cost].Bytes = w.now().Sub(began), w.bytes.Load()-written
		}
	}
	return r, nil
}

// AsyncDone takes the outcome of an asynchronous part and reports it, unless the snapshot was given up. It says whether the part was acknowledged. If
// not, nobody else hears of the files that were written for it, and the caller deletes them.
func (c *Core) AsyncDone(checkpoint int64, r AsyncResult, err error) bool {
	p := c.snap.pending[checkpoint]
	if p == nil {
		late := err == nil && createdShared(r) // of these the coordinator keeps count
		if late {
			c.o.Env.Ack(checkpoint, r.Operators, protocol.AckMetrics{})
		}
		return late
	}
	delete(c.snap.pending, checkpoint)
	defer c.progress.settle(checkpoint)
	defer c.finishIfFree()
	if err != nil {
		c.o.Env.Decline(checkpoint, protocol.DeclinedAsync, err)
		return false
	}
	now := c.o.Now()
	p.metrics.Async, p.metrics.Upload, p.metrics.Bytes = r.Ended.Sub(p.started), r.Upload, r.Bytes
	p.metrics.Operators = r.Costs
	for _, n := range r.Overtaken {
		p.metrics.ChannelBytes += n
	}
	f := c.progress.find(checkpoint)
	if f != nil {
		p.metrics.Total = now.Sub(f.first)
	}
	p.metrics.Channels = c.progress.channelCosts(f, p.holds, r.Overtaken)
	c.o.Env.Ack(checkpoint, r.Operators, p.metrics)
	return true
}

// createdShared says whether the asynchronous part created shared files.
func createdShared(r AsyncResult) bool {
	for _, s := range r.Operators {
		for _, f := range s.Keyed {
			if f.Shared && !f.Reused {
				return true
			}
		}
	}
	return false
}

// Stay makes a task at the end of its data wait for a snapshot after this one before it finishes. It comes before the Complete of
// that snapshot.
func (c *Core) Stay(checkpoint int64) {
	c.snap.endedAfter = max(c.snap.endedAfter, checkpoint)
}

// Complete tells that a snapshot, and with it everything up to it, is in the head. A repetition
// is harmless. A task that the snapshot froze commits and finishes.
func (c *Core) Complete(ctx context.Context, checkpoint int64, stop record.StopMode) error {
	for _, l := range c.links {
		if l.listener == nil || c.phase == finished {
			continue
		}
		if err := l.listener.NotifyComplete(ctx, checkpoint); err != nil {
			return l.wrap(permanent(fmt.Errorf("committing checkpoint %d: %w", checkpoint, err)))
		}
	}
	c.forget(checkpoint)
	c.progress.settle(checkpoint)
	for _, l := range c.keyed {
		l.backend.Completed(checkpoint)
	}
	switch {
	case c.frozen != 0 && checkpoint >= c.frozen && stop != record.StopNone:
		c.snap.finishing, c.snap.finishAfter = true, c.frozen
	case c.phase == ended && checkpoint > c.snap.endedAfter:
		c.snap.finishing, c.snap.finishAfter = true, c.snap.endedAfter
	}
	c.finishIfFree()
	if stop != record.StopNone {
		c.o.Env.Notified(checkpoint)
	}
	return nil
}

// finishIfFree ends a task that may finish, unless a snapshot from before that is still being written.
func (c *Core) finishIfFree() {
	if !c.snap.finishing {
		return
	}
	for id := range c.snap.pending {
		if id <= c.snap.finishAfter {
			return
		}
	}
	c.frozen = 0
	c.phase = finished
}

// Aborted tells that a snapshot was given up: its asynchronous part ends, and a task that it
// froze goes on. A repetition is harmless.
func (c *Core) Aborted(checkpoint int64) error {
	if checkpoint > c.snap.last {
		c.snap.giveUp(checkpoint)
		c.progress.settle(checkpoint)
	}
	if p := c.snap.pending[checkpoint]; p != nil {
		begun := p.flight == nil
		c.forget(checkpoint)
		c.progress.settle(checkpoint)
		if begun {
			c.o.Env.CancelAsync(checkpoint)
		}
		c.finishIfFree()
	}
	for _, l := range c.links {
		if l.listener != nil {
			l.listener.NotifyAborted(checkpoint)
		}
	}
	for _, l := range c.keyed {
		l.backend.Aborted(checkpoint)
	}
	// Answered also by a task that the snapshot never reached: the coordinator repeats the end of one that stops the job.
	c.o.Env.Notified(checkpoint)
	drains := c.frozen == checkpoint
	if drains {
		c.frozen = 0
	}
	if b := c.snap.begun[checkpoint]; b != nil {
		b.givenUp = true
		drains = b.stop == record.StopDrain
	}
	if drains && c.snap.drained {
		return fmt.Errorf("draining for savepoint %d was given up after the operators had finished: going on needs a restart from the last checkpoint", checkpoint)
	}
	return nil
}
