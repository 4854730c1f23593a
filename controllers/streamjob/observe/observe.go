// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

// Objects is everything that belongs to one StreamJob.
type Objects struct {
	// Job is the StreamJob itself.
	Job *streamv1.StreamJob
	// ConfigMaps and the others are those with its label.
	ConfigMaps   []corev1.ConfigMap
	Deployments  []appsv1.Deployment
	StatefulSets []appsv1.StatefulSet
	Services     []corev1.Service
	Pods         []corev1.Pod
	// NamespaceEnding says that the namespace is being deleted.
	NamespaceEnding bool
	// Now is the time.
	Now time.Time
}

// Observe returns what the planner decides from. engine is what is known of the deployed coordinator; nil: nothing.
func Observe(o Objects, engine *plan.Engine) plan.Observation {
	return plan.Observation{Job: o.Job, Engine: engine}
}

// TroubleOf returns what keeps a pod from running; nil when nothing does.
func TroubleOf(pod *corev1.Pod, now time.Time) *plan.Trouble {
	return nil
}
