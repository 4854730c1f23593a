// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

const (
	// maxText is the most characters that are taken of what Kubernetes or a container says.
	maxText = 512
	// crashMemory is how long a container must run for it not to count as crashing over and over.
	crashMemory = time.Minute
)

// TroubleOf returns what keeps a pod from running, as the pod itself tells; nil when nothing does, as far as one can tell yet. A pod that is being
// deleted or has done its work has no trouble.
func TroubleOf(pod *corev1.Pod, now time.Time) *plan.Trouble {
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded {
		return nil
	}
	if pod.Status.Phase == corev1.PodFailed {
		return &plan.Trouble{Reason: streamv1.ReasonPodCrashing, Message: podEnded(pod) + remedyOfEnd(pod, endOf(pod)), Alone: true}
	}
	if t := notScheduled(pod); t != nil {
		return t
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if t := containerTrouble(pod, &status, now); t != nil {
			return t
		}
	}
	return nil
}

// notScheduled tells that no node takes a pod.
func notScheduled(pod *corev1.Pod) *plan.Trouble {
	c := findCondition(pod, corev1.PodScheduled)
	if c == nil || c.Status != corev1.ConditionFalse || c.Reason != corev1.PodReasonUnschedulable {
		return nil
	}
	says := text(c.Message)
	remedy := "give the cluster a node that takes it, or lower " + resourcesField(pod)
	if claim := claimOf(pod); claim != "" && strings.Contains(strings.ToLower(says), "volume") {
		remedy = fmt.Sprintf("check persistent volume claim %q, which spec.storage.volume.claimName names: it must exist, be bound, and reach the nodes of all pods of the job", claim)
	}
	return &plan.Trouble{Reason: streamv1.ReasonUnschedulable, Message: fmt.Sprintf("no node takes it: %s (%s)", says, remedy)}
}

// containerTrouble tells what keeps a container from running.
func containerTrouble(pod *corev1.Pod, s *corev1.ContainerStatus, now time.Time) *plan.Trouble {
	if w := s.State.Waiting; w != nil {
		switch w.Reason {
		case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
			return imageTrouble(pod, s, w)
		case "CreateContainerConfigError", "CreateContainerError", "PreCreateHookError", "PreStartHookError", "PostStartHookError":
			if passes(w.Message) {
				return nil
			}
			return configTrouble(s, w)
		case "RunContainerError":
			if passes(w.Message) {
				return nil
			}
			return startTrouble(s, w.Message)
		case "CrashLoopBackOff":
			if end := s.LastTerminationState.Terminated; neverRan(end) && passes(end.Message) {
				return nil
			}
			return crash(pod, s, s.LastTerminationState.Terminated)
		}
	}
	if end := recentCrash(s, now); end != nil && (!neverRan(end) || !passes(end.Message)) {
		return crash(pod, s, end)
	}
	return nil
}

// neverRan says of the end of a container that its program was not even begun.
func neverRan(end *corev1.ContainerStateTerminated) bool {
	return end != nil && (end.Reason == "StartError" || end.Reason == "ContainerCannotRun")
}

// imageTrouble says the same while an image is being pulled again and while Kubernetes waits before it does that.
func imageTrouble(pod *corev1.Pod, s *corev1.ContainerStatus, w *corev1.ContainerStateWaiting) *plan.Trouble {
	image, field := imageOf(pod, s)
	says := strings.TrimPrefix(oneLine(w.Message), fmt.Sprintf("Back-off pulling image %q: ", image))
	return &plan.Trouble{Reason: streamv1.ReasonImagePullFailed, Message: fmt.Sprintf(
		"image %q cannot be pulled: %s (check %s, that the nodes can reach the registry, and for a private one that %s.imagePullSecrets or service account %q names its secret)",
		image, clip(strings.TrimPrefix(says, "ErrImagePull: ")), field, templateField(pod), cmp.Or(pod.Spec.ServiceAccountName, "default"))}
}

// imageOf returns the image of a container as the pod names it, and the field or flag that it comes from.
func imageOf(pod *corev1.Pod, s *corev1.ContainerStatus) (image, field string) {
	named := func(c *corev1.Container) bool { return c.Name == s.Name }
	if i := indexOf(pod.Spec.InitContainers, named); i >= 0 {
		return pod.Spec.InitContainers[i].Image, fmt.Sprintf("the image of %s.initContainers[name=%s]", templateField(pod), s.Name)
	}
	i := indexOf(pod.Spec.Containers, named)
	switch {
	case i < 0:
		return s.Image, "the image"
	case s.Name != pod.Labels[streamv1.LabelComponent]:
		return pod.Spec.Containers[i].Image, fmt.Sprintf("the image of %s.containers[name=%s]", templateField(pod), s.Name)
	case len(pod.Spec.Containers[i].Command) > 0:
		return pod.Spec.Containers[i].Image, "--engine-image of the operator"
	}
	return pod.Spec.Containers[i].Image, "spec.program.image"
}

func indexOf(containers []corev1.Container, f func(*corev1.Container) bool) int {
	for i := range containers {
		if f(&containers[i]) {
			return i
		}
	}
	return -1
}

func configTrouble(s *corev1.ContainerStatus, w *corev1.ContainerStateWaiting) *plan.Trouble {
	remedy := "check the image and the spec"
	if says := strings.ToLower(w.Message); strings.Contains(says, "secret") {
		remedy = "create the secret in the namespace of the StreamJob with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name another in spec.storage.s3.credentialsSecretRef"
	}
	return &plan.Trouble{Reason: streamv1.ReasonPodConfigInvalid, Message: fmt.Sprintf(
		"container %s cannot be made: %s (%s)", s.Name, reasonAnd(w), remedy)}
}

// startTrouble tells that there is nothing to run in an image.
func startTrouble(s *corev1.ContainerStatus, message string) *plan.Trouble {
	return &plan.Trouble{Reason: streamv1.ReasonPodConfigInvalid, Message: fmt.Sprintf(
		"container %s cannot be started: %s (the image must have the program as its entry point, built for the platform of the nodes)", s.Name, text(message))}
}

// recentCrash returns how a container ended that crashes over and over, while Kubernetes does not say so; nil for one that has
// run for a while, or crashed only once: that is what restarts are for.
func recentCrash(s *corev1.ContainerStatus, now time.Time) *corev1.ContainerStateTerminated {
	end, crashes := s.State.Terminated, s.RestartCount+1
	if end == nil {
		end, crashes = s.LastTerminationState.Terminated, s.RestartCount
	}
	if crashes < 2 || end == nil || end.ExitCode == 0 || end.FinishedAt.Sub(end.StartedAt.Time) >= crashMemory {
		return nil
	}
	if r := s.State.Running; r != nil && now.Sub(r.StartedAt.Time) >= crashMemory {
		return nil
	}
	return end
}

// crash describes a container that crashes. The number of its restarts is left out: the text would change with each.
func crash(pod *corev1.Pod, s *corev1.ContainerStatus, end *corev1.ContainerStateTerminated) *plan.Trouble {
	if neverRan(end) {
		return startTrouble(s, end.Message)
	}
	how := "ends over and over"
	if end != nil {
		how = describeEnd(end)
	}
	own, remedy := s.Name == pod.Labels[streamv1.LabelComponent], remedyOfEnd(pod, end)
	if own && end != nil && end.ExitCode == 0 {
		remedy = strings.TrimSuffix(remedy, ")") + "; is the entry point of the image a program of the Weir SDK, which calls program.Main?)" // which goes on until it is told to end
	}
	return &plan.Trouble{Reason: streamv1.ReasonPodCrashing, Message: fmt.Sprintf("container %s %s%s", s.Name, how, remedy), Alone: own}
}

// notMade tells that a pod is refused by the API server.
func notMade(message string) *plan.Trouble {
	return &plan.Trouble{
		Reason: streamv1.ReasonPodConfigInvalid,
		Message: fmt.Sprintf("the pod of the coordinator is refused: %s (raise the quota or change the rule that refuses it, or adapt spec.coordinator.resources)",
			text(message)),
		Alone: ExceedsQuota(message),
	}
}

// ExceedsQuota says of an answer of the API server that a quota is used up: that passes when other objects are gone.
func ExceedsQuota(message string) bool { return strings.Contains(message, "exceeded quota") }

// podEnded describes the end of a pod.
func podEnded(pod *corev1.Pod) string {
	if pod.Status.Reason != "" || pod.Status.Message != "" {
		return "the pod has ended: " + joined(pod.Status.Reason, text(pod.Status.Message))
	}
	for i := range pod.Status.ContainerStatuses {
		if s := &pod.Status.ContainerStatuses[i]; s.State.Terminated != nil {
			return fmt.Sprintf("container %s %s", s.Name, describeEnd(s.State.Terminated))
		}
	}
	return "the pod has ended, and nobody knows how"
}

// describeEnd says how a container ended, in its own words where it left any.
func describeEnd(end *corev1.ContainerStateTerminated) string {
	how := fmt.Sprintf("ended with exit code %d", end.ExitCode)
	if end.Reason != "" && end.Reason != "Error" && end.Reason != "Completed" {
		how = fmt.Sprintf("ended with %s, exit code %d", end.Reason, end.ExitCode)
	}
	return joined(how, lastWords(end.Message))
}

// remedyOfEnd says what to do about a container that ended; end is nil when it is not known how.
func remedyOfEnd(pod *corev1.Pod, end *corev1.ContainerStateTerminated) string {
	switch {
	case end != nil && end.Reason == "OOMKilled":
		return fmt.Sprintf(" (it needs more memory than it may have: raise %s.limits.memory)", resourcesField(pod))
	case pod.Status.Reason == "Evicted":
		return fmt.Sprintf(" (reserve what it needs: set %s.requests)", resourcesField(pod))
	case pod.Status.Phase == corev1.PodFailed:
		return fmt.Sprintf(" (its log says more: kubectl logs -n %s %s)", pod.Namespace, pod.Name)
	default:
		return fmt.Sprintf(" (its log says more: kubectl logs -n %s %s --previous)", pod.Namespace, pod.Name)
	}
}

// resourcesField names the field with the resources of a pod.
func resourcesField(pod *corev1.Pod) string {
	switch pod.Labels[streamv1.LabelComponent] {
	case resources.WorkerComponent:
		return "spec.workers.resources"
	case resources.CoordinatorComponent:
		return "spec.coordinator.resources"
	default: // an agent has those of the larger of both
		return "spec.workers.resources and spec.coordinator.resources"
	}
}

// claimOf returns the persistent volume claim of a pod; empty: it has none.
func claimOf(pod *corev1.Pod) string {
	for i := range pod.Spec.Volumes {
		if c := pod.Spec.Volumes[i].PersistentVolumeClaim; c != nil {
			return c.ClaimName
		}
	}
	return ""
}

func reasonAnd(w *corev1.ContainerStateWaiting) string { return joined(w.Reason, text(w.Message)) }

func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ": " + b
}

// text returns s on one line, its beginning if it is long.
func text(s string) string { return clip(oneLine(s)) }

// lastWords returns what matters of the last output of a container on one line: a panic from its beginning, else the end.
func lastWords(s string) string {
	for _, mark := range []string{"panic: ", "fatal error: "} {
		if i := strings.Index(s, mark); i >= 0 {
			return text(s[i:])
		}
	}
	r := []rune(oneLine(s))
	if len(r) <= maxText {
		return string(r)
	}
	return "..." + string(r[len(r)-maxText+3:])
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func clip(s string) string {
	r := []rune(s)
	if len(r) <= maxText {
		return s
	}
	return string(r[:maxText-3]) + "..."
}
