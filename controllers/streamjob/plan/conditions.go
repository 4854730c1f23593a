// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// verdict is what the conditions say together.
type verdict struct {
	ready           bool
	reason, message string
	phase           streamv1.Phase
	// stalled and reconciling are mostly the opposite of ready; a running job that takes a savepoint is ready and reconciling.
	stalled, reconciling bool
	// cause is the part of the message that people are told of in an event; empty: all of it.
	cause string
}

// conditions derives the conditions and the phase from the status to write and what was observed.
func (p *planner) conditions() {
	v := p.verdict()
	if p.paused() {
		v = v.paused()
	}
	p.st.Phase = v.phase
	p.set(streamv1.ConditionReady, truth(v.ready), v.reason, v.message)
	if v.stalled {
		p.set(streamv1.ConditionStalled, metav1.ConditionTrue, v.reason, v.message)
	} else {
		p.set(streamv1.ConditionStalled, metav1.ConditionFalse, streamv1.ReasonNotStalled, "")
	}
	switch {
	case v.reconciling && v.ready:
		p.set(streamv1.ConditionReconciling, metav1.ConditionTrue, p.snapshotReason(), p.operationMessage())
	case v.reconciling:
		p.set(streamv1.ConditionReconciling, metav1.ConditionTrue, v.reason, v.message)
	case p.paused():
		p.set(streamv1.ConditionReconciling, metav1.ConditionFalse, streamv1.ReasonPaused, pausedText)
	case v.stalled:
		p.set(streamv1.ConditionReconciling, metav1.ConditionFalse, v.reason, "")
	default:
		p.set(streamv1.ConditionReconciling, metav1.ConditionFalse, streamv1.ReasonUpToDate, "")
	}
	p.tell(v)
	p.runningCondition()
	p.rolledBackCondition()
	p.checkpointsCondition()
	if d := p.st.Deployment; d != nil && d.Ended == streamv1.EndFinished {
		p.set(streamv1.ConditionCompleted, metav1.ConditionTrue, streamv1.ReasonCompleted, "All input was read to its end; the job is not run again")
	} else {
		p.set(streamv1.ConditionCompleted, metav1.ConditionFalse, streamv1.ReasonNotCompleted, "")
	}
}

// paused is what a verdict becomes while nothing is done: what would be under way waits.
func (v verdict) paused() verdict {
	if v.reconciling && !v.ready && !v.stalled {
		v.reason, v.message = streamv1.ReasonPaused, cut(pausedText+"; otherwise: "+v.message)
	}
	v.reconciling = false
	return v
}

// snapshotReason says which snapshot of a job that goes on is being taken.
func (p *planner) snapshotReason() string {
	if op := p.st.Operation; op != nil && op.Type == streamv1.CheckpointOperation {
		return streamv1.ReasonCheckpointing
	}
	return streamv1.ReasonSavepointing
}

// tell has people hear of what they have to change, when it is new. Rollbacks have events of their own.
func (p *planner) tell(v verdict) {
	reason, message := v.reason, cmp.Or(v.cause, v.message)
	switch t := p.podTrouble(); {
	case reason == streamv1.ReasonRolledBack:
		return
	case v.stalled:
	case v.ready && t != nil && live(p.st):
		reason, message = t.Reason, t.Message
	default:
		return
	}
	if slices.ContainsFunc(p.plan.Events, func(e Event) bool { return e.Reason == reason }) {
		return // said already, in words that fit the occasion
	}
	said := streamv1.ConditionStalled
	if !v.stalled {
		said = streamv1.ConditionReady
	}
	if c := apimeta.FindStatusCondition(p.was.Conditions, said); c != nil && strings.Contains(c.Message, message) {
		return
	}
	if v.cause != "" && message == v.cause {
		message = string(p.st.Operation.Type) + ": " + message
	}
	p.event(Warning, reason, Reconcile, message)
}

func truth(b bool) metav1.ConditionStatus {
	if b {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

func (p *planner) set(condition string, status metav1.ConditionStatus, reason, message string) {
	apimeta.SetStatusCondition(&p.st.Conditions, metav1.Condition{
		Type: condition, Status: status, Reason: reason, Message: message,
		ObservedGeneration: p.job.Generation, LastTransitionTime: Seconds(p.now),
	})
}

func (p *planner) verdict() verdict {
	switch {
	case p.job.DeletionTimestamp != nil:
		return verdict{reason: streamv1.ReasonDeleting, message: cmp.Or(p.operationMessage(), "The StreamJob is being deleted"), phase: streamv1.PhaseDeleting, reconciling: true}
	case p.blocked != nil:
		v := p.stall(p.blocked.Reason, p.blocked.Message)
		if !stalls(v.reason) { // it passes by itself
			v.stalled, v.reconciling = false, true
			if v.phase == streamv1.PhaseStalled {
				v.phase = streamv1.PhasePending
			}
		}
		return v
	case p.st.Operation != nil && p.st.Operation.Type != streamv1.SavepointOperation && p.st.Operation.Type != streamv1.CheckpointOperation:
		return p.operationVerdict(p.st.Operation)
	case p.invalid() != "":
		return p.stall(streamv1.ReasonInvalidSpec, p.invalid())
	case p.st.Operation != nil:
		v := p.liveVerdict()
		v.reconciling = !v.stalled
		return v
	case p.st.Deployment == nil && p.suspendWanted():
		return verdict{ready: true, reason: streamv1.ReasonSuspended, message: "The job has not been started", phase: streamv1.PhaseSuspended}
	case p.st.Deployment == nil && p.cancelWanted():
		return verdict{ready: true, reason: streamv1.ReasonCancelled, message: "The job has not been started", phase: streamv1.PhaseCancelled}
	case p.st.Deployment == nil:
		return verdict{reason: streamv1.ReasonPending, message: "The job has not been started", phase: streamv1.PhasePending, reconciling: true}
	case !live(p.st):
		return p.endedVerdict(p.st.Deployment.Ended)
	}
	return p.liveVerdict()
}

// stall is a verdict that asks for somebody to change something. What runs goes on meanwhile.
func (p *planner) stall(reason, message string) verdict {
	phase := streamv1.PhaseStalled
	if p.runsOn() && live(p.st) {
		phase = streamv1.PhaseRunning
	}
	return verdict{reason: reason, message: cut(message), phase: phase, stalled: true}
}

// phaseOfRunning is that of a job that has pods.
func (p *planner) phaseOfRunning() streamv1.Phase {
	if p.runsOn() {
		return streamv1.PhaseRunning
	}
	return streamv1.PhaseStarting
}

func (p *planner) endedVerdict(how streamv1.JobEnd) verdict {
	switch {
	case how == streamv1.EndFinished:
		return verdict{ready: true, reason: streamv1.ReasonCompleted, message: "All input was read to its end", phase: streamv1.PhaseCompleted}
	case how == streamv1.EndCancelled && p.cancelWanted():
		return verdict{ready: true, reason: streamv1.ReasonCancelled, message: "The job is cancelled" + p.leftOver(), phase: streamv1.PhaseCancelled}
	case how == streamv1.EndFailed && p.held() && p.st.Rollback.Outcome == streamv1.RollbackBlocked:
		v := p.stall(streamv1.ReasonRollbackBlocked, p.blockedText())
		v.phase = streamv1.PhaseFailed
		return v
	case how == streamv1.EndFailed && (p.st.Deployment.Revision == p.o.Revision || p.held()):
		return verdict{reason: streamv1.ReasonJobFailed, phase: streamv1.PhaseFailed, stalled: true, message: cut("The job failed for good: " + p.failure() +
			" (change the spec, or set spec.restartNonce to a new value, to start it again from its newest state)")}
	case how == streamv1.EndStopped && p.suspendWanted():
		return verdict{ready: true, reason: streamv1.ReasonSuspended, message: "The job is suspended" + p.goesOnFrom(), phase: streamv1.PhaseSuspended}
	default:
		return verdict{reason: streamv1.ReasonStarting, message: "The job is about to be started again", phase: streamv1.PhaseStarting, reconciling: true}
	}
}

// operationVerdict says how an operation is going.
func (p *planner) operationVerdict(op *streamv1.OperationReport) verdict {
	phase, reason := streamv1.PhaseUpgrading, streamv1.ReasonUpgrading
	switch {
	case op.Type == streamv1.SuspendOperation:
		phase, reason = streamv1.PhaseSuspending, streamv1.ReasonSuspending
	case op.Type == streamv1.CancelOperation:
		phase, reason = streamv1.PhaseCancelling, streamv1.ReasonCancelling
	case op.Type == streamv1.RollbackOperation:
		reason = streamv1.ReasonRollingBack
	case op.Phase == streamv1.OperationChecking:
		reason = streamv1.ReasonChecking
	case op.Phase == streamv1.OperationStarting:
		switch t := p.trouble(); {
		case t == nil:
		case p.rollbackTarget() == nil:
			return p.stall(t.Reason, t.Message)
		default:
			return verdict{reason: t.Reason, message: cut(t.Message + "; it is rolled back unless that passes"), phase: phase, reconciling: true}
		}
	}
	why := op.Reason
	if a := p.hindered; a != nil && a.Trouble != nil {
		why = a.Trouble.Reason
	}
	v := verdict{reason: cmp.Or(why, reason), message: p.operationMessage(), phase: phase, reconciling: true}
	if stalls(why) {
		v.stalled, v.reconciling = true, false
	}
	if why == op.Reason {
		v.cause = op.Message // the rest of the message is how often it was tried, and when it is again
	}
	return v
}

// operationMessage says what the operation in flight is doing, or ran into.
func (p *planner) operationMessage() string {
	op := p.st.Operation
	if op == nil {
		return ""
	}
	text := map[streamv1.OperationPhase]string{
		streamv1.OperationChecking:  "The new version is being checked" + p.besideOld(),
		streamv1.OperationWarming:   "The pods of the new version are being started" + p.besideOld(),
		streamv1.OperationSaving:    "A savepoint is being taken",
		streamv1.OperationFencing:   "The coordinator of the old version is being shut out",
		streamv1.OperationStarting:  "The new version is being started",
		streamv1.OperationWaiting:   "It is tried again",
		streamv1.OperationCanceling: "The job is being cancelled",
		streamv1.OperationDisposing: "The checkpoints are being deleted",
	}[op.Phase]
	switch {
	case op.Type == streamv1.CheckpointOperation && op.Phase == streamv1.OperationSaving:
		text = "A checkpoint is being taken"
	case op.Type == streamv1.RollbackOperation && p.st.Rollback != nil:
		text = p.rollbackText(op)
	}
	if op.Phase == streamv1.OperationWaiting && !op.RetryAt.IsZero() {
		text = "Attempt " + fmt.Sprint(op.Attempts) + " failed; it is tried again at " + op.RetryAt.UTC().Format("15:04:05")
	}
	if op.Phase == streamv1.OperationStarting {
		text += p.startWaits()
	}
	switch {
	case op.Message != "":
		text += ": " + op.Message
	case p.waits != "":
		text += "; " + p.waits
	}
	return cut(text + p.agentWaits(op))
}

// agentWaits says what keeps the agent pod from running that is waited for, unless the operation has taken that up.
func (p *planner) agentWaits(op *streamv1.OperationReport) string {
	switch a := p.hindered; {
	case a == nil:
		return ""
	case a.Trouble != nil && op.Reason != a.Trouble.Reason:
		return "; pod " + a.Name + " cannot run: " + a.Trouble.Message
	case a.Trouble == nil && a.Waits != "":
		return "; pod " + a.Name + ": " + a.Waits
	}
	return ""
}

// startWaits says what a version waits for that is being started; empty: nothing worth a word.
func (p *planner) startWaits() string {
	if !p.written() || p.running() {
		return ""
	}
	switch e := p.engine(); {
	case p.unreachable():
		return "; the coordinator does not answer: " + p.o.engineError()
	case e != nil && p.answers() && e.State == contract.JobWaiting && p.podsWait() == "":
		return fmt.Sprintf("; %d of %d worker slots are there", e.SlotsOffered, e.SlotsNeeded)
	case e != nil && p.answers() && e.State == contract.JobRestarting:
		return "; the tasks are restarted after a failure: " + p.failure()
	}
	return p.podsWait()
}

// unreachable says that the coordinator of the deployed version has not answered for long, though its pod waits for nothing.
func (p *planner) unreachable() bool {
	e := p.o.Engine
	if e == nil || e.Grant != p.was.Deployment.Grant || e.UnreachableSince.IsZero() || p.now.Sub(e.UnreachableSince) < patience {
		return false
	}
	return e.Status != nil || p.podsWait() == "" && len(p.deployed().Coordinator) > 0
}

// stalls says that a reason needs somebody to change something, even if it is tried again.
func stalls(reason string) bool {
	switch reason {
	case "", streamv1.ReasonPending, streamv1.ReasonSavepointFailed, streamv1.ReasonStorageUnavailable, streamv1.ReasonCoordinatorUnreachable,
		streamv1.ReasonRetainedState, streamv1.ReasonUpgrading, streamv1.ReasonSuspending, streamv1.ReasonChecking,
		streamv1.ReasonCancelling, streamv1.ReasonRollingBack, streamv1.ReasonCheckpointNotTaken, streamv1.ReasonDeletionDeadline:
		return false
	}
	return true
}

// neverReached says that a first version has not got through to its storage for a while: a wrong address is likelier than a server that is away.
func (p *planner) neverReached() bool {
	problem := p.problem()
	if problem == nil || problem.Reason != contract.StorageUnavailable || p.jobID() != "" || problem.Since.IsZero() {
		return false
	}
	left := reachPatience - p.now.Sub(problem.Since)
	if left > 0 {
		p.again(left)
	}
	return left <= 0
}

// trouble is what keeps the deployed version from running, the cause before its consequences.
func (p *planner) trouble() *Trouble {
	if t := p.deployed().Refused.trouble(); t != nil {
		return t
	}
	if problem := p.problem(); problem != nil {
		reason, message := Describe(problem)
		if problem.Reason == contract.Fenced && problem.HeadGrant > p.was.Grant {
			message += "; if nothing else runs this job any more, as when its status was restored from a backup, set spec.restartNonce to a new value to take it over"
		}
		if problem.Reason == contract.RestoreNotFound && p.spec.RestoreFrom != nil && p.jobID() == "" {
			message = "spec.restoreFrom: " + message + "; correct spec.restoreFrom.path, or name a StreamSnapshot in spec.restoreFrom.snapshot instead, and the job is started anew at once"
		}
		if problem.Reason == contract.StorageAccessDenied && p.readsSecret() {
			message += "; pods read the secret when they start: when it is right, set spec.restartNonce to a new value (kubectl weir restart " + p.job.Name + ")"
		}
		return &Trouble{Reason: reason, Message: cut(message)}
	}
	return p.podTrouble()
}

// readsSecret says that the credentials of the storage come from a secret.
func (p *planner) readsSecret() bool {
	s := p.spec.Storage
	return s != nil && s.S3 != nil && s.S3.CredentialsSecretRef != nil
}

// podTrouble is what keeps a container in a pod of the deployed version from running; nil: nothing does. While the tasks run, it is one of the user's own.
func (p *planner) podTrouble() *Trouble {
	v := p.deployed()
	for _, pod := range slices.Concat(v.Coordinator, v.Workers) {
		if pod.Trouble != nil {
			return &Trouble{Reason: pod.Trouble.Reason, Message: cut("Pod " + pod.Name + ": " + pod.Trouble.Message)}
		}
	}
	return nil
}

// podsWait says which pod of the deployed version waits, and for what; empty: none does.
func (p *planner) podsWait() string {
	v := p.deployed()
	for _, pod := range slices.Concat(v.Coordinator, v.Workers) {
		if pod.Waits != "" {
			return "; pod " + pod.Name + ": " + pod.Waits
		}
	}
	return ""
}

// liveVerdict is for a job that has pods and no operation in flight.
func (p *planner) liveVerdict() verdict {
	switch {
	case p.held() && p.backInPlace():
		return p.heldVerdict()
	case p.held() && p.st.Rollback.Outcome == streamv1.RollbackBlocked && !p.runsOn():
		return p.stall(streamv1.ReasonRollbackBlocked, p.blockedText())
	}
	return p.deployedVerdict()
}

// deployedVerdict says how the deployed version is, whichever it is.
func (p *planner) deployedVerdict() verdict {
	if p.written() && (p.wantsUpgrade() || p.stopWanted()) {
		return verdict{reason: streamv1.ReasonUpgrading, message: "The change of the spec is about to be carried out", phase: p.phaseOfRunning(), reconciling: true}
	}
	if p.runsOn() && p.written() && !p.policyInForce() {
		return verdict{reason: streamv1.ReasonConfiguring, message: "All tasks run; the change of the spec, which needs no restart, is about to be in force", phase: p.phaseOfRunning(), reconciling: true}
	}
	if p.runsOn() && p.written() {
		v := verdict{ready: true, reason: streamv1.ReasonRunning, message: "All tasks run", phase: streamv1.PhaseRunning}
		if t := p.podTrouble(); t != nil {
			v.message = cut(v.message + ", but not all of their pods' containers: " + t.Message)
		}
		return v
	}
	if p.written() {
		if t := p.trouble(); t != nil {
			v := p.stall(t.Reason, t.Message)
			if !stalls(t.Reason) && !p.neverReached() || p.rollbackTarget() != nil {
				v.stalled, v.reconciling, v.phase = false, true, streamv1.PhaseStarting
			}
			return v
		}
	}
	v := verdict{reason: streamv1.ReasonStarting, message: "The pods of the job are being started", phase: streamv1.PhaseStarting, reconciling: true}
	e := p.engine()
	switch {
	case !p.written():
	case p.unreachable():
		v.reason, v.message = streamv1.ReasonCoordinatorUnreachable, cut("The coordinator does not answer: "+p.o.engineError())
	case e == nil:
		v.message = cut(v.message + p.podsWait())
	case e.State == contract.JobWaiting:
		v.reason, v.message = streamv1.ReasonWaitingForWorkers, cut(fmt.Sprintf("%d of %d worker slots are there%s", e.SlotsOffered, e.SlotsNeeded, p.podsWait()))
	case e.State == contract.JobRestarting && e.StorageTrouble != nil:
		v.reason, v.phase = streamv1.ReasonStorageUnavailable, streamv1.PhaseRestarting
		v.message = cut("The tasks are restarted after a failure when storage has taken it down: " + e.StorageTrouble.Message)
	case e.State == contract.JobRestarting:
		v.reason, v.phase, v.message = streamv1.ReasonRestarting, streamv1.PhaseRestarting, cut("The tasks are restarted after a failure: "+p.failure())
	default:
		v.message = cut(cmp.Or(e.Message, fmt.Sprintf("The job is %s", e.State)))
	}
	return v
}

func (p *planner) runningCondition() {
	switch {
	case live(p.st) && p.running() && p.written():
		p.set(streamv1.ConditionRunning, metav1.ConditionTrue, streamv1.ReasonRunning, "")
	case live(p.st) && p.written() && p.justLost():
		// A coordinator that was just lost: the tasks may well run, and it is soon known.
		if apimeta.FindStatusCondition(p.st.Conditions, streamv1.ConditionRunning) == nil {
			p.set(streamv1.ConditionRunning, metav1.ConditionUnknown, streamv1.ReasonCoordinatorUnreachable, "")
		}
	case live(p.st) && p.written() && p.engine() != nil && !p.answers():
		p.set(streamv1.ConditionRunning, metav1.ConditionUnknown, streamv1.ReasonCoordinatorUnreachable, cut(p.o.engineError()))
	case live(p.st):
		p.set(streamv1.ConditionRunning, metav1.ConditionFalse, streamv1.ReasonStarting, "")
	default:
		p.set(streamv1.ConditionRunning, metav1.ConditionFalse, streamv1.ReasonNotRunning, "")
	}
}
