// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// Coordinator takes the snapshots of a job. See the package comment.
type Coordinator struct {
	o       Options
	effects []Effect
	// head mirrors what the head says of checkpoints and operations.
	head snapshot.Head

	// nextID is the next id; ids below reserved may be used. reserving is the update in flight that extends the block.
	nextID, reserved int64
	reserving        int64

	running bool
	attempt protocol.Attempt
	tasks   map[protocol.TaskID]*task
	order   []protocol.TaskID

	// periodic is what the caller wants; nextPeriodic is zero while there is no timer, lastPeriodic when it ended last.
	periodic                   bool
	nextPeriodic, lastPeriodic time.Time
	queue                      []*request
	requests                   int64

	pending []*pending // ids ascending, including the one being finalized
	ready   []*pending // acknowledged in full, waiting to be finalized
	final   *pending   // being finalized
	stop    *stopping
	thaws   []*thaw
	// finalNotBefore delays the repeat of a final checkpoint that was given up.
	finalNotBefore time.Time

	lastCompletionAt time.Time
	// lastCommitted is the newest snapshot that transactions were committed with: a checkpoint or the savepoint of a stop.
	lastCommitted int64
	failures      *FailureManager

	token    int64
	updates  map[int64]*update
	cleaning map[int64]bool
	// writing holds snapshots given up while their manifest was being written; discarded those given up lately.
	writing   map[int64]*pending
	discarded map[int64]string

	// shared knows the shared files, learn reads what it doesn't know. base is the last checkpoint that this attempt completed, and
	// firstID the first id of this incarnation.
	shared        *Registry
	learn         learning
	base, firstID int64

	history []Stats
	counts  Summary
	ledger  ledger
}

type task struct {
	id     protocol.TaskID
	vertex *Vertex
	// attempt that it was deployed with.
	attempt protocol.Attempt
	// finished; endOfData: waits for its last snapshot; finishing: that one is complete. gone: nothing is heard of it any more.
	finished, endOfData, finishing, gone bool
}

// TaskStart is the state of a task when snapshots become possible.
type TaskStart struct {
	Task protocol.TaskID
	// Attempt that it was deployed with, if it isn't the newest: tasks of regions that went on keep theirs.
	Attempt protocol.Attempt
	// Finished and EndOfData say that it got that far already.
	Finished  bool
	EndOfData bool
}

// update is a change of the head in flight.
type update struct {
	change UpdateHead
	commit *pending
}

// New returns a coordinator that goes on from the head, which must have been claimed.
func New(o Options, head snapshot.Head) (*Coordinator, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	c := &Coordinator{
		o: o, head: head.Clone(), nextID: max(1, head.ReservedUntil), reserved: max(1, head.ReservedUntil), periodic: true,
		failures: NewFailureManager(o.TolerableFailures), updates: map[int64]*update{}, cleaning: map[int64]bool{},
		writing: map[int64]*pending{}, discarded: map[int64]string{},
		shared: newRegistry(&o, &head), learn: learning{damaged: map[int64]bool{}}, firstID: max(1, head.ReservedUntil),
	}
	if n, ok := head.Newest(); ok {
		c.counts.LastCompleted, c.lastCommitted = n.ID, n.ID
	}
	return c, nil
}

// Effects returns what has to be carried out since the last call.
func (c *Coordinator) Effects() []Effect {
	e := c.effects
	c.effects = nil
	return e
}

func (c *Coordinator) emit(e Effect) { c.effects = append(c.effects, e) }

// SkipTo makes the next id greater than id, that of a snapshot of another lineage that the job is restored from.
func (c *Coordinator) SkipTo(id int64) {
	c.nextID = max(c.nextID, id+1)
	c.reserved = max(c.reserved, c.nextID)
}

// Start allows snapshots: all tasks run or finished. a is the newest attempt; tasks that aren't listed are of it. The first periodic
// trigger follows after a random delay.
func (c *Coordinator) Start(now time.Time, a protocol.Attempt, tasks []TaskStart) {
	c.running, c.attempt = true, a
	c.tasks, c.order = map[protocol.TaskID]*task{}, nil
	for i := range c.o.Vertices {
		v := &c.o.Vertices[i]
		for s := range v.Parallelism {
			id := protocol.TaskID{Vertex: v.Name, Subtask: s}
			c.tasks[id] = &task{id: id, vertex: v, attempt: a}
			c.order = append(c.order, id)
		}
	}
	for _, t := range tasks {
		if k := c.tasks[t.Task]; k != nil {
			k.finished, k.endOfData, k.attempt = t.Finished, t.EndOfData, cmp.Or(t.Attempt, a)
		}
	}
	c.failures.Reset()
	c.ledger.seen, c.ledger.endedAt = nil, time.Time{}
	c.finalNotBefore, c.base = time.Time{}, 0
	c.readNext(now)
	if c.nextID >= c.reserved {
		c.reserve()
	}
	c.armPeriodic(now)
	c.advance(now)
}

// Suspend stops snapshots because the job isn't running any more, and gives up those in flight, except one whose
// head is being swapped. Their operations fail with the reason given.
func (c *Coordinator) Suspend(now time.Time, r Reason, why string) {
	for _, t := range c.tasks {
		t.gone = true
	}
	c.thaws = nil
	c.halt(now, r, why)
}

// Interrupt is like Suspend, but only the tasks named are gone. The others go on: they are told what is given up, and also what is completed
// because its head is being swapped already.
func (c *Coordinator) Interrupt(now time.Time, r Reason, why string, gone []protocol.TaskID) {
	for _, id := range gone {
		if t := c.tasks[id]; t != nil {
			t.gone = true
		}
		c.stopNotified(id)
	}
	c.halt(now, r, why)
}

// halt ends triggering and gives up what is in flight.
func (c *Coordinator) halt(now time.Time, r Reason, why string) {
	if !c.running {
		return
	}
	c.running = false
	c.nextPeriodic = time.Time{}
	for _, q := range c.queue {
		c.refuseLater(now, q, why)
	}
	c.queue = nil
	for _, p := range slices.Clone(c.pending) {
		if p.state != committing {
			c.abort(now, p, r, why)
		}
	}
	if s := c.stop; s != nil && s.phase == stopCommitted {
		c.stopFailed(now, why)
	}
	if c.stop != nil {
		c.stop.broken = why // its head is being swapped
	}
}

// SetPeriodic switches periodic triggers on or off.
func (c *Coordinator) SetPeriodic(now time.Time, on bool) {
	if c.periodic == on {
		return
	}
	c.periodic = on
	if on {
		c.armPeriodic(now)
		return
	}
	c.stopPeriodic()
}

// armPeriodic starts the timer with a random delay within [minPause, interval].
func (c *Coordinator) armPeriodic(now time.Time) {
	if !c.running || !c.periodic || c.o.Interval <= 0 || c.stop != nil {
		return
	}
	delay := c.o.MinPause
	if d := c.o.Interval - c.o.MinPause; d > 0 {
		delay += time.Duration(c.o.Rand.Int64N(int64(d) + 1))
	}
	c.nextPeriodic, c.lastPeriodic = now.Add(delay), time.Time{}
}

func (c *Coordinator) stopPeriodic() {
	c.nextPeriodic = time.Time{}
	c.queue = slices.DeleteFunc(c.queue, func(q *request) bool { return q.priority == priorityPeriodic })
}

// HandleTime lets time pass.
func (c *Coordinator) HandleTime(now time.Time) {
	for _, p := range slices.Clone(c.pending) {
		if p.state != committing && !now.Before(c.deadline(p)) {
			c.abort(now, p, ReasonExpired, c.expiredText(now, p))
		}
	}
	c.expireQueued(now)
	if !c.nextPeriodic.IsZero() && !now.Before(c.nextPeriodic) {
		missed := now.Sub(c.nextPeriodic) / c.o.Interval
		c.lastPeriodic = c.nextPeriodic.Add(missed * c.o.Interval) //nolint:durationcheck // missed is a number of intervals
		c.nextPeriodic = c.lastPeriodic.Add(c.o.Interval)
		c.enqueuePeriodic(now)
	}
	c.resend(now)
	c.readNext(now)
	c.advance(now)
}

// NextWake says when HandleTime wants to be called; false for never.
func (c *Coordinator) NextWake() (time.Time, bool) {
	var w time.Time
	at := func(t time.Time) {
		if !t.IsZero() && (w.IsZero() || t.Before(w)) {
			w = t
		}
	}
	at(c.nextPeriodic)
	if c.running && c.learn.reading == 0 && c.unread() != nil {
		at(c.learn.retryAt)
	}
	for _, p := range c.pending {
		if p.state != committing {
			at(c.deadline(p))
		}
	}
	for _, q := range c.queue {
		at(q.deadline)
	}
	if c.stop != nil && len(c.stop.outstanding) > 0 {
		at(c.stop.resendAt)
	}
	for _, t := range c.thaws {
		at(t.resendAt)
	}
	if c.running && c.stop == nil && !c.finalNotBefore.IsZero() && c.finalNeeded() {
		at(c.finalNotBefore)
	}
	return w, !w.IsZero()
}

// HandleDeleted says that a Delete ended.
func (c *Coordinator) HandleDeleted(now time.Time, token int64) {
	delete(c.cleaning, token)
	c.advance(now)
}

func (c *Coordinator) remove(p *pending) {
	is := func(x *pending) bool { return x == p }
	c.pending = slices.DeleteFunc(c.pending, is)
	c.ready = slices.DeleteFunc(c.ready, is)
	if c.final == p {
		c.final = nil
	}
}

func (c *Coordinator) find(id int64) *pending {
	for _, p := range c.pending {
		if p.id == id {
			return p
		}
	}
	return nil
}

// unfinished lists the tasks that run and can be reached.
func (c *Coordinator) unfinished() []protocol.TaskID {
	var ts []protocol.TaskID
	for _, id := range c.order {
		if t := c.tasks[id]; !t.finished && !t.gone {
			ts = append(ts, id)
		}
	}
	return ts
}
