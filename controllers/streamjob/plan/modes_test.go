// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

// The states of a job that an edit may meet.
const (
	jobRuns       = "running"
	jobRestarts   = "restarting over and over"
	jobFailed     = "failed for good"
	jobNeverRan   = "never got to run"
	jobWaited     = "waited for workers and never ran"
	jobFinished   = "finished"
	jobSuspended  = "suspended"
	jobLost       = "coordinator lost"
	fresh         = "Fresh→Fresh"
	fromSavepoint = "Savepoint→Savepoint"
)

// TestNext_WhatAnUpgradeDoes has one row for each upgrade mode and state of the job: docs/kubernetes.md has the same table.
func TestNext_WhatAnUpgradeDoes(t *testing.T) {
	const (
		lost   = "Checking Fencing Starting: Stateless→Stateless"
		asks   = "StateWouldBeLost"
		resume = ": Resume→Savepoint"
		again  = "(the version before had never run)"
	)
	noSavepoint := func(why string) string {
		return "Checking Starting: Savepoint→LastCheckpoint (no savepoint could be taken within 30s, because " + why + ")"
	}
	tests := map[string]map[string]string{
		"Savepoint": {
			jobRuns:      "Checking Saving Starting: " + fromSavepoint,
			jobRestarts:  noSavepoint("the job was Restarting: it broke"),
			jobFailed:    ": Savepoint→LastCheckpoint (the job had failed, so no savepoint could be taken)",
			jobNeverRan:  ": " + fresh + " " + again,
			jobWaited:    "Checking Starting: Savepoint→Fresh " + again,
			jobFinished:  "Completed",
			jobSuspended: resume,
			jobLost:      noSavepoint("the coordinator of the running version does not answer"),
		},
		"LastCheckpoint": {
			jobRuns:      "Checking Starting: LastCheckpoint→LastCheckpoint",
			jobRestarts:  "Checking Starting: LastCheckpoint→LastCheckpoint",
			jobFailed:    ": LastCheckpoint→LastCheckpoint",
			jobNeverRan:  ": " + fresh + " " + again,
			jobWaited:    "Checking Starting: LastCheckpoint→Fresh " + again,
			jobFinished:  "Completed",
			jobSuspended: resume,
			jobLost:      "Checking Starting: LastCheckpoint→LastCheckpoint",
		},
		"Stateless with a new discardState": {
			jobRuns: lost, jobRestarts: lost, jobLost: lost, jobWaited: lost,
			jobFailed:    ": Stateless→Stateless",
			jobNeverRan:  ": " + fresh + " " + again,
			jobFinished:  "Completed",
			jobSuspended: ": Stateless→Stateless",
		},
		"Stateless with a discardState that is used up": {
			jobRuns: asks, jobRestarts: asks, jobFailed: asks, jobLost: asks, jobSuspended: asks, jobWaited: asks,
			jobNeverRan: ": " + fresh + " " + again,
			jobFinished: "Completed",
		},
	}
	for mode, cells := range tests {
		for state, want := range cells {
			t.Run(mode+", "+state, func(t *testing.T) {
				if got := upgradeIn(t, mode, state); got != want {
					t.Errorf("an edit leads to %q, want %q", got, want)
				}
			})
		}
	}
}

// upgradeIn edits a job in a state and returns the phases of the operation that follows, and what the new version started from, or the
// reason why nothing happens.
func upgradeIn(t *testing.T, mode, state string) string {
	t.Helper()
	w := newWorld()
	w.job.Spec = streamv1.StreamJobSpec{
		Parallelism: 2, Checkpointing: &streamv1.Checkpointing{Interval: metav1.Duration{Duration: 10 * time.Second}},
		Storage: &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt"}},
	}
	w.arrive(state)
	w.job.Generation++
	w.job.Spec.Parallelism, w.job.Spec.State = 3, ""
	u := &streamv1.Upgrade{}
	switch name, how, _ := strings.Cut(mode, " "); {
	case name != "Stateless":
		u.Mode = streamv1.UpgradeMode(name)
	case strings.Contains(how, "used up"):
		u.Mode, u.DiscardState, w.job.Status.DiscardedState = streamv1.UpgradeStateless, "a", "a"
	default:
		u.Mode, u.DiscardState = streamv1.UpgradeStateless, "a"
	}
	w.job.Spec.Upgrade = u
	was := w.job.Status.Deployment.Grant
	var phases []string
	for range 40 {
		w.step()
		if op := w.job.Status.Operation; op != nil && !slices.Contains(phases, string(op.Phase)) {
			phases = append(phases, string(op.Phase))
		}
		w.respond(was)
		w.now = w.now.Add(2 * time.Second)
	}
	st := &w.job.Status
	if st.Deployment.Grant == was {
		return apimeta.FindStatusCondition(st.Conditions, streamv1.ConditionReady).Reason
	}
	text := fmt.Sprintf("%s: %s→%s", strings.Join(phases, " "), st.Restore.RequestedMode, st.Restore.EffectiveMode)
	if st.Restore.Reason != "" {
		text += " (" + st.Restore.Reason + ")"
	}
	return text
}

// arrive brings a job into a state.
func (w *world) arrive(state string) {
	for range 2 {
		w.step()
	}
	w.engine = &plan.Engine{Grant: 1, Status: &contract.JobStatus{State: contract.JobStarting}}
	s := w.engine.Status
	if state == jobNeverRan {
		s.Problem = &contract.Problem{Reason: contract.InvalidJob, Message: "no graph"}
		w.step()
		return
	}
	if state == jobWaited {
		s.State, s.JobID, s.Epoch = contract.JobWaiting, "000011", contract.Epoch{Grant: 1, N: 1}
		w.step()
		return
	}
	s.State, s.JobID, s.Epoch, s.PolicyRevision = contract.JobRunning, "000011", contract.Epoch{Grant: 1, N: 1}, "10s"
	s.LastCheckpoint = &contract.SnapshotInfo{ID: 3, Kind: "Checkpoint", Path: "chk-3"}
	w.step()
	switch state {
	case jobRestarts:
		s.State, s.LastFailure = contract.JobRestarting, &contract.Failure{Message: "it broke"}
	case jobFailed:
		s.State, s.LastFailure = contract.JobFailed, &contract.Failure{Message: "no more attempts"}
	case jobFinished:
		s.State = contract.JobFinished
	case jobSuspended:
		w.job.Spec.State = streamv1.StateSuspended
		w.step()
		w.respond(0)
	case jobLost:
		w.engine.UnreachableSince, w.engine.Error = w.now, "no route to host"
	}
	for range 2 {
		w.step()
	}
}

// respond lets agents succeed, the coordinator do what it was asked, and a version newer than was run from the newest state of its job.
func (w *world) respond(was int64) {
	for i := range w.agents {
		w.agents[i].Ended, w.agents[i].Result = true, &contract.AgentResult{OK: true}
	}
	st := &w.job.Status
	if op := st.Operation; op != nil && op.Phase == streamv1.OperationSaving && w.engine.Status.State == contract.JobRunning {
		w.engine.Status.State = contract.JobStopped
		w.engine.Status.LastSavepoint = &contract.SnapshotInfo{ID: 5, Kind: "Savepoint", Path: "sp-5"}
		w.engine.Status.Operations = []contract.Operation{{ID: op.ID, Phase: contract.OperationSucceeded, Checkpoint: 5, Path: "sp-5"}}
	}
	d := st.Deployment
	if d.Grant == was || was == 0 || d.Ended != "" || w.engine != nil && w.engine.Grant == d.Grant {
		return
	}
	stored := w.versions[d.Grant].Stored
	s := &contract.JobStatus{State: contract.JobRunning, JobID: "000011", Epoch: contract.Epoch{Grant: d.Grant, N: 1}, PolicyRevision: "10s"}
	switch {
	case stored.NewJobID != "":
		s.JobID = stored.NewJobID
	case w.engine.Status.State == contract.JobWaiting: // nothing was written
	case st.LastSavepoint != nil:
		s.RestoredFrom = &contract.SnapshotInfo{ID: 5, Kind: "Savepoint", Path: "sp-5"}
	default:
		s.RestoredFrom = &contract.SnapshotInfo{ID: 3, Kind: "Checkpoint", Path: "chk-3"}
	}
	w.engine = &plan.Engine{Grant: d.Grant, Status: s}
}
