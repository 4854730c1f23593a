// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"fmt"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

// agentSeconds is how long an agent may take once a node has it, pulling its image included.
const agentSeconds = 600

// AgentOptions say what an agent pod does.
type AgentOptions struct {
	// Name of the pod.
	Name string
	// Task is what it does.
	Task plan.AgentTask
	// Revision is the grant whose config map it reads the job from; Grant is the one that it claims the head with, and 0 for an
	// agent that claims nothing.
	Revision, Grant int64
	// Operations are the ids whose outcome it reads.
	Operations []string
	// Against is the revision that is deployed; nil: none is. A check asks for as much room as a pod of the new version
	// will when that differs from what is deployed, so that a version that no node has room for is found while the
	// old one still runs.
	Against *Revision
}

// AgentPod returns an agent pod that runs a revision. It has the image, the credentials and the volume that the pods of the
// revision have, runs once and leaves its result in its termination message.
func AgentPod(job *streamv1.StreamJob, r Revision, o AgentOptions) (*corev1ac.PodApplyConfiguration, error) {
	if err := runnable(r); err != nil {
		return nil, fmt.Errorf("building agent pod %s: %w", o.Name, err)
	}
	container := corev1ac.Container().
		WithName(AgentComponent).
		WithArgs(agentArgs(o)...)
	if requirements := resourcesOf(agentResources(r, o)); requirements != nil {
		container.WithResources(requirements)
	}
	pod := podSpec(r, container).
		WithRestartPolicy(corev1.RestartPolicyNever).
		WithActiveDeadlineSeconds(agentSeconds)
	withJob(pod, Name(job.Name, o.Revision, ""))
	template := coordinatorTemplate(&r.Spec)
	if err := (merge{template: template, component: CoordinatorComponent, alone: true}).into(pod); err != nil {
		return nil, fmt.Errorf("building agent pod %s: %w", o.Name, err)
	}
	grant := o.Grant
	if grant == 0 {
		grant = o.Revision
	}
	out := corev1ac.Pod(o.Name, job.Namespace)
	if template != nil {
		out.WithAnnotations(texts(template.Annotations)) // no labels: what selects the pods that serve is not for agents
	}
	return out.
		WithLabels(Labels(job.Name, grant, AgentComponent)).
		WithOwnerReferences(Owner(job)).
		WithSpec(pod), nil
}

func agentArgs(o AgentOptions) []string {
	args := []string{"agent", string(o.Task), "--job", jobFile, "--termination-log", terminationLog}
	if o.Grant > 0 {
		args = append(args, "--grant", strconv.FormatInt(o.Grant, 10))
	}
	for _, id := range o.Operations {
		args = append(args, "--operation", id)
	}
	return args
}

// agentResources returns the resources of an agent: those of the largest pod of the version for a check of one that asks for
// other resources than the deployed one, else little enough to fit beside what runs.
func agentResources(r Revision, o AgentOptions) *streamv1.Resources {
	worker, coordinator := workerResources(&r.Spec), coordinatorResources(&r.Spec)
	if o.Task == plan.CheckTask && o.Against != nil {
		before := &o.Against.Spec
		if !apiequality.Semantic.DeepEqual(worker, workerResources(before)) ||
			!apiequality.Semantic.DeepEqual(coordinator, coordinatorResources(before)) {
			return larger(worker, coordinator)
		}
	}
	return modest(coordinator)
}

// modest returns the limits of r and requests that hardly any node lacks; nil when r sets nothing. It names what r names, for
// namespaces whose quota demands that.
func modest(r *streamv1.Resources) *streamv1.Resources {
	if r == nil {
		return nil
	}
	little := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("10m"),
		corev1.ResourceMemory: resource.MustParse("32Mi"),
	}
	out := &streamv1.Resources{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	for name, quantity := range requested(r) {
		if enough, ok := little[name]; ok {
			out.Requests[name] = smaller(quantity, enough)
		}
	}
	for name, quantity := range r.Limits {
		if _, ok := little[name]; ok {
			out.Limits[name] = quantity
		}
	}
	return out
}

// larger returns what fits wherever both a and b do.
func larger(a, b *streamv1.Resources) *streamv1.Resources {
	if a == nil || b == nil {
		if a == nil {
			return b
		}
		return a
	}
	out := &streamv1.Resources{Requests: requested(a), Limits: corev1.ResourceList{}}
	raise(out.Requests, requested(b))
	raise(out.Limits, a.Limits)
	raise(out.Limits, b.Limits)
	for name, limit := range out.Limits { // a limit of one must not be below the request of the other
		if request, ok := out.Requests[name]; ok && limit.Cmp(request) < 0 {
			out.Limits[name] = request
		}
	}
	return out
}

// requested returns what is requested: a limit without a request is one.
func requested(r *streamv1.Resources) corev1.ResourceList {
	out := corev1.ResourceList{}
	maps.Copy(out, r.Limits)
	maps.Copy(out, r.Requests)
	return out
}

// raise sets each quantity of to that is less than that of from.
func raise(to, from corev1.ResourceList) {
	for name, quantity := range from {
		if have, ok := to[name]; !ok || have.Cmp(quantity) < 0 {
			to[name] = quantity
		}
	}
}

func smaller(a, b resource.Quantity) resource.Quantity {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}
