// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/coordinator"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/transport/control"
	"github.com/weir-stream/weir/runtime/worker"
)

// newName returns a name that nothing else has.
func newName(prefix string) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + "-" + hex.EncodeToString(b[:])
}

// startWorkers starts the workers of a local job; they end with ctx or when the coordinator tells them.
func (l *local) startWorkers(ctx context.Context, group *errgroup.Group, opts coordinator.Options, s *openedStorage) {
	if l.o.Workers == 0 {
		group.Go(func() error { return l.orAbort(l.workerInside(ctx, s)) })
		return
	}
	for i := range l.o.Workers {
		p := &workerProcess{
			command: append(append([]string(nil), l.o.WorkerCommand...), l.workerFlags(opts, i)...),
			name:    "worker " + strconv.Itoa(i+1),
			stderr:  l.o.Err,
			log:     l.o.Log,
		}
		p.started = func(pid int) { l.tellf("%s: process %d", p.name, pid) }
		p.ended = func(reason string) { l.tellf("%s ended, starting another: %s", p.name, reason) }
		group.Go(func() error { return l.orAbort(p.run(ctx)) })
	}
}

// orAbort ends everything after an error: without this worker the job would wait in vain.
func (l *local) orAbort(err error) error {
	if err != nil {
		l.abort(err)
	}
	return err
}

// copiesOf is where a worker keeps copies of state files; empty: nowhere.
func (l *local) copiesOf(index int) string {
	if l.localDir == "" {
		return ""
	}
	return filepath.Join(l.localDir, strconv.Itoa(index+1))
}

// workerFlags are the flags of a worker process; see [WorkerCommand].
func (l *local) workerFlags(opts coordinator.Options, index int) []string {
	flags := []string{"--coordinator", opts.Control.Addr().String(), "--slots", strconv.Itoa(l.slots()), "--lifeline", "--plain", "--verbose", strconv.Itoa(l.o.Verbose)}
	if l.o.TLSDir != "" {
		flags = append(flags, "--tls", l.o.TLSDir)
	}
	if dir := l.copiesOf(index); dir != "" {
		flags = append(flags, "--local-dir", dir)
	}
	return flags
}

// slots of each worker.
func (l *local) slots() int {
	if l.o.Slots > 0 {
		return l.o.Slots
	}
	n := max(1, l.o.Workers)
	return (l.slotsNeeded + n - 1) / n
}

// workerInside runs a worker in this process, over a pipe.
func (l *local) workerInside(ctx context.Context, s *openedStorage) error {
	err := worker.Run(ctx, worker.Options{
		Name:     newName("local"),
		Slots:    l.slots(),
		Version:  l.o.Version,
		LocalDir: l.copiesOf(0),
		Build:    l.o.Build.safely,
		Connect:  func(ctx context.Context) (control.WorkerStream, error) { return connectInside(ctx, l.c) },
		Store: func(ctx context.Context, _ contract.JobConfig) (storage.Store, error) {
			return s.client(ctx)
		},
		Log: l.o.Log.WithName("worker"),
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("running the worker: %w", err)
	}
	return nil
}

// connectInside connects a worker to a coordinator of the same process.
func connectInside(ctx context.Context, c *coordinator.Coordinator) (control.WorkerStream, error) {
	w, end, closeEnd := control.Pipe(ctx)
	go func() { //nolint:contextcheck // the stream has its own
		_ = c.Handle(end)
		closeEnd()
	}()
	return w, nil
}
