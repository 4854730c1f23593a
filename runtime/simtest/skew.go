// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"math/rand/v2"
	"time"
)

// Every machine has a clock of its own. In most runs they differ: a coordinator, a worker and the storage each have an offset that stays the same for as long as they live, and each
// process that is started anew comes to another machine. What a process is told to be the time, and what storage says of when an object was written, is the time of its own clock; only the
// simulator knows the true one. So whatever compares the times of two processes goes wrong, and where it doesn't matter a run is the same as with one clock.

const (
	// maxSkew is how far a clock may be off, to either side.
	maxSkew = 10 * time.Minute
	// timedSkew is how far clocks of workers may be off in a job that has timers of processing time: a timer is due by the clock of the machine that the task runs on, and if it moves to
	// one that is behind, it fires later by the difference.
	timedSkew = time.Second
	// sweptSkew is how far clocks of storage and of sweepers may be off as sweepers see it: for them a day and an hour are seconds, and so are the minutes.
	sweptSkew = 1500 * time.Millisecond
)

// skews draws by how much clocks are off, from a source of its own, so that all else stays as it is with one clock.
type skews struct {
	rnd *rand.Rand
	// off says that there is only one clock.
	off bool
	// worker is how far those of workers may be off.
	worker time.Duration
}

func newSkews(seed uint64, one bool) *skews {
	s := &skews{rnd: rand.New(rand.NewPCG(seed, 79)), worker: maxSkew}
	s.off = s.rnd.IntN(4) == 0 || one
	return s
}

// draw returns an offset within most to either side.
func (s *skews) draw(most time.Duration) time.Duration {
	if s.off {
		return 0
	}
	return time.Duration(s.rnd.Int64N(2*int64(most)+1)) - most
}

// timeOf is the time by the clock of a process; the true one for none.
func (w *world) timeOf(p *process) time.Time {
	if p == nil {
		return w.clock.now
	}
	return w.clock.now.Add(p.skew)
}

// receivedAt is the time at which a coordinator takes a message for received. Under SendersClock it is that of the worker.
func (c *coordinator) receivedAt(now time.Time, from *worker) time.Time {
	if c.w.mutation == SendersClock {
		return from.now()
	}
	return now
}

// timed says whether the scenario has timers of processing time.
func (s *scenario) timed() bool {
	for _, n := range s.nodes {
		if n.kind == delayNode {
			return true
		}
	}
	return false
}

// timersLate is how late a timer may fire because the task has moved to a machine whose clock is behind.
func (w *world) timersLate() time.Duration {
	if w.skews.off || !w.scenario.timed() {
		return 0
	}
	return 2 * timedSkew
}
