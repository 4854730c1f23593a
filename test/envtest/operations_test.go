// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/contract"
)

// interruptions are all operations that an operator may be interrupted in.
func interruptions() map[string]interruption {
	return map[string]interruption{
		"start": starting(), "adopt": adopting(), "upgrade": upgrading(), "upgrade warm": upgradingWarm(), "upgrade from a checkpoint": upgradingFromACheckpoint(),
		"restart": restarting(), "start without state": startingWithoutState(), "rollback": rollingBack(), "suspend": suspending(), "resume": resuming(),
		"savepoint": takingASavepoint(), "checkpoint": takingACheckpoint(), "cancel": canceling(), "delete": deleting(), "delete by an agent": deletingByAnAgent(),
		"edit the policy": editingThePolicy(), "complete": completing(), "delete by force": deletingByForce(), "fork": forking(),
	}
}

// onlyOneVersion says that the job runs, and that nothing of another version or of agents is left.
func onlyOneVersion(c *cluster, job *streamv1.StreamJob) bool {
	return isRunning(c, job) && len(c.children(&corev1.ConfigMapList{})) == 1 && len(c.children(&corev1.PodList{})) == 2
}

// isGone says that there is no StreamJob any more.
func isGone(_ *cluster, job *streamv1.StreamJob) bool { return job == nil }

func twoRunning(c *cluster) *streamv1.StreamJob { return c.startTwo() }

func starting() interruption {
	return interruption{
		begin: func(*cluster) *streamv1.StreamJob { return nil },
		act:   func(c *cluster) { c.create("parallelism: 2", bucket, checkpointing, dataflow) },
		done:  isRunning,
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			job := c.running()
			if l := c.storage.lineage("j"); job.Status.Grant != 1 || l.claims != 1 || len(c.storage.started()) != 1 {
				t.Errorf("grant %d, storage holds %+v, started empty %v", job.Status.Grant, l, c.storage.started())
			}
		},
	}
}

func upgrading() interruption {
	return interruption{
		begin: twoRunning,
		act:   func(c *cluster) { c.edit(parallelism(3)) },
		done:  onlyOneVersion,
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			checkUpgraded(t, c, before, c.running())
		},
	}
}

func suspending() interruption {
	return interruption{
		begin: twoRunning,
		act:   func(c *cluster) { c.edit(state(streamv1.StateSuspended)) },
		done: func(c *cluster, job *streamv1.StreamJob) bool {
			return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonSuspended)(job) == nil && len(c.children(&corev1.ServiceList{})) == 0
		},
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			job := c.suspended()
			c.noPods()
			if saved := c.storage.lineage("j").savepoints(); len(saved) != 1 || job.Status.LastSavepoint.Path != saved[0].Path {
				t.Errorf("savepoints %+v, last %+v", saved, job.Status.LastSavepoint)
			}
		},
	}
}

func canceling() interruption {
	return interruption{
		begin: twoRunning,
		act:   func(c *cluster) { c.edit(state(streamv1.StateCancelled)) },
		done: func(c *cluster, job *streamv1.StreamJob) bool {
			return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonCancelled)(job) == nil && len(c.children(&corev1.ServiceList{})) == 0
		},
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			c.until("the job is cancelled", has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonCancelled))
			c.noPods()
			if l := c.storage.lineage("j"); l.final != "Canceled" || len(l.savepoints()) != 0 || len(c.storage.asked("Cancel")) != 1 {
				t.Errorf("storage holds %+v after %v", l, c.storage.asked(""))
			}
		},
	}
}

func rollingBack() interruption {
	return interruption{
		begin: func(c *cluster) *streamv1.StreamJob {
			c.startTwo(stableSoon)
			c.storage.set(func(s *script) {
				s.refuse = func(config contract.JobConfig) *contract.Problem {
					if config.Parallelism == 3 {
						return &contract.Problem{Reason: contract.InvalidJob, Message: "three is one too many"}
					}
					return nil
				}
			})
			return c.until("the version is stable", isStable)
		},
		act: func(c *cluster) { c.edit(parallelism(3)) },
		done: func(c *cluster, job *streamv1.StreamJob) bool {
			return isRolledBack(job) == nil && isStable(job) == nil && len(c.children(&corev1.ConfigMapList{})) == 1 && len(c.children(&corev1.PodList{})) == 2
		},
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			job := c.until("the stable version runs", isRolledBack)
			s, l := &job.Status, c.storage.lineage("j")
			if s.Deployment.Revision != before.Status.Deployment.Revision || s.Grant != 3 || len(l.savepoints()) != 1 || len(c.storage.started()) != 1 ||
				s.Restore.Path != l.savepoints()[0].Path || len(s.History) != 3 {
				t.Errorf("deployment %+v, grant %d, savepoints %+v, started %v, restored from %+v, history %+v",
					s.Deployment, s.Grant, l.savepoints(), c.storage.started(), s.Restore, s.History)
			}
		},
	}
}

func deleting() interruption {
	return interruption{
		begin: func(c *cluster) *streamv1.StreamJob {
			c.create("parallelism: 2", bucket, deleteOnCancel, "deletionPolicy: Savepoint", dataflow)
			return c.running()
		},
		act:  func(c *cluster) { c.delete() },
		done: isGone,
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			c.gone()
			c.leftovers()
			if l := c.storage.lineage("j"); len(l.savepoints()) != 1 || len(l.checkpoints) != 0 || l.final != "Canceled" {
				t.Errorf("storage holds %+v", l)
			}
		},
	}
}

func resuming() interruption {
	return interruption{
		begin: func(c *cluster) *streamv1.StreamJob {
			c.startTwo()
			c.edit(state(streamv1.StateSuspended))
			job := c.suspended()
			c.noPods()
			return job
		},
		act:  func(c *cluster) { c.edit(state(streamv1.StateRunning)) },
		done: onlyOneVersion,
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			job := c.running()
			s, l := &job.Status, c.storage.lineage("j")
			if s.Restore.Path != before.Status.LastSavepoint.Path || s.Job.ID != before.Status.Job.ID || l.grant != s.Grant || len(l.savepoints()) != 1 ||
				l.claims != 2 || len(c.storage.started()) != 1 {
				t.Errorf("restored from %+v, want %+v; storage holds %+v", s.Restore, before.Status.LastSavepoint, l)
			}
		},
	}
}

func restarting() interruption {
	return interruption{
		begin: twoRunning,
		act:   func(c *cluster) { c.edit(func(spec *streamv1.StreamJobSpec) { spec.RestartNonce = "a" }) },
		done:  onlyOneVersion,
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			job := c.running()
			s, l := &job.Status, c.storage.lineage("j")
			if s.RestartNonce != "a" || s.Grant != 2 || s.Deployment.Revision != before.Status.Deployment.Revision || s.Restore.EffectiveMode != "Savepoint" ||
				len(l.savepoints()) != 1 || l.claims != 2 || len(c.storage.started()) != 1 {
				t.Errorf("nonce %q, grant %d, deployment %+v, restored from %+v, storage holds %+v", s.RestartNonce, s.Grant, s.Deployment, s.Restore, l)
			}
		},
	}
}

func takingASavepoint() interruption {
	return interruption{
		few:   true,
		begin: twoRunning,
		act: func(c *cluster) {
			c.edit(func(spec *streamv1.StreamJobSpec) { spec.Savepoint = &streamv1.Savepoint{Trigger: "a"} })
		},
		done: func(_ *cluster, job *streamv1.StreamJob) bool {
			return job.Status.SavepointTrigger == "a" && job.Status.Operation == nil
		},
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			job := c.until("the savepoint is complete", triggered("a", ""))
			saved := c.storage.lineage("j").savepoints()
			if len(saved) != 1 || len(c.storage.asked("Savepoint")) != 1 || job.Status.LastSavepoint.Path != saved[0].Path || job.Status.Grant != 1 {
				t.Errorf("savepoints %+v after %v, the last is %+v, grant %d", saved, c.storage.asked(""), job.Status.LastSavepoint, job.Status.Grant)
			}
		},
	}
}

func takingACheckpoint() interruption {
	return interruption{
		few:   true,
		begin: twoRunning,
		act: func(c *cluster) {
			c.edit(func(spec *streamv1.StreamJobSpec) { spec.Checkpoint = &streamv1.CheckpointNow{Trigger: "a"} })
		},
		done: func(_ *cluster, job *streamv1.StreamJob) bool {
			return job.Status.CheckpointTrigger == "a" && job.Status.Operation == nil
		},
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			job := c.until("the checkpoint is complete", triggered("", "a"))
			if asked := c.storage.asked("Checkpoint"); len(asked) != 1 || c.storage.lineage("j").last != 2 || job.Status.LastCheckpoint.ID != 2 || job.Status.Grant != 1 {
				t.Errorf("after %v the last checkpoint is %+v, storage holds %+v", asked, job.Status.LastCheckpoint, c.storage.lineage("j"))
			}
		},
	}
}

// triggered wants that what was asked for by trigger was done.
func triggered(savepoint, checkpoint string) func(*streamv1.StreamJob) error {
	return func(job *streamv1.StreamJob) error {
		if s := &job.Status; s.SavepointTrigger != savepoint || s.CheckpointTrigger != checkpoint || s.Operation != nil {
			return fmt.Errorf("the triggers are %q and %q, the operation is %+v", s.SavepointTrigger, s.CheckpointTrigger, s.Operation)
		}
		return has(streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonRunning)(job)
	}
}

func upgradingFromACheckpoint() interruption {
	return interruption{
		begin: func(c *cluster) *streamv1.StreamJob {
			c.startTwo("upgrade: {mode: LastCheckpoint}")
			return c.until("a checkpoint is known", func(job *streamv1.StreamJob) error {
				if job.Status.LastCheckpoint == nil {
					return fmt.Errorf("there is none")
				}
				return nil
			})
		},
		act:  func(c *cluster) { c.edit(parallelism(3)) },
		done: onlyOneVersion,
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			job := c.running()
			s, l := &job.Status, c.storage.lineage("j")
			if s.Restore.EffectiveMode != "LastCheckpoint" || s.Restore.Path != before.Status.LastCheckpoint.Path || s.Parallelism != 3 || s.Job.ID != before.Status.Job.ID {
				t.Errorf("restored from %+v, want %+v", s.Restore, before.Status.LastCheckpoint)
			}
			if len(c.storage.asked("Stop")) != 0 || len(l.savepoints()) != 0 || l.claims != 2 || l.grant != s.Grant || len(c.storage.started()) != 1 {
				t.Errorf("grant %d, storage holds %+v after %v", s.Grant, l, c.storage.asked(""))
			}
		},
	}
}

// upgradingWarm has the pods of the new version stand by before the old one is stopped. When it is interrupted for so long that they don't
// in time, it goes on without.
func upgradingWarm() interruption {
	return interruption{
		begin: func(c *cluster) *streamv1.StreamJob { return c.startTwo("upgrade: {surge: IfPossible}") },
		act:   func(c *cluster) { c.edit(parallelism(3)) },
		done:  onlyOneVersion,
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			checkUpgraded(t, c, before, c.running())
			if l := c.storage.lineage("j"); l.claims != 2 {
				t.Errorf("storage holds %+v", l)
			}
		},
	}
}

// startingWithoutState begins a new lineage, after an agent has claimed the head of the old one.
func startingWithoutState() interruption {
	return interruption{
		begin: twoRunning,
		act: func(c *cluster) {
			c.edit(func(spec *streamv1.StreamJobSpec) {
				spec.Parallelism, spec.Upgrade = 3, &streamv1.Upgrade{Mode: streamv1.UpgradeStateless, DiscardState: "a"}
			})
		},
		done: onlyOneVersion,
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			job := c.running()
			s, l := &job.Status, c.storage.lineage("j")
			started := c.storage.started()
			if s.DiscardedState != "a" || s.Job.ID == before.Status.Job.ID || s.Restore.EffectiveMode != "Stateless" || s.Restore.Path != "" || s.Parallelism != 3 {
				t.Errorf("consent %q, job %s, restored from %+v", s.DiscardedState, s.Job.ID, s.Restore)
			}
			if len(started) != 2 || started[1] != s.Job.ID || l.id != s.Job.ID || l.claims != 1 || l.grant != s.Grant {
				t.Errorf("started empty %v, storage holds %+v", started, l)
			}
			if fence := c.storage.fenced(); len(fence) == 0 || fence[0] != before.Status.Job.ID {
				t.Errorf("the heads of the jobs %v were claimed, not that of %s", fence, before.Status.Job.ID)
			}
		},
	}
}

// adopting finds the state of an earlier StreamJob of the same name.
func adopting() interruption {
	checkpoint := contract.SnapshotInfo{ID: 41, Kind: "Checkpoint", Path: "s3://bkt/old/checkpoints/chk-41"}
	return interruption{
		begin: func(*cluster) *streamv1.StreamJob { return nil },
		act: func(c *cluster) {
			c.storage.retain("j", lineage{
				id: "old", grant: 7, claims: 9, final: "Canceled", last: 41, newest: &checkpoint, retired: []contract.SnapshotInfo{checkpoint},
			})
			c.create("parallelism: 2", bucket, checkpointing, dataflow)
		},
		done: onlyOneVersion,
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			job := c.running()
			s, l := &job.Status, c.storage.lineage("j")
			if s.Job.ID != "old" || s.Grant < 8 || s.Restore.EffectiveMode != "Adopted" || s.Restore.Path != checkpoint.Path || l.grant != s.Grant || l.claims != 10 ||
				len(c.storage.started()) != 0 {
				t.Errorf("job %+v, grant %d, restored from %+v; storage holds %+v, started empty %v", s.Job, s.Grant, s.Restore, l, c.storage.started())
			}
		},
	}
}

// deletingByAnAgent deletes a job whose coordinator does not answer: an agent deletes its checkpoints.
func deletingByAnAgent() interruption {
	return interruption{
		begin: func(c *cluster) *streamv1.StreamJob {
			c.create("parallelism: 2", bucket, deleteOnCancel, dataflow)
			job := c.running()
			c.storage.set(func(s *script) { s.silent = true })
			return job
		},
		act:  func(c *cluster) { c.delete() },
		done: (*cluster).waitsForNobody,
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			c.eventually("the StreamJob is gone", func() error {
				if !c.waitsForNobody(c.job()) {
					return fmt.Errorf("it is still there")
				}
				return nil
			})
			c.leftovers()
			if l := c.storage.lineage("j"); len(l.checkpoints) != 0 || l.grant < 2 || len(l.savepoints()) != 0 {
				t.Errorf("storage holds %+v", l)
			}
		},
	}
}

// waitsForNobody lets time pass as long as the operator waits for a coordinator that does not answer. It says whether the StreamJob is gone.
func (c *cluster) waitsForNobody(job *streamv1.StreamJob) bool {
	if job == nil {
		return true
	}
	if op := job.Status.Operation; op != nil && op.Phase != streamv1.OperationDisposing {
		c.clock.pass(time.Second)
	}
	return false
}

// TestOperator_UpgradesWarm has the pods of the new version there before the old one is stopped.
func TestOperator_UpgradesWarm(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.operate()
	i := upgradingWarm()
	before := i.begin(c)
	c.storage.set(func(s *script) { s.slow = true })
	i.act(c)
	c.eventually("the old version is being stopped", func() error {
		if len(c.storage.asked("Stop j/1 ")) == 0 {
			return fmt.Errorf("nobody has asked for it")
		}
		return nil
	})
	pods := c.children(&corev1.PodList{})
	if n := len(slices.DeleteFunc(pods, func(name string) bool { return !strings.HasPrefix(name, "j-2-") })); n < 2 || len(c.storage.asked("Activate")) != 0 {
		t.Errorf("the pods were %v when the old version was stopped, after %v", pods, c.storage.asked(""))
	}
	c.storage.set(func(s *script) { s.slow = false })
	i.end(t, c, before)
	if asked := c.storage.asked("Activate"); len(asked) != 1 || asked[0] != "Activate j/2" {
		t.Errorf("the coordinator was activated by %v", asked)
	}
}

// editingThePolicy edits what the engine takes up without a restart.
func editingThePolicy() interruption {
	const interval = 3 * time.Second
	inForce := func(c *cluster) (is time.Duration) {
		c.storage.change("j", func(p *coordinator) { is = p.config.Checkpointing.Interval.D() })
		return is
	}
	return interruption{
		few:   true,
		begin: twoRunning,
		act: func(c *cluster) {
			c.edit(func(spec *streamv1.StreamJobSpec) { spec.Checkpointing.Interval.Duration = interval })
		},
		done: func(c *cluster, job *streamv1.StreamJob) bool { return isRunning(c, job) && inForce(c) == interval },
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			job := c.running()
			if job.Status.Grant != 1 || job.Status.Deployment.Revision != before.Status.Deployment.Revision || inForce(c) != interval || len(c.storage.asked("Stop")) != 0 {
				t.Errorf("deployment %+v, interval %v, commands %v", job.Status.Deployment, inForce(c), c.storage.asked(""))
			}
		},
	}
}

// completing is for a job that has read all its input.
func completing() interruption {
	return interruption{
		few:   true,
		begin: twoRunning,
		act:   func(c *cluster) { c.storage.finish("j") },
		done: func(c *cluster, job *streamv1.StreamJob) bool {
			return isCompleted(job) == nil && len(c.children(&corev1.ServiceList{})) == 0
		},
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			job := c.until("the job has completed", isCompleted)
			c.noPods()
			if l := c.storage.lineage("j"); job.Status.Grant != 1 || l.claims != 1 || l.final != "Finished" {
				t.Errorf("grant %d, storage holds %+v", job.Status.Grant, l)
			}
		},
	}
}

// deletingByForce lets a StreamJob go whose coordinator doesn't answer.
func deletingByForce() interruption {
	return interruption{
		few: true, blind: true,
		begin: func(c *cluster) *streamv1.StreamJob {
			c.startTwo("deletionPolicy: Savepoint", "deletion: {force: true}")
			c.storage.set(func(s *script) { s.silent = true })
			return c.job()
		},
		act:  func(c *cluster) { c.delete() },
		done: isGone,
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			c.gone()
			c.leftovers()
			if got := c.storage.asked("Stop"); len(got) != 0 {
				t.Errorf("it was asked for a savepoint: %v", got)
			}
		},
	}
}

// forking starts a job from the savepoint of another one.
func forking() interruption {
	const path = "s3://bkt/savepoints/old/"
	return interruption{
		begin: func(c *cluster) *streamv1.StreamJob {
			c.storage.retain("elsewhere", lineage{id: "old", retired: []contract.SnapshotInfo{{ID: 5, Kind: "Savepoint", Path: path}}})
			return nil
		},
		act: func(c *cluster) {
			c.create("parallelism: 2", bucket, checkpointing, dataflow, "restoreFrom: {path: '"+path+"'}")
		},
		done: isRunning,
		end: func(t *testing.T, c *cluster, before *streamv1.StreamJob) {
			t.Helper()
			job := c.running()
			if r := job.Status.Restore; r == nil || r.EffectiveMode != "RestoreFrom" || r.Path != path || job.Status.Grant != 1 || c.storage.lineage("j").claims != 1 {
				t.Errorf("restored from %+v, grant %d, storage holds %+v", r, job.Status.Grant, c.storage.lineage("j"))
			}
		},
	}
}
