// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

func restarted(job *streamv1.StreamJob) {
	job.Status.Phase, job.Status.Operation = streamv1.PhaseRunning, nil
	job.Status.RestartNonce = job.Spec.RestartNonce
	job.Status.Restore = &streamv1.RestoreReport{Path: "s3://b/new"}
}

func checkpointed(job *streamv1.StreamJob) {
	job.Status.CheckpointTrigger = job.Spec.Checkpoint.Trigger
	job.Status.LastCheckpoint = &streamv1.SnapshotReport{ID: 12}
}

func reason(of string) func(*streamv1.StreamJob) {
	return func(job *streamv1.StreamJob) {
		job.Status.Conditions = []metav1.Condition{{Type: streamv1.ConditionReconciling, Status: metav1.ConditionFalse, Reason: of}}
	}
}

func TestVerbs_SetOneFieldAndWait(t *testing.T) {
	const looking = "12:00:00 page-views: waiting for the operator to look at generation 4\n"
	tests := map[string]struct {
		args      []string
		job       *streamv1.StreamJob
		steps     []func(*streamv1.StreamJob)
		wantPatch []string
		wantCode  int
		wantOut   string
		wantErr   string
	}{
		"restart": {
			args: []string{"restart", "page-views"}, job: pageViews(),
			steps:     []func(*streamv1.StreamJob){operating(streamv1.UpgradeOperation, streamv1.OperationSaving, ""), restarted},
			wantPatch: []string{`{"spec":{"restartNonce":"TRIGGER"}}`}, wantOut: "s3://b/new\n",
			wantErr: looking + "12:00:00 page-views: Running, upgrade saving\n",
		},
		"restart of a job without state": {
			args: []string{"restart", "page-views"}, job: pageViews(),
			steps: []func(*streamv1.StreamJob){func(job *streamv1.StreamJob) {
				restarted(job)
				job.Status.Restore.Path = ""
			}},
			wantPatch: []string{`{"spec":{"restartNonce":"TRIGGER"}}`},
			wantErr:   looking + "12:00:00 page-views: it began without state\n",
		},
		"restart without waiting": {
			args: []string{"restart", "page-views", "--wait=false"}, job: pageViews(),
			wantPatch: []string{`{"spec":{"restartNonce":"TRIGGER"}}`},
			wantOut:   "restart asked for: status.restartNonce is TRIGGER once the job runs again\n",
		},
		"restart of what is suspended": {
			args: []string{"restart", "page-views"}, wantCode: exitFailed,
			job:     pageViews(func(job *streamv1.StreamJob) { job.Spec.State = streamv1.StateSuspended }),
			wantErr: "weir: StreamJob page-views is not to run (spec.state is Suspended): weir resume page-views runs it on\n",
		},
		"restart that is rolled back": {
			args: []string{"restart", "page-views"}, job: pageViews(), wantCode: exitFailed,
			steps: []func(*streamv1.StreamJob){func(job *streamv1.StreamJob) {
				job.Status.Rollback = &streamv1.RollbackReport{RestartNonce: job.Spec.RestartNonce, Reason: streamv1.ReasonCrashLoop, Message: "4 restarts"}
			}},
			wantPatch: []string{`{"spec":{"restartNonce":"TRIGGER"}}`},
			wantErr:   looking + "weir: the restarted version was rolled back: CrashLoop: 4 restarts\n",
		},
		"restart that is overtaken": {
			args: []string{"restart", "page-views"}, job: pageViews(), wantCode: exitFailed,
			steps:     []func(*streamv1.StreamJob){func(job *streamv1.StreamJob) { job.Spec.RestartNonce = "another" }},
			wantPatch: []string{`{"spec":{"restartNonce":"TRIGGER"}}`},
			wantErr:   looking + "12:00:00 page-views: Running\nweir: spec.restartNonce was changed by somebody else before the job ran again\n",
		},
		"restart of what has read all": {
			args: []string{"restart", "page-views"}, job: pageViews(), wantCode: exitFailed,
			steps:     []func(*streamv1.StreamJob){phase(streamv1.PhaseCompleted)},
			wantPatch: []string{`{"spec":{"restartNonce":"TRIGGER"}}`},
			wantErr:   looking + "weir: StreamJob page-views has read all its input, so there is nothing to restart\n",
		},
		"checkpoint": {
			args: []string{"checkpoint", "page-views"}, job: pageViews(),
			steps:     []func(*streamv1.StreamJob){operating(streamv1.CheckpointOperation, streamv1.OperationSaving, ""), checkpointed},
			wantPatch: []string{`{"spec":{"checkpoint":{"trigger":"TRIGGER"}}}`}, wantOut: "checkpoint 12 completed\n",
			wantErr: looking + "12:00:00 page-views: Running, checkpoint saving\n",
		},
		"checkpoint of what is cancelled": {
			args: []string{"checkpoint", "page-views"}, wantCode: exitFailed,
			job:     pageViews(func(job *streamv1.StreamJob) { job.Status.Deployment.Ended = streamv1.EndCancelled }),
			wantErr: "weir: StreamJob page-views doesn't run (cancelled), and a checkpoint needs a running job\n",
		},
		"checkpoint that is overtaken": {
			args: []string{"checkpoint", "page-views"}, job: pageViews(), wantCode: exitFailed,
			steps:     []func(*streamv1.StreamJob){func(job *streamv1.StreamJob) { job.Spec.Checkpoint = nil }},
			wantPatch: []string{`{"spec":{"checkpoint":{"trigger":"TRIGGER"}}}`},
			wantErr:   looking + "12:00:00 page-views: Running\nweir: spec.checkpoint was changed by somebody else before the checkpoint was complete: ask again\n",
		},
		"pause": {
			args: []string{"pause", "page-views"}, job: pageViews(), steps: []func(*streamv1.StreamJob){reason(streamv1.ReasonPaused)},
			wantPatch: []string{`{"metadata":{"annotations":{"stream.weir.dev/paused":"true"}}}`}, wantOut: "paused\n",
			wantErr: "12:00:00 page-views: waiting for the operator to see the annotation\n",
		},
		"unpause": {
			args: []string{"unpause", "page-views"}, job: pageViews(reason(streamv1.ReasonPaused)), steps: []func(*streamv1.StreamJob){reason(streamv1.ReasonUpToDate)},
			wantPatch: []string{`{"metadata":{"annotations":{"stream.weir.dev/paused":null}}}`}, wantOut: "unpaused\n",
			wantErr: "12:00:00 page-views: waiting for the operator to see the annotation\n",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := &operator{steps: tc.steps}
			code, out, errs := inFake(t, o, tc.job, tc.args...)
			if code != tc.wantCode {
				t.Errorf("exit code %d, want %d", code, tc.wantCode)
			}
			got := append([]string{out, errs}, o.patches...)
			for i := range got {
				got[i] = trigger.ReplaceAllString(got[i], "TRIGGER")
			}
			if diff := cmp.Diff(append([]string{tc.wantOut, tc.wantErr}, tc.wantPatch...), got); diff != "" {
				t.Errorf("stdout, stderr, patches (-want +got):\n%s", diff)
			}
		})
	}
}

// versions gives a job a history: a version that was rolled back between two that ran.
func versions(job *streamv1.StreamJob) {
	at := func(ago time.Duration) metav1.Time { return metav1.NewTime(noon.Add(-ago)) }
	job.Status.Stability = &streamv1.StabilityReport{Grant: 6, Checkpoints: 2, Wanted: 3, Restarts: 1}
	job.Status.LastStable = &streamv1.StableReport{Grant: 4, Revision: "0a1b2c3d4e", Generation: 2, At: at(time.Hour)}
	job.Status.Rollback = &streamv1.RollbackReport{
		FromRevision: "5d4c3b2a19", FromGeneration: 3, ToRevision: "0a1b2c3d4e", Reason: streamv1.ReasonCrashLoop, Message: "its tasks were restarted\n4 times",
		Outcome: streamv1.RollbackCompleted, At: at(10 * time.Minute),
	}
	job.Status.History = []streamv1.HistoryEntry{
		{
			Grant: 6, Revision: "0a1b2c3d4e", Generation: 2, DeployedAt: at(10 * time.Minute), Outcome: streamv1.OutcomeDeployed,
			RequestedMode: "Rollback", EffectiveMode: "LastCheckpoint", RestoredFrom: "s3://b/chk-7",
		},
		{
			Grant: 5, Revision: "5d4c3b2a19", Generation: 3, DeployedAt: at(15 * time.Minute), EndedAt: at(10 * time.Minute), Outcome: streamv1.OutcomeRolledBack,
			RequestedMode: "Savepoint", EffectiveMode: "Savepoint", RestoredFrom: "s3://b/sp-5", Message: "CrashLoop: its tasks were restarted\n4 times",
		},
		{Grant: 4, Revision: "0a1b2c3d4e", Generation: 2, DeployedAt: at(3 * time.Hour), EndedAt: at(15 * time.Minute), Outcome: streamv1.OutcomeReplaced, EffectiveMode: "Fresh"},
	}
}

func TestHistory(t *testing.T) {
	code, out, errs := inFake(t, &operator{}, pageViews(versions), "history", "page-views")
	if code != exitOK || errs != "" {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
	golden(t, "history.txt", out)
	code, out, _ = inFake(t, &operator{}, pageViews(), "history", "page-views")
	if code != exitOK || out != "No version was deployed yet.\n" {
		t.Errorf("without a version: exit code %d, printed %q", code, out)
	}
	code, out, _ = inFake(t, &operator{}, pageViews(versions), "history", "page-views", "-o", "yaml")
	if want := "- deployedAt: \"2026-03-01T11:50:00Z\"\n  effectiveMode: LastCheckpoint\n"; code != exitOK || len(out) < len(want) || out[:len(want)] != want {
		t.Errorf("exit code %d, YAML %s", code, out)
	}
}

func TestStatus_SaysWhatIsStableAndWhatWasRolledBack(t *testing.T) {
	code, out, errs := inFake(t, &operator{}, pageViews(versions), "status", "page-views")
	if code != exitOK || errs != "" {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
	golden(t, "job_rolled_back.txt", out)
}

// A coordinator that takes a request and doesn't answer may do it all the same: it can be asked about again.
func TestOperation_WithoutAnAnswerMayStillHappen(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the end of the connection isn't noticed
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	code, _, errs := weir(t, "savepoint", "--api", strings.TrimPrefix(server.URL, "http://"), "--timeout", "200ms", "--operation-id", "mine")
	if code != exitTimeout || !strings.Contains(errs, "may still happen (ask again with --operation-id mine)") {
		t.Errorf("exit code %d, want %d: %s", code, exitTimeout, errs)
	}
}
