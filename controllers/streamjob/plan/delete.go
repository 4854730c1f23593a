// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// delete is for a StreamJob that is being deleted: the job is cancelled, then its checkpoints are deleted if the spec says so,
// then the finalizer goes. Nothing here waits for ever unless the spec asks for a savepoint that can't be taken.
func (p *planner) delete() {
	if d := p.spec.Deletion; d != nil && d.Force {
		p.forceDelete()
		return
	}
	op := p.was.Operation
	if op == nil || op.Type != streamv1.CancelOperation {
		p.beginDelete()
		return
	}
	if p.givesUpSavepoint() {
		return
	}
	switch op.Phase {
	case streamv1.OperationCanceling:
		if !p.savesFirst() && p.overdueDeletion() {
			p.drop() // the savepoint that it waits for isn't asked for any more
			p.again(poll)
			return
		}
		p.driveCanceling()
	case streamv1.OperationDisposing:
		p.driveDisposing()
	default:
		if !live(p.was) {
			p.retryDisposing()
			return
		}
		if !p.savesFirst() || op.Generation != p.job.Generation {
			p.drop()
			p.again(poll)
			return
		}
		p.retry(streamv1.OperationCanceling)
	}
}

// forceDelete lets a StreamJob go without having asked anybody.
func (p *planner) forceDelete() {
	if live(p.was) {
		p.event(Warning, "ForcedDeletion", "Delete", "The StreamJob is let go at once, as spec.deletion.force says: nobody was asked to end the job, and its state stays as it is")
	}
	p.release()
}

func (p *planner) beginDelete() {
	switch {
	case p.was.Deployment == nil:
		p.release()
	case live(p.was):
		p.begin(streamv1.CancelOperation, streamv1.OperationCanceling)
		p.event(Normal, "Cancelling", "Delete", "Cancelling the job because its StreamJob is being deleted")
		if p.spec.DeletionPolicy == streamv1.SavepointOnDeletion && p.spec.Storage == nil {
			p.event(Warning, "DeletedWithoutSavepoint", "Delete", "The job runs without storage, so it is cancelled without the savepoint that spec.deletionPolicy "+
				"asks for: its state goes with it")
		}
	case p.was.Deployment.Ended == streamv1.EndCancelled && (p.st.LastCheckpoint == nil || p.was.Phase == streamv1.PhaseDeleting):
		p.release() // they were deleted, or there are none, or it was told that they stay
	default: // also of a job that was cancelled when its checkpoints were to stay
		p.afterEnd()
	}
}

// savesFirst says that the job is not given up without a savepoint.
func (p *planner) savesFirst() bool {
	return p.job.DeletionTimestamp != nil && p.spec.DeletionPolicy == streamv1.SavepointOnDeletion && !p.pastDeadline() &&
		p.spec.Storage != nil && p.st.Job != nil && p.st.Job.ID != ""
}

// disposes says that the checkpoints go with the job.
func (p *planner) disposes() bool {
	c := p.spec.Checkpointing
	return c != nil && c.Retention != nil && c.Retention.OnCancel == streamv1.DeleteOnCancel &&
		p.spec.Storage != nil && p.st.Job != nil && p.st.Job.ID != "" && !p.o.NamespaceEnding
}

// driveCanceling has the engine end the job.
func (p *planner) driveCanceling() {
	op := p.st.Operation
	e := p.engine()
	if e != nil && (p.answers() || p.done() != nil) {
		if p.canceled(e) {
			return
		}
	}
	if p.shutOut() {
		p.endWithoutSavepoint()
		return
	}
	p.restore()
	if p.savesFirst() && p.unsettled() {
		p.again(poll)
		return
	}
	// A job that never got past its first problem has nothing to cancel.
	unused := (p.st.Job == nil || p.st.Job.ID == "") && (e == nil || p.problem() != nil)
	if unused || !p.now.Before(op.Deadline.Time) || p.goneForGood() {
		p.notCanceled(unused)
		return
	}
	if p.silent() {
		p.waits = "waiting for its coordinator, which does not answer"
		if !p.o.NamespaceEnding {
			p.waits += fmt.Sprintf(", for up to %v", cancelPatience)
		}
	}
	p.again(min(poll, op.Deadline.Sub(p.now)))
}

// silent says that the coordinator was asked in vain.
func (p *planner) silent() bool { return p.o.Engine != nil && !p.o.Engine.UnreachableSince.IsZero() }

// goneForGood says that the coordinator has gone with the pods of a namespace that is being deleted: it doesn't come back.
func (p *planner) goneForGood() bool {
	return p.o.NamespaceEnding && p.silent() && p.silence() >= endingPatience
}

// restore stores the revision of a version whose job is still to be stopped with a savepoint, if it is gone: the garbage collector deletes all objects of a StreamJob that is
// deleted in the foreground. They are made again, and the job goes on from its newest checkpoint to take the savepoint.
func (p *planner) restore() {
	if !p.savesFirst() || !live(p.was) || p.o.NamespaceEnding || p.deployed().Stored != nil || p.storesLost() {
		return
	}
	if v := p.sameAsDeployed(); v.Stored != nil {
		p.do(p.ids(Store{Grant: p.was.Deployment.Grant, From: v.Grant, RewindTo: p.goesBackTo()}))
	}
}

// unsettled says that it isn't known yet what becomes of the savepoint before the deletion: the engine is at work on it or was just asked, doesn't answer, or
// may soon be able to say. Nothing else is begun before it is, and the engine is asked by the same name again; that it takes long is told.
func (p *planner) unsettled() bool {
	op := p.st.Operation
	if p.answers() && op.Reason == streamv1.ReasonCoordinatorUnreachable {
		p.enter(streamv1.OperationCanceling) // a coordinator that is back has as long as at first
		op.Reason, op.Message = "", ""
	}
	asked := slices.ContainsFunc(p.plan.Actions, func(a Action) bool { _, ok := a.(Cancel); return ok })
	reason, deadline := streamv1.ReasonSavepointFailed, op.PhaseStartedAt.Add(p.savepointTimeout()+answerGrace)
	switch {
	case !p.answers():
		reason, deadline = streamv1.ReasonCoordinatorUnreachable, op.Deadline.Time
		if p.goneForGood() {
			return false
		}
		if p.silence() < patience {
			return true
		}
	case !p.underWay() && !asked:
		return p.now.Sub(op.DownSince.Time) < cancelPatience
	}
	if p.now.Before(deadline) {
		return true
	}
	if p.o.NamespaceEnding {
		return false
	}
	if op.Reason != reason {
		p.event(Warning, reason, "Delete", "The savepoint before the deletion is not complete in time: "+p.whyNot())
	}
	op.Reason, op.Message = reason, cut("the savepoint before the deletion is not complete in time, and it is not known yet what becomes of it: "+p.whyNot()+
		" (set spec.deletionPolicy to Cancel to delete the job without one)")
	return true
}

// overdueDeletion says that a savepoint before the deletion takes long.
func (p *planner) overdueDeletion() bool {
	reason := p.was.Operation.Reason
	return reason == streamv1.ReasonSavepointFailed || reason == streamv1.ReasonCoordinatorUnreachable
}

// shutOut says that an agent pod of this StreamJob has the job, as for a suspension that the deletion takes the place of: its coordinator won't ever do
// anything again.
func (p *planner) shutOut() bool {
	return p.job.DeletionTimestamp != nil && p.outranked() && p.problem().HeadGrant <= p.was.Grant
}

// endWithoutSavepoint ends a job whose coordinator was shut out. What it goes on from is in storage.
func (p *planner) endWithoutSavepoint() {
	if p.savesFirst() && !p.disposes() {
		p.event(Warning, "DeletedWithoutSavepoint", "Delete", "The job was shut out before a savepoint was taken, which spec.deletionPolicy asks for; its checkpoints stay"+savedAt(p.st))
	}
	p.end(streamv1.EndCancelled)
	p.afterEnd()
}

// canceled asks the engine and takes its answer; true when that settles it.
func (p *planner) canceled(e *contract.JobStatus) bool {
	op := p.st.Operation
	o := p.heardOf(op)
	switch {
	case o != nil && o.Phase == contract.OperationSucceeded && p.disposes() && !e.State.Ended():
		// The end is in the head, and the engine is deleting the checkpoints: its pods stay until it has.
		if p.now.Before(op.Deadline.Time) {
			return false
		}
		p.end(streamv1.EndCancelled)
		p.afterEnd()
		return true
	case o != nil && o.Phase == contract.OperationSucceeded:
		if path := o.Path; path != "" {
			p.event(Normal, "SavepointCompleted", "Delete", "Savepoint "+path+" is complete")
		}
		p.settleEnd()
		return true
	case e.State == contract.JobSuspended: // the coordinator is being ended, and the job isn't: the next one is asked
	case o != nil && o.Phase == contract.OperationFailed && p.savesFirst() && !e.State.Ended():
		p.fail(streamv1.ReasonSavepointFailed, "the savepoint before the deletion failed, and the job goes on: "+o.Error+
			" (set spec.deletionPolicy to Cancel to delete the job without one)")
		return true
	case e.State == contract.JobCancelled || e.State == contract.JobFinished:
		p.settleEnd() // the engine has done what retention says
		return true
	case e.State.Ended():
		p.end(streamv1.EndCancelled)
		p.afterEnd()
		return true
	case o == nil && e.Problem == nil && e.State != contract.JobStarting:
		request := contract.CancelRequest{OperationID: op.ID}
		if p.savesFirst() {
			request.Savepoint, request.Timeout = true, contract.Duration(p.savepointTimeout())
		}
		p.do(Cancel{Grant: p.was.Deployment.Grant, Request: request})
	}
	return false
}

// notCanceled is for a coordinator that can't be asked.
func (p *planner) notCanceled(unused bool) {
	if p.savesFirst() && !unused && !p.o.NamespaceEnding {
		p.fail(streamv1.ReasonSavepointFailed, "no savepoint before the deletion could be taken: "+p.whyNot()+
			" (set spec.deletionPolicy to Cancel to delete the job without one)")
		return
	}
	if !unused {
		p.event(Warning, "NotCancelled", "Delete", "The job ends without its coordinator having answered: "+p.whyNot())
	}
	if p.job.DeletionTimestamp == nil && !unused && !p.outranked() && p.spec.Storage != nil && p.st.Job != nil && p.st.Job.ID != "" {
		p.enter(streamv1.OperationFencing) // what its pods do next must not count any more
		return
	}
	p.end(streamv1.EndCancelled)
	p.afterEnd()
}

// settleEnd is for a job that its engine has cancelled, and has deleted the checkpoints of as retention said, as far as it had heard.
func (p *planner) settleEnd() {
	if had := p.engine().PolicyRevision; p.disposes() && had != "" && had != p.o.PolicyRevision {
		p.end(streamv1.EndCancelled)
		p.afterEnd()
		return
	}
	if p.job.DeletionTimestamp != nil {
		p.end(streamv1.EndCancelled)
		if p.disposes() {
			p.st.LastCheckpoint = nil
		}
	}
	p.settle()
}

func (p *planner) whyNot() string {
	if problem := p.problem(); problem != nil {
		_, message := Describe(problem)
		return message
	}
	if e := p.engine(); e != nil && p.answers() {
		why := fmt.Sprintf("the job is %s", e.State)
		if e.Message != "" {
			why += ": " + e.Message // such as a storage that it waits for
		}
		return why
	}
	return "the coordinator does not answer: " + p.o.engineError()
}

// afterEnd deletes checkpoints of a job without pods, if they go with it.
func (p *planner) afterEnd() {
	if !p.disposes() || p.was.Deployment.Ended == streamv1.EndFinished {
		p.settle()
		return
	}
	if p.savesFirst() && p.onlyCheckpoints() {
		p.event(Warning, "CheckpointsRemain", "Delete", "The job ended without a savepoint, which spec.deletionPolicy asks for, so its checkpoints stay; the newest is "+p.st.LastCheckpoint.Path)
		p.remains = true
		p.settle()
		return
	}
	p.dispose()
}

// dispose begins to delete the checkpoints of a job that has ended. What that takes is made once this is written, so that the time for it has begun.
func (p *planner) dispose() {
	p.begin(streamv1.CancelOperation, streamv1.OperationDisposing)
	p.again(soon)
}

// onlyCheckpoints says that no savepoint holds the newest state of the job.
func (p *planner) onlyCheckpoints() bool {
	saved, checkpoint := p.st.LastSavepoint, p.st.LastCheckpoint
	return checkpoint != nil && (saved == nil || saved.ID < checkpoint.ID)
}

func (p *planner) driveDisposing() {
	before := len(p.plan.Actions)
	if p.version(p.was.Grant).Stored == nil {
		p.storeAgain(p.was.Grant)
		p.again(shortly)
	} else {
		agent := p.agent(RunAgent{Task: DisposeTask, Revision: p.was.Grant, Grant: p.was.Grant})
		if agent != nil && agent.Ended {
			p.disposed(agent)
			return
		}
	}
	if p.tookTooLong() {
		p.plan.Actions = p.plan.Actions[:before] // what can't be made must not keep the end from being written
	}
	if !p.givesUpDisposing("the agent pod did not come to an end") {
		p.again(poll)
	}
}

func (p *planner) disposed(agent *Agent) {
	if agent.Result != nil && agent.Result.OK {
		p.event(Normal, "CheckpointsDeleted", "Delete", fmt.Sprintf("Deleted %d objects of checkpoints", agent.Result.Deleted))
		p.settle()
		return
	}
	reason, message := streamv1.ReasonInternal, agent.Message
	if agent.Result != nil {
		reason, message = Describe(agent.Result.Problem)
	}
	if !p.givesUpDisposing(message) {
		p.fail(reason, "deleting the checkpoints of the job: "+message)
	}
}

func (p *planner) retryDisposing() {
	if p.givesUpDisposing(p.was.Operation.Message) {
		return
	}
	p.retry(streamv1.OperationDisposing)
	if p.st.Operation.Phase == streamv1.OperationDisposing {
		p.again(soon)
	}
}

// tookTooLong says that the checkpoints are not waited for any more.
func (p *planner) tookTooLong() bool {
	return p.now.Sub(p.was.Operation.StartedAt.Time) >= disposePatience || p.o.NamespaceEnding
}

// givesUpDisposing lets the StreamJob go without its checkpoints once that has taken too long.
func (p *planner) givesUpDisposing(why string) bool {
	if !p.tookTooLong() {
		return false
	}
	p.event(Warning, "CheckpointsRemain", "Delete", "The checkpoints of the job could not be deleted and remain in storage: "+why)
	p.remains = true
	p.settle()
	return true
}

// release lets the StreamJob go. That the job has ended is written down before its objects are deleted: otherwise an operator that is
// killed in between would leave the next one to make them again, and to cancel a second time.
func (p *planner) release() {
	if live(p.was) {
		p.st.Deployment.Ended = streamv1.EndCancelled
		p.again(soon)
		return
	}
	p.released = true
}
