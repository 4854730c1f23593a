// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// refusing is a store that doesn't give one object out.
type refusing struct {
	storage.Store
	key string
	err error
	// granted ends it.
	granted atomic.Bool
	// asked counts the refusals.
	asked atomic.Int64
}

func (r *refusing) Get(ctx context.Context, key string) (data []byte, version string, err error) {
	if key == r.key && !r.granted.Load() {
		r.asked.Add(1)
		return nil, "", r.err
	}
	return r.Store.Get(ctx, key)
}

func TestDamaged_IsNotTrouble(t *testing.T) {
	t.Parallel()
	mem := newCluster(t).store.Client(memstore.Options{})
	for name, tc := range map[string]struct {
		err     error
		damaged bool
		// again says that reading it again may help.
		again bool
	}{
		"missing":       {err: &storage.Error{Op: "reading", Err: storage.ErrNotFound}, damaged: true},
		"access denied": {err: &storage.Error{Op: "reading", Reason: storage.AccessDenied, Err: errors.New("403")}, again: true},
		"unreachable":   {err: &storage.Error{Op: "reading", Retriable: true, Err: errors.New("no route")}, again: true},
		"refused":       {err: &storage.Error{Op: "reading", Reason: storage.Unsuitable, Err: errors.New("501")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, permanent, err := readManifest(t.Context(), &refusing{Store: mem, key: "chk-1/_metadata", err: tc.err}, "chk-1/", 0)
			if err == nil || damaged(err) != tc.damaged || permanent == tc.again {
				t.Errorf("%v counts as damage: %t, want %t; permanent: %t, want %t", err, damaged(err), tc.damaged, permanent, !tc.again)
			}
		})
	}
}

// withTwoCheckpoints leaves a job with two checkpoints in storage and returns the manifest of the newer one.
func (c *cluster) withTwoCheckpoints(o Options) string {
	c.t.Helper()
	r := c.start(o)
	r.worker("w1")
	r.await("two checkpoints", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID >= 2 })
	r.cancel()
	_, _ = r.wait()
	h, _, _, err := readHead(c.t.Context(), o.Store, jobsDir(o.Job)+o.Job.JobID+"/")
	if err != nil || len(h.Checkpoints) < 2 {
		c.t.Fatalf("the head names %d checkpoints, %v", len(h.Checkpoints), err)
	}
	n, _ := h.Newest()
	return n.Path + snapshot.ManifestName
}

func TestCorruption_FallsBackBehindADamagedCheckpoint(t *testing.T) {
	for name, operated := range map[string]bool{"by itself": false, "operated": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				o := c.options()
				o.Job.Checkpointing.RetentionCount = 3
				key := c.withTwoCheckpoints(o)
				c.store.Corrupt(key, func(b []byte) []byte { return b[:len(b)-1] })

				o.Operated, o.Grant = operated, 2
				o.Job.Checkpointing.OnCorruption = contract.FallBackOnCorruption
				if r, err := Check(t.Context(), o); err != nil || !slices.ContainsFunc(r.Warnings, isLeftOut) {
					t.Errorf("the check says %v, %v", r.Warnings, err)
				}
				r := c.start(o)
				r.worker("w2")
				s := r.await("running again", isRunning)
				if !slices.ContainsFunc(s.Warnings, isLeftOut) || s.RestoredFrom == nil || s.RestoredFrom.Path+snapshot.ManifestName == "/test/"+key {
					t.Errorf("restored from %+v with warnings %q", s.RestoredFrom, s.Warnings)
				}
				r.cancel()
				_, _ = r.wait()
				if !slices.Contains(c.store.Keys(), key) {
					t.Error("the damaged manifest is gone: it should stay until it is swept")
				}
			})
		})
	}
}

func isLeftOut(warning string) bool {
	return strings.Contains(warning, "is damaged and was left out") && strings.Contains(warning, "_metadata is damaged")
}

func TestCorruption_RefusesByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.Checkpointing.RetentionCount = 3
		key := c.withTwoCheckpoints(o)
		if err := o.Store.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		r := c.start(o)
		r.worker("w2")
		res, err := r.wait()
		if res.State != contract.JobFailed || err != nil || !strings.Contains(res.Error, "onCorruption is Fail") {
			t.Errorf("ended %s with %q, %v", res.State, res.Error, err)
		}
	})
}

// Storage that refuses to let the newest manifest be read says nothing about it: it is tried again, for as long as deploying may take, and then the restart strategy
// has the word. Neither is the job at its end, nor does it fall back.
func TestCorruption_StorageThatRefusesIsNone(t *testing.T) {
	for name, granted := range map[string]bool{"until access is granted": true, "for good": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				o := c.options()
				o.Job.Checkpointing.RetentionCount = 3
				key := c.withTwoCheckpoints(o)
				o.Job.Checkpointing.OnCorruption = contract.FallBackOnCorruption
				o.Job.Restart = contract.Restart{None: &struct{}{}}
				denied := &refusing{Store: o.Store, key: key, err: &storage.Error{Op: "reading", Key: key, Reason: storage.AccessDenied, Err: errors.New("403")}}
				o.Store = denied
				r := c.start(o)
				r.worker("w2")
				s := r.await("the denial to be told", func(s *contract.JobStatus) bool { return strings.Contains(s.Message, "403") })
				if s.State != contract.JobDeploying {
					t.Errorf("the job is %s", s.State)
				}
				if !granted {
					res, err := r.wait()
					if res.State != contract.JobFailed || err != nil || strings.Contains(res.Error, "falling back") || !strings.Contains(res.Error, "could not be read within 5m0s") || !strings.Contains(res.Error, "403") {
						t.Errorf("ended %s with %q, %v", res.State, res.Error, err)
					}
				} else {
					denied.granted.Store(true)
					s = r.await("running", isRunning)
					if s.RestoredFrom == nil || s.RestoredFrom.Path+snapshot.ManifestName != "/test/"+key {
						t.Errorf("it went on from %+v", s.RestoredFrom)
					}
					r.cancel()
					_, _ = r.wait()
					return
				}
				h, _, _, _ := readHead(t.Context(), c.store.Client(memstore.Options{}), jobsDir(o.Job)+o.Job.JobID+"/")
				if n, _ := h.Newest(); n.Path+snapshot.ManifestName != key {
					t.Errorf("the head names %s as the newest, want %s", n.Path, key)
				}
			})
		})
	}
}

// An older checkpoint whose manifest may not be read just now isn't said to be damaged: it is read later.
func TestCorruption_AnOlderCheckpointThatMayNotBeReadIsReadLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.Checkpointing.RetentionCount = 3
		o.Job.StateBackend = &contract.StateBackend{Incremental: true}
		o.Job.AllowNonRestoredState = true // the sink of these tests isn't keyed
		u := &uploader{t: t, store: o.Store, rnd: rand.New(rand.NewPCG(1, 1)), parts: map[int64][]state.File{}}
		r := c.start(o)
		r.worker("w1").setPart(u.part)
		r.await("checkpoints", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID > 3 })
		r.cancel()
		_, _ = r.wait()
		h := c.head()
		key := h.Checkpoints[1].Path + snapshot.ManifestName
		denied := &refusing{Store: o.Store, key: key, err: &storage.Error{Op: "reading", Key: key, Reason: storage.AccessDenied, Err: errors.New("403")}}
		o.Store = denied
		o.Job.Checkpointing.Interval = contract.Duration(time.Hour)
		r = c.start(o)
		r.worker("w2").setPart(u.part)
		r.await("running", isRunning)
		time.Sleep(30 * time.Second) // of the bubble: it has been tried several times
		s := r.await("running", isRunning)
		if slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, "is damaged") }) || denied.asked.Load() < 2 {
			t.Errorf("after %d tries the warnings are %q", denied.asked.Load(), s.Warnings)
		}
		r.cancel()
		_, _ = r.wait()
	})
}

// A savepoint of a stop that turned out to be damaged, so that the job went back behind it, isn't the last savepoint that there is.
func TestCorruption_ALeftOutSavepointIsNotTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.Checkpointing.RetentionCount = 3
		c.withTwoCheckpoints(o)
		r := c.start(o)
		r.worker("w2")
		r.await("running", isRunning)
		r.stop("stop-1")
		_, _ = r.wait()
		c.store.Corrupt("savepoints/savepoint-012345-stop-1/"+snapshot.ManifestName, func(b []byte) []byte { return b[:len(b)-1] })
		o.Grant, o.Job.Checkpointing.OnCorruption = 2, contract.FallBackOnCorruption
		r = c.start(o)
		r.worker("w3")
		s := r.await("running again", isRunning)
		if s.LastSavepoint != nil || s.RestoredFrom == nil || s.RestoredFrom.Kind != "Checkpoint" {
			t.Errorf("the last savepoint is said to be %+v, and it went on from %+v", s.LastSavepoint, s.RestoredFrom)
		}
		r.cancel()
		_, _ = r.wait()
	})
}

func TestCorruption_AnOlderCheckpointThatCannotBeReadIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.Checkpointing.RetentionCount = 3
		o.Job.StateBackend = &contract.StateBackend{Incremental: true}
		o.Job.AllowNonRestoredState = true // the sink of these tests isn't keyed
		u := &uploader{t: t, store: o.Store, rnd: rand.New(rand.NewPCG(1, 1)), parts: map[int64][]state.File{}}
		r := c.start(o)
		r.worker("w1").setPart(u.part)
		r.await("checkpoints", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID > 3 })
		r.cancel()
		_, _ = r.wait()
		dir := jobsDir(o.Job) + o.Job.JobID + "/"
		h, _, _, err := readHead(t.Context(), o.Store, dir)
		if err != nil || len(h.Checkpoints) != 3 {
			t.Fatalf("the head names %d checkpoints, %v", len(h.Checkpoints), err)
		}
		c.store.Corrupt(h.Checkpoints[1].Path+snapshot.ManifestName, func(b []byte) []byte { return b[1:] })
		o.Job.Checkpointing.Interval = contract.Duration(time.Hour)
		r = c.start(o)
		r.worker("w2").setPart(u.part)
		want := fmt.Sprintf("the manifest of checkpoint %d, which is still kept, is damaged", h.Checkpoints[1].ID)
		r.await("the warning", func(s *contract.JobStatus) bool {
			return slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, want) })
		})
		r.cancel()
		_, _ = r.wait()
	})
}
