// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

// maxWarmDowntime bounds the time without a running version of an upgrade whose next version stands by.
const maxWarmDowntime = 1500 * time.Millisecond

// version is one version of a job: its coordinator, workers and addresses.
type version struct {
	coordinator  *supervised
	workers      []*process
	client       *contract.Client
	control, api string
}

// standBy starts the next version in standby, and waits until it is ready. The cluster is left with the addresses and the client of that version.
func (c *cluster) standBy(grant int) *version {
	c.t.Helper()
	c.control, c.api = freeAddress(c.t), freeAddress(c.t)
	health := freeAddress(c.t)
	v := &version{coordinator: &supervised{c.coordinator(grant, "--supervise", "--standby", "--health", health), health}}
	v.control, v.api, v.client = c.control, c.api, c.client
	v.workers = c.workers(2)
	c.until("standby", func(s *contract.JobStatus) bool { return s.Standby != nil && s.Standby.Ready })
	return v
}

// use makes the cluster talk to a version.
func (c *cluster) use(v *version) { c.control, c.api, c.client = v.control, v.api, v.client }

// A job is upgraded with the next version standing by: no row is lost or doubled, and the time without a running version is short.
func TestStandby_Upgrade(t *testing.T) {
	s3 := storagetest.StartVersityGW(t)
	c := newCluster(t, overS3(t, s3))
	old := &version{control: c.control, api: c.api, coordinator: c.supervise(1), client: c.client}
	old.workers = c.workers(2)
	id := c.progress(0)
	var downtimes []time.Duration
	for grant := 2; grant <= 4; grant++ {
		next := c.standBy(grant)
		if code := get(t, next.coordinator.health, contract.PathReady); code != http.StatusOK {
			t.Errorf("grant %d is ready and answers %d", grant, code)
		}
		c.use(old)
		id = c.progress(id) // the old version goes on
		began := time.Now()
		op := c.stopJob(fmt.Sprintf("stop-%d", grant))
		stopped := time.Since(began)
		c.use(next)
		if _, err := c.client.Activate(t.Context(), contract.ActivateRequest{Grant: int64(grant)}); err != nil {
			t.Fatal(err)
		}
		s := c.until("running", func(s *contract.JobStatus) bool { return s.State == contract.JobRunning })
		downtimes = append(downtimes, time.Since(began))
		t.Logf("stopped in %v, running after %v", stopped, time.Since(began))
		if s.RestoredFrom == nil || s.RestoredFrom.Path != op.Path || s.Epoch.Grant != int64(grant) {
			t.Errorf("it started from %+v, want %s", s.RestoredFrom, op.Path)
		}
		c.terminate(old.coordinator.process)
		id = c.progress(id)
		old = next
	}
	slices.Sort(downtimes)
	t.Logf("without a running version: %v", downtimes)
	if m := downtimes[len(downtimes)/2]; m > maxWarmDowntime {
		t.Errorf("without a running version for %v in the median", m)
	}
	c.stopJob("stop-last")
	c.terminate(old.coordinator.process)
	c.judge()
}

// A coordinator in standby that dies comes back into standby; one that was activated comes back to run.
func TestStandby_Dies(t *testing.T) {
	c := newCluster(t, func(c *cluster) { c.cfg.JobID, c.cfg.NewJobID = "a1", "a1" })
	old := &version{control: c.control, api: c.api, coordinator: c.supervise(1), client: c.client}
	old.workers = c.workers(2)
	id := c.progress(0)
	next := c.standBy(2)
	again := func() {
		c.kill(next.coordinator.process)
		health := freeAddress(t)
		next.coordinator = &supervised{c.coordinator(2, "--supervise", "--standby", "--health", health), health}
		next.client = c.client
	}
	again()
	c.until("standby again", func(s *contract.JobStatus) bool { return s.Standby != nil && s.Standby.Ready })
	c.use(old)
	id = c.progress(id)
	c.signal(old.coordinator.process, syscall.SIGSTOP) // it doesn't answer: the next one goes on from the newest checkpoint
	c.use(next)
	if _, err := c.client.Activate(t.Context(), contract.ActivateRequest{}); err != nil {
		t.Fatal(err)
	}
	id = c.progress(id)
	again()
	c.progress(id)
	c.use(old)
	c.signal(old.coordinator.process, syscall.SIGCONT)
	c.problem(contract.Fenced)
	c.use(next)
	op := c.stopJob("stop-1")
	c.terminate(next.coordinator.process)
	c.judge()
	code, out := run(t, c.env, ledger, "plan", op.Path, "--job", filepath.Join(c.dir, "job-1.json"))
	if code != 0 || !names(out, "Savepoint", filepath.Clean(op.Path), "The job can start from it.") {
		t.Errorf("the plan of what it stopped with: exit code %d:\n%s", code, out)
	}
}

// A worker that is told to end has the job take a checkpoint first, from which the job goes on without it.
func TestDrain_TakesACheckpointFirst(t *testing.T) {
	c := newCluster(t, func(c *cluster) {
		c.cfg.JobID, c.cfg.NewJobID = "a1", "a1"
		c.cfg.Checkpointing.Interval = contract.Duration(time.Hour)
	})
	coordinator := c.supervise(1)
	workers := c.workers(2)
	c.until("running", func(s *contract.JobStatus) bool { return s.State == contract.JobRunning && s.RecordsIn > 500 })
	for i, w := range workers {
		before := c.until("the status", func(*contract.JobStatus) bool { return true })
		began := time.Now()
		c.terminate(w)
		took := time.Since(began)
		c.workers(1)
		c.restarted(int64(i + 1))
		s := c.until("the status", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil })
		if s.RestoredFrom == nil || s.RestoredFrom.ID != s.LastCheckpoint.ID || before.LastCheckpoint != nil && s.LastCheckpoint.ID <= before.LastCheckpoint.ID {
			t.Errorf("worker %d: restored from %+v, the last checkpoint is %+v, that before was %+v", i, s.RestoredFrom, s.LastCheckpoint, before.LastCheckpoint)
		}
		t.Logf("drained in %v", took)
	}
	c.stopJob("stop-1")
	c.terminate(coordinator.process)
	c.judge()
}
