// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/transport/control"
)

const (
	firstBackoff = 100 * time.Millisecond
	// quickBackoff bounds the pauses at first: a coordinator that is being started, or replaced, is soon there.
	quickBackoff = 200 * time.Millisecond
	quickPeriod  = 20 * time.Second
	maxBackoff   = time.Second
	// registerTimeout bounds the wait for the answer to a registration.
	registerTimeout = 10 * time.Second
	// flushTimeout bounds how long the end of a worker waits for its last messages to go out.
	flushTimeout = 2 * time.Second
)

var (
	// errShutdown says that the coordinator told the worker to end.
	errShutdown = errors.New("the job is over")
	// errSilent ends a connection on which nothing came for too long.
	errSilent = errors.New("nothing was heard from the coordinator")
)

// refusedError says that this worker can't serve the job.
type refusedError struct{ reason string }

// Error implements error.
func (e *refusedError) Error() string { return "the coordinator refuses this worker: " + e.reason }

// sessions connects to the coordinator again and again until the job is over, this worker
// is refused, the coordinator can't be reached for too long, or ctx ends.
func (w *worker) sessions(ctx context.Context) error {
	backoff := firstBackoff
	since := time.Now()
	for {
		w.opts.Turned()
		registered, err := w.session(ctx)
		refused := (*refusedError)(nil)
		switch {
		case errors.Is(err, errShutdown):
			return w.stuckCause(ctx)
		case errors.As(err, &refused):
			return refused
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case registered:
			backoff, since = firstBackoff, time.Now()
			w.startFence()
		case time.Since(since) > w.opts.ConnectTimeout:
			return fmt.Errorf("reaching the coordinator: given up after %s: %w", w.opts.ConnectTimeout, err)
		}
		w.log.Info("No connection to the coordinator, trying again", "after", backoff.String(), "cause", err.Error())
		if !pause(ctx, backoff/2+rand.N(backoff/2)) {
			return context.Cause(ctx)
		}
		limit := maxBackoff
		if time.Since(since) < quickPeriod {
			limit = quickBackoff
		}
		backoff = min(2*backoff, limit)
	}
}

// stuckCause says which tasks did not end though they were told to; nil: all did.
func (w *worker) stuckCause(ctx context.Context) error {
	select {
	case <-w.stuckDone:
		return context.Cause(ctx)
	default:
		return nil
	}
}

// pause waits for d; false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// session is the life of one connection. registered says whether the coordinator accepted this worker.
func (w *worker) session(ctx context.Context) (registered bool, err error) {
	stream, err := w.opts.Connect(ctx)
	if err != nil {
		return false, err
	}
	defer stream.Close()
	stop := context.AfterFunc(ctx, func() { _ = stream.Close() })
	defer stop()

	reg, err := w.register(stream)
	if err != nil {
		return false, err
	}
	if err := w.accepted(ctx, reg); err != nil {
		return false, err
	}
	w.connected.Store(true)
	defer w.lostCoordinator()
	if told := w.opts.Registered; told != nil {
		told(true)
		defer told(false)
	}
	sending, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		// Whatever ends the sender ends the connection; the receiver finds out.
		if err := w.send(sending, stream, reg.HeartbeatInterval); err != nil {
			w.log.Info("Sending to the coordinator failed", "cause", err.Error())
		}
		_ = stream.Close()
	})
	err = w.receive(ctx, stream, reg.HeartbeatTimeout)
	if errors.Is(err, errShutdown) {
		// The receiver is done: what is still to send has a little time.
		timer := time.AfterFunc(flushTimeout, func() { _ = stream.Close() })
		w.stopAll()
		timer.Stop()
	}
	cancel()
	wg.Wait()
	return true, err
}

// register introduces the worker and waits for the answer.
func (w *worker) register(stream control.WorkerStream) (*protocol.Registered, error) {
	late := time.AfterFunc(registerTimeout, func() { _ = stream.Close() })
	defer late.Stop()
	m := protocol.Register{
		Protocol: protocol.ControlVersion,
		Worker:   w.opts.Name, Slots: w.opts.Slots, DataAddr: w.dataAddr,
		Version: w.opts.Version, Fingerprint: w.fingerprint(),
	}
	if err := stream.Send(protocol.FromWorker{Register: &m}); err != nil {
		return nil, fmt.Errorf("registering: %w", err)
	}
	answer, err := stream.Recv()
	switch {
	case err != nil:
		return nil, fmt.Errorf("registering: %w", err)
	case answer.Refused != "":
		return nil, &refusedError{reason: answer.Refused}
	case answer.Shutdown:
		return nil, errShutdown
	case answer.Registered == nil:
		return nil, errors.New("registering: the coordinator's first message is no answer to it")
	}
	return answer.Registered, nil
}

// send sends what is in the outbox, and heartbeats, until ctx ends (nil) or the connection breaks.
func (w *worker) send(ctx context.Context, stream control.WorkerStream, interval time.Duration) error {
	tick := time.NewTicker(max(interval, 10*time.Millisecond))
	defer tick.Stop()
	for {
		w.opts.Turned()
		if err := w.sendQueued(stream); err != nil {
			return err
		}
		select {
		case <-w.out.ready.C():
		case <-tick.C:
			if err := stream.Send(protocol.FromWorker{Heartbeat: w.heartbeat()}); err != nil {
				return err
			}
		case <-ctx.Done():
			for _, m := range w.out.take() {
				if stream.Send(m) != nil {
					break
				}
			}
			return nil
		}
	}
}

// sendQueued sends what is in the outbox.
func (w *worker) sendQueued(stream control.WorkerStream) error {
	for _, m := range w.out.take() {
		if m.Status != nil && m.Status.State == protocol.TaskFinished { // the last counts of the task come before its end
			if err := stream.Send(protocol.FromWorker{Heartbeat: w.heartbeat()}); err != nil {
				return err
			}
		}
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// receive takes messages until the connection ends.
func (w *worker) receive(ctx context.Context, stream control.WorkerStream, silence time.Duration) error {
	silent := time.AfterFunc(max(silence, 100*time.Millisecond), func() { _ = stream.Close() })
	defer silent.Stop()
	var parts control.Assembler
	for {
		m, err := stream.Recv()
		if err != nil {
			if !silent.Stop() && ctx.Err() == nil {
				return fmt.Errorf("%w for %s", errSilent, silence)
			}
			return fmt.Errorf("receiving from the coordinator: %w", err)
		}
		silent.Reset(max(silence, 100*time.Millisecond))
		switch {
		case m.Shutdown:
			return errShutdown
		case m.Refused != "":
			return &refusedError{reason: m.Refused}
		case m.Drained:
			w.tellDrained()
		case m.Registered != nil: // a coordinator that stood by has claimed the job
			if err := w.accepted(ctx, m.Registered); err != nil {
				return err
			}
		case m.Part != nil:
			if err := parts.Add(m.Part); err != nil {
				return fmt.Errorf("receiving from the coordinator: %w", err)
			}
		case m.Deploy != nil:
			if err := parts.Complete(m.Deploy); err != nil {
				return fmt.Errorf("receiving from the coordinator: %w", err)
			}
			w.handle(ctx, m)
		default:
			w.handle(ctx, m)
		}
	}
}
