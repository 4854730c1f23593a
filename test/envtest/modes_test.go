// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob"
	"github.com/weir-stream/weir/test/envtest/conditions"
)

// events returns the reasons of the events of the StreamJob in the order in which they came, once they are as many as wanted.
func (c *cluster) events(n int) []string {
	c.t.Helper()
	var list eventsv1.EventList
	c.eventually(fmt.Sprintf("there are %d events", n), func() error {
		if err := admin.List(c.t.Context(), &list, client.InNamespace(c.namespace)); err != nil {
			return err
		}
		// The API server has controllers of its own that make events, of Services for one.
		list.Items = slices.DeleteFunc(list.Items, func(e eventsv1.Event) bool { return e.ReportingController != streamjob.FieldOwner })
		if len(list.Items) < n {
			return fmt.Errorf("there are %d", len(list.Items))
		}
		return nil
	})
	slices.SortFunc(list.Items, func(a, b eventsv1.Event) int { return a.EventTime.Compare(b.EventTime.Time) })
	var reasons []string
	for i := range list.Items {
		e := &list.Items[i]
		if e.Regarding.Name != "j" || e.Regarding.Kind != "StreamJob" || e.Note == "" {
			c.t.Errorf("event %+v", e)
		}
		reasons = append(reasons, e.Reason)
	}
	return reasons
}

// TestOperator_ScalesAndTells scales a job through its scale subresource, as an autoscaler does, and reads the events of its life.
func TestOperator_ScalesAndTells(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	before := c.startTwo()
	var scale autoscalingv1.Scale
	if err := admin.SubResource("scale").Get(t.Context(), before, &scale); err != nil {
		t.Fatal(err)
	}
	if scale.Status.Replicas != 2 || scale.Status.Selector == "" {
		t.Errorf("the scale is %+v", scale.Status)
	}
	scale.Spec.Replicas = 3
	if err := admin.SubResource("scale").Update(t.Context(), before.DeepCopy(), client.WithSubResourceBody(&scale)); err != nil {
		t.Fatal(err)
	}
	checkUpgraded(t, c, before, c.until("the job runs scaled", func(job *streamv1.StreamJob) error {
		if job.Generation != 2 {
			return fmt.Errorf("the generation is %d", job.Generation)
		}
		return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonRunning)(job)
	}))
	want := []string{"Deploying", "StartedEmpty", "Upgrading", "SavepointCompleted", "Deploying", "Restored", "Upgraded"}
	got := c.events(len(want))
	slices.Sort(got) // those of one pass may have the same time
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestOperator_WithoutStorage shows that a job without storage is not replaced or suspended before somebody says that its state may go.
func TestOperator_WithoutStorage(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.create("parallelism: 2", checkpointing, dataflow)
	c.running()
	c.edit(parallelism(3))
	job := c.until("the edit is refused", has(streamv1.ConditionStalled, metav1.ConditionTrue, streamv1.ReasonInvalidSpec))
	if got := message(job, streamv1.ConditionReady); !strings.Contains(got, "spec.upgrade.mode") || !strings.Contains(got, "Stateless") {
		t.Errorf("Ready says %q", got)
	}
	if err := has(streamv1.ConditionRunning, metav1.ConditionTrue, streamv1.ReasonRunning)(job); err != nil {
		t.Error(err)
	}
	c.edit(func(spec *streamv1.StreamJobSpec) { spec.Upgrade = &streamv1.Upgrade{Mode: streamv1.UpgradeStateless} })
	job = c.running()
	if r := job.Status.Restore; r == nil || r.EffectiveMode != "Stateless" || r.Path != "" || job.Status.Parallelism != 3 {
		t.Errorf("restored from %+v with parallelism %d", r, job.Status.Parallelism)
	}
}

// TestOperator_UpgradesFromTheLastCheckpoint takes no savepoint when the spec says so.
func TestOperator_UpgradesFromTheLastCheckpoint(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	before := c.startTwo("upgrade: {mode: LastCheckpoint}")
	c.eventually("there is a checkpoint", func() error {
		if c.storage.lineage("j").newest == nil {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	newest := c.storage.lineage("j").newest.Path
	c.edit(parallelism(3))
	job := c.running()
	if r := job.Status.Restore; r.RequestedMode != "LastCheckpoint" || r.EffectiveMode != "LastCheckpoint" || r.Path != newest || r.Reason != "" {
		t.Errorf("restored from %+v, want %s", r, newest)
	}
	if job.Status.Job.ID != before.Status.Job.ID || len(c.storage.asked("Stop")) != 0 || len(c.storage.lineage("j").savepoints()) != 0 {
		t.Errorf("job %+v after %v", job.Status.Job, c.storage.asked(""))
	}
}

// TestOperator_RestoresFrom starts a job from a savepoint of another one, once: later versions go on from its own state.
func TestOperator_RestoresFrom(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	before := c.startTwo("restoreFrom: {path: 's3://bkt/savepoints/savepoint-other'}")
	if r := before.Status.Restore; r.EffectiveMode != "RestoreFrom" || r.Path != "s3://bkt/savepoints/savepoint-other" {
		t.Errorf("restored from %+v", r)
	}
	c.edit(parallelism(3))
	checkUpgraded(t, c, before, c.running())
}

// TestOperator_QuotaShows shows a namespace that has no room for the pod that checks the new version: the condition names the quota,
// the old version keeps running, and the upgrade goes on once there is room.
func TestOperator_QuotaShows(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	before := c.startTwo()
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "tight"}}
	quota.Spec.Hard = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("2")}
	if err := admin.Create(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	// The controller that counts what is used is not there.
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: quota.Spec.Hard}
	if err := admin.Status().Update(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	c.edit(parallelism(3))
	job := c.until("the quota shows", func(job *streamv1.StreamJob) error {
		if got := message(job, streamv1.ConditionReady); !strings.Contains(got, "exceeded quota: tight") {
			return fmt.Errorf("ready says %q", got)
		}
		return has(streamv1.ConditionReady, metav1.ConditionFalse, streamv1.ReasonActionFailed)(job)
	})
	if err := has(streamv1.ConditionRunning, metav1.ConditionTrue, streamv1.ReasonRunning)(job); err != nil || job.Status.Deployment.Grant != 1 {
		t.Errorf("the old version does not run: %v, deployed is %+v", err, job.Status.Deployment)
	}
	if got := conditions.KStatus(job); got == conditions.Current {
		t.Error("kstatus is Current for a version that does not run")
	}
	if err := admin.Delete(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	c.pass(time.Minute)
	checkUpgraded(t, c, before, c.running())
}

// TestOperator_RefusedObjectsHoldUpNothing shows a namespace that takes no Deployment: the condition names the quota and the object, an edit is stored as the next version, and
// the StreamJob can be deleted.
func TestOperator_RefusedObjectsHoldUpNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "none"}}
	quota.Spec.Hard = corev1.ResourceList{"count/deployments.apps": resource.MustParse("0")}
	if err := admin.Create(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	// The controller that counts what is used is not there.
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: quota.Spec.Hard}
	if err := admin.Status().Update(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	c.operate()
	c.create(dataflow)
	refused := func(name string) func(*streamv1.StreamJob) error {
		return func(job *streamv1.StreamJob) error {
			if got := message(job, streamv1.ConditionStalled); !strings.Contains(got, "applying Deployment "+name) || !strings.Contains(got, "exceeded quota: none") {
				return fmt.Errorf("stalled says %q", got)
			}
			return has(streamv1.ConditionStalled, metav1.ConditionTrue, streamv1.ReasonActionFailed)(job)
		}
	}
	c.until("the quota shows", refused("j-1-coordinator"))
	c.edit(parallelism(3))
	c.until("the next version is refused", refused("j-2-coordinator"))
	c.delete()
	c.gone()
}
