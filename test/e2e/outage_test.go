// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
)

// apiOutage is how long the API server doesn't answer: long enough for the operator to lose its lease.
const apiOutage = time.Minute

// localOnly says why a test isn't for another cluster.
func localOnly(t *testing.T) {
	t.Helper()
	if suite.cluster.Kind != stage.Local {
		t.Skipf("a %s cluster's components can't be frozen: this runs on the local cluster only", suite.cluster.Kind)
	}
}

// outage freezes a component of the cluster for a time.
func (s *scenario) outage(component string, d time.Duration) {
	s.Helper()
	thaw := s.stopComponent(component)
	time.Sleep(d) // that nothing happens for a time is what is tested
	thaw()
}

// stopComponent freezes a component of the cluster. The function that it returns lets it go on; it is also called when the test ends.
func (s *scenario) stopComponent(component string) (thaw func()) {
	s.Helper()
	if err := suite.cluster.SignalComponent(s.Context(), component, stage.Stop); err != nil {
		s.Fatal(err)
	}
	thaw = sync.OnceFunc(func() {
		ctx, cancel := s.late()
		defer cancel()
		if err := suite.cluster.SignalComponent(ctx, component, stage.Continue); err != nil {
			s.Errorf("letting %s go on: %v", component, err)
		}
	})
	s.Cleanup(thaw)
	return thaw
}

// patient is until for what follows an outage: errors count as not yet.
func (s *scenario) patient(limit time.Duration, name, what string, wanted func(*streamv1.StreamJob) string) *streamv1.StreamJob {
	s.Helper()
	job, missing := &streamv1.StreamJob{}, ""
	ok := s.until(limit, func() bool {
		ctx, cancel := context.WithTimeout(s.Context(), 5*time.Second)
		defer cancel()
		if err := suite.client.Get(ctx, types.NamespacedName{Namespace: s.ns, Name: name}, job); err != nil {
			missing = err.Error()
			return false
		}
		missing = wanted(job)
		return missing == ""
	})
	if !ok {
		s.Fatalf("waiting for %s of %s: %s\n%s", what, name, missing, describe(job))
	}
	return job
}

// TestAPIServerStopped_JobsRunOn freezes the API server while one job runs and another is in the middle of an upgrade.
func TestAPIServerStopped_JobsRunOn(t *testing.T) {
	localOnly(t)
	s := newScenario(t, "apiserver")
	calm := s.start(s.ledger("calm"))
	busy := s.start(s.ledger("busy"))
	before := s.newestCheckpoint(calm, 0)

	generation := s.watchOperation(busy.Name, streamv1.OperationChecking, `{"spec":{"parallelism":3}}`, func() {
		s.outage("kube-apiserver", apiOutage)
	})
	const enough = 4 * time.Minute
	s.patient(enough, calm.Name, "the calm job", running(1))
	s.patient(enough, busy.Name, "the upgrade", upgraded(generation, 3))
	after := s.newestCheckpoint(s.job(calm.Name), before)
	if least := int64(apiOutage.Seconds() / 2); after-before < least {
		t.Errorf("the calm job took %d checkpoints while the API server didn't answer, want at least %d", after-before, least)
	}
	if got := s.job(calm.Name).Status; got.Grant != 1 {
		t.Errorf("the outage made a new deployment of the calm job: grant %d", got.Grant)
	}
	if got := s.savepoints(); len(got) != 1 {
		t.Errorf("there are %d savepoints, want that of the upgrade: %v", len(got), got)
	}
	s.finish(calm.Name)
	s.finish(busy.Name)
}

// TestTwoOperators_AgreeOnEachJob runs a second operator that doesn't ask for the lease.
func TestTwoOperators_AgreeOnEachJob(t *testing.T) {
	s := newScenario(t, "two")
	s.secondOperator()
	job := s.start(s.ledger("ledger"))
	for i, parallelism := range []int{3, 2, 3} {
		old := job
		job = s.rescale(job.Name, parallelism)
		s.wantUpgraded(old, job)
		if got := s.savepoints(); len(got) != i+1 {
			t.Errorf("there are %d savepoints after %d upgrades by two operators: %v", len(got), i+1, got)
		}
		job = s.progress(job)
	}
	s.finish(job.Name)
}

// secondOperator starts another operator beside the one that is there, which thinks that it is alone.
func (s *scenario) secondOperator() {
	s.Helper()
	second, err := secondDeployment(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	s.create(second)
	s.Cleanup(func() {
		ctx, cancel := s.late()
		defer cancel()
		if err := suite.client.Delete(ctx, second, client.PropagationPolicy(metav1.DeletePropagationForeground)); client.IgnoreNotFound(err) != nil {
			s.Errorf("deleting the second operator: %v", err)
		}
		for ctx.Err() == nil && !apierrors.IsNotFound(suite.client.Get(ctx, client.ObjectKeyFromObject(second), second)) {
			time.Sleep(pollInterval)
		}
	})
	s.eventually("the second operator", func() string {
		d := &appsv1.Deployment{}
		if err := suite.client.Get(s.Context(), client.ObjectKeyFromObject(second), d); err != nil {
			return err.Error()
		}
		if d.Status.ReadyReplicas != 1 {
			return fmt.Sprintf("%d replicas are ready", d.Status.ReadyReplicas)
		}
		return ""
	})
}

// secondDeployment is that of an operator like the one that is there, which doesn't ask for the lease.
func secondDeployment(ctx context.Context) (*appsv1.Deployment, error) {
	first := &appsv1.Deployment{}
	key := types.NamespacedName{Namespace: stage.OperatorNamespace, Name: stage.OperatorDeployment}
	if err := suite.client.Get(ctx, key, first); err != nil {
		return nil, fmt.Errorf("looking for the operator: %w", err)
	}
	second := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: first.Namespace, Name: "second-manager"},
		Spec:       *first.Spec.DeepCopy(),
	}
	labels := map[string]string{"app": "second-manager"}
	second.Spec.Replicas = new(int32(1))
	second.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	second.Spec.Template.Labels = labels
	c := &second.Spec.Template.Spec.Containers[0]
	c.Args = append(slices.DeleteFunc(c.Args, func(a string) bool { return a == "--leader-elect" || a == "--leader-elect=true" }), "--leader-elect=false")
	return second, nil
}

// TestNamespaceDeleted_LeavesNothing deletes a namespace with a running, a suspended and a failing job, one of which wants a savepoint before.
func TestNamespaceDeleted_LeavesNothing(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "namespace")
	running := s.ledger("running")
	running.Spec.DeletionPolicy = streamv1.SavepointOnDeletion
	s.start(running)
	s.start(s.ledger("suspended"))
	s.suspend("suspended")
	failing := s.ledger("failing")
	failing.Spec.Storage.S3.Bucket = "there-is-none"
	failing.Spec.Checkpointing.Retention.OnCancel = streamv1.DeleteOnCancel
	s.create(failing)
	s.await("failing", "the missing bucket", func(job *streamv1.StreamJob) string {
		return is(job, streamv1.ConditionReady, metav1.ConditionFalse, streamv1.ReasonStorageNotFound)
	})

	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.ns}}
	if err := suite.client.Delete(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	s.eventually("the namespace to go", func() string {
		err := suite.client.Get(t.Context(), client.ObjectKeyFromObject(ns), ns)
		switch {
		case apierrors.IsNotFound(err):
			return ""
		case err != nil:
			return err.Error()
		}
		return fmt.Sprintf("it is %s: %+v", ns.Status.Phase, ns.Status.Conditions)
	})
	if l := s.left(); l.heads != 2 {
		t.Errorf("left in storage are %+v, want the heads of the two jobs that ran", l)
	}
}
