// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
)

// drain stops the job with drain and returns the operation.
func (r *running) drain(id string) contract.Operation {
	r.t.Helper()
	if _, err := r.Stop(r.t.Context(), contract.StopRequest{OperationID: id, Drain: true}); err != nil {
		r.t.Fatal(err)
	}
	op, err := r.Operation(r.t.Context(), id, time.Minute)
	if err != nil {
		r.t.Fatal(err)
	}
	return op
}

// A drain that fails when its savepoint is complete is recovered from without consent, also by the next coordinator. Starting anew after one that
// was done needs it.
func TestDrain_NeedsConsentOnlyAfterItWasDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Operated, o.Grant = true, 1
		o.Job.NewJobID = o.Job.JobID
		o.Job.Checkpointing.Interval = contract.Duration(time.Hour)
		r := c.start(o)
		w := r.worker("w1")
		w.mu.Lock()
		w.mu.stubborn = true
		w.mu.Unlock()
		r.await("running", isRunning)
		op := r.drain("d1")
		if op.Phase != contract.OperationFailed || op.Path == "" {
			t.Fatalf("the drain ended as %+v, want it to have failed with a savepoint", op)
		}
		s := r.await("running again", func(s *contract.JobStatus) bool { return isRunning(s) && s.Restarts == 1 })
		if s.RestoredFrom == nil || s.RestoredFrom.Path != op.Path {
			t.Errorf("restored from %+v, want %s", s.RestoredFrom, op.Path)
		}
		r.cancel()
		_, _ = r.wait()

		o.Grant = 2
		if _, err := Check(t.Context(), o); err != nil {
			t.Errorf("checking what comes next: %v", err)
		}
		r = c.start(o)
		r.worker("w2")
		r.await("running under the next grant", isRunning)
		if op := r.drain("d2"); op.Phase != contract.OperationSucceeded {
			t.Fatalf("the drain ended as %+v", op)
		}
		_, _ = r.wait()

		o.Grant = 3
		r = c.start(o)
		if _, err := r.wait(); err == nil || !strings.Contains(err.Error(), "allowDrained") {
			t.Errorf("started anew: %v, want it to ask for consent", err)
		}
		o.Job.AllowDrained = true
		r = c.start(o)
		r.worker("w3")
		r.await("running with consent", isRunning)
		r.cancel()
		_, _ = r.wait()
	})
}
