// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// TestRestore_LeavesTheOriginalToItsOwner starts a job from an incremental checkpoint of another one: its first checkpoint is whole, and however many
// follow, nothing of the other job is deleted, even when the new job is cancelled with all that it has.
func TestRestore_LeavesTheOriginalToItsOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.Checkpointing.RetentionCount = 2
		o.Job.StateBackend = &contract.StateBackend{Incremental: true}
		o.Job.AllowNonRestoredState = true // the sink of these tests isn't keyed
		first := &uploader{t: t, store: o.Store, rnd: rand.New(rand.NewPCG(1, 1)), parts: map[int64][]state.File{}}
		r := c.start(o)
		r.worker("w1").setPart(first.part)
		r.await("checkpoints", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID > 4 })
		r.cancel()
		_, _ = r.wait()
		dir := jobsDir(o.Job) + o.Job.JobID + "/"
		before := c.keysBelow(dir)
		h, _, _, err := readHead(t.Context(), o.Store, dir)
		n, ok := h.Newest()
		if err != nil || !ok {
			t.Fatalf("the head names nothing: %v", err)
		}

		o.Job.JobID, o.Job.Name, o.Job.RestoreFrom = "fedcba9876", "fork", n.Path
		o.Job.Checkpointing.DeleteOnCancel = true
		second := &uploader{t: t, store: o.Store, rnd: rand.New(rand.NewPCG(2, 2)), parts: first.parts}
		var bases []int64
		r = c.start(o)
		w := r.worker("w2")
		w.setPart(func(b record.Barrier, id protocol.TaskID) map[string]snapshot.SubtaskState {
			bases = append(bases, b.Base)
			return second.part(b, id)
		})
		r.await("checkpoints of its own", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID > n.ID+5 })
		if op, err := r.Cancel(t.Context(), contract.CancelRequest{OperationID: "end"}); err != nil {
			t.Fatalf("%+v, %v", op, err)
		}
		_, _ = r.wait()
		<-w.done
		if len(bases) < 5 || bases[0] != 0 || bases[1] <= n.ID {
			t.Errorf("the bases of its checkpoints are %v: the first must have none, the others its own", bases)
		}
		if after := c.keysBelow(dir); !slices.Equal(before, after) {
			t.Errorf("of the original %v became %v", before, after)
		}
		// What no acknowledgement named is for a sweep to find.
		stray := func(k string) bool { return strings.Contains(k, "/shared/stray-") }
		if own := slices.DeleteFunc(c.keysBelow(jobsDir(o.Job)+o.Job.JobID+"/shared/"), stray); len(own) > 0 {
			t.Errorf("the cancelled job left %v", own)
		}
	})
}

// keysBelow lists objects, but for heads.
func (c *cluster) keysBelow(dir string) []string {
	return slices.DeleteFunc(c.store.Keys(), func(k string) bool { return !strings.HasPrefix(k, dir) || strings.HasSuffix(k, HeadName) })
}
