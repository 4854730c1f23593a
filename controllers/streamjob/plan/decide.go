// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"strings"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
	"github.com/weir-stream/weir/runtime/contract"
)

// decide is for a StreamJob that isn't being deleted.
func (p *planner) decide() {
	if live(p.was) && (p.rollsBack() || p.ends()) {
		return
	}
	if p.was.Operation != nil {
		p.drive()
		return
	}
	if invalid := p.invalid(); invalid != "" {
		p.block(streamv1.ReasonInvalidSpec, invalid)
		if live(p.was) {
			p.keep()
		}
		return
	}
	if p.missesRestore() && !p.stopWanted() {
		p.block(p.o.RestoreTrouble.Reason, p.o.RestoreTrouble.Message)
		if live(p.was) {
			p.keep()
		}
		return
	}
	if live(p.was) {
		p.steady()
		return
	}
	p.start()
}

func (p *planner) block(reason, message string) {
	p.blocked = &Trouble{Reason: reason, Message: cut(message)}
}

// ends notices that the job has ended by itself: it read all its input, failed for good, or somebody stopped or cancelled it through
// the control API. An operation that stops the job looks at its own outcome first.
func (p *planner) ends() bool {
	e := p.engine()
	if e == nil || !e.State.Ended() || e.State == contract.JobSuspended {
		return false
	}
	op := p.was.Operation
	if op != nil && (e.State == contract.JobStopped || e.State == contract.JobCancelled) {
		return false
	}
	switch e.State {
	case contract.JobFinished:
		p.end(streamv1.EndFinished)
		p.event(Normal, "Completed", "Complete", "The job has read all its input")
	case contract.JobFailed:
		if op != nil && replaces(op) && op.Phase != streamv1.OperationStarting {
			return false // the new version goes on from the newest checkpoint
		}
		p.end(streamv1.EndFailed)
		p.event(Warning, "JobFailed", "Run", "The job failed for good: "+p.failure())
	case contract.JobCancelled:
		p.end(streamv1.EndCancelled)
		p.event(Warning, "Cancelled", "Run", "The job was cancelled through its control API; it is started again from its newest state unless spec.state is Suspended")
	default:
		p.end(streamv1.EndStopped)
		p.event(Warning, "Stopped", "Run", "The job was stopped through its control API; it is resumed unless spec.state is Suspended")
	}
	return true
}

// replaces says that an operation ends with another version.
func replaces(op *streamv1.OperationReport) bool {
	return op.Type == streamv1.UpgradeOperation || op.Type == streamv1.RollbackOperation
}

// end records that the deployed version has ended; its objects are deleted once that is written.
func (p *planner) end(how streamv1.JobEnd) {
	if op := p.st.Operation; op != nil && op.Type == streamv1.RollbackOperation && p.backInPlace() {
		p.st.Rollback.Outcome, p.st.Rollback.BlockedBy = streamv1.RollbackFailed, cut("the job is "+string(how)+": "+p.failure())
	}
	p.st.Deployment.Ended = how
	p.st.Operation, p.st.Stability = nil, nil
	p.forgetMemory()
	if p.st.Job != nil {
		p.st.Job.State = string(how)
	}
	why := ""
	if how == streamv1.EndFailed {
		why = p.failure()
	}
	p.close(outcomes[how], why)
}

func (p *planner) failure() string {
	if p.st.Job != nil && p.st.Job.LastFailure != nil {
		return firstLine(p.st.Job.LastFailure.Message)
	}
	return "the engine gave no reason"
}

// firstLine is a text without the stack of a panic, which status.job.lastFailure and the log have.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// start is for a job that has no pods.
func (p *planner) start() {
	d := p.was.Deployment
	switch {
	case d == nil && p.stopWanted(), d != nil && d.Ended == streamv1.EndFinished:
	case d == nil:
		for _, v := range p.o.Versions {
			if v.Exists { // of a status that was lost
				p.st.Grant = max(p.st.Grant, v.Grant)
			}
		}
		p.deploy(p.firstMode(), "")
	case p.suspendWanted():
		if d.Ended != streamv1.EndStopped {
			p.st.Deployment.Ended = streamv1.EndStopped // so that resuming it tries once more
		}
	case p.cancelWanted():
		p.cancelEnded()
	case d.Ended == streamv1.EndFailed && !p.wantsUpgrade():
	case p.stateless() && p.unconsumed() != p.consent():
		p.blockLoss()
	case p.wantsUpgrade() && p.wouldLose():
		p.blockLoss()
	case d.Ended == streamv1.EndFailed:
		p.deploy(p.mode(), p.whyNoSavepoint("the job had failed, so no savepoint could be taken"))
	case p.discards():
		p.deploy(modeStateless, "")
	default:
		p.deploy(modeResume, p.resumeReason())
	}
}

// whyNoSavepoint is the reason of a start without a savepoint, where one was asked for.
func (p *planner) whyNoSavepoint(why string) string {
	if p.mode() != string(streamv1.UpgradeFromSavepoint) {
		return ""
	}
	return why
}

// firstMode is what a job without state starts from.
func (p *planner) firstMode() string {
	switch {
	case p.spec.RestoreFrom != nil:
		return modeRestoreFrom
	case p.discards():
		return modeStateless
	}
	return modeFresh
}

// mode is the upgrade mode of the spec.
func (p *planner) mode() string {
	if u := p.spec.Upgrade; u != nil && u.Mode != "" {
		return string(u.Mode)
	}
	return string(streamv1.UpgradeFromSavepoint)
}

// deploy starts a version made from the current spec under the next grant; reason says why it is not what was asked for. The grant is
// written before any object of it but the stored revision exists.
func (p *planner) deploy(requested, reason string) {
	if p.held() && p.was.Deployment != nil {
		p.deployBack(requested, reason)
		return
	}
	grant, to := p.st.Grant+1, ""
	if p.was.Deployment != nil && p.was.Deployment.Revision == p.o.Revision && !p.leaves() {
		to = p.goesBackTo() // the edit that was rolled back was undone
	}
	if to == "" {
		p.store(grant)
	} else {
		requested, reason = modeRollback, cmp.Or(reason, p.was.Restore.Reason)
		p.do(p.ids(Store{Grant: grant, RewindTo: to}))
	}
	p.launch(launching{
		grant: grant, revision: p.o.Revision, generation: p.job.Generation, requested: requested, reason: reason, spec: p.spec, rewindTo: to,
	})
}

// launching is a stored version that becomes the deployed one.
type launching struct {
	grant, generation int64
	revision          string
	// requested is the mode that was asked for, reason says why something else is done.
	requested, reason string
	spec              *streamv1.StreamJobSpec
	// back says that it is not what the spec asks for, but what ran before; rewindTo is the snapshot that it goes back to, if that isn't the newest.
	back     bool
	rewindTo string
}

// launch makes a stored version the deployed one.
func (p *planner) launch(l launching) {
	d := &streamv1.DeploymentReport{Grant: l.grant, Revision: l.revision, Generation: l.generation}
	p.close(streamv1.OutcomeReplaced, p.neverRan())
	p.launched = l.spec
	if before := p.deployed().Stored; !l.back && p.st.Deployment != nil && before != nil && before.Spec != nil && before.Spec.Checkpointing != nil && l.spec.Checkpointing == nil {
		p.event(Warning, streamv1.ReasonCheckpointingDisabled, "Deploy", fmt.Sprintf("Grant %d of the job takes no checkpoints, and is not restarted after a failure unless spec.restart says so: "+
			"neither spec.checkpointing nor the configuration of the operator asks for them any more", l.grant))
	}
	d.DiscardState = p.pending()
	if !l.back {
		p.st.Rollback = nil
		d.RestartNonce = p.spec.RestartNonce
		d.DiscardState = cmp.Or(d.DiscardState, p.firstConsent())
		if p.leaves() {
			d.DiscardState = p.consent()
			p.leaveState(p.nextID())
		}
	}
	p.st.Grant, p.st.Deployment = l.grant, d
	p.st.Restore = &streamv1.RestoreReport{RequestedMode: l.requested, Reason: cut(l.reason), Path: l.rewindTo}
	if p.st.Job != nil {
		p.st.Job.State, p.st.Job.LastFailure = string(contract.JobStarting), nil
	}
	p.st.Parallelism = int32(jobconfig.LargestParallelism(&streamv1.StreamJob{Spec: *l.spec}))
	p.st.Selector = fmt.Sprintf("%s=%s,%s=worker", streamv1.LabelJob, p.job.Name, streamv1.LabelComponent)
	p.st.Stability = p.newStability(l)
	p.record()
	p.event(Normal, "Deploying", "Deploy", fmt.Sprintf("Deploying grant %d of the job", l.grant))
}

// store writes the current spec as the revision of the next version.
func (p *planner) store(grant int64) {
	if p.leaves() {
		p.do(Store{Grant: grant, JobID: p.nextID(), NewJobID: p.nextID()})
		return
	}
	op := p.st.Operation
	p.do(p.ids(Store{Grant: grant, Standby: op != nil && op.Phase == streamv1.OperationChecking && p.surges()}))
}

// ids fills in the job as it is.
func (p *planner) ids(s Store) Store {
	s.JobID = p.jobID()
	switch {
	case p.looks():
		s.JobID, s.NewJobID = "", p.nobody()
	case s.JobID == "":
		s.NewJobID = p.newJobID()
	case p.pending() != "":
		s.NewJobID = s.JobID // it may not have begun yet
	}
	return s
}

// nextID is the job that the next version goes on with; empty: it starts the first one.
func (p *planner) nextID() string {
	if p.leaves() {
		return p.lineage(p.consent())
	}
	return p.jobID()
}

// storeAgain writes the current spec as the revision of a grant that goes on with the job as it is.
func (p *planner) storeAgain(grant int64) {
	p.do(p.ids(Store{Grant: grant}))
}

// storesLost stores the revision of the deployed version if it is gone, and the spec is still the same.
func (p *planner) storesLost() bool {
	d := p.was.Deployment
	if p.deployed().Stored != nil || d.Revision != p.o.Revision {
		return false
	}
	p.do(p.ids(Store{Grant: d.Grant, RewindTo: p.goesBackTo()}))
	return true
}

// sameAsDeployed is the deployed version, or, if what was stored of it is gone, the one that was stable last if its revision is the same.
func (p *planner) sameAsDeployed() Version {
	v := p.deployed()
	if stable := p.st.LastStable; v.Stored == nil && stable != nil && stable.Revision == p.was.Deployment.Revision {
		return p.version(stable.Grant)
	}
	return v
}

// jobID is the job whose state the next version takes; empty when there is none.
func (p *planner) jobID() string {
	if p.st.Job == nil || p.spec.Storage == nil {
		return ""
	}
	return p.st.Job.ID
}

// steady is for a job that has pods and no operation in flight.
func (p *planner) steady() {
	v := p.deployed()
	switch {
	case p.comesBack(), p.adopts(), p.overtakes():
	case p.cancelWanted():
		p.beginCancel()
	case p.suspendWanted():
		p.begin(streamv1.SuspendOperation, p.howToSuspend())
	case p.storesLost():
	case v.Stored == nil && p.held():
		p.deployBack(modeResume, "the stored revision of the stable version was gone")
	case p.wantsUpgrade() && p.wouldLose():
		p.blockLoss()
		p.keep()
	case p.wantsUpgrade():
		p.upgrade(v)
	case p.beginsOtherwise(v):
		p.deploy(p.firstMode(), hadNeverRun)
	default:
		p.keep()
		p.trigger()
	}
}

// keep brings the policy of the spec to the running job.
func (p *planner) keep() {
	v := p.deployed()
	if v.Stored == nil {
		return
	}
	same := p.was.Deployment.Revision == p.o.Revision && p.blocked == nil
	if same && !p.held() && p.st.Rollback != nil {
		p.st.Rollback = nil // the spec asks for what runs
	}
	if same && v.Stored.PolicyRevision != p.o.PolicyRevision {
		p.do(Store{Grant: v.Grant, JobID: v.Stored.JobID, NewJobID: v.Stored.NewJobID, RewindTo: v.Stored.RewindTo, Standby: v.Stored.Standby})
		p.again(poll)
		return
	}
	p.holdTo()
	if p.running() && p.engine().PolicyRevision != v.Stored.PolicyRevision {
		p.do(SetPolicy{Grant: v.Grant})
	}
}

// holdTo has the deployed version go on with its job and no other, once that runs: a coordinator that starts again and doesn't find it in storage any more
// then says so, in place of beginning anew.
func (p *planner) holdTo() {
	v, s := p.deployed(), p.deployed().Stored
	if !p.running() || p.st.Job.ID == "" || s.Spec.Storage == nil || s.JobID == p.st.Job.ID && s.NewJobID == "" {
		return
	}
	p.do(Store{Grant: v.Grant, From: v.Grant, JobID: p.st.Job.ID, RewindTo: s.RewindTo, Standby: s.Standby})
}

// policyInForce says that the engine goes by the policy that the spec asks for. One that was given none goes by the configuration that it started with: that
// is what is stored, unless it was edited since the version was deployed, because then its file may have been older.
func (p *planner) policyInForce() bool {
	e, stored := p.engine(), p.deployed().Stored
	switch {
	case e == nil:
		return false
	case e.PolicyRevision != "" || stored == nil:
		return e.PolicyRevision == p.o.PolicyRevision
	}
	return stored.PolicyRevision == p.o.PolicyRevision && stored.Generation == p.was.Deployment.Generation
}

// adopts takes over the state of an earlier job of this name: it is never ignored silently.
func (p *planner) adopts() bool {
	problem := p.problem()
	if problem == nil || problem.Reason != contract.RetainedState {
		return false
	}
	if p.st.Job == nil {
		p.st.Job = &streamv1.JobReport{}
	}
	p.st.Job.ID = problem.JobID
	if p.stateless() && p.pending() != "" && !p.ownID(problem.JobID) {
		// The state of another StreamJob of this name, and somebody has consented to start without it.
		p.leaveState(p.lineage(p.pending()))
		p.deploy(modeStateless, "")
		return true
	}
	p.adopting = true
	known := p.was.Job != nil && p.was.Job.ID == problem.JobID
	if c := p.unconsumed(); c != "" && !known && p.ownID(problem.JobID) && problem.JobID != p.firstID() {
		p.st.DiscardedState = c // that state began with a consent, and only the status knew with which
	}
	note := fmt.Sprintf("Storage holds the state of an earlier job of this name (%s, grant %d)", problem.JobID, problem.HeadGrant)
	if problem.HeadFinal == string(streamv1.EndFinished) {
		p.end(streamv1.EndFinished)
		p.st.Restore = &streamv1.RestoreReport{RequestedMode: requestedMode(p.was.Restore), EffectiveMode: modeAdopted, Reason: note + ", which had read all its input"}
		p.event(Warning, "AlreadyCompleted", "Adopt", note+", which had read all its input: it is not run again. Delete that state, or use another name or prefix, to run it anew")
		return true
	}
	p.st.Grant = max(p.st.Grant, problem.HeadGrant)
	p.deploy(modeAdopted, note+": the job goes on from it")
	p.event(Normal, "RetainedState", "Adopt", note+": the job goes on from it")
	return true
}

// overtakes goes on from the state of this very StreamJob when a grant owns it that is higher than the deployed one: an agent of a
// suspension that was given up has it, or the status was lost, as after a restore from a backup. A head of somebody else is left alone.
func (p *planner) overtakes() bool {
	if !p.mayOvertake() {
		return false
	}
	problem := p.problem()
	p.lost = problem.HeadGrant > p.was.Grant && p.jobID() != ""
	note := fmt.Sprintf("Grant %d of this job has its state", problem.HeadGrant)
	how := "the job goes on from there with a higher one"
	if p.lost {
		how = "the status is older than that, so it is looked up in storage which state is the newest"
	}
	p.st.Grant = max(p.st.Grant, problem.HeadGrant)
	p.overtaking = true
	p.deploy(modeResume, note)
	p.event(Warning, "Overtaken", "Deploy", note+": "+how)
	return true
}

// mayOvertake says that the deployed version is outranked by a grant of this very StreamJob, or that somebody wants the state taken over.
func (p *planner) mayOvertake() bool {
	if !p.outranked() {
		return false
	}
	// The id of the job is made from the UID, and from a consent to start without state; and a grant up to the last one was given by this StreamJob.
	problem := p.problem()
	return problem.HeadGrant <= p.was.Grant || p.ownID(problem.JobID) || p.wantsRestart()
}

// upgrade begins to replace the deployed version.
func (p *planner) upgrade(v Version) {
	if p.nothingToLose(v) {
		mode := p.mode()
		if p.jobID() == "" {
			mode = p.firstMode()
		} else if p.looks() {
			mode = modeResume
		}
		p.deploy(mode, hadNeverRun)
		return
	}
	p.begin(streamv1.UpgradeOperation, streamv1.OperationChecking)
	p.store(p.was.Grant + 1)
	note := fmt.Sprintf("Revision %s replaces %s", p.o.Revision, p.was.Deployment.Revision)
	if p.o.Revision == p.was.Deployment.Revision {
		note = fmt.Sprintf("Revision %s is started anew, as spec.restartNonce %q asks", p.o.Revision, p.spec.RestartNonce)
	}
	p.event(Normal, "Upgrading", "Upgrade", note)
}

// nothingToLose says that neither a job runs nor state was written, so that the version can be replaced at once.
func (p *planner) nothingToLose(v Version) bool {
	if p.looks() && !p.leaves() {
		return true
	}
	if p.st.Job != nil && p.st.Job.ID != "" && p.spec.Storage != nil {
		return false
	}
	if p.spec.Storage == nil {
		return !p.running() && (p.st.Job == nil || p.st.Job.Epoch == "")
	}
	if p.spec.RestoreFrom == nil && v.Stored != nil && v.Stored.JobID != "" {
		return false
	}
	e := p.engine()
	return e == nil || e.Epoch.Grant == 0
}

// invalid says what is wrong with the spec, besides what the API server sees, and with the spec and what is deployed together.
func (p *planner) invalid() string {
	if len(p.o.Invalid) > 0 {
		return strings.Join(p.o.Invalid, "; ")
	}
	if p.st.Deployment == nil {
		return ""
	}
	if d := p.st.Deployment; p.spec.Storage == nil && p.mode() != modeStateless && d.Ended == "" &&
		(p.was.Deployment != nil && p.wantsUpgrade() || p.suspendWanted()) && !p.nothingToLose(p.deployed()) {
		return "spec.storage: the job has no storage, so an upgrade or a suspension would lose its state: set spec.upgrade.mode to Stateless to accept that, " +
			"or undo the change; a job that should keep its state needs spec.storage from the start"
	}
	if p.st.Job == nil || p.st.Job.ID == "" || p.discards() {
		return ""
	}
	if was := p.lastSpec(); was != nil {
		if message := storageMoved(was.Storage, p.spec.Storage); message != "" {
			return message
		}
	}
	return p.outOfGroups()
}

// lastSpec is the newest spec that was deployed, as far as it is known.
func (p *planner) lastSpec() *streamv1.StreamJobSpec {
	if v := p.version(p.st.Deployment.Grant); v.Stored != nil {
		return v.Stored.Spec
	}
	return nil
}

// outOfGroups checks the number of key groups, which can't change once there is state.
func (p *planner) outOfGroups() string {
	groups := p.st.Job.MaxParallelism
	switch {
	case groups == 0 || p.spec.Storage == nil:
	case p.spec.MaxParallelism != 0 && p.spec.MaxParallelism != groups:
		return fmt.Sprintf("spec.maxParallelism: it is %d, but the state of the job has %d key groups, and that cannot change: set it back to %d",
			p.spec.MaxParallelism, groups, groups)
	case jobconfig.LargestParallelism(p.job) > int(groups):
		return fmt.Sprintf("spec.parallelism: %d is more than maxParallelism, which is %d since the job has state: set a parallelism of at most %d",
			jobconfig.LargestParallelism(p.job), groups, groups)
	}
	return ""
}

// storageMoved says that the state of the job would be left behind.
func storageMoved(was, now *streamv1.Storage) string {
	if location(was) == location(now) {
		return ""
	}
	return fmt.Sprintf("spec.storage: the state of the job is in %s and would be left behind in %s: set it back; to move a job, take a savepoint, copy it, "+
		"and start another StreamJob with spec.restoreFrom", location(was), location(now))
}

// location is where a storage is; credentials and endpoint may change.
func location(s *streamv1.Storage) string {
	switch {
	case s == nil:
		return "the memory of the coordinator"
	case s.S3 != nil:
		return "s3://" + strings.TrimSuffix(s.S3.Bucket+"/"+s.S3.Prefix, "/")
	case s.Volume != nil:
		return "volume " + s.Volume.ClaimName + s.Volume.Path
	default:
		return "no storage"
	}
}

func requestedMode(r *streamv1.RestoreReport) string {
	if r == nil {
		return modeFresh
	}
	return r.RequestedMode
}
