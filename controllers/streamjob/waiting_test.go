// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/observe"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/warnings"
)

// someWarnings are what is read about pods.
type someWarnings struct {
	client.Reader
	asked  int
	events []eventsv1.Event
	err    error
}

func (w *someWarnings) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	w.asked++
	list.(*eventsv1.EventList).Items = w.events
	return w.err
}

func TestReconcile_ReadsWarningsOnlyAboutPodsThatWait(t *testing.T) {
	start := metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words-1-worker-0", UID: "p", Labels: map[string]string{
			streamv1.LabelJob: "words", streamv1.LabelGrant: "1", streamv1.LabelComponent: "worker",
		}},
		Spec: corev1.PodSpec{NodeName: "node-1"},
		Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: start},
		}},
	}
	w := newWorld(t, deployed(), pod)
	said := &someWarnings{events: []eventsv1.Event{{
		Regarding: corev1.ObjectReference{Name: pod.Name, UID: pod.UID}, Reason: "FailedMount", Note: `secret "nowhere" not found`,
		DeprecatedCount: 3, DeprecatedLastTimestamp: metav1.NewTime(start.Add(9 * time.Second)),
	}}}
	w.Warnings = &warnings.Reader{API: said, Clock: w.clock}
	var seen plan.Pod
	w.next = func(o plan.Observation, _ time.Time) plan.Plan {
		seen = o.Versions[0].Workers[0]
		return plan.Plan{Status: *o.Job.Status.DeepCopy()}
	}
	pass := func(at time.Duration, asked int) {
		t.Helper()
		w.clock.SetTime(start.Add(at))
		if result := w.pass(t); result.RequeueAfter > observe.StartPatience || result.RequeueAfter <= 0 {
			t.Errorf("after %v the next look is in %v", at, result.RequeueAfter)
		}
		if said.asked != asked {
			t.Errorf("after %v warnings were read %d times, want %d", at, said.asked, asked)
		}
	}
	pass(time.Second, 0)
	if seen.Trouble != nil || seen.Waits != "" {
		t.Errorf("a pod that is new: %+v", seen)
	}
	pass(10*time.Second, 1)
	if seen.Trouble == nil || seen.Trouble.Reason != streamv1.ReasonPodConfigInvalid {
		t.Errorf("a pod whose volume names nothing: %+v", seen)
	}
	said.events, said.err = nil, errors.New("forbidden")
	w.Warnings = &warnings.Reader{API: said, Clock: w.clock}
	pass(20*time.Second, 2)
	if seen.Trouble != nil || seen.Waits == "" {
		t.Errorf("a pod that nothing is known about: %+v", seen)
	}
}
