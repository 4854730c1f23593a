// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// TestSweeps_TakeWhatACrashHasLeft has objects in the directory of a job that nothing refers to: a coordinator that runs for days deletes them when nobody can refer to
// them any more, and says so. A storage that doesn't answer meanwhile is asked again.
func TestSweeps_TakeWhatACrashHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.options()
		o.Job.Checkpointing = &contract.Checkpointing{Interval: contract.Duration(20 * time.Minute)}
		var refuses atomic.Bool
		o.Store = c.store.Client(memstore.Options{Faults: func(op, key string, _ int) memstore.Fault {
			if refuses.Load() && op == memstore.OpList && strings.HasSuffix(key, "/shared/") {
				return memstore.FailBefore(errors.New("the test refuses to list"))
			}
			return memstore.None()
		}})
		r := c.start(o)
		r.worker("w1")
		r.await("running", func(s *contract.JobStatus) bool { return s.State == contract.JobRunning })
		dir := jobsDir(o.Job) + o.Job.JobID + "/"
		lost := []string{dir + "checkpoints/chk-99/file", dir + "shared/stray"}
		for _, key := range lost {
			if err := c.store.Client(memstore.Options{}).PutIfAbsent(t.Context(), key, []byte("rest")); err != nil {
				t.Fatal(err)
			}
		}
		there := func() (n int) {
			for _, key := range lost {
				if slices.Contains(c.store.Keys(), key) {
					n++
				}
			}
			return n
		}
		status := func() *contract.Sweeps {
			t.Helper()
			s, err := r.Job(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return s.Sweeps
		}
		if s := status(); s != nil {
			t.Errorf("before the first look the status has %+v", s)
		}
		time.Sleep(2 * firstSweep)
		if s := status(); s == nil || s.Objects != 0 || s.Error != "" || there() != 2 {
			t.Errorf("after the first look the status has %+v, %d objects are there", s, there())
		}
		refuses.Store(true)
		time.Sleep(sweepInterval)
		if s := status(); s == nil || !strings.Contains(s.Error, "refuses to list") || there() != 2 {
			t.Errorf("while storage doesn't list the status has %+v, %d objects are there", s, there())
		}
		refuses.Store(false)
		time.Sleep(2 * sweepRetry)
		if s := status(); s == nil || s.Error != "" {
			t.Errorf("after the repetition the status has %+v", s)
		}
		time.Sleep(sweepInterval)
		if s := status(); s == nil || s.Objects != 2 || s.Bytes != 8 || there() != 0 {
			t.Errorf("in the end the status has %+v, %d objects are there", s, there())
		}
		c.checkNamed(o.Store, dir)
		r.cancel()
		_, _ = r.wait()
	})
}
