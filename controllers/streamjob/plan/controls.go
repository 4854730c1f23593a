// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// paused says that an annotation keeps the operator from acting. A deletion is carried out all the same.
func (p *planner) paused() bool {
	return p.job.DeletionTimestamp == nil && p.job.Annotations[streamv1.AnnotationPaused] == "true"
}

// pausedText says so to people.
const pausedText = "Nothing is done because of the annotation " + streamv1.AnnotationPaused

// suspendWanted says that the job should be stopped with a savepoint, cancelWanted without one, stopWanted that it should not run.
func (p *planner) suspendWanted() bool { return p.spec.State == streamv1.StateSuspended }
func (p *planner) cancelWanted() bool  { return p.spec.State == streamv1.StateCancelled }
func (p *planner) stopWanted() bool    { return p.suspendWanted() || p.cancelWanted() }

// wantsUpgrade says that the deployed version is not what the spec asks for: another one, or the same started anew.
func (p *planner) wantsUpgrade() bool {
	if p.held() {
		return false
	}
	return p.o.Revision != p.was.Deployment.Revision || p.wantsRestart()
}

// wantsRestart says that the restart that spec.restartNonce asks for is not done and not under way.
func (p *planner) wantsRestart() bool {
	n := p.spec.RestartNonce
	return n != "" && n != p.was.RestartNonce && n != p.was.Deployment.RestartNonce
}

// consume remembers what the deployed version was the answer to, as soon as it runs.
func (p *planner) consume(e *contract.JobStatus) {
	d := p.st.Deployment
	if e.Epoch.Grant != d.Grant || e.State != contract.JobRunning && e.State != contract.JobFinished {
		return
	}
	if d.RestartNonce != "" {
		p.st.RestartNonce = d.RestartNonce
	}
	if d.DiscardState != "" {
		p.st.DiscardedState = d.DiscardState
	}
}

// trigger begins a savepoint or a checkpoint that was asked for.
func (p *planner) trigger() {
	if !p.running() {
		return
	}
	if s := p.spec.Savepoint; s != nil && s.Trigger != "" && s.Trigger != p.was.SavepointTrigger {
		p.begin(streamv1.SavepointOperation, streamv1.OperationSaving)
		p.st.Operation.Trigger = s.Trigger
		return
	}
	if c := p.spec.Checkpoint; c != nil && c.Trigger != "" && c.Trigger != p.was.CheckpointTrigger {
		p.begin(streamv1.CheckpointOperation, streamv1.OperationSaving)
		p.st.Operation.Trigger = c.Trigger
	}
}

// triggered says that the snapshot that an operation takes is still asked for.
func (p *planner) triggered(op *streamv1.OperationReport) bool {
	if op.Type == streamv1.CheckpointOperation {
		return p.spec.Checkpoint != nil && p.spec.Checkpoint.Trigger == op.Trigger
	}
	return p.spec.Savepoint != nil && p.spec.Savepoint.Trigger == op.Trigger
}

// driveSnapshot takes a savepoint or a checkpoint while the job goes on.
func (p *planner) driveSnapshot() {
	defer p.lookAgainIfDone()
	op := p.was.Operation
	if op.Phase == streamv1.OperationWaiting {
		if !p.triggered(op) || p.stopWanted() || p.wantsUpgrade() || p.invalid() != "" {
			p.drop()
		} else {
			p.retry(streamv1.OperationSaving)
		}
		return
	}
	switch p.save(false) {
	case succeeded:
		if op.Type == streamv1.CheckpointOperation {
			p.st.CheckpointTrigger = op.Trigger
		} else {
			p.st.SavepointTrigger = op.Trigger
		}
		p.drop()
	case lost:
		reason, what := p.failedWhat()
		p.fail(reason, "the "+what+" was not completed: "+p.whyLost())
	case pending, failed:
	}
}

// beginCancel begins to end a job that runs because the spec says so.
func (p *planner) beginCancel() {
	p.begin(streamv1.CancelOperation, streamv1.OperationCanceling)
	p.event(Normal, "Cancelling", "Cancel", "Cancelling the job because spec.state is Cancelled"+p.fateOfCheckpoints())
}

func (p *planner) fateOfCheckpoints() string {
	if p.disposes() {
		return "; its checkpoints are deleted, as checkpointing.retention.onCancel says"
	}
	return ""
}

// cancelEnded is for a job without pods that is to be cancelled.
func (p *planner) cancelEnded() {
	switch {
	case p.was.Deployment.Ended == streamv1.EndCancelled:
	case p.disposes():
		p.dispose()
	default:
		p.settleCancel()
	}
}

// driveCancel goes on with the end of a job whose StreamJob stays.
func (p *planner) driveCancel() {
	defer p.lookAgainIfDone()
	op := p.was.Operation
	switch {
	case op.Phase == streamv1.OperationDisposing:
		p.driveDisposing()
	case op.Phase == streamv1.OperationCanceling:
		p.driveCanceling()
	case op.Phase == streamv1.OperationFencing:
		p.fence(streamv1.EndCancelled)
	case !p.cancelWanted():
		p.drop()
	case live(p.was):
		p.retry(streamv1.OperationCanceling)
	default:
		p.retryDisposing()
	}
}

// settle ends a cancellation: a StreamJob that is being deleted is let go, another stays as one whose job is cancelled.
func (p *planner) settle() {
	if p.job.DeletionTimestamp != nil {
		p.release()
		return
	}
	p.settleCancel()
}

// settleCancel records that the job is cancelled.
func (p *planner) settleCancel() {
	deleted := p.disposes() && !p.remains
	p.end(streamv1.EndCancelled)
	note := "The job is cancelled"
	if deleted {
		p.st.LastCheckpoint = nil
		p.st.Deployment.CheckpointsDeleted = true
		note += "; its checkpoints are deleted"
	} else {
		note += p.goesOnFrom()
	}
	p.event(Normal, "Cancelled", "Cancel", note)
}

// leftOver says what a cancelled job left, and what it goes on from.
func (p *planner) leftOver() string {
	if !p.st.Deployment.CheckpointsDeleted {
		return p.goesOnFrom()
	}
	text := "; its checkpoints are deleted, and it begins empty when it is resumed"
	if p.spec.RestoreFrom != nil {
		text = "; its checkpoints are deleted, and it starts from spec.restoreFrom when it is resumed"
	}
	if saved := p.st.LastSavepoint; saved != nil {
		text += "; savepoint " + saved.Path + " stays, for another job to start from"
	}
	return text
}

// resumeReason says what a job that was ended goes on from, where that is not what one would expect.
func (p *planner) resumeReason() string {
	if p.was.Deployment.CheckpointsDeleted {
		return "its checkpoints were deleted when it was cancelled, as checkpointing.retention.onCancel says"
	}
	return ""
}

// pastDeadline says that the deletion has waited for a savepoint for as long as it may.
func (p *planner) pastDeadline() bool {
	d := p.spec.Deletion
	if d == nil || d.Deadline.Duration <= 0 || p.job.DeletionTimestamp == nil {
		return false
	}
	left := p.job.DeletionTimestamp.Add(d.Deadline.Duration).Sub(p.now)
	if left > 0 {
		p.again(left)
	}
	return left <= 0
}

// givesUpSavepoint says that this very pass ends the tries of a savepoint before the deletion: the engine gets another request, which
// asks for none.
func (p *planner) givesUpSavepoint() bool {
	op := p.st.Operation
	if p.spec.DeletionPolicy != streamv1.SavepointOnDeletion || !p.pastDeadline() || op.Reason == streamv1.ReasonDeletionDeadline || !live(p.was) {
		return false
	}
	p.event(Warning, "DeletedWithoutSavepoint", "Delete", fmt.Sprintf(
		"No savepoint was complete within spec.deletion.deadline, %v, so the job is cancelled without one", p.spec.Deletion.Deadline.Duration))
	op.Attempts++
	p.enter(streamv1.OperationCanceling)
	op.Reason, op.Message = streamv1.ReasonDeletionDeadline, ""
	p.again(poll)
	return true
}

// heardOf is what the coordinator said last of an operation, also when it doesn't answer now; nil: nothing.
func (p *planner) heardOf(op *streamv1.OperationReport) *contract.Operation {
	e := p.engine()
	if e == nil || op == nil {
		return nil
	}
	if i := slices.IndexFunc(e.Operations, func(o contract.Operation) bool { return o.ID == op.ID }); i >= 0 {
		return &e.Operations[i]
	}
	return nil
}

// done is the operation in flight as the engine told it, if it has succeeded; nil otherwise. That stays so, whatever becomes of the coordinator.
func (p *planner) done() *contract.Operation {
	if o := p.heardOf(p.st.Operation); o != nil && o.Phase == contract.OperationSucceeded {
		return o
	}
	return nil
}

// underWay says that the engine was at work on the operation in flight when it was last heard, or didn't know what becomes of it.
func (p *planner) underWay() bool {
	o := p.heardOf(p.was.Operation)
	return o != nil && o.Phase != contract.OperationSucceeded && o.Phase != contract.OperationFailed
}
