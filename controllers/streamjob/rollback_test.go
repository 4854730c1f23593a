// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
)

// storedAs reads what is stored for a grant: the revision, and the configuration that pods get.
func (w *world) storedAs(t *testing.T, name string) (*resources.Revision, contract.JobConfig) {
	t.Helper()
	cm := &corev1.ConfigMap{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: wordsKey.Namespace, Name: name}, cm); err != nil {
		t.Fatal(err)
	}
	r, err := resources.ReadRevision(cm)
	if err != nil {
		t.Fatal(err)
	}
	var config contract.JobConfig
	if err := json.Unmarshal([]byte(cm.Data[resources.JobKey]), &config); err != nil {
		t.Fatal(err)
	}
	return r, config
}

// TestReconcile_StoresTheRevisionOfTheStableGrant shows that a rollback deploys what was stored, with the image it had then, whatever the spec
// and the operator have come to.
func TestReconcile_StoresTheRevisionOfTheStableGrant(t *testing.T) {
	w := newWorld(t, deployed())
	w.plans(nil, plan.Store{Grant: 1, JobID: "job"})
	w.pass(t)
	job := w.job(t)
	job.Spec.Parallelism, job.Generation = 7, 2
	if err := w.Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	w.Settings.EngineImage = "weir:v2"
	w.plans(nil, plan.Store{Grant: 3, From: 1, JobID: "job", RewindTo: "s3://b/sp"})
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	w.pass(t)
	before, _ := w.storedAs(t, "words-1")
	after, config := w.storedAs(t, "words-3")
	if after.Spec.Parallelism != 2 || after.Image != "weir:v1" || after.Generation != before.Generation || after.RewindTo != "s3://b/sp" {
		t.Errorf("grant 3 is stored as %+v", after)
	}
	if config.Parallelism != 2 || config.JobID != "job" || config.RewindTo != "s3://b/sp" {
		t.Errorf("its pods get %+v", config)
	}
	if before.RewindTo != "" {
		t.Errorf("grant 1 is stored as %+v", before)
	}
}

// TestReconcile_DoesNothingWhilePaused looks and reports, and asks for nothing else.
func TestReconcile_DoesNothingWhilePaused(t *testing.T) {
	w := newWorld(t, words())
	for range 4 {
		w.pass(t)
	}
	job := w.job(t)
	job.Annotations = map[string]string{streamv1.AnnotationPaused: "true"}
	job.Spec.Parallelism, job.Generation = 5, 2
	if err := w.Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	leaving := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: wordsKey.Namespace, Name: "words-1-worker-0", Finalizers: []string{"x/y"},
		Labels: map[string]string{streamv1.LabelJob: "words", streamv1.LabelGrant: "1", streamv1.LabelComponent: "worker"},
	}}
	if err := w.Create(t.Context(), leaving); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), leaving); err != nil {
		t.Fatal(err)
	}
	w.clock.SetTime(w.clock.Now().Add(time.Hour))
	w.asked()
	for range 5 {
		w.pass(t)
	}
	got := slices.DeleteFunc(w.asked(), func(r string) bool { // certificates are looked after all the same
		return r == "patch status StreamJob words" || strings.HasPrefix(r, "get Secret ")
	})
	if len(got) > 0 {
		t.Errorf("while it is paused the operator asked for %v", got)
	}
	if status := w.job(t).Status; status.ObservedGeneration != 2 || status.Grant != 1 {
		t.Errorf("the status is %+v", status)
	}
}
