// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

// heard is the status after a deployed job was looked at whose coordinator reports e.
func heard(now time.Time, st streamv1.StreamJobStatus, e contract.JobStatus) streamv1.StreamJobStatus {
	job := &streamv1.StreamJob{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words", UID: "u", Generation: 1}, Status: st}
	job.Status.Grant, job.Status.Job = 2, &streamv1.JobReport{ID: "000011"}
	job.Status.Deployment = &streamv1.DeploymentReport{Grant: 2, Revision: "r", Generation: 1}
	e.State, e.JobID, e.Epoch = contract.JobRunning, "000011", contract.Epoch{Grant: 2, N: 1}
	return plan.Next(plan.Observation{
		Job: job, Revision: "r", PolicyRevision: "p", Engine: &plan.Engine{Grant: 2, Status: &e},
		Versions: []plan.Version{{Grant: 2, Exists: true, Stored: &plan.Stored{Revision: "r", PolicyRevision: "p", JobID: "000011", Spec: &job.Spec}, Coordinator: []plan.Pod{{Name: "c"}}}},
	}, now).Status
}

func TestNext_ACheckpointInMemoryHasNoPath(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	inMemory := &contract.SnapshotInfo{ID: 22, Kind: "Checkpoint", Path: "memory:/ns/words/chk-22/", CompletedAt: now}
	st := heard(now, streamv1.StreamJobStatus{}, contract.JobStatus{StartedAt: now.Add(-time.Minute), LastCheckpoint: inMemory})
	if c := st.LastCheckpoint; c == nil || c.ID != 22 || c.Path != "" {
		t.Errorf("the newest checkpoint is %+v, want number 22 without a path", c)
	}
	st = heard(now, st, contract.JobStatus{StartedAt: now})
	if c := st.LastCheckpoint; c != nil {
		t.Errorf("the coordinator was replaced, and the newest checkpoint is still %+v", c)
	}
	st = heard(now, streamv1.StreamJobStatus{}, contract.JobStatus{Durable: true, StartedAt: now.Add(-time.Minute), LastCheckpoint: &contract.SnapshotInfo{ID: 22, Path: "s3://b/chk-22/"}})
	st = heard(now, st, contract.JobStatus{Durable: true, StartedAt: now})
	if c := st.LastCheckpoint; c == nil || c.Path != "s3://b/chk-22/" {
		t.Errorf("the newest checkpoint in storage is %+v after the coordinator was replaced", c)
	}
}

func TestNext_KeepsHowLongASnapshotTook(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	st := streamv1.StreamJobStatus{
		LastSavepoint:  &streamv1.SnapshotReport{ID: 8, Path: "s3://b/sp-8", DurationMillis: 18, SizeBytes: 99},
		LastCheckpoint: &streamv1.SnapshotReport{ID: 7, Path: "s3://b/chk-7/", DurationMillis: 20},
	}
	st = heard(now, st, contract.JobStatus{
		Durable:        true,
		LastSavepoint:  &contract.SnapshotInfo{ID: 8, Path: "s3://b/sp-8", CompletedAt: now},
		LastCheckpoint: &contract.SnapshotInfo{ID: 9, Path: "s3://b/chk-9/", CompletedAt: now},
	})
	if s := st.LastSavepoint; s.DurationMillis != 18 || s.SizeBytes != 99 || !s.CompletedAt.Time.Equal(now) {
		t.Errorf("the savepoint is %+v, want what was known of it as well", s)
	}
	if c := st.LastCheckpoint; c.ID != 9 || c.DurationMillis != 0 {
		t.Errorf("the checkpoint is %+v, want nothing of the one before", c)
	}
}

// The pods and the running tasks of a new version may be seen by the same look.
func TestNext_TellsTheRestoreFromThePods(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	began := metav1.NewMicroTime(now.Add(-1800 * time.Millisecond))
	tests := map[string]struct {
		deployed              time.Duration // how long ago, by the clock of the coordinator, which is an hour behind
		podsMillis            int64         // as seen before
		wantPods, wantRestore int64
	}{
		"seen at once":              {deployed: 300 * time.Millisecond, wantPods: 1500, wantRestore: 300},
		"seen one after the other":  {deployed: 300 * time.Millisecond, podsMillis: 1400, wantPods: 1400, wantRestore: 400},
		"deployed before the phase": {deployed: time.Minute, wantPods: 1, wantRestore: 1799},
		"of an older engine":        {wantPods: 1800, wantRestore: 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			e := contract.JobStatus{Durable: true, SlotsNeeded: 1, SlotsOffered: 1, MeasuredAt: now.Add(-time.Hour)}
			if tc.deployed > 0 {
				e.DeployedAt = e.MeasuredAt.Add(-tc.deployed)
			}
			up := heard(now, streamv1.StreamJobStatus{
				Operation:   &streamv1.OperationReport{Type: streamv1.UpgradeOperation, ID: "upgrade-1-2-1", Phase: streamv1.OperationStarting, StartedAt: began, PhaseStartedAt: began, Attempts: 1},
				LastUpgrade: &streamv1.UpgradeReport{StartedAt: began, PodsMillis: tc.podsMillis},
			}, e).LastUpgrade
			if up.PodsMillis != tc.wantPods || up.RestoreMillis != tc.wantRestore || up.CompletedAt.IsZero() {
				t.Errorf("pods %d ms, restore %d ms, completed %v; want %d and %d", up.PodsMillis, up.RestoreMillis, up.CompletedAt, tc.wantPods, tc.wantRestore)
			}
		})
	}
}
