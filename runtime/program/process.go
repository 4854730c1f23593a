// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"time"

	"github.com/go-logr/logr"
)

const (
	// stopGrace is how long a worker process has to end by itself once its job is over.
	stopGrace = 5 * time.Second
	// respawnDelay is waited before a worker process that ended is replaced; it doubles up to respawnMax while they end early.
	respawnDelay = 200 * time.Millisecond
	respawnMax   = 5 * time.Second
	// early is how soon after its start the end of a worker process counts as early.
	early = 10 * time.Second
)

// workerProcess keeps one worker process alive until ctx ends: one that ends is replaced.
type workerProcess struct {
	// command starts it; name goes before what it logs.
	command []string
	name    string
	stderr  io.Writer
	log     logr.Logger
	// started is told the process id of each, ended why it ended when nobody asked it to.
	started func(pid int)
	ended   func(reason string)
	// grace is how long it has to end by itself. Default 5 s.
	grace time.Duration
}

// run returns when ctx has ended and the process with it.
func (w *workerProcess) run(ctx context.Context) error {
	delay := respawnDelay
	for {
		begin := time.Now()
		err := w.once(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if startErr, ok := errors.AsType[*exec.Error](err); ok {
			return fmt.Errorf("starting a worker process: %w", startErr)
		}
		if time.Since(begin) > early {
			delay = respawnDelay
		}
		// One that ended in order was told that the job is over: then this is told so soon, too. A crash is told at once.
		text := "it ended"
		if err != nil {
			text = err.Error()
		} else if !sleep(ctx, delay) {
			return nil
		}
		w.log.Info("Worker process ended, starting another", "worker", w.name, "reason", text, "delay", delay.String())
		if w.ended != nil {
			w.ended(text)
		}
		if err != nil && !sleep(ctx, delay) {
			return nil
		}
		delay = min(2*delay, respawnMax)
	}
}

// once runs one process to its end. The process ends with this one, even if this one is killed: it reads its
// standard input, which is a pipe from here, and where the system can do it, it is killed when its parent dies.
func (w *workerProcess) once(ctx context.Context) error {
	// Some systems kill the child when the thread that started it ends, so that thread must stay.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, w.command[0], w.command[1:]...) //nolint:gosec // our own binary
	cmd.Stdout, cmd.Stderr = w.stderr, w.stderr
	cmd.SysProcAttr = childAttributes()
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("connecting to a worker process: %w", err)
	}
	defer func() { _ = lifeline.Close() }()
	cmd.Cancel = func() error {
		_ = lifeline.Close()
		return nil
	}
	cmd.WaitDelay = stopGrace
	if w.grace > 0 {
		cmd.WaitDelay = w.grace
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting a worker process: %w", err)
	}
	if w.started != nil {
		w.started(cmd.Process.Pid)
	}
	return cmd.Wait()
}

// sleep waits for d; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// withLifeline returns a context that ends when r does: the parent of this process closed its end of the pipe, or died.
func withLifeline(ctx context.Context, r *os.File) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, r)
		cancel(errors.New("the process that started this worker is gone or asks it to end"))
	}()
	return ctx, func() { cancel(nil) }
}
