// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

type stopPhase uint8

const (
	stopQueued    stopPhase = iota // waits for its turn; periodic triggers are off
	stopSaving                     // its savepoint is in flight
	stopCommitted                  // the head names it; the tasks are told to commit and finish
)

// stopping is a stop with savepoint.
type stopping struct {
	operation snapshot.Operation
	phase     stopPhase
	snapshot  *pending
	// outstanding tasks have not answered the notification.
	outstanding map[protocol.TaskID]bool
	resendAt    time.Time
	// broken says why the attempt failed while the head was being swapped.
	broken string
}

// thaw repeats the notification that a stop was given up, until every task has answered: they are frozen.
type thaw struct {
	checkpoint  int64
	outstanding map[protocol.TaskID]bool
	resendAt    time.Time
}

// stopSaved goes on once the savepoint of a stop is in the head.
func (c *Coordinator) stopSaved(now time.Time, o snapshot.Operation) {
	s := c.stop
	s.operation, s.phase = o, stopCommitted
	if s.broken != "" || !c.running {
		c.stopFailed(now, s.broken)
		return
	}
	c.emit(Stopping{Operation: o})
	s.outstanding = map[protocol.TaskID]bool{}
	for _, t := range c.unfinished() {
		s.outstanding[t] = true
	}
	c.resendComplete(now)
}

// stopFailed records that the savepoint is complete but the job didn't stop with it.
func (c *Coordinator) stopFailed(now time.Time, why string) {
	o := c.stop.operation
	o.Outcome, o.At = snapshot.OutcomeStopFailed, now
	o.Error = fmt.Sprintf("the savepoint %s is complete, but the job did not stop with it and goes on from it: %s", o.Path, why)
	c.stop = nil
	c.update(&update{change: UpdateHead{Operation: &o}})
}

// FinishStop ends a stop whose tasks have all finished. The caller puts the operation that is returned into the head together with
// the end of the job, and answers it.
func (c *Coordinator) FinishStop(now time.Time) (snapshot.Operation, bool) {
	s := c.stop
	if s == nil || s.phase != stopCommitted {
		return snapshot.Operation{}, false
	}
	c.stop = nil
	o := s.operation
	o.Outcome, o.At = snapshot.OutcomeDone, now
	return o, true
}

// StopCommitting says that the savepoint of a stop is being swapped into the head: whether the job stops with it isn't known.
func (c *Coordinator) StopCommitting() bool {
	return c.stop != nil && c.stop.snapshot != nil && c.stop.snapshot.state == committing && c.stop.phase == stopSaving
}

// StopInProgress returns the stop whose savepoint is in the head while tasks are being told.
func (c *Coordinator) StopInProgress() (snapshot.Operation, bool) {
	if c.stop == nil || c.stop.phase != stopCommitted {
		return snapshot.Operation{}, false
	}
	return c.stop.operation, true
}

// notifyAborted tells the tasks that take part. Those of a stop are frozen, so it is repeated until they answer.
func (c *Coordinator) notifyAborted(now time.Time, p *pending) {
	ts := c.toldOf(p)
	if len(ts) == 0 {
		return
	}
	if p.request.stop != record.StopNone {
		t := &thaw{checkpoint: p.id, outstanding: map[protocol.TaskID]bool{}, resendAt: now.Add(c.o.ResendInterval)}
		for _, id := range ts {
			t.outstanding[id] = true
		}
		c.thaws = append(c.thaws, t)
	}
	c.emit(NotifyAborted{Checkpoint: p.id, LatestCompleted: c.lastCommitted, Tasks: ts})
}

// toldOf lists the tasks that hear what becomes of a snapshot: they run since before it was triggered.
func (c *Coordinator) toldOf(p *pending) []protocol.TaskID {
	return slices.DeleteFunc(c.unfinished(), func(id protocol.TaskID) bool { return c.tasks[id].attempt.Compare(p.attempt) > 0 })
}

// HandleNotified takes a task's answer to the notification of a snapshot that stops the job.
func (c *Coordinator) HandleNotified(_ time.Time, n protocol.Notified) {
	if !c.of(n.Task, n.Attempt) {
		return
	}
	if s := c.stop; s != nil && s.phase == stopCommitted && s.operation.Checkpoint == n.Checkpoint {
		delete(s.outstanding, n.Task)
	}
	for _, t := range c.thaws {
		if t.checkpoint == n.Checkpoint {
			delete(t.outstanding, n.Task)
		}
	}
	c.dropThawed()
}

// stopNotified takes the end of a task for its answer.
func (c *Coordinator) stopNotified(id protocol.TaskID) {
	if c.stop != nil {
		delete(c.stop.outstanding, id)
	}
	for _, t := range c.thaws {
		delete(t.outstanding, id)
	}
	c.dropThawed()
}

func (c *Coordinator) dropThawed() {
	c.thaws = slices.DeleteFunc(c.thaws, func(t *thaw) bool { return len(t.outstanding) == 0 })
}

// resend repeats the notifications of stops that were not answered.
func (c *Coordinator) resend(now time.Time) {
	if s := c.stop; s != nil && len(s.outstanding) > 0 && !now.Before(s.resendAt) {
		c.resendComplete(now)
	}
	for _, t := range c.thaws {
		if !now.Before(t.resendAt) {
			t.resendAt = now.Add(c.o.ResendInterval)
			c.emit(NotifyAborted{
				Checkpoint: t.checkpoint, LatestCompleted: c.lastCommitted, Tasks: slices.SortedFunc(maps.Keys(t.outstanding), compareTasks),
			})
		}
	}
}

func (c *Coordinator) resendComplete(now time.Time) {
	s := c.stop
	s.resendAt = now.Add(c.o.ResendInterval)
	if len(s.outstanding) > 0 {
		c.emit(NotifyComplete{
			Checkpoint: s.operation.Checkpoint, Stop: s.operation.Stop, Tasks: slices.SortedFunc(maps.Keys(s.outstanding), compareTasks),
		})
	}
}

// checkUnion finds union state of which only a part would be restored to subtasks that go on: some subtasks have finished and left
// nothing of it. A subtask that ended and still acknowledges, because it has to commit, leaves its part.
func checkUnion(o *snapshot.OperatorState) error {
	finished, gone, union := 0, 0, false
	for _, s := range o.Subtasks {
		if s.Finished {
			finished++
			if len(s.Lists) == 0 {
				gone++
			}
		}
		for _, l := range s.Lists {
			union = union || (l.Mode == operator.Union && len(l.Entries) > 0)
		}
	}
	if union && gone > 0 && finished < o.Parallelism {
		return fmt.Errorf("operator %q has union state, and %d of its %d subtasks have finished", o.Name, gone, o.Parallelism)
	}
	return nil
}
