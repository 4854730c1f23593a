// SPDX-License-Identifier: Apache-2.0

package conditions

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

func TestKStatus(t *testing.T) {
	t.Parallel()
	condition := func(name string, status metav1.ConditionStatus) metav1.Condition {
		return metav1.Condition{Type: name, Status: status}
	}
	ready := condition(streamv1.ConditionReady, metav1.ConditionTrue)
	notReady := condition(streamv1.ConditionReady, metav1.ConditionFalse)
	reconciling := condition(streamv1.ConditionReconciling, metav1.ConditionTrue)
	stalled := condition(streamv1.ConditionStalled, metav1.ConditionTrue)
	notStalled := condition(streamv1.ConditionStalled, metav1.ConditionFalse)
	tests := map[string]struct {
		observed   int64
		deleted    bool
		conditions []metav1.Condition
		want       Status
	}{
		"ready":                {observed: 2, conditions: []metav1.Condition{ready, notStalled}, want: Current},
		"not ready":            {observed: 2, conditions: []metav1.Condition{notReady, notStalled}, want: InProgress},
		"reconciling":          {observed: 2, conditions: []metav1.Condition{ready, reconciling, notStalled}, want: InProgress},
		"stalled":              {observed: 2, conditions: []metav1.Condition{notReady, stalled}, want: Failed},
		"an edit not yet seen": {observed: 1, conditions: []metav1.Condition{ready, notStalled}, want: InProgress},
		"being deleted":        {observed: 2, deleted: true, conditions: []metav1.Condition{ready}, want: Terminating},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := &streamv1.StreamJob{}
			job.Generation = 2
			job.Status = streamv1.StreamJobStatus{ObservedGeneration: tc.observed, Conditions: tc.conditions}
			if tc.deleted {
				job.DeletionTimestamp = new(metav1.NewTime(time.Unix(1, 0)))
			}
			if got := KStatus(job); got != tc.want {
				t.Errorf("KStatus = %s, want %s", got, tc.want)
			}
		})
	}
}
