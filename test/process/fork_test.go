// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"path/filepath"
	"testing"

	"github.com/weir-stream/weir/runtime/contract"
)

// Another job starts from a savepoint of a job that runs, loses its coordinator and is stopped, while the first one goes on: the output of the first one is
// exact, so nobody has touched its transactions.
func TestFork_LeavesTheRunningJobAlone(t *testing.T) {
	c := newCluster(t, nil)
	first := c.coordinator(1)
	c.workers(2)
	c.progress(c.progress(0))
	op, err := c.client.Savepoint(t.Context(), contract.SavepointRequest{OperationID: "before"})
	if err == nil {
		op, err = c.client.WaitOperation(t.Context(), op.ID)
	}
	if err != nil || op.Phase != contract.OperationSucceeded || op.SizeBytes == 0 {
		t.Fatalf("the savepoint: %+v, %v", op, err)
	}
	// Where it is can be told without the engine: the operator looks there when nobody can be asked any more.
	s := c.until("the first job", func(s *contract.JobStatus) bool { return s.State == contract.JobRunning })
	if want := filepath.Join(c.cfg.Storage.Volume.Path, "savepoints", "savepoint-"+s.JobID[:min(6, len(s.JobID))]+"-before"); filepath.Clean(op.Path) != want {
		t.Errorf("the savepoint is in %s, want %s", op.Path, want)
	}
	f := newCluster(t, func(f *cluster) {
		f.cfg.Name, f.cfg.JobID, f.cfg.Storage, f.cfg.RestoreFrom = "fork", "f04c", c.cfg.Storage, op.Path
	})
	fork := f.coordinator(1)
	f.workers(2)
	forked := f.progress(f.progress(0))
	c.progress(0)
	f.kill(fork)
	fork = f.coordinator(1)
	f.progress(forked)
	s = c.until("the first job", func(s *contract.JobStatus) bool { return s.State == contract.JobRunning })
	if s.Restarts != 0 {
		t.Errorf("the first job was restarted %d times", s.Restarts)
	}
	f.stop(fork)
	c.progress(s.LastCheckpoint.ID)
	c.stop(first)
	c.judge()
}
