// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	jobplan "github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

const (
	kindSavepoint = "Savepoint"
	// defaultPrefix is where savepoints go when the storage doesn't say.
	defaultPrefix = "savepoints"
)

// take drives a savepoint of a job.
func (p *planner) take() {
	if p.was.OperationID == "" {
		p.prepare()
		return
	}
	if p.jobIsGone() {
		p.lookInStorage()
		return
	}
	o, heard := p.operation()
	if o != nil && o.Phase.Ended() && o.Phase != contract.OperationUnknown {
		p.judge(o)
		return
	}
	p.waitForIt(heard && o.Phase == contract.OperationRunning)
}

// prepare begins a try as soon as the job runs.
func (p *planner) prepare() {
	job, name := p.o.Job, p.spec.JobRef.Name
	switch {
	case p.was.JobUID != "" && p.was.JobUID != p.jobUID():
		p.giveUp(fmt.Sprintf("StreamJob %s is gone, and no savepoint of it was complete", name))
	case job == nil:
		p.stall(streamv1.ReasonJobNotFound, fmt.Sprintf("StreamJob %s does not exist: create it, or delete this StreamSnapshot", name))
	case job.DeletionTimestamp != nil:
		p.stall(streamv1.ReasonJobNotRunning, fmt.Sprintf("StreamJob %s is being deleted", name))
	case job.Spec.Storage == nil:
		p.stall(streamv1.ReasonNoStorage, fmt.Sprintf("StreamJob %s has no storage, so there are no savepoints of it: set spec.storage of the job", name))
	case p.rests():
		p.waits(p.restReason(), p.was.Message)
	case p.notRunning() != "":
		p.waitForJob()
	default:
		p.begin("ssnap")
		p.st.JobUID, p.st.Storage = string(job.UID), job.Spec.Storage.DeepCopy()
		p.st.JobID = p.o.Engine.Status.JobID
	}
}

// notRunning says why no savepoint can be asked for now; empty: one can.
func (p *planner) notRunning() string {
	e := p.o.Engine
	switch d := p.o.Job.Status.Deployment; {
	case d == nil:
		return "it was not started yet"
	case d.Ended != "":
		return "it has ended: " + string(d.Ended)
	case e == nil || e.Status == nil || e.Grant != d.Grant || !e.UnreachableSince.IsZero():
		return "its coordinator does not answer"
	case e.Status.Problem != nil:
		return e.Status.Problem.Message
	case e.Status.State != contract.JobRunning || e.Status.JobID == "":
		return "it is " + string(e.Status.State)
	default:
		return ""
	}
}

// waitForJob says what a job that doesn't run is waited for, and whether that may be for ever.
func (p *planner) waitForJob() {
	job := p.o.Job
	message := fmt.Sprintf("Waiting for StreamJob %s to run: %s", job.Name, p.notRunning())
	d := job.Status.Deployment
	switch {
	case job.Spec.State == streamv1.StateSuspended:
		message += "; resume it, or adopt the savepoint that it was suspended with: a StreamSnapshot with spec.path" + lastSavepoint(job)
	case job.Spec.State == streamv1.StateCancelled, d != nil && (d.Ended == streamv1.EndFinished || d.Ended == streamv1.EndFailed):
	default:
		p.waits(streamv1.ReasonJobNotRunning, message)
		p.again(poll)
		return
	}
	p.stall(streamv1.ReasonJobNotRunning, message)
}

func lastSavepoint(job *streamv1.StreamJob) string {
	if job.Status.LastSavepoint == nil {
		return ""
	}
	return " " + job.Status.LastSavepoint.Path
}

// jobIsGone says that the job that was asked will never answer again: it was deleted, has finished, or was started anew without its state.
func (p *planner) jobIsGone() bool {
	if p.jobUID() != p.was.JobUID {
		return true
	}
	d := p.o.Job.Status.Deployment
	return d != nil && d.Ended == streamv1.EndFinished || p.notRunning() == "" && p.o.Engine.Status.JobID != p.was.JobID
}

// operation is what is known of the savepoint; nil: nothing. reported says that the coordinator tells it by itself.
func (p *planner) operation() (o *contract.Operation, reported bool) {
	id := p.was.OperationID
	if e := p.o.Engine; e != nil && e.Status != nil && e.Status.JobID == p.was.JobID {
		if i := slices.IndexFunc(e.Status.Operations, func(o contract.Operation) bool { return o.ID == id }); i >= 0 {
			return &e.Status.Operations[i], true
		}
	}
	if a := p.o.Answer; a != nil && a.ID == id {
		return a, false
	}
	return nil, false
}

// waitForIt asks for the savepoint, and says what it waits for. Asking again starts nothing new, and tells what became of it; the coordinator
// of the next version knows it too, or takes it.
func (p *planner) waitForIt(underWay bool) {
	p.again(poll)
	if why := p.notRunning(); why != "" {
		p.waitForJob()
		return
	}
	if !underWay {
		p.do(Ask{Grant: p.o.Engine.Grant, Request: contract.SavepointRequest{
			OperationID: p.was.OperationID, Target: p.spec.Target, Timeout: contract.Duration(p.timeout()),
		}})
	}
	message := "the job takes the savepoint"
	if p.now.Sub(p.was.StartedAt.Time) > p.timeout()+answerGrace {
		// A commit whose answer was lost may have happened, so nothing else is begun before the engine says what became of this one.
		message = "the savepoint is not complete in time, and it is not known yet what becomes of it; the job goes on"
	}
	p.waits(streamv1.ReasonSavepointing, message)
}

// judge takes the engine's word on the savepoint.
func (p *planner) judge(o *contract.Operation) {
	if o.Phase == contract.OperationFailed || o.Path == "" {
		message := "the savepoint failed, and the job goes on: " + o.Error
		if o.Remedy != "" {
			message += " (" + o.Remedy + ")"
		}
		p.fail(streamv1.ReasonSavepointFailed, message)
		return
	}
	p.st.Kind, p.st.Path, p.st.CheckpointID = kindSavepoint, o.Path, o.Checkpoint
	p.st.SizeBytes, p.st.CompletedAt = o.SizeBytes, jobplan.Seconds(o.EndedAt)
	if !o.StartedAt.IsZero() {
		p.st.DurationMillis = max(0, o.EndedAt.Sub(o.StartedAt).Milliseconds())
	}
	if r := p.report(o.Checkpoint); r != nil {
		p.st.SizeBytes, p.st.DurationMillis = max(p.st.SizeBytes, r.SizeBytes), r.DurationMillis
	}
	p.completed()
}

// report is what the coordinator says that the savepoint took; nil: it has forgotten, or what is known is from while the savepoint was being taken.
func (p *planner) report(id int64) *contract.CheckpointReport {
	if p.o.Engine == nil || p.o.Engine.Checkpoints == nil {
		return nil
	}
	recent := p.o.Engine.Checkpoints.Recent
	for i := range recent {
		if recent[i].ID == id && recent[i].Kind == kindSavepoint && recent[i].State == "Completed" {
			return &recent[i]
		}
	}
	return nil
}

func (p *planner) completed() {
	p.st.State, p.st.OperationID, p.st.Message = streamv1.SnapshotCompleted, "", ""
	p.event(jobplan.Normal, streamv1.ReasonSnapshotCompleted, "Snapshot", p.st.Kind+" "+p.st.Path+" is complete")
}

// lookInStorage finds out by an agent pod whether a savepoint was complete when its job ended for good.
func (p *planner) lookInStorage() {
	if p.was.RetryAt.IsZero() { // nobody has looked yet
		p.st.StartedAt, p.st.RetryAt = jobplan.Seconds(p.now), jobplan.Seconds(p.now)
		p.again(soon)
		return
	}
	if p.rests() {
		p.waits(p.restReason(), p.was.Message)
		return
	}
	id := p.was.OperationID
	r := p.awaitAgent(RunAgent{Task: InspectTask, Storage: p.was.Storage, Path: p.expectedPath(), JobID: p.was.JobID})
	switch {
	case r == nil:
	case r.OK && r.Snapshot != nil:
		p.found(r)
	case r.Problem != nil && (r.Problem.Reason == contract.RestoreNotFound || r.Problem.Reason == contract.RestoreCorrupt):
		p.giveUp(fmt.Sprintf("StreamJob %s ended before the savepoint was complete", p.spec.JobRef.Name))
	default:
		reason, message := describe(r.Problem)
		p.fail(reason, "looking for the savepoint of a job that has ended: "+message)
	}
	if p.st.State == streamv1.SnapshotPending { // it failed: it is this savepoint that is looked for again
		p.st.State, p.st.OperationID = streamv1.SnapshotInProgress, id
		p.st.Attempts++
	}
}

// giveUp says that there will be no savepoint.
func (p *planner) giveUp(message string) {
	p.st.State, p.st.OperationID = streamv1.SnapshotFailed, ""
	p.st.Message = cut(message)
	p.event(jobplan.Warning, streamv1.ReasonJobGone, "Snapshot", message)
}

// expectedPath is where the engine writes the savepoint of the operation, within the storage.
func (p *planner) expectedPath() string {
	base := p.spec.Target
	if s := p.was.Storage; base == "" && s != nil && s.Savepoints != nil {
		base = s.Savepoints.Prefix
	}
	if base == "" {
		base = defaultPrefix
	}
	id := p.was.JobID
	return strings.Trim(base, "/") + "/savepoint-" + id[:min(len(id), 6)] + "-" + p.was.OperationID
}
