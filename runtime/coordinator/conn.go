// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/transport/control"
)

const (
	// maxQueued bounds the messages waiting for one worker; one that reads so slowly is lost.
	maxQueued = 16 << 10
	// registerTimeout bounds how long a new connection may take to say who it is.
	registerTimeout = 10 * time.Second
	// flushTimeout bounds how long the end of a coordinator waits for its last messages to go out.
	flushTimeout = 2 * time.Second
)

var (
	errEnded    = errors.New("the coordinator has ended")
	errSlow     = fmt.Errorf("more than %d messages wait for the worker: it does not read them", maxQueued)
	errReplaced = errors.New("the worker connected again")
)

// conn is the connection of one worker. The loop puts messages in; the handler's goroutine sends
// them; a reader posts what arrives to the loop. Any of them ends it with a cause.
type conn struct {
	stream control.CoordinatorStream
	// end stops the connection; the first cause counts.
	end context.CancelCauseFunc
	// ready has a message when queue isn't empty or closing is set.
	ready chan struct{}
	mu    struct {
		sync.Mutex
		queue   []protocol.ToWorker
		closing bool
	}

	// Owned by the loop from here on.
	register protocol.Register
	// lastSeen is when something came from the worker last, beaten when it was sent a heartbeat, or greeted.
	lastSeen, beaten time.Time
	metrics          []protocol.TaskMetrics
	// greeted says that the registration was answered, gone that the worker is lost or the connection has ended.
	greeted, gone bool
}

func newConn(s control.CoordinatorStream, end context.CancelCauseFunc) *conn {
	return &conn{stream: s, end: end, ready: make(chan struct{}, 1)}
}

// send queues a message; it never blocks.
func (c *conn) send(m protocol.ToWorker) {
	c.mu.Lock()
	full := len(c.mu.queue) >= maxQueued
	if !full && !c.mu.closing {
		c.mu.queue = append(c.mu.queue, m)
	}
	c.mu.Unlock()
	if full {
		c.end(errSlow)
		return
	}
	c.wake()
}

// finish ends the connection when everything queued has been sent.
func (c *conn) finish() {
	c.mu.Lock()
	c.mu.closing = true
	c.mu.Unlock()
	c.wake()
}

func (c *conn) wake() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

func (c *conn) take() (queue []protocol.ToWorker, closing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	queue, c.mu.queue = c.mu.queue, nil
	return queue, c.mu.closing
}

// write sends queued messages until the connection ends, and returns why it did; nil after finish.
func (c *conn) write(ctx context.Context, closed <-chan struct{}) error {
	for {
		queue, closing := c.take()
		for _, m := range queue {
			for _, part := range control.Parts(m) {
				if ctx.Err() != nil { // what is left is of an attempt that goes on without the worker
					return context.Cause(ctx)
				}
				if err := c.stream.Send(part); err != nil {
					return fmt.Errorf("sending to the worker: %w", err)
				}
			}
		}
		if closing {
			return nil
		}
		select {
		case <-c.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-closed:
			return errEnded
		}
	}
}

// Handle serves the connection of one worker until it ends; it is the handler of a control server
// and of connections within the process.
func (c *Coordinator) Handle(s control.CoordinatorStream) error {
	if !c.enter() {
		return errEnded
	}
	defer c.running.Done()
	ctx, end := context.WithCancelCause(s.Context())
	defer end(nil)
	k := newConn(s, end)
	c.running.Go(func() { k.end(c.read(ctx, k)) })
	err := k.write(ctx, c.closed)
	k.end(err)
	_ = c.post(context.WithoutCancel(ctx), func(l *loop) { l.disconnected(k, err) })
	return err
}

// read posts what arrives on a connection to the loop until it ends, and returns why it did.
func (c *Coordinator) read(ctx context.Context, k *conn) error {
	late := time.AfterFunc(registerTimeout, func() { k.end(errors.New("the worker did not register in time")) })
	defer late.Stop()
	first, err := k.stream.Recv()
	if err != nil {
		return fmt.Errorf("waiting for a worker to register: %w", err)
	}
	late.Stop()
	if first.Register == nil {
		return errors.New("the first message of a worker does not register it")
	}
	if err := c.post(ctx, func(l *loop) { l.connected(k, *first.Register) }); err != nil {
		return err
	}
	for {
		m, err := k.stream.Recv()
		if err != nil {
			return fmt.Errorf("receiving from the worker: %w", err)
		}
		err = c.post(ctx, func(l *loop) { l.received(k, m) })
		if err != nil && !errors.Is(err, errEnded) { // after the end the worker is still to hear of it
			return err
		}
	}
}
