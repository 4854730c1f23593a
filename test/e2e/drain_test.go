// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// TestNodeDrained_TakesACheckpointFirst evicts the pods of a job as "kubectl drain" does. The job takes no checkpoints by itself, so each that there is
// was taken for a drain.
func TestNodeDrained_TakesACheckpointFirst(t *testing.T) {
	s := newScenario(t, "drain")
	ledger := s.ledger("ledger")
	ledger.Spec.Checkpointing.Interval, ledger.Spec.Checkpointing.MinPause = seconds(3600), seconds(3600)
	ledger.Spec.Workers = &streamv1.Workers{SlotsPerWorker: 1}
	s.create(ledger)
	job := s.await(ledger.Name, "a running job", running(1))
	s.wrote(job, rate)

	workers := s.pods(job, worker)
	if len(workers) != 2 {
		t.Fatalf("there are %d workers, want 2", len(workers))
	}
	uncordon := s.cordon(workers[0].Spec.NodeName)
	s.evict(&workers[0])
	first := s.newestCheckpoint(job, 0)
	if err := s.tryEvict(&workers[1]); !apierrors.IsTooManyRequests(err) {
		t.Errorf("evicting a second pod while the first is not back: %v, want that the disruption budget refuses it", err)
	}
	s.await(job.Name, "that no node takes the worker", func(job *streamv1.StreamJob) string {
		return is(job, streamv1.ConditionReady, metav1.ConditionFalse, streamv1.ReasonUnschedulable)
	})
	uncordon()
	job = s.await(job.Name, "the job after the first eviction", running(1))

	s.wrote(job, 0)
	s.evict(&workers[1])
	second := s.newestCheckpoint(job, first)
	job = s.await(job.Name, "the job after the second eviction", running(1))
	s.evict(s.pod(job, coordinator))
	job = s.await(job.Name, "the job after the eviction of the coordinator", running(1))
	t.Logf("checkpoints %d and %d were taken for the two workers", first, second)
	if job.Status.Grant != 1 {
		t.Errorf("the drain made a new deployment: grant %d", job.Status.Grant)
	}
	s.wrote(job, 0)
	s.finish(job.Name)
}

// wrote waits until the attempt that runs has written more than some rows.
func (s *scenario) wrote(job *streamv1.StreamJob, rows int64) {
	s.Helper()
	asker := &asker{scenario: s}
	s.eventually(fmt.Sprintf("more than %d rows", rows), func() string {
		status, err := asker.ask(job)
		if err != nil {
			return err.Error()
		}
		if status.RecordsOut <= rows {
			return fmt.Sprintf("it has written %d", status.RecordsOut)
		}
		return ""
	})
}

// cordon keeps new pods from a node until what it returns is called, or the test ends.
func (s *scenario) cordon(node string) (uncordon func()) {
	s.Helper()
	set := func(unschedulable bool) error {
		ctx, cancel := s.late()
		defer cancel()
		return setUnschedulable(ctx, node, unschedulable)
	}
	uncordon = func() {
		if err := set(false); err != nil {
			s.Errorf("letting pods onto node %s again: %v", node, err)
		}
	}
	s.Cleanup(uncordon)
	if err := set(true); err != nil {
		s.Fatalf("keeping pods from node %s: %v", node, err)
	}
	return uncordon
}

// setUnschedulable keeps new pods from a node, or lets them onto it again.
func setUnschedulable(ctx context.Context, node string, unschedulable bool) error {
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, unschedulable))
	return suite.client.Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, patch)
}

// tryEvict evicts a pod if its disruption budget lets it.
func (s *scenario) tryEvict(pod *corev1.Pod) error { return evict(s.Context(), pod) }

// evict evicts a pod as soon as its disruption budget lets it, and waits until it is gone.
func (s *scenario) evict(pod *corev1.Pod) {
	s.Helper()
	s.eventually("the eviction of "+pod.Name, func() string {
		err := s.tryEvict(pod)
		switch {
		case err == nil || apierrors.IsNotFound(err):
			return ""
		case apierrors.IsTooManyRequests(err):
			return err.Error()
		}
		s.Fatalf("evicting %s: %v", pod.Name, err)
		return ""
	})
	began := time.Now()
	s.eventually("the end of "+pod.Name, func() string {
		now := &corev1.Pod{}
		err := suite.client.Get(s.Context(), client.ObjectKeyFromObject(pod), now)
		if apierrors.IsNotFound(err) || err == nil && now.UID != pod.UID {
			return ""
		}
		return fmt.Sprintf("it is there: %v", err)
	})
	s.Logf("%s was evicted and has ended after %v", pod.Name, time.Since(began).Round(time.Millisecond))
}
