// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
)

// TestEdit_InEveryPhaseOfAnUpgrade edits the spec once more while an edit of it is being carried out.
func TestEdit_InEveryPhaseOfAnUpgrade(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "edited")
	job := s.start(s.ledger("ledger"))
	for i, phase := range phases() {
		var last int64
		parallelism := 1 + i%2
		s.watchOperation(job.Name, phase, `{"spec":{"parallelism":3}}`, func() {
			last = s.patch(job.Name, fmt.Sprintf(`{"spec":{"parallelism":%d}}`, parallelism))
		})
		job = s.await(job.Name, fmt.Sprintf("parallelism %d, which was asked for in phase %s", parallelism, phase), upgraded(last, parallelism))
		job = s.progress(job)
	}
	s.finish(job.Name)
}

// TestEngineKilled_InEveryPhaseOfAnUpgrade kills the process of the newest coordinator, then that of the newest worker, in each phase of an upgrade: of the new
// version as soon as it has pods.
func TestEngineKilled_InEveryPhaseOfAnUpgrade(t *testing.T) {
	t.Parallel()
	for surge, phases := range upgradeKinds() {
		t.Run("surge "+string(surge), func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, "midway-"+strings.ToLower(string(surge)))
			ledger := s.ledger("ledger")
			ledger.Spec.Upgrade.Surge = surge
			job := s.start(ledger)
			parallelism := 2
			for _, phase := range phases {
				for _, component := range []string{coordinator, worker} {
					parallelism = 5 - parallelism
					job = s.upgradeWithLoss(job, phase, component, parallelism)
				}
			}
			s.wantNotCold(job.Name)
			s.finish(job.Name)
		})
	}
}

// upgradeWithLoss gives a job another parallelism and kills a component in a phase of that.
func (s *scenario) upgradeWithLoss(old *streamv1.StreamJob, phase streamv1.OperationPhase, component string, parallelism int) *streamv1.StreamJob {
	s.Helper()
	generation := s.watchOperation(old.Name, phase, fmt.Sprintf(`{"spec":{"parallelism":%d}}`, parallelism), func() {
		least := int64(0)
		if phase == streamv1.OperationWarming || phase == streamv1.OperationStarting {
			least = old.Status.Deployment.Grant + 1 // both versions may have pods, and it is the new one that is waited for
		}
		s.killNewest(old.Name, component, least)
	})
	job := s.await(old.Name, fmt.Sprintf("the upgrade, a %s killed in phase %s", component, phase), upgraded(generation, parallelism))
	if job.Status.Job.ID != old.Status.Job.ID {
		s.Errorf("job %s became %s (a %s killed in phase %s)", old.Status.Job.ID, job.Status.Job.ID, component, phase)
	}
	return s.progress(job)
}

// killNewest sends SIGKILL to the process of the newest pod of a component, as soon as it has one, of a version with at least the given grant.
func (s *scenario) killNewest(job, component string, least int64) {
	s.Helper()
	s.eventually("a "+component+" to kill", func() string {
		pods := slices.DeleteFunc(s.podsIn(client.MatchingLabels{streamv1.LabelJob: job, streamv1.LabelComponent: component}),
			func(p corev1.Pod) bool {
				grant, err := strconv.ParseInt(p.Labels[streamv1.LabelGrant], 10, 64)
				return p.DeletionTimestamp != nil || err != nil || grant < least
			})
		if len(pods) == 0 {
			return "there is no pod"
		}
		newest := &pods[len(pods)-1]
		if err := suite.access.SignalContainer(s.Context(), newest, "", stage.Kill); err != nil {
			return err.Error()
		}
		s.Logf("killed the process of pod %s", newest.Name)
		return ""
	})
}

// TestEdit_DuringARollback corrects a version that can't run while the operator goes back behind it.
func TestEdit_DuringARollback(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "corrected")
	job := s.ledger("ledger")
	job.Spec.Upgrade.Rollback = &streamv1.Rollback{StableCheckpoints: 1, MaxRestarts: new(int32(1))}
	s.start(job)
	job = s.stable("ledger")
	bad := job.DeepCopy()
	setRows(bad, "seq / (seq - seq)")
	s.watch("ledger", "a rollback", func() { s.update(bad) }, func(job *streamv1.StreamJob) bool {
		return job.Status.Operation != nil && job.Status.Operation.Type == streamv1.RollbackOperation
	})
	good := s.job("ledger")
	setRows(good, "seq")
	good.Spec.Parallelism = 3
	s.update(good)
	job = s.await("ledger", "the corrected version", upgraded(good.Generation, 3))
	if missing := is(job, streamv1.ConditionRolledBack, metav1.ConditionFalse); missing != "" {
		t.Errorf("%s\n%s", missing, describe(job))
	}
	s.finish("ledger")
}
