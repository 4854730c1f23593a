// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/operatorconfig"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

// storageField is what [operatorconfig.Defaults.Apply] calls spec.storage.
const storageField = "storage"

// Defaults are what the operator's configuration says. [operatorconfig.Live] is the real one. Its methods are safe for concurrent use.
type Defaults interface {
	// For returns what is in force in a namespace.
	For(namespace string) operatorconfig.Defaults
	// Changes tells that another configuration is in force. The channel is never closed.
	Changes() <-chan event.TypedGenericEvent[struct{}]
}

// applyDefaults sets what the spec leaves unset from the configuration of the operator, in the copy that this pass works on. A version that
// is stored keeps the defaults that it was stored with until the spec, as the user has written it, asks for another version. Where state
// lives is never changed by a default.
func (s *scope) applyDefaults() {
	if s.Defaults == nil {
		return
	}
	written := resources.RevisionHash(&s.job.Spec)
	inForce := s.Defaults.For(s.key.Namespace)
	isolation := inForce.NetworkPolicy // no part of a version
	var was *resources.Revision
	for _, grant := range s.grants() {
		r, err := s.revision(grant)
		if err != nil {
			continue
		}
		was = r
		before := resources.TakenDefaults{Written: resources.RevisionHash(&r.Spec)}
		if r.Defaults != nil {
			before = *r.Defaults
		}
		if before.Written == written {
			inForce = before.Defaults
			break
		}
		inForce.Storage = before.Defaults.Storage
	}
	inForce.NetworkPolicy = isolation
	kept := s.keepStorage(was, &inForce)
	s.taken = &resources.TakenDefaults{Written: written, Defaults: inForce}
	s.taken.Taken = slices.Concat(kept, inForce.Apply(&s.job.Spec))
	slices.Sort(s.taken.Taken)
	s.taken.Defaults.NetworkPolicy = ""
	if len(s.taken.Taken) == 0 && inForce.Image == "" {
		s.taken = nil
	}
}

// keepStorage keeps a job where its last version was: without storage, or in that of the configuration. Whether a job gets that is for its first version to
// say; after that, how an upgrade is done says nothing about it. It returns the field that it has set.
func (s *scope) keepStorage(was *resources.Revision, inForce *operatorconfig.Defaults) []string {
	switch {
	case was == nil || s.job.Spec.Storage != nil:
	case was.Spec.Storage == nil:
		inForce.Storage = nil
	case inForce.Storage != nil && was.Defaults != nil && slices.Contains(was.Defaults.Taken, storageField):
		s.job.Spec.Storage = inForce.Storage.DeepCopy()
		return []string{storageField}
	}
	return nil
}

// grants returns the grants whose stored revision may hold what the spec asks for: the newest one, and the deployed one.
func (s *scope) grants() []int64 {
	d := s.job.Status.Deployment
	if d == nil {
		return nil
	}
	if d.Grant == s.job.Status.Grant {
		return []int64{d.Grant}
	}
	return []int64{s.job.Status.Grant, d.Grant}
}

// withDefaults notes in a revision what its spec got from the configuration of the operator.
func (s *scope) withDefaults(r *resources.Revision) {
	if s.taken == nil {
		return
	}
	r.Defaults = s.taken
	if r.Spec.Program == nil {
		r.Image, r.ImagePullPolicy = s.taken.Defaults.ImageOf(r.Image, r.ImagePullPolicy)
	}
}

// keepForm keeps the form of the pods of a version whose stored revision is lost: the pods know. That of workers may be nil.
func keepForm(coordinator, worker *corev1.PodSpec, r *resources.Revision) {
	r.Form = min(r.Form, resources.FormOf(coordinator, worker, r))
}

// configSource reconciles all StreamJobs when another configuration is in force: one that could not start may do so now.
func (r *Reconciler) configSource() source.Source {
	return source.TypedChannel(r.Defaults.Changes(), handler.TypedFuncs[struct{}, reconcile.Request]{
		GenericFunc: func(ctx context.Context, _ event.TypedGenericEvent[struct{}], q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			jobs := &streamv1.StreamJobList{}
			if err := r.Client.List(ctx, jobs, client.UnsafeDisableDeepCopy); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "Reading the StreamJobs that a changed configuration is for")
				return
			}
			for i := range jobs.Items {
				q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&jobs.Items[i])})
			}
		},
	})
}
