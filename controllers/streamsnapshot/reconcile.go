// SPDX-License-Identifier: Apache-2.0

package streamsnapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob"
	"github.com/weir-stream/weir/controllers/streamjob/observe"
	jobplan "github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/controllers/streamsnapshot/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

const (
	// retryStale is how soon a pass is tried again that found the cache behind what was written.
	retryStale = 50 * time.Millisecond
	// retryAnswered is how soon an answer of a coordinator is looked at.
	retryAnswered = 10 * time.Millisecond
	// maxText bounds messages and notes.
	maxText = 1024
)

// Reconcile makes one pass over a StreamSnapshot.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	snap := &streamv1.StreamSnapshot{}
	err := r.Client.Get(ctx, req.NamespacedName, snap)
	if apierrors.IsNotFound(err) || (err == nil && isDeleting(snap) && !controllerutil.ContainsFinalizer(snap, streamv1.SnapshotFinalizer)) {
		r.memory.drop(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("reading the StreamSnapshot: %w", err)
	}
	s := &scope{Reconciler: r, snap: snap, now: r.Clock.Now(), mem: r.memory.of(req.NamespacedName, snap.UID)}
	result, err := s.pass(ctx)
	if apierrors.IsConflict(err) {
		ctrl.LoggerFrom(ctx).V(1).Info("Retrying after a conflict", "reason", err.Error())
		return ctrl.Result{RequeueAfter: retryStale}, nil
	}
	return result, err
}

// scope is one pass over one StreamSnapshot.
type scope struct {
	*Reconciler
	snap *streamv1.StreamSnapshot
	now  time.Time
	mem  *memory
	pods []corev1.Pod
	o    plan.Observation
	// answered says that a coordinator has answered in this pass.
	answered bool
	// again is when pods that wait need another look; 0: none does.
	again time.Duration
}

func (s *scope) pass(ctx context.Context) (ctrl.Result, error) {
	if older(s.snap.ResourceVersion, s.mem.version) {
		return ctrl.Result{RequeueAfter: retryStale}, nil
	}
	if !isDeleting(s.snap) && !controllerutil.ContainsFinalizer(s.snap, streamv1.SnapshotFinalizer) {
		if err := s.patchFinalizers(ctx, controllerutil.AddFinalizer); err != nil {
			return ctrl.Result{}, err
		}
	}
	if err := s.read(ctx); err != nil {
		return ctrl.Result{}, err
	}
	p := plan.Next(s.o, s.now)
	released, err := s.act(ctx, p.Actions)
	if err != nil {
		return ctrl.Result{}, s.fail(ctx, err)
	}
	if released {
		s.publish(p.Events)
		return ctrl.Result{}, nil
	}
	if err := s.writeStatus(ctx, &p.Status); err != nil {
		return ctrl.Result{}, err
	}
	s.publish(p.Events)
	if s.answered {
		return ctrl.Result{RequeueAfter: retryAnswered}, nil
	}
	if s.again > 0 && (p.Next == 0 || s.again < p.Next) {
		p.Next = s.again
	}
	return ctrl.Result{RequeueAfter: p.Next}, nil
}

// read collects what is decided from.
func (s *scope) read(ctx context.Context) error {
	s.o = plan.Observation{Snapshot: s.snap, Answer: s.mem.answer}
	if ref := s.snap.Spec.JobRef; ref != nil {
		key := types.NamespacedName{Namespace: s.snap.Namespace, Name: ref.Name}
		job := &streamv1.StreamJob{}
		err := s.Client.Get(ctx, key, job)
		switch {
		case err == nil:
			s.o.Job, s.o.Engine = job, s.Engines.Report(key)
			if err := s.asDeployed(ctx, job); err != nil {
				return err
			}
		case !apierrors.IsNotFound(err):
			return fmt.Errorf("reading the StreamJob: %w", err)
		}
	}
	pods := &corev1.PodList{}
	if err := s.Client.List(ctx, pods, client.InNamespace(s.snap.Namespace),
		client.MatchingLabels{streamv1.LabelSnapshot: s.snap.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("reading the agent pods of the StreamSnapshot: %w", err)
	}
	for i := range pods.Items {
		if owner := metav1.GetControllerOfNoCopy(&pods.Items[i]); owner != nil && owner.UID == s.snap.UID {
			s.pods = append(s.pods, pods.Items[i])
		}
	}
	said, again := s.Warnings.About(ctx, s.snap.Namespace, s.pods)
	s.o.Agents, s.again = observe.Agents(s.pods, said, s.now), again
	if !isDeleting(s.snap) {
		return nil
	}
	s.o.NamespaceEnding = s.namespaceEnding(ctx)
	var err error
	s.o.Users, err = s.users(ctx)
	return err
}

// asDeployed puts the storage and the pods of the version that is deployed in the place of those of the spec: what the spec says may not be valid, and the
// storage may come from the configuration of the operator.
func (s *scope) asDeployed(ctx context.Context, job *streamv1.StreamJob) error {
	d := job.Status.Deployment
	if d == nil {
		return nil
	}
	config := &corev1.ConfigMap{}
	err := s.Client.Get(ctx, client.ObjectKey{Namespace: job.Namespace, Name: resources.Name(job.Name, d.Grant, "")}, config)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the stored revision of the StreamJob: %w", err)
	}
	r, err := resources.ReadRevision(config)
	if err != nil {
		return nil //nolint:nilerr // the reconciler of StreamJobs says so
	}
	job.Spec.Coordinator, job.Spec.Workers = r.Spec.Coordinator, r.Spec.Workers
	if r.Spec.Storage != nil {
		job.Spec.Storage = r.Spec.Storage
	}
	return nil
}

// usersOf returns what says who needs a snapshot of a namespace.
func (r *Reconciler) usersOf(ctx context.Context, namespace string) (func(*streamv1.StreamSnapshot) []string, error) {
	jobs, snaps := &streamv1.StreamJobList{}, &streamv1.StreamSnapshotList{}
	for _, list := range []client.ObjectList{jobs, snaps} {
		if err := r.Client.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("looking for what needs a snapshot: %w", err)
		}
	}
	return func(s *streamv1.StreamSnapshot) []string { return plan.Users(s, jobs.Items, snaps.Items) }, nil
}

func (s *scope) users(ctx context.Context) ([]string, error) {
	of, err := s.usersOf(ctx, s.snap.Namespace)
	if err != nil {
		return nil, err
	}
	return of(s.snap), nil
}

// act carries actions out in order, up to the first one that fails. A coordinator that doesn't answer is no failure: it is asked again.
func (s *scope) act(ctx context.Context, actions []plan.Action) (released bool, err error) {
	for _, action := range actions {
		switch a := action.(type) {
		case plan.Ask:
			s.ask(ctx, a)
		case plan.RunAgent:
			err = s.runAgent(ctx, a)
		case plan.DeleteAgent:
			err = s.deleteAgent(ctx, a.Name)
		case plan.Release:
			ctrl.LoggerFrom(ctx).Info("Releasing the StreamSnapshot")
			err = s.patchFinalizers(ctx, controllerutil.RemoveFinalizer)
			return err == nil || apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		default:
			err = fmt.Errorf("carrying out %T: %w", action, errors.ErrUnsupported)
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// ask asks the coordinator for the savepoint, or for what became of it.
func (s *scope) ask(ctx context.Context, a plan.Ask) {
	key := types.NamespacedName{Namespace: s.snap.Namespace, Name: s.snap.Spec.JobRef.Name}
	if e := s.Engines.Report(key); e == nil || e.Grant != a.Grant {
		return // another version is watched by now
	}
	commands, err := s.Engines.Client(key)
	if err == nil {
		was := s.mem.answer
		var o *contract.Operation
		if o, err = commands.Savepoint(ctx, a.Request); err == nil {
			s.mem.answer = o
			s.answered = o != nil && o.Phase.Ended() && (was == nil || was.ID != o.ID || was.Phase != o.Phase)
		}
	}
	ctrl.LoggerFrom(ctx).V(1).Info("Asked for a savepoint", "operation", a.Request.OperationID, "grant", a.Grant, "error", err)
}

func (s *scope) runAgent(ctx context.Context, a plan.RunAgent) error {
	settings := s.Settings
	if s.Defaults != nil {
		settings.EngineImage, settings.EngineImagePullPolicy = s.Defaults.For(s.snap.Namespace).ImageOf(settings.EngineImage, settings.EngineImagePullPolicy)
	}
	config, err := resources.SnapshotAgentPod(s.snap, settings, resources.SnapshotAgentOptions{
		Name: a.Name, Task: a.Task, Storage: a.Storage, Path: a.Path, Pin: a.Pin, JobID: a.JobID, Checkpoint: a.Checkpoint, Job: s.o.Job,
	})
	if err != nil {
		return err
	}
	ctrl.LoggerFrom(ctx).Info("Running an agent pod", "pod", a.Name, "task", a.Task)
	err = s.Client.Apply(ctx, config, client.FieldOwner(streamjob.FieldOwner), client.ForceOwnership)
	if isDeleting(s.snap) && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil // the namespace will be seen to end
	}
	if err != nil {
		return fmt.Errorf("making agent pod %s: %w", a.Name, err)
	}
	return nil
}

func (s *scope) deleteAgent(ctx context.Context, name string) error {
	for i := range s.pods {
		pod := &s.pods[i]
		if pod.Name != name || isDeleting(pod) {
			continue
		}
		err := s.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("deleting agent pod %s: %w", name, err)
		}
	}
	return nil
}

// patchFinalizers changes the finalizers and nothing else, unless somebody else has written meanwhile.
func (s *scope) patchFinalizers(ctx context.Context, change func(client.Object, string) bool) error {
	before := s.snap.DeepCopy()
	change(s.snap, streamv1.SnapshotFinalizer)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := s.Client.Patch(ctx, s.snap, patch, client.FieldOwner(streamjob.FieldOwner)); err != nil {
		return fmt.Errorf("changing the finalizers of the StreamSnapshot: %w", err)
	}
	s.mem.version = s.snap.ResourceVersion
	return nil
}

// writeStatus writes the status when it differs from the one in the cluster, and fails with a conflict when somebody else has written meanwhile.
func (s *scope) writeStatus(ctx context.Context, status *streamv1.StreamSnapshotStatus) error {
	same, err := streamjob.EqualAsJSON(&s.snap.Status, status)
	if err != nil || same {
		return err
	}
	before := s.snap.DeepCopy()
	s.snap.Status = *status.DeepCopy()
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	err = s.Client.Status().Patch(ctx, s.snap, patch, client.FieldOwner(streamjob.FieldOwner))
	if apierrors.IsNotFound(err) {
		return nil // it is gone, and another pass will find out
	}
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	s.mem.version = s.snap.ResourceVersion
	return nil
}

// fail writes that an action failed, and nothing else that the plan wanted written, and returns the failure.
func (s *scope) fail(ctx context.Context, failure error) error {
	if apierrors.IsConflict(failure) || ctx.Err() != nil {
		return failure
	}
	status := s.snap.Status.DeepCopy()
	c := metav1.Condition{
		ObservedGeneration: s.snap.Generation, Reason: streamv1.ReasonActionFailed, LastTransitionTime: metav1.NewTime(s.now.Truncate(time.Second)),
		Message: jobplan.Cut("It is tried again after "+failure.Error(), maxText),
	}
	c.Type, c.Status = streamv1.ConditionReconciling, metav1.ConditionTrue
	apimeta.SetStatusCondition(&status.Conditions, c)
	c.Type, c.Status = streamv1.ConditionReady, metav1.ConditionFalse
	apimeta.SetStatusCondition(&status.Conditions, c)
	status.Message = c.Message
	return errors.Join(failure, s.writeStatus(ctx, status))
}

// publish tells people what happened.
func (s *scope) publish(events []jobplan.Event) {
	for _, e := range events {
		e.Note = jobplan.Cut(e.Note, maxText)
		if s.mem.told.IsNews(e, s.now) {
			s.Recorder.Eventf(s.snap, nil, string(e.Type), e.Reason, e.Action, "%s", e.Note)
		}
	}
}

// namespaceEnding says whether the namespace is being deleted, as far as the operator may know.
func (s *scope) namespaceEnding(ctx context.Context) bool {
	ns := &metav1.PartialObjectMetadata{}
	ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	err := s.APIReader.Get(ctx, client.ObjectKey{Name: s.snap.Namespace}, ns)
	return apierrors.IsNotFound(err) || (err == nil && isDeleting(ns))
}

// isDeleting says that an object is being deleted.
func isDeleting(o metav1.Object) bool { return o.GetDeletionTimestamp() != nil }
