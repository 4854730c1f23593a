// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/controllers/jobconfig"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/program/declarative"
)

// checkGraph builds and plans the graph, which checks everything that can be checked before a start.
func checkGraph(cfg contract.JobConfig) error {
	g, err := declarative.Build(cfg)
	if err != nil {
		return err
	}
	_, err = graph.NewPlan(g, graph.Options{
		Parallelism: cfg.Parallelism, MaxParallelism: cfg.MaxParallelism, DisableChaining: cfg.DisableChaining,
	})
	return err
}

func (a *App) jobCommands() []*cobra.Command {
	worker := program.WorkerCommand(program.Command{Name: "weir", Build: declarative.Build, Version: a.Version})
	worker.Hidden = true
	return []*cobra.Command{a.runCommand(), worker}
}

// runFlags are the flags of weir run.
type runFlags struct {
	parallelism int
	workers     int
	slots       int
	storage     string
	restore     string
	api         string
	tlsDir      string
	fresh       bool
	drained     bool
	nonRestored bool
	verbose     int
}

func (a *App) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use: "run FILE", GroupID: "job", Args: exactArgs("FILE"),
		Short: "Run a StreamJob on this machine",
		Long: `Run a StreamJob on this machine, coordinator and worker in one process or with worker processes.

Ctrl-C stops the job with a savepoint and prints its path; a second Ctrl-C cancels the job instead.
A job whose storage holds state goes on from it; --new starts another one beside it.
Without storage, checkpoints live in memory: they survive failures of tasks and workers, not the end of this process.`,
		RunE: func(c *cobra.Command, args []string) error { return a.run(c, args[0], f) },
	}
	fs := c.Flags()
	fs.IntVar(&f.parallelism, "parallelism", 0, "parallelism of the job, in place of the file's")
	fs.IntVar(&f.workers, "workers", 0, "number of worker processes (0: one worker inside this process)")
	fs.IntVar(&f.slots, "slots", 0, "slots of each worker (0: what the job needs, divided among the workers)")
	fs.StringVar(&f.storage, "storage", "", "directory for snapshots, in place of the file's storage")
	fs.StringVar(&f.restore, "restore", "", "savepoint or checkpoint to start from: its directory or _metadata file")
	fs.BoolVar(&f.fresh, "new", false, "start a new job with a new job id, whatever state the storage holds")
	fs.BoolVar(&f.drained, "allow-drained", false, "consent to starting from a savepoint of a drained job")
	fs.BoolVar(&f.nonRestored, "allow-non-restored-state", false, "consent to dropping state of operators that the job lacks")
	fs.StringVar(&f.api, "api", "127.0.0.1:0", "address of the control API")
	fs.StringVar(&f.tlsDir, "tls", "", "directory with certificates from weir certs, for mutual TLS of workers and control API")
	fs.CountVarP(&f.verbose, "verbose", "v", "log more; repeat for even more")
	return c
}

func (a *App) run(c *cobra.Command, file string, f runFlags) error {
	if f.parallelism < 0 || f.workers < 0 || f.slots < 0 {
		return &usageError{err: errors.New("--parallelism, --workers and --slots must not be negative"), command: c.CommandPath()}
	}
	job, cfg, err := loadJob(c.Context(), file)
	if err != nil {
		return err
	}
	if p := job.Spec.Program; p != nil {
		return programError(file, p)
	}
	if err := f.apply(&cfg); err != nil {
		return err
	}
	if err := checkGraph(cfg); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program, to start workers with: %w", err)
	}
	if f.workers > 0 && f.slots == 0 {
		if _, slots := jobconfig.Workers(job); job.Spec.Workers != nil && job.Spec.Workers.SlotsPerWorker > 0 {
			f.slots = slots
		}
	}
	return program.RunLocal(c.Context(), program.LocalOptions{
		Job: cfg, Build: declarative.Build, Workers: f.workers, Slots: f.slots,
		WorkerCommand: []string{self, "worker"},
		API:           f.api, TLSDir: f.tlsDir, Fresh: f.fresh, Restore: f.restore,
		Out: a.Out, Terminal: program.IsTerminal(a.Out), Err: a.Err, Signals: a.takeSignals(),
		Version: a.Version, Log: program.PlainLogger(a.Err, f.verbose), Verbose: f.verbose,
	})
}

// programError says how a job is run whose graph only its own program knows.
func programError(file string, p *streamv1.Program) error {
	return fmt.Errorf("%s: spec.program is a job of its own program, which is in the image %s: "+
		"to run it here, write its configuration with `weir config %s >job.json` and give it to that program: `PROGRAM run --job job.json`",
		file, p.Image, file)
}

// apply puts the flags in place of what the file says.
func (f *runFlags) apply(cfg *contract.JobConfig) error {
	if f.parallelism > 0 {
		cfg.Parallelism = f.parallelism
	}
	if f.storage != "" {
		dir, err := filepath.Abs(f.storage)
		if err != nil {
			return fmt.Errorf("reading --storage: %w", err)
		}
		prefix := ""
		if cfg.Storage != nil {
			prefix = cfg.Storage.SavepointPrefix
		}
		cfg.Storage = &contract.Storage{Volume: &contract.Volume{Path: dir}, SavepointPrefix: prefix}
	}
	if v := volume(cfg); v != nil {
		dir, err := filepath.Abs(v.Path)
		if err != nil {
			return fmt.Errorf("reading the path of the storage: %w", err)
		}
		v.Path = dir
	}
	if f.restore != "" {
		if _, err := os.Stat(f.restore); err == nil {
			if f.restore, err = filepath.Abs(f.restore); err != nil {
				return fmt.Errorf("reading --restore: %w", err)
			}
		}
	}
	cfg.AllowDrained = cfg.AllowDrained || f.drained
	cfg.AllowNonRestoredState = cfg.AllowNonRestoredState || f.nonRestored
	return nil
}

func volume(cfg *contract.JobConfig) *contract.Volume {
	if cfg.Storage == nil {
		return nil
	}
	return cfg.Storage.Volume
}
