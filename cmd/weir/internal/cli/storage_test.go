// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

// byDefault takes the storage of the operator's configuration in place of the job's own.
func byDefault(job *streamv1.StreamJob) {
	job.Spec.Storage = nil
	job.Status.Effective = &streamv1.EffectiveReport{Storage: "s3://team/jobs", FromOperator: []string{"storage"}}
}

func TestVerbs_KnowOfStorageByDefault(t *testing.T) {
	const stays = "its checkpoints and savepoints stay in storage"
	tests := map[string]struct {
		args []string
		job  *streamv1.StreamJob
		want string // in what it says
		code int
	}{
		"cancel":                         {[]string{"cancel", "page-views", "--wait=false"}, pageViews(byDefault), stays, exitOK},
		"delete":                         {[]string{"delete", "page-views", "--wait=false"}, pageViews(byDefault), stays, exitOK},
		"savepoint":                      {[]string{"savepoint", "page-views", "--wait=false"}, pageViews(byDefault), "savepoint asked for", exitOK},
		"savepoint of a job without any": {[]string{"savepoint", "page-views"}, pageViews(byDefault, func(job *streamv1.StreamJob) { job.Status.Effective.Storage = "" }), "has no storage", exitFailed},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, errs := inFake(t, &operator{}, tc.job, tc.args...)
			if code != tc.code || !strings.Contains(out+errs, tc.want) || strings.Contains(errs, "in memory only") {
				t.Errorf("exit code %d, want %d; want %q in\n%s%s", code, tc.code, tc.want, out, errs)
			}
		})
	}
}

// TestSavepoint_OfACancelledJobIsRefused at once: nobody would take it.
func TestSavepoint_OfACancelledJobIsRefused(t *testing.T) {
	tests := map[string]func(*streamv1.StreamJob){
		"it has ended": func(job *streamv1.StreamJob) {
			job.Spec.State = streamv1.StateCancelled
			job.Status.Deployment = &streamv1.DeploymentReport{Grant: 1, Ended: streamv1.EndCancelled}
		},
		"it was asked for":      func(job *streamv1.StreamJob) { job.Spec.State = streamv1.StateCancelled },
		"it was never deployed": func(job *streamv1.StreamJob) { job.Status.Phase = streamv1.PhaseCancelled },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			o := &operator{}
			code, _, errs := inFake(t, o, pageViews(change), "savepoint", "page-views")
			if code != exitFailed || !strings.Contains(errs, "is cancelled, and a savepoint needs a running job: weir resume page-views runs it on") || len(o.patches) > 0 {
				t.Errorf("exit code %d, patches %v, said %s", code, o.patches, errs)
			}
		})
	}
}

// TestDelete_PromisesNoSavepointThatNobodyCanTake: a job that runs without storage would be deleted with its state, though a savepoint was asked for.
func TestDelete_PromisesNoSavepointThatNobodyCanTake(t *testing.T) {
	bare := func(job *streamv1.StreamJob) {
		byDefault(job)
		job.Status.Effective.Storage = ""
		job.Status.Deployment = &streamv1.DeploymentReport{Grant: 1}
	}
	policy := func(job *streamv1.StreamJob) { job.Spec.DeletionPolicy = streamv1.SavepointOnDeletion }
	unstarted := func(job *streamv1.StreamJob) { job.Status.Deployment = nil }
	tests := map[string]struct {
		args []string
		job  *streamv1.StreamJob
		code int
		want string
	}{
		"asked for":     {[]string{"--savepoint"}, pageViews(bare), exitFailed, "without --savepoint it is deleted with its state"},
		"by policy":     {nil, pageViews(bare, policy), exitFailed, "set the policy to Cancel"},
		"by force":      {[]string{"--force"}, pageViews(bare, policy), exitOK, "deletion asked for"},
		"never started": {[]string{"--savepoint"}, pageViews(bare, unstarted), exitOK, "deletion asked for"},
		"without":       {nil, pageViews(bare), exitOK, "in memory only and is lost"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := &operator{}
			code, out, errs := inFake(t, o, tc.job, append([]string{"delete", "page-views", "--wait=false"}, tc.args...)...)
			if code != tc.code || !strings.Contains(out+errs, tc.want) {
				t.Errorf("exit code %d, want %d; want %q in\n%s%s", code, tc.code, tc.want, out, errs)
			}
			if code != exitOK && len(o.patches) > 0 {
				t.Errorf("it was refused, and changed by %v", o.patches)
			}
		})
	}
}

// TestCheckpoint_OfAJobThatWasNotStartedIsRefused at once, like a savepoint.
func TestCheckpoint_OfAJobThatWasNotStartedIsRefused(t *testing.T) {
	for _, state := range []streamv1.DesiredState{streamv1.StateSuspended, streamv1.StateCancelled} {
		job := pageViews(func(job *streamv1.StreamJob) { job.Spec.State = state; job.Status.Deployment = nil })
		code, _, errs := inFake(t, &operator{}, job, "checkpoint", "page-views")
		if code != exitFailed || !strings.Contains(errs, "was not started") {
			t.Errorf("%s: exit code %d, said %s", state, code, errs)
		}
	}
}

func TestDelete_BoundsItsSavepoint(t *testing.T) {
	policy := func(job *streamv1.StreamJob) { job.Spec.DeletionPolicy = streamv1.SavepointOnDeletion }
	tests := map[string]struct {
		args    []string
		job     *streamv1.StreamJob
		code    int
		want    string
		patches []string
	}{
		"with the savepoint":         {[]string{"--savepoint", "--deadline", "90s"}, pageViews(), exitOK, "within 1m30s (spec.deletion.deadline)", []string{`{"spec":{"deletion":{"deadline":"1m30s"},"deletionPolicy":"Savepoint"}}`}},
		"of a job that takes one":    {[]string{"--deadline", "2m"}, pageViews(policy), exitOK, "within 2m0s", []string{`{"spec":{"deletion":{"deadline":"2m0s"}}}`}},
		"of a job that does not":     {[]string{"--deadline", "2m"}, pageViews(), exitFailed, "add --savepoint", nil},
		"too short":                  {[]string{"--savepoint", "--deadline", "1ms"}, pageViews(), exitUsage, "at least 1s", nil},
		"with force, which has none": {[]string{"--force", "--deadline", "1m"}, pageViews(), exitUsage, "--force", nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := &operator{}
			code, out, errs := inFake(t, o, tc.job, append([]string{"delete", "page-views", "--wait=false"}, tc.args...)...)
			if code != tc.code || !strings.Contains(out+errs, tc.want) {
				t.Errorf("exit code %d, want %d; want %q in\n%s%s", code, tc.code, tc.want, out, errs)
			}
			if diff := cmp.Diff(tc.patches, o.patches); diff != "" {
				t.Errorf("patches (-want +got):\n%s", diff)
			}
		})
	}
}
