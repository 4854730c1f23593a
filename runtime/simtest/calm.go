// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"fmt"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
)

// A job has to end in bounded time once nothing disturbs it any more. The bound is what the faults of the scenario and its work come to: every wait of the coordinator and the
// workers for something that a fault took away, once; all rows one by one through the operator that has most of them; and what the settings make it wait for.
//
// There is no bound for a job whose checkpoints take longer than their timeout, as the barriers of a deep graph do behind full queues: each of them expires, and the job starts from
// the beginning. Its user sees why and gives them more time, once, and as much as they can take. From then on the bound is that of any other job.

const (
	// recoveryLimit is each of the waits once, and that of workers for a coordinator.
	recoveryLimit = heartbeatTimeout + slotTimeout + deployTimeout + cancelTimeout + stopTimeout + cleanupTimeout + fenceTimeout
	// rareInterval is the longest interval of rare checkpoints. A job waits for three of them at most: for one that lets its last rows be seen, for one more if
	// that fails, and for one with which it ends.
	rareInterval = 30 * time.Second
	rareWaits    = 3
)

// calm is since when nothing disturbs the job: faults have stopped, the outage of storage is over, and no task is held up over what was in flight before a
// restore, which makes checkpoints expire and the job start again.
func (w *world) calm() time.Time {
	return later(later(later(w.faults.until, w.outage), w.slowed), w.relaxed)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// calmLimit is how long the job may take to end when nothing disturbs it.
func (w *world) calmLimit() time.Duration {
	limit := recoveryLimit + w.scenario.work(w.stepTime+w.maxLatency) + w.timersLate()
	if w.scenario.rare {
		limit += rareWaits * rareInterval
	}
	return limit
}

// snapshotLimit is how long a snapshot may take when nothing disturbs it: a barrier waits for all rows at most, and parts that take time to be written come one after another only
// with it. Beside sweepers it has to be less than the time in which a snapshot may be committed.
func (w *world) snapshotLimit() time.Duration {
	limit := w.scenario.work(w.stepTime+w.maxLatency) + slowSnapshot
	if w.sweeps {
		limit = min(limit, sweptCommitGrace*9/10)
	}
	return limit
}

// slowSnapshot is more than the slowest asynchronous part takes with its calls of storage and messages.
const slowSnapshot = 2 * time.Second

// giveTime lets the user of a job whose checkpoints expire though nothing disturbs them give them more time, if they had less than they may take. It is false if that isn't what keeps
// the job from its end.
func (w *world) giveTime() bool {
	if w.version == nil || !w.relaxed.IsZero() {
		return false
	}
	c, limit := w.version.leads, w.snapshotLimit()
	if c == nil || !c.lead || w.version.config.Checkpointing.Timeout.D() >= limit || !w.expires(c) {
		return false
	}
	w.relaxed, w.scenario.timeout = w.clock.now, limit
	w.version.config.Checkpointing.Timeout = contract.Duration(limit)
	w.tracef(nil, "a user gives checkpoints %v", limit)
	w.users.applyPolicy(c, fmt.Sprintf("time%d", w.users.n))
	return true
}

// expires says whether the job failed last because a checkpoint took too long, and that this was when nothing disturbed it any more.
func (w *world) expires(c *coordinator) bool {
	f := c.machine.Status(c.now()).LastFailure
	return f != nil && strings.Contains(f.Error, "not complete within") && c.now().Sub(f.At) < w.clock.now.Sub(w.calm())
}

// work is how long all rows take if each takes the given time at the operator that has most of them, and sources pause as often as they do on average
// when they read row by row.
func (s *scenario) work(perRow time.Duration) time.Duration {
	var most, pauses time.Duration
	for _, n := range s.nodes {
		rows := int64(len(n.keys)) * s.rowsPerKey
		most = max(most, times(rows, perRow))
		if n.kind == sourceNode {
			pauses = max(pauses, times(rows, n.source.pause)/pausesOf)
		}
	}
	return most + pauses
}

func times(n int64, d time.Duration) time.Duration { return time.Duration(n * int64(d)) }
