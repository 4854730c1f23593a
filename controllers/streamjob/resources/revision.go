// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
	"github.com/weir-stream/weir/controllers/operatorconfig"
	"github.com/weir-stream/weir/runtime/contract"
)

// Keys of the config map of a grant.
const (
	// RevisionKey holds the [Revision]: what the operator itself reads back.
	RevisionKey = "revision.json"
	// JobKey holds the configuration of the job for coordinator and agents.
	JobKey = "job.json"
)

// Forms of the pods of a version. A version keeps the form that it was stored with, so that a new operator restarts nothing.
const (
	// FormFlush gives pods that serve 30 s to flush before they are ended, instead of 10.
	FormFlush = 1
	// FormCalm has pods that serve asked every 5 s whether they are ready, instead of every second, which costs a node with hundreds of them more than what they
	// do at rest.
	FormCalm = 2
	// FormDrain tells workers how long they may drain where their template says how long they have to end.
	FormDrain = 3
	// NewestForm is that of versions that are stored now.
	NewestForm = FormDrain
)

// Settings are the settings of the operator that end up in pods.
type Settings struct {
	// EngineImage is the image of jobs that are dataflows.
	EngineImage string
	// EngineImagePullPolicy is when that image is pulled; empty: what Kubernetes makes of its tag.
	EngineImagePullPolicy corev1.PullPolicy
	// OperatorNamespace is where the operator runs; empty: it is not known. Network policies let it in.
	OperatorNamespace string
}

// Revision is a version of a job as it was when it was stored for a grant: everything that its pods are made from.
type Revision struct {
	// Spec is that of the StreamJob, Generation its generation.
	Spec       streamv1.StreamJobSpec `json:"spec"`
	Generation int64                  `json:"generation"`
	// Image of all pods, and when it is pulled; empty: what Kubernetes makes of its tag.
	Image           string            `json:"image"`
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// JobID is the job to go on with; NewJobID that of the one to start when JobID is empty.
	JobID    string `json:"jobID,omitempty"`
	NewJobID string `json:"newJobID,omitempty"`
	// RewindTo is a snapshot of the job to go back to; empty: it goes on from its newest.
	RewindTo string `json:"rewindTo,omitempty"`
	// Standby makes the coordinator wait until it is activated.
	Standby bool `json:"standby,omitempty"`
	// Form is how the operator that stored it made the pods of a version; 0: as it did before there was a form.
	Form int `json:"form,omitempty"`
	// Defaults are what the operator's configuration added to the spec; nil: nothing.
	Defaults *TakenDefaults `json:"defaults,omitempty"`
}

// TakenDefaults is what the operator's configuration added to a spec.
type TakenDefaults struct {
	// Written is the [RevisionHash] of the spec as the user has written it: as long as that stays, these defaults do.
	Written string `json:"written"`
	// Taken names the fields that were added, ascending.
	Taken []string `json:"taken,omitempty"`
	// Defaults are all that were in force.
	Defaults operatorconfig.Defaults `json:"defaults,omitzero"`
}

// NewRevision returns the revision of a StreamJob as it is now.
func NewRevision(job *streamv1.StreamJob, s Settings, jobID, newJobID string) Revision {
	r := Revision{
		Spec:            *job.Spec.DeepCopy(),
		Generation:      job.Generation,
		Image:           s.EngineImage,
		ImagePullPolicy: s.EngineImagePullPolicy,
		JobID:           jobID,
		NewJobID:        newJobID,
		Form:            NewestForm,
	}
	if p := job.Spec.Program; p != nil {
		r.Image, r.ImagePullPolicy = p.Image, p.ImagePullPolicy
	}
	return r
}

// FormOf returns the form that the pods of a coordinator and of its workers have, as far as they tell: of what was asked for in the spec, nothing tells an
// older form. Without the pod of workers, nil, that of the coordinator has to do.
func FormOf(coordinator, worker *corev1.PodSpec, r *Revision) int {
	t := coordinatorTemplate(&r.Spec)
	if (t == nil || t.TerminationGracePeriodSeconds == 0) && coordinator.TerminationGracePeriodSeconds != nil && *coordinator.TerminationGracePeriodSeconds == endSeconds {
		return 0
	}
	if c := containerOf(coordinator, CoordinatorComponent); c != nil && c.ReadinessProbe != nil && c.ReadinessProbe.PeriodSeconds < readySeconds {
		return FormFlush
	}
	if worker != nil && drainTimeout(&r.Spec) != 0 {
		if c := containerOf(worker, WorkerComponent); c != nil && !slices.Contains(c.Args, drainTimeoutFlag) {
			return FormCalm
		}
	}
	return NewestForm
}

// containerOf returns the container of a component; nil: the pod has none.
func containerOf(pod *corev1.PodSpec, component string) *corev1.Container {
	for i := range pod.Containers {
		if pod.Containers[i].Name == component {
			return &pod.Containers[i]
		}
	}
	return nil
}

// ReadRevision returns the revision that a config map holds.
func ReadRevision(cm *corev1.ConfigMap) (*Revision, error) {
	text, ok := cm.Data[RevisionKey]
	if !ok {
		return nil, fmt.Errorf("reading the stored revision of config map %s: it has no key %s", cm.Name, RevisionKey)
	}
	var r Revision
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return nil, fmt.Errorf("reading the stored revision of config map %s: %w", cm.Name, err)
	}
	return &r, nil
}

// jobConfig returns the configuration of the job for coordinator and agents.
func (r Revision) jobConfig(job *streamv1.StreamJob) (contract.JobConfig, error) {
	config, err := jobconfig.ToContract(&streamv1.StreamJob{ObjectMeta: job.ObjectMeta, Spec: r.Spec})
	if err != nil {
		return config, fmt.Errorf("translating StreamJob %s: %w", job.Name, err)
	}
	config.JobID, config.NewJobID, config.RewindTo = r.JobID, r.NewJobID, r.RewindTo
	return config, nil
}

// ConfigMap returns what is stored for a grant: the revision, and the configuration of the job for its pods.
func ConfigMap(job *streamv1.StreamJob, grant int64, r Revision) (*corev1ac.ConfigMapApplyConfiguration, error) {
	config, err := r.jobConfig(job)
	if err != nil {
		return nil, err
	}
	configJSON, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encoding the configuration of StreamJob %s: %w", job.Name, err)
	}
	revisionJSON, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding the revision of StreamJob %s: %w", job.Name, err)
	}
	return corev1ac.ConfigMap(Name(job.Name, grant, ""), job.Namespace).
		WithLabels(Labels(job.Name, grant, "")).
		WithOwnerReferences(Owner(job)).
		WithData(map[string]string{JobKey: string(configJSON), RevisionKey: string(revisionJSON)}), nil
}

// Policy returns what a running job takes over of a revision without a restart. Its Revision is the [PolicyHash].
func Policy(r Revision) (contract.Policy, error) {
	config, err := jobconfig.ToContract(&streamv1.StreamJob{Spec: r.Spec})
	if err != nil {
		return contract.Policy{}, fmt.Errorf("translating a policy: %w", err)
	}
	return contract.Policy{Revision: PolicyHash(&r.Spec), Checkpointing: config.Checkpointing, Restart: config.Restart}, nil
}
