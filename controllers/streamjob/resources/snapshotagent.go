// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

// SnapshotAgentOptions say what an agent pod does with one snapshot.
type SnapshotAgentOptions struct {
	// Name of the pod.
	Name string
	// Task is inspect or remove.
	Task plan.AgentTask
	// Storage is where the snapshot is, Path where in it, and Pin the name of the pin that keeps it.
	Storage   *streamv1.Storage
	Path, Pin string
	// JobID and Checkpoint say which snapshot is meant; empty and 0: any.
	JobID      string
	Checkpoint int64
	// Job is the StreamJob that it is of, if there is one: its pod template counts, as for the job's own agents, unless it is not valid.
	Job *streamv1.StreamJob
}

// SnapshotAgentPod returns an agent pod that does something with a snapshot, for its StreamSnapshot. It runs the image of the engine with the
// credentials or the volume of the storage, once, and leaves its result in its termination message.
func SnapshotAgentPod(snap *streamv1.StreamSnapshot, s Settings, o SnapshotAgentOptions) (*corev1ac.PodApplyConfiguration, error) {
	if o.Storage == nil {
		return nil, fmt.Errorf("building agent pod %s: it is not known where the snapshot is", o.Name)
	}
	if v := o.Storage.Volume; v != nil {
		if problems := checkVolume(v); len(problems) > 0 {
			return nil, fmt.Errorf("building agent pod %s: %s", o.Name, strings.Join(problems, "; "))
		}
	}
	storage, err := json.Marshal(jobconfig.Storage(o.Storage))
	if err != nil {
		return nil, fmt.Errorf("building agent pod %s: encoding the storage: %w", o.Name, err)
	}
	args := []string{
		"agent", string(o.Task), "--storage", string(storage), "--path", o.Path, "--pin", o.Pin,
		"--timeout", strconv.Itoa(agentSeconds-30) + "s", "--termination-log", terminationLog,
	}
	if o.Task == "remove" {
		args = append(args, "--lineage", o.JobID, "--checkpoint", strconv.FormatInt(o.Checkpoint, 10))
	}
	r := Revision{
		Spec: streamv1.StreamJobSpec{Storage: o.Storage}, Image: s.EngineImage, ImagePullPolicy: s.EngineImagePullPolicy,
	}
	container := corev1ac.Container().WithName(AgentComponent).WithArgs(args...)
	if o.Job != nil {
		r.Spec.Coordinator, r.Spec.Workers = o.Job.Spec.Coordinator, o.Job.Spec.Workers
		if requirements := resourcesOf(modest(coordinatorResources(&r.Spec))); requirements != nil {
			container.WithResources(requirements)
		}
	}
	pod := podSpec(r, container).
		WithRestartPolicy(corev1.RestartPolicyNever).
		WithActiveDeadlineSeconds(agentSeconds)
	if len(checkTemplates(&r.Spec)) == 0 {
		if err := (merge{template: coordinatorTemplate(&r.Spec), component: CoordinatorComponent, alone: true}).into(pod); err != nil {
			return nil, fmt.Errorf("building agent pod %s: %w", o.Name, err)
		}
	}
	return corev1ac.Pod(o.Name, snap.Namespace).
		WithLabels(map[string]string{streamv1.LabelSnapshot: snap.Name, streamv1.LabelComponent: AgentComponent}).
		WithOwnerReferences(metav1ac.OwnerReference().
			WithAPIVersion(streamv1.SchemeGroupVersion.String()).
			WithKind("StreamSnapshot").
			WithName(snap.Name).
			WithUID(snap.UID).
			WithController(true).
			WithBlockOwnerDeletion(false)).
		WithSpec(pod), nil
}
