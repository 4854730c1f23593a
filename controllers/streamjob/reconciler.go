// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/fairqueue"
	"github.com/weir-stream/weir/controllers/streamjob/engine"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/controllers/streamjob/warnings"
)

const (
	// FieldOwner owns what the operator applies.
	FieldOwner = "weir-operator"
	// defaultConcurrency is how many StreamJobs are reconciled at once.
	defaultConcurrency = 8
	// passTimeout bounds one pass.
	passTimeout = 30 * time.Second
	// firstRetry and lastRetry bound the wait after a pass that failed; it doubles from one failure to the next.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// Engines is what the operator knows of the coordinators of jobs and how it commands them. [engine.Poller] is the real one. All
// methods are safe for concurrent use, and none but commands blocks.
type Engines interface {
	// Watch makes the coordinator at a target be watched; it is called in every pass of a job that has a deployed version.
	Watch(key types.NamespacedName, t engine.Target)
	Candidates
	// Forget ends that.
	Forget(key types.NamespacedName)
	// Report returns what was heard last; nil when the job is not watched, or when its coordinator has an address and it is not known
	// yet whether it answers. A change is told as soon as it is.
	Report(key types.NamespacedName) *plan.Engine
	// Client returns what commands the coordinator.
	Client(key types.NamespacedName) (engine.Commands, error)
	// Changes names the jobs whose report has changed. The channel is never closed.
	Changes() <-chan engine.Change
}

// Candidates are the coordinators of versions that stand by to replace those that are watched.
type Candidates interface {
	// WatchCandidate makes one be watched; nil: there is none any more.
	WatchCandidate(key types.NamespacedName, t *engine.Target)
	// Candidate returns what was heard of it last, as Report does.
	Candidate(key types.NamespacedName) *plan.Engine
}

// What the operator may do; config/rbac/role.yaml is made from it.
//
// +kubebuilder:rbac:groups=stream.weir.dev,resources=streamjobs,verbs=list;watch;patch
// +kubebuilder:rbac:groups=stream.weir.dev,resources=streamjobs/status,verbs=patch
// +kubebuilder:rbac:groups=stream.weir.dev,resources=streamjobs/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=services;configmaps;pods,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;create;patch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=list;create;patch

// Reconciler reconciles StreamJobs. Fields that are not set are taken from the manager by [Reconciler.SetupWithManager].
type Reconciler struct {
	// Client reads StreamJobs and their objects from the cache that [CacheOptions] describes, and writes.
	Client client.Client
	// APIReader reads secrets, namespaces and warnings about pods, which are not cached.
	APIReader client.Reader
	// Recorder publishes events.
	Recorder events.EventRecorder
	// Clock is what time it is. Default: the real one.
	Clock clock.PassiveClock
	// Settings end up in pods. EngineImage is required.
	Settings resources.Settings
	// Defaults are in force where a spec leaves a field unset. Default: none.
	Defaults Defaults
	// Engines are the coordinators of jobs. Default: an [engine.Poller], which runs under the manager.
	Engines Engines
	// Metrics are kept up to date when set.
	Metrics *Metrics
	// Traces are made of upgrades when set.
	Traces *Traces
	// Warnings tell why pods are not started. Default: read by APIReader.
	Warnings *warnings.Reader
	// Concurrency is how many StreamJobs are reconciled at once. Default 8.
	Concurrency int
	// PerNamespace is how many of these may be of one namespace. Default: no limit.
	PerNamespace int

	// next decides; tests replace it.
	next   func(plan.Observation, time.Time) plan.Plan
	memory memories
}

// SetupWithManager completes the reconciler and registers its controller. The cache of the manager must be as [CacheOptions] says.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Settings.EngineImage == "" {
		return errors.New("setting up the controller of StreamJobs: the image of the engine is not set")
	}
	if err := r.complete(mgr); err != nil {
		return err
	}
	b := ctrl.NewControllerManagedBy(mgr).
		Named("streamjob").
		For(&streamv1.StreamJob{}).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: r.Concurrency,
			ReconciliationTimeout:   passTimeout,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
			NewQueue:                fairqueue.New(r.PerNamespace),
		}).
		WatchesRawSource(engineSource(r.Engines.Changes()))
	if r.Defaults != nil {
		b = b.WatchesRawSource(r.configSource())
	}
	for _, child := range childTypes() {
		b = b.Watches(child, enqueueJobOf(), childPredicates())
	}
	b = b.Watches(&streamv1.StreamSnapshot{}, r.enqueueJobsFrom(), childPredicates())
	if err := b.Complete(r); err != nil {
		return fmt.Errorf("setting up the controller of StreamJobs: %w", err)
	}
	return nil
}

func (r *Reconciler) complete(mgr ctrl.Manager) error {
	if r.Client == nil {
		r.Client = mgr.GetClient()
	}
	if r.APIReader == nil {
		r.APIReader = mgr.GetAPIReader()
	}
	if r.Recorder == nil {
		r.Recorder = mgr.GetEventRecorder(FieldOwner)
	}
	if r.Engines == nil {
		poller := &engine.Poller{}
		if err := mgr.Add(poller); err != nil {
			return fmt.Errorf("adding the poller of engines: %w", err)
		}
		r.Engines = poller
	}
	r.ensureDefaults()
	return nil
}

// ensureDefaults sets what needs no manager.
func (r *Reconciler) ensureDefaults() {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.Concurrency <= 0 {
		r.Concurrency = defaultConcurrency
	}
	if r.next == nil {
		r.next = plan.Next
	}
	if r.Warnings == nil {
		r.Warnings = &warnings.Reader{API: r.APIReader, Clock: r.Clock}
	}
}
