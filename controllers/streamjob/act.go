// SPDX-License-Identifier: Apache-2.0

package streamjob

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/engine"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
)

// act carries actions out in order. released says that the StreamJob is free to go, so that there is no status to write any more.
//
// It stops at the first action on the cluster that fails: then the status stays what it was and says which. A command that the
// coordinator does not take is different: what was planned holds without it, as the planner believes only what the coordinator
// reports. So is a pod or another object of a version that the API server does not take: the planner sees what there is, and
// hears in the next pass what was refused. The others are carried out, and refused says what was not taken.
func (s *scope) act(ctx context.Context, actions []plan.Action) (released bool, refused *refusal, err error) {
	unmade := refusals{}
	for _, a := range actions {
		doing, err := s.do(ctx, a)
		if isCommand(a) {
			ctrl.LoggerFrom(ctx).Info("Commanded the coordinator", "action", doing, "taken", err == nil)
		}
		switch {
		case err == nil:
		case isDeleting(s.job) && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			// Nothing can be made in a namespace that is being deleted, and nothing has to.
			ctrl.LoggerFrom(ctx).V(1).Info("Leaving out what the ending namespace refuses", "action", doing)
		case isCommand(a):
			refused = &refusal{reason: reasonOf(err), err: fmt.Errorf("%s: %w", doing, err)}
		case makes(a) && !apierrors.IsConflict(err) && ctx.Err() == nil:
			ctrl.LoggerFrom(ctx).Info("Leaving out what cannot be made", "action", doing, "reason", err.Error())
			if r := s.note(&unmade, a, err); r != nil {
				r.err = fmt.Errorf("%s: %w", doing, err)
				refused = r
			}
		default:
			return false, nil, s.fail(ctx, doing, err)
		}
		if _, ok := a.(plan.Release); ok {
			return true, nil, nil
		}
	}
	s.hear(unmade)
	return false, refused, nil
}

// refusal is a command that the coordinator did not take, or an object that the API server did not take.
type refusal struct {
	reason string
	err    error
	// lasts says that it is no use to try again at once.
	lasts bool
}

// isCommand says that an action is for the coordinator.
func isCommand(a plan.Action) bool {
	switch a.(type) {
	case plan.Stop, plan.Activate, plan.TakeSavepoint, plan.TakeCheckpoint, plan.Cancel, plan.SetPolicy:
		return true
	default:
		return false
	}
}

// reasonOf is the condition reason of a command that failed.
func reasonOf(err error) string {
	if _, answered := errors.AsType[*contract.APIError](err); answered {
		return streamv1.ReasonActionFailed
	}
	return streamv1.ReasonCoordinatorUnreachable
}

// do carries out one action and says what it was.
func (s *scope) do(ctx context.Context, action plan.Action) (doing string, err error) {
	switch a := action.(type) {
	case plan.Store:
		return fmt.Sprintf("storing the revision of grant %d", a.Grant), s.store(ctx, a)
	case plan.Apply:
		return fmt.Sprintf("applying the objects of grant %d", a.Grant), s.applyVersion(ctx, a.Grant)
	case plan.Delete:
		return fmt.Sprintf("deleting the objects of grant %d", a.Grant), s.deleteVersion(ctx, a)
	case plan.Stop:
		return fmt.Sprintf("stopping the job of grant %d with a savepoint", a.Grant), s.command(a.Grant, func(c engine.Commands) error {
			_, err := c.Stop(ctx, a.Request)
			return err
		})
	case plan.TakeSavepoint:
		return fmt.Sprintf("asking grant %d for a savepoint", a.Grant), s.command(a.Grant, func(c engine.Commands) error {
			_, err := c.Savepoint(ctx, a.Request)
			return err
		})
	case plan.TakeCheckpoint:
		return fmt.Sprintf("asking grant %d for a checkpoint", a.Grant), s.command(a.Grant, func(c engine.Commands) error {
			_, err := c.Checkpoint(ctx, a.Request)
			return err
		})
	case plan.Cancel:
		return fmt.Sprintf("canceling the job of grant %d", a.Grant), s.command(a.Grant, func(c engine.Commands) error {
			_, err := c.Cancel(ctx, a.Request)
			return err
		})
	case plan.Activate:
		return fmt.Sprintf("activating grant %d", a.Grant), s.command(a.Grant, func(c engine.Commands) error {
			_, err := c.Activate(ctx, contract.ActivateRequest{Grant: a.Grant})
			return err
		})
	case plan.SetPolicy:
		return fmt.Sprintf("handing grant %d its policy", a.Grant), s.setPolicy(ctx, a.Grant)
	case plan.RunAgent:
		return fmt.Sprintf("running agent pod %s", a.Name), s.runAgent(ctx, a)
	case plan.DeleteAgent:
		return fmt.Sprintf("deleting agent pod %s", a.Name), s.deleteLive(ctx, ref{kindOf(&corev1.Pod{}), a.Name})
	case plan.Release:
		return "releasing the StreamJob", s.release(ctx)
	default:
		return fmt.Sprintf("carrying out %T", action), errors.ErrUnsupported
	}
}

// command commands the coordinator of a grant.
func (s *scope) command(grant int64, call func(engine.Commands) error) error {
	if e := s.Engines.Report(s.key); e == nil || e.Grant != grant {
		return fmt.Errorf("grant %d is not the one that is watched", grant)
	}
	c, err := s.Engines.Client(s.key)
	if err != nil {
		return err
	}
	return call(c)
}

func (s *scope) setPolicy(ctx context.Context, grant int64) error {
	r, err := s.revision(grant)
	if err != nil {
		return err
	}
	policy, err := resources.Policy(*r)
	if err != nil {
		return err
	}
	return s.command(grant, func(c engine.Commands) error {
		_, err := c.SetPolicy(ctx, policy)
		return err
	})
}

// store writes the current spec, or what is stored for another grant, as the revision of a grant. A version that needs no restart for it keeps the image that it has:
// otherwise a new operator, which comes with a new image, would restart jobs whenever a policy is edited.
func (s *scope) store(ctx context.Context, a plan.Store) error {
	r := resources.NewRevision(s.job, s.Settings, a.JobID, a.NewJobID)
	switch {
	case a.From != 0:
		from, err := s.revision(a.From)
		if err != nil {
			return err
		}
		r = *from
		r.JobID, r.NewJobID = a.JobID, a.NewJobID
	default:
		s.withDefaults(&r)
		s.keepImage(a.Grant, &r)
	}
	r.RewindTo, r.Standby = a.RewindTo, a.Standby
	config, err := resources.ConfigMap(s.job, a.Grant, r)
	if err != nil {
		return err
	}
	if err := s.apply(ctx, config, &corev1.ConfigMap{}); err != nil {
		return err
	}
	s.stored[a.Grant] = &r
	return nil
}

func (s *scope) keepImage(grant int64, r *resources.Revision) {
	if was, err := s.revision(grant); err == nil {
		if resources.RevisionHash(&was.Spec) == resources.RevisionHash(&r.Spec) {
			r.Form = was.Form
			if r.Spec.Program == nil {
				r.Image, r.ImagePullPolicy = was.Image, was.ImagePullPolicy
			}
		}
		return
	}
	// The stored revision is lost: the pods know.
	name := resources.Name(s.job.Name, grant, resources.CoordinatorComponent)
	if d, ok := s.live[ref{kindOf(&appsv1.Deployment{}), name}].(*appsv1.Deployment); ok && len(d.Spec.Template.Spec.Containers) > 0 {
		var worker *corev1.PodSpec
		if w, ok := s.live[ref{kindOf(&appsv1.StatefulSet{}), resources.Name(s.job.Name, grant, resources.WorkerComponent)}].(*appsv1.StatefulSet); ok {
			worker = &w.Spec.Template.Spec
		}
		keepForm(&d.Spec.Template.Spec, worker, r)
		if c := &d.Spec.Template.Spec.Containers[0]; r.Spec.Program == nil {
			r.Image, r.ImagePullPolicy = c.Image, c.ImagePullPolicy
		}
	}
}

// revision returns what is stored for a grant.
func (s *scope) revision(grant int64) (*resources.Revision, error) {
	if r := s.stored[grant]; r != nil {
		return r, nil
	}
	name := resources.Name(s.job.Name, grant, "")
	config, ok := s.live[ref{kindOf(&corev1.ConfigMap{}), name}].(*corev1.ConfigMap)
	if !ok {
		return nil, fmt.Errorf("config map %s with the stored revision of grant %d does not exist", name, grant)
	}
	r, err := resources.ReadRevision(config)
	if err != nil {
		return nil, err
	}
	s.stored[grant] = r
	return r, nil
}

// applyVersion makes and keeps the objects of a grant.
func (s *scope) applyVersion(ctx context.Context, grant int64) error {
	r, err := s.revision(grant)
	if err != nil {
		return err
	}
	config, err := resources.ConfigMap(s.job, grant, *r)
	if err != nil {
		return err
	}
	set, err := resources.Children(s.job, grant, *r)
	if err != nil {
		return err
	}
	if err := s.ensureCredentials(ctx, s.isNew(grant)); err != nil {
		return err
	}
	if err := s.apply(ctx, config, &corev1.ConfigMap{}); err != nil {
		return err
	}
	if err := s.apply(ctx, set.Service, &corev1.Service{}); err != nil {
		return err
	}
	if err := s.apply(ctx, set.Disruption, &policyv1.PodDisruptionBudget{}); err != nil {
		return err
	}
	if err := s.applyIsolation(ctx); err != nil {
		return err
	}
	if err := s.apply(ctx, set.Coordinator, &appsv1.Deployment{}); err != nil {
		return err
	}
	return s.apply(ctx, set.Workers, &appsv1.StatefulSet{})
}

// isNew says that a grant has no coordinator yet.
func (s *scope) isNew(grant int64) bool {
	return s.live[ref{kindOf(&appsv1.Deployment{}), resources.Name(s.job.Name, grant, resources.CoordinatorComponent)}] == nil
}

// deleteVersion deletes the objects of a grant, the coordinator first: without it the workers do nothing more.
func (s *scope) deleteVersion(ctx context.Context, a plan.Delete) error {
	name := func(suffix string) string { return resources.Name(s.job.Name, a.Grant, suffix) }
	refs := []ref{
		{kindOf(&appsv1.Deployment{}), name(resources.CoordinatorComponent)},
		{kindOf(&appsv1.StatefulSet{}), name(resources.WorkerComponent)},
		{kindOf(&policyv1.PodDisruptionBudget{}), name("")},
		{kindOf(&corev1.Service{}), name("")},
	}
	if !a.KeepRevision {
		refs = append(refs, ref{kindOf(&corev1.ConfigMap{}), name("")})
	}
	for _, object := range refs {
		if err := s.deleteLive(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// runAgent makes an agent pod unless it is there already.
func (s *scope) runAgent(ctx context.Context, a plan.RunAgent) error {
	if s.live[ref{kindOf(&corev1.Pod{}), a.Name}] != nil {
		return nil
	}
	r, err := s.revision(a.Revision)
	if err != nil {
		return err
	}
	o := resources.AgentOptions{Name: a.Name, Task: a.Task, Revision: a.Revision, Grant: a.Grant, Operations: a.Operations}
	if d := s.job.Status.Deployment; d != nil && d.Grant != a.Revision {
		if against, err := s.revision(d.Grant); err == nil {
			o.Against = against
		}
	}
	if a.Task == plan.CheckTask {
		if err := s.rehearse(ctx, a.Revision, r); err != nil {
			return err
		}
	}
	pod, err := resources.AgentPod(s.job, *r, o)
	if err != nil {
		return err
	}
	return s.apply(ctx, pod, &corev1.Pod{})
}

// deleteLive deletes an object that the cache has; its own objects go with it, by the garbage collector of the cluster.
func (s *scope) deleteLive(ctx context.Context, object ref) error {
	o := s.live[object]
	if o == nil || isDeleting(o) {
		return nil
	}
	ctrl.LoggerFrom(ctx).Info("Deleting an object", "kind", object.kind, "object", object.name)
	uid := o.GetUID()
	err := s.Client.Delete(ctx, o, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting %s: %w", object.name, err)
	}
	s.mem.deleted(o, s.now)
	return nil
}

// release lets the StreamJob go.
func (s *scope) release(ctx context.Context) error {
	ctrl.LoggerFrom(ctx).Info("Releasing the StreamJob")
	s.mem.releasing = false
	if err := s.patchFinalizers(ctx, controllerutil.RemoveFinalizer); err != nil && !apierrors.IsNotFound(err) {
		s.mem.releasing = !apierrors.IsConflict(err)
		return err
	}
	// The memory stays until the cache shows that the StreamJob is gone: a pass over an older copy would make objects again.
	s.mem.released = true
	s.Engines.Forget(s.key)
	return nil
}

// releaseAgain lets a StreamJob go for which that failed, maybe in its answer alone: then it is gone already, and a pass over what the cache still shows
// of it would make objects again that nobody deletes.
func (s *scope) releaseAgain(ctx context.Context) error {
	if err := s.release(ctx); err != nil {
		return s.fail(ctx, "releasing the StreamJob", err)
	}
	s.publish(s.mem.farewell)
	return nil
}
