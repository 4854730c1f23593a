// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/engine"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

// argsOf are the arguments of a coordinator.
func (w *world) argsOf(t *testing.T, grant int64) []string {
	t.Helper()
	d := &appsv1.Deployment{}
	name := types.NamespacedName{Namespace: "ns", Name: resources.Name("words", grant, resources.CoordinatorComponent)}
	if err := w.Get(t.Context(), name, d); err != nil {
		t.Fatal(err)
	}
	return d.Spec.Template.Spec.Containers[0].Args
}

// The version that stands by has pods beside those of the one that runs and is watched, and its pods stay as they are once it is the deployed one.
func TestReconcile_AVersionStandsBy(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "next", CreationTimestamp: metav1.NewTime(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)),
			Labels: map[string]string{streamv1.LabelJob: "words", streamv1.LabelGrant: "2", streamv1.LabelComponent: resources.CoordinatorComponent},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.2"},
	}
	w := newWorld(t, deployed(), pod)
	warm := func(s *streamv1.StreamJobStatus) {
		s.Operation = &streamv1.OperationReport{Type: streamv1.UpgradeOperation, Phase: streamv1.OperationWarming, Warm: true}
	}
	w.plans(warm, plan.Store{Grant: 1}, plan.Apply{Grant: 1}, plan.Store{Grant: 2, Standby: true}, plan.Apply{Grant: 2})
	w.pass(t)
	if w.engines.candidate != nil {
		t.Errorf("before it is written that a version stands by %+v is watched", w.engines.candidate)
	}
	w.plans(nil, plan.Apply{Grant: 1}, plan.Apply{Grant: 2})
	w.pass(t)
	c := w.engines.candidate
	if c == nil || c.Grant != 2 || c.Addr != "10.0.0.2:8081" || c.TLS == nil || w.engines.targets[wordsKey].Grant != 1 {
		t.Fatalf("watched is %+v beside %+v", c, w.engines.targets[wordsKey])
	}
	if slices.Contains(w.argsOf(t, 1), "--standby") || !slices.Contains(w.argsOf(t, 2), "--standby") {
		t.Errorf("the arguments are %q and %q", w.argsOf(t, 1), w.argsOf(t, 2))
	}
	w.plans(func(s *streamv1.StreamJobStatus) {
		s.Grant, s.Operation = 2, nil
		s.Deployment = &streamv1.DeploymentReport{Grant: 2, Revision: "r", Generation: 1}
	})
	w.pass(t)
	w.asked()
	w.plans(nil, plan.Activate{Grant: 2}, plan.Apply{Grant: 2})
	w.pass(t)
	if got := w.engines.targets[wordsKey]; got != (engine.Target{Grant: 2, Addr: c.Addr, TLS: c.TLS}) {
		t.Errorf("watched is %+v, which is not what was watched before it was deployed: %+v", got, *c)
	}
	if w.engines.candidate != nil || !slices.Equal(w.engines.commands, []string{"activate 2"}) {
		t.Errorf("a candidate is watched: %+v; commands %q", w.engines.candidate, w.engines.commands)
	}
	if asked := w.asked(); slices.ContainsFunc(asked, func(r string) bool { return r == "apply Deployment words-2-coordinator" }) {
		t.Errorf("the activation changes objects: %q", asked)
	}
	// An edit of the policy stores the revision again; the pods stay.
	w.plans(nil, plan.Store{Grant: 2, Standby: true}, plan.Apply{Grant: 2})
	w.pass(t)
	if !slices.Contains(w.argsOf(t, 2), "--standby") {
		t.Error("its coordinator would be restarted")
	}
}
