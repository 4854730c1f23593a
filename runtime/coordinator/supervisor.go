// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/contract"
)

const (
	// firstRestart is waited before a coordinator that could not do its work is tried again; it doubles up to lastRestart.
	firstRestart = time.Second
	lastRestart  = 15 * time.Second
	// quickAnswer is how long a coordinator that may still be preparing its work has to answer.
	quickAnswer = 500 * time.Millisecond
	// livenessLimit is how long the loop of a coordinator may take to turn once.
	livenessLimit = 10 * time.Second
)

// SupervisorOptions configure a [Supervisor].
type SupervisorOptions struct {
	// Namespace and Name of the job, and whether its storage outlives the coordinator, for the status while there is none.
	Namespace, Name string
	Durable         bool
	// Grant of its coordinators, and the gate that holds them back in standby; nil: they aren't.
	Grant   int64
	Standby *Gate
	// Make makes the next coordinator, without a listener for the API, and a function that releases what it needed.
	Make func(ctx context.Context) (*Coordinator, func(), error)
	// API is served as long as the supervisor runs, with TLS unless that is nil. Health, if set, serves health checks and metrics
	// without.
	API, Health net.Listener
	APITLS      *tls.Config
	Log         logr.Logger
}

// Supervisor keeps the control API of a job up while coordinators come and go: it tells what keeps one from doing its work and
// tries again, and goes on telling how the job ended. Make it with NewSupervisor, then call Run once.
type Supervisor struct {
	o         SupervisorOptions
	startedAt time.Time
	mu        struct {
		sync.Mutex
		// current is the newest coordinator, nil before the first; problem is what ended the one before.
		current *Coordinator
		problem *contract.Problem
	}
}

// NewSupervisor returns a supervisor that isn't running yet.
func NewSupervisor(o SupervisorOptions) *Supervisor {
	return &Supervisor{o: o, startedAt: time.Now()}
}

// Run runs coordinators until ctx ends.
func (s *Supervisor) Run(ctx context.Context) error {
	metrics := newMetrics(s, s.o.Namespace, s.o.Name).handler()
	api := newAPIServer(s, metrics, s.o.APITLS, s.o.Log.WithName("api"))
	servers := []*http.Server{api}
	errs := make(chan error, 2)
	var serving sync.WaitGroup
	serving.Go(func() { errs <- serveAPI(api, s.o.API) })
	if s.o.Health != nil {
		health := newAPIServer(s, metrics, nil, s.o.Log.WithName("health"))
		health.Handler = s.healthRoutes(metrics)
		servers = append(servers, health)
		serving.Go(func() { errs <- serveAPI(health, s.o.Health) })
	}
	s.supervise(ctx)
	for _, server := range servers {
		_ = server.Close() // whoever still waits for an answer asks the next coordinator
	}
	serving.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// supervise runs one coordinator after the other.
func (s *Supervisor) supervise(ctx context.Context) {
	delay := firstRestart
	for ctx.Err() == nil {
		began := time.Now()
		err := s.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			<-ctx.Done() // the job ended: how is still asked for
			return
		}
		if time.Since(began) > lastRestart {
			delay = firstRestart
		}
		p := problemWithHead(err)
		now := time.Now()
		p.Since = now
		last, before := s.now()
		ran := last != nil && last.ready.Load() // a try that didn't get as far may have taken long, as with a storage that takes connections and doesn't answer
		if before != nil && before.Reason == p.Reason && (!ran || time.Since(began) < lastRestart) {
			p.Since = before.Since // it goes on
		}
		again := p.Reason != contract.Fenced && p.Reason != contract.RetainedState
		if again {
			p.RetryAt = now.Add(delay)
		}
		s.o.Log.Error(err, "The coordinator could not do its work", "reason", p.Reason, "triedAgain", again)
		s.blame(p)
		if !again {
			<-ctx.Done()
			return
		}
		if !pause(ctx, delay) {
			return
		}
		delay = min(2*delay, lastRestart)
	}
}

// once runs one coordinator to its end.
func (s *Supervisor) once(ctx context.Context) error {
	c, release, err := s.o.Make(ctx)
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	s.mu.current = c
	s.mu.Unlock()
	r, err := c.Run(ctx)
	if err != nil {
		return s.enrich(ctx, c, err)
	}
	if r.State == contract.JobSuspended && ctx.Err() == nil {
		return fmt.Errorf("the coordinator ended: %s", r.Error)
	}
	s.o.Log.Info("The job ended", "state", r.State, "reason", r.Error)
	return nil
}

// enrich adds what the head says to the news that somebody else owns the job.
func (s *Supervisor) enrich(ctx context.Context, c *Coordinator, err error) error {
	if !Fenced(err) {
		return err
	}
	found, readErr := c.lookFor(ctx, c.o.Job)
	if readErr != nil || found == nil {
		return err
	}
	return &fencedError{err: err, found: *found}
}

// fencedError is the news that somebody else owns the job, with what the head says.
type fencedError struct {
	err   error
	found Found
}

func (e *fencedError) Error() string { return e.err.Error() }
func (e *fencedError) Unwrap() error { return e.err }

// problemWithHead adds what the head says to a problem.
func problemWithHead(err error) *contract.Problem {
	p := ProblemOf(err)
	if e, ok := errors.AsType[*fencedError](err); ok {
		p.JobID, p.HeadGrant, p.HeadFinal = e.found.JobID, e.found.Head.Epoch.Grant, headFinal(&e.found.Head)
	}
	return p
}

// blame keeps a problem for those who ask.
func (s *Supervisor) blame(p *contract.Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.current, s.mu.problem = nil, p
}

func (s *Supervisor) now() (*Coordinator, *contract.Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.current, s.mu.problem
}

// status is that of the coordinator as soon as it answers.
func (s *Supervisor) status(ctx context.Context) (*contract.JobStatus, error) {
	c, p := s.now()
	if c != nil {
		quick, cancel := context.WithTimeout(ctx, quickAnswer)
		defer cancel()
		if st, err := c.status(quick); err == nil {
			return st, nil
		}
		if c.ready.Load() {
			return c.status(ctx)
		}
	}
	return &contract.JobStatus{
		Namespace: s.o.Namespace, Name: s.o.Name, State: contract.JobStarting, StartedAt: s.startedAt, Problem: p, MeasuredAt: time.Now(),
		Durable: s.o.Durable,
	}, nil
}

func (s *Supervisor) checkpoints(ctx context.Context) (*contract.CheckpointsReport, error) {
	if c, _ := s.now(); c != nil && c.ready.Load() {
		return c.checkpoints(ctx)
	}
	return &contract.CheckpointsReport{}, nil
}

func (s *Supervisor) checkpoint(ctx context.Context, id int64) (*contract.CheckpointDetail, error) {
	if c, _ := s.now(); c != nil && c.ready.Load() {
		return c.checkpoint(ctx, id)
	}
	return nil, s.notYet()
}

func (s *Supervisor) submit(ctx context.Context, r submission) (contract.Operation, error) {
	if c, _ := s.now(); c != nil && c.ready.Load() {
		return c.submit(ctx, r)
	}
	return contract.Operation{}, s.notYet()
}

func (s *Supervisor) operation(ctx context.Context, id string, wait time.Duration) (contract.Operation, error) {
	if c, _ := s.now(); c != nil && c.ready.Load() {
		return c.operation(ctx, id, wait)
	}
	return contract.Operation{}, s.notYet()
}

func (s *Supervisor) notYet() error {
	message := "the coordinator is starting"
	if _, p := s.now(); p != nil {
		message += ": " + p.Message
	}
	return &contract.APIError{Status: http.StatusServiceUnavailable, Message: message, Remedy: "ask again"}
}

// healthRoutes are the checks of a kubelet: alive while the loop of the coordinator turns or another try is due, ready once the job is claimed, or in
// standby once nothing but the activation is missing.
func (s *Supervisor) healthRoutes(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	live := func(w http.ResponseWriter, r *http.Request) {
		c, _ := s.now()
		if c != nil && c.ready.Load() {
			ctx, cancel := context.WithTimeout(r.Context(), livenessLimit)
			defer cancel()
			if _, err := c.status(ctx); err != nil && ctx.Err() != nil {
				http.Error(w, "the coordinator does not answer", http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = io.WriteString(w, "ok\n")
	}
	mux.HandleFunc("GET "+contract.PathHealth, live)
	mux.HandleFunc("GET "+contract.PathLive, live)
	mux.HandleFunc("GET "+contract.PathReady, (&api{control: s, log: s.o.Log}).ready)
	mux.Handle("GET "+contract.PathMetrics, metrics)
	return mux
}
