// SPDX-License-Identifier: Apache-2.0

package simtest

import "time"

// A job has to end in bounded time once nothing disturbs it any more. The bound is what the faults of the scenario and its work come to: every wait of the coordinator and the
// workers for something that a fault took away, once; all rows one by one through the operator that has most of them; and what the settings make it wait for.

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
func (w *world) calm() time.Time { return later(later(w.faults.until, w.outage), w.slowed) }

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
