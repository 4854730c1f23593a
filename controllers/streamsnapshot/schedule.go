// SPDX-License-Identifier: Apache-2.0

package streamsnapshot

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob"
	"github.com/weir-stream/weir/controllers/streamsnapshot/plan"
)

// ReconcileSchedule makes one pass over the schedule of a StreamJob: it makes the StreamSnapshot that is due and deletes those that retention
// doesn't keep. Of a StreamJob that is gone it deletes those that were never begun.
func (r *Reconciler) ReconcileSchedule(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	job := &streamv1.StreamJob{}
	err := r.Client.Get(ctx, req.NamespacedName, job)
	if apierrors.IsNotFound(err) {
		return ctrl.Result{}, r.dropNeverBegan(ctx, req)
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("reading the StreamJob: %w", err)
	}
	_, marked := job.Annotations[streamv1.AnnotationScheduled]
	if !marked && (job.Spec.Savepoint == nil || job.Spec.Savepoint.Schedule == "") {
		return ctrl.Result{}, nil
	}
	made, err := r.madeFor(ctx, req)
	if err != nil {
		return ctrl.Result{}, err
	}
	users, err := r.usersOf(ctx, job.Namespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	needed := func(s *streamv1.StreamSnapshot) bool { return len(users(s)) > 0 }
	todo := plan.NextScheduled(job, made, needed, r.Clock.Now())
	if err := r.carryOut(ctx, job, todo); err != nil {
		if apierrors.IsConflict(err) {
			return ctrl.Result{RequeueAfter: retryStale}, nil
		}
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: todo.Next}, nil
}

// madeFor lists the StreamSnapshots that the schedule of a StreamJob made.
func (r *Reconciler) madeFor(ctx context.Context, job ctrl.Request) ([]streamv1.StreamSnapshot, error) {
	list := &streamv1.StreamSnapshotList{}
	if err := r.Client.List(ctx, list, client.InNamespace(job.Namespace),
		client.MatchingLabels{streamv1.LabelJob: job.Name, streamv1.LabelScheduled: "true"}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing the scheduled StreamSnapshots of the StreamJob: %w", err)
	}
	return list.Items, nil
}

// dropNeverBegan deletes the StreamSnapshots of the schedule of a StreamJob that is gone which it was too late for.
func (r *Reconciler) dropNeverBegan(ctx context.Context, job ctrl.Request) error {
	made, err := r.madeFor(ctx, job)
	if err != nil {
		return err
	}
	return r.deleteScheduled(ctx, job.Namespace, plan.NeverBegan(nil, made))
}

func (r *Reconciler) deleteScheduled(ctx context.Context, namespace string, names []string) error {
	for _, name := range names {
		ctrl.LoggerFrom(ctx).Info("Deleting a scheduled StreamSnapshot that retention does not keep", "snapshot", name)
		snap := &streamv1.StreamSnapshot{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		if err := r.Client.Delete(ctx, snap); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting StreamSnapshot %s: %w", name, err)
		}
	}
	return nil
}

// carryOut does what is to be done. The StreamSnapshot is made before its time is marked: made again it is there already.
func (r *Reconciler) carryOut(ctx context.Context, job *streamv1.StreamJob, todo plan.Schedule) error {
	if err := r.deleteScheduled(ctx, job.Namespace, todo.Delete); err != nil {
		return err
	}
	if !todo.Create.IsZero() {
		snap := scheduledSnapshot(job, todo.Create)
		ctrl.LoggerFrom(ctx).Info("Making a scheduled StreamSnapshot", "snapshot", snap.Name)
		if err := r.Client.Create(ctx, snap, client.FieldOwner(streamjob.FieldOwner)); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("making StreamSnapshot %s: %w", snap.Name, err)
		}
	}
	if todo.Mark.IsZero() && !todo.Unmark {
		return nil
	}
	before := job.DeepCopy()
	if todo.Unmark {
		delete(job.Annotations, streamv1.AnnotationScheduled)
	} else {
		metav1.SetMetaDataAnnotation(&job.ObjectMeta, streamv1.AnnotationScheduled, todo.Mark.UTC().Format(time.RFC3339))
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, job, patch, client.FieldOwner(streamjob.FieldOwner)); err != nil {
		return fmt.Errorf("noting the time of the schedule: %w", err)
	}
	return nil
}

// scheduledSnapshot is the StreamSnapshot of a time. It has no owner: it outlives the StreamJob.
func scheduledSnapshot(job *streamv1.StreamJob, at time.Time) *streamv1.StreamSnapshot {
	snap := &streamv1.StreamSnapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: job.Namespace, Name: plan.ScheduledName(job.Name, at),
			Labels: map[string]string{streamv1.LabelJob: job.Name, streamv1.LabelScheduled: "true"},
		},
		Spec: streamv1.StreamSnapshotSpec{
			JobRef: &streamv1.JobReference{Name: job.Name}, Target: job.Spec.Savepoint.Target, ReclaimPolicy: streamv1.ReclaimDelete,
		},
	}
	if u := job.Spec.Upgrade; u != nil {
		snap.Spec.Timeout = u.SavepointTimeout
	}
	return snap
}
