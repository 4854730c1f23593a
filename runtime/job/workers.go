// SPDX-License-Identifier: Apache-2.0

package job

import (
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
)

// HandleWorkerRegistered takes the first message of a worker on a connection. The machine answers with Registered or Refused.
func (m *Machine) HandleWorkerRegistered(now time.Time, r protocol.Register) {
	if m.exited {
		return
	}
	if f := m.o.Plan.Fingerprint; f != "" && r.Fingerprint != "" && f != r.Fingerprint {
		m.emit(Send{Worker: r.Worker, Message: protocol.ToWorker{Refused: fmt.Sprintf(
			"the worker builds another graph (%s) than the coordinator (%s): run the same program with the same configuration", r.Fingerprint, f)}})
		return
	}
	if _, there := m.workers[r.Worker]; there {
		m.HandleWorkerLost(now, r.Worker, "it registered again")
	}
	m.workers[r.Worker] = WorkerInfo{Name: r.Worker, Slots: r.Slots, DataAddr: r.DataAddr}
	if m.heads.claimed {
		m.greet(r.Worker)
		m.trySlots(now)
	}
}

// greet answers a registration; it waits until there is an epoch.
func (m *Machine) greet(worker string) {
	hello := m.o.Hello
	hello.Epoch = m.epoch
	m.emit(Send{Worker: worker, Message: protocol.ToWorker{Registered: &hello}})
}

// HandleWorkerLost says that the connection to a worker broke and it didn't come back in time, or that it was silent for too long.
func (m *Machine) HandleWorkerLost(now time.Time, worker, reason string) {
	if _, there := m.workers[worker]; m.exited || !there {
		return
	}
	delete(m.workers, worker)
	a := m.attempt
	if a == nil || a.tasks == nil {
		return
	}
	hit := false
	for _, id := range m.allTasks {
		if t := a.tasks[id]; t.worker == worker && !t.over() {
			t.state = protocol.TaskCanceled
			hit = true
		}
	}
	if !hit {
		return
	}
	if a.phase == canceling {
		m.checkCanceled(now)
		return
	}
	m.fail(now, Failure{Worker: worker, Error: fmt.Sprintf("worker %s was lost: %s", worker, reason)})
}

// HandleFromWorker takes a message of a worker. Heartbeats and registrations aren't for it.
func (m *Machine) HandleFromWorker(now time.Time, worker string, msg protocol.FromWorker) {
	if m.exited || m.snapshots == nil {
		return
	}
	switch {
	case msg.Status != nil:
		m.handleStatus(now, worker, msg.Status)
	case msg.Ack != nil:
		m.snapshots.HandleAck(now, *msg.Ack)
	case msg.Decline != nil:
		m.snapshots.HandleDecline(now, *msg.Decline)
	case msg.Notified != nil:
		m.snapshots.HandleNotified(now, *msg.Notified)
	case msg.EndOfData != nil:
		m.handleEndOfData(now, msg.EndOfData)
	}
	m.pump(now)
}

func (m *Machine) handleEndOfData(now time.Time, e *protocol.EndOfData) {
	if a := m.attempt; a == nil || a.id != e.Attempt || a.tasks[e.Task] == nil {
		return
	}
	m.attempt.tasks[e.Task].endOfData = true
	m.snapshots.HandleEndOfData(now, *e)
}

func (m *Machine) handleStatus(now time.Time, worker string, s *protocol.TaskStatus) {
	a := m.attempt
	if a == nil || a.id != s.Attempt || a.tasks == nil {
		return
	}
	t := a.tasks[s.Task]
	if t == nil || t.worker != worker || t.over() {
		return
	}
	t.state = s.State
	if a.phase == canceling {
		if s.State == protocol.TaskFailed && s.Fatal {
			m.fail(now, taskFailure(worker, s))
		}
		m.checkCanceled(now)
		return
	}
	switch s.State {
	case protocol.TaskDeploying, protocol.TaskRunning:
		m.checkRunning(now)
	case protocol.TaskFinished:
		if a.phase == up {
			m.snapshots.HandleFinished(now, s.Task)
			m.pump(now)
			m.checkFinished(now)
		} else {
			m.checkRunning(now)
		}
	case protocol.TaskFailed, protocol.TaskCanceled:
		m.fail(now, taskFailure(worker, s))
	}
}

// taskFailure describes the failure that a task reported.
func taskFailure(worker string, s *protocol.TaskStatus) Failure {
	text := s.Error
	if text == "" {
		text = "the worker ended the task"
	}
	return Failure{Task: s.Task, Worker: worker, Error: fmt.Sprintf("task %s: %s", s.Task, text), Fatal: s.Fatal}
}
