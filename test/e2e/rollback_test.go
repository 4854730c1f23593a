// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// wantRollback is how long it may take from the cause of a rollback until the stable version runs again.
const wantRollback = 30 * time.Second

// TestRollback_VersionThatCrashes upgrades a job to a version that writes for half a minute and crashes then, over and over. The job must go back to
// the version before, from its newest state, and lose or double nothing of what the failed version has written.
func TestRollback_VersionThatCrashes(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "rollback")
	job := s.ledger("ledger")
	job.Spec.Upgrade.Rollback = &streamv1.Rollback{StableCheckpoints: 2, MaxRestarts: new(int32(1))}
	s.start(job)
	job = s.stable("ledger")
	good := *job.Status.Deployment

	// Each key gets ten rows a second.
	bad := job.DeepCopy()
	bad.Spec.Upgrade.Rollback.StableCheckpoints = 1000
	setRows(bad, "seq > 500 ? seq / (seq - seq) : seq")
	s.update(bad)
	s.await("ledger", "the version that will crash", running(bad.Generation))
	deployed := time.Now()
	var failed time.Time // when a task first did, by the coordinator
	asker := &asker{scenario: s}
	job = s.rolledBack("ledger", func(job *streamv1.StreamJob) {
		status, err := asker.ask(job)
		if err == nil && failed.IsZero() && status.LastFailure != nil && status.LastFailure.At.After(deployed) {
			failed = status.LastFailure.At
		}
	})
	s.wantRolledBack(job, good, failed)
	if got := job.Spec.Dataflow.Operators; rowsOf(got) != "seq > 500 ? seq / (seq - seq) : seq" {
		t.Errorf("the rollback changed the spec: %v", rowsOf(got))
	}
	job = s.progress(job)
	s.while(5*time.Second, "after the rollback", func() string {
		return is(s.job("ledger"), streamv1.ConditionRolledBack, metav1.ConditionTrue)
	})

	setRows(job, "seq")
	s.update(job)
	job = s.await("ledger", "the repaired version", running(job.Generation))
	if missing := is(job, streamv1.ConditionRolledBack, metav1.ConditionFalse); missing != "" {
		t.Error(missing)
	}
	s.finish("ledger")
}

// TestRollback_ImageThatDoesNotExist upgrades a job to a version whose workers need an image that nobody has, which is found out when they are to start.
func TestRollback_ImageThatDoesNotExist(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "absent")
	job := s.ledger("ledger")
	job.Spec.Upgrade.Rollback = &streamv1.Rollback{StableCheckpoints: 1}
	s.start(job)
	job = s.stable("ledger")
	good := *job.Status.Deployment

	s.respec(job.Name, func(spec *streamv1.StreamJobSpec) { spec.Workers = withAbsentImage(spec.Workers) })
	var made time.Time // a pod can't be pulled for before it is there
	job = s.rolledBack("ledger", func(job *streamv1.StreamJob) {
		if job.Status.Deployment.Grant == good.Grant {
			return
		}
		for _, pod := range s.pods(job, worker) {
			if at := pod.CreationTimestamp.Time; len(pod.Spec.InitContainers) > 0 && (made.IsZero() || at.Before(made)) {
				made = at
			}
		}
	})
	if !strings.Contains(message(job, streamv1.ConditionRolledBack), absentImage) {
		t.Errorf("the condition does not name image %s: %s", absentImage, message(job, streamv1.ConditionRolledBack))
	}
	s.wantRolledBack(job, good, made)
	job = s.progress(job)
	s.finish(job.Name)
}

// absentImage is one that can't be pulled.
const absentImage = "registry.invalid/nobody/nothing:v0"

// withAbsentImage has workers need an image that can't be pulled.
func withAbsentImage(w *streamv1.Workers) *streamv1.Workers {
	if w = w.DeepCopy(); w == nil {
		w = &streamv1.Workers{}
	}
	w.PodTemplate = &streamv1.PodTemplate{InitContainers: []streamv1.InitContainer{{Name: "absent", Image: absentImage}}}
	return w
}

// rolledBack waits until a job has gone back to its stable version and that runs, and has each state of the job on the way looked at.
func (s *scenario) rolledBack(name string, look func(*streamv1.StreamJob)) *streamv1.StreamJob {
	s.Helper()
	job := s.await(name, "the rollback", func(job *streamv1.StreamJob) string {
		look(job)
		return first(is(job, streamv1.ConditionRolledBack, metav1.ConditionTrue), is(job, streamv1.ConditionRunning, metav1.ConditionTrue))
	})
	s.Logf("rolled back: %s", message(job, streamv1.ConditionRolledBack))
	return job
}

// TestRollback_OperatorAndCoordinatorKilled kills the operator and the process of the newest coordinator while a rollback checks the stable version, and again while
// it starts it. Other tests wait meanwhile: they share the operator.
func TestRollback_OperatorAndCoordinatorKilled(t *testing.T) {
	s := newScenario(t, "twice")
	job := s.ledger("ledger")
	job.Spec.Upgrade.Rollback = &streamv1.Rollback{StableCheckpoints: 1, MaxRestarts: new(int32(1))}
	s.start(job)
	job = s.stable("ledger")
	good := *job.Status.Deployment
	bad := job.DeepCopy()
	setRows(bad, "seq / (seq - seq)")
	begin := func() { s.update(bad) }
	for _, phase := range []streamv1.OperationPhase{streamv1.OperationChecking, streamv1.OperationStarting} {
		s.watch("ledger", fmt.Sprintf("a rollback in phase %s", phase), begin, func(job *streamv1.StreamJob) bool {
			return inPhase(streamv1.RollbackOperation, phase)(job) == ""
		})
		s.killOperator(phase == streamv1.OperationStarting)
		s.killNewest("ledger", coordinator, s.job("ledger").Status.Deployment.Grant) // in phase Starting that of the stable version
		t.Logf("killed the operator and the newest coordinator in phase %s", phase)
		begin = func() {}
	}
	job = s.rolledBack("ledger", func(*streamv1.StreamJob) {})
	s.wantRollbackTold(job, good)
	if notes := s.events("ledger", "RollingBack"); len(notes) != 1 {
		t.Errorf("there are %d rollbacks, want one: %q", len(notes), notes)
	}
	s.progress(job)
	s.finish("ledger")
}

// stable waits until the first version of a job counts as stable.
func (s *scenario) stable(name string) *streamv1.StreamJob {
	s.Helper()
	return s.await(name, "a stable version", func(job *streamv1.StreamJob) string {
		if job.Status.LastStable == nil || job.Status.LastStable.Grant != 1 {
			return fmt.Sprintf("stable is %+v, on the way %+v", job.Status.LastStable, job.Status.Stability)
		}
		return ""
	})
}

// wantRolledBack checks what the status says after a rollback, and that it took no longer than it may since its cause.
func (s *scenario) wantRolledBack(job *streamv1.StreamJob, good streamv1.DeploymentReport, cause time.Time) {
	s.Helper()
	r := s.wantRollbackTold(job, good)
	if cause.IsZero() {
		s.Fatalf("nobody has seen the cause of the rollback: %+v", r)
	}
	took := r.CompletedAt.Sub(cause).Round(100 * time.Millisecond)
	s.Logf("%s: %v from the cause, %v from the decision of the operator until the stable version ran (times in whole seconds)", r.Reason, took, r.CompletedAt.Sub(r.At.Time))
	if took > wantRollback {
		s.Errorf("the rollback took %v since its cause, want at most %v", took, wantRollback)
	}
}

// wantRollbackTold checks what the status says after a rollback.
func (s *scenario) wantRollbackTold(job *streamv1.StreamJob, good streamv1.DeploymentReport) *streamv1.RollbackReport {
	s.Helper()
	st := &job.Status
	if st.Deployment.Revision != good.Revision {
		s.Errorf("revision %s runs, want the stable one, %s", st.Deployment.Revision, good.Revision)
	}
	r := st.Rollback
	if r == nil || r.Reason == "" || r.Message == "" || r.ToRevision != good.Revision || r.CompletedAt.IsZero() {
		s.Fatalf("status.rollback is %+v, want its cause, revision %s and when that ran", r, good.Revision)
	}
	if !slices.ContainsFunc(st.History, func(h streamv1.HistoryEntry) bool { return h.Outcome == streamv1.OutcomeRolledBack && h.Message != "" }) {
		s.Errorf("the history does not tell of it: %+v", st.History)
	}
	if is(job, streamv1.ConditionReady, metav1.ConditionTrue) == "" {
		s.Errorf("the job is ready, though its spec is not in force\n%s", describe(job))
	}
	return r
}

// setRows sets the expression of what a ledger writes as the number of a row.
func setRows(job *streamv1.StreamJob, e streamv1.Expression) {
	for i := range job.Spec.Dataflow.Operators {
		if o := &job.Spec.Dataflow.Operators[i]; o.Name == "rows" {
			o.Map.Columns[1].Expression = e
		}
	}
}

func rowsOf(operators []streamv1.Operator) streamv1.Expression {
	for i := range operators {
		if operators[i].Name == "rows" {
			return operators[i].Map.Columns[1].Expression
		}
	}
	return ""
}

// update writes the spec of a job over what is there.
func (s *scenario) update(job *streamv1.StreamJob) {
	s.Helper()
	s.eventually("the new spec to be taken", func() string {
		now := s.job(job.Name)
		now.Spec = job.Spec
		if err := suite.client.Update(s.Context(), now); err != nil {
			return err.Error()
		}
		job.Generation = now.Generation
		return ""
	})
}
