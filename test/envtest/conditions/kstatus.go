// SPDX-License-Identifier: Apache-2.0

package conditions

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// Status is what a tool that follows kstatus makes of an object.
type Status string

// The statuses.
const (
	Current     Status = "Current"
	InProgress  Status = "InProgress"
	Failed      Status = "Failed"
	Terminating Status = "Terminating"
)

// KStatus returns what a tool that follows kstatus makes of a StreamJob: one that is being deleted is Terminating, one whose newest
// generation was not observed is InProgress, then the first of Reconciling and Stalled that is True decides, then Ready.
func KStatus(job *streamv1.StreamJob) Status {
	switch {
	case job.DeletionTimestamp != nil:
		return Terminating
	case job.Status.ObservedGeneration != 0 && job.Status.ObservedGeneration != job.Generation:
		return InProgress
	}
	ready := Current
	for _, c := range job.Status.Conditions {
		switch {
		case c.Type == streamv1.ConditionReconciling && c.Status == metav1.ConditionTrue:
			return InProgress
		case c.Type == streamv1.ConditionStalled && c.Status == metav1.ConditionTrue:
			return Failed
		case c.Type == streamv1.ConditionReady && c.Status != metav1.ConditionTrue:
			ready = InProgress
		}
	}
	return ready
}
