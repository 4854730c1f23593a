// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

// leastLostAfter is the least time after its grace period for a pod that is being deleted to count as lost with its node.
const leastLostAfter = 10 * time.Second

// lostAfter returns how long that is: as long as a node that stopped answering is waited for.
func (s *scope) lostAfter() time.Duration {
	return max(leastLostAfter, resources.LostNodeTimeout(&s.job.Spec))
}

// removeLostPods deletes pods by force that should have ended long ago: their node is gone, and as long as they are there Kubernetes
// starts no others in their place. Whatever still runs of them is shut out of the storage by the epoch of the next coordinator.
func (s *scope) removeLostPods(ctx context.Context) error {
	if s.paused() {
		return nil
	}
	for i := range s.objects.Pods {
		pod := &s.objects.Pods[i]
		if !isDeleting(pod) {
			continue
		}
		if left := pod.DeletionTimestamp.Add(s.lostAfter()).Sub(s.now); left > 0 {
			s.lookAgain(left)
			continue
		}
		ctrl.LoggerFrom(ctx).Info("Removing a pod that does not end", "pod", pod.Name, "node", pod.Spec.NodeName)
		uid := pod.UID
		err := s.Client.Delete(ctx, pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &uid})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("removing pod %s, which does not end: %w", pod.Name, err)
		}
	}
	return nil
}
