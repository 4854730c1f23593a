// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/streamjob/plan"
	"github.com/weir-stream/weir/runtime/contract"
)

func TestNext_SaysHowMuchIsProcessedAgain(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	taken := now.Add(-40 * time.Second)
	const millis = 1000
	checkpoint := contract.SnapshotInfo{ID: 7, Kind: "Checkpoint", Path: "s3://bkt/j/checkpoints/chk-7/", CompletedAt: taken}
	savepoint := contract.SnapshotInfo{ID: 8, Kind: "Savepoint", Path: "s3://bkt/sp-8/", CompletedAt: taken, Stopped: true}
	onDemand := contract.SnapshotInfo{ID: 8, Kind: "Savepoint", Path: "s3://bkt/sp-8/", CompletedAt: taken}
	ago := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }
	notSince := func(since time.Duration) []metav1.Condition {
		return []metav1.Condition{{Type: streamv1.ConditionRunning, Status: metav1.ConditionFalse, Reason: "x", LastTransitionTime: metav1.NewTime(now.Add(-since))}}
	}
	tests := map[string]struct {
		requested  string
		from       contract.SnapshotInfo
		conditions []metav1.Condition
		last       *streamv1.SnapshotReport
		want       *int64
		failed     *streamv1.HistoryEntry
	}{
		"savepoint that stopped the job": {"Savepoint", savepoint, notSince(30 * time.Second), nil, new(int64(0)), nil},
		"resumed from such":              {"Resume", savepoint, notSince(10 * time.Second), nil, new(int64(0)), nil},
		"rolled back to such, a version ran since": {
			"Rollback", savepoint, notSince(15 * time.Second), nil, new(int64(25 * millis)), &streamv1.HistoryEntry{RestoredFrom: "s3://bkt/sp-8/", EndedAt: ago(15 * time.Second)},
		},
		"rolled back to such, none ran since": {"Rollback", savepoint, notSince(41 * time.Second), nil, new(int64(0)), nil},
		"rolled back to such, one crashed since without being seen to run": {
			"Rollback", savepoint, notSince(41 * time.Second), nil, new(int64(30 * millis)), &streamv1.HistoryEntry{RestoredFrom: "s3://bkt/sp-8/", EndedAt: ago(10 * time.Second)},
		},
		"replaced one that crashed without being seen to run": {
			"Savepoint", savepoint, notSince(41 * time.Second), nil, new(int64(30 * millis)), &streamv1.HistoryEntry{RestoredFrom: "s3://bkt/sp-8/", EndedAt: ago(10 * time.Second)},
		},
		"rolled back to such, the tasks of one never began": {
			"Rollback", savepoint, notSince(41 * time.Second), nil, new(int64(0)), &streamv1.HistoryEntry{EndedAt: ago(10 * time.Second)},
		},
		"savepoint that was taken before":           {"LastCheckpoint", onDemand, notSince(30 * time.Second), nil, new(int64(10 * millis)), nil},
		"checkpoint":                                {"LastCheckpoint", checkpoint, notSince(30 * time.Second), nil, new(int64(10 * millis)), nil},
		"checkpoint that took 3 s":                  {"LastCheckpoint", checkpoint, notSince(30 * time.Second), &streamv1.SnapshotReport{ID: 7, DurationMillis: 3 * millis}, new(int64(13 * millis)), nil},
		"checkpoint, never seen not to run":         {"LastCheckpoint", checkpoint, nil, nil, new(int64(40 * millis)), nil},
		"checkpoint in place of a savepoint":        {"Savepoint", checkpoint, notSince(30 * time.Second), nil, new(int64(10 * millis)), nil},
		"snapshot of another StreamJob":             {"RestoreFrom", savepoint, notSince(30 * time.Second), nil, nil, nil},
		"state of a StreamJob that was here before": {"Adopted", checkpoint, notSince(30 * time.Second), nil, nil, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			job := &streamv1.StreamJob{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words", UID: "u", Generation: 1},
				Status: streamv1.StreamJobStatus{
					Grant: 2, Job: &streamv1.JobReport{ID: "000011"}, Restore: &streamv1.RestoreReport{RequestedMode: tc.requested},
					Deployment: &streamv1.DeploymentReport{Grant: 2, Revision: "r"}, Conditions: tc.conditions, LastCheckpoint: tc.last,
				},
			}
			if tc.failed != nil {
				job.Status.History = []streamv1.HistoryEntry{*tc.failed}
				job.Status.History[0].Grant = 1
			}
			o := plan.Observation{
				Job: job, Revision: "r", PolicyRevision: "p",
				Engine: &plan.Engine{Grant: 2, Status: &contract.JobStatus{
					State: contract.JobRunning, JobID: "000011", Epoch: contract.Epoch{Grant: 2, N: 1}, RestoredFrom: &tc.from,
				}},
				Versions: []plan.Version{{Grant: 2, Exists: true, Stored: &plan.Stored{Revision: "r", PolicyRevision: "p", JobID: "000011", Spec: &job.Spec}, Coordinator: []plan.Pod{{Name: "c"}}}},
			}
			r := plan.Next(o, now).Status.Restore
			if d := cmp.Diff(tc.want, r.EstimatedReplayMillis); d != "" {
				t.Errorf("what is processed again (-want +got):\n%s", d)
			}
			if r.AgeMillis != 40*millis || !r.TakenAt.Time.Equal(taken) {
				t.Errorf("taken at %v, age %d ms", r.TakenAt, r.AgeMillis)
			}
		})
	}
}
