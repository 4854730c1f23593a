// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"io"

	"github.com/weir-stream/weir/runtime/protocol"
)

// pipeDepth is how many messages are under way in each direction before Send blocks.
const pipeDepth = 64

// Pipe returns the two ends of a connection within one process. It ends with ctx, when the
// worker's end is closed, or when closeCoordinator, the counterpart of the return of a [Handler], is called.
func Pipe(ctx context.Context) (w WorkerStream, c CoordinatorStream, closeCoordinator func()) {
	ctx, cancel := context.WithCancel(ctx)
	p := &pipe{
		done:   ctx.Done(),
		cancel: cancel,
		up:     make(chan protocol.FromWorker, pipeDepth),
		down:   make(chan protocol.ToWorker, pipeDepth),
	}
	return (*workerEnd)(p), &coordinatorEnd{p: p, context: func() context.Context { return ctx }}, cancel
}

// pipe is a connection within one process.
type pipe struct {
	done   <-chan struct{}
	cancel context.CancelFunc
	up     chan protocol.FromWorker
	down   chan protocol.ToWorker
}

// send hands m over unless the pipe has ended.
func send[T any](p *pipe, c chan<- T, m T) error {
	select {
	case <-p.done:
		return io.EOF
	default:
	}
	select {
	case c <- m:
		return nil
	case <-p.done:
		return io.EOF
	}
}

// recv takes what is there first, so that messages sent before the end are not lost.
func recv[T any](p *pipe, c <-chan T) (T, error) {
	select {
	case m := <-c:
		return m, nil
	default:
	}
	select {
	case m := <-c:
		return m, nil
	case <-p.done:
	}
	select {
	case m := <-c:
		return m, nil
	default:
		var none T
		return none, io.EOF
	}
}

// workerEnd is the worker's end of a pipe.
type workerEnd pipe

// Send implements [WorkerStream].
func (w *workerEnd) Send(m protocol.FromWorker) error { return send((*pipe)(w), w.up, m) }

// Recv implements [WorkerStream].
func (w *workerEnd) Recv() (protocol.ToWorker, error) { return recv((*pipe)(w), w.down) }

// Close implements [WorkerStream].
func (w *workerEnd) Close() error {
	w.cancel()
	return nil
}

// coordinatorEnd is the coordinator's end of a pipe.
type coordinatorEnd struct {
	p       *pipe
	context func() context.Context
}

// Context implements [CoordinatorStream].
func (c *coordinatorEnd) Context() context.Context { return c.context() }

// Send implements [CoordinatorStream].
func (c *coordinatorEnd) Send(m protocol.ToWorker) error { return send(c.p, c.p.down, m) }

// Recv implements [CoordinatorStream].
func (c *coordinatorEnd) Recv() (protocol.FromWorker, error) { return recv(c.p, c.p.up) }
