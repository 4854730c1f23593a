// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

const (
	// maxMessage bounds the message of a condition, maxNote that of an event.
	maxMessage = 1024
	maxNote    = 1024
)

// writeStatus writes the status when it differs from the one in the cluster, and fails with a conflict when somebody else has
// written meanwhile. It is a patch from what was read to what should be, so it also takes away what somebody else has put there.
func (s *scope) writeStatus(ctx context.Context, status *streamv1.StreamJobStatus) error {
	same, err := EqualAsJSON(&s.job.Status, status)
	if err != nil || same {
		return err
	}
	before := s.job.DeepCopy()
	s.job.Status = *status.DeepCopy()
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	err = s.Client.Status().Patch(ctx, s.job, patch, client.FieldOwner(FieldOwner))
	if apierrors.IsNotFound(err) {
		return nil // it is gone, and another pass will find out
	}
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	s.mem.version = s.job.ResourceVersion
	return nil
}

// EqualAsJSON compares what the API server would see. Times are compared in the precision in which they are written.
func EqualAsJSON(a, b any) (bool, error) {
	x, err := json.Marshal(a)
	if err != nil {
		return false, fmt.Errorf("encoding the status: %w", err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		return false, fmt.Errorf("encoding the status: %w", err)
	}
	return bytes.Equal(x, y), nil
}

// fail writes that an action failed, and nothing else that the plan wanted written, and returns the failure. A conflict or the end
// of the operator says nothing about the job.
func (s *scope) fail(ctx context.Context, doing string, failure error) error {
	wrapped := fmt.Errorf("%s: %w", doing, failure)
	if apierrors.IsConflict(failure) || ctx.Err() != nil {
		return wrapped
	}
	status := s.job.Status.DeepCopy()
	failed(&s.job.Status, status, s.failure(streamv1.ReasonActionFailed, wrapped))
	return errors.Join(wrapped, s.writeStatus(ctx, status))
}

// failed makes the conditions of a status that follows another say that something failed and is tried again. A condition that is
// what it was before keeps the time of its last transition, whatever was planned meanwhile: a failure that lasts is written
// once.
func failed(was, status *streamv1.StreamJobStatus, c metav1.Condition) {
	c.Type, c.Status = streamv1.ConditionReconciling, metav1.ConditionTrue
	c.Message = plan.Cut("It is tried again after "+c.Message, maxMessage)
	apimeta.SetStatusCondition(&status.Conditions, c)
	if ready := apimeta.FindStatusCondition(status.Conditions, streamv1.ConditionReady); ready == nil || ready.ObservedGeneration != c.ObservedGeneration || ready.Status != metav1.ConditionTrue {
		c.Type, c.Status = streamv1.ConditionReady, metav1.ConditionFalse
		apimeta.SetStatusCondition(&status.Conditions, c)
	}
	for i := range status.Conditions {
		now := &status.Conditions[i]
		if before := apimeta.FindStatusCondition(was.Conditions, now.Type); before != nil && before.Status == now.Status {
			now.LastTransitionTime = before.LastTransitionTime
		}
	}
}

// failure is a condition for [failed].
func (s *scope) failure(reason string, err error) metav1.Condition {
	return metav1.Condition{
		ObservedGeneration: s.job.Generation, Reason: reason, Message: err.Error(), LastTransitionTime: metav1.NewTime(s.now.Truncate(time.Second)),
	}
}

// paused says that nothing is to be done but to watch and to report.
func (s *scope) paused() bool {
	return s.job.Annotations[streamv1.AnnotationPaused] == "true" && !isDeleting(s.job)
}
