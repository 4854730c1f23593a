// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// buildCommitting is a job whose sink commits to the outside.
func buildCommitting(cfg contract.JobConfig) (*graph.Graph, error) {
	g, err := buildTwo(cfg)
	g.Nodes[1].Transactional = true
	return g, err
}

const beforeUpgrade = "/test/savepoints/savepoint-012345-stop-1/"

// upgraded stops a job with a savepoint, stop-1, and runs it under grant 2 until that has checkpoints of its own. It returns their directories.
func (c *cluster) upgraded(build func(contract.JobConfig) (*graph.Graph, error)) []string {
	c.t.Helper()
	c.stopped()
	o := c.granted(2)
	o.Build, o.Job.Checkpointing.RetentionCount = build, 3
	r := c.start(o)
	w := r.worker("w2")
	r.await("checkpoints", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID > 102 })
	r.cancel()
	_, _ = r.wait()
	<-w.done
	var dirs []string
	for _, k := range c.head().Checkpoints {
		if k.ID > 100 {
			dirs = append(dirs, k.Path)
		}
	}
	return dirs
}

func (c *cluster) head() *snapshot.Head {
	c.t.Helper()
	o := c.options()
	h, _, found, err := readHead(c.t.Context(), o.Store, jobsDir(o.Job)+o.Job.JobID+"/")
	if err != nil || !found {
		c.t.Fatalf("reading the head: %v, %v", found, err)
	}
	return &h
}

// back is the configuration of a coordinator that goes back to the savepoint.
func (c *cluster) back(grant int64) Options {
	o := c.granted(grant)
	o.Operated, o.Job.RewindTo, o.Job.Checkpointing.RetentionCount = true, beforeUpgrade, 3
	return o
}

func TestRewind_GoesOnFromTheOlderSnapshotAndDeletesTheNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		newer := c.upgraded(buildTwo)
		lastID := c.head().ReservedUntil
		agent, err := Check(t.Context(), c.back(3))
		if err != nil || !agent.OK || agent.Rewind == nil || !agent.Rewind.Safe || agent.Rewind.Snapshot.Path != beforeUpgrade || agent.Rewind.Snapshot.Kind != "Savepoint" ||
			agent.Rewind.Newer != len(newer) || agent.Newest == nil || agent.Newest.ID < 102 || agent.Newest.Kind != "Checkpoint" {
			t.Fatalf("the agent says %+v, %+v, %v", agent, agent.Rewind, err)
		}
		if h := c.head(); h.Epoch.Grant != 2 || len(h.Checkpoints) < len(newer) {
			t.Errorf("the agent changed the head to %+v", h)
		}
		r := c.start(c.back(3))
		r.worker("w3")
		s := r.await("running", isRunning)
		if s.RestoredFrom == nil || s.RestoredFrom.Path != beforeUpgrade {
			t.Errorf("it went on from %+v", s.RestoredFrom)
		}
		s = r.await("a checkpoint of its own", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID > 102 })
		if s.LastCheckpoint.ID < lastID {
			t.Errorf("checkpoint %d has an id from before, %d", s.LastCheckpoint.ID, lastID)
		}
		for _, dir := range newer {
			if left := c.keysBelow(dir); len(left) > 0 {
				t.Errorf("of what it left behind there is %v", left)
			}
		}
		r.cancel()
		_, _ = r.wait()
		// A coordinator of the same grant goes on from what there is since.
		r = c.start(c.back(3))
		r.worker("w4")
		again := r.await("running again", isRunning)
		if again.RestoredFrom == nil || again.RestoredFrom.ID < s.LastCheckpoint.ID {
			t.Errorf("it went on from %+v, and there was %+v", again.RestoredFrom, s.LastCheckpoint)
		}
		r.cancel()
		_, _ = r.wait()
	})
}

func TestRewind_RefusesBehindACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.upgraded(buildCommitting)
		agent, err := Check(t.Context(), c.back(3))
		if p := ProblemOf(orNone(err)); p.Reason != contract.RewindUnsafe || agent.OK || agent.Rewind == nil || agent.Rewind.Safe || !agent.Rewind.SinksMayHaveCommitted {
			t.Errorf("the agent says %+v, %+v, %v", agent, agent.Rewind, err)
		}
		if _, err := c.start(c.back(3)).wait(); ProblemOf(orNone(err)).Reason != contract.RewindUnsafe {
			t.Errorf("the coordinator ended with %v", err)
		}
		o := c.back(3)
		o.Job.RewindTo = "/test/savepoints/savepoint-012345-never/"
		if _, err := c.start(o).wait(); ProblemOf(orNone(err)).Reason != contract.RestoreNotFound {
			t.Errorf("with a snapshot that nobody knows it ended with %v", err)
		}
		if g := c.head().Epoch.Grant; g != 2 {
			t.Errorf("grant %d has claimed it", g)
		}
		// Fencing asks about it, and refuses nothing.
		if r, err := Fence(t.Context(), c.back(3), nil); err != nil || !r.OK || r.Rewind == nil || r.Rewind.Safe || r.Newest == nil {
			t.Errorf("fencing says %+v, %v", r, err)
		}
	})
}

func orNone(err error) error {
	if err == nil {
		return &GoneError{JobID: "there was no error"}
	}
	return err
}

// Whatever call of the storage goes wrong, the job is back where it was to be, once and for all, and what it left behind is gone or is an orphan
// that the head doesn't name.
func TestRewind_FaultAtEveryCall(t *testing.T) {
	for name, fault := range map[string]memstore.Fault{"before": memstore.FailBefore(nil), "after": memstore.FailAfter(nil)} {
		t.Run(name, func(t *testing.T) {
			for at := 1; ; at++ {
				hit := false
				synctest.Test(t, func(t *testing.T) { hit = rewindWithFault(t, fault, at) })
				if !hit {
					if at < 6 {
						t.Errorf("going back takes %d calls only?", at)
					}
					return
				}
			}
		})
	}
}

func rewindWithFault(t *testing.T, fault memstore.Fault, at int) (hit bool) {
	c := newCluster(t)
	newer := c.upgraded(buildTwo)
	o := c.back(3)
	var runs, faulted atomic.Bool
	o.Store = c.store.Client(memstore.Options{Faults: func(_, _ string, call int) memstore.Fault {
		if call == at && !runs.Load() {
			faulted.Store(true)
			return fault
		}
		return memstore.None()
	}})
	r := c.start(o)
	r.worker("w3")
	r.runsOrEnds() // if it gave up, the next one of the same grant tries again
	runs.Store(true)
	r.cancel()
	_, _ = r.wait()
	r = c.start(c.back(3))
	r.worker("w4")
	r.await("a checkpoint", func(s *contract.JobStatus) bool {
		return isRunning(s) && s.LastCheckpoint != nil && s.LastCheckpoint.ID > 200
	})
	r.cancel()
	_, _ = r.wait()
	h := c.head()
	for _, k := range h.Checkpoints {
		if slices.Contains(newer, k.Path) {
			t.Errorf("fault at call %d: the head still names %s", at, k.Path)
		}
	}
	if !slices.ContainsFunc(h.Restores, func(r snapshot.Restore) bool {
		return strings.HasPrefix(r.Attempt, "3-") && "/test/"+r.Path == beforeUpgrade
	}) {
		t.Errorf("fault at call %d: under grant 3 it never started from the savepoint: %+v", at, h.Restores)
	}
	if left := c.keysBelow(strings.TrimPrefix(beforeUpgrade, "/test/")); len(left) == 0 {
		t.Errorf("fault at call %d: the savepoint is gone", at)
	}
	return faulted.Load()
}

// runsOrEnds waits for either.
func (r *running) runsOrEnds() {
	r.t.Helper()
	for range 6000 {
		if s, err := r.Job(r.t.Context()); err == nil && isRunning(s) {
			return
		}
		select {
		case <-r.done:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	r.t.Fatal("it neither runs nor ends")
}

// What the graph says of a source that gives up its input is in every checkpoint that the head names.
func TestMachinePlan_SaysWhichSourcesTrim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Build = func(cfg contract.JobConfig) (*graph.Graph, error) {
			g, err := buildTwo(cfg)
			g.Nodes[0].Trims = true
			return g, err
		}
		r := c.start(o)
		r.worker("w1")
		r.await("a checkpoint", hasCheckpoint)
		r.stop("stop-1")
		_, _ = r.wait()
		h := c.head()
		if op, _ := h.Operation("stop-1"); len(h.Checkpoints) == 0 || !h.Checkpoints[0].SourcesMayHaveTrimmed || !op.SourcesMayHaveTrimmed {
			t.Errorf("the head says %+v", h)
		}
	})
}

// A coordinator in standby plans the snapshot that it is to go back to, and goes back when it is activated.
func TestRewind_FromStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		newer := c.upgraded(buildTwo)
		o := c.back(3)
		o.Standby = NewGate()
		r := c.start(o)
		r.worker("w3")
		s := r.await("ready", isReady)
		if p := s.Standby.Plan; !p.Accepted || p.Snapshot == nil || p.Snapshot.Path != beforeUpgrade {
			t.Errorf("it plans %+v from %+v", p, p.Snapshot)
		}
		if h := c.head(); h.Epoch.Grant != 2 || len(h.Checkpoints) < len(newer) {
			t.Errorf("in standby it changed the head to %+v", h)
		}
		if _, err := r.Activate(t.Context(), contract.ActivateRequest{Grant: 3}); err != nil {
			t.Fatal(err)
		}
		s = r.await("running", isRunning)
		if s.RestoredFrom == nil || s.RestoredFrom.Path != beforeUpgrade {
			t.Errorf("it went on from %+v", s.RestoredFrom)
		}
		r.cancel()
		_, _ = r.wait()
	})
}
