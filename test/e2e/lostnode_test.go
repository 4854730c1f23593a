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

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
	"github.com/weir-stream/weir/runtime/contract"
)

// lostNodePatience is how long Kubernetes may take to give a node up, and the operator to remove its pods.
const lostNodePatience = 4 * time.Minute

// lostNodeLimit is the longest from the loss of a node until the pods are replaced, with a lostNodeTimeout of 5 s. It's 5 s until they are deleted, 5 s of grace,
// and at least 10 s until they are taken to be lost; with the default it would be more than a minute.
const lostNodeLimit = 45 * time.Second

// TestNodeLost_GoesOnExactlyOnce freezes the kubelet until the node is lost for Kubernetes and the pods of the job are replaced, while all their processes run on,
// the coordinator among them. An edit comes meanwhile.
func TestNodeLost_GoesOnExactlyOnce(t *testing.T) {
	localOnly(t)
	s := newScenario(t, "node")
	ledger := s.ledger("ledger")
	ledger.Spec.Upgrade.Mode = streamv1.UpgradeFromLastCheckpoint
	brief := streamv1.PodTemplate{TerminationGracePeriodSeconds: 5}
	ledger.Spec.Workers = &streamv1.Workers{LostNodeTimeout: seconds(5), PodTemplate: &brief}
	ledger.Spec.Coordinator = &streamv1.Coordinator{PodTemplate: &brief}
	before := s.start(ledger)
	node, pods := s.pod(before, coordinator).Spec.NodeName, s.uids(before)

	began := time.Now()
	thaw := s.stopComponent("kubelet")
	s.awaitNode(node, corev1.ConditionUnknown)
	lost := time.Now()
	t.Logf("%.0f s after its kubelet had stopped node %s was lost", lost.Sub(began).Seconds(), node)
	s.replaced(before, pods)
	if took := time.Since(lost); took > lostNodeLimit {
		t.Errorf("the pods were replaced %.0f s after the node was lost, want at most %v", took.Seconds(), lostNodeLimit)
	}
	t.Logf("%.0f s after its kubelet had stopped the pods %v were replaced", time.Since(began).Seconds(), pods)
	generation := s.patch(ledger.Name, `{"spec":{"parallelism":3}}`)
	thaw()

	s.awaitNode(node, corev1.ConditionTrue)
	job := s.patient(lostNodePatience, ledger.Name, "the upgrade on the node that is back", upgraded(generation, 3))
	if was, is := before.Status.Job, job.Status.Job; is.Epoch == was.Epoch || is.ID != was.ID {
		t.Errorf("job %s of epoch %s is now job %s of epoch %s, want the same job and another epoch", was.ID, was.Epoch, is.ID, is.Epoch)
	}
	s.progress(job)
	s.finish(job.Name)
}

// awaitNode waits until the Ready condition of a node has a status.
func (s *scenario) awaitNode(name string, want corev1.ConditionStatus) {
	s.Helper()
	missing := ""
	ok := s.until(lostNodePatience, func() bool {
		node := &corev1.Node{}
		if err := suite.client.Get(s.Context(), types.NamespacedName{Name: name}, node); err != nil {
			missing = err.Error()
			return false
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady {
				missing = fmt.Sprintf("Ready is %s (%s)", c.Status, c.Reason)
				return c.Status == want
			}
		}
		return false
	})
	if !ok {
		s.Fatalf("waiting for node %s to have Ready %s: %s", name, want, missing)
	}
}

// replaced waits until the pods of the deployed version are gone, and others are there in their place.
func (s *scenario) replaced(job *streamv1.StreamJob, old []types.UID) {
	s.Helper()
	missing := ""
	ok := s.until(lostNodePatience, func() bool {
		for _, p := range s.podsIn(client.MatchingLabels{streamv1.LabelJob: job.Name}) {
			if slices.Contains(old, p.UID) {
				missing = fmt.Sprintf("pod %s is there, deleted at %v", p.Name, p.DeletionTimestamp)
				return false
			}
		}
		now := s.uids(job)
		missing = fmt.Sprintf("there are pods %v", now)
		return len(now) == len(old)
	})
	if !ok {
		s.Fatalf("waiting for the pods %v of a lost node to be replaced: %s\n%s", old, missing, describe(s.job(job.Name)))
	}
}

// TestCoordinatorOutlivesItsPod_IsFenced deletes the pod of a coordinator whose process nobody can end, as on a node that is cut off from Kubernetes but not from
// the storage: it works on with its workers while its successor starts.
func TestCoordinatorOutlivesItsPod_IsFenced(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "outlived")
	before := s.start(s.ledger("ledger"))
	old := s.pod(before, coordinator)
	api := s.controlAPI(before.Name, old)
	release := s.protect(old)
	if err := suite.client.Delete(t.Context(), old, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}

	job := s.await(before.Name, "the successor", func(job *streamv1.StreamJob) string {
		if job.Status.Job.Epoch == before.Status.Job.Epoch {
			return "its epoch is still " + job.Status.Job.Epoch
		}
		return running(1)(job)
	})
	if now := s.pod(job, coordinator); now.UID == old.UID {
		t.Errorf("pod %s is still there", now.Name)
	}
	s.eventually("the old coordinator to be refused", func() string {
		status, err := api.Job(t.Context())
		switch {
		case err != nil:
			return err.Error()
		case status.Problem == nil || status.Problem.Reason != contract.Fenced:
			return fmt.Sprintf("it is %s with problem %+v", status.State, status.Problem)
		}
		t.Logf("the old coordinator, of epoch %s, says beside its successor, of epoch %s: %v", before.Status.Job.Epoch, job.Status.Job.Epoch, status.Problem)
		return ""
	})
	job = s.progress(job)
	if was, is := before.Status.Job.ID, job.Status.Job.ID; was != is || job.Status.Grant != 1 {
		t.Errorf("job %s became %s, grant %d", was, is, job.Status.Grant)
	}

	release()
	s.eventually("the old process to end", func() string {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if status, err := api.Job(ctx); err == nil {
			return fmt.Sprintf("it answers: %s", status.State)
		}
		return ""
	})
	s.progress(job)
	s.finish(job.Name)
}

// protect keeps everybody from ending the process of a pod, which runs on: what looks after it is frozen. The function that it returns gives it up; it is also
// called at the end of the test.
func (s *scenario) protect(pod *corev1.Pod) (release func()) {
	s.Helper()
	if err := suite.access.SignalShim(s.Context(), pod, "", stage.Stop); err != nil {
		s.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		ctx, cancel := s.late()
		defer cancel()
		if err := suite.access.SignalShim(ctx, pod, "", stage.Continue); err != nil {
			s.Errorf("letting the pod go: %v", err)
		}
	})
	s.Cleanup(release)
	return release
}
