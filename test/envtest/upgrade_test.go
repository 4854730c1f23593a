// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/test/envtest/conditions"
)

// parallelism sets that of a spec.
func parallelism(n int32) func(*streamv1.StreamJobSpec) {
	return func(spec *streamv1.StreamJobSpec) { spec.Parallelism = n }
}

// startTwo starts a job of parallelism 2 with storage and checkpoints.
func (c *cluster) startTwo(more ...string) *streamv1.StreamJob {
	c.t.Helper()
	c.create(append([]string{"parallelism: 2", bucket, checkpointing, dataflow}, more...)...)
	return c.running()
}

// TestOperator_Upgrades edits the parallelism of a running job and looks at every step of what follows.
func TestOperator_Upgrades(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	before := c.startTwo()
	c.edit(parallelism(3))
	job := c.running()
	checkUpgraded(t, c, before, job)

	u := job.Status.LastUpgrade
	if u == nil || u.FromRevision != before.Status.Deployment.Revision || u.ToRevision != job.Status.Deployment.Revision || u.CompletedAt.IsZero() ||
		u.SaveMillis <= 0 || u.CheckMillis <= 0 || u.PodsMillis <= 0 || u.RestoreMillis < 0 {
		t.Errorf("the upgrade is reported as %+v", u)
	}
	checkSteps(t, c)
}

// checkUpgraded wants that version 2 runs from the only savepoint that version 1 was stopped with, and nothing of version 1 is left.
func checkUpgraded(t *testing.T, c *cluster, before, job *streamv1.StreamJob) {
	t.Helper()
	l := c.storage.lineage("j")
	saved := l.savepoints()
	if len(saved) != 1 || len(c.storage.asked("Stop")) != 1 {
		t.Fatalf("there are the savepoints %v after the commands %v, want one of each", saved, c.storage.asked("Stop"))
	}
	s := &job.Status
	if s.Restore == nil || s.Restore.EffectiveMode != "Savepoint" || s.Restore.Path != saved[0].Path || s.Restore.CheckpointID != saved[0].ID {
		t.Errorf("restored from %+v, want %+v", s.Restore, saved[0])
	}
	if s.LastSavepoint == nil || s.LastSavepoint.Path != saved[0].Path {
		t.Errorf("the last savepoint is %+v", s.LastSavepoint)
	}
	if s.Job.ID != before.Status.Job.ID || len(c.storage.started()) != 1 {
		t.Errorf("the job is %s, was %s; started empty: %v", s.Job.ID, before.Status.Job.ID, c.storage.started())
	}
	if s.Deployment.Grant <= before.Status.Deployment.Grant || s.Deployment.Grant != s.Grant || s.Parallelism != 3 || l.grant != s.Grant || s.Operation != nil {
		t.Errorf("deployment %+v, grant %d, head %d, parallelism %d, operation %+v", s.Deployment, s.Grant, l.grant, s.Parallelism, s.Operation)
	}
	for list, suffix := range map[client.ObjectList]string{
		&appsv1.DeploymentList{}: "-coordinator", &appsv1.StatefulSetList{}: "-worker", &corev1.ServiceList{}: "", &corev1.ConfigMapList{}: "",
	} {
		want := []string{fmt.Sprintf("j-%d%s", s.Grant, suffix)}
		c.eventually("only the new version is left", func() error {
			if diff := cmp.Diff(want, c.children(list)); diff != "" {
				return fmt.Errorf("%T (-want +got):\n%s", list, diff)
			}
			return nil
		})
	}
	c.eventually("agent pods are gone", func() error {
		for _, name := range c.children(&corev1.PodList{}) {
			if strings.Contains(name, "check") {
				return fmt.Errorf("%s is still there", name)
			}
		}
		return nil
	})
}

// checkSteps wants that the conditions told the truth at every step of the upgrade from generation 1 to 2.
func checkSteps(t *testing.T, c *cluster) {
	t.Helper()
	var reasons []string
	for _, job := range c.versions() {
		ready := apimeta.FindStatusCondition(job.Status.Conditions, streamv1.ConditionReady)
		if ready == nil || ready.ObservedGeneration != 2 {
			continue
		}
		if len(reasons) == 0 || reasons[len(reasons)-1] != ready.Reason {
			reasons = append(reasons, ready.Reason)
		}
		status := conditions.KStatus(&job)
		if ready.Status == metav1.ConditionTrue && (job.Status.Deployment.Generation != 2 || job.Status.Job.State != "Running" || status != conditions.Current) {
			t.Errorf("Ready was True for generation 2 while kstatus was %s, deployment %+v and job %+v", status, job.Status.Deployment, job.Status.Job)
		}
		if ready.Status != metav1.ConditionTrue && status != conditions.InProgress {
			t.Errorf("kstatus was %s in the middle of the upgrade (%s: %s)", status, ready.Reason, ready.Message)
		}
		operation := job.Status.Operation
		if operation != nil && operation.Phase == streamv1.OperationChecking &&
			!apimeta.IsStatusConditionTrue(job.Status.Conditions, streamv1.ConditionRunning) {
			t.Error("the old version did not run while the new one was checked")
		}
	}
	if want := []string{"Checking", "Upgrading", "Running"}; !slices.Equal(reasons, want) {
		t.Errorf("the reasons of Ready were %v, want %v", reasons, want)
	}
}

// TestOperator_PolicyReachesTheRunningJob shows that what needs no restart causes none.
func TestOperator_PolicyReachesTheRunningJob(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	before := c.startTwo()
	var deployed, after appsv1.Deployment
	key := client.ObjectKey{Namespace: c.namespace, Name: "j-1-coordinator"}
	if err := admin.Get(t.Context(), key, &deployed); err != nil {
		t.Fatal(err)
	}
	c.edit(func(spec *streamv1.StreamJobSpec) {
		spec.Checkpointing.Interval.Duration = 3 * time.Second
		spec.Restart = &streamv1.Restart{FixedDelay: &streamv1.FixedDelayRestart{Attempts: 7}}
	})
	c.eventually("the policy has reached the engine", func() error {
		var interval time.Duration
		attempts := 0
		c.storage.change("j", func(p *coordinator) {
			interval = p.config.Checkpointing.Interval.D()
			if f := p.config.Restart.FixedDelay; f != nil && f.Attempts != nil {
				attempts = *f.Attempts
			}
		})
		if interval != 3*time.Second || attempts != 7 {
			return fmt.Errorf("the interval is %s, the attempts are %d", interval, attempts)
		}
		return nil
	})
	job := c.running()
	if err := admin.Get(t.Context(), key, &after); err != nil {
		t.Fatal(err)
	}
	if after.ResourceVersion != deployed.ResourceVersion || job.Status.Grant != 1 || len(c.storage.asked("Stop")) != 0 {
		t.Errorf("the edit restarted the job: grant %d, commands %v", job.Status.Grant, c.storage.asked(""))
	}
	if job.Status.Deployment.Revision != before.Status.Deployment.Revision {
		t.Error("the edit made a new revision")
	}
	var stored corev1.ConfigMap
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: c.namespace, Name: "j-1"}, &stored); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stored.Data[resources.JobKey], `"interval":"3s"`) {
		t.Errorf("a coordinator that is restarted would read %s", stored.Data[resources.JobKey])
	}
}

// TestOperator_SavepointFailureKeepsTheOldVersion shows an upgrade while the storage does not answer.
func TestOperator_SavepointFailureKeepsTheOldVersion(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	before := c.startTwo()
	c.storage.set(func(s *script) { s.savepoint = "writing the savepoint: connection refused" })
	c.edit(parallelism(3))
	job := c.until("the failure shows", has(streamv1.ConditionReady, metav1.ConditionFalse, streamv1.ReasonSavepointFailed))
	if !strings.Contains(message(job, streamv1.ConditionReady), "connection refused") {
		t.Errorf("Ready says %q", message(job, streamv1.ConditionReady))
	}
	if err := has(streamv1.ConditionRunning, metav1.ConditionTrue, streamv1.ReasonRunning)(job); err != nil {
		t.Error(err)
	}
	if got := conditions.KStatus(job); got != conditions.InProgress {
		t.Errorf("kstatus is %s, want InProgress: it is tried again", got)
	}
	if got := c.children(&appsv1.DeploymentList{}); !slices.Equal(got, []string{"j-1-coordinator"}) || job.Status.Deployment.Grant != 1 {
		t.Errorf("there are %v, deployed is %+v", got, job.Status.Deployment)
	}

	c.storage.set(func(s *script) { s.savepoint = "" })
	c.pass(time.Minute)
	job = c.running()
	if n := len(c.storage.asked("Stop")); n != 2 {
		t.Errorf("it was tried with %v, want two operations", c.storage.asked("Stop"))
	}
	if saved := c.storage.lineage("j").savepoints(); len(saved) != 1 || job.Status.Restore.Path != saved[0].Path || job.Status.Job.ID != before.Status.Job.ID {
		t.Errorf("savepoints %+v, restored from %+v", saved, job.Status.Restore)
	}
}

// TestOperator_InvalidEditKeepsTheOldVersion shows edits that cannot be run and that the API server could not refuse.
func TestOperator_InvalidEditKeepsTheOldVersion(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		edit func(*streamv1.StreamJobSpec)
		want string
	}{
		"a cycle": {
			edit: func(spec *streamv1.StreamJobSpec) {
				step := func(name, input string) streamv1.Operator {
					return streamv1.Operator{
						Name: streamv1.OperatorName(name), Inputs: []streamv1.OperatorName{streamv1.OperatorName(input)}, Filter: &streamv1.FilterStep{Expression: "true"},
					}
				}
				spec.Dataflow.Operators = append(spec.Dataflow.Operators, step("f", "g"), step("g", "f"))
			},
			want: "operators must not form a cycle",
		},
		"another bucket": {
			edit: func(spec *streamv1.StreamJobSpec) { spec.Storage.S3.Bucket = "other" },
			want: "would be left behind",
		},
		"other key groups": {
			edit: func(spec *streamv1.StreamJobSpec) { spec.MaxParallelism = 256 },
			want: "set it back to 128",
		},
		"more than key groups": {
			edit: func(spec *streamv1.StreamJobSpec) { spec.Parallelism = 200 },
			want: "at most 128",
		},
		"a volume without a claim": {
			edit: func(spec *streamv1.StreamJobSpec) {
				spec.Storage = &streamv1.Storage{Volume: &streamv1.VolumeStorage{Path: "/p"}}
			},
			want: "spec.storage.volume.claimName",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.operate()
			before := c.startTwo()
			c.edit(tc.edit)
			job := c.until("the edit is refused", has(streamv1.ConditionStalled, metav1.ConditionTrue, streamv1.ReasonInvalidSpec))
			if got := message(job, streamv1.ConditionReady); !strings.Contains(got, tc.want) {
				t.Errorf("Ready says %q, want %q", got, tc.want)
			}
			for _, err := range []error{
				has(streamv1.ConditionReady, metav1.ConditionFalse, streamv1.ReasonInvalidSpec)(job),
				has(streamv1.ConditionRunning, metav1.ConditionTrue, streamv1.ReasonRunning)(job),
			} {
				if err != nil {
					t.Error(err)
				}
			}
			if got := conditions.KStatus(job); got != conditions.Failed {
				t.Errorf("kstatus is %s, want Failed", got)
			}
			// The version that runs is still looked after.
			if err := admin.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "j-1"}}); err != nil {
				t.Fatal(err)
			}
			c.eventually("its Service is there again", func() error {
				return admin.Get(t.Context(), client.ObjectKey{Namespace: c.namespace, Name: "j-1"}, &corev1.Service{})
			})
			c.edit(func(spec *streamv1.StreamJobSpec) { *spec = *before.Spec.DeepCopy() })
			job = c.running()
			if job.Status.Grant != 1 || len(c.storage.asked("Stop")) != 0 {
				t.Errorf("the edits restarted the job: grant %d, commands %v", job.Status.Grant, c.storage.asked(""))
			}
		})
	}
}

// TestOperator_CheckFailureKeepsTheOldVersion shows new versions that cannot take over: the agent that checks them finds out.
func TestOperator_CheckFailureKeepsTheOldVersion(t *testing.T) {
	t.Parallel()
	waiting := func(reason, message string) *corev1.PodStatus {
		return &corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "agent", Image: "weir:test", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
		}}}
	}
	tests := map[string]struct {
		check  *contract.Problem
		pod    *corev1.PodStatus
		reason string
		want   string
	}{
		"state that does not fit": {
			check:  &contract.Problem{Reason: contract.IncompatibleState, Message: "operator count lost its state", Remedy: "name it in previousNames"},
			reason: streamv1.ReasonIncompatibleState, want: "name it in previousNames",
		},
		"a graph that cannot be built": {
			check:  &contract.Problem{Reason: contract.InvalidJob, Message: "the program panicked: no such topic"},
			reason: streamv1.ReasonInvalidJob, want: "no such topic",
		},
		"an image that cannot be pulled": {
			pod: waiting("ErrImagePull", "manifest unknown"), reason: streamv1.ReasonImagePullFailed, want: "manifest unknown",
		},
		"a secret that is missing": {
			pod: waiting("CreateContainerConfigError", `secret "keys" not found`), reason: streamv1.ReasonPodConfigInvalid, want: `"keys"`,
		},
		"no node": {
			pod: &corev1.PodStatus{Conditions: []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/1 nodes are available: 1 Insufficient cpu.",
			}}},
			reason: streamv1.ReasonUnschedulable, want: "Insufficient cpu",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.operate()
			before := c.startTwo()
			c.storage.set(func(s *script) { s.check = tc.check })
			c.keepPods(func(pod *corev1.Pod) *corev1.PodStatus {
				if pod.Labels[streamv1.LabelComponent] != resources.AgentComponent || tc.pod == nil {
					return nil
				}
				return tc.pod.DeepCopy()
			})
			c.edit(parallelism(3))
			job := c.until("the failure shows", has(streamv1.ConditionStalled, metav1.ConditionTrue, tc.reason))
			if got := message(job, streamv1.ConditionReady); !strings.Contains(got, tc.want) {
				t.Errorf("Ready says %q, want %q", got, tc.want)
			}
			if err := has(streamv1.ConditionRunning, metav1.ConditionTrue, streamv1.ReasonRunning)(job); err != nil {
				t.Error(err)
			}
			c.edit(parallelism(2))
			job = c.running()
			if job.Status.Deployment.Grant != before.Status.Deployment.Grant || len(c.storage.asked("Stop")) != 0 || c.storage.lineage("j").claims != 1 {
				t.Errorf("the edits restarted the job: deployment %+v, commands %v", job.Status.Deployment, c.storage.asked(""))
			}
			c.eventually("nothing of the new version is left", func() error {
				if got := c.children(&corev1.ConfigMapList{}); !slices.Equal(got, []string{"j-1"}) {
					return fmt.Errorf("there are the config maps %v", got)
				}
				if got := c.children(&corev1.PodList{}); len(got) != 2 {
					return fmt.Errorf("there are the pods %v", got)
				}
				return nil
			})
		})
	}
}

// TestOperator_UpgradesOnceWhenItsCheckIsMended shows that the upgrade goes on by itself once the cause is gone.
func TestOperator_UpgradesOnceWhenItsCheckIsMended(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	before := c.startTwo()
	c.storage.set(func(s *script) { s.check = &contract.Problem{Reason: contract.IncompatibleState, Message: "no"} })
	c.edit(parallelism(3))
	c.until("the failure shows", has(streamv1.ConditionStalled, metav1.ConditionTrue, streamv1.ReasonIncompatibleState))
	c.storage.set(func(s *script) { s.check = nil })
	c.pass(time.Minute)
	checkUpgraded(t, c, before, c.running())
}

// objectVersions returns the resource versions of the StreamJob and of all objects of its job.
func (c *cluster) objectVersions() map[string]string {
	c.t.Helper()
	found := map[string]string{"job": c.job().ResourceVersion}
	for _, list := range []client.ObjectList{
		&appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{}, &policyv1.PodDisruptionBudgetList{},
		&networkingv1.NetworkPolicyList{},
	} {
		if len(c.children(list)) != 1 {
			c.t.Errorf("there are the %T %v", list, c.children(list))
		}
		_ = apimeta.EachListItem(list, func(o runtimeObject) error {
			found[fmt.Sprintf("%T %s", o, o.(client.Object).GetName())] = o.(client.Object).GetResourceVersion()
			return nil
		})
	}
	return found
}

// TestOperator_NewOperatorIsZeroDiff shows that an operator of another version, which brings another image of the engine, leaves jobs
// as they are, with all that templates may add, also when their policy is edited.
func TestOperator_NewOperatorIsZeroDiff(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	first := c.operate()
	template := `podTemplate: {labels: {team: data}, annotations: {example.com/a: b}, tolerations: [{key: dedicated, operator: Exists}],
    topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway}],
    volumes: [{name: e, emptyDir: {sizeLimit: 1Gi}}], terminationGracePeriodSeconds: 60,
    containers: [{name: %s, env: [{name: A, value: b}], volumeMounts: [{name: e, mountPath: /e}]}, {name: side, image: "side:1", resources: {limits: {memory: 1Mi}}}]}`
	c.startTwo("networkPolicy: Isolated", "workers: {"+fmt.Sprintf(template, "worker")+"}", "coordinator: {"+fmt.Sprintf(template, "coordinator")+"}")
	first.rests(t)
	before := c.objectVersions()
	first.stop()
	second := c.operate(withImage("weir:next"))
	second.rests(t)
	if diff := cmp.Diff(before, c.objectVersions()); diff != "" {
		t.Errorf("the new operator changed (-before +after):\n%s", diff)
	}
	c.edit(func(spec *streamv1.StreamJobSpec) { spec.Checkpointing.Interval.Duration = time.Second })
	job := c.running()
	var d appsv1.Deployment
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: c.namespace, Name: "j-1-coordinator"}, &d); err != nil {
		t.Fatal(err)
	}
	if image := d.Spec.Template.Spec.Containers[0].Image; image != "weir:test" || job.Status.Grant != 1 {
		t.Errorf("the image is %s, the grant %d after an edit of the policy", image, job.Status.Grant)
	}
	c.edit(parallelism(3))
	job = c.running()
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: c.namespace, Name: "j-2-coordinator"}, &d); err != nil {
		t.Fatal(err)
	}
	if image := d.Spec.Template.Spec.Containers[0].Image; image != "weir:next" {
		t.Errorf("the image is %s after an upgrade to grant %d", image, job.Status.Grant)
	}
}
