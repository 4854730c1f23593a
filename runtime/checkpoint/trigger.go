// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

type phase uint8

const (
	collecting phase = iota // waits for acknowledgements
	acked                   // has them all
	writing                 // its manifest is being written
	committing              // its head is being swapped: what becomes of it is out of our hands
)

// pending is a snapshot in flight.
type pending struct {
	id        int64
	request   request
	dir       string
	barrier   record.Barrier
	attempt   protocol.Attempt
	createdAt time.Time
	state     phase
	// outstanding tasks have not acknowledged; triggered ones have been sent the trigger.
	outstanding map[protocol.TaskID]bool
	triggered   map[protocol.TaskID]bool
	// atEnd are the tasks whose part was started after the end of their data.
	atEnd map[protocol.TaskID]bool
	// finished tasks take no part.
	finished map[protocol.TaskID]bool
	acks     map[protocol.TaskID]*protocol.Ack
	written  bool // the manifest exists
	manifest *snapshot.Manifest
	stats    Stats
	costs    costs
}

func (p *pending) savepoint() bool { return p.barrier.Kind == record.Savepoint }

// advance starts every snapshot that may start now, and asks for the final one.
func (c *Coordinator) advance(now time.Time) {
	if !c.running {
		return
	}
	c.finalize()
	c.requestFinal(now)
	for {
		q := c.choose(now)
		if q == nil {
			return
		}
		if c.nextID >= c.reserved {
			c.queue = slices.Insert(c.queue, 0, q)
			c.counts.Waiting = waitsForIDs
			c.reserve()
			return
		}
		c.trigger(now, q)
	}
}

// reserve extends the block of ids.
func (c *Coordinator) reserve() {
	if c.reserving == 0 {
		c.reserving = c.update(&update{change: UpdateHead{ReserveUntil: max(c.nextID, c.reserved) + c.o.ReserveIDs}})
	}
}

// update asks for a change of the head and returns its token. A block of ids that runs low is extended along the way.
func (c *Coordinator) update(u *update) int64 {
	c.token++
	u.change.Token = c.token
	if u.change.ReserveUntil == 0 && c.reserved-c.nextID < c.o.ReserveIDs/2 {
		u.change.ReserveUntil = c.reserved + c.o.ReserveIDs
	}
	c.updates[c.token] = u
	c.emit(u.change)
	return c.token
}

func (c *Coordinator) trigger(now time.Time, q *request) {
	required := c.unfinished()
	if q.final && !c.finalNeeded() {
		return
	}
	if len(required) == 0 {
		c.refuseLater(now, q, "all tasks have finished")
		return
	}
	p := c.create(now, q, required)
	c.pending = append(c.pending, p)
	c.counts.Triggered++
	if s := c.stop; s != nil && q.stop != record.StopNone {
		s.phase, s.snapshot = stopSaving, p
	}
	var at []protocol.TaskID
	for _, id := range required {
		if t := c.tasks[id]; len(t.vertex.Inputs) == 0 || t.endOfData {
			at = append(at, id)
			p.triggered[id] = true
		}
	}
	if len(at) > 0 {
		c.emit(Trigger{Barrier: p.barrier, Tasks: at})
	}
}

func (c *Coordinator) create(now time.Time, q *request, required []protocol.TaskID) *pending {
	id := c.nextID
	c.nextID++
	p := &pending{
		id: id, request: *q, attempt: c.attempt, createdAt: now, barrier: record.Barrier{Checkpoint: id, Stop: q.stop},
		outstanding: map[protocol.TaskID]bool{}, triggered: map[protocol.TaskID]bool{}, atEnd: map[protocol.TaskID]bool{},
		finished: map[protocol.TaskID]bool{}, acks: map[protocol.TaskID]*protocol.Ack{},
	}
	if q.priority == prioritySavepoint {
		p.barrier.Kind = record.Savepoint
		p.dir = q.target + snapshot.SavepointDirPrefix(c.o.JobID) + q.operation + "/"
	} else {
		p.dir = fmt.Sprintf("%scheckpoints/chk-%d/", c.o.Dir, id)
		p.barrier.Unaligned, p.barrier.AlignmentTimeout = c.o.Unaligned, c.o.AlignmentTimeout
		if c.o.Incremental {
			p.barrier.Shared, p.barrier.Base = c.o.sharedDir(), c.chooseBase()
			c.shared.Open(id, p.barrier.Base)
		}
	}
	p.barrier.Target = p.dir
	for _, t := range c.order {
		p.finished[t] = c.tasks[t].finished
	}
	for _, t := range required {
		p.outstanding[t] = true
		p.atEnd[t] = c.tasks[t].endOfData
	}
	p.stats = Stats{
		ID: id, Kind: p.barrier.Kind, Stop: q.stop, Operation: q.operation, State: StatePending, Path: p.dir,
		TriggeredAt: now, Tasks: len(required),
	}
	c.opened(now, p)
	return p
}

// HandleEndOfData takes the report of a task that it waits for its last snapshot. A snapshot in flight whose barrier
// can't reach the task any more, since all its channels ended, is triggered at it directly.
func (c *Coordinator) HandleEndOfData(now time.Time, e protocol.EndOfData) {
	t := c.tasks[e.Task]
	if !c.running || !c.of(e.Task, e.Attempt) || t.finished || t.endOfData {
		return
	}
	t.endOfData = true
	for _, p := range c.pending {
		if p.state == collecting && p.outstanding[e.Task] && !p.triggered[e.Task] {
			p.triggered[e.Task] = true
			c.emit(Trigger{Barrier: p.barrier, Tasks: []protocol.TaskID{e.Task}})
		}
	}
	c.advance(now)
}

// HandleFinished says that a task finished. A snapshot that still waits for it takes it as finished: all that it
// had to do has been done and committed.
func (c *Coordinator) HandleFinished(now time.Time, id protocol.TaskID) {
	t := c.tasks[id]
	if t == nil || t.finished || t.gone {
		return
	}
	t.finished = true
	c.stopNotified(id)
	if !c.running {
		return
	}
	for _, p := range slices.Clone(c.pending) {
		if p.state == collecting && p.outstanding[id] {
			delete(p.outstanding, id)
			p.finished[id] = true
			p.stats.Tasks--
			c.checkAcked(now, p)
		}
	}
	c.advance(now)
}

// finalNeeded says whether all tasks that run are at the end of their data, and one of them needs a snapshot that isn't in
// flight yet to finish.
func (c *Coordinator) finalNeeded() bool {
	needed := false
	for _, id := range c.order {
		t := c.tasks[id]
		if t.finished || t.finishing {
			continue
		}
		if !t.endOfData {
			return false
		}
		covered := slices.ContainsFunc(c.pending, func(p *pending) bool {
			return p.atEnd[id] && (!p.savepoint() || p.request.stop != record.StopNone)
		})
		needed = needed || !covered
	}
	return needed
}

func (c *Coordinator) requestFinal(now time.Time) {
	if now.Before(c.finalNotBefore) || c.stop != nil || !c.finalNeeded() {
		return
	}
	c.finalNotBefore = time.Time{}
	if !slices.ContainsFunc(c.queue, func(q *request) bool { return q.final }) {
		c.enqueue(now, &request{priority: priorityManual, final: true})
	}
}
