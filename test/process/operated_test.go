// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
	"github.com/weir-stream/weir/runtime/transport/control"
)

// A supervised coordinator that a newer one shuts out says so, and commits nothing any more; one that meets the state of another job leaves it alone.
func TestSupervised_OthersOwnTheState(t *testing.T) {
	c := newCluster(t, func(c *cluster) { c.cfg.NewJobID = "a1" })
	old, oldClient := c.supervise(1), c.client
	c.workers(2)
	id := c.progress(0)
	oldControl, oldAPI := c.control, c.api
	c.control, c.api = freeAddress(t), freeAddress(t)
	c.cfg.JobID = "a1"
	c.supervise(3)
	c.until("the new one", func(s *contract.JobStatus) bool { return s.State == contract.JobWaiting })
	newControl, newAPI, newClient := c.control, c.api, c.client
	c.control, c.api, c.client = oldControl, oldAPI, oldClient
	if p := c.problem(contract.Fenced); p.HeadGrant != 3 || p.JobID != "a1" || !p.RetryAt.IsZero() {
		t.Errorf("got %+v", p)
	}
	c.control, c.api, c.client = newControl, newAPI, newClient
	c.workers(2)
	c.progress(id)
	c.stopJob("stop-1")
	c.terminate(old.process)

	c.control, c.api = freeAddress(t), freeAddress(t)
	c.cfg.JobID, c.cfg.NewJobID = "", "b2"
	c.supervise(1)
	p := c.problem(contract.RetainedState)
	if p.JobID != "a1" || p.HeadGrant != 3 || p.HeadFinal != "Suspended" || !p.RetryAt.IsZero() {
		t.Errorf("got %+v", p)
	}
	if _, err := os.Stat(filepath.Join(c.dir, "state", "test", "ledger", "b2")); err == nil {
		t.Error("it left something in the storage")
	}
	c.judge()
}

// What a job came to is told until its coordinator is told to end, and workers with health checks stay, too.
func TestSupervised_JobEnds(t *testing.T) {
	tests := map[string]struct {
		env  []string
		want contract.JobState
		// message is what the last failure names.
		message string
	}{
		"finished": {env: []string{"LEDGER_ROWS=200"}, want: contract.JobFinished},
		"failed":   {env: []string{"LEDGER_OUT=/dev/null/nowhere"}, want: contract.JobFailed, message: "nowhere"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, func(c *cluster) {
				c.cfg.JobID, c.cfg.NewJobID = "a1", "a1"
				c.cfg.Restart = contract.Restart{None: &struct{}{}}
			})
			c.env = append(c.env, tc.env...)
			health := freeAddress(t)
			words := filepath.Join(c.dir, "words")
			worker := c.start("worker", "worker", "--coordinator", c.control, "--slots", "2", "--health", health, "--termination-log", words)
			if code := get(t, health, contract.PathReady); code == http.StatusOK {
				t.Error("the worker is ready without a coordinator")
			}
			coordinator := c.supervise(1)
			s := c.until(string(tc.want), func(s *contract.JobStatus) bool { return s.State == tc.want })
			if tc.message != "" && (s.LastFailure == nil || !strings.Contains(s.LastFailure.Message, tc.message)) {
				t.Errorf("last failure: %+v", s.LastFailure)
			}
			time.Sleep(4 * time.Second) // longer than a coordinator without a supervisor stays; not a synchronisation
			c.until("the same", func(s *contract.JobStatus) bool { return s.State == tc.want })
			if code := get(t, health, contract.PathHealth); code != http.StatusOK {
				t.Errorf("health of the worker: %d", code)
			}
			c.terminate(worker)
			c.terminate(coordinator.process)
			if b, err := os.ReadFile(words); err == nil {
				t.Errorf("the worker was told to end, and leaves the words %q", b)
			}
			// The same grant again tells the same.
			coordinator = c.supervise(1)
			c.until("the same from the head", func(s *contract.JobStatus) bool { return s.State == tc.want })
			c.terminate(coordinator.process)
		})
	}
}

// A worker that can't serve the job ends and leaves the reason.
func TestWorker_LeavesWhyItWasRefused(t *testing.T) {
	c := newCluster(t, nil)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", c.control)
	if err != nil {
		t.Fatal(err)
	}
	server := control.NewServer(nil, func(s control.CoordinatorStream) error {
		if _, err := s.Recv(); err != nil {
			return err
		}
		return s.Send(protocol.ToWorker{Refused: "it is of another build"})
	})
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	words := filepath.Join(c.dir, "words")
	code, _ := run(t, c.env, ledger, "worker", "--coordinator", c.control, "--termination-log", words, "--health", freeAddress(t))
	text, err := os.ReadFile(words)
	if code == 0 || err != nil || string(text) != "the coordinator refuses this worker: it is of another build\n" {
		t.Errorf("exit code %d, words %q, %v", code, text, err)
	}
}

// Settings change under a running job, and a coordinator that comes back has them from its file.
func TestSupervised_Policy(t *testing.T) {
	c := newCluster(t, func(c *cluster) {
		c.cfg.JobID, c.cfg.NewJobID = "a1", "a1"
		c.cfg.Checkpointing.Interval = contract.Duration(time.Hour)
	})
	coordinator := c.supervise(1)
	c.workers(2)
	c.until("running", func(s *contract.JobStatus) bool { return s.State == contract.JobRunning })
	checkpointing := *c.cfg.Checkpointing
	checkpointing.Interval, checkpointing.RetentionCount = contract.Duration(100*time.Millisecond), 1
	policy := contract.Policy{Revision: "r2", Checkpointing: &checkpointing, Restart: c.cfg.Restart}
	for range 2 {
		if p, err := c.client.SetPolicy(t.Context(), policy); err != nil || p.Revision != "r2" {
			t.Fatalf("got %+v, %v", p, err)
		}
	}
	id := c.progress(0)
	s := c.until("more checkpoints", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID > id+2 })
	if s.PolicyRevision != "r2" || s.Restarts != 0 {
		t.Errorf("revision %q, %d restarts", s.PolicyRevision, s.Restarts)
	}
	if r, err := c.client.Checkpoints(t.Context()); err != nil || len(r.Retained) != 1 {
		t.Errorf("kept: %+v, %v", r, err)
	}
	checkpointing.Mode = contract.AtLeastOnce
	if _, err := c.client.SetPolicy(t.Context(), contract.Policy{Revision: "r3", Checkpointing: &checkpointing}); err == nil || !strings.Contains(err.Error(), "mode") {
		t.Errorf("another mode: %v", err)
	}
	c.terminate(coordinator.process)
	checkpointing.Mode = ""
	c.cfg.Checkpointing = &checkpointing
	coordinator = c.supervise(1)
	c.progress(s.LastCheckpoint.ID)
	c.stopJob("stop-1")
	c.terminate(coordinator.process)
	c.judge()
}

// A savepoint that takes too long is given up at its own timeout, and the job goes on.
func TestSavepoint_HasATimeout(t *testing.T) {
	c := newCluster(t, func(c *cluster) { c.cfg.JobID, c.cfg.NewJobID = "a1", "a1" })
	coordinator := c.supervise(1)
	workers := c.workers(2)
	c.progress(0)
	c.signal(workers[0], syscall.SIGSTOP)
	began := time.Now()
	op, err := c.client.Stop(t.Context(), contract.StopRequest{OperationID: "stop-1", Timeout: contract.Duration(time.Second)})
	if err == nil {
		op, err = c.client.WaitOperation(t.Context(), op.ID)
	}
	took := time.Since(began)
	c.signal(workers[0], syscall.SIGCONT)
	if err != nil || op.Phase != contract.OperationFailed || !strings.Contains(op.Error, "not complete within 1s") { // that of its own, not the loss of the worker
		t.Errorf("after %v: %+v, %v", took, op, err)
	}
	t.Logf("after %v: %s (%s)", took, op.Error, op.Remedy)
	c.progress(c.until("the status", func(*contract.JobStatus) bool { return true }).LastCheckpoint.ID)
	c.stopJob("stop-2")
	c.terminate(coordinator.process)
	c.judge()
}

// Agents tell what stands in the way of a job, and clean up behind it.
func TestAgent(t *testing.T) {
	s3 := storagetest.StartVersityGW(t)
	c := newCluster(t, overS3(t, s3))
	if r := c.agent("check"); !r.OK || r.Newest != nil {
		t.Errorf("before the start: %+v", r)
	}
	coordinator := c.supervise(1)
	c.workers(2)
	c.progress(0)
	op := c.stopJob("stop-1")
	c.terminate(coordinator.process)
	c.cfg.NewJobID = ""
	if r := c.agent("check"); !r.OK || r.Newest == nil || r.Newest.Path != op.Path || r.HeadFinal != "Suspended" {
		t.Errorf("after the stop: %+v", r)
	}
	good := c.cfg
	bad := map[string]struct {
		change func()
		want   contract.ProblemReason
	}{
		"another maxParallelism": {func() { c.cfg.MaxParallelism = 7 }, contract.IncompatibleState},
		"another job":            {func() { c.cfg.JobID = "b2" }, contract.RestoreNotFound},
		"arguments":              {func() { c.cfg.Args = []string{"--none"} }, contract.InvalidJob},
		"bucket": {func() {
			c.cfg.Storage = &contract.Storage{S3: &contract.S3{Endpoint: s3.Endpoint, Bucket: "none"}}
		}, contract.StorageNotFound},
		"nobody listens": {func() {
			c.cfg.Storage = &contract.Storage{S3: &contract.S3{Endpoint: "http://" + freeAddress(t), Bucket: "none"}}
		}, contract.StorageUnavailable},
	}
	for name, tc := range bad {
		t.Run(name, func(t *testing.T) {
			defer func() { c.cfg = good }()
			tc.change()
			r := c.agent("check", "--timeout", "20s")
			if r.OK || r.Task != contract.AgentCheck || r.Problem == nil || r.Problem.Reason != tc.want {
				t.Errorf("got %+v with %+v", r, r.Problem)
			}
			t.Log(r.Problem)
		})
	}
	if r := c.agent("fence", "--grant", "2", "--operation", "stop-1"); !r.OK || len(r.Operations) != 1 || r.Operations[0].Path != op.Path {
		t.Errorf("fence: %+v", r)
	}
	if r := c.agent("fence", "--grant", "1"); r.OK || r.Problem.Reason != contract.Fenced {
		t.Errorf("fence with a lower grant: %+v", r)
	}
	for i, deleted := range []bool{true, false} {
		if r := c.agent("dispose", "--grant", fmt.Sprint(3+i)); !r.OK || (r.Deleted > 0) != deleted {
			t.Errorf("dispose: %+v", r)
		}
	}
	var left []string
	if err := c.openStore("s3://weir/state").List(t.Context(), "", func(o storage.Object) error {
		left = append(left, o.Key)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, key := range left {
		if !strings.HasSuffix(key, "/head.json") && !strings.HasPrefix(key, "savepoints/") && !strings.Contains(key, "/savepoints/") {
			t.Errorf("left: %s", key)
		}
	}
	t.Log(left)
}
