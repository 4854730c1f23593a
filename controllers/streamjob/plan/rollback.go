// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

const (
	// defaultMaxRestarts is how many restarts a version may need before it is stable when the spec doesn't say.
	defaultMaxRestarts = 3
	// defaultStartDeadline is how long a version may take to run when the spec doesn't say.
	defaultStartDeadline = 5 * time.Minute
	// faultPatience is how long a pod must have a fault that will not pass before that ends the version: one failed pull is no such fault.
	faultPatience = 10 * time.Second
	// checkPatience is how long the check of a newer version may fail before the deployed one, if it fails as well, is rolled back all the same.
	checkPatience = 30 * time.Second
)

// rollbackSettings are those of the spec; never nil.
func (p *planner) rollbackSettings() streamv1.Rollback {
	if u := p.spec.Upgrade; u != nil && u.Rollback != nil {
		return *u.Rollback
	}
	return streamv1.Rollback{}
}

// held says that the version that the spec asks for was rolled back, and that nothing has changed that would have it tried again. Of a restart that was rolled back
// nothing is asked for any more once its nonce is taken away: then the version runs that the spec says.
func (p *planner) held() bool {
	r := p.st.Rollback
	if r == nil || r.FromRevision != p.o.Revision && !p.sameGeneration(r) {
		return false
	}
	return p.spec.RestartNonce == r.RestartNonce || p.spec.RestartNonce == "" && r.ToRevision != r.FromRevision
}

// sameGeneration says that the spec is still the one of the version that was rolled back, though it makes another revision now because the defaults of the
// operator have changed: those are no edit. If they make what runs of it, that is what it asks for.
func (p *planner) sameGeneration(r *streamv1.RollbackReport) bool {
	return r.FromGeneration == p.job.Generation && (r.ToRevision != p.o.Revision || r.ToRevision == r.FromRevision)
}

// holdOn has a version that was rolled back known by the newest generation that asks for it, after edits that ask for nothing else.
func (p *planner) holdOn() {
	if r := p.st.Rollback; p.held() {
		r.FromGeneration = p.job.Generation
	}
}

// backInPlace says that the deployed version is the one that a rollback went back to.
func (p *planner) backInPlace() bool {
	r, d := p.st.Rollback, p.st.Deployment
	return r != nil && d != nil && d.Grant == r.Grant
}

// rollbackTarget is the stable version to go back to from the deployed one; nil: there is none.
func (p *planner) rollbackTarget() *Version {
	d, s := p.was.Deployment, p.st.Stability
	if d == nil || s == nil || s.Grant != d.Grant || d.DiscardState != "" || p.st.Rollback != nil {
		return nil
	}
	return p.stableBefore(d.Grant, d.Revision)
}

// stableBefore is the stable version that may take the place of another one; nil: there is none.
func (p *planner) stableBefore(grant int64, revision string) *Version {
	stable := p.st.LastStable
	if stable == nil || stable.Grant == grant || p.rollbackSettings().Mode == streamv1.RollbackDisabled {
		return nil
	}
	to, now := p.version(stable.Grant), p.version(grant).Stored
	if to.Stored == nil {
		return nil
	}
	if stable.Revision == revision && (now == nil || now.Image == to.Stored.Image) {
		return nil // it is what runs
	}
	if now != nil && location(now.Spec.Storage) != location(to.Stored.Spec.Storage) {
		return nil
	}
	return &to
}

// rollsBack begins to go back to the stable version, if the deployed one has failed for a cause that will not pass. What the user asks for
// comes first: a newer version that can be started, or that the job stops.
func (p *planner) rollsBack() bool {
	op, fails := p.was.Operation, p.checkFails()
	switch {
	case op == nil, fails, op.Type == streamv1.UpgradeOperation && op.Phase == streamv1.OperationStarting:
	case op.Type == streamv1.SavepointOperation, op.Type == streamv1.CheckpointOperation:
	default:
		return false
	}
	if p.stopWanted() || p.wantsUpgrade() && p.invalid() == "" && !fails {
		return false
	}
	to := p.rollbackTarget()
	if to == nil {
		return false
	}
	cause := p.fatal()
	if cause == nil {
		return false
	}
	if fails {
		if left := checkPatience - p.now.Sub(op.StartedAt.Time); left > 0 {
			p.again(left)
			return false
		}
	}
	p.rollBack(cause, to)
	return true
}

// checkFails says that the version that is to replace the deployed one can't be started, or can't take its state, and hasn't been edited since. It is checked
// again once the stable version runs.
func (p *planner) checkFails() bool {
	op := p.was.Operation
	return op != nil && op.Type == streamv1.UpgradeOperation && op.Generation == p.job.Generation && op.Reason != "" &&
		(op.Phase == streamv1.OperationChecking || op.Phase == streamv1.OperationWaiting)
}

// rollBack begins to go back to a stable version.
func (p *planner) rollBack(cause *Trouble, to *Version) {
	d := p.was.Deployment
	path := ""
	if up := p.st.LastUpgrade; up != nil && up.ToRevision == d.Revision && p.sinceStable(up) {
		path = up.Path
	}
	if r := p.st.Restore; path == "" && r != nil {
		path = r.Path
	}
	p.st.Rollback = &streamv1.RollbackReport{
		FromRevision: d.Revision, FromGeneration: d.Generation, ToRevision: to.Stored.Revision, RestartNonce: p.spec.RestartNonce,
		Reason: cause.Reason, Message: cut(cause.Message), Outcome: streamv1.RollbackStarted, Path: path, At: Seconds(p.now),
	}
	p.begin(streamv1.RollbackOperation, streamv1.OperationChecking)
	p.storeBack()
	p.event(Warning, "RollingBack", "Rollback", fmt.Sprintf("Revision %s is rolled back to %s: %s", d.Revision, stableName(p.st.Rollback), cause.Message))
	p.again(shortly)
}

// sinceStable says that an upgrade came after the version that was stable last: the savepoint of an older one is from long before.
func (p *planner) sinceStable(up *streamv1.UpgradeReport) bool {
	at := up.StartedAt
	if !up.CompletedAt.IsZero() {
		at = up.CompletedAt // the version before may have become stable while the next one was being checked
	}
	return !p.st.LastStable.At.After(at.Time)
}

// storeBack writes the stable version as the one of the next grant.
func (p *planner) storeBack() {
	p.do(Store{Grant: p.was.Grant + 1, From: p.st.LastStable.Grant, JobID: p.jobID(), RewindTo: p.st.Operation.Path})
}

// fatal says why the deployed version will not become stable; nil: it may.
func (p *planner) fatal() *Trouble {
	s := p.st.Stability
	if s == nil {
		return nil // it just has
	}
	if e := p.engine(); e != nil && p.answers() {
		if e.State == contract.JobFailed {
			return &Trouble{Reason: streamv1.ReasonJobFailed, Message: "the job failed for good: " + p.failure()}
		}
		if problem := e.Problem; problem != nil && fatalProblem(problem.Reason) {
			reason, message := Describe(problem)
			return &Trouble{Reason: reason, Message: message}
		}
		most := int32(defaultMaxRestarts)
		if m := p.rollbackSettings().MaxRestarts; m != nil {
			most = *m
		}
		if s.Restarts > most {
			return &Trouble{Reason: streamv1.ReasonCrashLoop, Message: fmt.Sprintf("its tasks were restarted %d times before it was stable: %s", s.Restarts, p.failure())}
		}
	}
	if t := p.fault(); t != nil {
		if left := faultPatience - p.now.Sub(s.FailingSince.Time); left > 0 {
			p.again(left)
			return nil
		}
		return t
	}
	return p.late()
}

// fatalProblem says of a problem of a coordinator that it lies in the version and not in what is around it.
func fatalProblem(reason contract.ProblemReason) bool {
	return reason == contract.IncompatibleState || reason == contract.InvalidJob || reason == contract.RewindUnsafe
}

// fault is a fault of a pod, or of what makes it, that will not pass by itself while the tasks don't run; nil: there is none.
func (p *planner) fault() *Trouble {
	if p.running() {
		return nil
	}
	v := p.deployed()
	if t := v.Refused.trouble(); t != nil && !t.Alone {
		return t
	}
	for _, pod := range slices.Concat(v.Coordinator, v.Workers) {
		if t := pod.Trouble; t != nil && t.Reason != streamv1.ReasonUnschedulable {
			return &Trouble{Reason: t.Reason, Message: cut("Pod " + pod.Name + ": " + t.Message)}
		}
	}
	return nil
}

// late says that the version does not run in time, for whatever reason but a storage that doesn't answer: no version would run with that.
func (p *planner) late() *Trouble {
	h := p.entry()
	refused := p.deployed().Refused
	if h == nil || p.ran() || !p.deployed().Exists && refused == nil {
		return nil
	}
	if problem := p.problem(); problem != nil && problem.Reason == contract.StorageUnavailable {
		return nil
	}
	deadline := cmp.Or(p.rollbackSettings().StartDeadline.Duration, defaultStartDeadline)
	if left := deadline - p.now.Sub(h.DeployedAt.Time); left > 0 {
		p.again(left)
		return nil
	}
	t := &Trouble{Reason: streamv1.ReasonStartDeadline, Message: fmt.Sprintf("it did not run within %v", deadline)}
	if why := p.trouble(); why != nil {
		t.Message += ": " + why.Message
	} else if refused != nil {
		t.Message += ": " + refused.Message
	} else if e := p.engine(); e != nil && e.Message != "" {
		t.Message += ": " + e.Message
	}
	return t
}

// ran says that all tasks of the deployed version have run.
func (p *planner) ran() bool { return p.st.Restore != nil && p.st.Restore.EffectiveMode != "" }

// startsNow begins the time that the deployed version has to run when its first objects are made long after it was written down: the operator was away, or
// kept from acting.
func (p *planner) startsNow() {
	if h := p.entry(); h != nil && !p.ran() && !p.deployed().Exists && p.deployed().Refused == nil && p.now.Sub(h.DeployedAt.Time) > faultPatience {
		h.DeployedAt = Seconds(p.now)
	}
}

// driveRollback goes on with a rollback.
func (p *planner) driveRollback() {
	defer p.lookAgainIfDone()
	op := p.was.Operation
	switch {
	case p.st.Rollback == nil: // somebody has edited the status
		p.drop()
	case op.Phase == streamv1.OperationStarting:
		p.driveBack()
	case p.stopWanted(), !p.held() && p.invalid() == "" && op.Generation != p.job.Generation:
		// Nothing was torn down for it yet, so what the user asks for since it began comes first.
		p.drop()
		p.st.Rollback = nil
	case op.Phase == streamv1.OperationWaiting:
		p.retry(streamv1.OperationChecking)
	default:
		p.checkBack()
	}
}

// checkBack has an agent pod of the stable version look whether it can go on from the newest state, or go back to the one before
// the version that failed.
func (p *planner) checkBack() {
	op := p.st.Operation
	grant := p.was.Grant + 1
	candidate := p.version(grant).Stored
	if stable := p.st.LastStable; stable == nil || candidate == nil && p.version(stable.Grant).Stored == nil {
		p.blockRollback("the stored revision of the stable version is gone")
		return
	}
	if candidate == nil || candidate.Revision != p.st.Rollback.ToRevision || candidate.RewindTo != op.Path {
		p.storeBack()
		p.again(shortly)
		return
	}
	agent := p.agent(RunAgent{Task: CheckTask, Revision: grant, Grant: grant}, candidate.Revision, op.Path)
	switch {
	case agent == nil:
	case !agent.Ended:
		p.hinders(agent, "the stable version cannot be checked: ")
	case agent.Result == nil:
		p.fail(streamv1.ReasonCheckFailed, "the check of the stable version ended without a result: "+agent.Message)
	case agent.Result.OK:
		op.Reason, op.Message = "", ""
		p.launchBack(candidate)
	default:
		p.cannotGoBack(agent.Result.Problem)
	}
}

// cannotGoBack is for a stable version that the state does not fit, or that can't be rewound.
func (p *planner) cannotGoBack(problem *contract.Problem) {
	op, r := p.st.Operation, p.st.Rollback
	reason, message := Describe(problem)
	switch {
	case reason == streamv1.ReasonIncompatibleState && op.Path == "" && r.Path != "":
		op.Path = r.Path
		op.Attempts++
		p.enter(streamv1.OperationChecking)
		p.storeBack()
		p.again(shortly)
	case problem != nil && mayPass(problem.Reason):
		p.fail(reason, "checking the stable version: "+message)
	default:
		p.blockRollback(message)
	}
}

// mayPass says of a problem that it may go away without the version being another.
func mayPass(reason contract.ProblemReason) bool {
	switch reason {
	case contract.StorageUnavailable, contract.StorageAccessDenied, contract.StorageNotFound, contract.Internal:
		return true
	default:
		return false
	}
}

// blockRollback leaves the version that failed where it is and asks.
func (p *planner) blockRollback(why string) {
	r := p.st.Rollback
	r.Outcome, r.BlockedBy = streamv1.RollbackBlocked, cut(why)
	p.event(Warning, "RollbackBlocked", "Rollback", p.blockedText())
	p.drop()
}

// blockedText says why nothing is done and what there is to choose from.
func (p *planner) blockedText() string {
	r := p.st.Rollback
	back := ""
	if r.Path != "" {
		back = fmt.Sprintf(", or, to go back to %s although output may then come twice, set spec.restoreFrom.path to it, spec.upgrade.mode to "+
			"Stateless, and spec.upgrade.discardState and spec.restartNonce to new values", r.Path)
	}
	return cut(fmt.Sprintf("Revision %s failed (%s: %s), and the stable revision %s cannot go on from its state: %s. "+
		"Choose: correct the spec, which goes on from the newest state%s", r.FromRevision, r.Reason, Cut(r.Message, 256), r.ToRevision, Cut(r.BlockedBy, 256), back))
}

// launchBack starts the stable version.
func (p *planner) launchBack(stored *Stored) {
	op, r := p.st.Operation, p.st.Rollback
	grant := p.was.Grant + 1
	p.close(streamv1.OutcomeRolledBack, r.Reason+": "+r.Message)
	reason := "revision " + r.FromRevision + " was rolled back"
	if op.Path != "" {
		reason += ", and the stable version does not take its state, but no output came of that"
	}
	p.launch(launching{
		grant: grant, revision: stored.Revision, generation: stored.Generation, requested: modeRollback, reason: reason, spec: stored.Spec, back: true,
		rewindTo: op.Path,
	})
	r.Grant = grant
	p.enter(streamv1.OperationStarting)
}

// driveBack waits for the stable version to run. A rollback that fails is not followed by another.
func (p *planner) driveBack() {
	switch t := p.fatal(); {
	case p.running():
		p.wentBack()
		p.drop()
	case p.stopWanted(), p.hopeless():
		p.drop()
	case t != nil:
		p.st.Rollback.Outcome, p.st.Rollback.BlockedBy = streamv1.RollbackFailed, cut(t.Reason+": "+t.Message)
		p.event(Warning, "RollbackFailed", "Rollback", "The stable version does not run either: "+t.Message)
		p.drop()
	}
}

// wentBack records that the stable version runs.
func (p *planner) wentBack() {
	r := p.st.Rollback
	r.Outcome, r.BlockedBy, r.CompletedAt = streamv1.RollbackCompleted, "", Seconds(p.now)
	p.event(Warning, "RolledBack", "Rollback", fmt.Sprintf("Stable revision %s runs again%s; %s was rolled back: %s: %s",
		stableName(r), from(p.st.Restore), r.FromRevision, r.Reason, r.Message))
}

// comesBack notices that a stable version runs whose start had been given up.
func (p *planner) comesBack() bool {
	if !p.backInPlace() || !p.running() || p.st.Rollback.Outcome == streamv1.RollbackCompleted {
		return false
	}
	p.wentBack()
	p.again(poll)
	return true
}

// stableName names the version that a rollback goes back to.
func stableName(r *streamv1.RollbackReport) string {
	if r.ToRevision == r.FromRevision {
		return "the same with the image from before"
	}
	return r.ToRevision
}

// deployBack deploys what was deployed last anew: what was rolled back isn't what a suspension or a recovery ends with.
func (p *planner) deployBack(requested, reason string) {
	from := p.sameAsDeployed()
	if from.Stored == nil {
		p.block(streamv1.ReasonRollbackBlocked, "the stored revision of the stable version is gone: change the spec, or set spec.restartNonce to a new value, "+
			"to run what the spec asks for")
		return
	}
	grant, inPlace, to := p.st.Grant+1, p.backInPlace(), p.goesBackTo()
	if to != "" { // the rollback isn't over
		requested, reason = modeRollback, cmp.Or(reason, p.was.Restore.Reason)
	}
	p.do(p.ids(Store{Grant: grant, From: from.Grant, RewindTo: to}))
	p.launch(launching{
		grant: grant, revision: from.Stored.Revision, generation: from.Stored.Generation, requested: requested, reason: reason, spec: from.Stored.Spec, back: true,
		rewindTo: to,
	})
	if inPlace { // otherwise it is the version that failed, as going back was not possible
		p.st.Rollback.Grant = grant
	}
}

// goesBackTo is the snapshot that the deployed version is still to go back to; empty: none. Once its coordinator has claimed the job it has gone back, and
// the newest state is what it goes on from. A claim that nobody has heard of does no harm: the next one goes back again unless output has come since.
func (p *planner) goesBackTo() string {
	d, r := p.was.Deployment, p.was.Restore
	switch {
	case d == nil, r == nil, r.EffectiveMode != "", p.adopting, p.claimed(p.st.Job):
		return ""
	case d.Ended == streamv1.EndCancelled && p.disposes():
		return "" // what it left behind was deleted
	}
	if stored := p.deployed().Stored; stored != nil && r.Path == "" {
		return stored.RewindTo
	}
	return r.Path
}

// claimed says that the deployed version has claimed the job, by what is known of it.
func (p *planner) claimed(j *streamv1.JobReport) bool {
	return j != nil && strings.HasPrefix(j.Epoch, fmt.Sprintf("%d-", p.was.Deployment.Grant))
}

// hearBack takes up that the deployed version has gone back: what is newer isn't a checkpoint of the job any more.
func (p *planner) hearBack() {
	if d := p.st.Deployment; p.was.Restore != nil && p.was.Restore.EffectiveMode == "" && !p.claimed(p.was.Job) && p.claimed(p.st.Job) &&
		(p.was.Restore.Path != "" || p.version(d.Grant).Stored != nil && p.version(d.Grant).Stored.RewindTo != "") {
		p.st.LastCheckpoint = nil
	}
}

// goesOnFrom says what a job without pods goes on from.
func (p *planner) goesOnFrom() string {
	if to := p.goesBackTo(); to != "" {
		return "; it goes back to " + to + ", as its rollback asks"
	}
	return savedAt(p.st)
}

// rollbackText says how far a rollback got.
func (p *planner) rollbackText(op *streamv1.OperationReport) string {
	r := p.st.Rollback
	text := "The stable revision, " + stableName(r) + ", is being checked"
	if op.Path != "" {
		text += " against the state from before"
	}
	if op.Phase == streamv1.OperationStarting {
		text = "The stable revision, " + stableName(r) + ", is being started"
	}
	return fmt.Sprintf("%s, because revision %s failed (%s: %s)", text, r.FromRevision, r.Reason, Cut(r.Message, 512))
}

// heldVerdict is for a job whose stable version is deployed in place of the one that the spec asks for.
func (p *planner) heldVerdict() verdict {
	r := p.st.Rollback
	text := fmt.Sprintf("Revision %s of generation %d was rolled back to %s (%s: %s)", r.FromRevision, r.FromGeneration, stableName(r), r.Reason, Cut(r.Message, 512))
	v := verdict{reason: streamv1.ReasonRolledBack, phase: p.phaseOfRunning(), stalled: true}
	if !p.runsOn() && live(p.st) && p.written() && p.st.Operation == nil && !p.stopWanted() && r.Outcome == streamv1.RollbackCompleted {
		d := p.deployedVerdict()
		text += ", which does not run at the moment: " + Cut(d.reason+": "+d.message, 256)
	}
	if r.Outcome == streamv1.RollbackFailed || r.Outcome == streamv1.RollbackBlocked {
		v.reason = streamv1.ReasonRollbackFailed
		text += ", which does not run either: " + Cut(r.BlockedBy, 256)
		if !p.runsOn() {
			v.phase = streamv1.PhaseStalled
		}
	}
	v.message = cut(text + "; change the spec, or set spec.restartNonce to a new value to have it tried again")
	return v
}

// rolledBackCondition says whether an older version runs than the spec asks for.
func (p *planner) rolledBackCondition() {
	r := p.st.Rollback
	switch {
	case r == nil, p.st.Deployment == nil, !p.held():
		p.set(streamv1.ConditionRolledBack, truth(false), streamv1.ReasonNotRolledBack, "")
	case p.backInPlace():
		p.set(streamv1.ConditionRolledBack, truth(true), streamv1.ReasonRolledBack, p.heldVerdict().message)
	case r.Outcome == streamv1.RollbackBlocked:
		p.set(streamv1.ConditionRolledBack, truth(false), streamv1.ReasonRollbackBlocked, p.blockedText())
	default:
		p.set(streamv1.ConditionRolledBack, truth(false), streamv1.ReasonRollingBack, cut(r.Reason+": "+r.Message))
	}
}
