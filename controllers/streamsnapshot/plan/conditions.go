// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	jobplan "github.com/weir-stream/weir/controllers/streamjob/plan"
)

// conditions say how the snapshot is, for people and for tools that wait.
func (p *planner) conditions() {
	switch p.st.State {
	case streamv1.SnapshotCompleted:
		p.set(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonSnapshotCompleted, "")
		p.set(streamv1.ConditionReconciling, metav1.ConditionFalse, streamv1.ReasonUpToDate, "")
		p.set(streamv1.ConditionStalled, metav1.ConditionFalse, streamv1.ReasonNotStalled, "")
		return
	case streamv1.SnapshotFailed:
		p.set(streamv1.ConditionReady, metav1.ConditionFalse, streamv1.ReasonJobGone, p.st.Message)
		p.set(streamv1.ConditionReconciling, metav1.ConditionFalse, streamv1.ReasonJobGone, "")
		p.set(streamv1.ConditionStalled, metav1.ConditionTrue, streamv1.ReasonJobGone, p.st.Message)
		return
	default: // something is still to be done
	}
	reason := cmp.Or(p.reason, defaultReason(p.st.State))
	p.set(streamv1.ConditionReady, metav1.ConditionFalse, reason, p.st.Message)
	if p.stalled {
		p.set(streamv1.ConditionReconciling, metav1.ConditionFalse, reason, "")
		p.set(streamv1.ConditionStalled, metav1.ConditionTrue, reason, p.st.Message)
		return
	}
	p.set(streamv1.ConditionReconciling, metav1.ConditionTrue, reason, p.st.Message)
	p.set(streamv1.ConditionStalled, metav1.ConditionFalse, streamv1.ReasonNotStalled, "")
}

func defaultReason(s streamv1.SnapshotState) string {
	switch s {
	case streamv1.SnapshotInProgress:
		return streamv1.ReasonSavepointing
	case streamv1.SnapshotDeleting:
		return streamv1.ReasonDeleting
	default:
		return streamv1.ReasonPending
	}
}

func (p *planner) set(kind string, status metav1.ConditionStatus, reason, message string) {
	apimeta.SetStatusCondition(&p.st.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: cut(message),
		ObservedGeneration: p.snap.Generation, LastTransitionTime: jobplan.Seconds(p.now),
	})
}
