// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/engine"
)

// childTypes are the kinds of objects that belong to a StreamJob and are watched. Secrets are not: the operator may not list them.
func childTypes() []client.Object {
	return []client.Object{
		&corev1.ConfigMap{}, &corev1.Service{}, &corev1.Pod{}, &appsv1.Deployment{}, &appsv1.StatefulSet{},
		&policyv1.PodDisruptionBudget{}, &networkingv1.NetworkPolicy{},
	}
}

// CacheOptions describe the cache that the reconciler reads from: StreamJobs, StreamSnapshots, and of other kinds only the objects that belong to one. namespaces
// are those that the operator looks after; none: all. Reading anything else fails instead of caching all of its kind.
func CacheOptions(namespaces []string) (cache.Options, error) {
	o := cache.Options{
		DefaultTransform:            cache.TransformStripManagedFields(),
		ReaderFailOnMissingInformer: true,
		ByObject:                    map[client.Object]cache.ByObject{},
	}
	for _, child := range childTypes() {
		label := streamv1.LabelJob
		if _, pod := child.(*corev1.Pod); pod {
			label = streamv1.LabelComponent // agents of a StreamSnapshot belong to no StreamJob
		}
		belongs, err := labels.NewRequirement(label, selection.Exists, nil)
		if err != nil {
			return cache.Options{}, err
		}
		o.ByObject[child] = cache.ByObject{Label: labels.NewSelector().Add(*belongs)}
	}
	if len(namespaces) > 0 {
		o.DefaultNamespaces = map[string]cache.Config{}
	}
	for _, ns := range namespaces {
		o.DefaultNamespaces[ns] = cache.Config{}
	}
	return o, nil
}

// enqueueJobOf reconciles the StreamJob that an object belongs to by its label.
func enqueueJobOf() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		name := o.GetLabels()[streamv1.LabelJob]
		if name == "" {
			return nil // of a StreamSnapshot
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
	})
}

// childPredicates leave out what the cache tells again from time to time.
func childPredicates() builder.Predicates {
	return builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})
}

// engineSource reconciles the jobs whose report has changed.
func engineSource(changes <-chan engine.Change) source.Source {
	return source.TypedChannel(changes, handler.TypedFuncs[types.NamespacedName, reconcile.Request]{
		GenericFunc: func(_ context.Context, c engine.Change, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			q.Add(reconcile.Request{NamespacedName: c.Object})
		},
	})
}

// isDeleting says that an object is being deleted.
func isDeleting(o metav1.Object) bool { return o.GetDeletionTimestamp() != nil }
