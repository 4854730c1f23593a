// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"math/rand/v2"
	"time"
)

// start is the time at which every run begins.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// entry is an event in the queue: when it happens, which of those of that time it is, and where the rest is. It holds no pointer, so
// that moving it costs little.
type entry struct {
	at   int64 // nanoseconds since start
	seq  uint64
	slot int32
}

func (e entry) before(o entry) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// event is something that happens in a process.
type event struct {
	p   *process
	run func()
}

// queue is a heap of entries, and the events they refer to.
type queue struct {
	heap   []entry
	events []event
	free   []int32
}

func (q *queue) push(at int64, seq uint64, e event) {
	var slot int32
	if n := len(q.free); n > 0 {
		slot, q.free = q.free[n-1], q.free[:n-1]
		q.events[slot] = e
	} else {
		slot = int32(len(q.events))
		q.events = append(q.events, e)
	}
	q.heap = append(q.heap, entry{at, seq, slot})
	h := q.heap
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

// pop takes the first event; there must be one.
func (q *queue) pop() (int64, event) {
	h := q.heap
	top := h[0]
	last := len(h) - 1
	h[0] = h[last]
	h = h[:last]
	q.heap = h
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if h[c].before(h[least]) {
				least = c
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	e := q.events[top.slot]
	q.events[top.slot] = event{}
	q.free = append(q.free, top.slot)
	return top.at, e
}

// clock is the virtual time and what is going to happen; what is to happen at one time happens in the order in which that was said.
type clock struct {
	now   time.Time
	queue queue
	seq   uint64
	rnd   *rand.Rand
	steps int
}

func newClock(seed uint64) *clock {
	return &clock{now: start, rnd: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))}
}

// after makes f happen after d, in process p if that isn't nil.
func (c *clock) after(p *process, d time.Duration, f func()) {
	c.seq++
	c.queue.push(int64(c.now.Sub(start)+d), c.seq, event{p, f})
}

// step lets the next event happen; false when there is none.
func (c *clock) step() bool {
	if len(c.queue.heap) == 0 {
		return false
	}
	at, e := c.queue.pop()
	c.now = start.Add(time.Duration(at))
	c.steps++
	e.p.run(e.run)
	return true
}

// between returns a random duration in [lo, hi).
func (c *clock) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(c.rnd.Int64N(int64(max(hi-lo, 1))))
}

// chance is true once in n times.
func (c *clock) chance(n int) bool { return n > 0 && c.rnd.IntN(n) == 0 }

// process is something that can die or be paused with everything that is about to happen in it.
type process struct {
	name string
	// skew is by how much its clock is ahead.
	skew   time.Duration
	dead   bool
	paused bool
	held   []func()
}

// run does f in the process: not at all when it is dead, later when it is paused.
func (p *process) run(f func()) {
	switch {
	case p == nil:
		f()
	case p.dead:
	case p.paused:
		p.held = append(p.held, f)
	default:
		f()
	}
}

// resume lets a paused process go on with what was held back.
func (p *process) resume() {
	p.paused = false
	held := p.held
	p.held = nil
	for _, f := range held {
		p.run(f)
	}
}
