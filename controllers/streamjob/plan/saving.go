// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// outcome is that of a savepoint.
type outcome int

const (
	pending outcome = iota
	succeeded
	failed
	// lost means that the coordinator can't be asked any more.
	lost
)

// save drives the savepoint of an operation; stop says that the job is stopped with it.
func (p *planner) save(stop bool) outcome {
	op := p.st.Operation
	e := p.engine()
	if o := p.heardOf(op); o != nil && (p.answers() || o.Phase == contract.OperationSucceeded) {
		return p.judge(o)
	}
	if e != nil && p.answers() {
		ending := e.State == contract.JobSuspended // the coordinator, and not the job: the next one is asked
		if e.State.Ended() && !ending {
			op.Message = fmt.Sprintf("the job is %s", e.State)
			return lost
		}
		if e.Problem == nil && e.State != contract.JobStarting && e.State != contract.JobStandby && !ending && p.now.Before(op.Deadline.Time) {
			p.ask(stop)
		}
	}
	if !p.now.Before(op.Deadline.Time) {
		switch {
		case p.answers():
			p.failLate()
			return failed
		case p.silence() < patience:
			p.again(poll)
			return pending
		}
		return lost
	}
	if p.unreachable() {
		p.waits = "the coordinator does not answer: " + p.o.engineError()
	}
	p.again(min(poll, op.Deadline.Sub(p.now)))
	return pending
}

// failLate ends a try that the engine knows nothing of, or can't do anything about.
func (p *planner) failLate() {
	reason, what := p.failedWhat()
	message := "the " + what + " was not complete in time"
	if problem := p.problem(); problem != nil {
		var why string
		reason, why = Describe(problem)
		message += ": " + why
	}
	p.fail(reason, message)
}

// ask asks the engine for the savepoint; a repeat is no new request.
func (p *planner) ask(stop bool) {
	op := p.st.Operation
	timeout := contract.Duration(p.savepointTimeout())
	grant := p.was.Deployment.Grant
	if stop {
		p.do(Stop{Grant: grant, Request: contract.StopRequest{OperationID: op.ID, Timeout: timeout}})
		return
	}
	if op.Type == streamv1.CheckpointOperation {
		p.do(TakeCheckpoint{Grant: grant, Request: contract.CheckpointRequest{OperationID: op.ID}})
		return
	}
	target := ""
	if p.spec.Savepoint != nil {
		target = p.spec.Savepoint.Target
	}
	p.do(TakeSavepoint{Grant: grant, Request: contract.SavepointRequest{OperationID: op.ID, Target: target, Timeout: timeout}})
}

// judge takes the engine's word on the operation.
func (p *planner) judge(o *contract.Operation) outcome {
	op := p.st.Operation
	switch o.Phase {
	case contract.OperationSucceeded:
		op.Path, op.Reason, op.Message = o.Path, "", ""
		op.SaveMillis = p.sincePhase()
		if op.Type == streamv1.CheckpointOperation {
			p.checkpointTaken(o)
			return succeeded
		}
		if p.st.LastSavepoint == nil || p.st.LastSavepoint.ID < o.Checkpoint {
			p.st.LastSavepoint = &streamv1.SnapshotReport{ID: o.Checkpoint, Path: o.Path, CompletedAt: Seconds(o.EndedAt)}
		}
		p.event(Normal, "SavepointCompleted", string(op.Type), "Savepoint "+o.Path+" is complete")
		return succeeded
	case contract.OperationFailed:
		message := o.Error
		if o.Remedy != "" {
			message += " (" + o.Remedy + ")"
		}
		reason, what := p.failedWhat()
		p.fail(reason, "the "+what+" failed, and the job goes on: "+message)
		return failed
	default: // it is still under way, or a coordinator that was lost will be asked again
		p.overdue()
	}
	p.again(poll)
	return pending
}

// overdue says that a savepoint takes longer than it may. What becomes of it isn't known before the engine says so: a commit whose answer is lost
// may have happened, so nothing else can be begun.
func (p *planner) overdue() {
	op := p.st.Operation
	if p.now.Before(op.Deadline.Time) {
		return
	}
	reason, what := p.failedWhat()
	message := "the " + what + " is not complete in time, and it is not known yet what becomes of it; the job goes on"
	if why := p.engine().Message; why != "" {
		message += ": " + why
	}
	op.Reason, op.Message = reason, cut(message)
}

// saved goes on with an upgrade after its savepoint.
func (p *planner) saved(o outcome) {
	switch o {
	case succeeded:
		if p.stopWanted() {
			p.end(streamv1.EndStopped)
			return
		}
		p.launchCandidate("")
	case lost:
		if p.leaves() {
			p.enter(streamv1.OperationFencing) // nothing else shuts the old version out
			return
		}
		p.launchCandidate("no savepoint was completed: " + p.whyLost())
	case pending, failed:
	}
}

// failedWhat is the reason of a snapshot that fails, and what it is.
func (p *planner) failedWhat() (reason, what string) {
	if p.st.Operation.Type == streamv1.CheckpointOperation {
		return streamv1.ReasonCheckpointNotTaken, "checkpoint"
	}
	return streamv1.ReasonSavepointFailed, "savepoint"
}

// checkpointTaken takes up a checkpoint that was asked for.
func (p *planner) checkpointTaken(o *contract.Operation) {
	if p.st.LastCheckpoint == nil || p.st.LastCheckpoint.ID < o.Checkpoint {
		p.st.LastCheckpoint = &streamv1.SnapshotReport{ID: o.Checkpoint, Path: o.Path, CompletedAt: Seconds(o.EndedAt)}
		if e := p.engine(); e != nil && !e.Durable {
			p.st.LastCheckpoint.Path = ""
		}
	}
	p.event(Normal, "CheckpointCompleted", "Checkpoint", fmt.Sprintf("Checkpoint %d, which was asked for, is complete", o.Checkpoint))
}

func (p *planner) whyLost() string {
	if p.answers() {
		return p.st.Operation.Message
	}
	return "the coordinator of the old version does not answer: " + p.o.engineError()
}

func (o *Observation) engineError() string {
	if o.Engine == nil || o.Engine.Error == "" {
		return "it was not found"
	}
	return o.Engine.Error
}
