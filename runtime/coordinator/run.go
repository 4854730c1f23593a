// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage/remotestore"
	"github.com/weir-stream/weir/runtime/transport/control"
)

// Run claims the job and runs it to its end, or until ctx ends, which leaves it to a successor. The error says why the
// coordinator could not do its work; a job that failed is no error but a [Result] that says so. Call it once.
func (c *Coordinator) Run(ctx context.Context) (Result, error) {
	servers := c.startServers()
	l, err := c.begin(ctx)
	if err == nil {
		c.ready.Store(true)
		l.run(ctx)
		err = c.conclude(l)
	} else {
		close(c.ended)
	}
	c.shut()
	c.linger(ctx)
	return c.result(l), errors.Join(err, servers.stop(context.WithoutCancel(ctx)))
}

// Job returns the status of the job.
func (c *Coordinator) Job(ctx context.Context) (*contract.JobStatus, error) { return c.status(ctx) }

// Stop asks to stop the job with a savepoint.
func (c *Coordinator) Stop(ctx context.Context, r contract.StopRequest) (contract.Operation, error) {
	return c.submit(ctx, submission{id: r.OperationID, typ: contract.StopOperation, target: r.Target, drain: r.Drain, timeout: r.Timeout.D()})
}

// Cancel asks to cancel the job.
func (c *Coordinator) Cancel(ctx context.Context, r contract.CancelRequest) (contract.Operation, error) {
	return c.submit(ctx, submission{
		id: r.OperationID, typ: contract.CancelOperation, target: r.Target, savepoint: r.Savepoint, timeout: r.Timeout.D(),
	})
}

// Operation returns an operation, waiting up to wait for its end.
func (c *Coordinator) Operation(ctx context.Context, id string, wait time.Duration) (contract.Operation, error) {
	return c.operation(ctx, id, wait)
}

func (c *Coordinator) status(ctx context.Context) (*contract.JobStatus, error) {
	s, err := ask(ctx, c, func(l *loop) *contract.JobStatus { return l.report(time.Now()) })
	if errors.Is(err, errEnded) && c.final.status != nil {
		return c.final.status, nil
	}
	return s, err
}

// conclude keeps what callers may still ask for, tells the workers and lets their last messages go out.
func (c *Coordinator) conclude(l *loop) error {
	now := time.Now()
	l.ops.endAll(now)
	c.final.keep(l, now)
	if l.exit.Ended {
		for _, name := range sortedKeys(l.workers) {
			l.workers[name].send(protocol.ToWorker{Shutdown: true})
		}
	}
	for k := range l.conns {
		k.finish()
	}
	close(c.ended)
	if l.exit.Err != nil && (l.exit.Fenced || l.exit.State == job.StateSuspended) {
		return fmt.Errorf("coordinating job %s/%s: %w", c.o.Job.Namespace, c.o.Job.Name, l.exit.Err)
	}
	return nil
}

// shut lets connections end by themselves for a moment, then ends them, and waits until they are gone.
func (c *Coordinator) shut() {
	c.mu.Lock()
	c.mu.shut = true
	c.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		c.running.Wait()
		close(gone)
	}()
	t := time.NewTimer(flushTimeout)
	defer t.Stop()
	select {
	case <-gone:
	case <-t.C:
	}
	close(c.closed)
}

// linger waits for callers that haven't heard the outcome of an operation.
func (c *Coordinator) linger(ctx context.Context) {
	if c.o.API == nil || len(c.final.ops) == 0 {
		return
	}
	t := time.NewTimer(c.o.Linger)
	defer t.Stop()
	select {
	case <-c.final.everybody():
	case <-t.C:
	case <-ctx.Done():
	}
}

func (c *Coordinator) result(l *loop) Result {
	r := Result{State: contract.JobSuspended, Status: c.final.status}
	if c.final.status != nil {
		r.State = c.final.status.State
	}
	if l != nil && l.exit.Err != nil {
		r.Error = l.exit.Err.Error()
	}
	return r
}

// Fenced says whether an error of Run means that another coordinator took over.
func Fenced(err error) bool { return errors.Is(err, snapshot.ErrFenced) }

// servers are the control server for workers and that of the API.
type servers struct {
	c       *Coordinator
	control *grpc.Server
	api     *http.Server
	running sync.WaitGroup
	errs    chan error
}

// startServers serves on the listeners that there are.
func (c *Coordinator) startServers() *servers {
	s := &servers{c: c, errs: make(chan error, 2)}
	if c.o.Control != nil {
		s.control = control.NewServer(c.o.ControlTLS, c.Handle)
		if !c.o.Durable {
			remotestore.Register(s.control, c.o.Store) // workers in other processes have no other way to it
		}
		s.running.Go(func() {
			// A job that had ended before is concluded so soon that the server may be stopped before it serves.
			if err := s.control.Serve(c.o.Control); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				s.errs <- fmt.Errorf("serving workers: %w", err)
			}
		})
	}
	if c.o.API != nil {
		m := newMetrics(c, c.o.Job.Namespace, c.o.Job.Name).handler()
		s.api = newAPIServer(c, m, c.o.APITLS, c.o.Log.WithName("api"))
		s.running.Go(func() {
			if err := serveAPI(s.api, c.o.API); err != nil {
				s.errs <- err
			}
		})
	}
	return s
}

// stop ends the servers and waits until everything of them is gone.
func (s *servers) stop(ctx context.Context) error {
	if s.control != nil {
		// A graceful stop lets the last messages reach the workers.
		t := time.AfterFunc(flushTimeout, s.control.Stop)
		defer t.Stop()
		s.control.GracefulStop()
	}
	if s.api != nil {
		t := time.AfterFunc(flushTimeout, func() { _ = s.api.Close() })
		defer t.Stop()
		_ = s.api.Shutdown(ctx) // Close ends it at the latest
	}
	s.running.Wait()
	s.c.running.Wait()
	close(s.errs)
	var errs []error
	for err := range s.errs {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
