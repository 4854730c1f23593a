// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/weir-stream/weir/examples/ledger/checker"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

// A bounded job loses workers and coordinators and still ends by itself, with every row to the very last in the output.
func TestBoundedJob_FinishesInSpiteOfKills(t *testing.T) {
	const rows = 400
	c := newCluster(t, func(c *cluster) { c.env = append(c.env, "LEDGER_ROWS=400") })
	coordinator := c.coordinator(1)
	workers := c.workers(3)
	id := int64(0)
	for range 3 {
		id = c.progress(id)
		time.Sleep(time.Duration(c.rnd.IntN(200)) * time.Millisecond) // a random moment, not a synchronisation
		if c.rnd.IntN(2) == 0 {
			c.kill(coordinator)
			coordinator = c.coordinator(1)
			continue
		}
		victim := c.rnd.IntN(len(workers))
		c.kill(workers[victim])
		workers[victim] = c.workers(1)[0]
	}
	c.ended(coordinator)
	if coordinator.err != nil {
		t.Errorf("the coordinator of a job that finished ended with %v", coordinator.err)
	}
	c.allEnded()
	c.judge()
	r, err := checker.Output(t.Context(), c.openStore(c.output))
	if err != nil {
		t.Fatal(err)
	}
	if want := 50 * rows; r.Rows != want {
		t.Errorf("%d rows in the output, want %d", r.Rows, want)
	}
}

// A cancelled job ends without a savepoint; a higher grant goes on from the last checkpoint, a lower one is refused.
func TestCancel_ThenGoOn(t *testing.T) {
	c := newCluster(t, nil)
	coordinator := c.coordinator(2)
	c.workers(2)
	id := int64(0)
	for range 3 { // by then all keys have rows
		id = c.progress(id)
	}
	ctx, cancel := context.WithTimeout(t.Context(), stepTimeout)
	defer cancel()
	op, err := c.client.Cancel(ctx, contract.CancelRequest{OperationID: "cancel"})
	if err == nil {
		op, err = c.client.WaitOperation(ctx, op.ID)
	}
	if err != nil || op.Phase != contract.OperationSucceeded || op.Path != "" {
		t.Fatalf("cancelling: %+v, %v", op, err)
	}
	c.ended(coordinator)
	c.allEnded()
	c.judge()

	refused := c.coordinator(1)
	c.ended(refused)
	if refused.err == nil || !names(refused.log.tail(), "grant 2 has it", "only a higher one") {
		t.Errorf("grant 1 after 2 ended with %v", refused.err)
	}
	coordinator = c.coordinator(3)
	c.workers(2)
	s := c.until("the job to go on", func(s *contract.JobStatus) bool { return s.State == contract.JobRunning && s.RestoredFrom != nil })
	if s.RestoredFrom.ID < id {
		t.Errorf("restored from %d, older than %d", s.RestoredFrom.ID, id)
	}
	c.progress(s.RestoredFrom.ID)
	c.stop(coordinator)
	c.judge()
}

// Requests and answers of the storage get lost at random, then it is away for a while; then all goes on.
func TestUnreliableStorage(t *testing.T) {
	s3 := storagetest.StartVersityGW(t)
	proxy := storagetest.StartProxy(t, s3.Endpoint)
	c := newCluster(t, func(c *cluster) {
		c.cfg.Storage = &contract.Storage{S3: &contract.S3{Endpoint: proxy.Endpoint, Bucket: "weir", Prefix: "state"}}
		c.output = "s3://weir/out"
		c.credentials(proxy.Endpoint)
	})
	t.Setenv("AWS_ENDPOINT_URL_S3", s3.Endpoint) // the checker reads around the proxy
	coordinator := c.coordinator(1)
	c.workers(2)
	id := c.progress(0)

	proxy.SetFault(c.unreliable(0.1))
	for range 4 {
		id = c.progress(id)
	}
	var lost sync.WaitGroup
	lost.Add(10)
	done := 0
	var mu sync.Mutex
	proxy.SetFault(func(*http.Request) storagetest.ProxyFault {
		mu.Lock()
		defer mu.Unlock()
		if done++; done <= 10 {
			lost.Done()
		}
		return storagetest.LoseRequest
	})
	lost.Wait()
	proxy.SetFault(nil)
	id = c.progress(id)
	c.progress(id)
	c.stop(coordinator)
	c.judge()
}

// unreliable loses a share of the requests, of the answers, and fails some.
func (c *cluster) unreliable(share float64) func(*http.Request) storagetest.ProxyFault {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(c.rnd.Uint64(), 2))
	return func(*http.Request) storagetest.ProxyFault {
		mu.Lock()
		defer mu.Unlock()
		if r.Float64() >= share {
			return storagetest.Pass
		}
		return []storagetest.ProxyFault{storagetest.LoseRequest, storagetest.LoseAnswer, storagetest.Fail}[r.IntN(3)]
	}
}

// credentials give the processes, and the checker, access to the test server.
func (c *cluster) credentials(endpoint string) {
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_S3": endpoint, "AWS_ACCESS_KEY_ID": storagetest.AccessKey, "AWS_SECRET_ACCESS_KEY": storagetest.SecretKey,
	} {
		c.env = append(c.env, name+"="+value)
		c.t.Setenv(name, value)
	}
}

// allEnded waits until no process of the job is left: the job is over, nobody has to end them.
func (c *cluster) allEnded() {
	c.t.Helper()
	for _, p := range c.processes {
		c.ended(p)
	}
}
