// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/coordinator"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/program/human"
)

// Build makes the graph of a job from its configuration. It must give the same graph in every process.
type Build func(contract.JobConfig) (*graph.Graph, error)

// LocalOptions say how a job runs on this machine.
type LocalOptions struct {
	Job   contract.JobConfig
	Build Build
	// Workers is the number of worker processes; 0 runs one worker in this process.
	Workers int
	// Slots of each worker; 0 for as many as the job needs, divided among them.
	Slots int
	// WorkerCommand starts a worker process; flags are added to it.
	WorkerCommand []string
	// API is the address of the control API. Default 127.0.0.1:0.
	API string
	// TLSDir holds a set of certificates for workers and callers of the API; empty: no TLS.
	TLSDir string
	// Restore is the snapshot to start from, in place of the configuration's; refused if the job has newer state.
	Restore string
	// Fresh starts a new job with a new job id beside the state that storage has.
	Fresh bool
	// Out takes what people read. Terminal says that it is one.
	Out      io.Writer
	Terminal bool
	// Err takes what worker processes write.
	Err io.Writer
	// Signals asks for the end: the first stops the job with a savepoint, the second cancels it, or ends at once if it is SIGTERM, the third ends at
	// once. The first ends at once, too, if the job doesn't run, so that there is nothing to take a savepoint of. Ended like that, the job
	// goes on from its newest snapshot the next time.
	Signals <-chan os.Signal
	// Version of this build.
	Version string
	Log     logr.Logger
	// Verbose is how much worker processes log, see [PlainLogger].
	Verbose int
}

// ErrJobFailed is wrapped by the error of a job that failed for good.
var ErrJobFailed = errors.New("the job failed")

const (
	progressInterval = time.Second
	statusTimeout    = 5 * time.Second
	maxNotes         = 64
)

// local is a job running on this machine.
type local struct {
	o       LocalOptions
	c       *coordinator.Coordinator
	show    *progress
	asked   int
	askedAt time.Time
	// notes are for the goroutine that shows progress.
	notes chan string
	// slotsNeeded is the largest parallelism.
	slotsNeeded int
	// abort ends everything without waiting for the job.
	abort context.CancelCauseFunc
	// localDir is where workers keep copies of state files, each in a directory of its own; empty: nowhere.
	localDir string
}

// RunLocal runs a job on this machine until it has ended or a signal ended it.
func RunLocal(ctx context.Context, o LocalOptions) error {
	if o.API == "" {
		o.API = "127.0.0.1:0"
	}
	g, err := o.Build.safely(o.Job)
	if err != nil {
		return err
	}
	plan, err := graph.NewPlan(g, graph.Options{
		Parallelism: o.Job.Parallelism, MaxParallelism: o.Job.MaxParallelism, DisableChaining: o.Job.DisableChaining,
	})
	if err != nil {
		return err
	}
	s, err := openStorage(ctx, o.Job.Storage)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.checkRestore(ctx, &o); err != nil {
		return err
	}
	api, err := listen(ctx, o.API, "the control API (--api)")
	if err != nil {
		return err
	}
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	l := &local{o: o, abort: abort, notes: make(chan string, maxNotes), slotsNeeded: plan.Slots, show: &progress{out: o.Out, terminal: o.Terminal}}
	if b := o.Job.StateBackend; b != nil && b.LocalRecovery {
		if l.localDir, err = os.MkdirTemp("", "weir-local-"); err != nil {
			return errors.Join(fmt.Errorf("making a directory for local copies of state: %w", err), api.Close())
		}
		defer func() { _ = os.RemoveAll(l.localDir) }()
	}
	traces := openTraces(ctx, &o.Job, o.Version, o.Log)
	defer traces.Close(ctx)
	opts := coordinator.Options{
		Job: o.Job, Build: o.Build.safely, Store: s.store, Location: s.location, Durable: s.durable,
		Fresh: o.Fresh, API: api, Version: o.Version, Traces: traces.Provider(), Log: o.Log.WithName("coordinator"),
	}
	if o.TLSDir != "" {
		if opts.APITLS, opts.ControlTLS, err = coordinatorTLS(o.TLSDir); err != nil {
			_ = api.Close()
			return err
		}
	}
	return l.run(ctx, opts, s)
}

// run starts coordinator and workers and looks after them until the coordinator has ended.
func (l *local) run(ctx context.Context, opts coordinator.Options, s *openedStorage) error {
	if l.o.Workers > 0 {
		control, err := listen(ctx, "127.0.0.1:0", "workers")
		if err != nil {
			return errors.Join(err, opts.API.Close())
		}
		opts.Control = control
	}
	c, err := coordinator.New(opts)
	if err != nil {
		return errors.Join(err, opts.API.Close())
	}
	l.c = c
	l.show.notef("job %s/%s, control API on %s", l.o.Job.Namespace, l.o.Job.Name, opts.API.Addr())
	l.show.notef("storage: %s", s.describe())

	workers, stopWorkers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorkers()
	var group errgroup.Group
	l.startWorkers(workers, &group, opts, s)

	type ended struct {
		result coordinator.Result
		err    error
	}
	done := make(chan ended, 1)
	group.Go(func() error {
		r, err := c.Run(ctx)
		done <- ended{r, err}
		return nil
	})
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			l.tick(ctx)
		case text := <-l.notes:
			l.show.notef("%s", text)
		case sig := <-l.o.Signals:
			l.interrupt(ctx, &group, sig)
		case e := <-done:
			stopWorkers()
			return errors.Join(l.conclude(e.result, e.err), group.Wait())
		}
	}
}

// tick shows a line of progress.
func (l *local) tick(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if s, err := l.c.Job(ctx); err == nil && !s.State.Ended() {
		l.show.show(s)
	}
}

// sameSignal is the time within which signals count as one.
const sameSignal = 300 * time.Millisecond

// interrupt does what the next signal asks for.
func (l *local) interrupt(parent context.Context, group *errgroup.Group, sig os.Signal) {
	ctx, cancel := context.WithTimeout(parent, statusTimeout)
	defer cancel()
	now := time.Now()
	if now.Sub(l.askedAt) < sameSignal {
		return // one press: a terminal and a parent process may both pass it on
	}
	l.asked++
	l.askedAt = now
	id := newName("signal")
	switch {
	case l.asked > 2 || l.asked == 2 && sig == syscall.SIGTERM && l.o.Job.Storage != nil:
		l.show.notef("%v again: ending at once; %s", sig, resumable)
		l.abort(errInterrupted)
	case l.asked == 2 || l.o.Job.Storage == nil:
		if l.o.Job.Storage == nil && l.asked == 1 {
			l.show.notef("%v: cancelling; without storage there is no savepoint to resume from", sig)
		} else {
			l.show.notef("%v again: cancelling", sig)
		}
		l.asked = 2
		op, err := l.c.Cancel(ctx, contract.CancelRequest{OperationID: id})
		l.follow(parent, group, op, err)
	case !l.runs(ctx):
		l.show.notef("%v: the job isn't running, so there is nothing to take a savepoint of: ending; %s", sig, resumable)
		l.abort(errInterrupted)
	default:
		l.show.notef("%v: stopping with a savepoint; press Ctrl-C again to cancel instead", sig)
		op, err := l.c.Stop(ctx, contract.StopRequest{OperationID: id})
		l.follow(parent, group, op, err)
	}
}

// resumable says what becomes of a job that is ended without a savepoint; errInterrupted ends it like that.
const resumable = "the job can be resumed from its newest checkpoint"

var errInterrupted = errors.New("interrupted")

// runs says whether all tasks of the job run, as far as its coordinator answers.
func (l *local) runs(ctx context.Context) bool {
	s, err := l.c.Job(ctx)
	return err == nil && (s.State == contract.JobRunning || s.State == contract.JobStopping || s.State.Ended())
}

// giveUp ends everything when a stop that a signal asked for came to nothing because the job fails again and again; false if the job runs.
func (l *local) giveUp(parent context.Context) bool {
	ctx, cancel := context.WithTimeout(parent, statusTimeout)
	defer cancel()
	if l.runs(ctx) {
		return false
	}
	l.tellf("the job isn't running: ending; %s", resumable)
	l.abort(errInterrupted)
	return true
}

// follow says when an operation that a signal asked for failed; its success shows in how the job ends.
func (l *local) follow(ctx context.Context, group *errgroup.Group, op contract.Operation, err error) {
	if err != nil {
		l.show.notef("it was refused: %v", err)
		l.giveUp(ctx)
		return
	}
	group.Go(func() error {
		for !op.Phase.Ended() {
			next, err := l.c.Operation(ctx, op.ID, contract.MaxWait)
			if err != nil {
				return nil //nolint:nilerr // the coordinator ended, which says it all
			}
			op = next
		}
		if op.Phase == contract.OperationFailed && op.Type == contract.StopOperation && l.giveUp(ctx) {
			return nil
		}
		if op.Phase == contract.OperationFailed {
			text := fmt.Sprintf("the %s failed, the job goes on: %s", strings.ToLower(string(op.Type)), op.Error)
			if op.Path != "" {
				text += "; the savepoint was written to " + op.Path
			}
			if op.Type == contract.StopOperation {
				text += " (Ctrl-C now cancels it; to ask for a stop again: weir stop --api ADDR)"
			}
			l.tellf("%s", text)
		}
		return nil
	})
}

// tellf passes something on to the goroutine that shows progress; what it can't keep up with is dropped.
func (l *local) tellf(format string, args ...any) {
	select {
	case l.notes <- fmt.Sprintf(format, args...):
	default:
	}
}

// conclude says how the job ended.
func (l *local) conclude(r coordinator.Result, err error) error {
	l.show.finish()
	if err != nil {
		return err
	}
	s := r.Status
	if s == nil {
		return nil
	}
	counts := fmt.Sprintf("%s records in, %s out", human.Number(s.RecordsIn), human.Number(s.RecordsOut))
	switch r.State {
	case contract.JobFinished:
		l.show.notef("finished: %s", counts)
	case contract.JobStopped:
		l.show.notef("stopped: %s", counts)
		if s.LastSavepoint != nil {
			l.show.notef("savepoint: %s", s.LastSavepoint.Path)
		}
	case contract.JobCancelled:
		l.show.notef("cancelled: %s", counts)
	case contract.JobFailed:
		return l.failed(r)
	default:
		l.show.notef("ended without ending the job: %s", counts)
		if r.Error != "" {
			return errors.New(r.Error)
		}
	}
	return nil
}

func (l *local) failed(r coordinator.Result) error {
	text := r.Error
	if f := r.Status.LastFailure; text == "" && f != nil {
		text = f.Message
	}
	return fmt.Errorf("%w: %s", ErrJobFailed, text)
}

// listen opens a listener; what names its purpose.
func listen(ctx context.Context, addr, what string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening for %s: %w", what, err)
	}
	return l, nil
}

// IsTerminal says whether what is written to w is read by a person right away.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
