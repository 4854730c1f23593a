// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/resources"
	"github.com/weir-stream/weir/runtime/contract"
)

// TestOperator_RestartsByNonce restarts a job once for a value of spec.restartNonce, with its state.
func TestOperator_RestartsByNonce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	o := c.operate()
	before := c.startTwo()
	c.edit(func(spec *streamv1.StreamJobSpec) { spec.RestartNonce = "a" })
	job := c.running()
	s := &job.Status
	if s.RestartNonce != "a" || s.Grant != 2 || s.Deployment.Revision != before.Status.Deployment.Revision || s.Restore.EffectiveMode != "Savepoint" {
		t.Errorf("nonce %q, grant %d, deployment %+v, restored from %+v", s.RestartNonce, s.Grant, s.Deployment, s.Restore)
	}
	c.edit(func(spec *streamv1.StreamJobSpec) { spec.RestartNonce = "" })
	c.running()
	o.rests(t)
	if job := c.job(); job.Status.Grant != 2 {
		t.Errorf("removing the nonce deployed grant %d", job.Status.Grant)
	}
}

// TestOperator_TakesACheckpointWhenAsked takes one checkpoint for a value of spec.checkpoint.trigger.
func TestOperator_TakesACheckpointWhenAsked(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.startTwo()
	c.edit(func(spec *streamv1.StreamJobSpec) { spec.Checkpoint = &streamv1.CheckpointNow{Trigger: "a"} })
	job := c.until("the checkpoint is complete", func(job *streamv1.StreamJob) error {
		if job.Status.CheckpointTrigger != "a" || job.Status.Operation != nil {
			return fmt.Errorf("the operation is %+v", job.Status.Operation)
		}
		return nil
	})
	if asked := c.storage.asked("Checkpoint"); len(asked) != 1 || job.Status.LastCheckpoint == nil || job.Status.LastCheckpoint.ID < 2 {
		t.Errorf("asked for %v, the last checkpoint is %+v", asked, job.Status.LastCheckpoint)
	}
}

// TestOperator_CancelsAndStartsAgain ends a job by spec.state and starts it again from what was kept.
func TestOperator_CancelsAndStartsAgain(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		silent    bool
		retention string
		effective string
	}{
		"kept":                       {false, checkpointing, "LastCheckpoint"},
		"deleted":                    {false, deleteOnCancel, "LastCheckpoint"},
		"a coordinator that is lost": {true, checkpointing, "LastCheckpoint"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.operate()
			c.create("parallelism: 2", bucket, tc.retention, dataflow)
			before := c.running()
			c.storage.set(func(s *script) { s.silent = tc.silent })
			c.edit(state(streamv1.StateCancelled))
			if tc.silent {
				c.until("it is asked for", func(job *streamv1.StreamJob) error {
					if job.Status.Operation == nil {
						return fmt.Errorf("there is no operation")
					}
					return nil
				})
				c.pass(time.Minute)
			}
			job := c.until("the job is cancelled", has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonCancelled))
			c.noPods()
			if job.Status.Phase != streamv1.PhaseCancelled || len(c.storage.lineage("j").savepoints()) != 0 {
				t.Errorf("phase %s, savepoints %+v", job.Status.Phase, c.storage.lineage("j").savepoints())
			}
			if tc.silent && c.storage.lineage("j").grant != job.Status.Grant {
				t.Errorf("the head is owned by grant %d, so the coordinator of grant 1 may go on", c.storage.lineage("j").grant)
			}
			c.storage.set(func(s *script) { s.silent = false })
			c.edit(state(streamv1.StateRunning))
			job = c.running()
			if r := job.Status.Restore; r.RequestedMode != "Resume" || r.EffectiveMode != tc.effective || job.Status.Job.ID != before.Status.Job.ID {
				t.Errorf("job %s restored from %+v", job.Status.Job.ID, r)
			}
		})
	}
}

// annotate sets the annotation that pauses the operator, or removes it.
func (c *cluster) annotate(value string) {
	c.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, streamv1.AnnotationPaused, value)
	if err := admin.Patch(c.t.Context(), c.job(), client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		c.t.Fatal(err)
	}
}

// TestOperator_Pauses does nothing for a StreamJob with the annotation, says so, and lets it be deleted.
func TestOperator_Pauses(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	o := c.operate()
	c.startTwo()
	c.annotate(`"true"`)
	c.until("the pause shows", has(streamv1.ConditionReconciling, metav1.ConditionFalse, streamv1.ReasonPaused))
	c.edit(parallelism(3))
	job := c.until("the pause holds up the edit", has(streamv1.ConditionReady, metav1.ConditionFalse, streamv1.ReasonPaused))
	o.rests(t)
	if err := has(streamv1.ConditionRunning, metav1.ConditionTrue, streamv1.ReasonRunning)(job); err != nil || c.job().Status.Grant != 1 {
		t.Errorf("grant %d, %v", c.job().Status.Grant, err)
	}
	c.annotate("null")
	if job := c.running(); job.Status.Parallelism != 3 {
		t.Errorf("the parallelism is %d", job.Status.Parallelism)
	}
	c.annotate(`"true"`)
	c.delete()
	c.gone()
	c.leftovers()
}

// TestOperator_DeletesByForce lets a StreamJob go whose coordinator does not answer, although a savepoint was to be taken.
func TestOperator_DeletesByForce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.startTwo("deletionPolicy: Savepoint")
	c.storage.set(func(s *script) { s.silent = true })
	c.delete()
	c.until("the deletion waits", has(streamv1.ConditionReady, metav1.ConditionFalse, streamv1.ReasonDeleting))
	c.edit(func(spec *streamv1.StreamJobSpec) { spec.Deletion = &streamv1.Deletion{Force: true} })
	c.gone()
	c.leftovers()
}

// TestOperator_StopsTryingASavepointAtTheDeadline cancels a job without a savepoint once deletion.deadline has passed.
func TestOperator_StopsTryingASavepointAtTheDeadline(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	c.startTwo("deletionPolicy: Savepoint", "deletion: {deadline: 5m}")
	c.storage.set(func(s *script) { s.savepoint = "no luck" })
	c.delete()
	c.until("the savepoint has failed", func(job *streamv1.StreamJob) error {
		if op := job.Status.Operation; op == nil || op.Phase != streamv1.OperationWaiting {
			return fmt.Errorf("the operation is %+v", op)
		}
		return nil
	})
	c.pass(5 * time.Minute)
	c.gone()
	c.leftovers()
	if l := c.storage.lineage("j"); len(l.savepoints()) != 0 || l.final != "Canceled" {
		t.Errorf("storage holds %+v", l)
	}
}

// TestOperator_StartsWithoutStateOnlyWithConsent starts a new lineage once for a value of upgrade.discardState.
func TestOperator_StartsWithoutStateOnlyWithConsent(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	before := c.startTwo()
	c.edit(func(spec *streamv1.StreamJobSpec) {
		spec.Parallelism, spec.Upgrade = 3, &streamv1.Upgrade{Mode: streamv1.UpgradeStateless, DiscardState: "a"}
	})
	job := c.running()
	s := &job.Status
	if s.DiscardedState != "a" || s.Job.ID == before.Status.Job.ID || s.Restore.EffectiveMode != "Stateless" || s.Restore.Path != "" || len(c.storage.started()) != 2 {
		t.Errorf("consent %q, job %s, restored from %+v, started %v", s.DiscardedState, s.Job.ID, s.Restore, c.storage.started())
	}
	c.edit(parallelism(4))
	job = c.until("the next edit is refused", has(streamv1.ConditionStalled, metav1.ConditionTrue, streamv1.ReasonStateWouldBeLost))
	if err := has(streamv1.ConditionRunning, metav1.ConditionTrue, streamv1.ReasonRunning)(job); err != nil || job.Status.Parallelism != 3 {
		t.Errorf("parallelism %d, %v", job.Status.Parallelism, err)
	}
	c.edit(func(spec *streamv1.StreamJobSpec) { spec.Upgrade = nil })
	if job = c.running(); job.Status.Restore.EffectiveMode != "Savepoint" || len(c.storage.started()) != 2 {
		t.Errorf("restored from %+v, started %v", job.Status.Restore, c.storage.started())
	}
}

// ofGrant keeps the pods of a grant from running: their image can't be pulled.
func ofGrant(grant string) func(*corev1.Pod) *corev1.PodStatus {
	return func(pod *corev1.Pod) *corev1.PodStatus {
		if pod.Labels[streamv1.LabelGrant] != grant || pod.Labels[streamv1.LabelComponent] == resources.AgentComponent {
			return nil
		}
		return &corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: pod.Spec.Containers[0].Name, Image: "weir:test",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "manifest unknown"}},
		}}}
	}
}

const stableSoon = "upgrade: {rollback: {stableCheckpoints: 1}}"

// isStable wants that the deployed version counts as stable.
func isStable(job *streamv1.StreamJob) error {
	if s := job.Status.LastStable; s == nil || s.Grant != job.Status.Deployment.Grant || job.Status.Stability != nil {
		return fmt.Errorf("stability %+v, last stable %+v", job.Status.Stability, s)
	}
	return nil
}

// isRolledBack wants that the stable version runs in place of the one that the spec asks for.
func isRolledBack(job *streamv1.StreamJob) error {
	if r := job.Status.Rollback; r == nil || r.Outcome != streamv1.RollbackCompleted {
		return fmt.Errorf("the rollback is %+v", r)
	}
	return has(streamv1.ConditionRolledBack, metav1.ConditionTrue, streamv1.ReasonRolledBack)(job)
}

// TestOperator_RollsBack goes back to the stable version when the pods of the next one cannot be started, and leaves the spec alone.
func TestOperator_RollsBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	o := c.operate()
	before := c.startTwo(stableSoon)
	c.until("the version is stable", isStable)
	c.keepPods(ofGrant("2"))
	c.edit(parallelism(3))
	c.until("the fault shows", has(streamv1.ConditionReady, metav1.ConditionFalse, streamv1.ReasonImagePullFailed))
	c.pass(11 * time.Second)
	job := c.until("the stable version runs", isRolledBack)
	s := &job.Status
	if job.Spec.Parallelism != 3 || s.Parallelism != 2 || s.Deployment.Revision != before.Status.Deployment.Revision || s.Deployment.Grant != 3 {
		t.Errorf("spec %d, status %d, deployment %+v", job.Spec.Parallelism, s.Parallelism, s.Deployment)
	}
	if len(c.storage.started()) != 1 || s.Restore.RequestedMode != "Rollback" || s.Restore.EffectiveMode != "Savepoint" || s.Restore.Path != s.LastUpgrade.Path {
		t.Errorf("started %v, restored from %+v, upgrade %+v", c.storage.started(), s.Restore, s.LastUpgrade)
	}
	if r := s.Rollback; r.Reason != streamv1.ReasonImagePullFailed || r.FromGeneration != 2 || len(s.History) != 3 || s.History[1].Outcome != streamv1.OutcomeRolledBack {
		t.Errorf("rollback %+v, history %+v", r, s.History)
	}
	for _, want := range []error{
		has(streamv1.ConditionReady, metav1.ConditionFalse, streamv1.ReasonRolledBack)(job), has(streamv1.ConditionStalled, metav1.ConditionTrue, streamv1.ReasonRolledBack)(job),
	} {
		if want != nil {
			t.Error(want)
		}
	}
	c.until("the stable version is stable again", isStable)
	o.rests(t)
	if got := c.job().Status.Deployment.Grant; got != 3 {
		t.Errorf("the version that was rolled back was tried again as grant %d", got)
	}
	c.keepPods(nil)
	c.edit(func(spec *streamv1.StreamJobSpec) { spec.RestartNonce = "again" })
	job = c.running()
	if job.Status.Parallelism != 3 || job.Status.Rollback != nil || job.Status.RestartNonce != "again" || len(c.storage.started()) != 1 {
		t.Errorf("parallelism %d, rollback %+v, nonce %q", job.Status.Parallelism, job.Status.Rollback, job.Status.RestartNonce)
	}
}

// TestOperator_DoesNotRollBackWhatWouldDoubleOutput leaves the version that failed where it is, and asks.
func TestOperator_DoesNotRollBackWhatWouldDoubleOutput(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		rewind *contract.Problem
		want   func(*streamv1.StreamJob) error
	}{
		"unsafe": {
			&contract.Problem{Reason: contract.RewindUnsafe, Message: "a sink has committed with snapshot 3"},
			has(streamv1.ConditionStalled, metav1.ConditionTrue, streamv1.ReasonRollbackBlocked),
		},
		"safe": {nil, has(streamv1.ConditionRolledBack, metav1.ConditionTrue, streamv1.ReasonRolledBack)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.operate()
			before := c.startTwo(stableSoon)
			c.until("the version is stable", isStable)
			c.edit(func(spec *streamv1.StreamJobSpec) {
				spec.Parallelism, spec.Upgrade.Rollback.StableCheckpoints = 3, 1000
			})
			c.running()
			c.storage.set(func(s *script) {
				s.judge = func(config contract.JobConfig) *contract.Problem {
					switch {
					case config.Parallelism == 3:
						return nil
					case config.RewindTo == "":
						return &contract.Problem{Reason: contract.IncompatibleState, Message: "operator a is of another type"}
					default:
						return tc.rewind
					}
				}
			})
			c.storage.fail("j", "no more attempts")
			job := c.until("it is decided", tc.want)
			r := job.Status.Rollback
			if r == nil || r.Reason != streamv1.ReasonJobFailed || r.Path == "" || r.ToRevision != before.Status.Deployment.Revision {
				t.Errorf("the rollback is %+v", r)
			}
			if len(c.storage.started()) != 1 || apimeta.IsStatusConditionTrue(job.Status.Conditions, streamv1.ConditionReady) {
				t.Errorf("started %v, conditions %+v", c.storage.started(), job.Status.Conditions)
			}
		})
	}
}
