// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
)

const (
	benchStarts   = 5
	benchUpgrades = 10
	// wantStart and wantDowntime are what the medians are held against.
	wantStart    = 5 * time.Second
	wantDowntime = 4 * time.Second
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

// needsBench skips a measurement in a run of tests.
func needsBench(t *testing.T) {
	t.Helper()
	if !*bench {
		t.Skip("a measurement: run it with make e2e-bench")
	}
}

// TestBench_Start measures from the creation of a job to its first row.
func TestBench_Start(t *testing.T) {
	needsBench(t)
	s := newScenario(t, "bench-start")
	var took []time.Duration
	for i := range benchStarts {
		job := s.ticker(fmt.Sprintf("job-%d", i))
		begin := time.Now()
		s.create(job)
		first := s.followRows(s.await(job.Name, "a worker", func(job *streamv1.StreamJob) string {
			if job.Status.Deployment == nil || len(s.pods(job, worker)) == 0 {
				return "there is no pod"
			}
			return ""
		})).first(s)
		took = append(took, first.Sub(begin))
		s.remove(job.Name)
	}
	t.Logf("creation of the StreamJob to the first row: %v, median %v (want at most %v)", rounded(took), median(took), wantStart)
	if median(took) > wantStart {
		t.Errorf("the median is %v, want at most %v", median(took), wantStart)
	}
}

// TestBench_Upgrade measures how long a job doesn't work during upgrades.
func TestBench_Upgrade(t *testing.T) {
	needsBench(t)
	s := newScenario(t, "bench-upgrade")
	job := s.start(s.ticker("job"))
	rows := s.followRows(job)
	var downtimes, whole []time.Duration
	var check, save, pods, restore []time.Duration
	t.Logf("%4s %9s %9s %9s %9s %9s %9s", "", "check", "save", "pods", "restore", "downtime", "edit-run")
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
		first := newRows.first(s)
		job = s.await(job.Name, "the upgrade", running(generation))
		up := job.Status.LastUpgrade
		downtimes = append(downtimes, first.Sub(rows.last(s)))
		whole = append(whole, up.CompletedAt.Sub(up.StartedAt.Time))
		check, save = append(check, millis(up.CheckMillis)), append(save, millis(up.SaveMillis))
		pods, restore = append(pods, millis(up.PodsMillis)), append(restore, millis(up.RestoreMillis))
		t.Logf("%4d %9v %9v %9v %9v %9v %9v", i+1, check[i], save[i], pods[i], restore[i], downtimes[i].Round(time.Millisecond), whole[i].Round(time.Millisecond))
		rows = newRows
	}
	t.Logf("%4s %9v %9v %9v %9v %9v %9v", "med.", median(check), median(save), median(pods), median(restore), median(downtimes), median(whole))
	if median(downtimes) > wantDowntime {
		t.Errorf("the median downtime is %v, want at most %v", median(downtimes), wantDowntime)
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

// rowTimes are the times of the rows in the log of a worker, as it is written.
type rowTimes struct {
	got   chan struct{}
	ended chan struct{}
	mu    struct {
		sync.Mutex
		first, last time.Time
	}
}

// followRows follows the log of the worker of a job's deployed version, from when it runs until it ends.
func (s *scenario) followRows(job *streamv1.StreamJob) *rowTimes {
	s.Helper()
	r := &rowTimes{got: make(chan struct{}), ended: make(chan struct{})}
	name := s.pod(job, worker).Name
	go func() {
		defer close(r.ended)
		for s.Context().Err() == nil {
			log, err := suite.access.Client().CoreV1().Pods(s.ns).GetLogs(name, &corev1.PodLogOptions{Follow: true}).Stream(s.Context())
			if err != nil { // it doesn't run yet
				time.Sleep(pollInterval / 10)
				continue
			}
			sc := bufio.NewScanner(log)
			for sc.Scan() {
				r.add(sc.Bytes())
			}
			_ = log.Close()
			return
		}
	}()
	return r
}

func (r *rowTimes) add(line []byte) {
	var entry struct {
		Time time.Time
		Msg  string
	}
	if json.Unmarshal(line, &entry) != nil || entry.Msg != "Row" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.first.IsZero() {
		r.mu.first = entry.Time
		close(r.got)
	}
	r.mu.last = entry.Time
}

// first waits for the first row and returns its time.
func (r *rowTimes) first(s *scenario) time.Time {
	s.Helper()
	select {
	case <-r.got:
	case <-time.After(stepTimeout):
		s.Fatal("no row came")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.first
}

// last waits for the end of the worker and returns the time of its last row.
func (r *rowTimes) last(s *scenario) time.Time {
	s.Helper()
	select {
	case <-r.ended:
	case <-time.After(stepTimeout):
		s.Fatal("the worker didn't end")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.last
}
