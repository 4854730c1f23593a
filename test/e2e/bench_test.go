// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/hack/e2e/stage"
)

const (
	benchStarts   = 5
	benchUpgrades = 10
	// wantStart and wantDowntime are what the medians are held against.
	wantStart    = 5 * time.Second
	wantDowntime = 4 * time.Second
	// wantWarmDowntime is that of an upgrade whose new pods were there before.
	wantWarmDowntime = 1500 * time.Millisecond
)

// ticker returns a job that logs a row every ten milliseconds, whose times show when the job worked.
func (s *scenario) ticker(name string) *streamv1.StreamJob {
	job := s.newJob(name)
	job.Spec.Parallelism = 1
	job.Spec.Dataflow = &streamv1.Dataflow{Operators: []streamv1.Operator{
		{Name: "ticks", Generator: &streamv1.GeneratorSource{Keys: 1, RowsPerSecond: 100}},
		{Name: "by-key", Inputs: []streamv1.OperatorName{"ticks"}, KeyBy: &streamv1.KeyByStep{Columns: []streamv1.ColumnName{"key"}}},
		{Name: "count", Inputs: []streamv1.OperatorName{"by-key"}, Aggregate: &streamv1.AggregateStep{
			Aggregates: []streamv1.Aggregation{{Name: "rows", Function: streamv1.CountFunction}},
		}},
		{Name: "log", Inputs: []streamv1.OperatorName{"count"}, Log: &streamv1.LogSink{}},
	}}
	return job
}

// TestBench_TwoHundredJobs starts two hundred jobs at once.
func TestBench_TwoHundredJobs(t *testing.T) {
	const (
		jobs  = 200
		limit = 20 * time.Minute
		bytes = 400e6
	)
	newScenario(t, "bench-many").runMany(jobs, limit, bytes)
}

// TestBench_Start measures from the creation of a job to its first row.
func TestBench_Start(t *testing.T) {
	s := newScenario(t, "bench-start")
	var took []time.Duration
	for i := range benchStarts {
		job := s.ticker(fmt.Sprintf("job-%d", i))
		begin := time.Now()
		s.create(job)
		rows := s.followRows(s.await(job.Name, "a worker", func(job *streamv1.StreamJob) string {
			if job.Status.Deployment == nil || len(s.pods(job, worker)) == 0 {
				return "there is no pod"
			}
			return ""
		}))
		took = append(took, s.firstRow(rows).Sub(begin))
		s.remove(job.Name)
	}
	t.Logf("creation of the StreamJob to the first row: %v, median %v (want at most %v)", rounded(took), median(took), wantStart)
	if median(took) > wantStart {
		t.Errorf("the median is %v, want at most %v", median(took), wantStart)
	}
}

// TestBench_Upgrade measures how long a job doesn't work during upgrades.
func TestBench_Upgrade(t *testing.T) {
	newScenario(t, "bench-upgrade").measureUpgrades(streamv1.SurgeNever, wantDowntime)
}

// TestBench_WarmUpgrade measures the same when the pods of the new version are started before the old one stops.
func TestBench_WarmUpgrade(t *testing.T) {
	newScenario(t, "bench-warm").measureUpgrades(streamv1.SurgeIfPossible, wantWarmDowntime)
}

func (s *scenario) measureUpgrades(surge streamv1.Surge, want time.Duration) {
	s.Helper()
	ticker := s.ticker("job")
	ticker.Spec.Upgrade.Surge = surge
	job := s.start(ticker)
	rows := s.followRows(job)
	var downtimes, whole []time.Duration
	var check, save, pods, restore []time.Duration
	s.Logf("%4s %9s %9s %9s %9s %9s %9s", "", "check", "save", "pods", "restore", "downtime", "edit-run")
	for i := range benchUpgrades {
		s.progress(job)
		generation := s.patch(job.Name, fmt.Sprintf(`{"spec":{"disableChaining":%t}}`, i%2 == 0))
		next := s.await(job.Name, "the next version", func(job *streamv1.StreamJob) string {
			if d := job.Status.Deployment; d == nil || d.Generation < generation || len(s.pods(job, worker)) == 0 {
				return "it has no pod"
			}
			return ""
		})
		newRows := s.followRows(next)
		first := s.firstRow(newRows)
		job = s.await(job.Name, "the upgrade", running(generation))
		up := job.Status.LastUpgrade
		downtimes = append(downtimes, first.Sub(s.lastRow(rows)))
		whole = append(whole, up.CompletedAt.Sub(up.StartedAt.Time))
		check, save = append(check, millis(up.CheckMillis)), append(save, millis(up.SaveMillis))
		pods, restore = append(pods, millis(up.PodsMillis)), append(restore, millis(up.RestoreMillis))
		s.Logf("%4d %9v %9v %9v %9v %9v %9v", i+1, check[i], save[i], pods[i], restore[i], downtimes[i].Round(time.Millisecond), whole[i].Round(time.Millisecond))
		rows = newRows
	}
	s.Logf("%4s %9v %9v %9v %9v %9v %9v", "med.", median(check), median(save), median(pods), median(restore), median(downtimes), median(whole))
	if median(downtimes) > want {
		s.Errorf("the median downtime is %v, want at most %v", median(downtimes), want)
	}
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2].Round(time.Millisecond)
}

func rounded(d []time.Duration) (out []time.Duration) {
	for _, v := range d {
		out = append(out, v.Round(time.Millisecond))
	}
	return out
}

// followRows follows the log of the worker of a job's deployed version, from when it runs until it ends.
func (s *scenario) followRows(job *streamv1.StreamJob) *stage.RowTimes {
	s.Helper()
	return suite.access.FollowRows(s.Context(), s.ns, s.pod(job, worker).Name)
}

// firstRow waits for the first row and returns its time.
func (s *scenario) firstRow(r *stage.RowTimes) time.Time {
	s.Helper()
	select {
	case <-r.Began():
	case <-time.After(stepTimeout):
		s.Fatal("no row came")
	}
	return r.First()
}

// lastRow waits for the end of the worker and returns the time of its last row.
func (s *scenario) lastRow(r *stage.RowTimes) time.Time {
	s.Helper()
	select {
	case <-r.Ended():
	case <-time.After(stepTimeout):
		s.Fatal("the worker didn't end")
	}
	return r.Last()
}
