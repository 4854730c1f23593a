// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"
	"time"

	"github.com/robfig/cron/v3"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
)

const (
	// defaultKept is how many savepoints of a schedule are kept unless the spec says.
	defaultKept = 10
	// failedKept is how many StreamSnapshots of a schedule stay that came to nothing, for people to look at.
	failedKept = 3
)

// Schedule is what is to be done about the savepoints of a schedule.
type Schedule struct {
	// Create is the time for which a StreamSnapshot is to be made; zero: none.
	Create time.Time
	// Mark is the newest time that is dealt with, to be written to the StreamJob once Create is done; zero: it stays what it was.
	Mark time.Time
	// Unmark takes that time away: there is no schedule any more.
	Unmark bool
	// Delete names the StreamSnapshots to delete.
	Delete []string
	// Next is when to look again though nothing changed; 0: no need to.
	Next time.Duration
}

// ScheduledName is the name of the StreamSnapshot of a job for a time.
func ScheduledName(job string, at time.Time) string {
	return job + "-" + at.UTC().Format("20060102-1504")
}

// NextScheduled decides what to do about the savepoints of the schedule of a StreamJob. made are the StreamSnapshots that its schedule made; needed says
// which of them somebody needs. A StreamJob that is paused, or being deleted, is left alone. The time that was dealt with last is in an annotation of the StreamJob, so that the same objects and time give
// the same decision, by whichever operator.
func NextScheduled(job *streamv1.StreamJob, made []streamv1.StreamSnapshot, needed func(*streamv1.StreamSnapshot) bool, now time.Time) Schedule {
	var out Schedule
	if job.DeletionTimestamp != nil || job.Annotations[streamv1.AnnotationPaused] == "true" {
		return out
	}
	marked, has := job.Annotations[streamv1.AnnotationScheduled]
	if job.Spec.Savepoint == nil || job.Spec.Savepoint.Schedule == "" {
		out.Unmark = has
		return out
	}
	out.Delete = append(prune(job.Spec.Savepoint.Retention, made, needed, now, &out), NeverBegan(job, made)...)
	schedule, err := jobconfig.ParseSchedule(job.Spec.Savepoint.Schedule)
	if err != nil {
		return out // the StreamJob says that it is invalid
	}
	now = now.UTC()
	if next := schedule.Next(now); !next.IsZero() {
		out.again(next.Sub(now))
	}
	mark, err := time.Parse(time.RFC3339, marked)
	if err != nil {
		out.Mark = now.Truncate(time.Second) // the first one is the next one
		return out
	}
	tick := latest(schedule, mark.UTC(), now)
	switch {
	case tick.IsZero():
	case !hasSomethingToSave(job):
		out.Mark = tick
	case slices.ContainsFunc(made, func(s streamv1.StreamSnapshot) bool { return underWay(&s) }):
		// It is made up for when that one has come to an end: a change of the StreamSnapshot brings another look.
	default:
		out.Create, out.Mark = tick, tick
	}
	return out
}

func (s *Schedule) again(d time.Duration) {
	if d = max(d, time.Second); s.Next == 0 || d < s.Next {
		s.Next = d
	}
}

// hasSomethingToSave says that a job is meant to run, and that a version of it has begun. One whose first version can't, as with a program that is
// invalid, has no state, and may never have any.
func hasSomethingToSave(job *streamv1.StreamJob) bool {
	d, j := job.Status.Deployment, job.Status.Job
	return (job.Spec.State == "" || job.Spec.State == streamv1.StateRunning) && d != nil && d.Ended == "" &&
		hasStorage(job) && j != nil && j.ID != ""
}

// hasStorage says that a job has storage, of its own or by the configuration of the operator.
func hasStorage(job *streamv1.StreamJob) bool {
	e := job.Status.Effective
	return job.Spec.Storage != nil || e != nil && e.Storage != ""
}

// NeverBegan names those of the StreamSnapshots that a schedule made that have asked nobody for a savepoint yet and have nobody to ask: their job is
// gone, which a nil one stands for, or has finished. There is nothing of them in storage.
func NeverBegan(job *streamv1.StreamJob, made []streamv1.StreamSnapshot) []string {
	finished := job != nil && job.Status.Deployment != nil && job.Status.Deployment.Ended == streamv1.EndFinished
	var names []string
	for i := range made {
		s := &made[i]
		begun := s.Status.State != "" && s.Status.State != streamv1.SnapshotPending || s.Status.Attempts > 0 || s.Status.OperationID != ""
		if begun || s.DeletionTimestamp != nil {
			continue
		}
		if job == nil || finished || s.CreationTimestamp.Before(&job.CreationTimestamp) {
			names = append(names, s.Name)
		}
	}
	return names
}

func underWay(s *streamv1.StreamSnapshot) bool { return !hasEnded(s) && s.DeletionTimestamp == nil }

func hasEnded(s *streamv1.StreamSnapshot) bool {
	return s.Status.State == streamv1.SnapshotCompleted || s.Status.State == streamv1.SnapshotFailed || s.Status.State == streamv1.SnapshotDeleting
}

// latest is the newest time of a schedule after one time, up to another; zero: there is none. It looks back in steps that grow, so that a schedule of
// every minute takes no longer after a year than after an hour.
func latest(s cron.Schedule, after, upTo time.Time) time.Time {
	for _, back := range []time.Duration{time.Hour, 24 * time.Hour, 32 * 24 * time.Hour, 10 * 366 * 24 * time.Hour} {
		from := upTo.Add(-back)
		if from.Before(after) {
			from = after
		}
		var last time.Time
		for t := s.Next(from); !t.IsZero() && !t.After(upTo); t = s.Next(t) {
			last = t
		}
		if !last.IsZero() || !from.After(after) {
			return last
		}
	}
	return time.Time{}
}

// prune names the StreamSnapshots that retention doesn't keep.
func prune(r *streamv1.SavepointRetention, made []streamv1.StreamSnapshot, needed func(*streamv1.StreamSnapshot) bool, now time.Time, out *Schedule) []string {
	count, age := defaultKept, time.Duration(0)
	if r != nil {
		count, age = int(cmp.Or(r.Count, defaultKept)), r.MaxAge.Duration
	}
	var complete, failed []*streamv1.StreamSnapshot
	for i := range made {
		s := &made[i]
		switch {
		case s.DeletionTimestamp != nil:
		case s.Status.State == streamv1.SnapshotCompleted:
			complete = append(complete, s)
		case s.Status.State == streamv1.SnapshotFailed:
			failed = append(failed, s)
		}
	}
	newestFirst := func(a, b *streamv1.StreamSnapshot) int {
		return cmp.Or(b.Status.CompletedAt.Compare(a.Status.CompletedAt.Time), b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(b.Name, a.Name))
	}
	slices.SortFunc(complete, newestFirst)
	slices.SortFunc(failed, newestFirst)
	var names []string
	for i, s := range complete {
		if i == 0 {
			continue
		}
		left := time.Duration(1)
		if age > 0 {
			left = age - now.Sub(s.Status.CompletedAt.Time)
		}
		switch {
		case i < count && left > 0:
			if age > 0 {
				out.again(left)
			}
		case needed(s):
			out.again(usersPoll)
		default:
			names = append(names, s.Name)
		}
	}
	for _, s := range failed[min(len(failed), failedKept):] {
		names = append(names, s.Name)
	}
	return names
}
