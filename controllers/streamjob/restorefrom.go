// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

// resolveRestore puts the path of the StreamSnapshot that restoreFrom names in its place, in the copy that this pass works on. The trouble says why there is
// none to start from.
func (s *scope) resolveRestore(ctx context.Context) (*plan.Trouble, error) {
	from := s.job.Spec.RestoreFrom
	if from == nil || from.Snapshot == "" {
		return nil, nil
	}
	snap := &streamv1.StreamSnapshot{}
	err := s.Client.Get(ctx, client.ObjectKey{Namespace: s.key.Namespace, Name: from.Snapshot}, snap)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading the StreamSnapshot that restoreFrom names: %w", err)
	}
	trouble := func(reason, message string) (*plan.Trouble, error) {
		return &plan.Trouble{Reason: reason, Message: fmt.Sprintf("spec.restoreFrom.snapshot: StreamSnapshot %s %s", from.Snapshot, message)}, nil
	}
	switch st := &snap.Status; {
	case err != nil:
		return trouble(streamv1.ReasonRestoreNotFound, "does not exist: create it, or name another one")
	case isDeleting(snap):
		return trouble(streamv1.ReasonRestoreNotFound, "is being deleted: name another one")
	case st.State == streamv1.SnapshotFailed:
		return trouble(streamv1.ReasonRestoreNotFound, "failed, and there will be no snapshot: name another one ("+st.Message+")")
	case st.State != streamv1.SnapshotCompleted || st.Path == "":
		text := "is not complete yet: the job starts when it is"
		if st.Message != "" {
			text += " (" + st.Message + ")"
		}
		if st.Attempts > 1 || apimeta.IsStatusConditionTrue(st.Conditions, streamv1.ConditionStalled) {
			return trouble(streamv1.ReasonRestoreNotFound, text)
		}
		return trouble(streamv1.ReasonPending, text) // nobody has to do anything
	}
	resolved := from.DeepCopy()
	resolved.Snapshot, resolved.Path = "", streamv1.Location(snap.Status.Path)
	s.job.Spec.RestoreFrom = resolved
	return nil, nil
}

// enqueueJobsFrom reconciles the StreamJobs that name a StreamSnapshot in restoreFrom.
func (r *Reconciler) enqueueJobsFrom() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		list := &streamv1.StreamJobList{}
		if err := r.Client.List(ctx, list, client.InNamespace(o.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Listing the StreamJobs that start from a StreamSnapshot")
			return nil
		}
		var out []reconcile.Request
		for i := range list.Items {
			if from := list.Items[i].Spec.RestoreFrom; from != nil && from.Snapshot == o.GetName() {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
			}
		}
		return out
	})
}
