// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/examples/ledger/checker"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

// overS3 keeps the state of a job in S3.
func overS3(t *testing.T, s3 *storagetest.Server) func(*cluster) {
	t.Helper()
	return func(c *cluster) {
		c.cfg.JobID, c.cfg.NewJobID = "a1", "a1"
		c.cfg.Storage = &contract.Storage{S3: &contract.S3{Endpoint: s3.Endpoint, Bucket: "weir", Prefix: "state"}}
		c.output = "s3://weir/out"
		for name, value := range map[string]string{
			"AWS_ENDPOINT_URL_S3": s3.Endpoint, "AWS_ACCESS_KEY_ID": storagetest.AccessKey, "AWS_SECRET_ACCESS_KEY": storagetest.SecretKey,
		} {
			c.env = append(c.env, name+"="+value)
			t.Setenv(name, value) // for the checker
		}
	}
}

// supervised is a coordinator process that stays up, and the address of its health checks.
type supervised struct {
	*process
	health string
}

// supervise starts a coordinator that stays up, with the configuration as it is now.
func (c *cluster) supervise(grant int) *supervised {
	c.t.Helper()
	health := freeAddress(c.t)
	return &supervised{c.coordinator(grant, "--supervise", "--health", health), health}
}

// terminate tells a process to end, as a kubelet does, and waits for that.
func (c *cluster) terminate(p *process) {
	c.t.Helper()
	began := time.Now()
	c.signal(p, syscall.SIGTERM)
	c.ended(p)
	if took := time.Since(began); took > promptly {
		c.t.Errorf("%s took %v to end, want at most %v", p.name, took, promptly)
	}
	if p.err != nil {
		c.t.Errorf("%s: %v", p.name, p.err)
	}
}

func get(t *testing.T, addr, path string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stepTimeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0
	}
	_ = r.Body.Close()
	return r.StatusCode
}

// agent runs a task of an agent with the configuration as it is now.
func (c *cluster) agent(task string, flags ...string) *contract.AgentResult {
	c.t.Helper()
	c.names++
	file, log := filepath.Join(c.dir, fmt.Sprintf("agent-%d.json", c.names)), filepath.Join(c.dir, fmt.Sprintf("agent-%d.log", c.names))
	b, err := json.Marshal(c.cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		c.t.Fatal(err)
	}
	code, out := run(c.t, c.env, append([]string{ledger, "agent", task, "--job", file, "--termination-log", log}, flags...)...)
	if code != 0 {
		c.t.Fatalf("agent %s: exit code %d:\n%s", task, code, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := contract.ParseAgentResult(string(text))
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// A job is upgraded as an operator does it: stopped with a savepoint, and started under the next grant while its workers come along.
func TestSupervised_Upgrade(t *testing.T) {
	s3 := storagetest.StartVersityGW(t)
	c := newCluster(t, overS3(t, s3))
	began := time.Now()
	workers := c.workers(2) // there is no coordinator yet
	coordinator := c.supervise(1)
	id := c.progress(0)
	t.Logf("first checkpoint after %v", time.Since(began))
	for _, path := range []string{contract.PathHealth, contract.PathReady, contract.PathMetrics} {
		if code := get(t, coordinator.health, path); code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
	}
	for grant := 3; grant <= 7; grant += 2 {
		began = time.Now()
		op, err := c.client.Stop(t.Context(), contract.StopRequest{OperationID: fmt.Sprintf("stop-%d", grant)})
		if err == nil {
			op, err = c.client.WaitOperation(t.Context(), op.ID)
		}
		if err != nil || op.Phase != contract.OperationSucceeded {
			t.Fatalf("stopping: %+v, %v", op, err)
		}
		stopped := time.Since(began)
		c.until("the end", func(s *contract.JobStatus) bool { return s.State == contract.JobStopped })
		for _, w := range workers {
			c.ended(w)
		}
		c.terminate(coordinator.process)
		fenced := c.agent("fence", "--grant", fmt.Sprint(grant-1), "--operation", op.ID) // a grant of its own
		if !fenced.OK || fenced.HeadGrant != int64(grant-1) || len(fenced.Operations) != 1 || fenced.Operations[0].Path != op.Path || fenced.Newest.Path != op.Path {
			t.Fatalf("fencing: %+v", fenced)
		}
		workers = c.workers(2)
		began = time.Now()
		coordinator = c.supervise(grant)
		up := c.until("running", func(s *contract.JobStatus) bool { return s.State == contract.JobRunning })
		running := time.Since(began)
		if up.RestoredFrom == nil || up.RestoredFrom.Path != op.Path || !up.Durable {
			t.Errorf("it started from %+v, want %s", up.RestoredFrom, op.Path)
		}
		id = c.progress(id)
		t.Logf("stopped in %v, running %v after the start, first checkpoint after %v", stopped, running, time.Since(began))
	}
	c.stopJob("last")
	c.terminate(coordinator.process)
	c.judge()
}

// stopJob stops the job with a savepoint.
func (c *cluster) stopJob(id string) *contract.Operation {
	c.t.Helper()
	op, err := c.client.Stop(c.t.Context(), contract.StopRequest{OperationID: id})
	if err == nil {
		op, err = c.client.WaitOperation(c.t.Context(), op.ID)
	}
	if err != nil || op.Phase != contract.OperationSucceeded {
		c.t.Fatalf("stopping: %+v, %v", op, err)
	}
	return op
}

// problem waits until the coordinator tells a problem.
func (c *cluster) problem(reason contract.ProblemReason) *contract.Problem {
	c.t.Helper()
	return c.until("problem "+string(reason), func(s *contract.JobStatus) bool {
		return s.State == contract.JobStarting && s.Problem != nil && s.Problem.Reason == reason
	}).Problem
}

// What keeps a coordinator from starting is told, and tried again once it has been put right.
func TestSupervised_Problems(t *testing.T) {
	s3 := storagetest.StartVersityGW(t)
	change := overS3(t, s3)
	tests := map[string]struct {
		change func(*cluster)
		want   contract.ProblemReason
		// remedy puts it right, if somebody can.
		remedy func(*cluster)
	}{
		"bucket": {
			change: func(c *cluster) { c.cfg.Storage.S3.Bucket = "later" }, want: contract.StorageNotFound,
			remedy: func(c *cluster) { s3.Bucket(c.t, "later") },
		},
		"credentials": {change: func(c *cluster) { c.env = append(c.env, "AWS_SECRET_ACCESS_KEY=wrong") }, want: contract.StorageAccessDenied},
		"nobody listens": {
			change: func(c *cluster) { c.cfg.Storage.S3.Endpoint = "http://" + freeAddress(c.t) }, want: contract.StorageUnavailable,
		},
		"snapshot":   {change: func(c *cluster) { c.cfg.RestoreFrom = "savepoints/none" }, want: contract.RestoreNotFound},
		"elsewhere":  {change: func(c *cluster) { c.cfg.RestoreFrom = "s3://other/savepoints/none" }, want: contract.RestoreNotFound},
		"state gone": {change: func(c *cluster) { c.cfg.NewJobID = "" }, want: contract.RestoreNotFound},
		"plan":       {change: func(c *cluster) { c.cfg.Parallelism, c.cfg.MaxParallelism = 4, 2 }, want: contract.InvalidJob},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, func(c *cluster) {
				change(c)
				c.cfg.Storage.S3.Prefix = "state-" + strings.ReplaceAll(name, " ", "-")
				tc.change(c)
			})
			coordinator := c.supervise(1)
			p := c.problem(tc.want)
			if p.Message == "" || p.RetryAt.IsZero() {
				t.Errorf("got %+v", p)
			}
			t.Logf("%s: %s", p.Message, p.Remedy)
			if code := get(t, coordinator.health, contract.PathHealth); code != http.StatusOK {
				t.Errorf("health: %d", code)
			}
			if tc.remedy != nil {
				tc.remedy(c)
				c.workers(2)
				c.progress(0)
			}
			c.terminate(coordinator.process)
		})
	}
}

// A coordinator ends when it is told to, whatever it is waiting for.
func TestSupervised_EndsWhileStorageIsStuck(t *testing.T) {
	s3 := storagetest.StartVersityGW(t)
	for name, running := range map[string]bool{"at the start": false, "with a job": true} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, func(c *cluster) {
				overS3(t, s3)(c)
				c.cfg.Storage.S3.Prefix = "state-" + strings.ReplaceAll(name, " ", "-")
			})
			freeze := func() {
				if err := syscall.Kill(s3.PID, syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}
			if !running {
				freeze()
			}
			coordinator := c.supervise(1)
			if running {
				c.workers(2)
				c.progress(0)
				freeze()
				time.Sleep(time.Second) // a checkpoint begins and gets stuck; not a synchronisation
			} else {
				c.until("a status", func(s *contract.JobStatus) bool { return s.State == contract.JobStarting })
			}
			c.terminate(coordinator.process)
			if err := syscall.Kill(s3.PID, syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A job without storage survives the loss of a worker. Savepoints are refused, and a new coordinator says that it starts from nothing.
func TestSupervised_WithoutStorage(t *testing.T) {
	c := newCluster(t, func(c *cluster) {
		c.cfg.Storage = nil
		c.cfg.JobID, c.cfg.NewJobID = "a1", "a1"
		c.withTLS()
	})
	coordinator := c.supervise(1)
	workers := c.workers(2)
	id := c.progress(0)
	c.kill(workers[0])
	c.workers(1)
	c.restarted(1)
	s := c.until("a checkpoint after that", func(s *contract.JobStatus) bool { return s.LastCheckpoint != nil && s.LastCheckpoint.ID > id+1 })
	if s.Durable || s.RestoredFrom == nil || s.RestoredFrom.ID < id || len(s.Warnings) == 0 {
		t.Errorf("durable %v, restored from %+v, warnings %q", s.Durable, s.RestoredFrom, s.Warnings)
	}
	t.Log(s.Warnings)
	_, err := c.client.Savepoint(t.Context(), contract.SavepointRequest{OperationID: "sp"})
	e, ok := errors.AsType[*contract.APIError](err)
	if !ok || e.Status != http.StatusConflict || e.Remedy == "" {
		t.Errorf("a savepoint: %v", err)
	}
	if r, err := checker.Output(t.Context(), c.openStore(c.output)); err != nil || r.Err() != nil {
		t.Errorf("the output: %v, %v", err, r.Err())
	}
	c.terminate(coordinator.process)
	coordinator = c.supervise(1)
	s = c.until("running anew", func(s *contract.JobStatus) bool { return s.State == contract.JobRunning })
	if s.RestoredFrom != nil || len(s.Warnings) == 0 {
		t.Errorf("restored from %+v, warnings %q", s.RestoredFrom, s.Warnings)
	}
	c.terminate(coordinator.process)
}
