// SPDX-License-Identifier: Apache-2.0

package job

import (
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
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
	for i := range m.placed {
		if m.placed[i].Worker == worker {
			m.placed[i] = protocol.Placement{}
		}
	}
	var hit []*region
	for _, r := range m.regions {
		if m.loseTasks(r, worker) {
			hit = append(hit, r)
		}
	}
	if len(hit) == 0 {
		return
	}
	m.fail(now, Failure{Worker: worker, Error: fmt.Sprintf("worker %s was lost: %s", worker, snapshot.CutText(reason, snapshot.MaxText))}, hit...)
	m.checkCanceled(now)
}

// loseTasks counts the tasks of a region on a worker as canceled, and says whether any ran there.
func (m *Machine) loseTasks(r *region, worker string) bool {
	hit := false
	for _, id := range r.tasks {
		if t := m.tasks[id]; t != nil && t.worker == worker && !t.over() {
			t.state = protocol.TaskCanceled
			hit = true
		}
	}
	return hit
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
	t := m.tasks[e.Task]
	if t == nil || m.regionOf(e.Task).attempt != e.Attempt {
		return
	}
	t.endOfData = true
	m.snapshots.HandleEndOfData(now, *e)
}

func (m *Machine) handleStatus(now time.Time, worker string, s *protocol.TaskStatus) {
	t := m.tasks[s.Task]
	if t == nil || t.worker != worker || t.over() {
		return
	}
	r := m.regionOf(s.Task)
	if r.attempt != s.Attempt {
		return
	}
	t.state = s.State
	if r.down && m.attempt != nil && m.attempt.phase == canceling {
		if s.State == protocol.TaskFailed && s.Fatal {
			m.fail(now, m.taskFailure(worker, s), r)
		}
		m.checkCanceled(now)
		return
	}
	switch s.State {
	case protocol.TaskDeploying, protocol.TaskRunning:
		m.checkRunning(now)
	case protocol.TaskFinished:
		m.snapshots.HandleFinished(now, s.Task)
		m.pump(now)
		m.checkRunning(now)
		m.checkFinished(now)
	case protocol.TaskFailed, protocol.TaskCanceled:
		m.fail(now, m.taskFailure(worker, s), r)
	}
}
