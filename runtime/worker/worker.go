// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/transport"
)

// worker is one running worker.
type worker struct {
	opts     Options
	log      logr.Logger
	dataAddr string
	exchange *transport.Exchange
	out      *outbox
	// async bounds the asynchronous parts of snapshots.
	async *semaphore.Weighted
	// attempts counts the goroutines of attempts.
	attempts sync.WaitGroup
	// stuck ends the worker when tasks don't end; stuckDone is closed then.
	stuck     func(error)
	stuckDone <-chan struct{}
	// connected says that a coordinator has accepted this worker; drained has a token when that says that a drain is over.
	connected atomic.Bool
	drained   chan struct{}

	mu struct {
		sync.Mutex
		// job is nil before the first registration.
		job *jobSetup
		// epoch is the newest seen.
		epoch protocol.Epoch
		// current is the newest attempt of each region, void the newest that must not start any more.
		current map[string]*attempt
		void    map[string]protocol.Attempt
		// heartbeatTimeout is how long tasks go on without the coordinator.
		heartbeatTimeout time.Duration
		fence            *time.Timer
	}
}

// Run runs a worker until the coordinator says that the job is over (nil), refuses it or can't be
// reached for too long, or ctx ends. All that was started has ended when it returns, except for tasks
// that are stuck in code of the user: then the error says so, and the process should end.
func Run(ctx context.Context, opts Options) error {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stuck := make(chan struct{})
	w := &worker{
		opts: opts, log: opts.Log.WithValues("worker", opts.Name), out: newOutbox(),
		async: semaphore.NewWeighted(int64(opts.AsyncParts)), stuckDone: stuck, drained: make(chan struct{}, 1),
	}
	w.mu.current, w.mu.void = map[string]*attempt{}, map[string]protocol.Attempt{}
	var once sync.Once
	w.stuck = func(err error) {
		once.Do(func() {
			cancel(err)
			close(stuck)
		})
	}
	if err := w.openExchange(ctx); err != nil {
		return err
	}
	// The exchange outlives the tasks.
	exchangeCtx, stopExchange := context.WithCancel(context.WithoutCancel(ctx))
	defer stopExchange()
	ending := make(chan struct{})
	var drain sync.WaitGroup
	defer drain.Wait()
	defer close(ending)
	drain.Go(func() {
		if w.drain(ending) {
			cancel(ErrDrained)
		}
	})
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.exchange.Run(exchangeCtx) })
	group.Go(func() error {
		defer stopExchange()
		err := w.sessions(groupCtx)
		w.stopAll()
		return err
	})
	return group.Wait()
}

// openExchange listens for other workers.
func (w *worker) openExchange(ctx context.Context) error {
	o := transport.ExchangeOptions{Worker: w.opts.Name, Failed: w.channelFailed, Log: w.log}
	if w.opts.TLS != nil {
		var err error
		if o.ServerTLS, err = w.opts.TLS.Server(transport.RoleWorker); err != nil {
			return err
		}
		if o.ClientTLS, err = w.opts.TLS.Client(transport.RoleWorker); err != nil {
			return err
		}
	}
	if w.opts.DataListenAddr != "" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", w.opts.DataListenAddr)
		if err != nil {
			return fmt.Errorf("listening for other workers on %s: %w", w.opts.DataListenAddr, err)
		}
		o.Listener = l
		w.dataAddr, err = advertised(w.opts.AdvertiseAddr, l.Addr().String())
		if err != nil {
			return errors.Join(err, l.Close())
		}
	}
	w.exchange = transport.NewExchange(o)
	return nil
}

// advertised completes the address that others dial with the port of the listener.
func advertised(addr, listener string) (string, error) {
	if addr == "" {
		return listener, nil
	}
	_, port, err := net.SplitHostPort(listener)
	if err != nil {
		return "", fmt.Errorf("reading the listener's address: %w", err)
	}
	host, given, err := net.SplitHostPort(addr)
	if err != nil {
		return net.JoinHostPort(addr, port), nil //nolint:nilerr // a host without a port
	}
	if given != "" && given != "0" {
		port = given
	}
	return net.JoinHostPort(host, port), nil
}

// accepted takes the coordinator's answer to the registration. ctx is that of the worker.
func (w *worker) accepted(ctx context.Context, reg *protocol.Registered) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if epoch := w.mu.epoch; reg.Epoch.Compare(epoch) < 0 {
		return fmt.Errorf("registering: the coordinator has epoch %d-%d, a newer one was seen: %d-%d",
			reg.Epoch.Grant, reg.Epoch.N, epoch.Grant, epoch.N)
	}
	if w.mu.job == nil || !w.mu.job.same(reg) {
		w.mu.job = w.startSetup(ctx, reg)
	}
	w.mu.heartbeatTimeout = reg.HeartbeatTimeout
	if w.mu.fence != nil {
		w.mu.fence.Stop()
		w.mu.fence = nil
	}
	w.mu.epoch = reg.Epoch
	// The coordinator gave these tasks up when the connection was lost.
	for _, a := range w.mu.current {
		a.end(errOutdated)
	}
	w.log.Info("Registered", "epochGrant", reg.Epoch.Grant, "epochN", reg.Epoch.N)
	return nil
}

// fingerprint of the graph, if it is known.
func (w *worker) fingerprint() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.job == nil || !w.mu.job.ready() || w.mu.job.plan == nil {
		return ""
	}
	return w.mu.job.plan.Fingerprint
}

// handle carries out a message. It doesn't block.
func (w *worker) handle(ctx context.Context, m protocol.ToWorker) {
	switch {
	case m.Deploy != nil:
		w.opts.Working()
		w.deploy(ctx, m.Deploy)
	case m.Cancel != nil:
		w.cancelUpTo(m.Cancel)
	case m.Trigger != nil:
		if a := w.attempt(m.Trigger.Attempt); a != nil {
			a.trigger(m.Trigger)
		}
	case m.Complete != nil:
		if a := w.attempt(m.Complete.Attempt); a != nil {
			a.complete(m.Complete)
		}
	case m.Aborted != nil:
		if a := w.attempt(m.Aborted.Attempt); a != nil {
			a.aborted(m.Aborted)
		}
	case m.Heartbeat != nil:
	default:
		raw, err := json.Marshal(m)
		w.log.Error(err, "Unexpected message from the coordinator", "message", string(raw))
	}
}

// attempt returns the running attempt if it is the given one.
func (w *worker) attempt(id protocol.Attempt) *attempt {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.mu.current {
		if a.id == id {
			return a
		}
	}
	return nil
}

// deploy starts the tasks of a new attempt once those of the last one of that region have ended.
func (w *worker) deploy(ctx context.Context, d *protocol.Deploy) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := w.mu.current[d.Region]
	if d.Attempt.Compare(w.mu.void[d.Region]) <= 0 || (last != nil && d.Attempt.Compare(last.id) <= 0) || d.Attempt.Epoch.Compare(w.mu.epoch) < 0 {
		w.log.V(1).Info("Ignoring a stale deployment", "attempt", d.Attempt.String())
		return
	}
	if last != nil {
		last.end(errOutdated)
	}
	if job := w.mu.job; job.ready() && job.err != nil && !job.fatal {
		w.mu.job = w.startSetup(ctx, job.reg)
	}
	ctx, end := context.WithCancelCause(context.WithoutCancel(ctx))
	a := newAttempt(w, d, w.mu.job, end)
	w.mu.current[d.Region] = a
	w.log.Info("Deploying", "attempt", a.key, "region", d.Region, "tasks", len(d.Tasks), "restoredFrom", d.RestoredFrom)
	w.attempts.Go(func() { a.run(ctx, last) })
}

// cancelUpTo ends the attempt and all older ones of its region.
func (w *worker) cancelUpTo(c *protocol.Cancel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.Attempt.Compare(w.mu.void[c.Region]) > 0 {
		w.mu.void[c.Region] = c.Attempt
	}
	if a := w.mu.current[c.Region]; a != nil && a.id.Compare(c.Attempt) <= 0 {
		w.log.Info("Canceling", "attempt", a.key)
		a.end(errCanceled)
	}
}

// channelFailed takes a failure of the exchange.
func (w *worker) channelFailed(key string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.mu.current {
		if a.key == key {
			a.end(&channelError{err: err})
		}
	}
}

// startFence gives the coordinator the heartbeat timeout to come back; then the tasks are cancelled.
func (w *worker) startFence() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.fence != nil || len(w.mu.current) == 0 {
		return
	}
	running := slices.Collect(maps.Values(w.mu.current))
	w.mu.fence = time.AfterFunc(w.mu.heartbeatTimeout, func() {
		for _, a := range running {
			a.end(errFenced)
		}
	})
}

// stopAll cancels all tasks and waits for them to end.
func (w *worker) stopAll() {
	w.mu.Lock()
	if w.mu.fence != nil {
		w.mu.fence.Stop()
	}
	for _, a := range w.mu.current {
		a.end(errCanceled)
	}
	w.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		w.attempts.Wait()
		close(ended)
	}()
	late := time.NewTimer(w.opts.CancelTimeout + flushTimeout)
	defer late.Stop()
	select {
	case <-ended:
	case <-w.stuckDone:
	case <-late.C:
		w.stuck(errors.New("ending the worker: building the graph or opening the storage of the job does not end"))
	}
}

// heartbeat reports the counts of all tasks.
func (w *worker) heartbeat() *protocol.Heartbeat {
	w.mu.Lock()
	running := slices.Collect(maps.Values(w.mu.current))
	w.mu.Unlock()
	h := &protocol.Heartbeat{}
	for _, a := range running {
		h.Tasks = append(h.Tasks, a.metrics()...)
	}
	return h
}
