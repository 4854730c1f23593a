// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

const (
	// defaultSavepointTimeout bounds one try of a savepoint when the spec doesn't.
	defaultSavepointTimeout = 10 * time.Minute
	// answerGrace is what the engine gets beyond that to say so.
	answerGrace = 5 * time.Second
	// patience is how long a job that doesn't run, or a coordinator that doesn't answer, holds up a step that needs it.
	patience = 30 * time.Second
	// cancelPatience is how long a coordinator has to cancel the job.
	cancelPatience = 30 * time.Second
	// endingPatience is how long a coordinator that doesn't answer has for that in a namespace that is being deleted, which takes its pods away.
	endingPatience = 5 * time.Second
	// fencePatience is how long an agent pod has to shut a coordinator out before another is tried: longer than it may take once a node has it.
	fencePatience = 15 * time.Minute
	// disposePatience is how long the checkpoints of a deleted job are tried to be deleted.
	disposePatience = 5 * time.Minute
	// soon is when to decide what follows from what is written now, shortly when to look for what is made now.
	soon    = 10 * time.Millisecond
	shortly = 100 * time.Millisecond
	// poll is how soon to look again while waiting for something that causes no event.
	poll = time.Second
	// firstRetry is waited before the second try of an operation; it doubles up to lastRetry.
	firstRetry = 10 * time.Second
	lastRetry  = 5 * time.Minute
	// maxText bounds what is taken over from elsewhere into the status.
	maxText = 1024
)

// Next decides what to do. It doesn't change the observation.
func Next(o Observation, now time.Time) Plan {
	p := &planner{
		o: &o, now: now, job: o.Job, spec: &o.Job.Spec, was: &o.Job.Status,
		plan: Plan{Status: *o.Job.Status.DeepCopy()},
	}
	p.st = &p.plan.Status
	p.st.ObservedGeneration = p.job.Generation
	p.hear()
	p.heardFaults()
	p.noteDown()
	p.holdOn()
	switch {
	case p.job.DeletionTimestamp != nil:
		p.delete()
	case !p.paused():
		p.decide()
	}
	if !p.paused() {
		p.objects()
	}
	p.conditions()
	return p.plan
}

// planner makes one plan.
type planner struct {
	o    *Observation
	now  time.Time
	job  *streamv1.StreamJob
	spec *streamv1.StreamJobSpec
	// was is the status as it was written, st the one to write.
	was, st *streamv1.StreamJobStatus
	plan    Plan
	// blocked says why the spec isn't acted upon.
	blocked *Trouble
	// waits says what an operation waits for without having failed.
	waits string
	// usedAgents are the agent pods that are still of use.
	usedAgents map[string]bool
	// adopting says that the job turns to state that was found.
	adopting bool
	// overtaking says that it goes on with state that a higher grant owns.
	overtaking bool
	// hindered is the agent pod that is waited for, which something may keep from running; nil: none is.
	hindered *Agent
	// lost says that the status is older than what storage knows of the job.
	lost bool
	// remains says that checkpoints which were to be deleted are left.
	remains bool
	// released says that nothing is left to do for a deleted job.
	released bool
	// launched is the spec of a version that became the deployed one in this pass; nil: none did.
	launched *streamv1.StreamJobSpec
}

func (p *planner) do(a Action) { p.plan.Actions = append(p.plan.Actions, a) }

func (p *planner) event(t EventType, reason, action, note string) {
	p.plan.Events = append(p.plan.Events, Event{Type: t, Reason: reason, Action: action, Note: cut(note)})
}

// again asks for another look after d at the latest.
func (p *planner) again(d time.Duration) {
	d = max(d, soon)
	if p.plan.Next == 0 || d < p.plan.Next {
		p.plan.Next = d
	}
}

// version returns what is there of a grant; an empty one when nothing is.
func (p *planner) version(grant int64) Version {
	for _, v := range p.o.Versions {
		if v.Grant == grant {
			return v
		}
	}
	return Version{Grant: grant}
}

// deployed returns what is there of the deployed version.
func (p *planner) deployed() Version {
	if p.was.Deployment == nil {
		return Version{}
	}
	return p.version(p.was.Deployment.Grant)
}

// live says that the deployed version should have pods.
func live(s *streamv1.StreamJobStatus) bool { return s.Deployment != nil && s.Deployment.Ended == "" }

// engine returns the report of the deployed version's coordinator; nil when none was heard.
func (p *planner) engine() *contract.JobStatus {
	e := p.o.Engine
	if e == nil || !live(p.was) || e.Grant != p.was.Deployment.Grant {
		return nil
	}
	return e.Status
}

// answers says that the coordinator of the deployed version answers.
func (p *planner) answers() bool { return p.engine() != nil && p.o.Engine.UnreachableSince.IsZero() }

// running says that all tasks of the deployed version run.
func (p *planner) running() bool { return p.answers() && p.engine().State == contract.JobRunning }

// runsOn says so as far as is known: a coordinator that was just lost says nothing of them.
func (p *planner) runsOn() bool {
	return p.running() || p.justLost() && p.engine().State == contract.JobRunning
}

// justLost says that the coordinator of the deployed version doesn't answer, though it did a short time ago: what it said last still counts for what people are
// told, as one poll that fails is no news.
func (p *planner) justLost() bool {
	if p.engine() == nil || p.answers() {
		return false
	}
	left := patience - p.silence()
	if left > 0 {
		p.again(left)
	}
	return left > 0
}

// silence is for how long the coordinator of the deployed version hasn't answered, as far as this operator knows.
func (p *planner) silence() time.Duration {
	e := p.o.Engine
	if e == nil || e.UnreachableSince.IsZero() {
		return patience
	}
	return p.now.Sub(e.UnreachableSince)
}

// problem is what the coordinator of the deployed version says it can't get past.
func (p *planner) problem() *contract.Problem {
	if e := p.engine(); e != nil && p.answers() {
		return e.Problem
	}
	return nil
}

// hear takes over what the engine reports.
func (p *planner) hear() {
	e := p.engine()
	if e == nil {
		return
	}
	j := p.st.Job
	if j == nil {
		j = &streamv1.JobReport{}
		p.st.Job = j
	}
	if e.JobID != "" && e.Problem == nil {
		j.ID = e.JobID
	}
	if e.Epoch.Grant != 0 {
		j.Epoch = fmt.Sprintf("%d-%d", e.Epoch.Grant, e.Epoch.N)
		j.Restarts = e.Restarts
	}
	p.hearBack()
	j.State, j.RecordsReplayed = string(e.State), e.RecordsReplayed
	if e.MaxParallelism > 0 {
		j.MaxParallelism = int32(e.MaxParallelism)
	}
	if started := Seconds(e.StartedAt); !started.Equal(&j.StartedAt) {
		p.st.Checkpoints = nil // what is there is of a coordinator before
		p.forgetMemory()
		j.StartedAt = started
	}
	if f := e.LastFailure; f != nil {
		j.LastFailure = &streamv1.FailureReport{At: Seconds(f.At), Message: cut(f.Message)}
	}
	if was := p.was.Job; was != nil && was.ID == j.ID && j.Restarts > was.Restarts && j.LastFailure != nil {
		p.event(Warning, streamv1.ReasonRestarting, Reconcile, "The tasks are restarted after a failure: "+p.failure())
	}
	if s := e.LastCheckpoint; s != nil && (p.st.LastCheckpoint == nil || s.ID >= p.st.LastCheckpoint.ID) {
		p.st.LastCheckpoint = known(p.st.LastCheckpoint, s)
		if !e.Durable {
			p.st.LastCheckpoint.Path = "" // it goes with the coordinator
		}
	}
	if s := e.LastSavepoint; s != nil && (p.st.LastSavepoint == nil || s.ID >= p.st.LastSavepoint.ID) {
		p.st.LastSavepoint = known(p.st.LastSavepoint, s)
	}
	if h := p.entry(); h != nil && e.RestoredFrom != nil {
		h.RestoredFrom = cmp.Or(h.RestoredFrom, e.RestoredFrom.Path) // its tasks have begun, though they may never all run
	}
	p.hearCheckpoints()
	p.hearRestore(e)
	p.consume(e)
	p.gate(e)
}

// hearRestore says where the state of the first attempt of the deployed version came from.
func (p *planner) hearRestore(e *contract.JobStatus) {
	r := p.st.Restore
	if r == nil || r.EffectiveMode != "" || e.State != contract.JobRunning {
		return
	}
	from := e.RestoredFrom
	if from == nil {
		p.startedEmpty(r)
		return
	}
	switch {
	case r.RequestedMode == modeStateless && p.st.Deployment.DiscardState != "" && p.spec.RestoreFrom != nil:
		r.EffectiveMode, r.Reason = modeRestoreFrom, "spec.restoreFrom says what to start from in place of the state"
	case r.RequestedMode == modeAdopted || r.RequestedMode == modeRestoreFrom:
		r.EffectiveMode = r.RequestedMode
	case from.Kind == "Savepoint":
		r.EffectiveMode = string(streamv1.UpgradeFromSavepoint)
	default:
		r.EffectiveMode = string(streamv1.UpgradeFromLastCheckpoint)
	}
	r.Path, r.CheckpointID, r.TakenAt = from.Path, from.ID, Seconds(from.CompletedAt)
	if !from.CompletedAt.IsZero() {
		r.AgeMillis = max(0, p.now.Sub(from.CompletedAt)).Milliseconds()
	}
	r.EstimatedReplayMillis = p.replayOf(r, from)
	kind, reason := Normal, "Restored"
	if r.RequestedMode == modeStateless && r.EffectiveMode != modeRestoreFrom || r.RequestedMode == string(streamv1.UpgradeFromSavepoint) && r.EffectiveMode != r.RequestedMode {
		kind, reason = Warning, "RestoredFromCheckpoint"
		r.Reason = cmp.Or(r.Reason, map[bool]string{
			true: "nothing consents to a start without state", false: "the newest state is none that was taken for this",
		}[r.RequestedMode == modeStateless])
	}
	p.noteRestore()
	p.event(kind, reason, "Restore", fmt.Sprintf("The job goes on from snapshot %d in %s: %s", r.CheckpointID, r.Path, asAsked(r)))
}

// startedEmpty says that a version started without state, and warns unless that was asked for.
func (p *planner) startedEmpty(r *streamv1.RestoreReport) {
	kind := Warning
	switch r.RequestedMode {
	case modeStateless:
		r.EffectiveMode, kind = modeStateless, Normal
	case modeFresh:
		r.EffectiveMode, kind = modeFresh, Normal
	default:
		r.EffectiveMode = modeFresh
		r.Reason = cmp.Or(r.Reason, "the job had no state")
		if r.Reason == hadNeverRun {
			kind = Normal
		}
	}
	p.noteRestore()
	p.event(kind, "StartedEmpty", "Restore", "The job starts empty: "+asAsked(r))
}

// noteRestore takes what a version went on from into its history.
func (p *planner) noteRestore() {
	h, r := p.entry(), p.st.Restore
	if h == nil {
		return
	}
	h.EffectiveMode, h.RestoredFrom = r.EffectiveMode, r.Path
	if r.EffectiveMode != r.RequestedMode {
		h.RestoreReason = Cut(r.Reason, maxHistoryText)
	}
}

// asAsked says what a start was to go on from and what it went on from.
func asAsked(r *streamv1.RestoreReport) string {
	switch {
	case r.RequestedMode != r.EffectiveMode:
	case r.RequestedMode == modeAdopted:
		return r.EffectiveMode + ", the state of an earlier job of this name"
	case r.Reason != "":
		return r.EffectiveMode + ", as asked for (" + r.Reason + ")"
	default:
		return r.EffectiveMode + ", as asked for"
	}
	return fmt.Sprintf("asked for %s, done %s%s", r.RequestedMode, r.EffectiveMode, because(r.Reason))
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ", because " + reason
}

// Modes of status.restore besides the upgrade modes.
const (
	modeFresh       = "Fresh"
	modeRestoreFrom = "RestoreFrom"
	modeResume      = "Resume"
	modeAdopted     = "Adopted"
	modeRollback    = "Rollback"
	modeStateless   = string(streamv1.UpgradeStateless)
)

// forgetMemory forgets a checkpoint that was in the memory of a coordinator which has ended.
func (p *planner) forgetMemory() {
	if c := p.st.LastCheckpoint; c != nil && c.Path == "" {
		p.st.LastCheckpoint = nil
	}
}

// known is what is reported of a snapshot with what was known of it before: another coordinator than the one that took it doesn't know how
// long that took.
func known(was *streamv1.SnapshotReport, s *contract.SnapshotInfo) *streamv1.SnapshotReport {
	out := snapshot(s)
	if was != nil && was.ID == out.ID && was.Path == out.Path {
		out.SizeBytes, out.DurationMillis = cmp.Or(out.SizeBytes, was.SizeBytes), cmp.Or(out.DurationMillis, was.DurationMillis)
		if out.CompletedAt.IsZero() {
			out.CompletedAt = was.CompletedAt
		}
	}
	return out
}

func snapshot(s *contract.SnapshotInfo) *streamv1.SnapshotReport {
	return &streamv1.SnapshotReport{
		ID: s.ID, Path: s.Path, CompletedAt: Seconds(s.CompletedAt), SizeBytes: s.SizeBytes, DurationMillis: s.DurationMillis,
	}
}

// Seconds is a time as the API keeps it.
func Seconds(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.Time{}
	}
	return metav1.NewTime(t.UTC().Truncate(time.Second))
}

// micros is a time as the API keeps it where fractions of a second matter.
func micros(t time.Time) metav1.MicroTime {
	return metav1.NewMicroTime(t.UTC().Truncate(time.Microsecond))
}

// cut bounds a text from elsewhere.
func cut(s string) string { return Cut(s, maxText) }

// Cut bounds a text to a number of bytes without breaking a character.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-3], "") + "..."
}
