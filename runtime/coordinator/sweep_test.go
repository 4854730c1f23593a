// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/sweep"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// uploader writes the files of a task that takes incremental checkpoints: those of its last parts by id, of which the next ones reuse some.
type uploader struct {
	t     *testing.T
	store storage.Store
	rnd   *rand.Rand
	parts map[int64][]state.File
	n     int
	// stray are the files that no acknowledgement named.
	stray int
}

func (u *uploader) part(b record.Barrier, _ protocol.TaskID) map[string]snapshot.SubtaskState {
	var files []state.File
	for _, f := range u.parts[b.Base] {
		if u.rnd.IntN(3) > 0 {
			f.Reused = true
			files = append(files, f)
		}
	}
	u.n++
	name := fmt.Sprintf("f%d", u.n)
	if err := u.store.PutIfAbsent(u.t.Context(), b.Shared+name, []byte(name)); err != nil {
		u.t.Error(err)
	}
	if u.rnd.IntN(4) == 0 {
		u.stray++
		if err := u.store.PutIfAbsent(u.t.Context(), b.Shared+"stray-"+name, []byte(name)); err != nil {
			u.t.Error(err)
		}
	}
	files = append(files, state.File{Path: snapshot.SharedPrefix + name, Size: 2, LastGroup: 127, Shared: true})
	u.parts[b.Checkpoint] = files
	return map[string]snapshot.SubtaskState{"sink": {Keyed: files}}
}

// checkNamed finds files that the head leads to and that are gone, and returns how many shared files there are.
func (c *cluster) checkNamed(s storage.Store, dir string) int {
	c.t.Helper()
	h, _, _, err := readHead(c.t.Context(), s, dir)
	if err != nil {
		c.t.Fatal(err)
	}
	keys := c.store.Keys()
	for _, k := range h.Checkpoints {
		m, _, err := readManifest(c.t.Context(), s, k.Path, k.ManifestCRC32C)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, f := range m.Files() {
			if !slices.Contains(keys, snapshot.FileKey(k.Path, f.Path)) {
				c.t.Fatalf("checkpoint %d needs %s, which is gone", k.ID, f.Path)
			}
		}
	}
	n := 0
	for _, key := range keys {
		if strings.HasPrefix(key, dir+"shared/") {
			n++
		}
	}
	return n
}

// TestSweep_BesideALiveCoordinator runs an incremental job for days, with failures, and sweeps every hour: all that the head leads to is there,
// and in the end little else.
func TestSweep_BesideALiveCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.Checkpointing = &contract.Checkpointing{Interval: contract.Duration(20 * time.Minute), RetentionCount: 2}
		o.Job.StateBackend = &contract.StateBackend{Incremental: true}
		o.Job.AllowNonRestoredState = true // the sink of these tests isn't keyed
		r := c.start(o)
		u := &uploader{t: t, store: o.Store, rnd: rand.New(rand.NewPCG(1, 1)), parts: map[int64][]state.File{}}
		w := r.worker("w1")
		w.setPart(u.part)
		dir := jobsDir(o.Job) + o.Job.JobID + "/"
		r.await("a checkpoint", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil || s.State == contract.JobRunning })
		var swept int
		for hour := range 24 * 3 {
			time.Sleep(time.Hour)
			rep, err := sweep.Sweep(t.Context(), o.Store, dir, sweep.Options{Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			swept += len(rep.Orphans)
			c.checkNamed(o.Store, dir)
			if hour%20 == 19 { // the next incarnation reads what there is
				r.cancel()
				if res, err := r.wait(); res.State != contract.JobSuspended {
					t.Fatalf("ended %s with %q, %v", res.State, res.Error, err)
				}
				r = c.start(o)
				w = r.worker(fmt.Sprintf("w%d", hour))
				w.setPart(u.part)
			}
		}
		r.cancel()
		_, _ = r.wait()
		time.Sleep(sweep.MinGrace + time.Hour)
		if _, err := sweep.Sweep(t.Context(), o.Store, dir, sweep.Options{Now: time.Now}); err != nil {
			t.Fatal(err)
		}
		left := c.checkNamed(o.Store, dir)
		if u.n < 180 || swept < u.stray/2 || left > 30 {
			t.Errorf("%d files written, %d strays, %d swept in between, %d left", u.n, u.stray, swept, left)
		}
		h, _, _, _ := readHead(t.Context(), o.Store, dir)
		needed := map[string]bool{}
		for _, k := range h.Checkpoints {
			m, _, _ := readManifest(t.Context(), o.Store, k.Path, 0)
			for _, f := range m.Files() {
				needed[snapshot.FileKey(k.Path, f.Path)] = true
			}
		}
		if left != len(needed) {
			t.Errorf("%d shared files are left, %d are needed", left, len(needed))
		}
	})
}

// TestDelete_LeavesWhatIsPinned subsumes a checkpoint that a pin holds.
func TestDelete_LeavesWhatIsPinned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		r := c.start(o)
		r.worker("w1")
		r.await("a checkpoint", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID == 1 })
		dir := jobsDir(o.Job) + o.Job.JobID + "/"
		pin, err := sweep.EncodePin(sweep.Pin{Path: "checkpoints/chk-2", Reason: "a test"})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.store.Client(memstore.Options{}).PutIfAbsent(t.Context(), dir+"pins/test", pin); err != nil {
			t.Fatal(err)
		}
		r.await("some checkpoints", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID > 4 })
		time.Sleep(300 * time.Millisecond)
		keys := c.store.Keys()
		if !slices.Contains(keys, dir+"checkpoints/chk-2/_metadata") || slices.Contains(keys, dir+"checkpoints/chk-3/_metadata") {
			t.Errorf("there are %v", keys)
		}
		r.cancel()
		_, _ = r.wait()
	})
}
