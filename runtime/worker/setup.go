// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/task"
)

// jobSetup is what this worker makes of the configuration of the job. It is made beside the session, for storage
// may take its time; what follows done is immutable once that is closed.
type jobSetup struct {
	reg    *protocol.Registered
	done   chan struct{}
	config contract.JobConfig
	plan   *graph.Plan
	store  storage.Store
	// memory is what the keyed state of all tasks takes together.
	memory *state.Account
	// local keeps copies of state files; nil for none.
	local *localCopies
	// err is why the job can't run here; every deployment fails with it. fatal: a restart can't help.
	err   error
	fatal bool
}

// startSetup begins to set the job up.
func (w *worker) startSetup(ctx context.Context, reg *protocol.Registered) *jobSetup {
	s := &jobSetup{reg: reg, done: make(chan struct{}), fatal: true}
	w.attempts.Go(func() {
		defer close(s.done)
		if s.err = w.setUp(ctx, s); s.err != nil {
			w.log.Error(s.err, "Job can't run on this worker")
		}
	})
	return s
}

// setUp builds the graph and opens the storage of the job.
func (w *worker) setUp(ctx context.Context, s *jobSetup) error {
	if err := json.Unmarshal(s.reg.Job, &s.config); err != nil {
		return fmt.Errorf("reading the configuration of the job: %w", err)
	}
	budget := int64(0)
	if b := s.config.StateBackend; b != nil {
		budget = b.MemoryBudget
	}
	s.memory = state.NewAccount(budget)
	g, err := w.build(s.config)
	if err != nil {
		return fmt.Errorf("building the graph of the job: %w", err)
	}
	s.plan, err = graph.NewPlan(g, graph.Options{
		Parallelism: s.config.Parallelism, MaxParallelism: s.config.MaxParallelism, DisableChaining: s.config.DisableChaining,
	})
	if err != nil {
		return err
	}
	if want := s.reg.Fingerprint; want != "" && want != s.plan.Fingerprint {
		return fmt.Errorf("comparing graphs: this worker builds %s, the coordinator %s: run the same build of the program in both",
			s.plan.Fingerprint, want)
	}
	if b := s.config.StateBackend; b != nil && b.LocalRecovery && w.opts.LocalDir != "" {
		if s.local, err = openLocalCopies(w.opts.LocalDir, w.log); err != nil {
			w.log.Info("State is restored from storage alone", "reason", err.Error())
		}
	}
	if s.store, err = w.opts.Store(ctx, s.config); err != nil {
		s.fatal = false
		return fmt.Errorf("opening the storage of the job: %w", err)
	}
	return nil
}

// ready says whether the job is set up, or failed to be.
func (s *jobSetup) ready() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// same says whether reg asks for the same job.
func (s *jobSetup) same(reg *protocol.Registered) bool {
	return bytes.Equal(s.reg.Job, reg.Job) && s.reg.Fingerprint == reg.Fingerprint
}

// build calls the job's code, which may panic.
func (w *worker) build(config contract.JobConfig) (g *graph.Graph, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &task.PanicError{Value: v, Stack: string(debug.Stack())}
		}
	}()
	return w.opts.Build(config)
}
