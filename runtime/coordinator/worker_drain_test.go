// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
)

func (w *fakeWorker) setDeaf() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.deaf = true
}

func (w *fakeWorker) isDrained() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.drained
}

// A worker that is to end is told when a checkpoint is complete that was taken for it, or at once when there is none to wait for.
func TestWorkerDrain_WaitsForACheckpointOfARunningJob(t *testing.T) {
	hourly := func(o *Options) { o.Job.Checkpointing.Interval = contract.Duration(time.Hour) }
	tests := map[string]struct {
		change func(*Options)
		// before makes the job what it is when the worker asks.
		before      func(*running, *fakeWorker)
		checkpoints int64
		late        bool
	}{
		"running":                 {change: hourly, before: func(r *running, _ *fakeWorker) { r.await("running", isRunning) }, checkpoints: 1},
		"without enough workers":  {change: func(o *Options) { o.Job.Parallelism = 2 }},
		"without checkpointing":   {change: func(o *Options) { o.Job.Checkpointing = nil }, before: func(r *running, _ *fakeWorker) { r.await("running", isRunning) }},
		"in standby":              {change: func(o *Options) { o.Grant, o.Standby = 1, NewGate() }},
		"a task that can't do so": {change: hourly, before: func(r *running, w *fakeWorker) { r.await("running", isRunning); w.setDeaf() }, late: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				o := c.newJob()
				tc.change(&o)
				r := c.start(o)
				w := r.worker("w1")
				r.await("the worker", func(s *contract.JobStatus) bool { return len(s.Workers) == 1 })
				if tc.before != nil {
					tc.before(r, w)
				}
				if err := w.stream.Send(protocol.FromWorker{Draining: true}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				if w.isDrained() == tc.late {
					t.Errorf("after a second it is told: %v", !tc.late)
				}
				if h, err := r.checkpoints(t.Context()); err != nil || h.Completed != tc.checkpoints {
					t.Errorf("%d checkpoints, want %d: %v", h.Completed, tc.checkpoints, err)
				}
				if time.Sleep(11 * time.Minute); !w.isDrained() { // the checkpoint has expired
					t.Error("it is never told")
				}
				r.cancel()
				_, _ = r.wait()
			})
		})
	}
}
