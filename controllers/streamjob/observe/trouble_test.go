// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

// podOption changes a pod.
type podOption func(*corev1.Pod)

// newPod returns a worker pod of a program that a node has had for ten seconds.
func newPod(options ...podOption) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "clicks-1-worker-0", Namespace: "prod", CreationTimestamp: ago(10 * time.Second),
			Labels: map[string]string{streamv1.LabelJob: "clicks", streamv1.LabelGrant: "1", streamv1.LabelComponent: "worker"},
		},
		Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "worker", Image: "example.com/clicks:1"}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodPending,
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: ago(9 * time.Second)},
				{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: ago(10 * time.Second)},
				{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "ContainersNotReady", LastTransitionTime: ago(10 * time.Second)},
				{Type: corev1.ContainersReady, Status: corev1.ConditionFalse, Reason: "ContainersNotReady", LastTransitionTime: ago(10 * time.Second)},
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: ago(10 * time.Second)},
			},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "worker", Image: "example.com/clicks:1",
				State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}},
			}},
		},
	}
	for _, o := range options {
		o(p)
	}
	return p
}

func label(key, value string) podOption { return func(p *corev1.Pod) { p.Labels[key] = value } }

func name(n string) podOption { return func(p *corev1.Pod) { p.Name = n } }

func phase(ph corev1.PodPhase) podOption { return func(p *corev1.Pod) { p.Status.Phase = ph } }

func deleting(p *corev1.Pod) { p.DeletionTimestamp = new(ago(time.Second)) }

func created(t metav1.Time) podOption { return func(p *corev1.Pod) { p.CreationTimestamp = t } }

func condition(kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string) podOption {
	return func(p *corev1.Pod) {
		c := findCondition(p, kind)
		c.Status, c.Reason, c.Message = status, reason, message
	}
}

func without(kind corev1.PodConditionType) podOption {
	return func(p *corev1.Pod) {
		*findCondition(p, kind) = corev1.PodCondition{Type: "Other"}
	}
}

// scheduled sets since when a node has the pod.
func scheduled(d time.Duration) podOption {
	return func(p *corev1.Pod) { findCondition(p, corev1.PodScheduled).LastTransitionTime = ago(d) }
}

func unscheduled(message string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.NodeName, p.Status.ContainerStatuses = "", nil
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: message}}
	}
}

func claim(p *corev1.Pod) {
	p.Spec.Volumes = []corev1.Volume{{Name: "tmp"}, {Name: "storage", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "state"},
	}}}
}

func waiting(reason, message string) podOption {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
}

func running(since time.Duration, ready bool) podOption {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		s := &p.Status.ContainerStatuses[0]
		s.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: ago(since)}}
		s.Ready, s.Started = ready, new(ready)
		if ready {
			findCondition(p, corev1.PodReady).Status = corev1.ConditionTrue
			findCondition(p, corev1.ContainersReady).Status = corev1.ConditionTrue
		}
	}
}

func end(code int32, reason, message string) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message, StartedAt: ago(20 * time.Second), FinishedAt: ago(5 * time.Second)}
}

// longRun has a container end after an hour.
func longRun(t *corev1.ContainerStateTerminated) *corev1.ContainerStateTerminated {
	t.StartedAt = ago(time.Hour)
	return t
}

func crashed(restarts int32, t *corev1.ContainerStateTerminated) podOption {
	return func(p *corev1.Pod) {
		s := &p.Status.ContainerStatuses[0]
		s.RestartCount, s.LastTerminationState = restarts, corev1.ContainerState{Terminated: t}
	}
}

func terminated(t *corev1.ContainerStateTerminated) podOption {
	return func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: t} }
}

func failed(reason, message string) podOption {
	return func(p *corev1.Pod) {
		p.Status.Phase, p.Status.Reason, p.Status.Message = corev1.PodFailed, reason, message
	}
}

func engine(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"/engine"} }

// sidecar makes the status one of a container beside that of the engine, initContainer one of a container before it.
func sidecar(p *corev1.Pod) {
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "shipper", Image: "example.com/shipper:2"})
	p.Status.ContainerStatuses[0].Name = "shipper"
}

func initContainer(p *corev1.Pod) {
	p.Spec.InitContainers = []corev1.Container{{Name: "fetch", Image: "example.com/fetch:1"}}
	p.Status.ContainerStatuses[0].Name = "fetch"
}

func TestTroubleOf_IsNothing(t *testing.T) {
	tests := map[string]*corev1.Pod{
		"new, and no node has it yet":       newPod(func(p *corev1.Pod) { p.Status = corev1.PodStatus{Phase: corev1.PodPending} }),
		"waiting for a gate":                newPod(unscheduled(""), condition(corev1.PodScheduled, corev1.ConditionFalse, "SchedulingGated", "")),
		"being made":                        newPod(),
		"pulling its image for long":        newPod(scheduled(10*time.Minute), condition(corev1.PodReadyToStartContainers, corev1.ConditionTrue, "", "")),
		"not started, on a busy node":       newPod(scheduled(19*time.Minute), condition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, "", "")),
		"running":                           newPod(running(time.Hour, true)),
		"too slow to be made":               newPod(waiting("CreateContainerError", "context deadline exceeded")),
		"too slow to be started":            newPod(waiting("RunContainerError", "stream terminated by RST_STREAM with error code: CANCEL")),
		"too slow to be started, again":     newPod(waiting("CrashLoopBackOff", "back-off 10s"), crashed(2, end(128, "StartError", "context deadline exceeded"))),
		"too slow to be started, twice":     newPod(terminated(end(128, "StartError", "context deadline exceeded")), crashed(2, end(128, "StartError", "x"))),
		"running, not ready yet":            newPod(running(time.Second, false)),
		"well a minute after crashes":       newPod(running(time.Minute, true), crashed(7, end(1, "Error", ""))),
		"waiting, a minute after crashes":   newPod(running(time.Minute, false), crashed(2, end(1, "Error", ""))),
		"killed once":                       newPod(running(time.Second, false), crashed(1, end(137, "Error", ""))),
		"killed again, after a long time":   newPod(running(time.Second, false), crashed(2, longRun(end(137, "Error", "")))),
		"its first crash, being restarted":  newPod(phase(corev1.PodRunning), terminated(end(1, "Error", "x"))),
		"restarted after a clean end":       newPod(running(time.Second, false), crashed(2, end(0, "Completed", ""))),
		"done":                              newPod(phase(corev1.PodSucceeded), terminated(end(0, "Completed", ""))),
		"crashing, but being deleted":       newPod(deleting, waiting("CrashLoopBackOff", ""), crashed(3, end(1, "Error", ""))),
		"failed, but being deleted":         newPod(deleting, failed("Evicted", "")),
		"no node takes it, being deleted":   newPod(deleting, unscheduled("0/1 nodes are available")),
		"an old cluster, on a busy node":    newPod(without(corev1.PodReadyToStartContainers), scheduled(20*time.Minute)),
		"an old cluster, containers' ready": newPod(without(corev1.PodReadyToStartContainers), scheduled(time.Hour), condition(corev1.ContainersReady, corev1.ConditionTrue, "", "")),
	}
	for name, pod := range tests {
		t.Run(name, func(t *testing.T) {
			if got := TroubleOf(pod, now); got != nil {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestTroubleOf_SaysWhatAndTheRemedy(t *testing.T) {
	coordinator := label(streamv1.LabelComponent, "coordinator")
	tests := map[string]struct {
		pod    *corev1.Pod
		reason string
		want   []string
	}{
		"the image does not exist": {
			newPod(waiting("ErrImagePull", `rpc error: code = NotFound desc = failed to pull and unpack image "example.com/clicks:1": not found`)),
			streamv1.ReasonImagePullFailed,
			[]string{`image "example.com/clicks:1" cannot be pulled: rpc error: code = NotFound`, "check spec.program.image", `spec.workers.podTemplate.imagePullSecrets or service account "default" names its secret`},
		},
		"the image is waited for": {
			newPod(engine, waiting("ImagePullBackOff", `Back-off pulling image "example.com/clicks:1": ErrImagePull: unauthorized`)),
			streamv1.ReasonImagePullFailed,
			[]string{"cannot be pulled: unauthorized (check --engine-image of the operator"},
		},
		"the image of a container of the user's own": {
			newPod(engine, sidecar, waiting("ErrImagePull", "not found")),
			streamv1.ReasonImagePullFailed,
			[]string{`image "example.com/shipper:2" cannot be pulled: not found (check the image of spec.workers.podTemplate.containers[name=shipper],`},
		},
		"the image of an init container of the coordinator": {
			newPod(coordinator, engine, initContainer, waiting("ErrImagePull", "not found"), func(p *corev1.Pod) { p.Spec.ServiceAccountName = "reader" }),
			streamv1.ReasonImagePullFailed,
			[]string{
				`image "example.com/fetch:1" cannot be pulled: not found (check the image of spec.coordinator.podTemplate.initContainers[name=fetch],`,
				`spec.coordinator.podTemplate.imagePullSecrets or service account "reader" names its secret`,
			},
		},
		"the image is not on the node": {
			newPod(waiting("ErrImageNeverPull", `Container image "example.com/clicks:1" is not present with pull policy of Never`)),
			streamv1.ReasonImagePullFailed,
			[]string{"pull policy of Never"},
		},
		"the name of the image is none": {
			newPod(waiting("InvalidImageName", `couldn't parse image name "A": invalid reference format`)),
			streamv1.ReasonImagePullFailed,
			[]string{"invalid reference format"},
		},
		"no node is large enough for a worker": {
			newPod(unscheduled("0/3 nodes are available: 3 Insufficient memory. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.")),
			streamv1.ReasonUnschedulable,
			[]string{"no node takes it: 0/3 nodes are available: 3 Insufficient memory.", "lower spec.workers.resources)"},
		},
		"no node is large enough for a coordinator": {
			newPod(coordinator, unscheduled("0/1 nodes are available: 1 Insufficient cpu.")),
			streamv1.ReasonUnschedulable,
			[]string{"lower spec.coordinator.resources)"},
		},
		"no node is large enough for a check": {
			newPod(label(streamv1.LabelComponent, "agent"), unscheduled("0/1 nodes are available: 1 Insufficient cpu.")),
			streamv1.ReasonUnschedulable,
			[]string{"lower spec.workers.resources and spec.coordinator.resources)"},
		},
		"no claim": {
			newPod(claim, unscheduled(`0/1 nodes are available: persistentvolumeclaim "state" not found.`)),
			streamv1.ReasonUnschedulable,
			[]string{`check persistent volume claim "state", which spec.storage.volume.claimName names`},
		},
		"a claim, but it is the CPU": {
			newPod(claim, unscheduled("0/1 nodes are available: 1 Insufficient cpu.")),
			streamv1.ReasonUnschedulable,
			[]string{"lower spec.workers.resources)"},
		},
		"no secret": {
			newPod(waiting("CreateContainerConfigError", `secret "minio" not found`)),
			streamv1.ReasonPodConfigInvalid,
			[]string{`container worker cannot be made: CreateContainerConfigError: secret "minio" not found`, "AWS_ACCESS_KEY_ID", "spec.storage.s3.credentialsSecretRef"},
		},
		"a secret without the key": {
			newPod(waiting("CreateContainerConfigError", "couldn't find key AWS_ACCESS_KEY_ID in Secret prod/minio")),
			streamv1.ReasonPodConfigInvalid,
			[]string{"couldn't find key", "spec.storage.s3.credentialsSecretRef"},
		},
		"a container that cannot be made": {
			newPod(waiting("CreateContainerError", "no command specified")),
			streamv1.ReasonPodConfigInvalid,
			[]string{"no command specified", "check the image"},
		},
		"a container that cannot be run": {
			newPod(waiting("RunContainerError", `exec: "/engine": stat /engine: no such file or directory`)),
			streamv1.ReasonPodConfigInvalid,
			[]string{"no such file or directory"},
		},
		"crashing": {
			newPod(phase(corev1.PodRunning), waiting("CrashLoopBackOff", "back-off 20s restarting failed container"), crashed(2, end(3, "Error", "opening storage: no such bucket"))),
			streamv1.ReasonPodCrashing,
			[]string{"container worker ended with exit code 3: opening storage: no such bucket (its log says more: kubectl logs -n prod clicks-1-worker-0 --previous)", "kubectl logs -n prod clicks-1-worker-0 --previous"},
		},
		"crashing, and nobody knows how": {
			newPod(phase(corev1.PodRunning), waiting("CrashLoopBackOff", "back-off"), func(p *corev1.Pod) { p.Status.ContainerStatuses[0].RestartCount = 4 }),
			streamv1.ReasonPodCrashing,
			[]string{"container worker ends over and over (its log"},
		},
		"ending cleanly over and over": {
			newPod(phase(corev1.PodRunning), waiting("CrashLoopBackOff", "back-off"), crashed(3, end(0, "Completed", ""))),
			streamv1.ReasonPodCrashing,
			[]string{"ended with exit code 0 (its log", "--previous; is the entry point of the image a program of the Weir SDK, which calls program.Main?)"},
		},
		"restarted a moment ago": {
			newPod(running(59*time.Second, false), crashed(2, end(1, "Error", "x"))),
			streamv1.ReasonPodCrashing,
			[]string{"exit code 1: x (its log"},
		},
		"ended again": {
			newPod(phase(corev1.PodRunning), crashed(1, end(1, "Error", "first")), terminated(end(2, "Error", "second"))),
			streamv1.ReasonPodCrashing,
			[]string{"exit code 2: second"},
		},
		"out of memory, a worker": {
			newPod(phase(corev1.PodRunning), waiting("CrashLoopBackOff", ""), crashed(2, end(137, "OOMKilled", ""))),
			streamv1.ReasonPodCrashing,
			[]string{"ended with OOMKilled, exit code 137", "raise spec.workers.resources.limits.memory"},
		},
		"out of memory, a coordinator": {
			newPod(coordinator, phase(corev1.PodRunning), waiting("CrashLoopBackOff", ""), crashed(2, end(137, "OOMKilled", ""))),
			streamv1.ReasonPodCrashing,
			[]string{"raise spec.coordinator.resources.limits.memory"},
		},
		"no program in the image": {
			newPod(phase(corev1.PodRunning), waiting("CrashLoopBackOff", ""), crashed(2, end(128, "StartError", "failed to create containerd task: exec: \"worker\": executable file not found in $PATH"))),
			streamv1.ReasonPodConfigInvalid,
			[]string{"container worker cannot be started: failed to create", "as its entry point"},
		},
		"a panic": {
			newPod(phase(corev1.PodRunning), waiting("CrashLoopBackOff", ""), crashed(2, end(2, "Error", strings.Repeat("a line of the log\n", 100)+"panic: no such table\n\ngoroutine 1 [running]:\nmain.main()\n"))),
			streamv1.ReasonPodCrashing,
			[]string{"exit code 2: panic: no such table goroutine 1 [running]: main.main() (its log"},
		},
		"evicted": {
			newPod(failed("Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi.")),
			streamv1.ReasonPodCrashing,
			[]string{"the pod has ended: Evicted: The node was low on resource", "set spec.workers.resources.requests"},
		},
		"failed": {
			newPod(phase(corev1.PodFailed), terminated(end(1, "Error", "reading the job: no such file"))),
			streamv1.ReasonPodCrashing,
			[]string{"container worker ended with exit code 1: reading the job: no such file", "kubectl logs -n prod clicks-1-worker-0)"},
		},
		"failed without a word": {
			newPod(phase(corev1.PodFailed), func(p *corev1.Pod) { p.Status.ContainerStatuses = nil }),
			streamv1.ReasonPodCrashing,
			[]string{"nobody knows how"},
		},
		"an init container that somebody added": {
			newPod(func(p *corev1.Pod) {
				p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "proxy", Image: "example.com/proxy:1", State: corev1.ContainerState{
					Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "Back-off"},
				}}}
			}),
			streamv1.ReasonImagePullFailed,
			[]string{`image "example.com/proxy:1"`},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			before := tc.pod.DeepCopy()
			got := TroubleOf(tc.pod, now)
			if got == nil {
				t.Fatal("no trouble")
			}
			if got.Reason != tc.reason {
				t.Errorf("reason %s, want %s (%s)", got.Reason, tc.reason, got.Message)
			}
			for _, want := range tc.want {
				if !strings.Contains(got.Message, want) {
					t.Errorf("message %q, want %q in it", got.Message, want)
				}
			}
			if diff := cmp.Diff(before, tc.pod); diff != "" {
				t.Errorf("the pod was changed:\n%s", diff)
			}
		})
	}
}

// Kubernetes alternates between two states of a container while it tries again and again: the trouble stays the same.
func TestTroubleOf_DoesNotFlap(t *testing.T) {
	const pull = `failed to resolve image: no such host`
	const start = `failed to create shim task: exec: "/nope": no such file or directory`
	bad := end(1, "Error", "unknown flag: --nope")
	tests := map[string][]*corev1.Pod{
		"an image that cannot be pulled": {
			newPod(waiting("ErrImagePull", pull)),
			newPod(waiting("ImagePullBackOff", `Back-off pulling image "example.com/clicks:1": ErrImagePull: `+pull)),
		},
		"an entry point that does not exist": {
			newPod(waiting("RunContainerError", start)),
			newPod(phase(corev1.PodRunning), waiting("CrashLoopBackOff", "back-off 10s"), crashed(1, end(128, "StartError", start))),
			newPod(waiting("RunContainerError", start), crashed(2, end(128, "StartError", start))),
		},
		"a program that ends at once": {
			newPod(phase(corev1.PodRunning), terminated(bad), crashed(1, bad)),
			newPod(phase(corev1.PodRunning), waiting("CrashLoopBackOff", "back-off 10s"), crashed(1, bad)),
			newPod(running(time.Second, false), crashed(2, bad)),
			newPod(running(time.Second, true), crashed(2, bad)),
			newPod(phase(corev1.PodRunning), terminated(bad), crashed(2, bad)),
			newPod(phase(corev1.PodRunning), waiting("CrashLoopBackOff", "back-off 20s"), crashed(2, bad)),
		},
	}
	for name, pods := range tests {
		t.Run(name, func(t *testing.T) {
			first := TroubleOf(pods[0], now)
			if first == nil {
				t.Fatal("no trouble")
			}
			for i, pod := range pods {
				if diff := cmp.Diff(first, TroubleOf(pod, now)); diff != "" {
					t.Errorf("state %d (-first +this):\n%s", i, diff)
				}
			}
		})
	}
}

func TestTroubleOf_CutsLongTexts(t *testing.T) {
	long := strings.Repeat("ü", 2000)
	for name, pod := range map[string]*corev1.Pod{
		"image":       newPod(waiting("ErrImagePull", long)),
		"scheduler":   newPod(unscheduled(long)),
		"config":      newPod(waiting("CreateContainerError", long)),
		"termination": newPod(waiting("CrashLoopBackOff", ""), crashed(2, end(1, "Error", long))),
		"panic":       newPod(waiting("CrashLoopBackOff", ""), crashed(2, end(1, "Error", "panic: "+long))),
		"pod":         newPod(failed("Evicted", long)),
	} {
		t.Run(name, func(t *testing.T) {
			got := TroubleOf(pod, now).Message
			if n := strings.Count(got, "ü"); n < 480 || n > 512 || !utf8.ValidString(got) {
				t.Errorf("%d characters are left in %q", n, got)
			}
		})
	}
}

func TestTroubleOf_TheEndOfALogIsKept(t *testing.T) {
	pod := newPod(waiting("CrashLoopBackOff", ""), crashed(2, end(1, "Error", strings.Repeat("a line of the log\n", 100)+"Error: no such bucket\n")))
	if got := TroubleOf(pod, now).Message; !strings.Contains(got, "Error: no such bucket (its log") {
		t.Errorf("got %q", got)
	}
}
