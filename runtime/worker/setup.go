// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/task"
)

// jobSetup is what this worker makes of the configuration of the job. It is immutable.
type jobSetup struct {
	raw    []byte
	config contract.JobConfig
	plan   *graph.Plan
	store  storage.Store
	// err is why the job can't run here; every deployment fails with it. fatal: a restart can't help.
	err   error
	fatal bool
}

// setUp builds the graph and opens the storage of the job.
func (w *worker) setUp(ctx context.Context, reg *protocol.Registered) *jobSetup {
	s := &jobSetup{raw: reg.Job, fatal: true}
	if s.err = json.Unmarshal(reg.Job, &s.config); s.err != nil {
		s.err = fmt.Errorf("reading the configuration of the job: %w", s.err)
		return s
	}
	g, err := w.build(s.config)
	if err != nil {
		s.err = fmt.Errorf("building the graph of the job: %w", err)
		return s
	}
	s.plan, s.err = graph.NewPlan(g, graph.Options{
		Parallelism: s.config.Parallelism, MaxParallelism: s.config.MaxParallelism, DisableChaining: s.config.DisableChaining,
	})
	if s.err != nil {
		return s
	}
	if reg.Fingerprint != "" && reg.Fingerprint != s.plan.Fingerprint {
		s.err = fmt.Errorf("comparing graphs: this worker builds %s, the coordinator %s: run the same build of the program in both",
			s.plan.Fingerprint, reg.Fingerprint)
		return s
	}
	if s.store, s.err = w.opts.Store(ctx, s.config); s.err != nil {
		s.err = fmt.Errorf("opening the storage of the job: %w", s.err)
		s.fatal = false
	}
	return s
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
