// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	jobplan "github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// bench is a StreamSnapshot, what surrounds it, and a clock.
type bench struct {
	t   *testing.T
	o   Observation
	now time.Time
	// done are the actions since they were asked for, events the reasons of the events.
	done   []Action
	events []string
	next   time.Duration
}

// newBench has a running job, and a StreamSnapshot of it.
func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, now: start}
	b.o.Snapshot = &streamv1.StreamSnapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "before", UID: "u1", Generation: 1},
		Spec:       streamv1.StreamSnapshotSpec{JobRef: &streamv1.JobReference{Name: "words"}},
	}
	b.o.Job = &streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words", UID: "j1"},
		Spec:       streamv1.StreamJobSpec{Storage: &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt"}}},
		Status:     streamv1.StreamJobStatus{Deployment: &streamv1.DeploymentReport{Grant: 3}},
	}
	b.runs(3)
	return b
}

// runs has the coordinator of a grant answer that the job runs.
func (b *bench) runs(grant int64) {
	b.o.Job.Status.Deployment.Grant = grant
	b.o.Engine = &jobplan.Engine{Grant: grant, Status: &contract.JobStatus{JobID: "0123456789", State: contract.JobRunning}}
}

// adopting makes it a StreamSnapshot that adopts a path.
func (b *bench) adopting(path string) {
	b.o.Snapshot.Spec = streamv1.StreamSnapshotSpec{Path: streamv1.Location(path), Storage: &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt"}}}
	b.o.Job, b.o.Engine = nil, nil
}

func (b *bench) deleting() {
	at := metav1.NewTime(b.now)
	b.o.Snapshot.DeletionTimestamp = &at
}

// pass makes one pass and writes its status; the agents that it deletes are gone.
func (b *bench) pass() *streamv1.StreamSnapshotStatus {
	b.t.Helper()
	before := b.o.Snapshot.DeepCopy()
	p := Next(b.o, b.now)
	if diff := cmp.Diff(before, b.o.Snapshot); diff != "" {
		b.t.Fatalf("the observation was changed:\n%s", diff)
	}
	for _, a := range p.Actions {
		if d, ok := a.(DeleteAgent); ok {
			b.o.Agents = slices.DeleteFunc(b.o.Agents, func(a jobplan.Agent) bool { return a.Name == d.Name })
			continue
		}
		b.done = append(b.done, a)
	}
	for _, e := range p.Events {
		b.events = append(b.events, e.Reason)
	}
	b.o.Snapshot.Status, b.next = p.Status, p.Next
	return &b.o.Snapshot.Status
}

func (b *bench) status() *streamv1.StreamSnapshotStatus { return &b.o.Snapshot.Status }

// did returns the actions since the last call, without what they carry.
func (b *bench) did() []string {
	var out []string
	for _, a := range b.done {
		switch a := a.(type) {
		case Ask:
			out = append(out, fmt.Sprintf("ask %d %s", a.Grant, a.Request.OperationID))
		case RunAgent:
			out = append(out, fmt.Sprintf("%s %s", a.Task, a.Path))
		default:
			out = append(out, fmt.Sprintf("%T", a))
		}
	}
	b.done = nil
	return out
}

func (b *bench) wantDid(want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.did()); diff != "" {
		b.t.Fatalf("what was done (-want +got):\n%s", diff)
	}
}

// ends has the agent pod that was asked for last end with a result; nil: without one.
func (b *bench) ends(r *contract.AgentResult) {
	b.t.Helper()
	for _, a := range slices.Backward(b.done) {
		if run, ok := a.(RunAgent); ok {
			b.o.Agents = append(b.o.Agents, jobplan.Agent{Name: run.Name, Ended: true, Result: r, Message: "exit code 1"})
			b.done = nil
			return
		}
	}
	b.t.Fatal("no agent was asked for")
}

// wantReason asks for the reason of the condition Ready, and whether the condition Stalled is True.
func (b *bench) wantReason(reason string, stalled bool) {
	b.t.Helper()
	ready := apimeta.FindStatusCondition(b.status().Conditions, streamv1.ConditionReady)
	if ready == nil || ready.Reason != reason || apimeta.IsStatusConditionTrue(b.status().Conditions, streamv1.ConditionStalled) != stalled {
		b.t.Fatalf("want %s, stalled %t; got %+v", reason, stalled, b.status())
	}
}

func succeeded(id string) contract.Operation {
	return contract.Operation{
		ID: id, Type: contract.SavepointOperation, Phase: contract.OperationSucceeded, Checkpoint: 7, Path: "s3://bkt/savepoints/savepoint-012345-" + id + "/",
		SizeBytes: 100, StartedAt: start, EndedAt: start.Add(1500 * time.Millisecond),
	}
}

func TestNext_WritesTheOperationBeforeTheEngineHearsOfIt(t *testing.T) {
	b := newBench(t)
	st := b.pass()
	if st.State != streamv1.SnapshotInProgress || st.OperationID != "ssnap-u1-1" || st.JobUID != "j1" || st.JobID != "0123456789" || st.Storage == nil || b.next > time.Second {
		t.Fatalf("the first pass wrote %+v", st)
	}
	b.wantDid()
	b.pass()
	b.wantDid("ask 3 ssnap-u1-1")
	b.o.Engine.Status.Operations = []contract.Operation{{ID: "ssnap-u1-1", Phase: contract.OperationRunning}}
	b.pass()
	b.wantDid() // it is under way
	b.o.Engine.Status.Operations = []contract.Operation{succeeded("ssnap-u1-1")}
	b.o.Engine.Checkpoints = &contract.CheckpointsReport{Recent: []contract.CheckpointReport{
		{SnapshotInfo: contract.SnapshotInfo{ID: 7, Kind: "Savepoint", SizeBytes: 120, DurationMillis: 1400}, State: "Completed"},
	}}
	st = b.pass()
	if st.State != streamv1.SnapshotCompleted || st.Kind != "Savepoint" || st.CheckpointID != 7 || st.SizeBytes != 120 || st.DurationMillis != 1400 ||
		!strings.HasSuffix(st.Path, "ssnap-u1-1/") || st.CompletedAt.Second() != 6 {
		t.Fatalf("the end is %+v", st)
	}
	b.wantReason(streamv1.ReasonSnapshotCompleted, false)
	b.o.Job, b.o.Engine = nil, nil
	if was := *b.pass(); was.State != streamv1.SnapshotCompleted || b.next != 0 {
		t.Errorf("it is not left alone: %+v, next %v", was, b.next)
	}
	b.wantDid()
}

// Reports of checkpoints are fetched less often than the status, so the newest one may be from while the savepoint was being taken.
func TestNext_TakesNoFiguresOfASavepointThatIsNotComplete(t *testing.T) {
	b := newBench(t)
	b.pass()
	b.o.Engine.Status.Operations = []contract.Operation{succeeded("ssnap-u1-1")}
	b.o.Engine.Checkpoints = &contract.CheckpointsReport{Recent: []contract.CheckpointReport{
		{SnapshotInfo: contract.SnapshotInfo{ID: 7, Kind: "Savepoint", SizeBytes: 20, DurationMillis: 1}, State: "InProgress"},
	}}
	if st := b.pass(); st.State != streamv1.SnapshotCompleted || st.SizeBytes != 100 || st.DurationMillis != 1500 {
		t.Errorf("got %+v", st)
	}
}

// What the coordinator answers counts like what it reports: a report shows the newest operations only.
func TestNext_TakesTheAnswerForAReport(t *testing.T) {
	b := newBench(t)
	b.pass()
	o := succeeded("ssnap-u1-1")
	b.o.Answer = &o
	if st := b.pass(); st.State != streamv1.SnapshotCompleted || st.SizeBytes != 100 || st.DurationMillis != 1500 {
		t.Errorf("got %+v", st)
	}
	b = newBench(t)
	b.pass()
	o = succeeded("another")
	b.o.Answer = &o
	b.pass()
	b.wantDid("ask 3 ssnap-u1-1")
}

func TestNext_AsksTheNextVersionForTheSame(t *testing.T) {
	b := newBench(t)
	b.pass()
	b.pass()
	b.did()
	b.o.Engine.UnreachableSince = b.now
	b.now = b.now.Add(time.Minute)
	b.pass()
	b.wantDid()
	b.wantReason(streamv1.ReasonJobNotRunning, false)
	b.o.Job.Status.Deployment.Ended = streamv1.EndStopped // an upgrade or a suspension stops the job with a savepoint of its own
	b.o.Engine.Status.Operations = []contract.Operation{{ID: "upgrade-3-2-1", Type: contract.StopOperation, Phase: contract.OperationSucceeded, Path: "s3://bkt/x/", Checkpoint: 9}}
	if st := b.pass(); st.State != streamv1.SnapshotInProgress {
		t.Fatalf("the savepoint of a stop was taken for it: %+v", st)
	}
	b.o.Job.Status.Deployment.Ended = ""
	b.runs(4)
	b.pass()
	b.wantDid("ask 4 ssnap-u1-1")
	b.o.Engine.Status.Operations = []contract.Operation{{ID: "ssnap-u1-1", Phase: contract.OperationUnknown}}
	b.pass()
	b.wantDid("ask 4 ssnap-u1-1")
	b.o.Engine.Status.Operations = []contract.Operation{succeeded("ssnap-u1-1")}
	if st := b.pass(); st.State != streamv1.SnapshotCompleted || st.Attempts != 1 {
		t.Errorf("got %+v", st)
	}
}

func TestNext_ATryThatFailedIsFollowedByAnotherWithANewID(t *testing.T) {
	b := newBench(t)
	for attempt, seconds := range []int{10, 20, 40, 80, 160, 300, 300} {
		id := fmt.Sprintf("ssnap-u1-%d", attempt+1)
		if st := b.pass(); st.OperationID != id || int(st.Attempts) != attempt+1 {
			t.Fatalf("try %d: %+v", attempt, st)
		}
		b.o.Engine.Status.Operations = []contract.Operation{{ID: id, Phase: contract.OperationFailed, Error: "no space left"}}
		st := b.pass()
		b.wantReason(streamv1.ReasonSavepointFailed, false)
		if st.State != streamv1.SnapshotPending || st.OperationID != "" || !strings.Contains(st.Message, "no space left") {
			t.Fatalf("try %d failed: %+v", attempt, st)
		}
		b.now = b.now.Add(time.Duration(seconds-1) * time.Second)
		if st := b.pass(); st.OperationID != "" || b.next == 0 || !strings.Contains(st.Message, "no space left") {
			t.Fatalf("try %d: the pause is too short: %+v", attempt, st)
		}
		b.wantReason(streamv1.ReasonSavepointFailed, false)
		b.now = b.now.Add(2 * time.Second)
	}
}

func TestNext_NothingElseIsBegunBeforeTheEngineSaysWhatBecameOfIt(t *testing.T) {
	b := newBench(t)
	b.o.Snapshot.Spec.Timeout = metav1.Duration{Duration: time.Minute}
	b.pass()
	b.o.Engine.Status.Operations = []contract.Operation{{ID: "ssnap-u1-1", Phase: contract.OperationRunning}}
	b.now = b.now.Add(time.Hour)
	if st := b.pass(); st.OperationID != "ssnap-u1-1" || !strings.Contains(st.Message, "not complete in time") {
		t.Errorf("got %+v", st)
	}
}

func TestNext_SaysWhatItWaitsFor(t *testing.T) {
	tests := map[string]struct {
		set     func(b *bench)
		reason  string
		stalled bool
		text    string
	}{
		"no such job":    {func(b *bench) { b.o.Job, b.o.Engine = nil, nil }, streamv1.ReasonJobNotFound, true, "create it"},
		"no storage":     {func(b *bench) { b.o.Job.Spec.Storage = nil }, streamv1.ReasonNoStorage, true, "set spec.storage"},
		"never started":  {func(b *bench) { b.o.Job.Status.Deployment = nil }, streamv1.ReasonJobNotRunning, false, "not started yet"},
		"restarting":     {func(b *bench) { b.o.Engine.Status.State = contract.JobRestarting }, streamv1.ReasonJobNotRunning, false, "Restarting"},
		"not heard of":   {func(b *bench) { b.o.Engine = nil }, streamv1.ReasonJobNotRunning, false, "does not answer"},
		"an old version": {func(b *bench) { b.o.Engine.Grant = 2 }, streamv1.ReasonJobNotRunning, false, "does not answer"},
		"a problem": {
			func(b *bench) { b.o.Engine.Status.Problem = &contract.Problem{Message: "access denied"} }, streamv1.ReasonJobNotRunning, false, "access denied",
		},
		"suspended": {func(b *bench) {
			b.o.Job.Spec.State, b.o.Job.Status.Deployment.Ended = streamv1.StateSuspended, streamv1.EndStopped
			b.o.Job.Status.LastSavepoint = &streamv1.SnapshotReport{Path: "s3://bkt/savepoints/s1/"}
		}, streamv1.ReasonJobNotRunning, true, "spec.path s3://bkt/savepoints/s1/"},
		"completed": {func(b *bench) { b.o.Job.Status.Deployment.Ended = streamv1.EndFinished }, streamv1.ReasonJobNotRunning, true, "Finished"},
		"deleting": {func(b *bench) {
			at := metav1.NewTime(b.now)
			b.o.Job.DeletionTimestamp = &at
		}, streamv1.ReasonJobNotRunning, true, "being deleted"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			tc.set(b)
			if st := b.pass(); st.State != streamv1.SnapshotPending || !strings.Contains(st.Message, tc.text) {
				t.Errorf("got %+v", st)
			}
			b.wantReason(tc.reason, tc.stalled)
			b.wantDid()
		})
	}
}

func TestNext_LooksInStorageWhenTheJobIsGone(t *testing.T) {
	inspect := "inspect savepoints/savepoint-012345-ssnap-u1-1"
	tests := map[string]struct {
		results []*contract.AgentResult
		state   streamv1.SnapshotState
		pods    int
	}{
		"it was complete": {[]*contract.AgentResult{{OK: true, JobID: "0123456789", Snapshot: &contract.SnapshotInfo{ID: 7, Kind: "Savepoint", Path: "p"}}}, streamv1.SnapshotCompleted, 1},
		"it was not":      {[]*contract.AgentResult{{Problem: &contract.Problem{Reason: contract.RestoreNotFound}}}, streamv1.SnapshotFailed, 1},
		"it was not whole": {
			[]*contract.AgentResult{{Problem: &contract.Problem{Reason: contract.RestoreCorrupt}}}, streamv1.SnapshotFailed, 1,
		},
		"storage did not answer first": {[]*contract.AgentResult{
			{Problem: &contract.Problem{Reason: contract.StorageUnavailable, Message: "no answer"}}, nil, {Problem: &contract.Problem{Reason: contract.RestoreNotFound}},
		}, streamv1.SnapshotFailed, 3},
	}
	for name, tc := range tests {
		for how, gone := range map[string]func(b *bench){
			"deleted":  func(b *bench) { b.o.Job, b.o.Engine = nil, nil },
			"another":  func(b *bench) { b.o.Job.UID = "j2" },
			"finished": func(b *bench) { b.o.Job.Status.Deployment.Ended = streamv1.EndFinished },
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				b := newBench(t)
				b.pass()
				b.now = b.now.Add(time.Hour) // it was long on its way
				gone(b)
				b.pass()
				pods := 0
				for _, r := range tc.results {
					b.pass()
					if got := b.did(); !slices.Equal(got, []string{inspect}) {
						t.Fatalf("asked for %v", got)
					}
					b.pass()
					b.ends(r)
					pods++
					b.pass()
					b.now = b.now.Add(6 * time.Minute)
				}
				if st := b.status(); st.State != tc.state || pods != tc.pods {
					t.Errorf("after %d pods: %+v", pods, st)
				}
			})
		}
	}
}

// A job that was started anew without its state, under the same StreamJob, is another job: its coordinator knows nothing of the savepoint, and would take one of
// its own state.
func TestNext_AsksNoOtherLineageForTheSavepoint(t *testing.T) {
	b := newBench(t)
	b.pass()
	b.pass()
	b.did()
	b.runs(4)
	b.o.Engine.Status.JobID = "9999999999"
	b.pass()
	b.pass()
	b.wantDid("inspect savepoints/savepoint-012345-ssnap-u1-1")
	b.pass()
	b.ends(&contract.AgentResult{OK: true, JobID: "0123456789", Snapshot: &contract.SnapshotInfo{ID: 7, Kind: "Savepoint", Path: "p"}})
	if st := b.pass(); st.State != streamv1.SnapshotCompleted || st.JobID != "0123456789" {
		t.Errorf("got %+v", st)
	}
}

func TestNext_TheJobIsGoneBetweenTwoTries(t *testing.T) {
	b := newBench(t)
	b.pass()
	b.o.Engine.Status.Operations = []contract.Operation{{ID: "ssnap-u1-1", Phase: contract.OperationFailed}}
	b.pass()
	b.o.Job, b.o.Engine = nil, nil
	if st := b.pass(); st.State != streamv1.SnapshotFailed {
		t.Errorf("got %+v", st)
	}
	b.wantReason(streamv1.ReasonJobGone, true)
}

func TestNext_AdoptsASnapshot(t *testing.T) {
	b := newBench(t)
	b.adopting("s3://bkt/jobs/ns/words/0123456789/checkpoints/chk-7")
	if st := b.pass(); st.State != streamv1.SnapshotInProgress || st.Storage == nil {
		t.Fatalf("got %+v", st)
	}
	b.wantDid()
	b.pass()
	run, ok := b.done[0].(RunAgent)
	if !ok || run.Task != InspectTask || run.Pin != "ssnap-u1" || run.Storage.S3.Bucket != "bkt" || len(run.Name) > 63 {
		t.Fatalf("got %+v", b.done)
	}
	b.ends(&contract.AgentResult{OK: true, JobID: "0123456789", Pinned: true, Snapshot: &contract.SnapshotInfo{
		ID: 7, Kind: "Checkpoint", Path: "s3://bkt/jobs/ns/words/0123456789/checkpoints/chk-7/", SizeBytes: 5, CompletedAt: start,
	}})
	if st := b.pass(); st.State != streamv1.SnapshotCompleted || st.Kind != "Checkpoint" || !st.Pinned || st.JobID != "0123456789" || st.SizeBytes != 5 || st.CheckpointID != 7 {
		t.Errorf("got %+v", st)
	}
	b.pass()
	if len(b.o.Agents) > 0 {
		t.Errorf("agent pods are left: %+v", b.o.Agents)
	}
}

func TestNext_AdoptsFromTheStorageOfAJob(t *testing.T) {
	b := newBench(t)
	b.o.Snapshot.Spec.Path = "s3://bkt/savepoints/s1"
	b.o.Engine, b.o.Job.Status = nil, streamv1.StreamJobStatus{} // it need not run
	job := b.o.Job
	b.o.Job = nil
	b.pass()
	b.wantReason(streamv1.ReasonJobNotFound, true)
	b.o.Job = job
	if st := b.pass(); st.State != streamv1.SnapshotInProgress || st.Storage.S3.Bucket != "bkt" {
		t.Errorf("got %+v", st)
	}
}

func TestNext_SaysWhatIsWrongWithASnapshotToAdopt(t *testing.T) {
	b := newBench(t)
	b.adopting("s3://bkt/none")
	b.pass()
	b.pass()
	b.ends(&contract.AgentResult{Problem: &contract.Problem{Reason: contract.RestoreNotFound, Message: "there is none", Remedy: "look elsewhere"}})
	b.pass()
	b.wantReason("RestoreNotFound", true)
	b.now = b.now.Add(time.Second)
	b.pass()
	b.wantReason("RestoreNotFound", true) // also while the pause lasts
	b.now = b.now.Add(time.Minute)
	if st := b.pass(); st.Attempts != 2 || st.State != streamv1.SnapshotInProgress {
		t.Errorf("it is not tried again: %+v", st)
	}
	b.pass()
	b.now = b.now.Add(20 * time.Minute) // no node takes the pod
	if st := b.pass(); st.State != streamv1.SnapshotPending || !strings.Contains(st.Message, "in time") {
		t.Errorf("a pod that never ends: %+v", st)
	}
}

// completed is a StreamSnapshot whose savepoint is complete.
func completed(t *testing.T, policy streamv1.ReclaimPolicy) *bench {
	t.Helper()
	b := newBench(t)
	b.pass()
	b.o.Engine.Status.Operations = []contract.Operation{succeeded("ssnap-u1-1")}
	b.pass()
	b.o.Snapshot.Spec.ReclaimPolicy = policy
	b.o.Job, b.o.Engine = nil, nil // no job has to live for what follows
	b.deleting()
	b.did()
	return b
}

const (
	released = "plan.Release"
	removes  = "remove s3://bkt/savepoints/savepoint-012345-ssnap-u1-1/"
)

func TestNext_DeletesTheSnapshotWithoutALiveJob(t *testing.T) {
	b := completed(t, streamv1.ReclaimDelete)
	b.pass()
	if st := b.pass(); st.State != streamv1.SnapshotDeleting || st.OperationID != "remove-u1-1" {
		t.Fatalf("got %+v", st)
	}
	b.wantDid()
	b.pass()
	run, ok := b.done[0].(RunAgent)
	if !ok || run.Task != RemoveTask || run.JobID != "0123456789" || run.Checkpoint != 7 || run.Storage == nil {
		t.Fatalf("got %+v", b.done)
	}
	b.ends(&contract.AgentResult{OK: true, Deleted: 3})
	b.pass()
	b.wantDid(released)
	if !slices.Contains(b.events, "SnapshotDeleted") {
		t.Errorf("events: %v", b.events)
	}
}

func TestNext_LetsItGoAtOnce(t *testing.T) {
	tests := map[string]struct {
		policy streamv1.ReclaimPolicy
		set    func(b *bench)
		events bool
	}{
		"Retain":               {streamv1.ReclaimRetain, func(*bench) {}, false},
		"the default":          {"", func(*bench) {}, false},
		"the namespace ends":   {streamv1.ReclaimDelete, func(b *bench) { b.o.NamespaceEnding = true }, false},
		"an annotation forces": {streamv1.ReclaimDelete, func(b *bench) { b.o.Snapshot.Annotations = map[string]string{streamv1.AnnotationForceDelete: "true"} }, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := completed(t, tc.policy)
			tc.set(b)
			b.pass()
			b.wantDid(released)
			if slices.Contains(b.events, "SnapshotRemains") != tc.events {
				t.Errorf("events: %v", b.events)
			}
		})
	}
	t.Run("nothing was begun", func(t *testing.T) {
		b := newBench(t)
		b.o.Snapshot.Spec.ReclaimPolicy = streamv1.ReclaimDelete
		b.deleting()
		b.pass()
		b.wantDid(released)
	})
}

func TestNext_DoesNotDeleteWhatIsNeeded(t *testing.T) {
	b := completed(t, streamv1.ReclaimDelete)
	b.o.Users = []string{"StreamJob fork (spec.restoreFrom)"}
	b.pass()
	for range 3 { // however long that takes
		b.now = b.now.Add(10 * time.Hour)
		b.pass()
		b.wantReason(streamv1.ReasonSnapshotInUse, true)
		b.wantDid()
	}
	if !strings.Contains(b.status().Message, "StreamJob fork") || !strings.Contains(b.status().Message, "reclaimPolicy to Retain") {
		t.Errorf("the message is %q", b.status().Message)
	}
	b.o.Users = nil
	b.pass()
	b.pass()
	b.ends(&contract.AgentResult{Problem: &contract.Problem{Reason: contract.InUse, Message: "it is needed by the job in ns/fork/x"}})
	b.pass()
	b.wantReason(streamv1.ReasonSnapshotInUse, true)
	b.wantDid()
	b.o.Snapshot.Spec.ReclaimPolicy = streamv1.ReclaimRetain
	b.pass()
	b.wantDid(released)
}

// A head that can't be read holds up every removal in its storage: that isn't silent, and there is a way out.
func TestNext_SaysWhatKeepsItFromBeingDeletedAndHowToLetItGo(t *testing.T) {
	b := completed(t, streamv1.ReclaimDelete)
	for range 3 {
		b.pass()
	}
	b.ends(&contract.AgentResult{Problem: &contract.Problem{Reason: contract.RestoreCorrupt, Message: "its head ns/words/x/head.json cannot be read"}})
	b.pass()
	b.wantReason(string(contract.RestoreCorrupt), true)
	b.pass()
	b.wantReason(string(contract.RestoreCorrupt), true)
	for _, want := range []string{"ns/words/x/head.json", streamv1.AnnotationForceDelete, b.o.Snapshot.DeletionTimestamp.Add(time.Hour).UTC().Format(time.RFC3339)} {
		if !strings.Contains(b.status().Message, want) {
			t.Errorf("the message %q lacks %q", b.status().Message, want)
		}
	}
	b.o.Snapshot.Annotations = map[string]string{streamv1.AnnotationForceDelete: "true"}
	b.pass()
	b.wantDid(released)
}

func TestNext_GivesUpDeletingAfterAnHour(t *testing.T) {
	b := completed(t, streamv1.ReclaimDelete)
	tries := 0
	for range 1000 {
		b.pass()
		for _, a := range b.done {
			if _, ok := a.(Release); ok {
				if took := b.now.Sub(b.o.Snapshot.DeletionTimestamp.Time); took < time.Hour || took > 70*time.Minute || tries < 10 || tries > 30 {
					t.Errorf("it was let go after %v and %d tries", took, tries)
				}
				if !slices.Contains(b.events, "SnapshotRemains") {
					t.Errorf("events: %v", b.events)
				}
				return
			}
		}
		if len(b.done) > 0 {
			tries++
			b.ends(&contract.AgentResult{Problem: &contract.Problem{Reason: contract.StorageUnavailable, Message: "no answer"}})
			b.next = time.Second
		}
		b.now = b.now.Add(max(b.next, 100*time.Millisecond))
	}
	t.Error("it was never let go")
}

// A pod that can't be made, by a quota or because the volume is gone, keeps no StreamSnapshot for ever: what the plan wants written is only written when its
// actions succeed.
func TestNext_GivesUpDeletingWhenNoPodCanBeMade(t *testing.T) {
	b := completed(t, streamv1.ReclaimDelete)
	for range 10000 {
		p := Next(b.o, b.now)
		refused := slices.ContainsFunc(p.Actions, func(a Action) bool { _, ok := a.(RunAgent); return ok }) // and nothing after it happens
		for _, a := range p.Actions {
			if _, ok := a.(Release); ok && !refused {
				if took := b.now.Sub(b.o.Snapshot.DeletionTimestamp.Time); took < time.Hour || took > 90*time.Minute {
					t.Errorf("it was let go after %v", took)
				}
				return
			}
		}
		if !refused {
			b.o.Snapshot.Status = p.Status
		}
		b.now = b.now.Add(15 * time.Second)
	}
	t.Errorf("it was never let go: %+v", b.status())
}

// A savepoint that is under way when its object is deleted would stay behind.
func TestNext_WaitsForTheSavepointThatItDeletes(t *testing.T) {
	b := newBench(t)
	b.o.Snapshot.Spec.ReclaimPolicy = streamv1.ReclaimDelete
	b.pass()
	b.deleting()
	b.pass()
	b.wantDid("ask 3 ssnap-u1-1")
	b.o.Engine.Status.Operations = []contract.Operation{succeeded("ssnap-u1-1")}
	b.pass()
	b.pass()
	b.pass()
	b.pass()
	b.wantDid(removes)

	b = newBench(t)
	b.o.Snapshot.Spec.ReclaimPolicy = streamv1.ReclaimDelete
	b.pass()
	b.deleting()
	b.o.Engine.UnreachableSince = b.now
	b.now = b.now.Add(2 * time.Hour) // nobody says what became of it
	b.pass()
	b.pass()
	b.pass()
	b.wantDid("remove savepoints/savepoint-012345-ssnap-u1-1")
}

// TestNext_TakesOneSavepointWhateverIsLost loses passes, answers, coordinators and upgrades at random: one savepoint is taken for each
// try that the engine did not fail, and the path is that of it.
func TestNext_TakesOneSavepointWhateverIsLost(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		b := newBench(t)
		head := map[string]contract.Operation{} // what survives a coordinator
		running := map[string]bool{}
		grant := int64(3)
		for step := 0; b.status().State != streamv1.SnapshotCompleted; step++ {
			if step > 3000 {
				t.Fatalf("seed %d: no end: %+v", seed, b.status())
			}
			was, answer := b.o.Snapshot.Status, b.o.Answer
			b.pass()
			for _, a := range b.done {
				ask := a.(Ask)
				id := ask.Request.OperationID
				if was.OperationID != id {
					t.Fatalf("seed %d: %s was asked for before it was written", seed, id)
				}
				if o, ok := head[id]; ok {
					b.o.Answer = &o
				} else {
					running[id] = true
				}
				if rnd.IntN(3) == 0 {
					b.o.Answer = answer // it was lost
				}
			}
			b.done = nil
			if rnd.IntN(4) == 0 {
				b.o.Snapshot.Status, b.o.Answer = was, nil // the operator was killed before it wrote
			}
			for id := range running {
				switch rnd.IntN(8) {
				case 0:
					head[id] = succeeded(id)
					delete(running, id)
				case 1:
					head[id] = contract.Operation{ID: id, Phase: contract.OperationFailed}
					delete(running, id)
				}
			}
			if rnd.IntN(10) == 0 { // the coordinator is lost, or replaced by that of another version
				clear(running)
				grant += int64(rnd.IntN(2))
				b.runs(grant)
			}
			b.o.Engine.UnreachableSince = time.Time{}
			if rnd.IntN(5) == 0 {
				b.o.Engine.UnreachableSince = b.now
			}
			b.o.Engine.Status.Operations = nil
			for id, o := range head {
				if rnd.IntN(2) == 0 && id != "" {
					b.o.Engine.Status.Operations = append(b.o.Engine.Status.Operations, o)
				}
			}
			b.now = b.now.Add(time.Duration(rnd.IntN(20)) * time.Second)
		}
		taken := 0
		for _, o := range head {
			if o.Phase == contract.OperationSucceeded {
				taken++
			}
		}
		if taken != 1 {
			t.Fatalf("seed %d: %d savepoints were taken: %v", seed, taken, head)
		}
	}
}
