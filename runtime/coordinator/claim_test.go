// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

const claimed = "savepoints/savepoint-012345-stop-1/"

// fork is the configuration of another job that starts from the savepoint of stopped, and claims it.
func (c *cluster) fork(id string) Options {
	o := c.options()
	o.Job.JobID, o.Job.NewJobID, o.Job.Name = id, id, "fork-"+id
	o.Job.RestoreFrom, o.Job.RestoreMode = "/test/"+claimed, contract.Claim
	o.Job.Checkpointing.RetentionCount, o.Job.AllowNonRestoredState = 2, true
	o.Operated, o.Grant = true, 1
	return o
}

// headOfJob reads the head of a job; an empty one if there is none yet.
func (c *cluster) headOfJob(o Options) *snapshot.Head {
	c.t.Helper()
	found, err := FindJob(c.t.Context(), c.store.Client(memstore.Options{}), o.Job)
	if err != nil {
		c.t.Fatal(err)
	}
	if found == nil {
		return &snapshot.Head{}
	}
	return &found.Head
}

// until waits for something that is not part of the status.
func (r *running) until(what string, is func() bool) {
	r.t.Helper()
	for range 6000 {
		if is() {
			return
		}
		select {
		case <-r.done:
			r.t.Fatalf("waiting for %s: the coordinator ended: %+v %v", what, r.result, r.err)
		case <-time.After(100 * time.Millisecond):
		}
	}
	r.t.Fatalf("waiting for %s in vain", what)
}

func (r *running) ends() {
	r.t.Helper()
	r.cancel()
	_, _ = r.wait()
}

func TestClaim_DeletesTheSavepointOnceItIsNotNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.stopped()
		before := len(c.keysBelow(claimed))
		o := c.fork("aaaaaa")
		if r, err := Check(t.Context(), o); err != nil || !r.OK {
			t.Fatalf("an agent says %+v, %v", r, err)
		}
		if n := len(c.keysBelow(claimed)); n != before {
			t.Errorf("the agent wrote: %d objects became %d", before, n)
		}
		r := c.start(o)
		w := r.worker("w1")
		first := r.await("a checkpoint", hasCheckpoint)
		if d := w.deployments(); len(d) != 1 || d[0].RestoreDir != claimed {
			t.Errorf("deployed from %+v", d)
		}
		if len(c.keysBelow(claimed)) != before+1 || c.headOfJob(o).Origin.Claim != snapshot.Claimed {
			t.Errorf("with one checkpoint of two there is %v, the origin is %+v", c.keysBelow(claimed), c.headOfJob(o).Origin)
		}
		r.until("the deletion", func() bool { return c.headOfJob(o).Origin.Claim == snapshot.Deleted })
		if left := c.keysBelow(claimed); len(left) > 0 {
			t.Errorf("it says that the savepoint is deleted, and there is %v", left)
		}
		if n := len(c.headOfJob(o).Checkpoints); n < 2 {
			t.Errorf("it was deleted with %d checkpoints, first %+v", n, first.LastCheckpoint)
		}
		r.ends()
		r = c.start(o)
		r.worker("w2")
		s := r.await("a restart from its own checkpoint", func(s *contract.JobStatus) bool { return isRunning(s) && s.RestoredFrom != nil })
		if f := s.RestoredFrom; f.Kind != "Checkpoint" || f.Stopped || f.CompletedAt.IsZero() {
			t.Errorf("restored from %+v", s.RestoredFrom)
		}
		r.ends()
	})
}

func TestClaim_RefusesWhatAnotherJobOwns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.stopped()
		r := c.start(c.fork("aaaaaa"))
		r.worker("w1")
		r.await("running", isRunning)

		second := c.fork("bbbbbb")
		refused := func(what string, err error) {
			if p := ProblemOf(orNone(err)); p.Reason != contract.RestoreClaimed || !strings.Contains(p.Message, "job default/fork-aaaaaa (id aaaaaa) owns it") {
				t.Errorf("%s: %+v", what, p)
			}
		}
		_, err := Check(t.Context(), second)
		refused("an agent", err)
		_, err = c.start(second).wait()
		refused("a coordinator that is operated", err)
		if found, _ := FindJob(t.Context(), second.Store, second.Job); found != nil {
			t.Errorf("the refused job has a head: %+v", found)
		}
		second.Operated = false
		alone := c.start(second)
		alone.worker("w2")
		if res, _ := alone.wait(); res.State != contract.JobFailed || !strings.Contains(res.Status.LastFailure.Message, "owns it") {
			t.Errorf("a coordinator alone ended %+v", res)
		}
		// Without a claim it can be started from, and an agent says whose it is.
		third := c.fork("cccccc")
		third.Job.RestoreMode = contract.NoClaim
		if a, err := Check(t.Context(), third); err != nil || !a.OK || len(a.Warnings) == 0 || !strings.Contains(a.Warnings[0], "default/fork-aaaaaa owns the snapshot") {
			t.Errorf("without a claim: %+v, %v", a, err)
		}
		r.ends()
	})
}

func TestClaim_RefusesTheCheckpointOfAJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		r := c.start(c.options())
		r.worker("w1")
		path := r.await("a checkpoint", hasCheckpoint).LastCheckpoint.Path
		r.ends()
		o := c.fork("aaaaaa")
		o.Job.RestoreFrom = path
		if _, err := Check(t.Context(), o); ProblemOf(orNone(err)).Reason != contract.RestoreClaimed {
			t.Errorf("got %v", err)
		}
	})
}

func TestClaim_APinKeepsTheSavepoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.stopped()
		o := c.fork("aaaaaa")
		pin := claimed + "pins/reader"
		if err := o.Store.PutIfAbsent(t.Context(), pin, []byte("a reader")); err != nil {
			t.Fatal(err)
		}
		r := c.start(o)
		r.worker("w1")
		r.until("its release", func() bool { h := c.headOfJob(o); return h.Origin != nil && h.Origin.Claim == snapshot.Released })
		time.Sleep(3 * time.Minute) // of the bubble: it is tried again in between
		if n := len(c.keysBelow(claimed)); n < 3 || c.headOfJob(o).Origin.Claim != snapshot.Released {
			t.Errorf("of the pinned savepoint there is %v", c.keysBelow(claimed))
		}
		if err := o.Store.Delete(t.Context(), pin); err != nil {
			t.Fatal(err)
		}
		r.until("the deletion", func() bool { return c.headOfJob(o).Origin.Claim == snapshot.Deleted })
		if left := c.keysBelow(claimed); len(left) > 0 {
			t.Errorf("there is %v", left)
		}
		r.ends()
	})
}

// A savepoint that was moved may lie beside other things: they stay.
func TestClaim_LeavesForeignFilesInAForeignDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.stopped()
		o := c.fork("aaaaaa")
		manifest, _, err := o.Store.Get(t.Context(), claimed+snapshot.ManifestName)
		if err != nil {
			t.Fatal(err)
		}
		for key, data := range map[string]string{"mine/" + snapshot.ManifestName: string(manifest), "mine/photos/1": "x"} {
			if err := o.Store.PutIfAbsent(t.Context(), key, []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		o.Job.RestoreFrom = "/test/mine/_metadata"
		r := c.start(o)
		r.worker("w1")
		r.until("the deletion", func() bool {
			h := c.headOfJob(o)
			return h.Origin != nil && h.Origin.Claim == snapshot.Deleted
		})
		if left := c.keysBelow("mine/"); len(left) != 1 || left[0] != "mine/photos/1" {
			t.Errorf("there is %v", left)
		}
		r.ends()
	})
}

func TestClaim_DisposeDeletesItToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.stopped()
		o := c.fork("aaaaaa")
		r := c.start(o)
		r.worker("w1")
		r.await("running", isRunning)
		r.ends()
		o.Grant = 2
		a, err := Dispose(t.Context(), o)
		if err != nil || !a.OK || len(c.keysBelow(claimed)) > 0 {
			t.Errorf("%+v, %v; there is %v", a, err, c.keysBelow(claimed))
		}
		o.Grant = 3
		if _, err := c.start(o).wait(); ProblemOf(orNone(err)).Reason != contract.RestoreNotFound {
			t.Errorf("a start from it again ended with %v", err)
		}
	})
}

// Whatever call of the storage goes wrong, and wherever the coordinator is lost, the job restores, and in the end its checkpoints are there and the savepoint is
// gone.
func TestClaim_FaultAtEveryCall(t *testing.T) {
	for name, fault := range storageFaults() {
		t.Run(name, func(t *testing.T) {
			for at := 1; ; at++ {
				hit := false
				synctest.Test(t, func(t *testing.T) { hit = claimWithFault(t, fault, at) })
				if !hit {
					if at < 20 {
						t.Errorf("a claim takes %d calls only?", at)
					}
					return
				}
			}
		})
	}
}

// claimWithFault runs a job that claims a savepoint, with a fault at one call before the savepoint is deleted, or from then on no call any more.
func claimWithFault(t *testing.T, fault storageFault, at int) (hit bool) {
	c := newCluster(t)
	c.stopped()
	o := c.fork("aaaaaa")
	plain := c.store.Client(memstore.Options{})
	f := c.faulty(&o, fault, at)
	r := c.start(o)
	r.worker("w1")
	deleted := func() bool {
		found, err := FindJob(t.Context(), plain, o.Job)
		return err == nil && found != nil && found.Head.Origin != nil && found.Head.Origin.Claim == snapshot.Deleted
	}
	for range 600 { // ten minutes
		gone := false
		select {
		case <-r.done:
			gone = true
		case <-time.After(time.Second):
		}
		if gone || deleted() || f.lost() {
			break
		}
	}
	if !f.hit.Load() {
		f.over.Store(true)
	}
	r.ends()
	for len(c.store.Held()) > 0 {
		_ = c.store.Release(0)
	}
	if h, err := FindJob(t.Context(), plain, o.Job); err == nil && h != nil && needsOrigin(&h.Head) && len(c.keysBelow(claimed)) == 0 {
		t.Errorf("fault at call %d: the savepoint is gone, and there is nothing else: %+v", at, h.Head)
	}
	o.Store = plain
	r = c.start(o)
	r.worker("w2")
	r.until(fmt.Sprintf("the deletion, after a fault at call %d", at), deleted)
	if left := c.keysBelow(claimed); len(left) > 0 {
		t.Errorf("fault at call %d: of the savepoint there is %v", at, left)
	}
	if n := len(c.headOfJob(o).Checkpoints); n < 2 {
		t.Errorf("fault at call %d: there are %d checkpoints", at, n)
	}
	r.ends()
	return f.hit.Load()
}

// needsOrigin says that a job has nothing else to go on from.
func needsOrigin(h *snapshot.Head) bool {
	_, own := h.Newest()
	return !own
}
