// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
)

func TestPolicy_ReachesARunningJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.Checkpointing.Interval = contract.Duration(time.Hour)
		r := c.start(o)
		r.worker("w1")
		r.await("running", isRunning)
		p := contract.Policy{
			Revision: "p1", Checkpointing: &contract.Checkpointing{Interval: contract.Duration(time.Second), RetentionCount: 3},
			Restart: contract.Restart{None: &struct{}{}},
		}
		for range 2 { // the second time it is in force already
			got, err := r.setPolicy(t.Context(), p)
			if diff := cmp.Diff(p, got); err != nil || diff != "" {
				t.Fatalf("in force (-want +got):\n%s%v", diff, err)
			}
		}
		s := r.await("checkpoints each second", hasCheckpoint)
		if s.PolicyRevision != "p1" {
			t.Errorf("the status names policy %q, want p1", s.PolicyRevision)
		}
		if n := len(r.worker("w2").deployments()); n != 0 {
			t.Errorf("the policy led to %d deployments on another worker, want none", n)
		}
		var refused *contract.APIError
		p.Revision, p.Checkpointing = "p2", nil
		if _, err := r.setPolicy(t.Context(), p); !errors.As(err, &refused) || refused.Status != http.StatusConflict || refused.Remedy == "" {
			t.Errorf("switching checkpoints off gave %v, want a conflict with a remedy", err)
		}
		p.Checkpointing = &contract.Checkpointing{Interval: -1}
		if _, err := r.setPolicy(t.Context(), p); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
			t.Errorf("a negative interval gave %v, want a bad request", err)
		}
		r.stop("op")
		_, _ = r.wait()
		if _, err := r.setPolicy(t.Context(), p); !errors.As(err, &refused) || refused.Status != http.StatusConflict {
			t.Errorf("after the end it gave %v, want a conflict", err)
		}
	})
}

func TestAPI_Policy(t *testing.T) {
	f := &fakeControl{}
	c, _ := serve(t, f)
	p := contract.Policy{Revision: "p1", Checkpointing: &contract.Checkpointing{Interval: contract.Duration(time.Minute)}}
	got, err := c.SetPolicy(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]contract.Policy{p, p}, append(f.policies, *got)); diff != "" {
		t.Errorf("set and answered (-want +got):\n%s", diff)
	}
	var refused *contract.APIError
	if _, err := c.SetPolicy(t.Context(), contract.Policy{}); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
		t.Errorf("without a revision: %v, want a bad request", err)
	}
}

func TestRun_GivesUpASavepointInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		r := c.start(c.options())
		w := r.worker("w1")
		r.await("running", isRunning)
		w.mu.Lock()
		w.mu.deaf = true
		w.mu.Unlock()
		began := time.Now()
		op, err := r.Stop(t.Context(), contract.StopRequest{OperationID: "op", Timeout: contract.Duration(3 * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		op, err = r.Operation(t.Context(), op.ID, time.Minute)
		if err != nil || op.Phase != contract.OperationFailed || time.Since(began) > 4*time.Second {
			t.Errorf("after %v the operation is %+v, %v; want it failed after 3s", time.Since(began), op, err)
		}
		r.await("running on", isRunning)
		r.cancel()
		_, _ = r.wait()
	})
}
