// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/certs"
	"github.com/weir-stream/weir/controllers/streamjob/engine"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
)

func TestReconcile_WritesTheGrantBeforeTheObjects(t *testing.T) {
	job := words()
	job.Finalizers = nil
	w := newWorld(t, job)
	w.pass(t)
	want := []string{"patch StreamJob words", "apply ConfigMap words-1", "patch status StreamJob words"}
	if diff := cmp.Diff(want, w.asked()); diff != "" {
		t.Fatalf("the first pass asked for (-want +got):\n%s", diff)
	}
	if got := w.job(t); !slices.Contains(got.Finalizers, streamv1.Finalizer) || got.Status.Grant != 1 || got.Status.Deployment == nil {
		t.Fatalf("after the first pass the StreamJob is %+v", got)
	}
	w.pass(t)
	got := w.asked()
	for _, want := range []string{"create Secret words-ca", "apply Service words-1", "apply Deployment words-1-coordinator", "apply StatefulSet words-1-worker"} {
		if !slices.Contains(got, want) {
			t.Errorf("the second pass did not %s: %v", want, got)
		}
	}
}

func TestReconcile_AsksForNothingAtRest(t *testing.T) {
	w := newWorld(t, words())
	for range 5 {
		w.pass(t)
	}
	w.asked()
	for range 20 {
		w.clock.SetTime(w.clock.Now().Add(2 * time.Second))
		w.pass(t)
	}
	if got := w.asked(); len(got) > 0 {
		t.Errorf("at rest the operator asked for %v", got)
	}
}

func TestReconcile_RepairsObjects(t *testing.T) {
	tests := map[string]struct {
		object client.Object
		harm   func(t *testing.T, w *world, o client.Object)
		want   string
	}{
		"deleted": {
			&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "words-1-coordinator"}},
			func(t *testing.T, w *world, o client.Object) {
				if err := w.Delete(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			},
			"apply Deployment words-1-coordinator",
		},
		"label": {
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "words-1"}},
			func(_ *testing.T, _ *world, o client.Object) { o.GetLabels()[streamv1.LabelComponent] = "other" },
			"apply Service words-1",
		},
		"content": {
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "words-1"}},
			func(_ *testing.T, _ *world, o client.Object) { o.(*corev1.ConfigMap).Data[resources.JobKey] = "{}" },
			"apply ConfigMap words-1",
		},
		"owner": {
			&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "words-1-worker"}},
			func(_ *testing.T, _ *world, o client.Object) { o.SetOwnerReferences(nil) },
			"apply StatefulSet words-1-worker",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, words())
			for range 4 {
				w.pass(t)
			}
			key := client.ObjectKey{Namespace: wordsKey.Namespace, Name: tc.object.GetName()}
			if err := w.Get(t.Context(), key, tc.object); err != nil {
				t.Fatal(err)
			}
			tc.harm(t, w, tc.object)
			if name != "deleted" {
				if err := w.Update(t.Context(), tc.object); err != nil {
					t.Fatal(err)
				}
			}
			w.clock.SetTime(w.clock.Now().Add(time.Minute))
			w.asked()
			w.pass(t)
			if got := w.asked(); !slices.Contains(got, tc.want) {
				t.Errorf("the operator asked for %v, want %s", got, tc.want)
			}
		})
	}
}

func TestReconcile_TakesAwayWhatOthersWroteIntoTheStatus(t *testing.T) {
	w := newWorld(t, deployed())
	want := deployed().Status
	want.Phase = streamv1.PhaseRunning
	want.Conditions = []metav1.Condition{{
		Type: streamv1.ConditionReady, Status: metav1.ConditionTrue, Reason: streamv1.ReasonRunning,
		LastTransitionTime: metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 0, time.Local)),
	}}
	w.plans(func(s *streamv1.StreamJobStatus) { *s = *want.DeepCopy() })
	w.pass(t)
	job := w.job(t)
	apimeta.SetStatusCondition(&job.Status.Conditions, metav1.Condition{Type: "Foreign", Status: metav1.ConditionTrue, Reason: "X"})
	job.Status.Conditions[0].Message = "nonsense"
	job.Status.Phase, job.Status.SavepointTrigger = "", "foreign"
	job.Status.Restore = &streamv1.RestoreReport{Reason: "foreign"}
	if err := w.WithWatch.Status().Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	w.pass(t)
	if diff := cmp.Diff(want, w.job(t).Status); diff != "" {
		t.Errorf("the status is not what it was before (-want +got):\n%s", diff)
	}
}

func TestReconcile_AFailedActionIsNamedAndNothingElseIsWritten(t *testing.T) {
	w := newWorld(t, deployed())
	w.plans(func(s *streamv1.StreamJobStatus) { s.Grant = 2 }, plan.Store{Grant: 2}, plan.RunAgent{Name: "agent", Task: plan.CheckTask, Revision: 2})
	w.refuse = func(request string) error {
		if request == "apply ConfigMap words-2" {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "words-2", errors.New("exceeded quota"))
		}
		return nil
	}
	if _, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: wordsKey}); err == nil {
		t.Fatal("the pass succeeded")
	}
	status := w.job(t).Status
	c := apimeta.FindStatusCondition(status.Conditions, streamv1.ConditionReconciling)
	if status.Grant != 1 || c == nil || c.Status != metav1.ConditionTrue || c.Reason != streamv1.ReasonActionFailed ||
		!strings.Contains(c.Message, "storing the revision of grant 2") || !strings.Contains(c.Message, "exceeded quota") {
		t.Errorf("the status is %+v", status)
	}
	if slices.Contains(w.asked(), "apply Pod agent") {
		t.Error("the action after the one that failed was carried out")
	}
	first := w.job(t).ResourceVersion
	if _, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: wordsKey}); err == nil {
		t.Fatal("the second pass succeeded")
	}
	if got := w.job(t).ResourceVersion; got != first {
		t.Error("the same failure was written again")
	}
}

func TestReconcile_AConflictIsRetriedQuietly(t *testing.T) {
	w := newWorld(t, deployed())
	w.plans(func(s *streamv1.StreamJobStatus) { s.Phase = streamv1.PhaseRunning })
	w.refuse = func(request string) error {
		if request == "patch status StreamJob words" {
			return apierrors.NewConflict(schema.GroupResource{Resource: "streamjobs"}, "words", errors.New("the object has been modified"))
		}
		return nil
	}
	if result := w.pass(t); result.RequeueAfter != retryStale {
		t.Errorf("the pass ended with %+v", result)
	}
}

// A cache that lags must not make the operator do again, or undo, what it has done: TestReconcile_WaitsForTheCache has it lag.
func TestReconcile_WaitsForTheCache(t *testing.T) {
	t.Run("the StreamJob", func(t *testing.T) {
		w := newWorld(t, words())
		old := w.job(t)
		w.pass(t)
		w.asked()
		w.Client = interceptor.NewClient(w.WithWatch, interceptor.Funcs{
			Get: func(_ context.Context, _ client.WithWatch, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
				old.DeepCopyInto(o.(*streamv1.StreamJob))
				return nil
			},
		})
		w.next = func(plan.Observation, time.Time) plan.Plan {
			t.Error("something was decided on an old StreamJob")
			return plan.Plan{}
		}
		if result := w.pass(t); result.RequeueAfter != retryStale {
			t.Errorf("the pass ended with %+v", result)
		}
	})
	t.Run("an object", func(t *testing.T) {
		w := newWorld(t, words())
		w.pass(t)
		behind := true
		w.Client = interceptor.NewClient(w.WithWatch, interceptor.Funcs{
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				if behind {
					return nil
				}
				return c.List(ctx, list, opts...)
			},
		})
		decided := 0
		next := w.next
		w.next = func(o plan.Observation, now time.Time) plan.Plan {
			decided++
			return next(o, now)
		}
		if result := w.pass(t); result.RequeueAfter != retryStale || decided != 0 {
			t.Errorf("with a cache that lags the pass ended with %+v after %d decisions", result, decided)
		}
		behind = false
		if w.pass(t); decided != 1 {
			t.Errorf("%d decisions were made when the cache had caught up", decided)
		}
		behind = true
		w.clock.SetTime(w.clock.Now().Add(time.Minute))
		if w.pass(t); decided != 2 {
			t.Error("an object that does not come back holds the job up for ever")
		}
	})
}

func TestReconcile_CommandsTheCoordinator(t *testing.T) {
	w := newWorld(t, deployed())
	w.plans(nil)
	w.pass(t)
	w.plans(nil,
		plan.Stop{Grant: 1, Request: contract.StopRequest{OperationID: "a"}},
		plan.TakeSavepoint{Grant: 1, Request: contract.SavepointRequest{OperationID: "b"}},
		plan.TakeCheckpoint{Grant: 1, Request: contract.CheckpointRequest{OperationID: "d"}},
		plan.Cancel{Grant: 1, Request: contract.CancelRequest{OperationID: "c"}},
		plan.Store{Grant: 1},
		plan.SetPolicy{Grant: 1},
	)
	w.pass(t)
	want := []string{"stop a", "savepoint b", "checkpoint d", "cancel c", "policy " + resources.PolicyHash(&words().Spec)}
	if diff := cmp.Diff(want, w.engines.commands); diff != "" {
		t.Errorf("the coordinator was told (-want +got):\n%s", diff)
	}

	w.engines.refuse = errors.New("no route to host")
	if _, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: wordsKey}); err == nil {
		t.Fatal("the pass succeeded")
	}
	c := apimeta.FindStatusCondition(w.job(t).Status.Conditions, streamv1.ConditionReconciling)
	if c == nil || c.Reason != streamv1.ReasonCoordinatorUnreachable || !strings.Contains(c.Message, "no route to host") {
		t.Errorf("the condition is %+v", c)
	}

	w.engines.refuse, w.engines.commands = &contract.APIError{Status: 409, Message: "savepoints need storage"}, nil
	w.plans(func(s *streamv1.StreamJobStatus) {
		s.Phase = streamv1.PhaseRunning
		apimeta.SetStatusCondition(&s.Conditions, metav1.Condition{
			Type: streamv1.ConditionReconciling, Status: metav1.ConditionFalse, Reason: streamv1.ReasonUpToDate,
			LastTransitionTime: metav1.NewTime(w.clock.Now()),
		})
	}, plan.Stop{Grant: 1}, plan.Store{Grant: 3})
	w.asked()
	if _, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: wordsKey}); err == nil {
		t.Fatal("the pass succeeded")
	}
	status := w.job(t).Status
	c = apimeta.FindStatusCondition(status.Conditions, streamv1.ConditionReconciling)
	if c == nil || c.Reason != streamv1.ReasonActionFailed || !strings.Contains(c.Message, "savepoints need storage") {
		t.Errorf("the condition is %+v", c)
	}
	if status.Phase != streamv1.PhaseRunning || !slices.Contains(w.asked(), "apply ConfigMap words-3") {
		t.Error("a command that was refused held up the rest")
	}
	version := w.job(t).ResourceVersion
	w.clock.SetTime(w.clock.Now().Add(10 * time.Second))
	if _, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: wordsKey}); err == nil || w.job(t).ResourceVersion != version {
		t.Errorf("the same refusal was written again, error %v", err)
	}

	w.engines.report, w.engines.commands = &plan.Engine{Grant: 2}, nil
	if _, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: wordsKey}); err == nil || len(w.engines.commands) > 0 {
		t.Errorf("a coordinator of another grant was told %v, error %v", w.engines.commands, err)
	}
}

func TestReconcile_WatchesTheCoordinatorThatRuns(t *testing.T) {
	pod := func(name, grant, ip string, age time.Duration) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "ns", Name: name, CreationTimestamp: metav1.NewTime(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).Add(-age)),
				Labels: map[string]string{streamv1.LabelJob: "words", streamv1.LabelGrant: grant, streamv1.LabelComponent: "coordinator"},
			},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip},
		}
	}
	leaving := pod("leaving", "1", "10.0.0.9", 0)
	leaving.DeletionTimestamp, leaving.Finalizers = new(metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))), []string{"x/y"}
	w := newWorld(t, deployed(), pod("old", "1", "10.0.0.1", time.Hour), pod("new", "1", "fd00::2", time.Minute), pod("other", "2", "10.0.0.3", 0), leaving)
	w.plans(nil)
	w.pass(t)
	first := w.engines.targets[wordsKey]
	if first.Grant != 1 || first.Addr != "[fd00::2]:8081" || first.TLS == nil || first.TLS.ServerName != "coordinator.weir.internal" {
		t.Errorf("watched is %+v", first)
	}
	w.asked()
	w.pass(t)
	if second := w.engines.targets[wordsKey]; second != first || len(w.asked()) > 0 {
		t.Error("the second pass watches another target, or asked for secrets again")
	}
	w.plans(func(s *streamv1.StreamJobStatus) { s.Deployment.Ended = streamv1.EndStopped })
	w.pass(t)
	w.pass(t)
	if _, watched := w.engines.targets[wordsKey]; watched {
		t.Error("a version that has ended is watched")
	}
}

func TestReconcile_DecidesNothingBeforeTheCoordinatorWasAsked(t *testing.T) {
	w := newWorld(t, deployed())
	w.engines.unheard = true
	w.next = func(plan.Observation, time.Time) plan.Plan {
		t.Error("something was decided")
		return plan.Plan{}
	}
	if result := w.pass(t); result.RequeueAfter != retryUnheard {
		t.Errorf("the pass ended with %+v", result)
	}
}

func TestReconcile_IssuesCertificatesAgainThatAreGone(t *testing.T) {
	pending := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words-1-worker-0", Labels: map[string]string{streamv1.LabelJob: "words"}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	w := newWorld(t, deployed(), pending)
	w.plans(nil)
	w.pass(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words-worker-tls"}}
	if err := w.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.asked()
	w.pass(t)
	if got := w.asked(); len(got) > 0 {
		t.Errorf("right after the certificates were issued the operator asked for %v", got)
	}
	w.clock.SetTime(w.clock.Now().Add(checkSecretsSoon))
	w.pass(t)
	if got := w.asked(); !slices.Contains(got, "create Secret words-worker-tls") || slices.Contains(got, "create Secret words-ca") {
		t.Errorf("while a pod waits the operator asked for %v", got)
	}
}

// TestReconcile_TwoThatIssueAtOnce has another operator issue the authority, or one of its certificates, between the read and the write of this
// one: all certificates must be of one authority in the end.
func TestReconcile_TwoThatIssueAtOnce(t *testing.T) {
	for _, first := range certs.Names("words") {
		t.Run(first, func(t *testing.T) {
			job := deployed()
			w := newWorld(t, job)
			w.plans(nil)
			done := false
			w.refuse = func(request string) error {
				if done || request != "create Secret "+first {
					return nil
				}
				done = true
				return w.issueElsewhere(t, job, first)
			}
			for range 4 {
				w.pass(t)
				w.clock.SetTime(w.clock.Now().Add(checkSecretsEvery))
			}
			if !done {
				t.Fatal("nothing was issued in between")
			}
			authority := &corev1.Secret{}
			for _, name := range certs.Names("words") {
				secret := &corev1.Secret{}
				if err := w.Get(t.Context(), client.ObjectKey{Namespace: "ns", Name: name}, secret); err != nil {
					t.Fatal(err)
				}
				if authority.Data == nil {
					authority = secret
				}
				if got, want := string(secret.Data["ca.crt"]), string(authority.Data["ca.crt"]); got != want || got == "" {
					t.Errorf("the authority of %s is not that of %s", name, authority.Name)
				}
			}
		})
	}
}

// issueElsewhere issues one secret as another operator does that has read what there is: an authority of its own, or a certificate of the one there is.
func (w *world) issueElsewhere(t *testing.T, job *streamv1.StreamJob, name string) error {
	t.Helper()
	have := map[string]*corev1.Secret{}
	for _, n := range certs.Names(job.Name) {
		secret := &corev1.Secret{}
		if err := w.Get(t.Context(), client.ObjectKey{Namespace: job.Namespace, Name: n}, secret); err == nil {
			have[n] = secret
		}
	}
	issued, _, err := certs.Secrets(job, have, w.clock.Now())
	if err != nil {
		return err
	}
	for _, config := range issued {
		if *config.GetName() == name {
			return w.Apply(t.Context(), config, client.FieldOwner("another"))
		}
	}
	return nil
}

func TestReconcile_ASecretOfSomebodyElseIsLeftAlone(t *testing.T) {
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words-ca"}, Data: map[string][]byte{"x": []byte("y")}}
	w := newWorld(t, deployed(), foreign)
	if _, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: wordsKey}); err == nil || !strings.Contains(err.Error(), "words-ca") {
		t.Fatalf("the pass ended with %v", err)
	}
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign); err != nil || string(foreign.Data["x"]) != "y" {
		t.Errorf("the secret is %v, %v", foreign.Data, err)
	}
	c := apimeta.FindStatusCondition(w.job(t).Status.Conditions, streamv1.ConditionReady)
	if c == nil || c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "words-ca") {
		t.Errorf("the condition is %+v", c)
	}
}

func TestReconcile_KeepsTheImageWhenOnlyThePolicyChanges(t *testing.T) {
	w := newWorld(t, deployed())
	w.plans(nil, plan.Store{Grant: 1}, plan.Apply{Grant: 1})
	w.pass(t)
	w.Settings.EngineImage = "weir:v2"
	image := func(grant string) string {
		config := &corev1.ConfigMap{}
		if err := w.Get(t.Context(), client.ObjectKey{Namespace: "ns", Name: "words-" + grant}, config); err != nil {
			t.Fatal(err)
		}
		r, err := resources.ReadRevision(config)
		if err != nil {
			t.Fatal(err)
		}
		return r.Image
	}
	w.pass(t)
	if got := image("1"); got != "weir:v1" {
		t.Errorf("a new operator stored image %s for the running version", got)
	}
	w.plans(nil, plan.Store{Grant: 2})
	w.pass(t)
	if got := image("2"); got != "weir:v2" {
		t.Errorf("a new version has image %s", got)
	}
	if err := w.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words-1"}}); err != nil {
		t.Fatal(err)
	}
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	w.plans(nil, plan.Store{Grant: 1})
	w.pass(t)
	if got := image("1"); got != "weir:v1" {
		t.Errorf("a config map that was lost has image %s, but the pods have weir:v1", got)
	}
}

func TestReconcile_DeletesTheCoordinatorFirst(t *testing.T) {
	for _, keep := range []bool{false, true} {
		w := newWorld(t, deployed())
		w.plans(nil, plan.Store{Grant: 1}, plan.Apply{Grant: 1})
		w.pass(t)
		w.pass(t)
		w.asked()
		w.plans(nil, plan.Delete{Grant: 1, KeepRevision: keep})
		w.pass(t)
		want := []string{"delete Deployment words-1-coordinator", "delete StatefulSet words-1-worker", "delete PodDisruptionBudget words-1", "delete Service words-1"}
		if !keep {
			want = append(want, "delete ConfigMap words-1")
		}
		if diff := cmp.Diff(want, w.asked()); diff != "" {
			t.Errorf("with keep %t the operator asked for (-want +got):\n%s", keep, diff)
		}
		w.pass(t)
		if got := w.asked(); len(got) > 0 {
			t.Errorf("what is gone was deleted again: %v", got)
		}
	}
}

func TestReconcile_RunsAnAgentOnce(t *testing.T) {
	w := newWorld(t, deployed())
	w.plans(nil, plan.Store{Grant: 1}, plan.RunAgent{Name: "words-2-fence-x", Task: plan.FenceTask, Revision: 1, Grant: 2, Operations: []string{"a"}})
	w.pass(t)
	w.asked()
	w.pass(t)
	if got := w.asked(); len(got) > 0 {
		t.Errorf("the second pass asked for %v", got)
	}
	pod := &corev1.Pod{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: "ns", Name: "words-2-fence-x"}, pod); err != nil {
		t.Fatal(err)
	}
	w.plans(nil, plan.DeleteAgent{Name: pod.Name}, plan.DeleteAgent{Name: "never-there"})
	w.pass(t)
	if diff := cmp.Diff([]string{"delete Pod words-2-fence-x"}, w.asked()); diff != "" {
		t.Errorf("deleting the agent asked for (-want +got):\n%s", diff)
	}
}

func TestReconcile_RemovesPodsOfLostNodes(t *testing.T) {
	leaving := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: "words-1-worker-0", Labels: map[string]string{streamv1.LabelJob: "words"}, Finalizers: []string{"x/y"},
		DeletionTimestamp: new(metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))),
	}}
	w := newWorld(t, deployed(), leaving)
	w.plans(nil)
	if result := w.pass(t); result.RequeueAfter != resources.DefaultLostNodeTimeout {
		t.Errorf("the next look is in %s, want %s", result.RequeueAfter, resources.DefaultLostNodeTimeout)
	}
	w.asked()
	w.clock.SetTime(w.clock.Now().Add(resources.DefaultLostNodeTimeout))
	w.pass(t)
	if got := w.asked(); !slices.Contains(got, "delete Pod words-1-worker-0") {
		t.Errorf("a pod that does not end is kept: %v", got)
	}
}

func TestReconcile_LeavesOutWhatAnEndingNamespaceRefuses(t *testing.T) {
	job := deployed()
	job.DeletionTimestamp = new(metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)))
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns", Finalizers: []string{"x/y"}, DeletionTimestamp: job.DeletionTimestamp}}
	w := newWorld(t, job, ns)
	w.refuse = func(request string) error {
		if !strings.HasPrefix(request, "apply ") {
			return nil
		}
		err := apierrors.NewForbidden(schema.GroupResource{Resource: "x"}, "x", errors.New("the namespace is being terminated"))
		err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
		return err
	}
	w.next = func(o plan.Observation, _ time.Time) plan.Plan {
		if !o.NamespaceEnding {
			t.Error("the planner does not know that the namespace is ending")
		}
		return plan.Plan{Actions: []plan.Action{plan.Store{Grant: 2}, plan.Release{}}, Status: o.Job.Status}
	}
	w.pass(t)
	if err := w.Get(t.Context(), wordsKey, &streamv1.StreamJob{}); !apierrors.IsNotFound(err) {
		t.Errorf("the StreamJob is still there: %v", err)
	}
	if _, watched := w.engines.targets[wordsKey]; watched {
		t.Error("the coordinator of a released StreamJob is watched")
	}
	w.pass(t)
	if len(w.memory.jobs) > 0 {
		t.Error("something is remembered of a StreamJob that is gone")
	}
}

// TestReconcile_ReleasesAgainWithoutAnotherLook tries again to let a StreamJob go whose release failed, before anything else: it may be gone already
// though the cache still shows it, and what a pass would make for it then nobody would delete.
func TestReconcile_ReleasesAgainWithoutAnotherLook(t *testing.T) {
	tests := map[string]struct {
		refused error
		want    []string
		looks   int
	}{
		"the answer is lost": {errors.New("unexpected EOF"), []string{"patch StreamJob words"}, 1},
		"somebody else wrote": {
			apierrors.NewConflict(schema.GroupResource{Resource: "streamjobs"}, "words", errors.New("modified")), []string{"get PartialObjectMetadata ns", "patch StreamJob words"}, 2,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			job := deployed()
			job.DeletionTimestamp = new(metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)))
			w := newWorld(t, job)
			looks := 0
			w.next = func(o plan.Observation, _ time.Time) plan.Plan {
				looks++
				return plan.Plan{Actions: []plan.Action{plan.Release{}}, Status: o.Job.Status, Events: []plan.Event{{Type: plan.Normal, Reason: "R", Action: "A", Note: "gone"}}}
			}
			w.refuse = func(request string) error {
				if request == "patch StreamJob words" {
					return tc.refused
				}
				return nil
			}
			_, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: wordsKey})
			if (err == nil) != apierrors.IsConflict(tc.refused) || len(w.recorder.Events) != 0 {
				t.Errorf("the pass ended with %v, with %d events", err, len(w.recorder.Events))
			}
			w.refuse = nil
			w.asked()
			w.pass(t)
			if diff := cmp.Diff(tc.want, w.asked()); diff != "" || looks != tc.looks {
				t.Errorf("the planner was asked %d times, want %d; the next pass (-want +got):\n%s", looks, tc.looks, diff)
			}
			if err := w.Get(t.Context(), wordsKey, &streamv1.StreamJob{}); !apierrors.IsNotFound(err) || len(w.recorder.Events) != 1 {
				t.Errorf("the StreamJob is still there: %v; there are %d events", err, len(w.recorder.Events))
			}
		})
	}
}

func TestReconcile_PublishesEventsOnceTheStatusIsWritten(t *testing.T) {
	w := newWorld(t, deployed())
	w.next = func(o plan.Observation, _ time.Time) plan.Plan {
		p := plan.Plan{Status: *o.Job.Status.DeepCopy(), Events: []plan.Event{{Type: plan.Warning, Reason: "R", Action: "A", Note: "100% sure"}}}
		p.Status.Phase = streamv1.PhaseRunning
		return p
	}
	w.refuse = func(request string) error {
		if request == "patch status StreamJob words" {
			return errors.New("down")
		}
		return nil
	}
	if _, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: wordsKey}); err == nil {
		t.Fatal("the pass succeeded")
	}
	if len(w.recorder.Events) > 0 {
		t.Error("an event was published though the status was not written")
	}
	w.refuse = nil
	w.pass(t)
	if got := <-w.recorder.Events; got != "Warning R 100% sure" {
		t.Errorf("the event is %q", got)
	}
}

func TestFailed_LeavesReadyOfTheSameGenerationAlone(t *testing.T) {
	status := &streamv1.StreamJobStatus{}
	apimeta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: streamv1.ConditionReady, Status: metav1.ConditionTrue, ObservedGeneration: 4, Reason: streamv1.ReasonRunning,
	})
	failed(status.DeepCopy(), status, metav1.Condition{ObservedGeneration: 4, Reason: streamv1.ReasonActionFailed})
	if !apimeta.IsStatusConditionTrue(status.Conditions, streamv1.ConditionReady) {
		t.Error("a job that runs as asked is not ready because an action failed")
	}
	failed(status.DeepCopy(), status, metav1.Condition{ObservedGeneration: 5, Reason: streamv1.ReasonActionFailed})
	if c := apimeta.FindStatusCondition(status.Conditions, streamv1.ConditionReady); c.Status != metav1.ConditionFalse || c.ObservedGeneration != 5 {
		t.Errorf("the condition of the next generation is %+v", c)
	}
}

func TestCut_BreaksNoCharacter(t *testing.T) {
	if got := plan.Cut(strings.Repeat("ä", 10), 10); got != "äää..." {
		t.Errorf("got %q", got)
	}
}

var _ Engines = (*engine.Poller)(nil)

func TestReconcile_PublishesEventsOfTheLastPass(t *testing.T) {
	w := newWorld(t, deployed())
	w.next = func(o plan.Observation, _ time.Time) plan.Plan {
		return plan.Plan{
			Status: o.Job.Status, Actions: []plan.Action{plan.Release{}},
			Events: []plan.Event{{Type: plan.Normal, Reason: "CheckpointsDeleted", Action: "Delete", Note: "4 objects"}},
		}
	}
	w.pass(t)
	select {
	case got := <-w.recorder.Events:
		if got != "Normal CheckpointsDeleted 4 objects" {
			t.Errorf("the event is %q", got)
		}
	default:
		t.Error("the event of the pass that let the StreamJob go was lost")
	}
}
