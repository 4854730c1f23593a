// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"encoding/json"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// TestUpgrade_KeepsEveryRow edits the parallelism of a running job up and down.
func TestUpgrade_KeepsEveryRow(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "upgrade")
	job := s.start(s.ledger("ledger"))
	id := job.Status.Job.ID
	for i, parallelism := range []int{3, 2} {
		old := job
		job = s.rescale(job.Name, parallelism)
		s.wantUpgraded(old, job)
		if got := len(s.savepoints()); got != i+1 {
			t.Errorf("there are %d savepoints after %d upgrades", got, i+1)
		}
		job = s.progress(job)
	}
	if job.Status.Job.ID != id {
		t.Errorf("the upgrades changed the job from %s to %s", id, job.Status.Job.ID)
	}
	s.finish(job.Name)
}

// wantUpgraded checks what the status says of an upgrade through a savepoint.
func (s *scenario) wantUpgraded(old, job *streamv1.StreamJob) {
	s.Helper()
	st := &job.Status
	switch up := st.LastUpgrade; {
	case up == nil:
		s.Fatalf("there is no lastUpgrade\n%s", describe(job))
	case up.Path == "" || st.Restore == nil || st.Restore.Path != up.Path:
		s.Errorf("the upgrade went through savepoint %q, but the new version started from %+v", up.Path, st.Restore)
	case up.FromRevision != old.Status.Deployment.Revision || up.ToRevision != st.Deployment.Revision:
		s.Errorf("the upgrade went from %s to %s, want %s and %s", up.FromRevision, up.ToRevision, old.Status.Deployment.Revision, st.Deployment.Revision)
	default:
		s.Logf("upgrade: check %d ms, save %d ms, pods %d ms, restore %d ms", up.CheckMillis, up.SaveMillis, up.PodsMillis, up.RestoreMillis)
	}
	if st.Deployment.Grant <= old.Status.Deployment.Grant {
		s.Errorf("the new version has grant %d, the old one had %d", st.Deployment.Grant, old.Status.Deployment.Grant)
	}
	if st.LastCheckpoint.ID < old.Status.LastCheckpoint.ID {
		s.Errorf("checkpoint ids went from %d to %d", old.Status.LastCheckpoint.ID, st.LastCheckpoint.ID)
	}
}

// TestSuspend_ResumesFromExactlyThatSavepoint suspends a job, looks at what is left of it, and resumes it.
func TestSuspend_ResumesFromExactlyThatSavepoint(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "suspend")
	job := s.start(s.ledger("ledger"))
	job = s.suspend(job.Name)
	if job.Status.LastSavepoint == nil {
		t.Fatalf("there is no savepoint\n%s", describe(job))
	}
	savepoint := job.Status.LastSavepoint.Path
	s.gone(job.Name)
	rows := s.judge(job.Name).Rows

	job = s.resume(job.Name)
	if r := job.Status.Restore; r == nil || r.Path != savepoint || r.TakenAt.IsZero() || r.EstimatedReplayMillis == nil || *r.EstimatedReplayMillis != 0 {
		t.Errorf("it resumed from %+v, want %s, with nothing to process again", r, savepoint)
	}
	s.progress(job)
	s.finish(job.Name)
	if more := s.judge(job.Name).Rows; more <= rows {
		t.Errorf("it has %d rows after the resumption, had %d before", more, rows)
	}
}

// TestSavepoint_IsTakenOncePerTrigger asks a running job for savepoints.
func TestSavepoint_IsTakenOncePerTrigger(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "savepoint")
	job := s.start(s.ledger("ledger"))
	grant := job.Status.Deployment.Grant
	for i, trigger := range []string{"one", "two"} {
		s.patch(job.Name, `{"spec":{"savepoint":{"trigger":"`+trigger+`"}}}`)
		job = s.await(job.Name, "savepoint "+trigger, func(job *streamv1.StreamJob) string {
			if job.Status.SavepointTrigger != trigger {
				return "the newest is " + job.Status.SavepointTrigger
			}
			return isReady(job.Generation)(job)
		})
		if got := s.savepoints(); len(got) != i+1 {
			t.Errorf("there are %d savepoints after %d triggers: %v", len(got), i+1, got)
		}
	}
	s.patch(job.Name, `{"spec":{"savepoint":null}}`)
	job = s.progress(job)
	if got := s.savepoints(); len(got) != 2 {
		t.Errorf("there are %d savepoints after the trigger was removed", len(got))
	}
	if job.Status.Deployment.Grant != grant {
		t.Errorf("a savepoint restarted the job: grant %d became %d", grant, job.Status.Deployment.Grant)
	}
	s.finish(job.Name)
}

// TestPolicy_ReachesTheRunningJob changes what needs no restart.
func TestPolicy_ReachesTheRunningJob(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "policy")
	job := s.ledger("ledger")
	job.Spec.Checkpointing.Interval = seconds(600)
	s.create(job)
	job = s.await(job.Name, "a running job", isReady(1))
	pod, grant := s.pod(job, coordinator).UID, job.Status.Deployment.Grant
	generation := s.patch(job.Name, `{"spec":{"checkpointing":{"interval":"500ms"}}}`)
	s.await(job.Name, "checkpoints at the new interval", checkpointed(2))
	job = s.await(job.Name, "the new policy", isReady(generation))
	if job.Status.Deployment.Grant != grant || s.pod(job, coordinator).UID != pod {
		t.Errorf("a change of the interval restarted the job\n%s", describe(job))
	}
	s.finish(job.Name)
}

// TestInvalidEdit_KeepsTheOldVersion edits a running job in ways that can't work.
func TestInvalidEdit_KeepsTheOldVersion(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "invalid")
	job := s.start(s.ledger("ledger"))
	old := job.Status.Deployment
	good := job.Spec.Dataflow

	broken := good.DeepCopy()
	broken.Operators[4].Map.Columns[1].Expression = "seqq + 1"
	s.refuse(job, broken, old, []string{streamv1.ReasonInvalidSpec, streamv1.ReasonCheckFailed, streamv1.ReasonInvalidJob}, "seqq")

	unfit := good.DeepCopy()
	unfit.Operators[2].Aggregate.Aggregates[1].Function = streamv1.MinFunction
	s.refuse(job, unfit, old, []string{streamv1.ReasonCheckFailed, streamv1.ReasonIncompatibleState}, "totals")

	generation := s.edit(job.Name, good)
	job = s.await(job.Name, "the way back", running(generation))
	if job.Status.Deployment.Grant != old.Grant {
		t.Errorf("the way back to what runs restarted the job: %+v became %+v", old, job.Status.Deployment)
	}
	s.rescale(job.Name, 3)
	s.finish(job.Name)
}

// edit replaces the dataflow of a job.
func (s *scenario) edit(name string, d *streamv1.Dataflow) int64 {
	s.Helper()
	b, err := json.Marshal(map[string]any{"spec": map[string]any{"dataflow": d}})
	if err != nil {
		s.Fatal(err)
	}
	return s.patch(name, string(b))
}

// refuse gives a job a dataflow that can't work, and wants a condition that says so while the old version goes on.
func (s *scenario) refuse(job *streamv1.StreamJob, d *streamv1.Dataflow, old *streamv1.DeploymentReport, reasons []string, text string) {
	s.Helper()
	generation := s.edit(job.Name, d)
	job = s.awaitWithin(conditionTimeout, job.Name, "the refusal", refused(generation, reasons, text))
	if got := job.Status.Deployment; got.Grant != old.Grant || got.Revision != old.Revision {
		s.Errorf("deployed is %+v, want %+v", got, old)
	}
	s.progress(job)
	if missing := is(s.job(job.Name), streamv1.ConditionRunning, metav1.ConditionTrue); missing != "" {
		s.Error(missing)
	}
}

// TestProgram_UpgradesToANewImage runs a program of one's own, and gives it a new image.
func TestProgram_UpgradesToANewImage(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "program")
	job := s.start(s.program("ledger", "weir-ledger:v1"))
	old := job
	generation := s.patch(job.Name, `{"spec":{"program":{"image":"weir-ledger:v2"}}}`)
	job = s.await(job.Name, "the new image", func(job *streamv1.StreamJob) string {
		return first(upgraded(generation, 2)(job), is(job, streamv1.ConditionRunning, metav1.ConditionTrue))
	})
	s.wantUpgraded(old, job)
	s.progress(job)
	s.suspend(job.Name)
	s.judge(job.Name)
	editions := map[string]int{}
	s.lines(s.out(job.Name, "rows"), func(line []byte) error {
		var row struct{ Edition string }
		err := json.Unmarshal(line, &row)
		editions[row.Edition]++
		return err
	})
	if len(editions) != 2 || editions["v1"] == 0 || editions["v2"] == 0 {
		t.Errorf("the rows are by %v, want some by v1 and some by v2", editions)
	}
}

// TestChildren_AreMadeAgain deletes what the operator made of a job.
func TestChildren_AreMadeAgain(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "children")
	job := s.start(s.ledger("ledger"))
	var before []string
	for _, o := range s.children(job) {
		before = append(before, o.GetName())
		if err := suite.client.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	s.eventually("the same children", func() string {
		var now []string
		for _, o := range s.children(job) {
			if o.GetDeletionTimestamp() == nil {
				now = append(now, o.GetName())
			}
		}
		if slices.Sort(now); !slices.Equal(now, sorted(before)) {
			return "there are " + join(now)
		}
		return ""
	})
	s.progress(job)
	job = s.await(job.Name, "a running job", running(1))
	s.finish(job.Name)
}

// children lists the Deployment, StatefulSet, Service and ConfigMap of a job.
func (s *scenario) children(job *streamv1.StreamJob) []client.Object {
	s.Helper()
	return s.objects(client.MatchingLabels{streamv1.LabelJob: job.Name})
}
