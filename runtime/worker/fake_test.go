// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/transport/control"
)

const patience = time.Minute

// fakeCoordinator is the other end of the connections of the workers of a test.
type fakeCoordinator struct {
	t     testing.TB
	epoch protocol.Epoch
	job   contract.JobConfig
	// fingerprint and timeout go into the answers to registrations.
	fingerprint string
	timeout     time.Duration
	mu          struct {
		sync.Mutex
		down bool
	}
	conns chan *fakeConn
}

// fakeConn is one connection of a worker.
type fakeConn struct {
	t      testing.TB
	s      control.CoordinatorStream
	close  func()
	worker protocol.Register
	// got has what the worker sent, without heartbeats; beats those.
	got   chan protocol.FromWorker
	beats chan protocol.Heartbeat
}

func newFakeCoordinator(tb testing.TB) *fakeCoordinator {
	tb.Helper()
	return &fakeCoordinator{
		t: tb, epoch: protocol.Epoch{Grant: 1, N: 1}, timeout: patience, conns: make(chan *fakeConn, 16),
		job: contract.JobConfig{Name: "test", JobID: "job-1", Parallelism: 2, MaxParallelism: 128},
	}
}

// setDown makes connections fail, or not.
func (f *fakeCoordinator) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.down = down
}

// connect is the Connect of a worker.
func (f *fakeCoordinator) connect(ctx context.Context) (control.WorkerStream, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.down {
		return nil, errors.New("the test says that nobody is there")
	}
	w, s, end := control.Pipe(ctx)
	go f.serve(s, end)
	return w, nil
}

// serve takes one connection and returns when it ends.
func (f *fakeCoordinator) serve(s control.CoordinatorStream, end func()) {
	c := &fakeConn{t: f.t, s: s, close: end, got: make(chan protocol.FromWorker, 1000), beats: make(chan protocol.Heartbeat, 1000)}
	m, err := s.Recv()
	if err != nil || m.Register == nil {
		return
	}
	c.worker = *m.Register
	f.conns <- c
	c.read()
}

// read sorts what the worker sends.
func (c *fakeConn) read() {
	defer close(c.got)
	for {
		m, err := c.s.Recv()
		if err != nil {
			return
		}
		if m.Heartbeat != nil {
			select {
			case c.beats <- *m.Heartbeat:
			default:
			}
			continue
		}
		c.got <- m
	}
}

// accept waits for a worker and answers its registration.
func (f *fakeCoordinator) accept() *fakeConn {
	f.t.Helper()
	select {
	case c := <-f.conns:
		job, err := json.Marshal(f.job)
		if err != nil {
			f.t.Fatal(err)
		}
		c.send(protocol.ToWorker{Registered: &protocol.Registered{
			Epoch: f.epoch, Job: job, Fingerprint: f.fingerprint,
			HeartbeatInterval: 20 * time.Millisecond, HeartbeatTimeout: f.timeout,
		}})
		return c
	case <-time.After(patience):
		f.t.Fatal("no worker connects")
		return nil
	}
}

func (c *fakeConn) send(m protocol.ToWorker) {
	c.t.Helper()
	if err := c.s.Send(m); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next message that isn't a heartbeat.
func (c *fakeConn) next() protocol.FromWorker {
	c.t.Helper()
	select {
	case m, ok := <-c.got:
		if !ok {
			c.t.Fatal("the worker closed the connection")
		}
		return m
	case <-time.After(patience):
		c.t.Fatal("the worker says nothing")
	}
	return protocol.FromWorker{}
}

// until returns messages up to the first for which stop is true.
func (c *fakeConn) until(stop func(protocol.FromWorker) bool) []protocol.FromWorker {
	c.t.Helper()
	var ms []protocol.FromWorker
	for {
		m := c.next()
		ms = append(ms, m)
		if stop(m) {
			return ms
		}
	}
}

// states waits until n tasks have reported state and returns the last status of each.
func (c *fakeConn) states(state protocol.TaskState, n int) map[protocol.TaskID]protocol.TaskStatus {
	c.t.Helper()
	last := map[protocol.TaskID]protocol.TaskStatus{}
	c.until(func(m protocol.FromWorker) bool {
		if m.Status != nil {
			if m.Status.State == protocol.TaskFailed && state != protocol.TaskFailed {
				c.t.Errorf("task %s failed: %s", m.Status.Task, m.Status.Error)
			}
			last[m.Status.Task] = *m.Status
			if m.Status.State == state {
				n--
			}
		}
		return n == 0
	})
	return last
}

// startWorker runs a worker that must end by the end of the test; result has what Run returned.
func startWorker(ctx context.Context, tb testing.TB, o Options) (result <-chan error) {
	tb.Helper()
	done, c := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		c <- Run(ctx, o)
		close(done)
	}()
	tb.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			tb.Error("the worker does not end")
		}
	})
	return c
}
