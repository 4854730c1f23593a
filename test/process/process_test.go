// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

// Workers are killed at random moments, with mutual TLS between all processes; then the job moves to other parallelisms.
func TestKilledWorkers_ThenRescaled(t *testing.T) {
	c := newCluster(t, func(c *cluster) { c.withTLS() })
	coordinator := c.coordinator(1)
	workers := c.workers(2)
	id := c.progress(0)
	for i := int64(1); i <= 4; i++ {
		time.Sleep(time.Duration(c.rnd.IntN(300)) * time.Millisecond) // a random moment of the checkpoint cycle, not a synchronisation
		victim := c.rnd.IntN(len(workers))
		c.kill(workers[victim])
		workers[victim] = c.workers(1)[0]
		c.restarted(i)
		id = c.progress(id)
	}
	path := c.stop(coordinator)
	c.judge()
	for i, parallelism := range []int{3, 2} {
		c.cfg.Parallelism = parallelism
		coordinator = c.coordinator(2 + i)
		c.workers(3)
		s := c.until("the restored job on three workers", func(s *contract.JobStatus) bool {
			return s.State == contract.JobRunning && s.RestoredFrom != nil && s.SlotsOffered == 3 // all hear of the end of the job
		})
		if s.RestoredFrom.Path != path || s.Parallelism != parallelism {
			t.Errorf("restored from %s at parallelism %d, want %s at %d", s.RestoredFrom.Path, s.Parallelism, path, parallelism)
		}
		id = c.progress(id)
		path = c.stop(coordinator)
		c.judge()
	}
}

// Without a checkpoint everything that was read is read again, and that is said.
func TestKilledWorker_SaysHowMuchIsReadAgain(t *testing.T) {
	c := newCluster(t, func(c *cluster) { c.cfg.Checkpointing.Interval = contract.Duration(time.Hour) })
	coordinator := c.coordinator(1)
	workers := c.workers(2)
	before := c.until("records", func(s *contract.JobStatus) bool { return s.State == contract.JobRunning && s.RecordsIn > 0 })
	if before.RecordsReplayed != 0 {
		t.Errorf("%d records were read again before anything failed", before.RecordsReplayed)
	}
	c.kill(workers[0])
	c.workers(1)
	c.restarted(1)
	c.until("the count of what is read again", func(s *contract.JobStatus) bool { return s.RecordsReplayed >= before.RecordsIn })
	c.stop(coordinator)
	c.judge()
}

// The coordinator is killed and comes back, with the same grant and with a higher one; snapshots are in S3.
func TestKilledCoordinator(t *testing.T) {
	s3 := storagetest.StartVersityGW(t)
	c := newCluster(t, func(c *cluster) {
		c.cfg.Storage = &contract.Storage{S3: &contract.S3{Endpoint: s3.Endpoint, Bucket: "weir", Prefix: "state"}}
		c.output = "s3://weir/out"
		for name, value := range map[string]string{
			"AWS_ENDPOINT_URL_S3": s3.Endpoint, "AWS_ACCESS_KEY_ID": storagetest.AccessKey, "AWS_SECRET_ACCESS_KEY": storagetest.SecretKey,
		} {
			c.env = append(c.env, name+"="+value)
			t.Setenv(name, value) // for the checker
		}
	})
	coordinator := c.coordinator(1)
	c.workers(2)
	id := c.progress(0)
	for _, grant := range []int{1, 1, 2} {
		time.Sleep(time.Duration(c.rnd.IntN(300)) * time.Millisecond) // a random moment, not a synchronisation
		c.kill(coordinator)
		coordinator = c.coordinator(grant)
		after := c.progress(id)
		if after <= id {
			t.Errorf("checkpoint %d after %d", after, id)
		}
		id = after
	}
	c.stop(coordinator)
	c.judge()
}

// A coordinator is frozen while another takes over; thawed, it is refused by the head and commits nothing.
func TestZombieCoordinator(t *testing.T) {
	c := newCluster(t, nil)
	zombie := c.coordinator(1)
	orphans := c.workers(2)
	id := c.progress(0)
	c.signal(zombie, syscall.SIGSTOP)

	c.control, c.api = freeAddress(t), freeAddress(t)
	coordinator := c.coordinator(2)
	c.workers(2)
	id = c.progress(id)
	c.signal(zombie, syscall.SIGCONT)
	c.ended(zombie)
	if zombie.err == nil || !names(zombie.log.tail(), "fenced") {
		t.Errorf("the zombie ended with %v and doesn't say that it was fenced", zombie.err)
	}
	c.progress(id)
	for _, w := range orphans { // they wait for a coordinator at the address of the zombie, until they are told to end
		c.signal(w, syscall.SIGTERM)
		c.ended(w)
		if w.err != nil {
			t.Errorf("%s ended with %v", w.name, w.err)
		}
	}
	c.stop(coordinator)
	c.judge()
}

// A worker is frozen for longer than the heartbeat timeout; another takes its place; thawed, it does no harm.
func TestFrozenWorker(t *testing.T) {
	c := newCluster(t, nil)
	coordinator := c.coordinator(1)
	workers := c.workers(2)
	id := c.progress(0)
	c.signal(workers[0], syscall.SIGSTOP)
	c.workers(1)
	c.restarted(1)
	id = c.progress(id)
	c.signal(workers[0], syscall.SIGCONT)
	id = c.progress(id)
	c.progress(id)
	c.stop(coordinator)
	c.judge()
}

// Storage can't be reached for a while: checkpoints fail, nothing is lost, and the job goes on.
func TestStorageOutage(t *testing.T) {
	s3 := storagetest.StartVersityGW(t)
	c := newCluster(t, func(c *cluster) {
		c.cfg.Storage = &contract.Storage{S3: &contract.S3{Endpoint: s3.Endpoint, Bucket: "weir", Prefix: "state"}}
		c.env = append(c.env, "AWS_ACCESS_KEY_ID="+storagetest.AccessKey, "AWS_SECRET_ACCESS_KEY="+storagetest.SecretKey)
		t.Setenv("AWS_ENDPOINT_URL_S3", s3.Endpoint)
		t.Setenv("AWS_ACCESS_KEY_ID", storagetest.AccessKey)
		t.Setenv("AWS_SECRET_ACCESS_KEY", storagetest.SecretKey)
	})
	coordinator := c.coordinator(1)
	c.workers(2)
	id := c.progress(0)
	if err := syscall.Kill(s3.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // how long the outage lasts
	if err := syscall.Kill(s3.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	id = c.progress(id)
	c.progress(id)
	c.stop(coordinator)
	c.judge()
}
