// SPDX-License-Identifier: Apache-2.0

package job

import (
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// fail ends the attempt: its tasks are canceled, then the restart strategy has the word. A failure while that is under way merges into it.
func (m *Machine) fail(now time.Time, f Failure) {
	if m.exited || m.ending != nil || m.attempt == nil {
		return
	}
	if m.attempt.phase == canceling {
		if f.Fatal && m.fatal == nil {
			f.At, f.Attempt = now, m.attempt.id
			m.fatal = &f
		}
		return
	}
	f.At, f.Attempt = now, m.attempt.id
	m.lastFailure = &f
	if f.Fatal {
		m.fatal = &f
	}
	m.state = StateFailing
	m.cancelAttempt(now, checkpoint.ReasonTaskFailure, f.Error)
}

// cancelAttempt stops snapshots and tasks.
func (m *Machine) cancelAttempt(now time.Time, r checkpoint.Reason, why string) {
	a := m.attempt
	a.phase = canceling
	a.readAgainAt = time.Time{}
	a.deadline = now.Add(m.o.CancelTimeout)
	m.stopDeadline = time.Time{}
	m.snapshots.Suspend(now, r, why)
	m.pump(now)
	m.cancelTasks()
	m.checkCanceled(now)
}

func (m *Machine) cancelTasks() {
	a := m.attempt
	if a.tasks == nil {
		return
	}
	m.toTasks(m.allTasks, func(id protocol.Attempt, _ []protocol.TaskID) protocol.ToWorker {
		return protocol.ToWorker{Cancel: &protocol.Cancel{Attempt: id}}
	})
}

// dropStuck gives up workers that don't cancel their tasks. Whatever they still do is of an old attempt and has no effect.
func (m *Machine) dropStuck(now time.Time) {
	stuck := map[string]bool{}
	for _, t := range m.attempt.tasks {
		if !t.over() {
			stuck[t.worker] = true
		}
	}
	for _, w := range sortedKeys(stuck) {
		reason := fmt.Sprintf("it did not cancel its tasks within %v", m.o.CancelTimeout)
		m.emit(DropWorker{Worker: w, Reason: reason})
		m.HandleWorkerLost(now, w, reason)
	}
}

// checkCanceled goes on once nothing of the attempt runs any more.
func (m *Machine) checkCanceled(now time.Time) {
	a := m.attempt
	for _, t := range a.tasks {
		if !t.over() {
			return
		}
	}
	a.deadline = time.Time{}
	m.attempt = nil
	if m.state == StateCancelling {
		m.end(now, snapshot.FinalCanceled, "")
		return
	}
	if m.fatal != nil {
		m.end(now, snapshot.FinalFailed, m.fatal.Error)
		return
	}
	d, counters := m.strategy.Failed(now, m.heads.head.Restarts, m.o.Rand)
	if !d.Restart {
		m.updateHead(now, func(h *snapshot.Head) { h.Restarts = counters }, nil)
		m.end(now, snapshot.FinalFailed, fmt.Sprintf("%s (not restarted: %s)", m.lastFailure.Error, d.Why))
		return
	}
	m.state, m.restartAt, m.restartSaved = StateRestarting, now.Add(d.Delay), false
	m.message = fmt.Sprintf("restarting after: %s", m.lastFailure.Error)
	m.updateHead(now, func(h *snapshot.Head) { h.Restarts = counters }, func(now time.Time) {
		m.restartSaved = true
		if m.state == StateRestarting && due(now, m.restartAt) {
			m.startAttempt(now)
		}
	})
}

// checkFinished ends the job once all tasks have finished.
func (m *Machine) checkFinished(now time.Time) {
	a := m.attempt
	if a == nil || a.phase != up {
		return
	}
	for _, t := range a.tasks {
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
