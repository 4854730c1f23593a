// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
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
// that fail, an operator that crashes between any two actions or before it has written the status. After each, the world
// calms down, and the job must get to what its spec says without ever having broken a rule.
func TestNext_RandomLives(t *testing.T) {
	first, n := uint64(1), uint64(*seeds)
	if *seed != 0 {
		first, n = *seed, 1
	}
	for s := first; s < first+n; s++ {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			l := &life{world: newWorld(), t: t, rand: rand.New(rand.NewPCG(s, 1)), saved: map[string]int64{}}
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
	// head is the grant that owns the job, newest the id of its newest snapshot; saved are the savepoints by operation.
	head, newest int64
	saved        map[string]int64
	jobID        string
	storageDown  bool
	// isCalm says that nothing goes wrong any more.
	isCalm bool
}

func (l *life) one(n int) bool { return !l.isCalm && l.rand.IntN(n) == 0 }

// edit makes a random valid spec.
func (l *life) edit() {
	spec := streamv1.StreamJobSpec{
		Parallelism:   int32(1 + l.rand.IntN(3)),
		Checkpointing: &streamv1.Checkpointing{Interval: metav1.Duration{Duration: time.Duration(1+l.rand.IntN(2)) * time.Second}},
		Storage:       &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt"}},
	}
	if l.rand.IntN(4) == 0 {
		spec.State = streamv1.StateSuspended
	}
	if l.rand.IntN(3) == 0 {
		spec.Upgrade = &streamv1.Upgrade{Mode: streamv1.UpgradeFromLastCheckpoint}
	}
	if l.rand.IntN(3) == 0 {
		spec.Savepoint = &streamv1.Savepoint{Trigger: fmt.Sprint(l.rand.IntN(5))}
	}
	if !reflect.DeepEqual(spec, l.job.Spec) {
		l.job.Spec = spec
		l.job.Generation++
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
	if l.one(30) {
		l.invalid = []string{"wrong"}
	} else if l.rand.IntN(5) == 0 || l.isCalm {
		l.invalid = nil
	}
	if l.engine != nil && l.one(10) {
		l.engine.UnreachableSince, l.engine.Error = l.now, "connection refused"
	}
	if l.engine != nil && (l.isCalm || l.rand.IntN(4) == 0) {
		l.engine.UnreachableSince, l.engine.Error = time.Time{}, ""
	}
	l.now = l.now.Add(time.Duration(l.rand.IntN(20)) * time.Second)
	l.runEngine()
	l.runAgents()
}

// runEngine is the coordinator of the deployed grant, if it has pods.
func (l *life) runEngine() {
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
	case d.Grant < l.head:
		s.State, s.Problem = contract.JobStarting, &contract.Problem{Reason: contract.Fenced, Message: "fenced", HeadGrant: l.head}
		return
	case s.Epoch.Grant == 0:
		l.claim(s, d.Grant)
	case s.State == contract.JobRunning && l.one(10):
		s.State, s.LastFailure = contract.JobRestarting, &contract.Failure{Message: "crash"}
	default:
		s.State = contract.JobRunning
	}
	if s.State == contract.JobRunning && l.rand.IntN(3) == 0 {
		l.newest++
		s.LastCheckpoint = &contract.SnapshotInfo{ID: l.newest, Kind: "Checkpoint", Path: fmt.Sprint("chk-", l.newest)}
	}
}

// claim takes the head and restores the newest state.
func (l *life) claim(s *contract.JobStatus, grant int64) {
	stored := l.versions[grant].Stored
	id := stored.JobID
	if id == "" {
		id = "000011"
	}
	if l.jobID != "" && l.jobID != id {
		l.t.Fatalf("grant %d goes on with job %s instead of %s: state is lost", grant, id, l.jobID)
	}
	l.jobID, l.head = id, grant
	s.Problem, s.State, s.JobID, s.Epoch, s.MaxParallelism = nil, contract.JobRunning, id, contract.Epoch{Grant: grant, N: 1}, 128
	s.PolicyRevision = stored.PolicyRevision
	if l.newest > 0 {
		s.RestoredFrom = &contract.SnapshotInfo{ID: l.newest, Kind: "Checkpoint", Path: fmt.Sprint("chk-", l.newest)}
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
		if a.Ended || l.rand.IntN(2) == 0 && !l.isCalm {
			continue
		}
		a.Ended = true
		switch {
		case l.storageDown:
			a.Result = &contract.AgentResult{Problem: &contract.Problem{Reason: contract.StorageUnavailable, Message: "down"}}
		case l.one(5):
			a.Message = "evicted"
		default:
			a.Result = &contract.AgentResult{OK: true, Newest: &contract.SnapshotInfo{ID: l.newest, Kind: "Checkpoint", Path: "x"}}
			if strings.Contains(a.Name, "-fence-") {
				l.head = max(l.head, l.job.Status.Grant)
			}
		}
	}
}

// turn plans once and does what the plan says; with crash, only a part of it.
func (l *life) turn(crash bool) plan.Plan {
	o := l.observe()
	p := plan.Next(o, l.now)
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
	}
	return p
}

func (l *life) carryOut(a plan.Action) {
	l.act(a)
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
	case plan.SetPolicy:
		if reachable {
			l.engine.Status.PolicyRevision = l.versions[a.Grant].Stored.PolicyRevision
		}
	}
}

// check looks whether a plan breaks a rule.
func (l *life) check(o plan.Observation, p plan.Plan) {
	was, st := &o.Job.Status, &p.Status
	if st.Grant < was.Grant {
		l.t.Fatalf("the grant goes back from %d to %d", was.Grant, st.Grant)
	}
	for _, a := range p.Actions {
		switch a := a.(type) {
		case plan.Apply:
			if was.Deployment == nil || was.Deployment.Grant != a.Grant || was.Deployment.Ended != "" {
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
	if ready.Status == metav1.ConditionTrue && len(o.Invalid) > 0 && st.Operation == nil && st.Deployment != nil {
		l.t.Fatalf("Ready with an invalid spec")
	}
}

// calm lets everything go well and expects the job to get where its spec wants it, and then to rest.
func (l *life) calm() {
	l.isCalm, l.storageDown, l.invalid = true, false, nil
	l.job.Generation++
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
	suspended := l.job.Spec.State == streamv1.StateSuspended
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
