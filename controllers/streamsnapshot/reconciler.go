// SPDX-License-Identifier: Apache-2.0

package streamsnapshot

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/fairqueue"
	"github.com/weir-stream/weir/controllers/streamjob"
	"github.com/weir-stream/weir/controllers/streamjob/engine"
	jobplan "github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/controllers/streamjob/warnings"
	"github.com/weir-stream/weir/runtime/contract"
)

const (
	// defaultConcurrency is how many StreamSnapshots are reconciled at once.
	defaultConcurrency = 4
	// passTimeout bounds one pass.
	passTimeout = 30 * time.Second
	// firstRetry and lastRetry bound the wait after a pass that failed; it doubles from one failure to the next.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// Engines is what is known of the coordinators of jobs, and how they are commanded: that of the reconciler of StreamJobs, which has them watched.
type Engines interface {
	// Report returns what was heard last of the coordinator of a StreamJob; nil: nothing.
	Report(key types.NamespacedName) *jobplan.Engine
	// Client returns what commands it.
	Client(key types.NamespacedName) (engine.Commands, error)
}

// What the operator may do, besides what it may for StreamJobs; config/rbac/role.yaml is made from it.
//
// +kubebuilder:rbac:groups=stream.weir.dev,resources=streamsnapshots,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=stream.weir.dev,resources=streamsnapshots/status,verbs=patch
// +kubebuilder:rbac:groups=stream.weir.dev,resources=streamsnapshots/finalizers,verbs=update

// Reconciler reconciles StreamSnapshots, and the schedules of StreamJobs. Fields that are not set are taken from the manager by
// [Reconciler.SetupWithManager].
type Reconciler struct {
	// Client reads from the cache that [streamjob.CacheOptions] describes, and writes.
	Client client.Client
	// APIReader reads namespaces and warnings about pods, which are not cached.
	APIReader client.Reader
	// Recorder publishes events.
	Recorder events.EventRecorder
	// Clock is what time it is. Default: the real one.
	Clock clock.PassiveClock
	// Settings end up in agent pods. EngineImage is required.
	Settings resources.Settings
	// Defaults are what the configuration of the operator says: the image. Default: nothing.
	Defaults streamjob.Defaults
	// Engines are the coordinators of jobs. Required.
	Engines Engines
	// Warnings tell why agent pods are not started. Default: read by APIReader.
	Warnings *warnings.Reader
	// Concurrency is how many StreamSnapshots are reconciled at once. Default 4.
	Concurrency int
	// PerNamespace is how many of these may be of one namespace. Default: no limit.
	PerNamespace int

	memory memories
}

// SetupWithManager completes the reconciler and registers its controllers.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Settings.EngineImage == "" || r.Engines == nil {
		return errors.New("setting up the controller of StreamSnapshots: the image of the engine and the engines have to be set")
	}
	if r.Client == nil {
		r.Client = mgr.GetClient()
	}
	if r.APIReader == nil {
		r.APIReader = mgr.GetAPIReader()
	}
	if r.Recorder == nil {
		r.Recorder = mgr.GetEventRecorder(streamjob.FieldOwner)
	}
	r.ensureDefaults()
	changed := builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("streamsnapshot").
		For(&streamv1.StreamSnapshot{}).
		WithOptions(r.options()).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(snapshotOfPod), changed).
		Watches(&streamv1.StreamJob{}, handler.EnqueueRequestsFromMapFunc(r.snapshotsOfJob), changed).
		Complete(r)
	if err != nil {
		return fmt.Errorf("setting up the controller of StreamSnapshots: %w", err)
	}
	err = ctrl.NewControllerManagedBy(mgr).
		Named("savepointschedule").
		For(&streamv1.StreamJob{}).
		WithOptions(r.options()).
		Watches(&streamv1.StreamSnapshot{}, handler.EnqueueRequestsFromMapFunc(jobOfScheduled), changed).
		Complete(reconcile.Func(r.ReconcileSchedule))
	if err != nil {
		return fmt.Errorf("setting up the controller of savepoint schedules: %w", err)
	}
	return nil
}

func (r *Reconciler) options() controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: r.Concurrency,
		ReconciliationTimeout:   passTimeout,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		NewQueue:                fairqueue.New(r.PerNamespace),
	}
}

// ensureDefaults sets what needs no manager.
func (r *Reconciler) ensureDefaults() {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.Concurrency <= 0 {
		r.Concurrency = defaultConcurrency
	}
	if r.Warnings == nil {
		r.Warnings = &warnings.Reader{API: r.APIReader, Clock: r.Clock}
	}
}

// snapshotOfPod reconciles the StreamSnapshot that an agent pod works for.
func snapshotOfPod(_ context.Context, o client.Object) []reconcile.Request {
	name := o.GetLabels()[streamv1.LabelSnapshot]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
}

// snapshotsOfJob reconciles the StreamSnapshots of a StreamJob that wait for something, and those that are being deleted: it may have needed one.
func (r *Reconciler) snapshotsOfJob(ctx context.Context, o client.Object) []reconcile.Request {
	list := &streamv1.StreamSnapshotList{}
	if err := r.Client.List(ctx, list, client.InNamespace(o.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing the StreamSnapshots of a StreamJob")
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		s := &list.Items[i]
		waits := s.Status.State != streamv1.SnapshotCompleted && s.Status.State != streamv1.SnapshotFailed
		if isDeleting(s) || (waits && s.Spec.JobRef != nil && s.Spec.JobRef.Name == o.GetName()) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(s)})
		}
	}
	return out
}

// jobOfScheduled reconciles the schedule of the StreamJob that a StreamSnapshot was made for.
func jobOfScheduled(_ context.Context, o client.Object) []reconcile.Request {
	labels := o.GetLabels()
	if labels[streamv1.LabelScheduled] != "true" || labels[streamv1.LabelJob] == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: labels[streamv1.LabelJob]}}}
}

// memory is what the operator remembers of one StreamSnapshot between passes. Nothing in it is needed to decide rightly after a restart.
type memory struct {
	uid types.UID
	// version is the resource version after the last write.
	version string
	// answer is what the coordinator answered last.
	answer *contract.Operation
	// told are the events that were published.
	told streamjob.Told
}

// memories are those of all StreamSnapshots, safe for concurrent use.
type memories struct {
	mu    sync.Mutex
	snaps map[types.NamespacedName]*memory
}

// of returns the memory of a StreamSnapshot, a new one when another of the same name was there before.
func (m *memories) of(key types.NamespacedName, uid types.UID) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.snaps == nil {
		m.snaps = map[types.NamespacedName]*memory{}
	}
	mem := m.snaps[key]
	if mem == nil || mem.uid != uid {
		mem = &memory{uid: uid}
		m.snaps[key] = mem
	}
	return mem
}

func (m *memories) drop(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.snaps, key)
}

// older says that resource version a was before b. Versions that cannot be compared are taken for newer, so that nothing waits for ever.
func older(a, b string) bool {
	if b == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}
