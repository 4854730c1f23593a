// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// begin writes down an operation. Nothing is done for it before that is written.
func (p *planner) begin(t streamv1.OperationType, phase streamv1.OperationPhase) {
	p.st.Operation = &streamv1.OperationReport{
		Type: t, Generation: p.job.Generation, Attempts: 1, StartedAt: micros(p.now),
	}
	p.enter(phase)
	p.noteDown()
}

// noteDown notes since when the job can't take the savepoint that an operation is to stop it with: that is how long it is waited for. A savepoint that is
// under way counts, also while the coordinator that is at work on it doesn't answer.
func (p *planner) noteDown() {
	op := p.st.Operation
	switch {
	case op == nil:
	case !p.stopsWithSavepoint(op), p.running(), p.underWay():
		op.DownSince = metav1.MicroTime{}
	case op.DownSince.IsZero():
		op.DownSince = micros(p.now)
	}
}

// stopsWithSavepoint says that an operation is to end the deployed version with a savepoint, and hasn't yet.
func (p *planner) stopsWithSavepoint(op *streamv1.OperationReport) bool {
	switch op.Phase {
	case streamv1.OperationChecking, streamv1.OperationWarming, streamv1.OperationSaving, streamv1.OperationCanceling, streamv1.OperationWaiting:
	default:
		return false
	}
	switch op.Type {
	case streamv1.UpgradeOperation, streamv1.SuspendOperation:
		return true
	case streamv1.CancelOperation:
		return live(p.was) && p.savesFirst()
	default:
		return false
	}
}

// enter begins a phase of the operation.
func (p *planner) enter(phase streamv1.OperationPhase) {
	op := p.st.Operation
	op.Phase, op.PhaseStartedAt = phase, micros(p.now)
	op.Warm = phase == streamv1.OperationWarming || op.Warm && phase == streamv1.OperationSaving
	op.RetryAt, op.Deadline = Seconds(time.Time{}), Seconds(time.Time{})
	if phase != streamv1.OperationWaiting {
		op.ID = p.operationID(op)
	}
	if phase == streamv1.OperationChecking {
		op.WarmMillis = 0 // what comes now is another try
	}
	switch phase {
	case streamv1.OperationSaving:
		op.Deadline = Seconds(p.now.Add(p.savepointTimeout() + answerGrace))
	case streamv1.OperationWarming:
		op.Deadline = Seconds(p.now.Add(warmPatience))
	case streamv1.OperationCanceling:
		op.Deadline = Seconds(p.now.Add(cancelPatience))
	case streamv1.OperationFencing:
		p.st.Grant++
		op.Deadline = Seconds(p.now.Add(fencePatience))
	case streamv1.OperationDisposing:
		p.st.Grant++
	default: // no deadline of its own
	}
}

// operationID names one try of an operation; it is new within the life of the job, because grants are.
func (p *planner) operationID(op *streamv1.OperationReport) string {
	return fmt.Sprintf("%s-%d-%d-%d", strings.ToLower(string(op.Type)), p.st.Deployment.Grant, op.Generation, op.Attempts)
}

// savepointTimeout bounds one try of a savepoint.
func (p *planner) savepointTimeout() time.Duration {
	if u := p.spec.Upgrade; u != nil && u.SavepointTimeout.Duration > 0 {
		return u.SavepointTimeout.Duration
	}
	if c := p.spec.Checkpointing; c != nil && c.Timeout.Duration > 0 {
		return c.Timeout.Duration
	}
	return defaultSavepointTimeout
}

// fail ends a try; the next one follows after a pause that grows.
func (p *planner) fail(reason, message string) {
	op := p.st.Operation
	switch {
	case op.Phase == streamv1.OperationSaving || op.Phase == streamv1.OperationCanceling:
		p.event(Warning, reason, string(op.Type), message)
	case !stalls(reason) || p.job.DeletionTimestamp != nil: // else it is told as what somebody has to change
		p.event(Warning, reason, Reconcile, string(op.Type)+": "+message)
	}
	p.enter(streamv1.OperationWaiting)
	op.Reason, op.Message = reason, cut(message)
	wait := firstRetry << min(max(op.Attempts-1, 0), 10)
	op.RetryAt = Seconds(p.now.Add(min(wait, lastRetry)).Add(time.Second - 1))
}

// retry begins the next try once its time has come.
func (p *planner) retry(phase streamv1.OperationPhase) {
	op := p.st.Operation
	if wait := op.RetryAt.Sub(p.now); wait > 0 {
		p.again(wait)
		return
	}
	op.Attempts++
	p.enter(phase)
	switch {
	case phase != streamv1.OperationChecking:
	case op.Type == streamv1.RollbackOperation:
		p.storeBack()
	default:
		p.store(p.was.Grant + 1)
	}
}

// drop gives an operation up; what follows is decided anew from what is then wanted.
func (p *planner) drop() { p.st.Operation = nil }

// drive goes on with the operation in flight.
func (p *planner) drive() {
	switch p.was.Operation.Type {
	case streamv1.UpgradeOperation:
		p.driveUpgrade()
	case streamv1.SuspendOperation:
		p.driveSuspend()
	case streamv1.RollbackOperation:
		p.driveRollback()
	case streamv1.SavepointOperation, streamv1.CheckpointOperation:
		p.driveSnapshot()
		if p.invalid() == "" && !p.missesRestore() {
			p.keep() // what needs no restart doesn't wait for it
		}
	case streamv1.CancelOperation:
		p.driveCancel()
	default:
		p.drop() // there is no other
	}
}

func (p *planner) driveUpgrade() {
	op := p.was.Operation
	switch op.Phase {
	case streamv1.OperationStarting:
		p.driveStarting()
	case streamv1.OperationSaving:
		p.saved(p.save(true))
	case streamv1.OperationFencing:
		p.fence(streamv1.EndStopped)
	default:
		switch {
		case p.invalid() != "":
			p.drop()
			p.block(streamv1.ReasonInvalidSpec, p.invalid())
		case p.stopWanted(), !p.wantsUpgrade():
			p.drop() // somebody thought better of it
		case p.missesRestore():
			p.drop()
		case p.wouldLose():
			p.drop()
			p.blockLoss()
		case op.Phase == streamv1.OperationWaiting && op.Generation != p.job.Generation:
			p.drop() // what was wrong may be right now
		case op.Phase == streamv1.OperationWaiting:
			p.retry(streamv1.OperationChecking)
		case op.Phase == streamv1.OperationWarming:
			p.driveWarming()
		default:
			p.driveChecking()
		}
	}
	p.lookAgainIfDone()
}

// lookAgainIfDone has what follows an operation that is over decided at once.
func (p *planner) lookAgainIfDone() {
	if p.st.Operation == nil {
		p.again(soon)
	}
}

// driveChecking has an agent pod of the new version look whether it can start and take the state.
func (p *planner) driveChecking() {
	op := p.st.Operation
	grant := p.was.Grant + 1
	if !p.isCandidate(p.version(grant).Stored) {
		p.store(grant)
		p.again(shortly)
		return
	}
	agent := p.agent(RunAgent{Task: CheckTask, Revision: grant, Grant: grant}, p.o.Revision, p.o.PolicyRevision, p.nextID())
	switch {
	case agent == nil:
		return
	case !agent.Ended:
		p.hinders(agent, "the new version cannot be started: ")
		return
	case agent.Result == nil:
		reason := streamv1.ReasonCheckFailed // it was evicted, or took too long
		if strings.Contains(agent.Message, "exit code") {
			reason = streamv1.ReasonPodCrashing
		}
		p.fail(reason, "the check of the new version ended without a result: "+agent.Message)
		return
	case !agent.Result.OK:
		reason, message := Describe(agent.Result.Problem)
		p.fail(reason, "the new version cannot take over: "+message)
		return
	}
	op.Reason, op.Message = "", ""
	p.checked()
}

// hinders takes up what keeps the agent pod of a check from running, and forgets it once that has passed. What the try before ran into stays.
func (p *planner) hinders(agent *Agent, what string) {
	op := p.st.Operation
	switch t := agent.Trouble; {
	case t != nil:
		op.Reason, op.Message = t.Reason, cut(what+t.Message)
	case strings.HasPrefix(op.Message, what):
		op.Reason, op.Message = "", ""
	}
}

// checked goes on after the new version was found to be able to take the state.
func (p *planner) checked() {
	op := p.st.Operation
	op.CheckMillis = p.now.Sub(p.was.Operation.PhaseStartedAt.Time).Milliseconds()
	switch {
	case p.leaves():
		// The new lineage has a head of its own, so nothing but that of the old one can shut the old version out.
		p.enter(streamv1.OperationFencing)
		return
	case p.gotNowhere():
		p.launchCandidate(hadNeverRun)
		return
	case p.mode() != string(streamv1.UpgradeFromSavepoint):
		p.launchCandidate("")
		return
	}
	ready, never := p.canSave()
	switch {
	case ready && p.surges():
		p.enter(streamv1.OperationWarming)
	case ready:
		p.enter(streamv1.OperationSaving)
	case never != "":
		p.launchCandidate(never)
	}
}

// canSave says whether the job can be stopped with a savepoint now; never says why it can't and won't.
func (p *planner) canSave() (ready bool, never string) {
	if p.running() {
		return true, ""
	}
	e := p.engine()
	why := "the coordinator of the running version does not answer"
	switch {
	case e != nil && p.answers() && e.State == contract.JobFailed:
		return false, "the job had failed, so no savepoint could be taken"
	case e != nil && p.answers():
		why = fmt.Sprintf("the job was %s", e.State)
		if e.Problem != nil {
			why += ": " + e.Problem.Message
		} else if e.LastFailure != nil {
			why += ": " + firstLine(e.LastFailure.Message)
		}
	}
	if waited := p.now.Sub(p.st.Operation.DownSince.Time); waited < patience {
		p.waits = "waiting for the job to run, so that a savepoint can be taken: " + why
		p.again(min(poll, patience-waited))
		return false, ""
	}
	return false, fmt.Sprintf("no savepoint could be taken within %v, because %s", patience, why)
}

// hadNeverRun is why a version is replaced without a savepoint that has got nowhere.
const hadNeverRun = "the version before had never run"

// gotNowhere says that the deployed version waits for workers, with its first coordinator, and has not run yet, so that a savepoint would have nothing that isn't in storage.
func (p *planner) gotNowhere() bool {
	e, h := p.engine(), p.entry()
	return e != nil && p.answers() && e.State == contract.JobWaiting && e.DeployedAt.IsZero() && e.Epoch.N <= 1 && e.Restarts == 0 && h != nil && h.EffectiveMode == ""
}

// launchCandidate starts the version that was checked.
func (p *planner) launchCandidate(reason string) {
	grant := p.was.Grant + 1
	candidate := p.version(grant).Stored
	if candidate == nil || candidate.JobID != p.nextID() {
		// Somebody deleted it in between, or whose state it takes is another now: what is wanted now is as good.
		p.deploy(p.mode(), reason)
	} else {
		p.launch(launching{
			grant: grant, revision: candidate.Revision, generation: candidate.Generation, requested: p.mode(), reason: reason, spec: candidate.Spec,
		})
	}
	p.awaitCandidate()
}

// awaitCandidate goes on with the start of the new version.
func (p *planner) awaitCandidate() {
	op, from := p.st.Operation, p.was.Deployment.Revision
	p.st.LastUpgrade = &streamv1.UpgradeReport{
		FromRevision: from, ToRevision: p.st.Deployment.Revision, StartedAt: op.StartedAt,
		CheckMillis: op.CheckMillis, WarmMillis: op.WarmMillis, SaveMillis: op.SaveMillis, Path: op.Path,
	}
	p.enter(streamv1.OperationStarting)
	op.Reason, op.Message = "", ""
}

// driveStarting waits for the new version to run.
func (p *planner) driveStarting() {
	up := p.st.LastUpgrade
	e := p.engine()
	if up != nil && up.PodsMillis == 0 && e != nil && e.SlotsNeeded > 0 && e.SlotsOffered >= e.SlotsNeeded {
		up.PodsMillis = max(1, p.sincePhase()-sinceDeployed(e))
	}
	if p.running() {
		if up != nil {
			up.PodsMillis = min(max(up.PodsMillis, 1), p.sincePhase())
			up.RestoreMillis = p.sincePhase() - up.PodsMillis
			up.CompletedAt = micros(p.now)
		}
		p.drop()
		p.event(Normal, "Upgraded", "Upgrade", fmt.Sprintf("Revision %s runs%s", p.was.Deployment.Revision, from(p.st.Restore)))
		return
	}
	if p.wantsUpgrade() || p.stopWanted() || p.hopeless() {
		p.drop() // the spec has gone on, and this version may never come up
	}
}

// sinceDeployed is how long the coordinator has had all workers, in milliseconds by its own clock: the pods may have come between two looks.
func sinceDeployed(e *contract.JobStatus) int64 {
	if e.DeployedAt.IsZero() {
		return 0
	}
	return max(0, e.MeasuredAt.Sub(e.DeployedAt)).Milliseconds()
}

// hopeless says that the deployed version can't come up as it is: its coordinator found the state in other hands, or what it is made from was deleted.
// What follows is not up to an operation.
func (p *planner) hopeless() bool {
	if p.deployed().Stored == nil {
		return true
	}
	problem := p.problem()
	return problem != nil && (problem.Reason == contract.Fenced || problem.Reason == contract.RetainedState)
}

func from(r *streamv1.RestoreReport) string {
	if r == nil || r.Path == "" {
		return ""
	}
	return " from " + r.Path
}

func (p *planner) sincePhase() int64 {
	return max(1, p.now.Sub(p.was.Operation.PhaseStartedAt.Time).Milliseconds())
}

// howToSuspend is the first phase of a suspension: a savepoint where there is storage; where there is none, nothing can be kept.
func (p *planner) howToSuspend() streamv1.OperationPhase {
	if p.spec.Storage == nil {
		return streamv1.OperationCanceling
	}
	return streamv1.OperationSaving
}

func (p *planner) driveSuspend() {
	op := p.was.Operation
	switch op.Phase {
	case streamv1.OperationCanceling: // without storage there is nothing to keep
		p.end(streamv1.EndStopped)
	case streamv1.OperationSaving:
		p.suspendSaving()
	case streamv1.OperationFencing:
		p.fence(streamv1.EndStopped)
	default:
		if !p.suspendWanted() || op.Generation != p.job.Generation {
			p.drop()
			break
		}
		p.retry(streamv1.OperationSaving)
	}
	p.lookAgainIfDone()
}

// suspendSaving stops the job with a savepoint. A job that doesn't run can't take one: its newest state is kept then. What becomes of a savepoint that was
// under way when its coordinator was last heard isn't known: it is waited for until its deadline.
func (p *planner) suspendSaving() {
	if !p.running() && p.heardOf(p.was.Operation) == nil {
		if ready, never := p.canSave(); !ready && never != "" {
			p.giveUpSaving(never)
		}
		return
	}
	switch p.save(true) {
	case succeeded:
		p.end(streamv1.EndStopped)
		p.event(Normal, "Suspended", "Suspend", "The job is suspended"+savedAt(p.st))
	case lost:
		p.giveUpSaving("no savepoint was completed: " + p.whyLost())
	case pending, failed:
	}
}

// savedAt says what a suspended job goes on from: checkpoints and savepoints of a job are numbered together.
func savedAt(st *streamv1.StreamJobStatus) string {
	switch saved, checkpoint := st.LastSavepoint, st.LastCheckpoint; {
	case saved == nil && (checkpoint == nil || checkpoint.Path == ""):
		return ""
	case saved == nil || checkpoint != nil && checkpoint.ID > saved.ID:
		return "; it goes on from checkpoint " + checkpoint.Path
	default:
		return " with savepoint " + saved.Path
	}
}

// giveUpSaving suspends without a savepoint: the old coordinator is shut out first, and the newest state is read.
func (p *planner) giveUpSaving(why string) {
	if p.st.Job == nil || p.st.Job.ID == "" {
		p.end(streamv1.EndStopped) // it never had state
		return
	}
	if p.outranked() {
		p.end(streamv1.EndStopped)
		p.event(Warning, "SuspendedWithoutSavepoint", "Suspend", "The job is suspended, and somebody else has its state: "+why)
		return
	}
	p.st.Operation.Message = cut(why)
	p.enter(streamv1.OperationFencing)
}

// outranked says that the coordinator of the deployed version is shut out already, by somebody with a higher grant.
func (p *planner) outranked() bool {
	problem := p.problem()
	return problem != nil && problem.Reason == contract.Fenced && problem.HeadGrant > p.was.Deployment.Grant
}

// fence shuts the old coordinator out by an agent pod with a newer grant, and records that the job has ended unless another version follows.
func (p *planner) fence(how streamv1.JobEnd) {
	before := len(p.plan.Actions)
	agent := p.fencer()
	if agent == nil || !agent.Ended {
		if p.stopsFencing(agent) {
			p.plan.Actions = p.plan.Actions[:before]
		}
		return
	}
	if agent.Result == nil || !agent.Result.OK {
		message := agent.Message
		reason := streamv1.ReasonInternal
		if agent.Result != nil {
			reason, message = Describe(agent.Result.Problem)
		}
		p.fail(reason, "shutting out the coordinator that does not answer: "+message)
		return
	}
	if n := agent.Result.Newest; n != nil {
		if n.Kind == "Savepoint" {
			p.st.LastSavepoint = known(p.st.LastSavepoint, n)
		} else {
			p.st.LastCheckpoint = known(p.st.LastCheckpoint, n)
		}
	}
	switch {
	case replaces(p.was.Operation):
		p.fenced()
		return
	case how == streamv1.EndCancelled:
		p.end(how)
		p.afterEnd()
		return
	}
	why, back := p.was.Operation.Message, p.goesBackTo()
	p.end(how)
	switch n := agent.Result.Newest; {
	case back != "":
		p.event(Warning, "SuspendedWithoutSavepoint", "Suspend", fmt.Sprintf("The job is suspended and will go back to %s, as its rollback asks: %s", back, why))
	case n != nil:
		p.event(Warning, "SuspendedWithoutSavepoint", "Suspend", fmt.Sprintf("The job is suspended and will go on from %s: %s", n.Path, why))
	}
}

// fencer returns the agent pod that shuts the old coordinator out; nil: it isn't there yet. It is made like the pods of the old version, unless those
// may be what can't run: then it is made from the spec.
func (p *planner) fencer() *Agent {
	run := RunAgent{Task: FenceTask, Revision: p.was.Deployment.Grant, Grant: p.was.Grant, Operations: []string{p.was.Operation.ID}}
	corrected := p.corrected(p.was.Operation)
	if p.deployed().Stored != nil && !corrected {
		return p.agent(run)
	}
	run.Revision = p.was.Grant
	if stored := p.version(run.Revision).Stored; stored == nil || stored.JobID != p.jobID() || corrected && stored.Revision != p.o.Revision {
		p.storeAgain(run.Revision)
		p.again(shortly)
		return nil
	}
	if corrected {
		return p.agent(run, p.o.Revision)
	}
	return p.agent(run)
}

// corrected says that an agent pod that shuts out is to be made from the spec, because that was edited since, or because one like the pods of the old
// version did not get there. The state has to be where it was.
func (p *planner) corrected(op *streamv1.OperationReport) bool {
	return (op.Generation != p.job.Generation || op.Attempts > 1) && p.canCorrect()
}

// canCorrect says that the spec asks for other pods than the old version has, for state that is where it was.
func (p *planner) canCorrect() bool {
	old := p.deployed().Stored
	return old != nil && old.Revision != p.o.Revision &&
		location(old.Spec.Storage) == location(p.spec.Storage) && !p.held() && !p.looks() && p.invalid() == ""
}

// stopsFencing gives up to shut the old coordinator out as long as that isn't known to be done. Nothing has followed from it by then: if the agent pod gets there
// all the same, the old coordinator says that it is outranked, by this very StreamJob, and the job goes on with a higher grant.
func (p *planner) stopsFencing(agent *Agent) bool {
	op := p.st.Operation
	hindered := agent != nil && agent.Trouble != nil
	late := !op.Deadline.IsZero() && !p.now.Before(op.Deadline.Time)
	another := hindered && p.canCorrect() && !p.corrected(op) // one as the spec says may run
	if left := patience - p.now.Sub(op.PhaseStartedAt.Time); another && left > 0 {
		p.again(left)
		another = false
	}
	switch {
	case !p.fencingWanted():
		p.drop()
	case hindered && p.running() && op.Type != streamv1.UpgradeOperation: // it can be asked after all
		phase := streamv1.OperationCanceling
		if op.Type == streamv1.SuspendOperation {
			phase = streamv1.OperationSaving
		}
		op.Message = ""
		p.tryAgain(phase)
	case another, late && op.Type == streamv1.UpgradeOperation: // the old version may have to be shut out before anything else can be done
		p.tryAgain(streamv1.OperationFencing)
	case late && hindered:
		p.fail(agent.Trouble.Reason, "shutting out the coordinator of the old version: its agent pod cannot run: "+agent.Trouble.Message)
	case late:
		p.fail(streamv1.ReasonCoordinatorUnreachable, fmt.Sprintf("shutting out the coordinator of the old version: its agent pod did not come to an end within %v", fencePatience))
	default:
		if !op.Deadline.IsZero() {
			p.again(op.Deadline.Sub(p.now))
		}
		return false
	}
	return true
}

// tryAgain begins another try at once.
func (p *planner) tryAgain(phase streamv1.OperationPhase) {
	op := p.st.Operation
	op.Attempts++
	op.Reason, p.hindered = "", nil
	p.enter(phase)
	p.again(soon)
}

// fencingWanted says that the spec still asks for what the old coordinator is to be shut out for.
func (p *planner) fencingWanted() bool {
	switch p.was.Operation.Type {
	case streamv1.SuspendOperation:
		return p.suspendWanted()
	case streamv1.CancelOperation:
		return p.cancelWanted()
	default:
		return !p.stopWanted() && p.wantsUpgrade() && p.stateless() && !p.wouldLose() && p.invalid() == ""
	}
}

// fenced goes on with an upgrade whose old version was shut out for good.
func (p *planner) fenced() {
	switch {
	case p.stopWanted():
		p.end(streamv1.EndStopped)
		return
	case p.invalid() != "":
		p.deployBack(modeResume, "the spec became invalid when the version before was already shut out")
	case p.wouldLose():
		why := "the consent to start without state was taken back"
		if p.o.RestoreTrouble != nil {
			why = "there was no snapshot that spec.restoreFrom names"
		}
		p.deployBack(modeResume, why+" when the version before was already shut out")
	default:
		p.deploy(p.mode(), "")
	}
	if !p.written() {
		p.awaitCandidate()
	}
}

// agent returns the agent pod of the current try, and has it made when there is none; nil: it isn't there yet. One that is refused is in trouble. Its name is made of the
// operation and of what else it depends on.
func (p *planner) agent(run RunAgent, on ...string) *Agent {
	op := p.was.Operation
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, op.ID, strings.Join(on, ""))
	run.Name = fmt.Sprintf("%s-%d-%s-%08x", prefix(p.job.Name), run.Grant, run.Task, h.Sum32())
	if p.usedAgents == nil {
		p.usedAgents = map[string]bool{}
	}
	p.usedAgents[run.Name] = true
	for i := range p.o.Agents {
		if a := &p.o.Agents[i]; a.Name == run.Name {
			if !a.Ended {
				p.hindered = a
			}
			return a
		}
	}
	p.do(run)
	if refused, ok := p.o.Refused[run.Name]; ok {
		p.hindered = &Agent{Name: run.Name, Trouble: refused.trouble()}
		return p.hindered
	}
	return nil
}

// prefix keeps names of pods short.
func prefix(name string) string { return strings.TrimRight(name[:min(len(name), 30)], "-") }

// Describe gives a problem a condition reason and a text with the remedy.
func Describe(problem *contract.Problem) (reason, message string) {
	if problem == nil {
		return streamv1.ReasonInternal, "no reason was given"
	}
	message = problem.Message
	if problem.Remedy != "" {
		message += " (" + problem.Remedy + ")"
	}
	return string(problem.Reason), message
}
