// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// A job starts, takes checkpoints, deletes the oldest and is stopped with a savepoint, and one call of the coordinator to its storage goes wrong: each of them, in each way. What the head
// names is whole, the next version goes on from the newest of it with ids that weren't used before, and nothing is left that nobody needs, unless the coordinator was lost.
func TestLife_FaultAtEveryCall(t *testing.T) {
	for name, fault := range storageFaults() {
		t.Run(name, func(t *testing.T) {
			claimed := 0
			for at := 1; ; at++ {
				hit, found := false, false
				synctest.Test(t, func(t *testing.T) { hit, found = lifeWithFault(t, fault, at) })
				if found {
					claimed++
				}
				if !hit {
					if claimed < 30 || claimed > at-10 {
						t.Errorf("%d calls, of which %d don't keep the job from being claimed, aren't such a life", at-1, claimed)
					}
					return
				}
			}
		})
	}
}

// lifeWithFault runs a job with a fault at one call, or from then on no call any more, and then its next version. The first calls find out what the storage is worth: a coordinator for
// which one of those fails ends before there is a head.
func lifeWithFault(t *testing.T, fault storageFault, at int) (hit, found bool) {
	t.Helper()
	c := newCluster(t)
	plain := c.store.Client(memstore.Options{})
	o := c.lasting(1)
	f := c.faulty(&o, fault, at)
	c.live(o, plain, f.lost)
	f.over.Store(true)
	for len(c.store.Held()) > 0 {
		_ = c.store.Release(0)
	}

	dir := jobsDir(o.Job) + o.Job.JobID + "/"
	before, _, found, err := readHead(t.Context(), plain, dir)
	if err != nil {
		t.Fatalf("fault at call %d: the head: %v", at, err)
	}
	if found {
		c.checkNamed(plain, dir)
	} else if left := c.keysBelow(dir); len(left) > 0 {
		t.Fatalf("fault at call %d: there is no head, and %v", at, left)
	}
	o = c.lasting(2)
	o.Store = plain
	r := c.start(o)
	r.worker("w2").setPart(writing(t, plain))
	s := r.await("checkpoints", func(s *contract.JobStatus) bool {
		return s.LastCheckpoint != nil && s.LastCheckpoint.ID >= before.ReservedUntil+2
	})
	newest, had := before.Newest()
	if got := s.RestoredFrom; had && (got == nil || got.ID != newest.ID) || !had && got != nil {
		t.Errorf("fault at call %d: the next version starts from %+v, but the newest is %+v", at, got, newest)
	}
	r.ends()
	c.checkNamed(plain, dir)
	if !fault.crash {
		c.checkNothingElse(dir, at)
	}
	return f.hit.Load(), found
}

// lasting is a version of a job whose checkpoints may fail a few times.
func (c *cluster) lasting(grant int64) Options {
	o := c.granted(grant)
	o.Job.Checkpointing.RetentionCount, o.Job.Checkpointing.TolerableFailures = 2, 3
	o.Job.AllowNonRestoredState = true // the sink of these tests isn't keyed
	return o
}

// live lets a job run until it has deleted a checkpoint, and stops it with a savepoint; it ends sooner if the coordinator does, or is lost.
func (c *cluster) live(o Options, s storage.Store, lost func() bool) {
	c.t.Helper()
	r := c.start(o)
	r.worker("w1").setPart(writing(c.t, s))
	ended := func() bool {
		select {
		case <-r.done:
			return true
		case <-time.After(time.Second):
			return lost()
		}
	}
	for range 600 {
		if ended() {
			r.ends()
			return
		}
		if j, err := r.Job(c.t.Context()); err == nil && j.LastCheckpoint != nil && j.LastCheckpoint.ID >= 7 {
			break
		}
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	_, _ = r.Stop(ctx, contract.StopRequest{OperationID: "stop-1"})
	for range 60 {
		if ended() {
			break
		}
	}
	r.ends()
}

// writing makes parts of snapshots with a file each.
func writing(t *testing.T, s storage.Store) func(record.Barrier, protocol.TaskID) map[string]snapshot.SubtaskState {
	return func(b record.Barrier, id protocol.TaskID) map[string]snapshot.SubtaskState {
		name := fmt.Sprintf("part-%d", id.Subtask)
		if err := s.PutIfAbsent(t.Context(), b.Target+name, []byte("12")); err != nil {
			t.Errorf("writing a part of snapshot %d: %v", b.Checkpoint, err)
		}
		return map[string]snapshot.SubtaskState{"sink": {Index: id.Subtask, Keyed: []state.File{{Path: name, Size: 2, LastGroup: 127}}}}
	}
}

// checkNothingElse finds what is in the directory of a job and belongs to no checkpoint of its head.
func (c *cluster) checkNothingElse(dir string, at int) {
	c.t.Helper()
	h := c.head()
	for _, key := range c.keysBelow(dir) {
		if !slices.ContainsFunc(h.Checkpoints, func(k snapshot.CompletedCheckpoint) bool { return strings.HasPrefix(key, k.Path) }) {
			c.t.Errorf("fault at call %d: %s is left over", at, key)
		}
	}
}
