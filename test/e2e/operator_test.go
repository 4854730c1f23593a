// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
)

// upgradeKinds are upgrades whose pods start after the old version has stopped, and before, with the phases that they go through.
func upgradeKinds() map[streamv1.Surge][]streamv1.OperationPhase {
	return map[streamv1.Surge][]streamv1.OperationPhase{
		streamv1.SurgeNever:      phases(),
		streamv1.SurgeIfPossible: {streamv1.OperationChecking, streamv1.OperationWarming, streamv1.OperationSaving, streamv1.OperationStarting},
	}
}

// phases are those of an upgrade.
func phases() []streamv1.OperationPhase {
	return []streamv1.OperationPhase{streamv1.OperationChecking, streamv1.OperationSaving, streamv1.OperationStarting}
}

// TestOperatorKilled_CompletesTheUpgradeOnce kills the operator in every phase of an upgrade. Other tests wait meanwhile: they share
// the operator.
func TestOperatorKilled_CompletesTheUpgradeOnce(t *testing.T) {
	for surge, phases := range upgradeKinds() {
		t.Run("surge "+string(surge), func(t *testing.T) {
			s := newScenario(t, "operator-"+strings.ToLower(string(surge)))
			bounded := s.ledger("bounded")
			bounded.Spec.Dataflow.Operators[0].Generator.Rows = 5 * rate
			s.create(bounded)
			ledger := s.ledger("ledger")
			ledger.Spec.Upgrade.Surge = surge
			job := s.start(ledger)
			completed := s.await(bounded.Name, "the end of the bounded job", hasCompleted)
			for i, phase := range phases {
				job = s.upgradeWithoutOperator(job, phase, 3-i%2)
				if got := s.savepoints(); len(got) != i+1 {
					t.Errorf("there are %d savepoints after %d upgrades (killed in phase %s): %v", len(got), i+1, phase, got)
				}
			}
			s.wantNotCold(job.Name)
			s.finish(job.Name)
			s.wantNotRunAgain(completed)
		})
	}
}

// upgradeWithoutOperator gives a job another parallelism and kills the operator in a phase of that.
func (s *scenario) upgradeWithoutOperator(old *streamv1.StreamJob, phase streamv1.OperationPhase, parallelism int) *streamv1.StreamJob {
	s.Helper()
	gently := phase != streamv1.OperationSaving
	generation := s.watchOperation(old.Name, phase, fmt.Sprintf(`{"spec":{"parallelism":%d}}`, parallelism), func() {
		s.killOperator(gently)
	})
	job := s.await(old.Name, fmt.Sprintf("the upgrade, the operator killed in phase %s", phase), upgraded(generation, parallelism))
	s.wantUpgraded(old, job)
	if job.Status.Grant != old.Status.Grant+1 {
		s.Errorf("the upgrade (killed in phase %s) used up grants %d to %d", phase, old.Status.Grant, job.Status.Grant)
	}
	return s.progress(job)
}

// wantNotCold checks that no upgrade of a job has stopped the old version before the pods of the new one were there, though that was asked for.
func (s *scenario) wantNotCold(job string) {
	s.Helper()
	if notes := s.events(job, "UpgradedCold"); len(notes) > 0 {
		s.Errorf("upgrades of job %s went on without the pods of the new version: %q", job, notes)
	}
}

// watchOperation patches a job, and acts as soon as an operation of that generation is in a phase. It returns the generation.
func (s *scenario) watchOperation(name string, phase streamv1.OperationPhase, patch string, act func()) int64 {
	s.Helper()
	var generation int64
	s.watch(name, fmt.Sprintf("phase %s", phase), func() { generation = s.patch(name, patch) }, func(job *streamv1.StreamJob) bool {
		if o := job.Status.Operation; o != nil && o.Phase == phase && o.Generation == generation {
			return true
		}
		if u := job.Status.LastUpgrade; u != nil && job.Status.Deployment.Generation == generation && job.Status.Operation == nil {
			s.Fatalf("the upgrade of job %s was never seen in phase %s\n%s", name, phase, describe(job))
		}
		return false
	})
	act()
	return generation
}

// watch begins something and waits until a job is as wanted, however short it is so.
func (s *scenario) watch(name, what string, begin func(), wanted func(*streamv1.StreamJob) bool) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), stepTimeout)
	defer cancel()
	w, err := suite.client.Watch(ctx, &streamv1.StreamJobList{}, client.InNamespace(s.ns), client.MatchingFields{"metadata.name": name})
	if err != nil {
		s.Fatalf("watching job %s: %v", name, err)
	}
	defer w.Stop()
	begin()
	for {
		select {
		case e, ok := <-w.ResultChan():
			job, isJob := e.Object.(*streamv1.StreamJob)
			if !ok || !isJob {
				s.Fatalf("watching job %s: got %+v", name, e)
			}
			if wanted(job) {
				return
			}
		case <-ctx.Done():
			s.Fatalf("waiting for %s of job %s\n%s", what, name, describe(s.job(name)))
		}
	}
}

// hasCompleted wants a job to have read all its input.
func hasCompleted(job *streamv1.StreamJob) string {
	return first(
		is(job, streamv1.ConditionCompleted, metav1.ConditionTrue),
		is(job, streamv1.ConditionReady, metav1.ConditionTrue, streamv1.ReasonCompleted),
	)
}

// wantNotRunAgain checks that a job that had completed is as it was.
func (s *scenario) wantNotRunAgain(completed *streamv1.StreamJob) {
	s.Helper()
	s.gone(completed.Name)
	job := s.job(completed.Name)
	if missing := hasCompleted(job); missing != "" {
		s.Error(missing)
	}
	if job.Status.Grant != completed.Status.Grant {
		s.Errorf("the completed job was started again: grant %d became %d", completed.Status.Grant, job.Status.Grant)
	}
}

// TestBounded_CompletesAndIsNotRunAgain runs a job whose input ends, restarts the operator, and looks whether the job stays completed.
func TestBounded_CompletesAndIsNotRunAgain(t *testing.T) {
	s := newScenario(t, "bounded")
	const rowsOfEach = 50
	job := s.ledger("ledger")
	job.Spec.Dataflow.Operators[0].Generator.Rows = rowsOfEach * keys
	s.create(job)
	job = s.await(job.Name, "the end of the input", hasCompleted)
	if job.Status.Phase != streamv1.PhaseCompleted {
		t.Errorf("its phase is %s", job.Status.Phase)
	}
	s.gone(job.Name)
	report := s.judge(job.Name)
	s.judgeTotals(job.Name, report)
	if want := rowsOfEach * keys; report.Rows != want {
		t.Errorf("it wrote %d rows, want %d", report.Rows, want)
	}
	s.restartOperator()
	const watched = 5 * time.Second
	s.while(watched, "after the operator's restart", func() string {
		if pods := s.podsIn(client.MatchingLabels{streamv1.LabelJob: job.Name}); len(pods) > 0 {
			return "there is pod " + pods[0].Name
		}
		return hasCompleted(s.job(job.Name))
	})
	s.wantNotRunAgain(job)
}

// restartOperator deletes the operator's pods and waits until the next ones lead.
func (s *scenario) restartOperator() {
	s.Helper()
	old := s.leader()
	s.killOperator(true)
	s.eventually("the next operator to lead", func() string {
		if now := s.leader(); now == old || now == "" {
			return fmt.Sprintf("the leader is %q", now)
		}
		return ""
	})
}

// leader names the pod of the operator that leads.
func (s *scenario) leader() string {
	s.Helper()
	leases, err := suite.access.Client().CoordinationV1().Leases(stage.OperatorNamespace).List(s.Context(), metav1.ListOptions{})
	if err != nil {
		s.Fatalf("reading the leases of the operator: %v", err)
	}
	for _, l := range leases.Items {
		if l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity != "" {
			pod, _, _ := strings.Cut(*l.Spec.HolderIdentity, "_")
			return pod
		}
	}
	return ""
}
