// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/observe"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

// retryStale is how soon a pass is tried again that found the cache behind what was written. An event of the cache is usually
// sooner.
const retryStale = 50 * time.Millisecond

// retryUnheard is how soon a pass is tried again that did not know whether the coordinator answers. The poller usually tells sooner.
const retryUnheard = 3 * time.Second

// Reconcile makes one pass over a StreamJob.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	job := &streamv1.StreamJob{}
	err := r.Client.Get(ctx, req.NamespacedName, job)
	if apierrors.IsNotFound(err) || (err == nil && isDeleting(job) && !controllerutil.ContainsFinalizer(job, streamv1.Finalizer)) {
		r.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("reading the StreamJob: %w", err)
	}
	s := &scope{
		Reconciler: r, key: req.NamespacedName, job: job, now: r.Clock.Now(),
		mem: r.memory.of(req.NamespacedName, job.UID),
	}
	result, err := s.pass(ctx)
	if apierrors.IsConflict(err) {
		// Somebody else wrote meanwhile: look at what that was.
		ctrl.LoggerFrom(ctx).V(1).Info("Retrying after a conflict", "reason", err.Error())
		return ctrl.Result{RequeueAfter: retryStale}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return result, nil
}

func (r *Reconciler) forget(key types.NamespacedName) {
	r.Engines.Forget(key)
	r.memory.drop(key)
	r.Metrics.drop(key)
	r.Traces.drop(key)
}

// scope is one pass over one StreamJob.
type scope struct {
	*Reconciler
	key     types.NamespacedName
	job     *streamv1.StreamJob
	now     time.Time
	mem     *memory
	objects observe.Objects
	// live are the objects by name, stored the revisions that this pass has stored.
	live   map[ref]client.Object
	stored map[int64]*resources.Revision
	// taken is what the spec got from the configuration of the operator; nil: nothing.
	taken *resources.TakenDefaults
	// again is when something needs another look though nothing changes; 0: nothing does.
	again time.Duration
}

func (s *scope) lookAgain(in time.Duration) {
	if in = max(in, time.Millisecond); s.again == 0 || in < s.again {
		s.again = in
	}
}

func (s *scope) pass(ctx context.Context) (ctrl.Result, error) {
	if s.mem.released || older(s.job.ResourceVersion, s.mem.version) {
		return ctrl.Result{RequeueAfter: retryStale}, nil
	}
	if s.mem.releasing {
		return ctrl.Result{}, s.releaseAgain(ctx)
	}
	if err := s.ensureFinalizer(ctx); err != nil {
		return ctrl.Result{}, err
	}
	if err := s.read(ctx); err != nil {
		return ctrl.Result{}, err
	}
	s.show()
	if !s.mem.current(s.live, s.now) {
		return ctrl.Result{RequeueAfter: retryStale}, nil
	}
	s.applyDefaults()
	heard, unissued, err := s.watchEngine(ctx)
	if err != nil {
		return ctrl.Result{}, s.fail(ctx, "issuing the certificates of the job", err)
	}
	if !heard {
		return ctrl.Result{RequeueAfter: retryUnheard}, nil
	}
	trouble, err := s.resolveRestore(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	var again time.Duration
	if s.objects.Warnings, again = s.Warnings.About(ctx, s.key.Namespace, s.objects.Pods); again > 0 {
		s.lookAgain(again)
	}
	o := observe.Observe(s.objects, s.Engines.Report(s.key))
	o.RestoreTrouble, o.Candidate = trouble, s.Engines.Candidate(s.key)
	s.mem.refused.into(&o)
	p := s.next(o, s.now)
	released, refused, err := s.act(ctx, p.Actions)
	if err != nil {
		s.mem.farewell = p.Events
		return ctrl.Result{}, err
	}
	if released {
		s.publish(p.Events) // there is no status to write before
		return ctrl.Result{}, nil
	}
	s.report(&p.Status)
	if err := s.removeLostPods(ctx); err != nil {
		return ctrl.Result{}, err
	}
	if refused == nil && unissued != nil && len(s.mem.refused.versions) == 0 {
		refused = &refusal{reason: streamv1.ReasonActionFailed, err: fmt.Errorf("issuing the certificates of the job: %w", unissued)}
	}
	if refused != nil {
		c := s.failure(refused.reason, refused.err)
		if refused.lasts {
			p.Events = append(p.Events, plan.Event{Type: plan.Warning, Reason: c.Reason, Action: plan.Reconcile, Note: c.Message})
			s.lookAgain(retryRefused)
		}
		failed(&s.job.Status, &p.Status, c)
	}
	if err := s.writeStatus(ctx, &p.Status); err != nil {
		return ctrl.Result{}, err
	}
	s.publish(p.Events)
	s.show()
	if refused != nil && !refused.lasts {
		return ctrl.Result{}, refused.err
	}
	if p.Next > 0 {
		s.lookAgain(p.Next)
	}
	return ctrl.Result{RequeueAfter: s.again}, nil
}

// ensureFinalizer keeps the StreamJob until its job has ended.
func (s *scope) ensureFinalizer(ctx context.Context) error {
	if isDeleting(s.job) || controllerutil.ContainsFinalizer(s.job, streamv1.Finalizer) {
		return nil
	}
	return s.patchFinalizers(ctx, controllerutil.AddFinalizer)
}

// patchFinalizers changes the finalizers and nothing else, unless somebody else has written meanwhile.
func (s *scope) patchFinalizers(ctx context.Context, change func(client.Object, string) bool) error {
	before := s.job.DeepCopy()
	change(s.job, streamv1.Finalizer)
	// The answer replaces what was read: its status is the one in the cluster.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := s.Client.Patch(ctx, s.job, patch, client.FieldOwner(FieldOwner)); err != nil {
		return fmt.Errorf("changing the finalizers of the StreamJob: %w", err)
	}
	s.mem.version = s.job.ResourceVersion
	return nil
}

// read collects the objects of the job from the cache. They are shared with it and must not be changed.
func (s *scope) read(ctx context.Context) error {
	configMaps, services, pods := &corev1.ConfigMapList{}, &corev1.ServiceList{}, &corev1.PodList{}
	deployments, statefulSets := &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}
	disruption, isolation := &policyv1.PodDisruptionBudgetList{}, &networkingv1.NetworkPolicyList{}
	for _, list := range []client.ObjectList{configMaps, services, pods, deployments, statefulSets, disruption, isolation} {
		if err := s.Client.List(ctx, list, client.InNamespace(s.key.Namespace),
			client.MatchingLabels(resources.Selector(s.key.Name)), client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("reading the objects of the StreamJob: %w", err)
		}
	}
	s.objects = observe.Objects{
		Job: s.job, Now: s.now,
		ConfigMaps: configMaps.Items, Services: services.Items, Pods: pods.Items,
		Deployments: deployments.Items, StatefulSets: statefulSets.Items,
	}
	s.live, s.stored = map[ref]client.Object{}, map[int64]*resources.Revision{}
	remember(s.live, configMaps.Items)
	remember(s.live, services.Items)
	remember(s.live, pods.Items)
	remember(s.live, deployments.Items)
	remember(s.live, statefulSets.Items)
	remember(s.live, disruption.Items)
	remember(s.live, isolation.Items)
	if isDeleting(s.job) {
		s.objects.NamespaceEnding = s.namespaceEnding(ctx)
	}
	return nil
}

// remember puts objects into a map by name.
func remember[T any, P interface {
	*T
	client.Object
}](live map[ref]client.Object, items []T) {
	for i := range items {
		o := P(&items[i])
		live[refOf(o)] = o
	}
}

// namespaceEnding says whether the namespace is being deleted, as far as the operator may know.
func (s *scope) namespaceEnding(ctx context.Context) bool {
	ns := &metav1.PartialObjectMetadata{}
	ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	err := s.APIReader.Get(ctx, client.ObjectKey{Name: s.key.Namespace}, ns)
	return apierrors.IsNotFound(err) || (err == nil && isDeleting(ns))
}
