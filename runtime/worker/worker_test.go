// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/transport"
	"github.com/weir-stream/weir/runtime/transport/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func attemptK(k int64) protocol.Attempt {
	return protocol.Attempt{Epoch: protocol.Epoch{Grant: 1, N: 1}, K: k}
}

// await returns the result of a worker.
func await(t *testing.T, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(patience):
		t.Fatal("the worker goes on")
		return nil
	}
}

func TestOneWorkerRunsABoundedJob(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	var turned, working atomic.Int64
	o := options(t, "w", f, j, newStore())
	o.Turned, o.Working = func() { turned.Add(1) }, func() { working.Add(1) }
	result := startWorker(t.Context(), t, o)
	c := f.accept()
	j.allow(50_000, true)
	if n := working.Load(); n != 0 {
		t.Errorf("tasks were announced %d times before there were any", n)
	}
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	seen := map[protocol.TaskID][]protocol.TaskState{}
	left := 8
	c.until(func(m protocol.FromWorker) bool {
		if m.Status != nil {
			seen[m.Status.Task] = append(seen[m.Status.Task], m.Status.State)
			if m.Status.State == protocol.TaskFinished {
				left--
			}
		}
		return left == 0
	})
	want := []protocol.TaskState{protocol.TaskDeploying, protocol.TaskRunning, protocol.TaskFinished}
	for id, states := range seen {
		if !slices.Equal(states, want) {
			t.Errorf("task %s went through %v, want %v", id, states, want)
		}
	}
	j.awaitTotal(t, 100_000)
	if turned.Load() == 0 || working.Load() != 1 {
		t.Errorf("the session got on %d times, and tasks were announced %d times", turned.Load(), working.Load())
	}
	c.send(protocol.ToWorker{Shutdown: true})
	if err := await(t, result); err != nil {
		t.Errorf("Run() = %v", err)
	}
}

func TestTwoWorkersExchangeRows(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "mTLS": true} {
		t.Run(name, func(t *testing.T) {
			f, j := newFakeCoordinator(t), newTestJob()
			var conns []*fakeConn
			for _, name := range []string{"a", "b"} {
				o := options(t, name, f, j, newStore())
				o.DataListenAddr = "127.0.0.1:0"
				if secure {
					dir := t.TempDir()
					if name == "b" {
						dir = sharedCerts
					} else {
						sharedCerts = dir
						if err := transport.GenerateCerts(dir, nil); err != nil {
							t.Fatal(err)
						}
					}
					files := transport.CertFiles(dir, "worker")
					o.TLS = &files
				}
				startWorker(t.Context(), t, o)
				conns = append(conns, f.accept())
			}
			j.allow(200_000, true)
			for c, d := range deployment(1, 2, conns, nil) {
				c.send(protocol.ToWorker{Deploy: d})
			}
			for _, c := range conns {
				c.states(protocol.TaskFinished, 4)
			}
			j.awaitTotal(t, 400_000)
		})
	}
}

// sharedCerts is the directory of the certificates of a test.
var sharedCerts string

func TestTheWorkerDialsItsCoordinator(t *testing.T) {
	dir := t.TempDir()
	if err := transport.GenerateCerts(dir, nil); err != nil {
		t.Fatal(err)
	}
	server, err := transport.CertFiles(dir, "coordinator").Server(transport.RoleWorker)
	if err != nil {
		t.Fatal(err)
	}
	client, err := transport.CertFiles(dir, "worker").Client(transport.RoleCoordinator)
	if err != nil {
		t.Fatal(err)
	}
	f, j := newFakeCoordinator(t), newTestJob()
	s := control.NewServer(server, func(s control.CoordinatorStream) error {
		f.serve(s, nil)
		return nil
	})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	o := options(t, "w", f, j, newStore())
	o.Connect = Dial(l.Addr().String(), client)
	result := startWorker(t.Context(), t, o)
	c := f.accept()
	j.allow(1000, true)
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	c.states(protocol.TaskFinished, 8)
	c.send(protocol.ToWorker{Shutdown: true})
	if err := await(t, result); err != nil {
		t.Errorf("Run() = %v", err)
	}
	s.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestHeartbeatsCarryMetrics(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	startWorker(t.Context(), t, options(t, "w", f, j, newStore()))
	c := f.accept()
	j.allow(1000, false)
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	j.awaitTotal(t, 2000)
	for beat := range c.beats {
		in := map[string]int64{}
		for _, m := range beat.Tasks {
			in[m.Task.Vertex] += m.RecordsIn
		}
		if maps.Equal(in, map[string]int64{"numbers": 2000, "check": 2000, "count": 2000, "sink": 2000}) {
			return
		}
	}
}

// checkpoint takes a snapshot and returns the messages with the acks of all tasks.
func checkpoint(c *fakeConn, b record.Barrier) []protocol.FromWorker {
	c.t.Helper()
	c.send(protocol.ToWorker{Trigger: &protocol.Trigger{
		Attempt: attemptK(1), Barrier: b, Tasks: []protocol.TaskID{{Vertex: "numbers"}, {Vertex: "numbers", Subtask: 1}},
	}})
	left := 8
	return c.until(func(m protocol.FromWorker) bool {
		if m.Decline != nil {
			c.t.Fatalf("task %s declines: %s %s", m.Decline.Task, m.Decline.Reason, m.Decline.Error)
		}
		if m.Ack != nil {
			left--
		}
		return left == 0
	})
}

func TestCheckpointAndRestore(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	f.job.Checkpointing = &contract.Checkpointing{Interval: contract.Duration(time.Hour)}
	startWorker(t.Context(), t, options(t, "w", f, j, newStore()))
	c := f.accept()
	j.allow(5000, false)
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	j.awaitTotal(t, 10_000)
	acks := checkpoint(c, record.Barrier{Checkpoint: 1, Target: "chk/"})

	// What follows the checkpoint is lost with the attempt.
	j.allow(7000, false)
	j.awaitTotal(t, 14_000)
	c.send(protocol.ToWorker{Cancel: &protocol.Cancel{Attempt: attemptK(1)}})
	c.states(protocol.TaskCanceled, 8)

	j.reset()
	j.allow(9000, true)
	c.send(protocol.ToWorker{Deploy: deployment(2, 2, []*fakeConn{c}, acks)[c]})
	ended := 0
	c.until(func(m protocol.FromWorker) bool {
		if m.Status != nil && m.Status.State == protocol.TaskFailed {
			t.Fatal(m.Status.Error)
		}
		if m.EndOfData != nil {
			ended++
		}
		return ended == 8
	})
	j.awaitTotal(t, 18_000)
	j.mu.Lock()
	if j.mu.rows != 8000 {
		t.Errorf("the sink got %d rows after the restore, want 8000", j.mu.rows)
	}
	j.mu.Unlock()
	// The final checkpoint lets everything finish.
	for _, v := range vertices {
		c.send(protocol.ToWorker{Trigger: &protocol.Trigger{
			Attempt: attemptK(2), Barrier: record.Barrier{Checkpoint: 2, Target: "chk/"},
			Tasks: []protocol.TaskID{{Vertex: v}, {Vertex: v, Subtask: 1}},
		}})
	}
	left := 8
	c.until(func(m protocol.FromWorker) bool {
		if m.Ack != nil {
			left--
		}
		return left == 0
	})
	c.send(protocol.ToWorker{Complete: &protocol.Complete{Attempt: attemptK(2), Checkpoint: 2}})
	c.states(protocol.TaskFinished, 8)
}

func TestStopWithSavepoint(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	f.job.Checkpointing = &contract.Checkpointing{Interval: contract.Duration(time.Hour)}
	startWorker(t.Context(), t, options(t, "w", f, j, newStore()))
	c := f.accept()
	j.allow(100, false)
	c.send(protocol.ToWorker{Deploy: deployment(1, 2, []*fakeConn{c}, nil)[c]})
	c.states(protocol.TaskRunning, 8)
	checkpoint(c, record.Barrier{Checkpoint: 1, Kind: record.Savepoint, Stop: record.StopFreeze, Target: "sp/"})
	c.send(protocol.ToWorker{Complete: &protocol.Complete{Attempt: attemptK(1), Checkpoint: 1, Stop: record.StopFreeze}})
	notified, finished := 0, 0
	c.until(func(m protocol.FromWorker) bool {
		if m.Notified != nil {
			notified++
		}
		if m.Status != nil && m.Status.State == protocol.TaskFinished {
			finished++
		}
		return notified == 8 && finished == 8
	})
	// A repeat is answered although the tasks have ended.
	c.send(protocol.ToWorker{Complete: &protocol.Complete{Attempt: attemptK(1), Checkpoint: 1, Stop: record.StopFreeze}})
	for range 8 {
		if m := c.next(); m.Notified == nil {
			t.Errorf("the repeat is answered with %+v", m)
		}
	}
}
