// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"testing"
	"time"

	"github.com/weir-stream/weir/controllers/streamjob/engine"
	"github.com/weir-stream/weir/runtime/contract"
)

// A version that stands by is watched beside the one that runs, and taken over with its report when it replaces that.
func TestPoller_WatchesACandidateAndTakesItOver(t *testing.T) {
	play(t, func(t *testing.T, b *bench) {
		b.Watch(jobKey, engine.Target{Grant: 1, Addr: "old:1"})
		pass(10 * time.Second)
		b.changes()
		next := engine.Target{Grant: 2, Addr: "next:1"}
		b.at("next:1").status = contract.JobStatus{State: contract.JobStandby, Standby: &contract.StandbyReport{}}
		b.WatchCandidate(jobKey, &next)
		if r := b.Candidate(jobKey); r != nil {
			t.Errorf("before anybody was asked the report is %+v", r)
		}
		pass(time.Millisecond)
		if r := b.Candidate(jobKey); r == nil || r.Grant != 2 || r.Status.State != contract.JobStandby || b.changes() != 1 {
			t.Fatalf("the report of the candidate is %+v", r)
		}
		b.at("next:1").set(func(c *coordinator) { c.status.Standby = &contract.StandbyReport{Ready: true} })
		pass(300 * time.Millisecond)
		if r := b.Candidate(jobKey); !r.Status.Standby.Ready || b.changes() != 1 {
			t.Errorf("that it is ready is no news: %+v", r)
		}
		if r := b.Report(jobKey); r.Grant != 1 || r.Status.State != contract.JobRunning {
			t.Errorf("the report of the job is %+v", r)
		}
		b.WatchCandidate(jobKey, &next)
		b.Watch(jobKey, next)
		if r := b.Report(jobKey); r == nil || r.Grant != 2 || !r.Status.Standby.Ready || b.Candidate(jobKey) != nil {
			t.Errorf("once it replaces the job the report is %+v", r)
		}
		c, err := b.Client(jobKey)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := c.Activate(t.Context(), contract.ActivateRequest{Grant: 2}); err != nil || a.Grant != 2 {
			t.Errorf("activating: %+v, %v", a, err)
		}
		b.WatchCandidate(jobKey, nil)
		pass(time.Second)
		if !b.at("old:1").closed || b.at("next:1").closed {
			t.Errorf("closed: the old one %v, the next one %v", b.at("old:1").closed, b.at("next:1").closed)
		}
		b.WatchCandidate(jobKey, &engine.Target{Grant: 3, Addr: "third:1"})
		pass(time.Millisecond)
		b.Forget(jobKey)
		pass(time.Millisecond)
		if !b.at("next:1").closed || !b.at("third:1").closed || b.Candidate(jobKey) != nil {
			t.Error("it is still watched after it was forgotten")
		}
	})
}
