// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
)

const (
	// StartPatience is how long a node may have a pod without a word about it. On a node that is busy it is often longer, and then nothing is wrong.
	StartPatience = 10 * time.Second
	// warningMemory is how long ago Kubernetes may have said last what keeps a pod from being started: while it tries again it says so
	// every two minutes, and after some dozens of times every five; and what a node says of one pod is bounded, so that some of it is left out.
	warningMemory = 15 * time.Minute
)

// WaitsForNode says since when a node has a pod of which it has started no container and whose image is not what it waits for. The
// pod itself doesn't say why: there may be too much else to do, or something is missing that only events tell of.
func WaitsForNode(pod *corev1.Pod) (since time.Time, waits bool) {
	scheduled := findCondition(pod, corev1.PodScheduled)
	if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodPending || scheduled == nil || scheduled.Status != corev1.ConditionTrue {
		return time.Time{}, false
	}
	if c := findCondition(pod, corev1.PodReadyToStartContainers); c != nil {
		return scheduled.LastTransitionTime.Time, c.Status != corev1.ConditionTrue // once it is True, the image is being pulled
	}
	c := findCondition(pod, corev1.ContainersReady)
	return scheduled.LastTransitionTime.Time, c == nil || c.Status == corev1.ConditionFalse && c.Reason == "ContainersNotReady"
}

// unstarted describes a pod that its node has not started. It is in trouble when Kubernetes names a cause over and over that doesn't pass by itself;
// else waits says what it waits for, empty if that is not worth a word yet.
func unstarted(pod *corev1.Pod, warnings []eventsv1.Event, now time.Time) (trouble *plan.Trouble, waits string) {
	since, ok := WaitsForNode(pod)
	if !ok || now.Sub(since) < StartPatience {
		return nil, ""
	}
	if cause := warningAbout(pod, warnings, now, lasting); cause != nil {
		return &plan.Trouble{
			Reason: streamv1.ReasonPodConfigInvalid, Message: describeCause(pod, cause),
			Alone: cause.Reason == "FailedAttachVolume", // the volume may be with the node of another version
		}, ""
	}
	waits = fmt.Sprintf("node %s has not started it yet", pod.Spec.NodeName)
	if e := warningAbout(pod, warnings, now, func(*eventsv1.Event) bool { return true }); e != nil {
		waits = joined(waits, text(e.Note))
	}
	return nil, waits
}

// warningAbout returns what Kubernetes says about the start of a pod, of what is wanted; nil: nothing. Of several it is always the same one, whichever
// was given last.
func warningAbout(pod *corev1.Pod, warnings []eventsv1.Event, now time.Time, wanted func(*eventsv1.Event) bool) *eventsv1.Event {
	var first *eventsv1.Event
	for i := range warnings {
		e := &warnings[i]
		if e.Regarding.UID != pod.UID || e.Regarding.Name != pod.Name || now.Sub(lastSaid(e)) > warningMemory || !aboutStart(e.Reason) || !wanted(e) {
			continue
		}
		if first == nil || cmp.Or(strings.Compare(e.Reason, first.Reason), strings.Compare(e.Note, first.Note)) < 0 {
			first = e
		}
	}
	return first
}

// aboutStart says that a warning is about what comes before the containers of a pod.
func aboutStart(reason string) bool {
	return slices.Contains([]string{
		"FailedMount", "FailedMapVolume", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedCreatePodContainer", "NetworkNotReady",
		"FailedPrepareDynamicResources", "FailedSync",
	}, reason)
}

// lasting says of a warning that it was given more than once and names a cause.
func lasting(e *eventsv1.Event) bool { return timesSaid(e) >= 2 && !passes(e.Note) }

// passes says that what Kubernetes says is only that something took too long or was broken off. That is no cause: it passes on a node that is busy, and a cause that
// lasts is named elsewhere.
func passes(message string) bool {
	message = strings.ToLower(message)
	return slices.ContainsFunc([]string{
		"timed out", "deadline exceeded", "deadlineexceeded", "context canceled", "rst_stream", "transport is closing", "failed to sync", "not registered",
	}, func(s string) bool { return strings.Contains(message, s) })
}

// timesSaid is how often a warning was given. Older components of Kubernetes count in other fields than newer ones.
func timesSaid(e *eventsv1.Event) int32 {
	if e.Series != nil {
		return e.Series.Count
	}
	return e.DeprecatedCount
}

// lastSaid is when a warning was given last.
func lastSaid(e *eventsv1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.DeprecatedLastTimestamp.IsZero():
		return e.DeprecatedLastTimestamp.Time
	default:
		return e.EventTime.Time
	}
}

// describeCause says what keeps a pod from being started, and the remedy.
func describeCause(pod *corev1.Pod, e *eventsv1.Event) string {
	what, remedy := "cannot set it up", "the events of the pod say more: kubectl describe pod -n "+pod.Namespace+" "+pod.Name
	if volume := e.Reason != "FailedCreatePodSandBox" && strings.Contains(strings.ToLower(e.Note), "volume"); volume {
		what, remedy = "cannot mount its volumes", "create what the volume names in the namespace of the StreamJob, or change "+templateField(pod)+".volumes"
		if claim := claimOf(pod); claim != "" && !strings.Contains(e.Note, "secret") && !strings.Contains(e.Note, "configmap") {
			remedy = fmt.Sprintf("persistent volume claim %q must be bound and allow the nodes of all pods of the job", claim)
		}
	}
	return fmt.Sprintf("node %s %s: %s: %s (%s)", pod.Spec.NodeName, what, e.Reason, text(e.Note), remedy)
}

// templateField names the field with what a user adds to a pod.
func templateField(pod *corev1.Pod) string {
	if pod.Labels[streamv1.LabelComponent] == resources.WorkerComponent {
		return "spec.workers.podTemplate"
	}
	return "spec.coordinator.podTemplate"
}

// WantsWarnings says whether what becomes of pods can be told only with the warnings about them, and when to look again though nothing changes; 0: no need to.
func WantsWarnings(pods []corev1.Pod, now time.Time) (wants bool, again time.Duration) {
	for i := range pods {
		since, waits := WaitsForNode(&pods[i])
		if !waits {
			continue
		}
		left := StartPatience - now.Sub(since)
		if left <= 0 {
			return true, StartPatience
		}
		if again == 0 || left < again {
			again = left
		}
	}
	return false, again
}
