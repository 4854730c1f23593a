// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// TestOperator_PodsThatTheirNodeDoesNotStart shows a job whose pods wait for a busy node, and then for something that the kubelet says is missing. The operator
// has the rights of a tenant.
func TestOperator_PodsThatTheirNodeDoesNotStart(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	now := metav1.Now()
	c.keepPods(func(*corev1.Pod) *corev1.PodStatus {
		return &corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now},
			{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse, LastTransitionTime: now},
		}}
	})
	c.operate(as(c.tenant()))
	c.create("parallelism: 2", bucket, checkpointing, dataflow)
	var pods corev1.PodList
	c.eventually("there are pods", func() error {
		if err := admin.List(t.Context(), &pods, client.InNamespace(c.namespace)); err != nil {
			return err
		}
		if len(pods.Items) == 0 {
			return errors.New("there are none")
		}
		return nil
	})
	c.pass(20 * time.Minute)
	c.until("it says what it waits for", func(job *streamv1.StreamJob) error {
		r := apimeta.FindStatusCondition(job.Status.Conditions, streamv1.ConditionReconciling)
		if r == nil || r.Status != metav1.ConditionTrue || !strings.Contains(r.Message, "has not started it yet") {
			return fmt.Errorf("reconciling: %+v", r)
		}
		return has(streamv1.ConditionStalled, metav1.ConditionFalse, streamv1.ReasonNotStalled)(job)
	})

	pod, said := &pods.Items[0], metav1.NewTime(c.clock.Now())
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: c.namespace, Name: pod.Name + ".1"},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: c.namespace, Name: pod.Name, UID: pod.UID},
		Type:           corev1.EventTypeWarning, Reason: "FailedMount", Message: `MountVolume.SetUp failed for volume "keys" : secret "nowhere" not found`,
		Count: 4, FirstTimestamp: now, LastTimestamp: said, Source: corev1.EventSource{Component: "kubelet"},
	}
	if err := admin.Create(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	c.pass(10 * time.Second)
	c.until("the cause shows", func(job *streamv1.StreamJob) error {
		if r := apimeta.FindStatusCondition(job.Status.Conditions, streamv1.ConditionReady); r == nil || !strings.Contains(r.Message, `secret "nowhere" not found`) {
			return fmt.Errorf("ready: %+v", r)
		}
		return has(streamv1.ConditionStalled, metav1.ConditionTrue, streamv1.ReasonPodConfigInvalid)(job)
	})
	c.keepPods(nil)
	c.running()
}
