// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// watchInterval is how often a run is looked at from outside.
const watchInterval = time.Second

// blockedLimit is how long a channel may stay blocked while no snapshot is in flight and nothing holds the workers up: what is under way
// then arrives sooner.
const blockedLimit = 2500 * time.Millisecond

// watch looks at the run again and again.
func (w *world) watch() {
	w.clock.after(nil, watchInterval, func() {
		w.checkBlocked()
		w.endEndless()
		w.watch()
	})
}

// checkBlocked finds channels that wait for the barrier of a snapshot that doesn't exist any more.
func (w *world) checkBlocked() {
	attempt, quiet := w.quiet()
	if !quiet || attempt != w.quietAttempt || w.heldUp() {
		w.quietAttempt, w.quietSince = attempt, w.clock.now
		return
	}
	alive := map[protocol.Attempt]bool{}
	for _, r := range w.version.leads.machine.Status(w.version.leads.now()).Regions {
		alive[r.Attempt] = true
	}
	for _, k := range w.workers {
		if k.p.dead || k.p.paused {
			continue
		}
		for _, a := range k.regions {
			if a.ended || !alive[a.deploy.Attempt] {
				continue
			}
			for _, t := range a.tasks {
				w.checkTaskBlocked(t)
			}
		}
	}
}

// heldUp says whether a worker is paused, or a task is slow because it works on what was in flight before a restore.
func (w *world) heldUp() bool {
	for _, k := range w.workers {
		if k.p.paused {
			return true
		}
		for _, a := range k.regions {
			if !a.ended && slices.ContainsFunc(a.tasks, func(t *taskRun) bool { return t.inFlight }) {
				return true
			}
		}
	}
	return false
}

func (w *world) checkTaskBlocked(t *taskRun) {
	if !t.opened || t.stopped || t.finished || t.deploy.Finished || t.core.Frozen() {
		return
	}
	for ch, since := range t.blockedSince {
		if since.Before(w.quietSince) {
			since = w.quietSince
		}
		if t.blocked[ch] && !t.endedInput[ch] && w.clock.now.Sub(since) > blockedLimit {
			w.failf("channel %s of task %s is blocked since %v although no snapshot is in flight since %v",
				t.inputs[ch], t.id, t.blockedSince[ch].Sub(start), w.quietSince.Sub(start))
		}
	}
}

// quiet says whether the job runs without a snapshot in flight, and in which attempt.
func (w *world) quiet() (protocol.Attempt, bool) {
	c := w.version.leads
	if c == nil || !c.lead || c.p.dead || c.p.paused {
		return protocol.Attempt{}, false
	}
	s := c.machine.Status(c.now())
	return s.Attempt, s.State == job.StateRunning && len(s.Pending) == 0
}

// endEndless ends a job that has read all there is and never ends by itself.
func (w *world) endEndless() {
	c := w.version.leads
	if !w.scenario.endless || w.faulty() || w.done || w.closing == w.version || c == nil || !c.lead || w.line.outputError(true) != nil {
		return
	}
	w.closing = w.version
	w.users.n++
	r := &request{id: fmt.Sprintf("close%d", w.users.n), version: w.version, kind: snapshot.OperationCancel, savepoint: w.clock.chance(2) && !w.scenario.deletes && !w.scenario.volatile}
	w.tracef(nil, "all rows are visible: the job is canceled")
	w.users.open[r.id] = r
	w.users.send(r)
}
