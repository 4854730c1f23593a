// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
	"github.com/weir-stream/weir/runtime/transport/control"
)

// standingBy are the options of a coordinator in standby.
func (c *cluster) standingBy(grant int64) Options {
	o := c.granted(grant)
	o.Standby = NewGate()
	return o
}

func isReady(s *contract.JobStatus) bool { return s.Standby != nil && s.Standby.Ready }

// headOf reads the head of the job of these tests.
func (c *cluster) headOf() snapshot.Head {
	c.t.Helper()
	h, _, found, err := readHead(c.t.Context(), c.options().Store, "default/test/0123456789/")
	if err != nil || !found {
		c.t.Fatalf("reading the head: %v, found %v", err, found)
	}
	return h
}

func TestStandby_ClaimsNothingUntilItIsActivated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		old := c.start(c.granted(1))
		old.worker("old")
		old.await("a checkpoint", hasCheckpoint)
		next := c.start(c.standingBy(2))
		s := next.await("standby", func(s *contract.JobStatus) bool { return s.Standby != nil })
		if s.State != contract.JobStandby || s.Standby.Ready || s.SlotsNeeded != 1 || s.Epoch.Grant != 0 || s.JobID != "" {
			t.Errorf("without workers it is %+v with %+v", s, s.Standby)
		}
		w := next.worker("new")
		s = next.await("ready", isReady)
		want := &contract.StatePlan{
			Snapshot: s.Standby.Plan.Snapshot, Accepted: true, Operators: []contract.OperatorPlan{
				{Name: "source", Outcome: contract.StateMaps, Bytes: 1}, {Name: "sink", Outcome: contract.StateMaps},
			},
		}
		if d := cmp.Diff(want, s.Standby.Plan); d != "" || s.Standby.Plan.Snapshot == nil || len(s.Workers) != 1 {
			t.Errorf("with %d workers, the plan differs (-want +got):\n%s", len(s.Workers), d)
		}
		time.Sleep(time.Minute) // beyond every timeout of a worker that is not answered
		if h := c.headOf(); h.Epoch.Grant != 1 {
			t.Errorf("in standby the head went to grant %d", h.Epoch.Grant)
		}
		if _, err := next.Stop(t.Context(), contract.StopRequest{OperationID: "x"}); !isUnavailable(err) {
			t.Errorf("a stop in standby: %v", err)
		}
		op := old.stop("stop-1")
		for range 2 {
			if a, err := next.Activate(t.Context(), contract.ActivateRequest{Grant: 2}); err != nil || a.Grant != 2 {
				t.Fatalf("activating: %+v, %v", a, err)
			}
		}
		s = next.await("running", isRunning)
		if s.RestoredFrom == nil || s.RestoredFrom.Path != op.Path || s.Standby != nil || s.Epoch.Grant != 2 {
			t.Errorf("it runs from %+v, want %s: %+v", s.RestoredFrom, op.Path, s)
		}
		if n := len(w.deployments()); n != 1 {
			t.Errorf("the worker that waited was deployed to %d times", n)
		}
		if _, err := next.Activate(t.Context(), contract.ActivateRequest{}); err != nil {
			t.Errorf("activating one that runs: %v", err)
		}
		next.cancel()
		if _, err := next.wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestStandby_RefusesAnotherGrant(t *testing.T) {
	_, err := activate(NewGate(), 4, contract.ActivateRequest{Grant: 3})
	if e, ok := errors.AsType[*contract.APIError](err); !ok || e.Status != http.StatusConflict {
		t.Errorf("got %v", err)
	}
	g := NewGate()
	if _, err := activate(g, 4, contract.ActivateRequest{}); err != nil || !g.isOpen() {
		t.Errorf("without a grant: %v, open %v", err, g.isOpen())
	}
}

func TestStandby_GoesOnByItselfWhenTheHeadIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		r := c.start(c.granted(2))
		r.worker("w1")
		r.await("a checkpoint", hasCheckpoint)
		r.cancel()
		_, _ = r.wait()
		r = c.start(c.standingBy(2))
		r.worker("w2")
		r.await("running", isRunning)
		r.cancel()
		_, _ = r.wait()
	})
}

func TestStandby_IsShutOutByAHigherGrant(t *testing.T) {
	tests := map[string]bool{"before it began": true, "while it waits": false}
	for name, before := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				c.stopped()
				var r *running
				if !before {
					r = c.start(c.standingBy(3))
					r.worker("w")
					r.await("ready", isReady)
				}
				if _, err := Fence(t.Context(), c.granted(5), nil); err != nil {
					t.Fatal(err)
				}
				if before {
					r = c.start(c.standingBy(3))
				}
				if _, err := r.wait(); !Fenced(err) {
					t.Errorf("it ended with %v", err)
				}
			})
		})
	}
}

func TestStandby_SaysWhatOfTheStateDoesNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.stopped()
		o := c.standingBy(2)
		o.Build = func(cfg contract.JobConfig) (*graph.Graph, error) {
			g, err := buildTwo(cfg)
			g.Nodes[0].Name, g.Nodes[1].Inputs[0].From = "other", "other"
			return g, err
		}
		r := c.start(o)
		r.worker("w")
		s := r.await("the plan", func(s *contract.JobStatus) bool { return s.Standby != nil && len(s.Workers) == 1 })
		p := s.Standby.Plan
		if s.Standby.Ready || p.Accepted || len(p.Problems) != 1 || !strings.Contains(p.Problems[0], `"source"`) {
			t.Errorf("got %+v with %+v", s.Standby, p)
		}
		want := []contract.OperatorPlan{
			{Name: "other", Outcome: contract.StateStartsEmpty},
			{Name: "sink", Outcome: contract.StateMaps},
			{Name: "source", Outcome: contract.StateDropped, Bytes: 1},
		}
		if d := cmp.Diff(want, p.Operators); d != "" {
			t.Errorf("operators differ (-want +got):\n%s", d)
		}
		r.cancel()
		_, _ = r.wait()
	})
}

func TestStandby_LosesAWorkerThatGoesSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.stopped()
		r := c.start(c.standingBy(2))
		w := r.worker("w1")
		r.await("ready", isReady)
		w.mu.Lock()
		w.mu.mute = true
		w.mu.Unlock()
		s := r.await("the loss", func(s *contract.JobStatus) bool { return len(s.Workers) == 0 })
		if isReady(s) {
			t.Error("it is ready without workers")
		}
		r.worker("w2")
		r.await("ready again", isReady)
		r.o.Standby.Open()
		r.await("running", isRunning)
		r.cancel()
		_, _ = r.wait()
	})
}

// Storage may fail at any time; what was activated stays so.
func TestStandby_StorageFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.stopped()
		var broken atomic.Bool
		gate := NewGate()
		s := c.supervise(func() Options {
			o := c.granted(2)
			o.Standby = gate
			o.Store = c.store.Client(memstore.Options{Faults: func(string, string, int) memstore.Fault {
				if broken.Load() {
					return memstore.FailBefore(&storage.Error{Op: "reading", Store: "test", Err: errors.New("connection refused"), Retriable: true})
				}
				return memstore.None()
			}})
			return o
		})
		s.await("standby", func(s *contract.JobStatus) bool { return s.Standby != nil })
		s.worker("w1")
		s.await("ready", isReady)
		broken.Store(true)
		st := s.await("a problem", func(s *contract.JobStatus) bool { return s.Problem != nil })
		if !isReady(st) || st.Problem.Reason != contract.StorageUnavailable || st.Problem.RetryAt.IsZero() {
			t.Errorf("got %+v with %+v", st, st.Problem)
		}
		broken.Store(false)
		s.await("no problem", func(s *contract.JobStatus) bool { return s.Problem == nil && isReady(s) })
		broken.Store(true)
		if _, err := s.activate(t.Context(), contract.ActivateRequest{Grant: 2}); err != nil {
			t.Fatal(err)
		}
		st = s.await("another problem", func(s *contract.JobStatus) bool { return s.Problem != nil })
		if st.State != contract.JobStarting {
			t.Errorf("it was activated and is %s", st.State)
		}
		broken.Store(false)
		s.await("a coordinator", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
		s.worker("w2")
		s.await("running", isRunning)
	})
}

// A worker gives up a connection on which nothing comes for the heartbeat timeout, and readiness with it.
func TestStandby_KeepsItsWorkersWhileTheJobIsBeingClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.stopped()
		o := c.standingBy(2)
		o.EnsureDefaults()
		o.Store = c.store.Client(memstore.Options{Faults: func(op, _ string, _ int) memstore.Fault {
			if op == memstore.OpSwap {
				return memstore.FailBefore(nil)
			}
			return memstore.None()
		}})
		r := c.start(o)
		stream, end, closeEnd := control.Pipe(t.Context())
		go func() {
			_ = r.Handle(end)
			closeEnd()
		}()
		if err := stream.Send(protocol.FromWorker{Register: &protocol.Register{Worker: "w1", Slots: 1, Protocol: protocol.ControlVersion}}); err != nil {
			t.Fatal(err)
		}
		var longest time.Duration
		heard := make(chan struct{})
		go func() {
			defer close(heard)
			for last := time.Now(); ; last = time.Now() {
				_, err := stream.Recv()
				longest = max(longest, time.Since(last))
				if err != nil {
					return
				}
				if stream.Send(protocol.FromWorker{Heartbeat: &protocol.Heartbeat{}}) != nil {
					return
				}
			}
		}()
		r.await("ready", isReady)
		o.Standby.Open()
		r.await("the storage", func(s *contract.JobStatus) bool { return s.Problem != nil })
		time.Sleep(2 * o.HeartbeatTimeout)
		r.cancel()
		_, _ = r.wait()
		_ = stream.Close()
		<-heard
		if longest >= o.HeartbeatTimeout {
			t.Errorf("the worker heard nothing for %v", longest)
		}
	})
}
