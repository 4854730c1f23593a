// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
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
	job = s.await("ledger", "the rollback", func(job *streamv1.StreamJob) string {
		return first(is(job, streamv1.ConditionRolledBack, metav1.ConditionTrue), is(job, streamv1.ConditionRunning, metav1.ConditionTrue))
	})
	t.Logf("rolled back: %s", message(job, streamv1.ConditionRolledBack))
	s.wantRolledBack(job, good)
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

// wantRolledBack checks what the status says after a rollback.
func (s *scenario) wantRolledBack(job *streamv1.StreamJob, good streamv1.DeploymentReport) {
	s.Helper()
	st := &job.Status
	if st.Deployment.Revision != good.Revision {
		s.Errorf("revision %s runs, want the stable one, %s", st.Deployment.Revision, good.Revision)
	}
	r := st.Rollback
	if r == nil || r.Reason == "" || r.Message == "" || r.ToRevision != good.Revision {
		s.Fatalf("status.rollback is %+v, want its cause and revision %s", r, good.Revision)
	}
	if took := r.CompletedAt.Sub(r.At.Time); took > wantRollback {
		s.Errorf("the rollback took %v, want at most %v", took, wantRollback)
	} else {
		s.Logf("%s: %v from the cause until the stable version ran (times in whole seconds)", r.Reason, took)
	}
	if !slices.ContainsFunc(st.History, func(h streamv1.HistoryEntry) bool { return h.Outcome == streamv1.OutcomeRolledBack && h.Message != "" }) {
		s.Errorf("the history does not tell of it: %+v", st.History)
	}
	if is(job, streamv1.ConditionReady, metav1.ConditionTrue) == "" {
		s.Errorf("the job is ready, though its spec is not in force\n%s", describe(job))
	}
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
