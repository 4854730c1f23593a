// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	jobplan "github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

const (
	// defaultTimeout bounds one try of a savepoint when the spec doesn't.
	defaultTimeout = 10 * time.Minute
	// answerGrace is what the engine gets beyond that to say so.
	answerGrace = 5 * time.Second
	// agentPatience is how long an agent pod may take, until a node has it included.
	agentPatience = 11 * time.Minute
	// deletePatience is how long a snapshot is tried to be deleted that nothing needs.
	deletePatience = time.Hour
	// poll is how soon to look again while waiting for something that causes no event, usersPoll while something needs a snapshot.
	poll      = time.Second
	usersPoll = 30 * time.Second
	// soon is how long to wait for the status that was just planned.
	soon = 10 * time.Millisecond
	// firstRetry is waited before the second try; it doubles up to lastRetry.
	firstRetry = 10 * time.Second
	lastRetry  = 5 * time.Minute
	// maxText bounds what is taken over from elsewhere into the status.
	maxText = 1024
)

// Next decides what to do for a StreamSnapshot. It doesn't change the observation.
func Next(o Observation, now time.Time) Plan {
	p := &planner{
		o: &o, now: now, snap: o.Snapshot, spec: &o.Snapshot.Spec, was: &o.Snapshot.Status,
		plan: Plan{Status: *o.Snapshot.Status.DeepCopy()}, used: map[string]bool{},
	}
	p.st = &p.plan.Status
	p.st.ObservedGeneration = p.snap.Generation
	if p.st.State == "" {
		p.st.State = streamv1.SnapshotPending
	}
	switch {
	case p.snap.DeletionTimestamp != nil:
		p.delete()
	case p.settled():
	case p.spec.Path != "":
		p.adopt()
	default:
		p.take()
	}
	p.dropAgents()
	p.conditions()
	return p.plan
}

// planner makes one plan.
type planner struct {
	o    *Observation
	now  time.Time
	snap *streamv1.StreamSnapshot
	spec *streamv1.StreamSnapshotSpec
	// was is the status as it was written, st the one to write.
	was, st *streamv1.StreamSnapshotStatus
	plan    Plan
	// stalled says that somebody has to do something, reason why nothing is done now.
	stalled bool
	reason  string
	// used are the agent pods that are still of use.
	used     map[string]bool
	released bool
}

func (p *planner) do(a Action) { p.plan.Actions = append(p.plan.Actions, a) }

func (p *planner) event(t jobplan.EventType, reason, action, note string) {
	p.plan.Events = append(p.plan.Events, jobplan.Event{Type: t, Reason: reason, Action: action, Note: cut(note)})
}

// again asks for another look after d at the latest.
func (p *planner) again(d time.Duration) {
	d = max(d, soon)
	if p.plan.Next == 0 || d < p.plan.Next {
		p.plan.Next = d
	}
}

// settled says that the outcome is known and stays.
func (p *planner) settled() bool {
	return p.was.State == streamv1.SnapshotCompleted || p.was.State == streamv1.SnapshotFailed
}

// stall says what somebody has to change before anything can be done.
func (p *planner) stall(reason, message string) {
	p.stalled = true
	p.waits(reason, message)
}

// waits says what is waited for.
func (p *planner) waits(reason, message string) {
	p.reason, p.st.Message = reason, cut(message)
}

// begin writes a try down. Nothing is done for it before that is written.
func (p *planner) begin(what string) {
	p.st.State = streamv1.SnapshotInProgress
	p.st.Attempts++
	p.st.OperationID = fmt.Sprintf("%s-%s-%d", what, p.snap.UID, p.st.Attempts)
	p.st.StartedAt, p.st.RetryAt = jobplan.Seconds(p.now), metav1.Time{}
	p.st.Message = ""
	p.again(soon)
}

// fail ends a try; the next one follows after a pause that grows.
func (p *planner) fail(reason, message string) {
	wait := min(firstRetry<<min(max(p.st.Attempts-1, 0), 10), lastRetry)
	p.st.RetryAt = jobplan.Seconds(p.now.Add(wait).Add(time.Second - 1))
	p.st.OperationID = ""
	if p.st.State == streamv1.SnapshotInProgress {
		p.st.State = streamv1.SnapshotPending
	}
	p.waits(reason, message)
	p.event(jobplan.Warning, reason, "Snapshot", message)
	p.again(p.st.RetryAt.Sub(p.now))
}

// rests says that the pause after a try that failed lasts.
func (p *planner) rests() bool {
	wait := p.was.RetryAt.Sub(p.now)
	if p.was.RetryAt.IsZero() || wait <= 0 {
		return false
	}
	p.again(wait)
	return true
}

// jobUID is that of the job as it is now; empty: there is none.
func (p *planner) jobUID() string {
	if p.o.Job == nil {
		return ""
	}
	return string(p.o.Job.UID)
}

// pin is the name of the pin that keeps the snapshot.
func (p *planner) pin() string { return "ssnap-" + string(p.snap.UID) }

// agent returns the agent pod of the current try, and has it made when there is none and there is time left for it; nil: it isn't there.
func (p *planner) agent(run RunAgent, left time.Duration) *jobplan.Agent {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, p.was.OperationID, p.was.Attempts, p.snap.UID)
	run.Name = fmt.Sprintf("%s-%s-%08x", strings.TrimRight(p.snap.Name[:min(len(p.snap.Name), 40)], "-."), run.Task, h.Sum32())
	run.Pin = p.pin()
	p.used[run.Name] = true
	for i := range p.o.Agents {
		if p.o.Agents[i].Name == run.Name {
			return &p.o.Agents[i]
		}
	}
	if left > 0 { // one that can't be made must not keep the end of the try from being written
		p.do(run)
	}
	return nil
}

// awaitAgent returns the result of the agent pod of the current try; nil: it has not ended, or the try was failed.
func (p *planner) awaitAgent(run RunAgent) *contract.AgentResult {
	since := p.was.StartedAt.Time
	if p.was.RetryAt.After(since) {
		since = p.was.RetryAt.Time
	}
	left := agentPatience - p.now.Sub(since)
	agent := p.agent(run, left)
	switch {
	case agent != nil && agent.Ended && agent.Result != nil:
		return agent.Result
	case agent != nil && agent.Ended:
		p.fail(streamv1.ReasonRetrying, "the agent pod ended without a result: "+agent.Message)
	case left <= 0:
		p.fail(streamv1.ReasonRetrying, "the agent pod did not come to an end in time"+troubleOf(agent))
	case agent != nil && agent.Trouble != nil:
		p.waits(agent.Trouble.Reason, "the agent pod cannot run: "+agent.Trouble.Message)
		p.again(left)
	default:
		p.waits(streamv1.ReasonSnapshotInspecting, "an agent pod is at work")
		p.again(left)
	}
	return nil
}

func troubleOf(a *jobplan.Agent) string {
	if a == nil || a.Trouble == nil {
		return ""
	}
	return ": " + a.Trouble.Message
}

// dropAgents deletes agent pods that are of no use any more.
func (p *planner) dropAgents() {
	if p.released {
		return // they go with their owner
	}
	for i := range p.o.Agents {
		if name := p.o.Agents[i].Name; !p.used[name] {
			p.do(DeleteAgent{Name: name})
		}
	}
}

// describe gives a problem a condition reason and a text with the remedy.
func describe(problem *contract.Problem) (reason, message string) {
	reason, message = jobplan.Describe(problem)
	if problem != nil && problem.Reason == contract.InUse {
		reason = streamv1.ReasonSnapshotInUse
	}
	return reason, message
}

// cut bounds a text from elsewhere.
func cut(s string) string { return jobplan.Cut(s, maxText) }
