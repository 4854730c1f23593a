// SPDX-License-Identifier: Apache-2.0

package job

import (
	"cmp"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// ending is the end of the job under way.
type ending struct {
	final snapshot.Final
	// replies are given once the end is in the head.
	replies []snapshot.Operation
	saved   bool
	// deleting are the tokens of what is deleted; deadline bounds the wait.
	deleting map[int64]bool
	deadline time.Time
}

// end puts the end of the job into the head, then deletes what retention says, then exits.
func (m *Machine) end(now time.Time, final snapshot.FinalState, why string, replies ...snapshot.Operation) {
	e := &ending{final: snapshot.Final{State: final, Error: snapshot.CutText(why, snapshot.MaxHeadText), At: now}, replies: replies, deleting: map[int64]bool{}}
	m.ending, m.message = e, ""
	if m.cancel != nil {
		op := *m.cancel
		op.Outcome, op.At = snapshot.OutcomeDone, now
		if final != snapshot.FinalCanceled {
			op.Outcome, op.Error = snapshot.OutcomeFailed, "the job ended before it was canceled: "+string(final)
		}
		e.replies = append(e.replies, op)
	}
	var doomed []snapshot.CompletedCheckpoint
	m.updateHead(now, func(h *snapshot.Head) {
		h.Final = &e.final
		for _, op := range e.replies {
			h.SetOperation(op)
		}
		gone := len(h.Checkpoints) - m.keeps(final, len(h.Checkpoints))
		doomed, h.Checkpoints = h.Checkpoints[:gone], h.Checkpoints[gone:]
		if m.deletes(final) {
			h.NamedState = false // the user asked for it: the next start may be empty
			h.LeaveBehind(doomed)
			h.DropOrigin()
		}
	}, func(now time.Time) {
		e.saved = true
		for _, op := range e.replies {
			m.answer(op)
		}
		for token := range m.deletions.underway { // of savepoints that were given up nobody else deletes anything
			e.deleting[token] = true
		}
		for _, c := range doomed {
			m.deleteAtEnd(DeleteObjects{Prefix: c.Path})
		}
		m.deleteShared(doomed)
		m.deleteAllOwed()
		e.deadline = now.Add(m.o.CleanupTimeout)
	})
}

// over says that the end of the job is in the head, and that nothing is being deleted any more.
func (e *ending) over() bool { return e != nil && e.saved && len(e.deleting) == 0 }

// keeps says how many of n checkpoints outlast the end of the job.
func (m *Machine) keeps(final snapshot.FinalState, n int) int {
	switch {
	case m.deletes(final):
		return 0
	case final == snapshot.FinalFinished:
		return min(n, 1)
	default:
		return n
	}
}

// deletes says whether the end of the job takes its checkpoints along.
func (m *Machine) deletes(final snapshot.FinalState) bool {
	c := m.o.Config.Checkpointing
	return c != nil && c.DeleteOnCancel && (final == snapshot.FinalFinished || final == snapshot.FinalCanceled)
}

// leave exits after the end is in the head.
func (m *Machine) leave() {
	m.exitFinal(&m.ending.final)
}

// finalOfStop says how a job ends that was stopped with a savepoint; for a cancel with savepoint it turns the operation into that.
func (m *Machine) finalOfStop(op *snapshot.Operation) snapshot.FinalState {
	switch {
	case op.ID == m.cancelWith:
		return snapshot.FinalCanceled
	case op.Stop == record.StopDrain:
		return snapshot.FinalFinished
	default:
		return snapshot.FinalSuspended
	}
}

// answer replies to an operation.
func (m *Machine) answer(op snapshot.Operation) {
	if op.ID == m.cancelWith && op.Outcome != snapshot.OutcomeStopping {
		m.cancelWith = ""
		op.Type = snapshot.OperationCancel
	}
	m.emit(Reply{Operation: op})
}

// HandleSavepoint takes a request for a savepoint, which may stop the job. A Reply with the operation id follows, at the latest
// with Exit. A repeat of an id is no new request.
func (m *Machine) HandleSavepoint(now time.Time, r checkpoint.SavepointRequest) {
	typ := snapshot.OperationSavepoint
	if r.Stop != record.StopNone {
		typ = snapshot.OperationStop
	}
	if m.early(now, r.Operation, typ) {
		return
	}
	m.snapshots.RequestSavepoint(now, r)
	m.pump(now)
}

// HandleCheckpoint takes a request for a checkpoint now.
func (m *Machine) HandleCheckpoint(now time.Time, operation string) {
	if m.early(now, operation, snapshot.OperationCheckpoint) {
		return
	}
	m.snapshots.RequestCheckpoint(now, operation)
	m.pump(now)
}

// early answers what comes before the head is claimed, or when the job is ending.
func (m *Machine) early(now time.Time, operation string, typ snapshot.OperationType) bool {
	if m.exited {
		return true
	}
	if m.snapshots != nil && m.ending == nil && m.state != StateCancelling {
		return false
	}
	if op, ok := m.heads.head.Operation(operation); ok && op.Outcome != snapshot.OutcomeStopping {
		m.emit(Reply{Operation: op})
		return true
	}
	why := "the job is starting: ask again when it runs"
	if m.snapshots != nil {
		why = "the job is ending"
	}
	m.emit(Reply{Operation: snapshot.Operation{ID: operation, Type: typ, Outcome: snapshot.OutcomeFailed, Error: why, At: now}})
	return true
}

// CancelRequest asks to cancel the job.
type CancelRequest struct {
	// Operation is its id.
	Operation string
	// Savepoint takes one first, below Target and within Timeout; see [checkpoint.SavepointRequest].
	Savepoint bool
	Target    string
	Timeout   time.Duration
}

// HandleCancel takes a request to cancel the job, after a savepoint if that is asked for.
func (m *Machine) HandleCancel(now time.Time, r CancelRequest) {
	operation := r.Operation
	if err := checkpoint.CheckOperationID(operation); err != nil {
		m.emit(Reply{Operation: snapshot.Operation{
			ID: operation, Type: snapshot.OperationCancel, Outcome: snapshot.OutcomeFailed, Error: err.Error(), At: now,
		}})
		return
	}
	if m.cancel != nil && m.cancel.ID == operation {
		return
	}
	if m.early(now, operation, snapshot.OperationCancel) {
		return
	}
	if op, ok := m.heads.head.Operation(operation); ok {
		m.emit(Reply{Operation: op})
		return
	}
	if r.Savepoint {
		if m.cancelWith == "" {
			m.cancelWith = operation
		}
		m.snapshots.RequestSavepoint(now, checkpoint.SavepointRequest{
			Operation: operation, Target: r.Target, Stop: record.StopFreeze, Timeout: r.Timeout,
		})
		m.pump(now)
		return
	}
	m.cancel = &snapshot.Operation{ID: operation, Type: snapshot.OperationCancel}
	m.state, m.message = StateCancelling, ""
	if m.attempt == nil && m.allDown() {
		m.end(now, snapshot.FinalCanceled, "")
		return
	}
	m.takeDown(now, m.regions, checkpoint.ReasonSuspended, "the job was canceled")
}

// Status returns a copy of what is known.
func (m *Machine) Status(now time.Time) Status {
	h := &m.heads.head
	s := Status{
		State: m.state, Message: cmp.Or(m.heads.trouble, m.message), JobID: m.o.Config.JobID, Epoch: m.epoch, Restarts: h.Restarts.Total,
		SlotsNeeded: m.o.Plan.Slots, SlotsOffered: m.slots(),
		Completed: h.Clone().Checkpoints, Operations: h.Clone().Operations,
	}
	if m.heads.trouble != "" {
		s.Trouble, s.TroubleSince = m.heads.trouble, m.heads.troubleSince
	}
	if m.lastFailure != nil {
		s.LastFailure = new(*m.lastFailure)
	}
	if m.restored != nil {
		s.Restored, s.Taken = new(*m.restored), m.taken
		s.StartedAt = m.restored.At
	}
	for _, n := range sortedKeys(m.workers) {
		s.Workers = append(s.Workers, m.workers[n])
	}
	s.Attempt = m.newest
	for _, id := range m.allTasks {
		if t := m.tasks[id]; t != nil {
			s.Tasks = append(s.Tasks, TaskInfo{Task: id, Attempt: m.regionOf(id).attempt, State: t.state, Worker: t.worker, EndOfData: t.endOfData})
		}
	}
	for _, r := range m.regions {
		s.Regions = append(s.Regions, RegionInfo{
			Name: r.name, Vertices: slices.Clone(r.vertices), Attempt: r.attempt, Down: r.down, Restarts: max(r.deployments-1, 0),
		})
	}
	if m.snapshots != nil {
		s.Checkpoints, s.Pending, s.History = m.snapshots.Summary(), m.snapshots.Pending(now), m.snapshots.History()
	}
	return s
}
