// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// left is what a deleted job leaves in its storage.
type left struct{ heads, checkpoints, savepoints int }

func (s *scenario) left() (l left) {
	s.Helper()
	for _, name := range s.list(s.ns + "/state") {
		switch {
		case path.Base(name) == "head.json":
			l.heads++
		case path.Base(name) == "_metadata" && strings.HasPrefix(name, savepointPrefix):
			l.savepoints++
		case path.Base(name) == "_metadata":
			l.checkpoints++
		}
	}
	return l
}

// TestDelete_LeavesNoPodsAndTheDocumentedFiles deletes jobs with each policy.
func TestDelete_LeavesNoPodsAndTheDocumentedFiles(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*streamv1.StreamJobSpec)
		// wantCheckpoints and wantSavepoint say whether there are any afterwards; there is always the head.
		wantCheckpoints, wantSavepoint bool
		options                        []client.DeleteOption
	}{
		"retain":    {change: func(*streamv1.StreamJobSpec) {}, wantCheckpoints: true},
		"delete":    {change: func(spec *streamv1.StreamJobSpec) { spec.Checkpointing.Retention.OnCancel = streamv1.DeleteOnCancel }},
		"savepoint": {change: func(spec *streamv1.StreamJobSpec) { spec.DeletionPolicy = streamv1.SavepointOnDeletion }, wantCheckpoints: true, wantSavepoint: true},
		// As Argo CD deletes: the garbage collector deletes all objects of the StreamJob at once.
		"foreground": {
			change:          func(spec *streamv1.StreamJobSpec) { spec.DeletionPolicy = streamv1.SavepointOnDeletion },
			wantCheckpoints: true, wantSavepoint: true, options: []client.DeleteOption{client.PropagationPolicy(metav1.DeletePropagationForeground)},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, "delete-"+name)
			job := s.ledger("ledger")
			tc.change(&job.Spec)
			s.start(job)
			s.remove(job.Name, tc.options...)
			got := s.left()
			if got.heads != 1 {
				t.Errorf("%d heads are left, want 1", got.heads)
			}
			if (got.checkpoints > 0) != tc.wantCheckpoints || (got.savepoints == 1) != tc.wantSavepoint {
				t.Errorf("left are %+v, want checkpoints: %t, a savepoint: %t", got, tc.wantCheckpoints, tc.wantSavepoint)
			}
		})
	}
}

// remove deletes a job and waits until nothing of it is left in the cluster.
func (s *scenario) remove(name string, o ...client.DeleteOption) {
	s.Helper()
	job := s.job(name)
	if err := suite.client.Delete(s.Context(), job, o...); err != nil {
		s.Fatalf("deleting job %s: %v", name, err)
	}
	s.eventually("the deletion of job "+name, func() string {
		if job := s.job(name); job != nil {
			return describe(job)
		}
		return ""
	})
	s.gone(name)
	s.eventually("nothing of job "+name+" to be left", func() string {
		if rest := s.objects(client.MatchingLabels{streamv1.LabelJob: name}); len(rest) > 0 {
			return rest[0].GetName() + " is there"
		}
		return ""
	})
}

// TestCreateAgain_TakesTheRetainedState deletes a job and creates it again: it goes on where it was.
func TestCreateAgain_TakesTheRetainedState(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "again")
	job := s.start(s.ledger("ledger"))
	id := job.Status.Job.ID
	s.remove(job.Name)

	job = s.start(s.ledger("ledger"))
	if job.Status.Job.ID != id {
		t.Errorf("the new job is %s, want %s, whose state is there", job.Status.Job.ID, id)
	}
	if r := job.Status.Restore; r == nil || r.EffectiveMode != "Adopted" || r.Path == "" {
		t.Errorf("restore is %+v, want the adopted state", r)
	}
	s.progress(job)
	s.finish(job.Name)
}

// TestCreatedSuspended_SaysSo creates a job that is not to run yet.
func TestCreatedSuspended_SaysSo(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "later")
	job := s.ledger("ledger")
	job.Spec.State = streamv1.StateSuspended
	s.create(job)
	job = s.await(job.Name, "the suspended job", isReady(1))
	if job.Status.Phase != streamv1.PhaseSuspended {
		t.Errorf("its phase is %s", job.Status.Phase)
	}
	s.gone(job.Name)
	job = s.resume(job.Name)
	s.progress(job)
	s.finish(job.Name)
}

// TestFirstJob_RunsWithoutStorage runs a job that needs neither an image of one's own nor S3.
func TestFirstJob_RunsWithoutStorage(t *testing.T) {
	t.Parallel()
	s := newScenario(t, "first")
	if _, err := suite.cluster.Kubectl(t.Context(), "apply", "--namespace", s.ns, "--filename", "config/samples/first-job.yaml"); err != nil {
		t.Fatal(err)
	}
	const name = "first-job"
	job := s.await(name, "a running job", running(1))
	s.await(name, "a checkpoint in the coordinator's memory", checkpointed(0))
	s.eventually("rows in the log", func() string {
		logs, err := suite.cluster.Kubectl(t.Context(), "logs", "--namespace", s.ns, "--tail", "-1", s.pod(job, worker).Name)
		if err != nil {
			return err.Error()
		}
		if !slices.ContainsFunc(strings.Split(logs, "\n"), func(line string) bool { return strings.Contains(line, `"msg":"Row"`) }) {
			return "there are none"
		}
		return ""
	})
	s.remove(name)
}
