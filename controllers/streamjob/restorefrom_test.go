// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

func TestReconcile_StartsFromTheSnapshotThatItNames(t *testing.T) {
	at := metav1.Now()
	tests := map[string]struct {
		snap *streamv1.StreamSnapshot
		want string
	}{
		"none": {nil, "does not exist"},
		"not complete": {
			&streamv1.StreamSnapshot{Status: streamv1.StreamSnapshotStatus{State: streamv1.SnapshotInProgress}}, "not complete yet",
		},
		"stalled": {
			&streamv1.StreamSnapshot{Status: streamv1.StreamSnapshotStatus{State: streamv1.SnapshotPending, Message: "the job is suspended", Conditions: []metav1.Condition{
				{Type: streamv1.ConditionStalled, Status: metav1.ConditionTrue, Reason: streamv1.ReasonJobNotRunning},
			}}}, "the job starts when it is (the job is suspended)",
		},
		"tried again": {
			&streamv1.StreamSnapshot{Status: streamv1.StreamSnapshotStatus{State: streamv1.SnapshotInProgress, Attempts: 2}}, "not complete yet",
		},
		"failed": {
			&streamv1.StreamSnapshot{Status: streamv1.StreamSnapshotStatus{State: streamv1.SnapshotFailed, Message: "the job is gone"}}, "the job is gone",
		},
		"going": {&streamv1.StreamSnapshot{
			ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &at, Finalizers: []string{streamv1.SnapshotFinalizer}},
			Status:     streamv1.StreamSnapshotStatus{State: streamv1.SnapshotCompleted, Path: "s3://bkt/sp"},
		}, "being deleted"},
		"complete": {&streamv1.StreamSnapshot{Status: streamv1.StreamSnapshotStatus{State: streamv1.SnapshotCompleted, Path: "s3://bkt/sp"}}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			job := words()
			job.Spec.Storage = &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt"}}
			job.Spec.RestoreFrom = &streamv1.RestoreFrom{Snapshot: "before", AllowDrained: true}
			objects := []client.Object{job}
			if tc.snap != nil {
				tc.snap.Namespace, tc.snap.Name = wordsKey.Namespace, "before"
				objects = append(objects, tc.snap)
			}
			w := newWorld(t, objects...)
			w.pass(t)
			got := w.job(t)
			if got.Spec.RestoreFrom.Snapshot != "before" || got.Spec.RestoreFrom.Path != "" {
				t.Errorf("the spec was edited: %+v", got.Spec.RestoreFrom)
			}
			config := &corev1.ConfigMap{}
			err := w.Get(t.Context(), client.ObjectKey{Namespace: wordsKey.Namespace, Name: "words-1"}, config)
			if tc.want == "" {
				if err != nil || !strings.Contains(config.Data[resources.JobKey], `"restoreFrom":"s3://bkt/sp"`) || !strings.Contains(config.Data[resources.JobKey], `"allowDrained":true`) {
					t.Errorf("the configuration is %v, %v", config.Data, err)
				}
				return
			}
			c := apimeta.FindStatusCondition(got.Status.Conditions, streamv1.ConditionStalled)
			if name == "not complete" {
				pending := apimeta.FindStatusCondition(got.Status.Conditions, streamv1.ConditionReconciling)
				if err == nil || c == nil || c.Status != metav1.ConditionFalse || pending == nil || pending.Status != metav1.ConditionTrue ||
					pending.Reason != streamv1.ReasonPending || !strings.Contains(pending.Message, tc.want) {
					t.Errorf("it was started, or says %+v and %+v", c, pending)
				}
				return
			}
			if err == nil || c == nil || c.Status != metav1.ConditionTrue || c.Reason != streamv1.ReasonRestoreNotFound || !strings.Contains(c.Message, tc.want) {
				t.Errorf("it was started, or says %+v", c)
			}
		})
	}
}
