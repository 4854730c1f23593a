// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

func scheduled(schedule, mark string) *streamv1.StreamJob {
	job := &streamv1.StreamJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "words"},
		Spec:       streamv1.StreamJobSpec{Savepoint: &streamv1.Savepoint{Schedule: schedule}, Storage: &streamv1.Storage{}},
		Status:     streamv1.StreamJobStatus{Deployment: &streamv1.DeploymentReport{Grant: 1}, Job: &streamv1.JobReport{ID: "0123456789"}},
	}
	if mark != "" {
		job.Annotations = map[string]string{streamv1.AnnotationScheduled: mark}
	}
	return job
}

func snapshotOf(name string, state streamv1.SnapshotState, at time.Time) streamv1.StreamSnapshot {
	return streamv1.StreamSnapshot{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(at)},
		Status:     streamv1.StreamSnapshotStatus{State: state, CompletedAt: metav1.NewTime(at)},
	}
}

func notNeeded(*streamv1.StreamSnapshot) bool { return false }

func TestNextScheduled_Times(t *testing.T) {
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	tests := map[string]struct {
		job    *streamv1.StreamJob
		change func(*streamv1.StreamJob)
		made   []streamv1.StreamSnapshot
		now    string
		create string
		mark   string
		next   time.Duration
	}{
		"the first look only notes the time": {job: scheduled("0 3 * * *", ""), now: "2030-01-02T10:00:00Z", mark: "2030-01-02T10:00:00Z", next: 17 * time.Hour},
		"before its time":                    {job: scheduled("0 3 * * *", "2030-01-02T10:00:00Z"), now: "2030-01-03T02:59:00Z", next: time.Minute},
		"at its time": {
			job: scheduled("0 3 * * *", "2030-01-02T10:00:00Z"), now: "2030-01-03T03:00:00Z", create: "2030-01-03T03:00:00Z", mark: "2030-01-03T03:00:00Z", next: 24 * time.Hour,
		},
		"of those that were missed only the last": {
			job: scheduled("*/10 * * * *", "2030-01-02T10:00:00Z"), now: "2030-01-02T11:05:00Z", create: "2030-01-02T11:00:00Z", mark: "2030-01-02T11:00:00Z", next: 5 * time.Minute,
		},
		"after years": {
			job: scheduled("* * * * *", "2020-01-02T10:00:00Z"), now: "2030-01-02T11:05:30Z", create: "2030-01-02T11:05:00Z", mark: "2030-01-02T11:05:00Z", next: 30 * time.Second,
		},
		"once a year": {
			job: scheduled("0 0 1 1 *", "2028-06-01T00:00:00Z"), now: "2030-06-01T00:00:00Z", create: "2030-01-01T00:00:00Z", mark: "2030-01-01T00:00:00Z", next: 214 * 24 * time.Hour,
		},
		"the last one is under way": {
			job: scheduled("0 * * * *", "2030-01-02T10:00:00Z"), now: "2030-01-02T11:30:00Z", next: 30 * time.Minute,
			made: []streamv1.StreamSnapshot{snapshotOf("a", streamv1.SnapshotInProgress, start)},
		},
		"a suspended job is left out": {
			job: scheduled("0 * * * *", "2030-01-02T10:00:00Z"), now: "2030-01-02T11:30:00Z", mark: "2030-01-02T11:00:00Z", next: 30 * time.Minute,
			change: func(j *streamv1.StreamJob) { j.Spec.State = streamv1.StateSuspended },
		},
		"so is one that has ended": {
			job: scheduled("0 * * * *", "2030-01-02T10:00:00Z"), now: "2030-01-02T11:30:00Z", mark: "2030-01-02T11:00:00Z", next: 30 * time.Minute,
			change: func(j *streamv1.StreamJob) { j.Status.Deployment.Ended = streamv1.EndFailed },
		},
		"so is one that was never deployed": {
			job: scheduled("0 * * * *", "2030-01-02T10:00:00Z"), now: "2030-01-02T11:30:00Z", mark: "2030-01-02T11:00:00Z", next: 30 * time.Minute,
			change: func(j *streamv1.StreamJob) { j.Status = streamv1.StreamJobStatus{} },
		},
		"and one of which no version has begun": {
			job: scheduled("0 * * * *", "2030-01-02T10:00:00Z"), now: "2030-01-02T11:30:00Z", mark: "2030-01-02T11:00:00Z", next: 30 * time.Minute,
			change: func(j *streamv1.StreamJob) { j.Status.Job = &streamv1.JobReport{State: "Starting"} },
		},
		"and one without storage": {
			job: scheduled("0 * * * *", "2030-01-02T10:00:00Z"), now: "2030-01-02T11:30:00Z", mark: "2030-01-02T11:00:00Z", next: 30 * time.Minute,
			change: func(j *streamv1.StreamJob) { j.Spec.Storage = nil },
		},
		"and one that is being deleted": {
			job: scheduled("0 * * * *", "2030-01-02T10:00:00Z"), now: "2030-01-02T11:30:00Z",
			change: func(j *streamv1.StreamJob) { at := metav1.NewTime(start); j.DeletionTimestamp = &at },
		},
		"one that is paused is left alone": {
			job: scheduled("0 * * * *", "2030-01-02T10:00:00Z"), now: "2030-01-02T11:30:00Z",
			change: func(j *streamv1.StreamJob) { j.Annotations[streamv1.AnnotationPaused] = "true" },
		},
		"a schedule that isn't one": {job: scheduled("61 * * * *", "2030-01-02T10:00:00Z"), now: "2030-01-02T11:30:00Z"},
		"of a day that never comes": {job: scheduled("0 0 31 2 *", "2030-01-02T10:00:00Z"), now: "2030-01-02T11:30:00Z"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if tc.change != nil {
				tc.change(tc.job)
			}
			want := Schedule{Next: tc.next}
			if tc.create != "" {
				want.Create = at(tc.create)
			}
			if tc.mark != "" {
				want.Mark = at(tc.mark)
			}
			if diff := cmp.Diff(want, NextScheduled(tc.job, tc.made, notNeeded, at(tc.now))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	job := scheduled("", "2030-01-02T10:00:00Z")
	if got := NextScheduled(job, nil, notNeeded, start); !got.Unmark {
		t.Errorf("without a schedule: %+v", got)
	}
}

func TestNextScheduled_Prunes(t *testing.T) {
	now := start
	made := func() []streamv1.StreamSnapshot {
		var out []streamv1.StreamSnapshot
		for i := range 15 { // s00 is the newest
			out = append(out, snapshotOf(fmt.Sprintf("s%02d", i), streamv1.SnapshotCompleted, now.Add(-time.Duration(i)*time.Hour)))
		}
		return out
	}
	names := func(from, to int) (out []string) {
		for i := from; i < to; i++ {
			out = append(out, fmt.Sprintf("s%02d", i))
		}
		return out
	}
	tests := map[string]struct {
		retention *streamv1.SavepointRetention
		needed    string
		made      []streamv1.StreamSnapshot
		want      []string
	}{
		"ten without a word":          {made: made(), want: names(10, 15)},
		"by count":                    {retention: &streamv1.SavepointRetention{Count: 3}, made: made(), want: names(3, 15)},
		"by age":                      {retention: &streamv1.SavepointRetention{MaxAge: metav1.Duration{Duration: 150 * time.Minute}}, made: made(), want: names(3, 15)},
		"never the newest":            {retention: &streamv1.SavepointRetention{Count: 1, MaxAge: metav1.Duration{Duration: time.Minute}}, made: made()[5:], want: names(6, 15)},
		"never one that is needed":    {retention: &streamv1.SavepointRetention{Count: 1}, needed: "s14", made: made(), want: names(1, 14)},
		"one under way doesn't count": {retention: &streamv1.SavepointRetention{Count: 14}, made: append(made(), snapshotOf("x", streamv1.SnapshotInProgress, now)), want: names(14, 15)},
		"three that failed stay": {
			made: []streamv1.StreamSnapshot{
				snapshotOf("f1", streamv1.SnapshotFailed, now.Add(-4)), snapshotOf("f2", streamv1.SnapshotFailed, now.Add(-3)),
				snapshotOf("f3", streamv1.SnapshotFailed, now.Add(-2)), snapshotOf("f4", streamv1.SnapshotFailed, now.Add(-1)),
			},
			want: []string{"f1"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			job := scheduled("0 3 * * *", now.Format(time.RFC3339))
			job.Spec.Savepoint.Retention = tc.retention
			needed := func(s *streamv1.StreamSnapshot) bool { return s.Name == tc.needed }
			if diff := cmp.Diff(tc.want, NextScheduled(job, tc.made, needed, now).Delete); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNextScheduled_DropsWhatNeverBegan(t *testing.T) {
	const never = streamv1.SnapshotPending
	now := metav1.NewTime(start)
	before := metav1.NewTime(start.Add(-time.Hour))
	begun := func(change func(*streamv1.StreamSnapshot)) streamv1.StreamSnapshot {
		s := snapshotOf("s", never, start)
		change(&s)
		return s
	}
	tests := map[string]struct {
		made   streamv1.StreamSnapshot
		change func(*streamv1.StreamJob)
		want   []string
	}{
		"the job may run again": {made: snapshotOf("s", never, start), change: func(j *streamv1.StreamJob) { j.Spec.State = streamv1.StateSuspended }},
		"the job has finished":  {made: snapshotOf("s", never, start), change: func(j *streamv1.StreamJob) { j.Status.Deployment.Ended = streamv1.EndFinished }, want: []string{"s"}},
		"it was made for a job of that name before": {
			made: snapshotOf("s", never, before.Time), change: func(j *streamv1.StreamJob) { j.CreationTimestamp = now }, want: []string{"s"},
		},
		"it was begun with that one": {
			made:   begun(func(s *streamv1.StreamSnapshot) { s.CreationTimestamp, s.Status.Attempts = before, 1 }),
			change: func(j *streamv1.StreamJob) { j.CreationTimestamp = now },
		},
		"it is being deleted": {
			made:   begun(func(s *streamv1.StreamSnapshot) { s.CreationTimestamp, s.DeletionTimestamp = before, &now }),
			change: func(j *streamv1.StreamJob) { j.CreationTimestamp = now },
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			job := scheduled("0 3 * * *", start.Format(time.RFC3339))
			tc.change(job)
			if diff := cmp.Diff(tc.want, NextScheduled(job, []streamv1.StreamSnapshot{tc.made}, notNeeded, start).Delete); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	of := []streamv1.StreamSnapshot{snapshotOf("p", never, start), snapshotOf("c", streamv1.SnapshotCompleted, start), begun(func(s *streamv1.StreamSnapshot) { s.Status.Attempts = 1 })}
	if diff := cmp.Diff([]string{"p"}, NeverBegan(nil, of)); diff != "" {
		t.Errorf("of a job that is gone (-want +got):\n%s", diff)
	}
}

func TestUsers(t *testing.T) {
	const path = "s3://bkt/savepoints/s1/"
	snap := &streamv1.StreamSnapshot{
		ObjectMeta: metav1.ObjectMeta{Name: "mine", UID: "u1"},
		Status:     streamv1.StreamSnapshotStatus{Path: path, Storage: &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt"}}},
	}
	job := func(change func(*streamv1.StreamJob)) []streamv1.StreamJob {
		j := streamv1.StreamJob{ObjectMeta: metav1.ObjectMeta{Name: "fork"}, Status: streamv1.StreamJobStatus{
			Deployment: &streamv1.DeploymentReport{Grant: 1}, LastCheckpoint: &streamv1.SnapshotReport{ID: 9, Path: "x"},
		}}
		change(&j)
		return []streamv1.StreamJob{j}
	}
	now := metav1.NewTime(start)
	tests := map[string]struct {
		jobs   []streamv1.StreamJob
		others []streamv1.StreamSnapshot
		want   []string
	}{
		"nobody": {jobs: job(func(j *streamv1.StreamJob) {
			j.Status.LastSavepoint = &streamv1.SnapshotReport{Path: path} // it runs, and has a newer checkpoint
			j.Status.Restore = &streamv1.RestoreReport{Path: path}
			j.Spec.RestoreFrom = &streamv1.RestoreFrom{Snapshot: "another"}
		})},
		"by name": {jobs: job(func(j *streamv1.StreamJob) { j.Spec.RestoreFrom = &streamv1.RestoreFrom{Snapshot: "mine"} }), want: []string{"StreamJob fork (spec.restoreFrom, to be taken out once the job has checkpoints of its own)"}},
		"by path": {
			jobs: job(func(j *streamv1.StreamJob) {
				j.Spec.RestoreFrom = &streamv1.RestoreFrom{Path: "s3://bkt/savepoints/s1/_metadata"}
			}),
			want: []string{"StreamJob fork (spec.restoreFrom, to be taken out once the job has checkpoints of its own)"},
		},
		"before its first checkpoint": {
			jobs: job(func(j *streamv1.StreamJob) {
				j.Status.LastCheckpoint, j.Status.Restore = nil, &streamv1.RestoreReport{Path: path}
			}),
			want: []string{"StreamJob fork (status.restore, until its version is stable and nothing is under way)"},
		},
		"a version that may be rolled back": {
			jobs: job(func(j *streamv1.StreamJob) {
				j.Status.Stability, j.Status.LastSavepoint = &streamv1.StabilityReport{}, &streamv1.SnapshotReport{Path: path}
			}),
			want: []string{"StreamJob fork (status.lastSavepoint, until its version is stable and nothing is under way)"},
		},
		"a suspended job": {
			jobs: job(func(j *streamv1.StreamJob) {
				j.Status.Deployment.Ended, j.Status.LastSavepoint = streamv1.EndStopped, &streamv1.SnapshotReport{Path: path}
			}),
			want: []string{"StreamJob fork (status.lastSavepoint, which it goes on from when it is run again)"},
		},
		"an upgrade under way": {
			jobs: job(func(j *streamv1.StreamJob) {
				j.Status.Operation = &streamv1.OperationReport{Type: streamv1.UpgradeOperation, Path: path}
			}),
			want: []string{"StreamJob fork (status.operation, until that has ended)"},
		},
		"another StreamSnapshot": {
			others: []streamv1.StreamSnapshot{
				{ObjectMeta: metav1.ObjectMeta{Name: "mine", UID: "u1"}, Status: snap.Status},
				{ObjectMeta: metav1.ObjectMeta{Name: "yours", UID: "u2"}, Status: snap.Status},
				{ObjectMeta: metav1.ObjectMeta{Name: "going", UID: "u3", DeletionTimestamp: &now}, Status: snap.Status},
				{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere", UID: "u4"}, Status: streamv1.StreamSnapshotStatus{
					Path: path, Storage: &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt", Endpoint: "https://other"}},
				}},
			},
			want: []string{"StreamSnapshot yours"},
		},
		"another StreamSnapshot that has not looked at the path yet": {
			others: []streamv1.StreamSnapshot{{
				ObjectMeta: metav1.ObjectMeta{Name: "new", UID: "u2"},
				Spec: streamv1.StreamSnapshotSpec{
					Path: "s3://bkt/savepoints/s1/_metadata", Storage: &streamv1.Storage{S3: &streamv1.S3Storage{Bucket: "bkt"}},
				},
			}},
			want: []string{"StreamSnapshot new"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Users(snap, tc.jobs, tc.others)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
