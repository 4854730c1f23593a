// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
)

const missingSecret = `MountVolume.SetUp failed for volume "keys" : secret "nowhere" not found`

// notStarted returns a pod that its node has had for some time.
func notStarted(d time.Duration, options ...podOption) *corev1.Pod {
	pod := newPod(scheduled(d), condition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, "", ""))
	pod.UID = "pod-1"
	for _, o := range options {
		o(pod)
	}
	return pod
}

// said returns a warning as kubelets write it.
func said(reason, note string, times int32, last time.Duration) eventsv1.Event {
	return eventsv1.Event{
		Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "prod", Name: "clicks-1-worker-0", UID: "pod-1"},
		Type:      corev1.EventTypeWarning, Reason: reason, Note: note,
		DeprecatedCount: times, DeprecatedFirstTimestamp: ago(last + time.Minute), DeprecatedLastTimestamp: ago(last),
	}
}

// inSeries returns a warning as newer components write it.
func inSeries(e eventsv1.Event) eventsv1.Event {
	e.EventTime = metav1.NewMicroTime(e.DeprecatedFirstTimestamp.Time)
	e.Series = &eventsv1.EventSeries{Count: e.DeprecatedCount, LastObservedTime: metav1.NewMicroTime(e.DeprecatedLastTimestamp.Time)}
	e.DeprecatedCount, e.DeprecatedFirstTimestamp, e.DeprecatedLastTimestamp = 0, metav1.Time{}, metav1.Time{}
	return e
}

func of(uid, name string, e eventsv1.Event) eventsv1.Event {
	e.Regarding.UID, e.Regarding.Name = types.UID(uid), name
	return e
}

func TestUnstarted_IsTroubleOnlyWhenKubernetesNamesACause(t *testing.T) {
	noPod := []eventsv1.Event{said("FailedMount", missingSecret, 5, time.Second)}
	tests := map[string]struct {
		pod      *corev1.Pod
		warnings []eventsv1.Event
		trouble  []string // in the message
		waits    string
	}{
		"a short while":                       {pod: notStarted(9 * time.Second), warnings: noPod},
		"a busy node":                         {pod: notStarted(10 * time.Second), waits: "node node-1 has not started it yet"},
		"a busy node, for long":               {pod: notStarted(time.Hour), waits: "node node-1 has not started it yet"},
		"a busy node of an old cluster":       {pod: notStarted(time.Hour, without(corev1.PodReadyToStartContainers)), waits: "node node-1 has not started it yet"},
		"a busy node that has not seen it":    {pod: notStarted(time.Hour, func(p *corev1.Pod) { p.Status.Conditions = p.Status.Conditions[4:] }), waits: "node node-1 has not started it yet"},
		"no node":                             {pod: notStarted(time.Hour, unscheduled("0/1 nodes")), warnings: noPod},
		"pulling its image":                   {pod: notStarted(time.Hour, condition(corev1.PodReadyToStartContainers, corev1.ConditionTrue, "", "")), warnings: noPod},
		"running":                             {pod: notStarted(time.Hour, running(time.Minute, true)), warnings: noPod},
		"being deleted":                       {pod: notStarted(time.Hour, deleting), warnings: noPod},
		"a warning of another pod":            {pod: notStarted(time.Minute), warnings: []eventsv1.Event{of("pod-2", "clicks-1-worker-1", noPod[0])}, waits: "node node-1 has not started it yet"},
		"a warning of one before of its name": {pod: notStarted(time.Minute), warnings: []eventsv1.Event{of("pod-0", "clicks-1-worker-0", noPod[0])}, waits: "node node-1 has not started it yet"},
		"a warning that was given once": {
			pod: notStarted(10 * time.Second), warnings: []eventsv1.Event{said("FailedMount", missingSecret, 1, time.Second)},
			waits: "node node-1 has not started it yet: " + missingSecret,
		},
		"a warning of long ago": {
			pod: notStarted(time.Hour), warnings: []eventsv1.Event{said("FailedMount", missingSecret, 9, 15*time.Minute+time.Second)},
			waits: "node node-1 has not started it yet",
		},
		"a warning that its node has not repeated for a while, as it may say only so much": {
			pod: notStarted(time.Hour), warnings: []eventsv1.Event{said("FailedMount", missingSecret, 40, 14*time.Minute)},
			trouble: []string{missingSecret},
		},
		"a warning about something else": {
			pod: notStarted(time.Hour), warnings: []eventsv1.Event{said("Unhealthy", "Readiness probe failed", 9, time.Second)},
			waits: "node node-1 has not started it yet",
		},
		"a node too busy to read secrets": {
			pod: notStarted(time.Minute), warnings: []eventsv1.Event{said("FailedMount", `MountVolume.SetUp failed for volume "tls" : failed to sync secret cache: timed out waiting for the condition`, 4, time.Second)},
			waits: `node node-1 has not started it yet: MountVolume.SetUp failed for volume "tls" : failed to sync secret cache: timed out waiting for the condition`,
		},
		"a node too busy to make a sandbox": {
			pod: notStarted(5 * time.Minute), warnings: []eventsv1.Event{said("FailedCreatePodSandBox", "Failed to create pod sandbox: rpc error: code = DeadlineExceeded desc = context deadline exceeded", 3, time.Second)},
			waits: "node node-1 has not started it yet: Failed to create pod sandbox: rpc error: code = DeadlineExceeded desc = context deadline exceeded",
		},
		"a secret that is missing": {
			pod: notStarted(10 * time.Second), warnings: []eventsv1.Event{said("FailedMount", missingSecret, 5, time.Second)},
			trouble: []string{"node node-1 cannot mount its volumes: FailedMount: " + missingSecret, "spec.workers.podTemplate.volumes"},
		},
		"a configmap that is missing, for a coordinator": {
			pod: notStarted(time.Minute, label(streamv1.LabelComponent, "coordinator")),
			warnings: []eventsv1.Event{
				said("FailedMount", "Unable to attach or mount volumes: timed out waiting for the condition", 9, time.Second),
				inSeries(said("FailedMount", `MountVolume.SetUp failed for volume "rules" : configmap "nowhere" not found`, 2, time.Minute)),
			},
			trouble: []string{`configmap "nowhere" not found`, "spec.coordinator.podTemplate.volumes"},
		},
		"a claim that cannot be attached": {
			pod: notStarted(time.Minute, claim), warnings: []eventsv1.Event{said("FailedAttachVolume", `Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) other`, 3, time.Second)},
			trouble: []string{"Multi-Attach error", `persistent volume claim "state" must be bound`},
		},
		"a secret that is missing beside a claim": {
			pod: notStarted(time.Minute, claim), warnings: []eventsv1.Event{said("FailedMount", missingSecret, 3, time.Second)},
			trouble: []string{missingSecret, "spec.workers.podTemplate.volumes"},
		},
		"no network": {
			pod: notStarted(time.Minute), warnings: []eventsv1.Event{said("FailedCreatePodSandBox", "failed to setup network for sandbox: no IP addresses available in range set", 3, time.Second)},
			trouble: []string{"node node-1 cannot set it up: FailedCreatePodSandBox: failed to setup network", "kubectl describe pod -n prod clicks-1-worker-0"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			trouble, waits := unstarted(tc.pod, tc.warnings, now)
			if waits != tc.waits {
				t.Errorf("waits %q, want %q", waits, tc.waits)
			}
			if (trouble != nil) != (tc.trouble != nil) {
				t.Fatalf("trouble %+v, want %q", trouble, tc.trouble)
			}
			for _, want := range tc.trouble {
				if trouble.Reason != streamv1.ReasonPodConfigInvalid || !strings.Contains(trouble.Message, want) {
					t.Errorf("trouble %+v, want %q in it", trouble, want)
				}
			}
		})
	}
}

// Two volumes are tried again at different times: the message must not change with each, or the status would be written again and again.
func TestUnstarted_SaysTheSameWhicheverWarningIsNewest(t *testing.T) {
	a, b := said("FailedMount", missingSecret, 5, time.Second), said("FailedMount", `MountVolume.SetUp failed for volume "rules" : configmap "nowhere" not found`, 5, time.Minute)
	first, _ := unstarted(notStarted(time.Minute), []eventsv1.Event{a, b}, now)
	a.DeprecatedLastTimestamp, b.DeprecatedLastTimestamp = b.DeprecatedLastTimestamp, a.DeprecatedLastTimestamp
	b.DeprecatedCount++
	second, _ := unstarted(notStarted(time.Minute), []eventsv1.Event{b, a}, now)
	if diff := cmp.Diff(first, second); first == nil || diff != "" {
		t.Errorf("first %+v, then\n%s", first, diff)
	}
}

func TestObserve_TellsWhatPodsWaitFor(t *testing.T) {
	pods := []corev1.Pod{
		*notStarted(time.Minute, label(streamv1.LabelComponent, "coordinator"), name("clicks-1-coordinator")),
		*notStarted(time.Minute),
	}
	o := Observe(Objects{Job: newJob(), Pods: pods, Warnings: []eventsv1.Event{said("FailedMount", missingSecret, 2, time.Second)}, Now: now}, nil)
	want := []plan.Pod{{Name: "clicks-1-coordinator", Waits: "node node-1 has not started it yet"}}
	if diff := cmp.Diff(want, o.Versions[0].Coordinator); diff != "" {
		t.Errorf("coordinator (-want +got):\n%s", diff)
	}
	if w := o.Versions[0].Workers; len(w) != 1 || w[0].Trouble == nil || w[0].Waits != "" {
		t.Errorf("workers %+v", w)
	}
	agents := Agents(pods[1:], []eventsv1.Event{said("FailedMount", missingSecret, 2, time.Second)}, now)
	if len(agents) != 1 || agents[0].Trouble == nil || agents[0].Waits != "" {
		t.Errorf("agents %+v", agents)
	}
	if agents := Agents(pods[1:], nil, now); len(agents) != 1 || agents[0].Trouble != nil || agents[0].Waits == "" {
		t.Errorf("agents without a warning %+v", agents)
	}
}

func TestWantsWarnings_OnlyWhenAPodHasWaited(t *testing.T) {
	tests := map[string]struct {
		pods  []corev1.Pod
		wants bool
		again time.Duration
	}{
		"no pods":                   {},
		"running":                   {pods: []corev1.Pod{*newPod(running(time.Hour, true))}},
		"pulling its image":         {pods: []corev1.Pod{*newPod()}},
		"new":                       {pods: []corev1.Pod{*notStarted(3 * time.Second), *notStarted(4 * time.Second)}, again: 6 * time.Second},
		"waiting":                   {pods: []corev1.Pod{*notStarted(3 * time.Second), *notStarted(10 * time.Second)}, wants: true, again: StartPatience},
		"no node":                   {pods: []corev1.Pod{*newPod(unscheduled("0/1"))}},
		"waiting and being deleted": {pods: []corev1.Pod{*notStarted(time.Hour, deleting)}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if wants, again := WantsWarnings(tc.pods, now); wants != tc.wants || again != tc.again {
				t.Errorf("got %t, again in %v, want %t, %v", wants, again, tc.wants, tc.again)
			}
		})
	}
}
