// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

// Objects is everything that belongs to one StreamJob. None of it is changed.
type Objects struct {
	// Job is the StreamJob itself.
	Job *streamv1.StreamJob
	// ConfigMaps and the others are those with its label.
	ConfigMaps   []corev1.ConfigMap
	Deployments  []appsv1.Deployment
	StatefulSets []appsv1.StatefulSet
	Services     []corev1.Service
	Pods         []corev1.Pod
	// Warnings are those that Kubernetes has given about pods of the namespace; they are needed once [WaitsForNode] says of a pod that it has
	// waited for [StartPatience].
	Warnings []eventsv1.Event
	// NamespaceEnding says that the namespace is being deleted.
	NamespaceEnding bool
	// Now is the time.
	Now time.Time
}

// Observe returns what the planner decides from. engine is what is known of the deployed coordinator; nil: nothing.
func Observe(o Objects, engine *plan.Engine) plan.Observation {
	c := collector{now: o.Now, warnings: o.Warnings, uid: string(o.Job.UID), versions: map[int64]*plan.Version{}}
	for i := range o.ConfigMaps {
		c.configMap(&o.ConfigMaps[i])
	}
	for i := range o.Services {
		c.exists(&o.Services[i])
	}
	for i := range o.StatefulSets {
		c.exists(&o.StatefulSets[i])
	}
	c.pods(o.Pods)
	for i := range o.Deployments {
		c.deployment(&o.Deployments[i])
	}
	return plan.Observation{
		Job:             o.Job,
		Invalid:         slices.Concat(jobconfig.Check(o.Job), resources.Check(o.Job)),
		Revision:        resources.RevisionHash(&o.Job.Spec),
		PolicyRevision:  resources.PolicyHash(&o.Job.Spec),
		Versions:        c.ascending(),
		Engine:          engine,
		Agents:          c.agents,
		NamespaceEnding: o.NamespaceEnding,
	}
}

// collector sorts objects into versions by the grant in their labels. One without a grant is none of ours.
type collector struct {
	now      time.Time
	warnings []eventsv1.Event
	uid      string
	versions map[int64]*plan.Version
	agents   []plan.Agent
}

// version returns the version that an object belongs to; nil: none.
func (c *collector) version(o metav1.Object) *plan.Version {
	grant, err := strconv.ParseInt(o.GetLabels()[streamv1.LabelGrant], 10, 64)
	if err != nil || grant < 1 {
		return nil
	}
	v := c.versions[grant]
	if v == nil {
		v = &plan.Version{Grant: grant}
		c.versions[grant] = v
	}
	return v
}

func (c *collector) ascending() []plan.Version {
	var out []plan.Version
	for _, grant := range slices.Sorted(maps.Keys(c.versions)) {
		out = append(out, *c.versions[grant])
	}
	return out
}

// configMap reads a stored revision. That of an earlier StreamJob of the same name, or one that is being deleted, counts as
// not there, and so does one that cannot be read.
func (c *collector) configMap(cm *corev1.ConfigMap) {
	v := c.version(cm)
	if v == nil || cm.DeletionTimestamp != nil || !c.owned(cm) {
		return
	}
	r, err := resources.ReadRevision(cm)
	if err != nil {
		return
	}
	v.Stored = &plan.Stored{
		Revision:       resources.RevisionHash(&r.Spec),
		PolicyRevision: resources.PolicyHash(&r.Spec),
		Generation:     r.Generation,
		Spec:           &r.Spec,
		Image:          r.Image,
		JobID:          r.JobID,
		NewJobID:       r.NewJobID,
		RewindTo:       r.RewindTo,
		Standby:        r.Standby,
	}
}

// owned says that an object belongs to the StreamJob, and not to an earlier one of its name.
func (c *collector) owned(o metav1.Object) bool {
	owner := metav1.GetControllerOfNoCopy(o)
	return owner == nil || string(owner.UID) == c.uid
}

func (c *collector) exists(o metav1.Object) {
	if v := c.version(o); v != nil {
		v.Exists = true
	}
}

// deployment notes a Deployment, and why it cannot make its pod. It follows the pods.
func (c *collector) deployment(d *appsv1.Deployment) {
	v := c.version(d)
	if v == nil {
		return
	}
	v.Exists = true
	if len(v.Coordinator) > 0 || d.DeletionTimestamp != nil {
		return
	}
	for i := range d.Status.Conditions {
		condition := &d.Status.Conditions[i]
		if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
			v.Coordinator = append(v.Coordinator, plan.Pod{Name: d.Name, Trouble: notMade(condition.Message)})
		}
	}
}

// pods sorts the pods by what they are, oldest first.
func (c *collector) pods(pods []corev1.Pod) {
	byAge := make([]*corev1.Pod, 0, len(pods))
	for i := range pods {
		byAge = append(byAge, &pods[i])
	}
	slices.SortFunc(byAge, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, pod := range byAge {
		if pod.Labels[streamv1.LabelComponent] == resources.AgentComponent {
			c.agent(pod)
			continue
		}
		v := c.version(pod)
		if v == nil {
			continue
		}
		v.Exists = true
		if pod.DeletionTimestamp != nil {
			continue
		}
		switch pod.Labels[streamv1.LabelComponent] {
		case resources.CoordinatorComponent:
			if !replaced(pod, byAge) {
				v.Coordinator = append(v.Coordinator, c.pod(pod))
			}
		case resources.WorkerComponent:
			v.Workers = append(v.Workers, c.pod(pod))
		}
	}
}

// replaced says that a coordinator pod has ended, such as by an eviction, and that there is another one. A Deployment leaves
// such pods behind.
func replaced(pod *corev1.Pod, all []*corev1.Pod) bool {
	return hasEnded(pod) && slices.ContainsFunc(all, func(other *corev1.Pod) bool {
		return !hasEnded(other) && other.DeletionTimestamp == nil && maps.Equal(own(pod), own(other))
	})
}

// own returns the labels by which pods of the same version and component are told.
func own(pod *corev1.Pod) map[string]string {
	return map[string]string{
		streamv1.LabelGrant:     pod.Labels[streamv1.LabelGrant],
		streamv1.LabelComponent: pod.Labels[streamv1.LabelComponent],
	}
}

func hasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
}

func (c *collector) pod(pod *corev1.Pod) plan.Pod {
	p := plan.Pod{Name: pod.Name, Trouble: TroubleOf(pod, c.now)}
	if p.Trouble == nil {
		p.Trouble, p.Waits = unstarted(pod, c.warnings, c.now)
	}
	return p
}

func findCondition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}
