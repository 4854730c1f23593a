// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/test/envtest/conditions"
)

// state sets the desired state of a spec.
func state(s streamv1.DesiredState) func(*streamv1.StreamJobSpec) {
	return func(spec *streamv1.StreamJobSpec) { spec.State = s }
}

// noPods wants that nothing of any version runs.
func (c *cluster) noPods() {
	c.t.Helper()
	c.eventually("no pod is left", func() error {
		if pods, sets := c.children(&corev1.PodList{}), c.children(&appsv1.StatefulSetList{}); len(pods)+len(sets)+len(c.children(&appsv1.DeploymentList{})) > 0 {
			return fmt.Errorf("there are %v %v", pods, sets)
		}
		return nil
	})
}

// suspended waits until the job is suspended as asked.
func (c *cluster) suspended() *streamv1.StreamJob {
	c.t.Helper()
	return c.until("the job is suspended", has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonSuspended))
}

func TestOperator_SuspendsAndResumes(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	before := c.startTwo()
	c.edit(state(streamv1.StateSuspended))
	job := c.suspended()
	c.noPods()
	saved := c.storage.lineage("j").savepoints()
	if len(saved) != 1 || job.Status.LastSavepoint.Path != saved[0].Path || job.Status.Phase != streamv1.PhaseSuspended {
		t.Errorf("savepoints %+v, last %+v, phase %s", saved, job.Status.LastSavepoint, job.Status.Phase)
	}
	if err := has(streamv1.ConditionRunning, metav1.ConditionFalse, streamv1.ReasonNotRunning)(job); err != nil {
		t.Error(err)
	}
	if got := conditions.KStatus(job); got != conditions.Current {
		t.Errorf("kstatus is %s, want Current", got)
	}

	// An edit of a suspended job takes effect when it is resumed.
	c.edit(parallelism(3))
	c.suspended()
	c.edit(state(streamv1.StateRunning))
	job = c.running()
	if r := job.Status.Restore; r == nil || r.Path != saved[0].Path || job.Status.Job.ID != before.Status.Job.ID || job.Status.Parallelism != 3 {
		t.Errorf("restored from %+v, want %s; parallelism %d", r, saved[0].Path, job.Status.Parallelism)
	}
	if got := c.storage.lineage("j").savepoints(); len(got) != 1 || len(c.storage.started()) != 1 {
		t.Errorf("savepoints %+v, started empty %v", got, c.storage.started())
	}
}

// TestOperator_CreatedSuspended starts nothing until it is asked to.
func TestOperator_CreatedSuspended(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.create("state: Suspended", bucket, checkpointing, dataflow)
	job := c.suspended()
	if job.Status.Grant != 0 || job.Status.ObservedGeneration != 1 || len(c.children(&appsv1.DeploymentList{})) != 0 {
		t.Errorf("the status is %+v", job.Status)
	}
	c.edit(state(streamv1.StateRunning))
	c.running()
}

// TestOperator_SuspendsWithoutACoordinator suspends a job whose coordinator does not answer: an agent shuts it out, and the newest
// checkpoint is kept.
func TestOperator_SuspendsWithoutACoordinator(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.startTwo()
	c.until("a checkpoint is known", func(job *streamv1.StreamJob) error {
		if job.Status.LastCheckpoint == nil {
			return errors.New("there is none")
		}
		return nil
	})
	newest := c.storage.lineage("j").newest
	c.storage.set(func(s *script) { s.silent = true })
	c.edit(state(streamv1.StateSuspended))
	c.until("it waits for the coordinator", has(streamv1.ConditionReady, metav1.ConditionFalse, streamv1.ReasonSuspending))
	c.pass(15 * time.Minute)
	job := c.suspended()
	c.noPods()
	if l := c.storage.lineage("j"); l.grant != job.Status.Grant || job.Status.Grant < 2 || job.Status.LastCheckpoint.Path != newest.Path {
		t.Errorf("the head has grant %d, the status %d; last checkpoint %+v", l.grant, job.Status.Grant, job.Status.LastCheckpoint)
	}
	c.storage.set(func(s *script) { s.silent = false })
	c.edit(state(streamv1.StateRunning))
	if job = c.running(); job.Status.Restore.Path != newest.Path {
		t.Errorf("restored from %+v, want %s", job.Status.Restore, newest.Path)
	}
}

// TestOperator_SavepointOncePerTrigger shows that each value of the trigger gives one savepoint, whatever restarts.
func TestOperator_SavepointOncePerTrigger(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	first := c.operate()
	c.startTwo()
	trigger := func(value string) {
		c.edit(func(spec *streamv1.StreamJobSpec) { spec.Savepoint = &streamv1.Savepoint{Trigger: value} })
		c.until("the savepoint "+value+" is complete", func(job *streamv1.StreamJob) error {
			if job.Status.SavepointTrigger != value || job.Status.Operation != nil {
				return fmt.Errorf("the trigger is %q, the operation %+v", job.Status.SavepointTrigger, job.Status.Operation)
			}
			return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonRunning)(job)
		})
	}
	trigger("a")
	first.stop()
	second := c.operate()
	second.rests(t)
	if saved := c.storage.lineage("j").savepoints(); len(saved) != 1 {
		t.Errorf("there are %d savepoints for one trigger", len(saved))
	}
	trigger("b")
	c.edit(func(spec *streamv1.StreamJobSpec) { spec.Savepoint = nil })
	job := c.running()
	saved := c.storage.lineage("j").savepoints()
	if len(saved) != 2 || job.Status.LastSavepoint.Path != saved[1].Path || job.Status.Grant != 1 || len(c.storage.asked("Stop")) != 0 {
		t.Errorf("savepoints %+v, last %+v, grant %d", saved, job.Status.LastSavepoint, job.Status.Grant)
	}
	for _, version := range c.versions() {
		if version.Status.Operation != nil && version.Status.Operation.Type == streamv1.SavepointOperation &&
			!apimeta.IsStatusConditionTrue(version.Status.Conditions, streamv1.ConditionReady) {
			t.Error("the job was not Ready while a savepoint was taken")
		}
	}
}

// isCompleted says what is missing until a job has read all its input.
func isCompleted(job *streamv1.StreamJob) error {
	if err := has(streamv1.ConditionCompleted, metav1.ConditionTrue, streamv1.ReasonCompleted)(job); err != nil {
		return err
	}
	return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonCompleted)(job)
}

// TestOperator_CompletesOnce shows that a job that has read all its input is not run again.
func TestOperator_CompletesOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	first := c.operate()
	c.startTwo()
	c.storage.finish("j")
	c.until("the job has completed", isCompleted)
	c.noPods()
	first.stop()
	second := c.operate()
	second.rests(t)
	c.edit(parallelism(3))
	job := c.until("it is completed for the new spec too", isCompleted)
	if job.Status.Grant != 1 || c.storage.lineage("j").claims != 1 || conditions.KStatus(job) != conditions.Current {
		t.Errorf("it was run again: grant %d", job.Status.Grant)
	}
	c.noPods()
}

// TestOperator_FailedForGood shows what becomes of a job whose restart strategy gave up.
func TestOperator_FailedForGood(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	before := c.startTwo()
	c.storage.fail("j", "dividing by zero")
	job := c.until("the failure shows", has(streamv1.ConditionStalled, metav1.ConditionTrue, streamv1.ReasonJobFailed))
	if got := message(job, streamv1.ConditionReady); !strings.Contains(got, "dividing by zero") {
		t.Errorf("Ready says %q", got)
	}
	c.noPods()
	c.edit(parallelism(3))
	job = c.running()
	if job.Status.Job.ID != before.Status.Job.ID || len(c.storage.started()) != 1 || !strings.Contains(job.Status.Restore.Path, "/chk-") {
		t.Errorf("it went on from %+v as job %s; started empty %v", job.Status.Restore, job.Status.Job.ID, c.storage.started())
	}
}

// TestOperator_ProblemsShow shows problems of a first start that the coordinator tells of, and that it goes on by itself.
func TestOperator_ProblemsShow(t *testing.T) {
	t.Parallel()
	tests := map[contract.ProblemReason]conditions.Status{
		contract.StorageUnavailable:  conditions.InProgress,
		contract.StorageAccessDenied: conditions.Failed,
		contract.StorageNotFound:     conditions.Failed,
		contract.StorageUnsuitable:   conditions.Failed,
		contract.RestoreNotFound:     conditions.Failed,
		contract.RestoreCorrupt:      conditions.Failed,
		contract.InvalidJob:          conditions.Failed,
	}
	for reason, status := range tests {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.operate()
			c.storage.set(func(s *script) {
				s.problem = &contract.Problem{Reason: reason, Message: "no such thing", Remedy: "make it"}
			})
			c.create("parallelism: 2", bucket, checkpointing, dataflow)
			job := c.until("the problem shows", has(streamv1.ConditionReady, metav1.ConditionFalse, string(reason)))
			if got := message(job, streamv1.ConditionReady); !strings.Contains(got, "no such thing") || !strings.Contains(got, "make it") {
				t.Errorf("Ready says %q", got)
			}
			if got := conditions.KStatus(job); got != status {
				t.Errorf("kstatus is %s, want %s", got, status)
			}
			c.storage.set(func(s *script) { s.problem = nil })
			c.running()
		})
	}
}

// TestOperator_PodsThatCannotRunShow shows a first start that Kubernetes keeps from happening.
func TestOperator_PodsThatCannotRunShow(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.keepPods(func(pod *corev1.Pod) *corev1.PodStatus {
		return &corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: pod.Spec.Containers[0].Name, Image: "weir:test",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "manifest unknown"}},
		}}}
	})
	c.create("parallelism: 2", bucket, checkpointing, dataflow)
	c.until("the problem shows", has(streamv1.ConditionStalled, metav1.ConditionTrue, streamv1.ReasonImagePullFailed))
	c.keepPods(nil)
	c.running()
}

// TestOperator_AdoptsRetainedState shows that a StreamJob that is made again over retained state goes on from it.
func TestOperator_AdoptsRetainedState(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	checkpoint := contract.SnapshotInfo{ID: 41, Kind: "Checkpoint", Path: "s3://bkt/old/checkpoints/chk-41"}
	c.storage.retain("j", lineage{id: "old", grant: 7, claims: 9, final: "Canceled", last: 41, newest: &checkpoint, retired: []contract.SnapshotInfo{checkpoint}})
	job := c.startTwo()
	s := &job.Status
	if s.Job.ID != "old" || s.Grant != 8 || s.Restore.EffectiveMode != "Adopted" || s.Restore.Path != checkpoint.Path || s.Restore.Reason == "" {
		t.Errorf("job %+v, grant %d, restore %+v", s.Job, s.Grant, s.Restore)
	}
	c.eventually("only the version that adopted is left", func() error {
		if got := c.children(&appsv1.DeploymentList{}); !slices.Equal(got, []string{"j-8-coordinator"}) {
			return fmt.Errorf("there are %v", got)
		}
		return nil
	})
	c.edit(parallelism(3))
	job = c.running()
	if saved := c.storage.lineage("j").savepoints(); len(saved) != 1 || job.Status.Job.ID != "old" || job.Status.Restore.Path != saved[0].Path {
		t.Errorf("upgraded to job %s from %+v, savepoints %+v", job.Status.Job.ID, job.Status.Restore, saved)
	}
	if made := c.storage.started(); len(made) != 0 {
		t.Errorf("the jobs %v were started empty", made)
	}
}

// TestOperator_DoesNotRunAgainWhatHasFinished shows a StreamJob that is made again after its job had read all its input.
func TestOperator_DoesNotRunAgainWhatHasFinished(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.storage.retain("j", lineage{id: "old", grant: 7, claims: 9, final: "Finished"})
	c.create("parallelism: 2", bucket, checkpointing, dataflow)
	c.until("it is known to have completed", has(streamv1.ConditionCompleted, metav1.ConditionTrue, streamv1.ReasonCompleted))
	c.noPods()
	if l := c.storage.lineage("j"); l.claims != 9 || l.final != "Finished" {
		t.Errorf("storage holds %+v", l)
	}
}
