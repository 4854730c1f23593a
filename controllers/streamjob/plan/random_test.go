// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

var (
	seeds = flag.Int("seeds", 300, "how many random lives to go through")
	seed  = flag.Uint64("seed", 0, "go through this one alone")
)

// TestNext_RandomLives goes through random lives of a StreamJob: edits, failing savepoints, coordinators that are lost, agents
// that fail, objects that the API server refuses, nodes that are gone, so that what is made like before never runs again, an operator
// that crashes between any two actions or before it has written the status. After each, the world calms down, somebody corrects the
// spec, and the job must get to what it says without ever having broken a rule.
func TestNext_RandomLives(t *testing.T) {
	first, n := uint64(1), uint64(*seeds)
	if *seed != 0 {
		first, n = *seed, 1
	}
	for s := first; s < first+n; s++ {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			l := &life{world: newWorld(), t: t, rand: rand.New(rand.NewPCG(s, 1)), saved: map[string]int64{}, lines: map[string]*line{}, bad: map[string]int{}, consents: map[string]bool{}, back: map[string]int{}, activated: map[int64]bool{}, standing: map[int64]bool{}, nowhere: map[string]bool{}, madeOf: map[string]string{}}
			l.edit()
			for range 300 {
				l.disturb()
				l.turn(l.rand.IntN(20) == 0)
			}
			l.calm()
		})
	}
}

// life is a world with an engine that does what it is asked, more or less.
type life struct {
	*world
	t    *testing.T
	rand *rand.Rand
	// lines are the lineages of state by job id, jobID the one that is in force; saved are the snapshots by operation, newest is the id of
	// the newest one of all.
	lines       map[string]*line
	jobID       string
	saved       map[string]int64
	newest      int64
	storageDown bool
	// bad says of revisions how they fail once they are deployed, incompatible which one does not take the newest state.
	bad          map[string]int
	incompatible string
	// nowhere says of revisions that no node takes their pods any more, and madeOf of which revision an agent pod is.
	nowhere map[string]bool
	madeOf  map[string]string
	// back counts the rollbacks by what was rolled back.
	back map[string]int
	// activated are the grants whose coordinators don't stand by any more.
	activated map[int64]bool
	// standing says of the grants that have pods whether those were made to stand by, whatever is stored since.
	standing map[int64]bool
	// policy is what the coordinator goes by; it says so only once it was told.
	policy string
	// consents are those that were ever given.
	consents map[string]bool
	// isCalm says that nothing goes wrong any more.
	isCalm bool
}

// line is one lineage of state: the grant that owns it, that of the coordinator that may commit to it, and its newest snapshot; 0: there
// is none.
type line struct{ head, committer, state int64 }

// How a bad revision fails.
const (
	_ = iota
	neverClaims
	crashes
	fails
	kinds
)

func (l *life) one(n int) bool { return !l.isCalm && l.rand.IntN(n) == 0 }

// edit makes a random valid spec.
func (l *life) edit() {
	spec := streamv1.StreamJobSpec{
		Parallelism:   int32(1 + l.rand.IntN(3)),
		Checkpointing: &streamv1.Checkpointing{Interval: metav1.Duration{Duration: time.Duration(1+l.rand.IntN(2)) * time.Second}},
		Storage:       &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt"}},
	}
	switch l.rand.IntN(8) {
	case 0, 1:
		spec.State = streamv1.StateSuspended
	case 2:
		spec.State = streamv1.StateCancelled
	}
	switch l.rand.IntN(6) {
	case 0, 1:
		spec.Upgrade = &streamv1.Upgrade{Mode: streamv1.UpgradeFromLastCheckpoint}
	case 2:
		spec.Upgrade = &streamv1.Upgrade{Mode: streamv1.UpgradeStateless, DiscardState: fmt.Sprint(l.rand.IntN(4))}
	}
	if l.rand.IntN(2) == 0 {
		if spec.Upgrade == nil {
			spec.Upgrade = &streamv1.Upgrade{}
		}
		spec.Upgrade.Rollback = &streamv1.Rollback{StableCheckpoints: 1, MaxRestarts: new(int32(l.rand.IntN(2)))}
	}
	if l.rand.IntN(2) == 0 {
		if spec.Upgrade == nil {
			spec.Upgrade = &streamv1.Upgrade{}
		}
		spec.Upgrade.Surge = streamv1.SurgeIfPossible
	}
	if l.rand.IntN(3) == 0 {
		spec.RestartNonce = fmt.Sprint(l.rand.IntN(3))
	}
	if l.rand.IntN(4) == 0 {
		spec.Checkpoint = &streamv1.CheckpointNow{Trigger: fmt.Sprint(l.rand.IntN(5))}
	}
	if l.rand.IntN(4) == 0 {
		spec.Checkpointing.Retention = &streamv1.Retention{OnCancel: streamv1.DeleteOnCancel}
	}
	if l.rand.IntN(3) == 0 {
		spec.Savepoint = &streamv1.Savepoint{Trigger: fmt.Sprint(l.rand.IntN(5))}
	}
	l.consent(&spec)
	if !reflect.DeepEqual(spec, l.job.Spec) {
		l.job.Spec = spec
		l.job.Generation++
	}
}

// consent notes what a spec consents to.
func (l *life) consent(spec *streamv1.StreamJobSpec) {
	if u := spec.Upgrade; u != nil && u.DiscardState != "" {
		l.consents[u.DiscardState] = true
	}
}

// disturb lets something happen that the operator has no say in.
func (l *life) disturb() {
	if l.one(25) {
		l.edit()
	}
	if l.one(15) {
		l.storageDown = !l.storageDown
	}
	if l.one(40) {
		l.bad[fmt.Sprintf("p%d", 1+l.rand.IntN(3))] = l.rand.IntN(kinds)
	}
	if l.one(150) {
		l.nowhere[fmt.Sprintf("p%d", 1+l.rand.IntN(3))] = true
	}
	if l.one(40) {
		l.refuses = refuses{versions: l.rand.IntN(2) == 0, agents: l.rand.IntN(2) == 0, passes: l.rand.IntN(3) == 0}
	} else if l.rand.IntN(10) == 0 || l.isCalm {
		l.refuses = refuses{}
	}
	if l.one(40) {
		l.incompatible = fmt.Sprintf("p%d", 1+l.rand.IntN(5))
	}
	if l.one(30) {
		l.job.Annotations = map[string]string{streamv1.AnnotationPaused: "true"}
	} else if l.rand.IntN(5) == 0 || l.isCalm {
		l.job.Annotations = nil
	}
	if l.one(30) {
		l.invalid = []string{"wrong"}
	} else if l.rand.IntN(5) == 0 || l.isCalm {
		l.invalid = nil
	}
	if l.engine != nil && l.one(10) {
		l.engine.UnreachableSince, l.engine.Error = l.now, "connection refused"
	}
	switch d := l.job.Status.Deployment; {
	case l.engine == nil:
	case d != nil && l.nowhere[d.Revision]:
		if l.engine.UnreachableSince.IsZero() {
			l.engine.UnreachableSince, l.engine.Error = l.now, "no route to host"
		}
	case l.isCalm || l.rand.IntN(4) == 0:
		l.engine.UnreachableSince, l.engine.Error = time.Time{}, ""
	}
	l.now = l.now.Add(time.Duration(l.rand.IntN(20)) * time.Second)
	l.runEngine()
	l.runCandidate()
	l.runAgents()
}

// runEngine is the coordinator of the deployed grant, if it has pods.
func (l *life) runEngine() {
	defer l.settle()
	d := l.job.Status.Deployment
	if d == nil || l.versions[d.Grant] == nil || !l.versions[d.Grant].Exists {
		l.engine = nil
		return
	}
	if l.engine == nil || l.engine.Grant != d.Grant {
		l.engine = &plan.Engine{Grant: d.Grant, Status: &contract.JobStatus{State: contract.JobStarting, Durable: true}}
	}
	s := l.engine.Status
	if s.State.Ended() || !l.engine.UnreachableSince.IsZero() {
		return
	}
	switch {
	case l.storageDown:
		if s.Epoch.Grant == 0 {
			s.Problem = &contract.Problem{Reason: contract.StorageUnavailable, Message: "down"}
		}
		return
	case l.fenced(s, d.Grant):
		return
	case s.Epoch.Grant == 0 && l.bad[d.Revision] == neverClaims:
		s.Problem = &contract.Problem{Reason: contract.InvalidJob, Message: "no graph"}
		return
	case s.Epoch.Grant == 0 && l.versions[d.Grant].Stored != nil && l.versions[d.Grant].Stored.Standby && !l.activated[d.Grant]:
		s.State = contract.JobStandby
		return
	case s.Epoch.Grant == 0:
		l.claim(s, d.Grant)
	case s.State == contract.JobRunning && l.bad[d.Revision] == fails:
		s.State, s.LastFailure = contract.JobFailed, &contract.Failure{Message: "for good"}
		return
	case s.State == contract.JobRunning && (l.one(10) || l.bad[d.Revision] == crashes):
		s.State, s.LastFailure = contract.JobRestarting, &contract.Failure{Message: "crash"}
		s.Restarts++
		return
	default:
		s.State = contract.JobRunning
	}
	if s.State == contract.JobRunning && l.rand.IntN(3) == 0 {
		l.newest++
		l.lines[l.jobID].state = l.newest
		s.LastCheckpoint = &contract.SnapshotInfo{ID: l.newest, Kind: "Checkpoint", Path: fmt.Sprint("chk-", l.newest)}
	}
}

// runCandidate is the coordinator of the version that stands by, if there is one.
func (l *life) runCandidate() {
	l.candidate = nil
	grant := l.job.Status.Grant + 1
	v := l.versions[grant]
	if v == nil || !v.Exists || v.Stored == nil || l.storageDown || l.one(3) {
		return
	}
	if !l.standing[grant] {
		l.t.Fatalf("grant %d has pods that wait for nobody", grant)
	}
	own := l.lines[l.jobID]
	accepted := l.incompatible != v.Stored.Revision || own == nil || own.state == 0
	l.candidate = &plan.Engine{Grant: grant, Status: &contract.JobStatus{State: contract.JobStandby, Standby: &contract.StandbyReport{
		Ready: accepted && !l.one(2), Plan: &contract.StatePlan{Accepted: accepted, Problems: []string{"does not fit"}},
	}}}
}

// settle notes that a coordinator has ended.
func (l *life) settle() {
	if e := l.engine; e != nil && e.Status.State.Ended() {
		if own := l.lines[l.jobID]; own != nil && own.committer == e.Grant {
			own.committer = 0
		}
	}
}

// idOf is the job that the version of a grant goes on with.
func (l *life) idOf(grant int64) string {
	stored := l.versions[grant].Stored
	return cmp.Or(stored.JobID, stored.NewJobID)
}

// fenced says that a higher grant owns what a coordinator claims.
func (l *life) fenced(s *contract.JobStatus, grant int64) bool {
	id := s.JobID
	if v := l.versions[grant]; id == "" && v.Stored != nil {
		id = l.idOf(grant)
	}
	if owned := l.lines[id]; owned == nil || grant >= owned.head {
		return false
	}
	s.State, s.Problem = contract.JobStarting, &contract.Problem{Reason: contract.Fenced, Message: "fenced", HeadGrant: l.lines[id].head, JobID: id}
	return true
}

// claim takes the head and restores the newest state.
func (l *life) claim(s *contract.JobStatus, grant int64) {
	stored := l.versions[grant].Stored
	if stored == nil {
		return // its pods wait for what they mount
	}
	id, d := l.idOf(grant), l.job.Status.Deployment
	if l.jobID != "" && l.jobID != id {
		if l.lines[id] != nil || !l.consents[d.DiscardState] {
			l.t.Fatalf("grant %d goes on with job %s instead of %s: state is lost", grant, id, l.jobID)
		}
		if old := l.lines[l.jobID]; old.committer != 0 {
			l.t.Fatalf("grant %d starts job %s, and nothing shuts out grant %d of job %s", grant, id, old.committer, l.jobID)
		}
	}
	if l.lines[id] == nil {
		l.lines[id] = &line{}
	}
	own := l.lines[id]
	if stored.RewindTo == "" && l.incompatible == stored.Revision && own.state > 0 {
		s.Problem = &contract.Problem{Reason: contract.IncompatibleState, Message: "does not fit"}
		return
	}
	l.jobID, own.head, own.committer = id, grant, grant
	s.Problem, s.State, s.JobID, s.Epoch, s.MaxParallelism = nil, contract.JobRunning, id, contract.Epoch{Grant: grant, N: 1}, 128
	l.policy = stored.PolicyRevision
	if own.state > 0 {
		s.RestoredFrom = &contract.SnapshotInfo{ID: own.state, Kind: "Checkpoint", Path: fmt.Sprint("chk-", own.state)}
	}
}

// asks is what the engine makes of a request.
func (l *life) asks(id string, final contract.JobState) {
	s := l.engine.Status
	if slices.ContainsFunc(s.Operations, func(o contract.Operation) bool { return o.ID == id }) {
		return
	}
	o := contract.Operation{ID: id, Phase: contract.OperationSucceeded}
	if l.storageDown || s.State != contract.JobRunning || l.one(4) {
		o.Phase, o.Error = contract.OperationFailed, "no luck"
	} else {
		if l.saved[id] != 0 {
			l.t.Fatalf("operation %s was done twice", id)
		}
		l.newest++
		l.saved[id] = l.newest
		l.lines[l.jobID].state = l.newest
		o.Checkpoint, o.Path = l.newest, fmt.Sprint("sp-", l.newest)
		if final != "" {
			s.State = final
		}
	}
	s.Operations = append(s.Operations, o)
}

func (l *life) runAgents() {
	for i := range l.agents {
		a := &l.agents[i]
		if a.Ended {
			continue
		}
		if l.nowhere[l.madeOf[a.Name]] {
			a.Trouble = &plan.Trouble{Reason: streamv1.ReasonUnschedulable, Message: "no node takes it"}
			continue
		}
		if l.rand.IntN(2) == 0 && !l.isCalm {
			continue
		}
		a.Ended, a.Trouble = true, nil
		switch {
		case l.storageDown:
			a.Result = &contract.AgentResult{Problem: &contract.Problem{Reason: contract.StorageUnavailable, Message: "down"}}
		case l.one(5):
			a.Message = "evicted"
		default:
			a.Result = l.runAgent(a.Name)
		}
	}
}

// runAgent is what an agent pod finds or does.
func (l *life) runAgent(name string) *contract.AgentResult {
	own := l.lines[l.jobID]
	r := &contract.AgentResult{OK: true}
	switch st := &l.job.Status; {
	case strings.Contains(name, "-check-"):
		v := l.versions[st.Grant+1]
		if v == nil || v.Stored == nil || v.Stored.Revision != l.incompatible || own == nil || own.state == 0 {
			break
		}
		r = &contract.AgentResult{Problem: &contract.Problem{Reason: contract.IncompatibleState, Message: "does not fit"}}
		if v.Stored.RewindTo != "" {
			r = &contract.AgentResult{OK: l.rand.IntN(2) == 0, Problem: &contract.Problem{Reason: contract.RewindUnsafe, Message: "committed"}}
		}
	case own == nil:
	case strings.Contains(name, "-dispose-"):
		own.head, own.committer, own.state = max(own.head, st.Grant), 0, 0
	default:
		own.head, own.committer = max(own.head, st.Grant), 0
	}
	if own != nil && own.state > 0 {
		r.Newest = &contract.SnapshotInfo{ID: own.state, Kind: "Checkpoint", Path: "x"}
	}
	return r
}

// turn plans once and does what the plan says; with crash, only a part of it.
func (l *life) turn(crash bool) plan.Plan {
	o := l.observe()
	p := plan.Next(o, l.now)
	l.forgetRefusals()
	if again := plan.Next(o, l.now); !reflect.DeepEqual(p, again) {
		l.t.Fatalf("the same observation gave two plans:\n%+v\n%+v", p, again)
	}
	l.check(o, p)
	do := len(p.Actions)
	if crash {
		do = l.rand.IntN(do + 1)
	}
	for _, a := range p.Actions[:do] {
		l.carryOut(a)
	}
	if !crash {
		l.job.Status = p.Status
		for _, e := range p.Events {
			if e.Reason == "RollingBack" {
				r := p.Status.Rollback
				key := fmt.Sprint(r.FromRevision, " of ", r.FromGeneration, " with ", r.RestartNonce, " as grant ", o.Job.Status.Deployment.Grant)
				if l.back[key]++; l.back[key] > 1 && o.Job.Status.Rollback != nil {
					l.t.Fatalf("%s is rolled back again", key)
				}
			}
		}
	}
	return p
}

func (l *life) carryOut(a plan.Action) {
	l.act(a)
	defer l.settle()
	if a, ok := a.(plan.RunAgent); ok && l.versions[a.Revision] != nil && l.versions[a.Revision].Stored != nil {
		l.madeOf[a.Name] = l.versions[a.Revision].Stored.Revision
	}
	if a, ok := a.(plan.Apply); ok && l.versions[a.Grant].Exists {
		l.standing[a.Grant] = l.versions[a.Grant].Stored.Standby
	}
	reachable := l.engine != nil && l.engine.UnreachableSince.IsZero()
	switch a := a.(type) {
	case plan.Stop:
		if reachable {
			l.asks(a.Request.OperationID, contract.JobStopped)
		}
	case plan.TakeSavepoint:
		if reachable {
			l.asks(a.Request.OperationID, "")
		}
	case plan.TakeCheckpoint:
		if reachable {
			l.asks(a.Request.OperationID, "")
		}
	case plan.Cancel:
		if !reachable || l.engine.Status.State.Ended() || l.engine.Status.Epoch.Grant == 0 {
			return
		}
		s := l.engine.Status
		s.State = contract.JobCancelled
		s.Operations = append(s.Operations, contract.Operation{ID: a.Request.OperationID, Phase: contract.OperationSucceeded})
		if c := l.job.Spec.Checkpointing; c.Retention != nil {
			l.lines[l.jobID].state = 0
		}
	case plan.Activate:
		if reachable && l.engine.Grant == a.Grant {
			l.activated[a.Grant] = true
		}
	case plan.Delete:
		delete(l.activated, a.Grant)
	case plan.SetPolicy:
		if reachable {
			l.policy = l.versions[a.Grant].Stored.PolicyRevision
			l.engine.Status.PolicyRevision = l.policy
		}
	}
}

// check looks whether a plan breaks a rule.
func (l *life) check(o plan.Observation, p plan.Plan) {
	was, st := &o.Job.Status, &p.Status
	if o.Job.Annotations != nil && len(p.Actions) > 0 {
		l.t.Fatalf("it is paused, but %+v", p.Actions)
	}
	if st.RestartNonce != was.RestartNonce && (l.engine.Status.State != contract.JobRunning || was.Deployment.RestartNonce != st.RestartNonce) {
		l.t.Fatalf("the restart %q is used up, but the job does not run: %s", st.RestartNonce, summary(st))
	}
	if len(st.History) > 10 {
		l.t.Fatalf("the history has %d entries", len(st.History))
	}
	if st.Grant < was.Grant {
		l.t.Fatalf("the grant goes back from %d to %d", was.Grant, st.Grant)
	}
	for _, a := range p.Actions {
		switch a := a.(type) {
		case plan.Apply:
			warm := was.Operation != nil && was.Operation.Warm && a.Grant == was.Grant+1
			if was.Deployment == nil || was.Deployment.Grant != a.Grant && !warm || was.Deployment.Ended != "" {
				l.t.Fatalf("%+v, but the status written before says %+v", a, was.Deployment)
			}
		case plan.Activate:
			if was.Deployment == nil || was.Deployment.Grant != a.Grant {
				l.t.Fatalf("%+v, but the status written before says %+v", a, was.Deployment)
			}
		case plan.Stop:
			if was.Operation == nil || was.Operation.ID != a.Request.OperationID {
				l.t.Fatalf("%+v was not written down before: %+v", a, was.Operation)
			}
		case plan.RunAgent:
			if a.Task == plan.FenceTask && a.Grant > was.Grant {
				l.t.Fatalf("%+v claims with a grant that was not written: %d", a, was.Grant)
			}
		case plan.Delete:
			if d := was.Deployment; d != nil && d.Grant == a.Grant && d.Ended == "" {
				l.t.Fatalf("%+v, but it is the deployed version", a)
			}
		}
	}
	ready := apimeta.FindStatusCondition(st.Conditions, streamv1.ConditionReady)
	if ready.Status == metav1.ConditionTrue && st.Deployment != nil && st.Deployment.Ended == "" && st.Deployment.Revision != o.Revision {
		l.t.Fatalf("Ready, but revision %s is deployed and %s is asked for", st.Deployment.Revision, o.Revision)
	}
	if ready.Status == metav1.ConditionTrue && st.Deployment != nil && st.Deployment.Ended == "" && l.policy != o.PolicyRevision {
		l.t.Fatalf("Ready, but policy %s is in force and %s is asked for", l.policy, o.PolicyRevision)
	}
	if ready.Status == metav1.ConditionTrue && len(o.Invalid) > 0 && st.Operation == nil && st.Deployment != nil {
		l.t.Fatalf("Ready with an invalid spec")
	}
}

// calm lets everything go well and expects the job to get where its spec wants it, and then to rest.
func (l *life) calm() {
	l.isCalm, l.storageDown, l.invalid, l.incompatible = true, false, nil, ""
	clear(l.bad)
	l.job.Generation++
	l.job.Spec.RestartNonce = "calm"
	if len(l.nowhere) > 0 {
		l.job.Spec.Parallelism = 4 // where there are nodes
	}
	if u := l.job.Spec.Upgrade; u != nil && u.DiscardState != "" {
		u.DiscardState = "calm"
	}
	l.consent(&l.job.Spec)
	for range 400 {
		l.disturb()
		l.turn(false)
	}
	before := l.newest
	l.now = l.now.Add(time.Second)
	p := l.turn(false)
	st := &p.Status
	ready := apimeta.FindStatusCondition(st.Conditions, streamv1.ConditionReady)
	if ready.Status != metav1.ConditionTrue {
		l.t.Fatalf("not Ready in the end: %s", summary(st))
	}
	suspended := l.job.Spec.State != ""
	if !suspended && st.RestartNonce != "calm" {
		l.t.Fatalf("the job was not restarted: %s", summary(st))
	}
	if c := l.job.Spec.Checkpoint; c != nil && !suspended && st.CheckpointTrigger != c.Trigger {
		l.t.Fatalf("the checkpoint %s was not taken: %s", c.Trigger, summary(st))
	}
	if live := st.Deployment != nil && st.Deployment.Ended == ""; live == suspended {
		l.t.Fatalf("suspended is %t, but %s", suspended, summary(st))
	}
	if s := l.job.Spec.Savepoint; s != nil && !suspended && st.SavepointTrigger != s.Trigger {
		l.t.Fatalf("the savepoint %s was not taken: %s", s.Trigger, summary(st))
	}
	if q := plan.Next(l.observe(), l.now.Add(time.Minute)); l.newest == before && !reflect.DeepEqual(q.Status, p.Status) {
		l.t.Fatalf("at rest the status still changes:\n%+v\n%+v", p.Status, q.Status)
	}
}
