// SPDX-License-Identifier: Apache-2.0

package job

import (
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// fail takes down the regions in scope, and what is being deployed: their tasks are canceled, then the restart strategy has the word. A failure
// while that is under way, or during the delay that follows, merges into it. A fatal one, and any while the job stops with a savepoint
// that the head may name, takes down all regions.
func (m *Machine) fail(now time.Time, f Failure, scope ...*region) {
	if m.exited || m.ending != nil || m.attempt == nil && m.state != StateRestarting {
		return
	}
	if _, stopping := m.snapshots.StopInProgress(); f.Fatal || stopping || m.snapshots.StopCommitting() {
		scope = m.regions
	}
	f.At, f.Attempt, f.Error = now, m.newest, snapshot.CutText(f.Error, snapshot.MaxHeadText)
	if f.Task.Vertex != "" {
		f.Attempt = m.regionOf(f.Task).attempt
	}
	if f.Fatal && m.fatal == nil {
		m.fatal = &f
	}
	merges := m.attempt == nil || m.attempt.phase == canceling
	if !merges {
		m.lastFailure = &f
		m.state = StateFailing
	}
	m.takeDown(now, scope, checkpoint.ReasonTaskFailure, f.Error)
}

// dropStuck gives up workers that don't cancel their tasks. Whatever they still do is of an old attempt and has no effect.
func (m *Machine) dropStuck(now time.Time) {
	stuck := map[string]bool{}
	for _, id := range m.allTasks {
		if t := m.tasks[id]; t != nil && !t.over() && m.regionOf(id).down {
			stuck[t.worker] = true
		}
	}
	for _, w := range sortedKeys(stuck) {
		reason := fmt.Sprintf("it did not cancel its tasks within %v", m.o.CancelTimeout)
		m.emit(DropWorker{Worker: w, Reason: reason})
		m.HandleWorkerLost(now, w, reason)
	}
}

// checkCanceled goes on once nothing of the regions that are down runs any more.
func (m *Machine) checkCanceled(now time.Time) {
	a := m.attempt
	if a == nil || a.phase != canceling {
		return
	}
	for _, r := range m.downRegions() {
		if !m.over(r) {
			return
		}
	}
	a.deadline = time.Time{}
	m.attempt = nil
	switch {
	case m.state == StateCancelling:
		m.end(now, snapshot.FinalCanceled, "")
	case m.fatal != nil:
		m.state = StateFailing // maybe it was to be restarted
		m.end(now, snapshot.FinalFailed, m.fatal.Error)
	case m.state == StateRestarting: // what was merged into the delay is over, too
		if m.waitsToRestart() && due(now, m.restartAt) {
			m.startAttempt(now)
		}
	default:
		m.decide(now)
	}
}

// decide asks the restart strategy.
func (m *Machine) decide(now time.Time) {
	d, counters := Decision{Restart: true}, m.heads.head.Restarts
	if !m.fallingBack { // else the way back is the restart
		d, counters = m.strategy.Failed(now, m.heads.head.Restarts, m.o.Rand)
	}
	m.fallingBack = false
	if !d.Restart {
		m.updateHead(now, func(h *snapshot.Head) { h.Restarts = counters }, nil)
		why := fmt.Sprintf("%s (not restarted: %s)", m.lastFailure.Error, d.Why)
		if m.allDown() {
			m.end(now, snapshot.FinalFailed, why)
			return
		}
		m.fatal = &Failure{At: now, Attempt: m.newest, Error: why, Fatal: true}
		m.takeDown(now, m.regions, checkpoint.ReasonTaskFailure, why)
		return
	}
	m.state, m.restartAt, m.restartSaved = StateRestarting, now.Add(d.Delay), false
	m.message = m.restartText(m.lastFailure.Error)
	m.updateHead(now, func(h *snapshot.Head) { h.Restarts = counters }, func(now time.Time) {
		m.restartSaved = true
		if m.waitsToRestart() && due(now, m.restartAt) {
			m.startAttempt(now)
		}
	})
}

// waitsToRestart says that the restart begins when its delay is over: it is counted in the head, and nothing is being canceled.
func (m *Machine) waitsToRestart() bool {
	return m.state == StateRestarting && m.restartSaved && m.attempt == nil && m.ending == nil
}

// checkFinished ends the job once all tasks have finished.
func (m *Machine) checkFinished(now time.Time) {
	a := m.attempt
	if a == nil || a.phase != up {
		return
	}
	for _, t := range m.tasks {
		if t.state != protocol.TaskFinished {
			return
		}
	}
	if m.snapshots.StopCommitting() {
		return // the job stops with it once it is in the head
	}
	final := snapshot.FinalFinished
	op, stopped := m.snapshots.FinishStop(now)
	if stopped {
		final = m.finalOfStop(&op)
	}
	m.attempt = nil
	m.snapshots.Suspend(now, checkpoint.ReasonShutdown, "the job has ended")
	m.pump(now)
	if stopped {
		m.end(now, final, "", op)
		return
	}
	m.end(now, final, "")
}
