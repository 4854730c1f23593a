// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// start is the time at which every run begins.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// event is something that happens at a time; those of one time happen in the order they were made.
type event struct {
	at  time.Time
	seq uint64
	p   *process
	run func()
}

type events []event

// Len implements heap.Interface.
func (e *events) Len() int { return len(*e) }

// Less implements heap.Interface.
func (e *events) Less(i, j int) bool {
	a, b := &(*e)[i], &(*e)[j]
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	return a.seq < b.seq
}

// Swap implements heap.Interface.
func (e *events) Swap(i, j int) { (*e)[i], (*e)[j] = (*e)[j], (*e)[i] }

// Push implements heap.Interface.
func (e *events) Push(x any) { *e = append(*e, x.(event)) }

// Pop implements heap.Interface.
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return x
}

// clock is the virtual time and what is going to happen.
type clock struct {
	now   time.Time
	queue events
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
	heap.Push(&c.queue, event{at: c.now.Add(d), seq: c.seq, p: p, run: f})
}

// step lets the next event happen; false when there is none.
func (c *clock) step() bool {
	if len(c.queue) == 0 {
		return false
	}
	e := heap.Pop(&c.queue).(event)
	c.now = e.at
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
	name   string
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
