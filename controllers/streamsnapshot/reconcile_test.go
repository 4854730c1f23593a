// SPDX-License-Identifier: Apache-2.0

package streamsnapshot

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
)

func TestReconcile_TakesASavepoint(t *testing.T) {
	w := newWorld(t, job(), snapshot())
	w.until(t, isCompleted)
	s := w.snap(t)
	if s.Status.SizeBytes != 10 || s.Status.CheckpointID != 7 || s.Status.Path == "" || s.Status.Storage.S3.CredentialsSecretRef == nil ||
		!slices.Contains(s.Finalizers, streamv1.SnapshotFinalizer) {
		t.Errorf("got %+v", s)
	}
	want := []string{"patch before", "patch status before", "savepoint"}
	if diff := cmp.Diff(want, w.requests[:3]); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	w.requests = nil
	for range 5 {
		if result, err := w.pass(t); err != nil || result.RequeueAfter != 0 {
			t.Errorf("at rest: %+v, %v", result, err)
		}
	}
	if len(w.requests) > 0 {
		t.Errorf("at rest the operator asked for %v", w.requests)
	}
}

func TestReconcile_AgentPodsHaveTheCredentialsAndNoMore(t *testing.T) {
	w := newWorld(t, job(), snapshot(func(s *streamv1.StreamSnapshot) {
		s.Spec = streamv1.StreamSnapshotSpec{JobRef: &streamv1.JobReference{Name: "words"}, Path: "s3://bkt/savepoints/old"}
	}))
	w.store["s3://bkt/savepoints/old/"] = true
	var pod *corev1.Pod
	for range 3 {
		if _, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: snapKey}); err != nil {
			t.Fatal(err)
		}
		pods := &corev1.PodList{}
		if err := w.List(t.Context(), pods); err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) > 0 {
			pod = &pods.Items[0]
		}
	}
	if pod == nil {
		t.Fatal("there is no agent pod")
	}
	c := pod.Spec.Containers[0]
	env := map[string]string{}
	for _, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			env[e.Name] = e.ValueFrom.SecretKeyRef.Name
		}
	}
	if env["AWS_ACCESS_KEY_ID"] != "s3-credentials" || env["AWS_SECRET_ACCESS_KEY"] != "s3-credentials" || c.Image != "weir:v1" ||
		*pod.Spec.AutomountServiceAccountToken || !*c.SecurityContext.ReadOnlyRootFilesystem || len(pod.Spec.Volumes) != 1 {
		t.Errorf("the pod is %+v", pod.Spec)
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "StreamSnapshot" || pod.Labels[streamv1.LabelSnapshot] != "before" || pod.Labels[streamv1.LabelJob] != "" {
		t.Errorf("the pod is of %+v, labels %v", owner, pod.Labels)
	}
	if !strings.Contains(strings.Join(c.Args, " "), `--storage {"s3":{"endpoint":"https://s3.us-east-1.amazonaws.com","bucket":"bkt","region":"us-east-1"}} --path s3://bkt/savepoints/old`) {
		t.Errorf("its arguments are %q", c.Args)
	}
}

// A template that is not valid is never deployed. Agent pods are like the version that is: what the API server refuses would keep the StreamSnapshot.
func TestReconcile_AgentPodsAreLikeTheVersionThatIsDeployed(t *testing.T) {
	template := func(node string, volumes ...streamv1.PodVolume) *streamv1.Coordinator {
		return &streamv1.Coordinator{PodTemplate: &streamv1.PodTemplate{NodeSelector: map[string]streamv1.ShortText{"disk": streamv1.ShortText(node)}, Volumes: volumes}}
	}
	for _, deployed := range []bool{true, false} {
		edited := job()
		edited.Spec.Coordinator = template("edited", streamv1.PodVolume{Name: "tmp", EmptyDir: &streamv1.EmptyDirVolume{}})
		objects := []client.Object{edited, snapshot(adopting, func(s *streamv1.StreamSnapshot) {
			s.Spec.Storage, s.Spec.JobRef = nil, &streamv1.JobReference{Name: "words"}
		})}
		if deployed {
			r := resources.Revision{Spec: *job().Spec.DeepCopy(), Image: "weir:v1"}
			r.Spec.Coordinator = template("deployed")
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			objects = append(objects, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words-1"}, Data: map[string]string{resources.RevisionKey: string(text)},
			})
		}
		w := newWorld(t, objects...)
		pods := &corev1.PodList{}
		for range 3 {
			if _, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: snapKey}); err != nil {
				t.Fatal(err)
			}
			if err := w.List(t.Context(), pods); err != nil {
				t.Fatal(err)
			}
			if len(pods.Items) > 0 {
				break
			}
		}
		if len(pods.Items) != 1 {
			t.Fatalf("there are %d agent pods", len(pods.Items))
		}
		spec := pods.Items[0].Spec
		if got := spec.NodeSelector["disk"]; (got == "deployed") != deployed || got == "edited" || len(spec.Volumes) != 1 {
			t.Errorf("deployed %t: the pod runs on %q with %d volumes", deployed, got, len(spec.Volumes))
		}
	}
}

// TestReconcile_WhereverItIsInterrupted kills the operator at each request, with the request done and with it not done, and goes on with another: there
// is one savepoint, and deleting the StreamSnapshot deletes it once, without the job.
func TestReconcile_WhereverItIsInterrupted(t *testing.T) {
	for name, adopts := range map[string]bool{"taken": false, "adopted": true} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, done %t", name, lost), func(t *testing.T) {
				kills := 0
				for at := 0; ; at++ {
					if !interrupted(t, adopts, lost, at) {
						break
					}
					kills++
				}
				if kills < 8 {
					t.Errorf("only %d requests were interrupted", kills)
				}
			})
		}
	}
}

// interrupted runs through the life of a StreamSnapshot with an operator that dies at a request; false: it didn't come to that.
func interrupted(t *testing.T, adopts, lost bool, at int) bool {
	t.Helper()
	s := snapshot()
	if adopts {
		adopting(s)
	}
	w := newWorld(t, job(), s)
	if adopts {
		w.store["s3://bkt/savepoints/old/"] = true
	}
	w.budget, w.lost = at, lost
	died := false
	note := func(done func(*streamv1.StreamSnapshot) bool) func(*streamv1.StreamSnapshot) bool {
		return func(s *streamv1.StreamSnapshot) bool {
			died = died || w.budget < 0
			return done(s)
		}
	}
	w.until(t, note(isCompleted))
	if len(w.store) != 1 || (!adopts && len(w.coord.taken) != 1) {
		t.Fatalf("killed at %d: storage holds %v, taken were %v", at, w.store, w.coord.taken)
	}
	budget := w.budget
	if err := w.Delete(t.Context(), job()); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), snapshot()); err != nil {
		t.Fatal(err)
	}
	w.budget = budget
	w.until(t, note(isGone))
	if len(w.store) != 0 || w.removed != 1 {
		t.Fatalf("killed at %d: after the deletion storage holds %v, %d were removed", at, w.store, w.removed)
	}
	return died || w.dead
}

func TestReconcile_ASnapshotOfAJobThatIsGone(t *testing.T) {
	tests := map[string]struct {
		there bool
		want  streamv1.SnapshotState
	}{
		"was complete": {true, streamv1.SnapshotCompleted},
		"was not":      {false, streamv1.SnapshotFailed},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, job(), snapshot())
			if _, err := w.pass(t); err != nil { // written down, and not asked for
				t.Fatal(err)
			}
			if tc.there {
				w.store["s3://bkt/savepoints/savepoint-012345-"+w.snap(t).Status.OperationID+"/"] = true
			}
			if err := w.Delete(t.Context(), job()); err != nil {
				t.Fatal(err)
			}
			w.until(t, func(s *streamv1.StreamSnapshot) bool { return s.Status.State == tc.want })
		})
	}
}

func TestReconcile_DoesNotDeleteWhatAStreamJobStartsFrom(t *testing.T) {
	w := newWorld(t, job(), snapshot())
	w.until(t, isCompleted)
	fork := job()
	fork.Name, fork.UID = "fork", "f"
	fork.Spec.RestoreFrom = &streamv1.RestoreFrom{Snapshot: "before"}
	if err := w.Create(t.Context(), fork); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), snapshot()); err != nil {
		t.Fatal(err)
	}
	w.until(t, func(s *streamv1.StreamSnapshot) bool {
		c := apimeta.FindStatusCondition(s.Status.Conditions, streamv1.ConditionStalled)
		return c != nil && c.Status == metav1.ConditionTrue && c.Reason == streamv1.ReasonSnapshotInUse && strings.Contains(c.Message, "StreamJob fork")
	})
	for range 20 {
		if _, err := w.pass(t); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.store) != 1 {
		t.Fatal("it was deleted")
	}
	fork.Spec.RestoreFrom = nil
	if err := w.Update(t.Context(), fork); err != nil {
		t.Fatal(err)
	}
	w.until(t, isGone)
	if len(w.store) != 0 {
		t.Error("it is left")
	}
}

func TestReconcile_ANamespaceThatEndsIsNotHeldUp(t *testing.T) {
	w := newWorld(t, job(), snapshot())
	w.until(t, isCompleted)
	ns := &corev1.Namespace{}
	if err := w.Get(t.Context(), client.ObjectKey{Name: "ns"}, ns); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), snapshot()); err != nil {
		t.Fatal(err)
	}
	w.until(t, isGone)
	if w.removed != 0 {
		t.Error("an agent pod was made in a namespace that ends")
	}
}

func TestReconcile_ACoordinatorThatRefusesIsAskedAgain(t *testing.T) {
	w := newWorld(t, job(), snapshot())
	w.coord.status.State = contract.JobRestarting
	for range 5 {
		result, err := w.pass(t)
		if err != nil || result.RequeueAfter == 0 {
			t.Fatalf("got %+v, %v", result, err)
		}
	}
	if len(w.coord.taken) > 0 {
		t.Error("a job that restarts was asked")
	}
	w.coord.status.State = contract.JobRunning
	w.until(t, isCompleted)
}

// scheduledWorld has a job with a schedule.
func scheduledWorld(t *testing.T) *world {
	t.Helper()
	j := job()
	j.Spec.Savepoint = &streamv1.Savepoint{Schedule: "*/10 * * * *", Target: "nightly", Retention: &streamv1.SavepointRetention{Count: 2}}
	return newWorld(t, j)
}

func (w *world) schedule(t *testing.T) (ctrl.Result, error) {
	t.Helper()
	return w.ReconcileSchedule(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(job())})
}

// scheduled returns the StreamSnapshots that there are, and completes them.
func (w *world) scheduled(t *testing.T) []streamv1.StreamSnapshot {
	t.Helper()
	list := &streamv1.StreamSnapshotList{}
	if err := w.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		s := &list.Items[i]
		if s.Status.State == "" {
			s.Status.State, s.Status.CompletedAt = streamv1.SnapshotCompleted, metav1.NewTime(w.clock.Now())
			if err := w.Status().Update(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	return list.Items
}

func namesOf(list []streamv1.StreamSnapshot) (names []string) {
	for i := range list {
		names = append(names, list[i].Name)
	}
	return names
}

func TestReconcileSchedule_MakesAndPrunes(t *testing.T) {
	w := scheduledWorld(t)
	for range 5 {
		result, err := w.schedule(t)
		if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > 10*time.Minute {
			t.Fatalf("got %+v, %v", result, err)
		}
		w.scheduled(t)
		w.clock.SetTime(w.clock.Now().Add(result.RequeueAfter))
	}
	if _, err := w.schedule(t); err != nil {
		t.Fatal(err)
	}
	w.scheduled(t)
	if _, err := w.schedule(t); err != nil {
		t.Fatal(err)
	}
	list := w.scheduled(t)
	if diff := cmp.Diff([]string{"words-20300102-0340", "words-20300102-0350"}, namesOf(list)); diff != "" {
		t.Fatalf("StreamSnapshots (-want +got):\n%s", diff)
	}
	s := list[0]
	if s.Spec.ReclaimPolicy != streamv1.ReclaimDelete || s.Spec.JobRef.Name != "words" || s.Spec.Target != "nightly" || len(s.OwnerReferences) != 0 ||
		s.Labels[streamv1.LabelJob] != "words" || s.Labels[streamv1.LabelScheduled] != "true" {
		t.Errorf("it is %+v", s)
	}
	w.requests = nil
	for range 3 {
		if _, err := w.schedule(t); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.requests) > 0 {
		t.Errorf("at rest the operator asked for %v", w.requests)
	}
}

// TestReconcileSchedule_WhereverItIsInterrupted kills the operator at each request: each time has one StreamSnapshot.
func TestReconcileSchedule_WhereverItIsInterrupted(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for at := range 7 {
			w := scheduledWorld(t)
			w.budget, w.lost = at, lost
			made := map[string]bool{}
			want := map[string]bool{"words-20300102-0310": true, "words-20300102-0320": true, "words-20300102-0330": true}
			for range 8 { // the first look is at 03:04, the last one at 03:39
				for range 3 {
					_, err := w.schedule(t)
					if err != nil && !w.dead {
						t.Fatal(err)
					}
					if w.dead {
						w.restart()
						w.budget = -1
					}
					for _, name := range namesOf(w.scheduled(t)) {
						made[name] = true
					}
				}
				w.clock.SetTime(w.clock.Now().Truncate(time.Minute).Add(5 * time.Minute))
			}
			if diff := cmp.Diff(want, made); diff != "" {
				t.Errorf("killed at %d, done %t (-want +got):\n%s", at, lost, diff)
			}
			if got := w.scheduled(t); len(got) != 2 {
				t.Errorf("killed at %d, done %t: there are %v", at, lost, namesOf(got))
			}
		}
	}
}

// A job that never ran has nothing to save, and what its schedule made while it might have run goes with it.
func TestReconcileSchedule_MakesNoneForAJobThatNeverRan(t *testing.T) {
	w := scheduledWorld(t)
	j := &streamv1.StreamJob{}
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(job()), j); err != nil {
		t.Fatal(err)
	}
	j.Status.Job = &streamv1.JobReport{State: string(contract.JobStarting)} // it tells of a problem, InvalidJob say
	if err := w.Status().Update(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := w.schedule(t); err != nil {
			t.Fatal(err)
		}
		w.clock.SetTime(w.clock.Now().Add(10 * time.Minute))
	}
	if list := w.scheduled(t); len(list) != 0 {
		t.Errorf("it has made %v", namesOf(list))
	}
}

func TestReconcileSchedule_DropsWhatNeverBeganOfAJobThatIsGone(t *testing.T) {
	made := func(name string, labels map[string]string, status streamv1.StreamSnapshotStatus) *streamv1.StreamSnapshot {
		return &streamv1.StreamSnapshot{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: labels},
			Spec:       streamv1.StreamSnapshotSpec{JobRef: &streamv1.JobReference{Name: "words"}}, Status: status,
		}
	}
	pending, own := streamv1.StreamSnapshotStatus{State: streamv1.SnapshotPending}, map[string]string{streamv1.LabelJob: "words", streamv1.LabelScheduled: "true"}
	w := newWorld(t,
		made("never", own, pending), made("complete", own, streamv1.StreamSnapshotStatus{State: streamv1.SnapshotCompleted, Attempts: 1}),
		made("begun", own, streamv1.StreamSnapshotStatus{State: streamv1.SnapshotInProgress, Attempts: 1, OperationID: "x"}),
		made("by-hand", nil, pending),
		made("other", map[string]string{streamv1.LabelJob: "others", streamv1.LabelScheduled: "true"}, pending),
	)
	if _, err := w.schedule(t); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"begun", "by-hand", "complete", "other"}, namesOf(w.scheduled(t))); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
}

func TestReconcileSchedule_LeavesOtherJobsAlone(t *testing.T) {
	w := newWorld(t, job())
	if result, err := w.schedule(t); err != nil || result.RequeueAfter != 0 || len(w.requests) != 0 {
		t.Errorf("got %+v, %v, %v", result, err, w.requests)
	}
	if _, err := w.ReconcileSchedule(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: "ns", Name: "none"}}); err != nil {
		t.Error(err)
	}
}
