// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

// forbid has the API server refuse requests, such as "apply StatefulSet words-2-worker".
func (w *world) forbid(requests ...string) {
	w.refuse = func(request string) error {
		if slices.Contains(requests, request) {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "x", errors.New("a policy says no"))
		}
		return nil
	}
}

// passes makes passes that may fail.
func (w *world) passes(t *testing.T, n int, apart time.Duration) {
	t.Helper()
	for range n {
		w.clock.SetTime(w.clock.Now().Add(apart))
		_, _ = w.Reconcile(t.Context(), ctrl.Request{NamespacedName: wordsKey})
	}
}

// endAgents ends the agent pods well.
func (w *world) endAgents(t *testing.T) {
	t.Helper()
	pods := &corev1.PodList{}
	if err := w.List(t.Context(), pods); err != nil {
		t.Fatal(err)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		p.Status.Phase = corev1.PodSucceeded
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "agent", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{Message: `{"task":"check","ok":true}`},
		}}}
		if err := w.WithWatch.Status().Update(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
}

// mustGo deletes the StreamJob, and expects it to be gone within a minute.
func (w *world) mustGo(t *testing.T) {
	t.Helper()
	if err := w.Delete(t.Context(), w.job(t)); err != nil {
		t.Fatal(err)
	}
	w.passes(t, 30, 2*time.Second)
	if err := w.Get(t.Context(), wordsKey, &streamv1.StreamJob{}); !apierrors.IsNotFound(err) {
		t.Errorf("a minute later the StreamJob is still there: %v; %+v", err, w.job(t).Status)
	}
}

// runs has the coordinator of a grant report that the job runs.
func (w *world) runs(grant, checkpoint int64) {
	s := &contract.JobStatus{
		Name: "words", JobID: "a1", State: contract.JobRunning, Epoch: contract.Epoch{Grant: grant, N: 1}, Durable: true,
	}
	if checkpoint > 0 {
		s.LastCheckpoint = &contract.SnapshotInfo{ID: checkpoint, Kind: "Checkpoint", Path: "chk"}
	}
	w.engines.report = &plan.Engine{Grant: grant, Status: s}
}

func TestRefused_AVersionThatNeverStartedCanBeDeleted(t *testing.T) {
	w := newWorld(t, words())
	w.forbid("apply StatefulSet words-1-worker")
	w.passes(t, 5, time.Second)
	status := w.job(t).Status
	c := apimeta.FindStatusCondition(status.Conditions, streamv1.ConditionStalled)
	if c == nil || c.Status != metav1.ConditionTrue || c.Reason != streamv1.ReasonActionFailed || !strings.Contains(c.Message, "applying StatefulSet words-1-worker") ||
		!strings.Contains(c.Message, "a policy says no") {
		t.Errorf("the condition is %+v", c)
	}
	if got := (&figures{status: &status}).blocked(); got != streamv1.ReasonActionFailed {
		t.Errorf("it is blocked by %q", got)
	}
	version := w.job(t).ResourceVersion
	for range 3 {
		if result := w.pass(t); result.RequeueAfter <= 0 || result.RequeueAfter > retryRefused {
			t.Errorf("it is tried again in %v", result.RequeueAfter)
		}
	}
	if got := w.job(t).ResourceVersion; got != version {
		t.Error("the same refusal was written again")
	}
	w.mustGo(t)
}

func TestRefused_AForeignSecretDoesNotKeepTheStreamJobFromBeingDeleted(t *testing.T) {
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words-ca"}, Data: map[string][]byte{"tls.crt": []byte("x")}}
	w := newWorld(t, words(), foreign)
	w.passes(t, 5, time.Second)
	c := apimeta.FindStatusCondition(w.job(t).Status.Conditions, streamv1.ConditionStalled)
	if c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "words-ca") {
		t.Errorf("the condition is %+v", c)
	}
	w.mustGo(t)
}

// TestRefused_ARunningJobIsCancelledAllTheSame has a new operator find that an object of a running job can't be applied any more.
func TestRefused_ARunningJobIsCancelledAllTheSame(t *testing.T) {
	for name, object := range map[string]string{"one that is there": "Service words-1", "one that somebody has deleted": "StatefulSet words-1-worker"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, words())
			w.passes(t, 4, time.Second)
			w.runs(1, 0)
			w.passes(t, 3, time.Second)
			w.memory.drop(wordsKey)
			if object != "Service words-1" {
				if err := w.Delete(t.Context(), &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words-1-worker"}}); err != nil {
					t.Fatal(err)
				}
			}
			w.forbid("apply " + object)
			w.passes(t, 3, time.Second)
			status := w.job(t).Status
			if !apimeta.IsStatusConditionTrue(status.Conditions, streamv1.ConditionReady) {
				t.Errorf("a job that runs as asked is not ready: %+v", status.Conditions)
			}
			c := apimeta.FindStatusCondition(status.Conditions, streamv1.ConditionReconciling)
			if c == nil || c.Status != metav1.ConditionTrue || c.Reason != streamv1.ReasonActionFailed || !strings.Contains(c.Message, "applying "+object) {
				t.Errorf("the condition is %+v", c)
			}
			if got := (&figures{status: &status}).blocked(); got != streamv1.ReasonActionFailed {
				t.Errorf("it is blocked by %q", got)
			}
			if !w.said("Warning ActionFailed applying the objects of grant 1: applying " + object + ": ") {
				t.Error("no event says so")
			}
			w.mustGo(t)
			if !slices.Contains(w.engines.commands, "cancel cancel-1-1-1") {
				t.Errorf("the coordinator was told %v", w.engines.commands)
			}
		})
	}
}

// said reports whether an event began like that.
func (w *world) said(prefix string) bool {
	for len(w.recorder.Events) > 0 {
		if strings.HasPrefix(<-w.recorder.Events, prefix) {
			return true
		}
	}
	return false
}

// upgradeRefused upgrades a stable version to one whose StatefulSet the API server refuses.
func upgradeRefused(t *testing.T) *world {
	t.Helper()
	job := words()
	job.Spec.Checkpointing = &streamv1.Checkpointing{Interval: metav1.Duration{Duration: time.Second}}
	job.Spec.Storage = &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "weir"}}
	job.Spec.Upgrade = &streamv1.Upgrade{Mode: streamv1.UpgradeFromLastCheckpoint, Rollback: &streamv1.Rollback{StableCheckpoints: 1}}
	w := newWorld(t, job)
	w.passes(t, 3, time.Second)
	w.runs(1, 5)
	w.passes(t, 5, time.Second)
	if w.job(t).Status.LastStable == nil {
		t.Fatalf("the first version is not stable: %+v", w.job(t).Status)
	}
	w.edit(t, func(s *streamv1.StreamJobSpec) { s.Parallelism = 3 })
	w.passes(t, 3, time.Second)
	w.endAgents(t)
	w.forbid("apply StatefulSet words-2-worker")
	w.passes(t, 3, time.Second)
	w.engines.report = nil
	if d := w.job(t).Status.Deployment; d.Grant != 2 {
		t.Fatalf("deployed is %+v", d)
	}
	return w
}

func TestRefused_TheStableVersionComesBack(t *testing.T) {
	w := upgradeRefused(t)
	w.passes(t, 8, 2*time.Second)
	r := w.job(t).Status.Rollback
	if r == nil || r.Reason != streamv1.ReasonActionFailed || !strings.Contains(r.Message, "applying StatefulSet words-2-worker") {
		t.Fatalf("the rollback is %+v", r)
	}
	w.endAgents(t)
	w.passes(t, 3, time.Second)
	w.runs(3, 0)
	w.passes(t, 3, time.Second)
	if status := w.job(t).Status; status.Rollback.Outcome != streamv1.RollbackCompleted || status.Deployment.Grant != 3 {
		t.Errorf("the rollback is %+v, deployed is %+v", status.Rollback, status.Deployment)
	}
}

func TestRefused_TheEditIsUndone(t *testing.T) {
	w := upgradeRefused(t)
	w.edit(t, func(s *streamv1.StreamJobSpec) { s.Parallelism = 2 })
	w.passes(t, 4, time.Second)
	w.endAgents(t)
	w.passes(t, 20, 3*time.Second)
	if d := w.job(t).Status.Deployment; d.Grant != 3 || d.Generation != 3 {
		t.Errorf("deployed is %+v", d)
	}
}

func TestRefused_TheJobIsSuspended(t *testing.T) {
	w := upgradeRefused(t)
	w.edit(t, func(s *streamv1.StreamJobSpec) { s.State = streamv1.StateSuspended })
	w.passes(t, 20, 3*time.Second)
	if op := w.job(t).Status.Operation; op == nil || op.Phase != streamv1.OperationFencing {
		t.Fatalf("the operation is %+v", op)
	}
	w.endAgents(t)
	w.passes(t, 3, time.Second)
	if d := w.job(t).Status.Deployment; d.Ended != streamv1.EndStopped {
		t.Errorf("deployed is %+v", d)
	}
}

// TestRefused_WhatPassesIsNoFaultOfTheVersion has the API server fail to answer, for less than the deadline of the start.
func TestRefused_WhatPassesIsNoFaultOfTheVersion(t *testing.T) {
	w := newWorld(t, words())
	down := true
	w.refuse = func(request string) error {
		if down && request == "apply Service words-1" {
			return apierrors.NewInternalError(errors.New("failed calling webhook"))
		}
		return nil
	}
	w.passes(t, 2, time.Second)
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	if _, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: wordsKey}); err == nil {
		t.Error("the pass succeeded, so that it is not tried again at once")
	}
	status := w.job(t).Status
	c := apimeta.FindStatusCondition(status.Conditions, streamv1.ConditionReady)
	if c == nil || c.Reason != streamv1.ReasonActionFailed || !strings.Contains(c.Message, "failed calling webhook") || apimeta.IsStatusConditionTrue(status.Conditions, streamv1.ConditionStalled) {
		t.Errorf("the conditions are %+v", status.Conditions)
	}
	down = false
	w.pass(t)
	w.pass(t)
	if c := apimeta.FindStatusCondition(w.job(t).Status.Conditions, streamv1.ConditionReady); c.Reason != streamv1.ReasonStarting {
		t.Errorf("the condition is %+v", c)
	}
}

// TestRefused_CertificatesThatCanNotBeRenewedDoNotHoldUpTheRest has the certificates of a running job due for renewal.
func TestRefused_CertificatesThatCanNotBeRenewedDoNotHoldUpTheRest(t *testing.T) {
	w := newWorld(t, words())
	w.passes(t, 4, time.Second)
	w.runs(1, 0)
	w.passes(t, 2, time.Second)
	w.clock.SetTime(w.memory.of(wordsKey, words().UID).creds.renewAt)
	w.refuse = func(request string) error {
		if strings.HasPrefix(request, "apply Secret ") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "x", errors.New("a policy says no"))
		}
		return nil
	}
	w.edit(t, func(s *streamv1.StreamJobSpec) { s.State = streamv1.StateCancelled })
	w.passes(t, 3, time.Second)
	if !slices.Contains(w.engines.commands, "cancel cancel-1-2-1") {
		t.Errorf("the coordinator was told %v; %+v", w.engines.commands, w.job(t).Status)
	}
}
