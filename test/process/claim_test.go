// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
)

// A job claims the savepoint of another one, and loses its coordinators at random moments until the savepoint is gone: it restores each time, and the
// output of both jobs together is exact.
func TestClaim_TheSavepointGoesWhateverHappens(t *testing.T) {
	c := newCluster(t, nil)
	coordinator := c.coordinator(1)
	c.workers(2)
	c.progress(c.progress(0))
	savepoint := c.stop(coordinator)

	c.cfg.Name, c.cfg.JobID = "fork", "f04c"
	c.cfg.RestoreFrom, c.cfg.RestoreMode, c.cfg.Checkpointing.RetentionCount = savepoint, contract.Claim, 4
	coordinator = c.coordinator(1)
	c.workers(2)
	gone := func() bool {
		left, err := os.ReadDir(savepoint)
		return os.IsNotExist(err) || err == nil && !slices.ContainsFunc(left, func(e os.DirEntry) bool { return !e.IsDir() })
	}
	kills := 0
	for ; !gone() && kills < 20; kills++ {
		if kills%2 == 1 {
			c.progress(0)
		}
		time.Sleep(time.Duration(c.rnd.IntN(500)) * time.Millisecond) // a random moment, not a synchronisation
		c.kill(coordinator)
		coordinator = c.coordinator(1)
	}
	c.until("the end of the savepoint", func(s *contract.JobStatus) bool { return s.State == contract.JobRunning && gone() })
	t.Logf("gone after %d kills", kills)
	c.progress(0)
	c.stop(coordinator)
	c.judge()
}

// A new version has committed output: the job doesn't go back behind that, and goes on from the newest state instead; what an agent says is what the coordinator
// does.
func TestRewind_NotBehindACommit(t *testing.T) {
	c := newCluster(t, nil)
	coordinator := c.coordinator(1)
	c.workers(2)
	c.progress(c.progress(0))
	savepoint := c.stop(coordinator)

	if r := c.agent("check", "--rewind-to", savepoint); !r.OK || r.Rewind == nil || !r.Rewind.Safe || r.Rewind.Newer != 0 {
		t.Errorf("before the new version: %+v, %+v", r, r.Rewind)
	}
	coordinator = c.coordinator(2)
	workers := c.workers(2)
	c.progress(c.progress(0))
	c.kill(coordinator)
	for _, w := range workers {
		c.kill(w)
	}
	r := c.agent("check", "--rewind-to", filepath.Join(savepoint, "_metadata"))
	if r.OK || r.Problem == nil || r.Problem.Reason != contract.RewindUnsafe || r.Rewind == nil || !r.Rewind.SinksMayHaveCommitted || r.Newest == nil || r.Newest.Kind != "Checkpoint" {
		t.Errorf("after it: %+v, %+v, %+v", r, r.Problem, r.Rewind)
	}
	c.cfg.RewindTo = savepoint
	refused := c.coordinator(3)
	c.ended(refused)
	if refused.err == nil || !names(refused.log.tail(), "a transactional sink may have committed") {
		t.Errorf("the coordinator that was to go back ended with %v", refused.err)
	}
	c.cfg.RewindTo = ""
	coordinator = c.coordinator(3)
	c.workers(2)
	c.progress(0)
	c.stop(coordinator)
	c.judge()
}
