// SPDX-License-Identifier: Apache-2.0

package program

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/runtime/contract"
)

// defaultInterval is that of checkpoints when a program's run command is given a storage and no interval.
const defaultInterval = 10 * time.Second

// runCommand runs the program's own job on this machine.
func (c Command) runCommand(signals <-chan os.Signal) *cobra.Command {
	var o LocalOptions
	var job, storage string
	var parallelism int
	var nonRestored bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use: "run [-- ARGUMENT...]", Args: jobArguments,
		Short: "Run the job on this machine",
		Long: `Run the job on this machine, coordinator and worker in one process or with worker processes.

What follows -- are arguments of the job, as spec.program.args of a StreamJob.

Ctrl-C stops the job with a savepoint and prints its path; a second Ctrl-C cancels it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := c.jobConfig(job)
			if err != nil {
				return err
			}
			if len(args) > 0 {
				cfg.Args = args
			}
			cfg.AllowNonRestoredState = cfg.AllowNonRestoredState || nonRestored
			if err := override(&cfg, parallelism, storage, interval); err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding this program, to start workers with: %w", err)
			}
			if _, err := os.Stat(o.Restore); err == nil {
				if o.Restore, err = filepath.Abs(o.Restore); err != nil {
					return fmt.Errorf("reading --restore: %w", err)
				}
			}
			o.Job, o.Build, o.Version, o.Signals = cfg, c.Build, c.Version, signals
			o.WorkerCommand = []string{self, "worker"}
			o.Out, o.Err, o.Terminal = os.Stdout, os.Stderr, IsTerminal(os.Stdout)
			o.Log = PlainLogger(os.Stderr, o.Verbose)
			return RunLocal(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&job, "job", "", "file with the configuration of the job as JSON, in place of the defaults")
	cmd.Flags().IntVar(&parallelism, "parallelism", 0, "parallelism of the job")
	cmd.Flags().DurationVar(&interval, "checkpoint-interval", 0, "time between checkpoints (default 10s with --storage, else none)")
	cmd.Flags().StringVar(&storage, "storage", "", "directory for snapshots")
	cmd.Flags().StringVar(&o.Restore, "restore", "", "savepoint or checkpoint to start from: its directory or _metadata file")
	cmd.Flags().BoolVar(&nonRestored, "allow-non-restored-state", false, "consent to dropping state that the job doesn't use any more")
	cmd.Flags().BoolVar(&o.Fresh, "new", false, "start a new job with a new job id, whatever state the storage holds")
	cmd.Flags().IntVar(&o.Workers, "workers", 0, "number of worker processes (0: one worker inside this process)")
	cmd.Flags().IntVar(&o.Slots, "slots", 0, "slots of each worker (0: what the job needs, divided among the workers)")
	cmd.Flags().StringVar(&o.API, "api", "127.0.0.1:0", "address of the control API")
	cmd.Flags().StringVar(&o.TLSDir, "tls", "", "directory with certificates, for mutual TLS of workers and control API")
	cmd.Flags().CountVarP(&o.Verbose, "verbose", "v", "log more; repeat for even more")
	return cmd
}

// jobArguments refuses arguments that don't follow --.
func jobArguments(cmd *cobra.Command, args []string) error {
	if n := cmd.ArgsLenAtDash(); len(args) > 0 && n != 0 {
		return fmt.Errorf("unknown argument %q: arguments of the job follow --", args[0])
	}
	return nil
}

// override puts flags in place of what the configuration says.
func override(cfg *contract.JobConfig, parallelism int, storage string, interval time.Duration) error {
	if parallelism < 0 || interval < 0 {
		return errors.New("--parallelism and --checkpoint-interval must not be negative")
	}
	if parallelism > 0 {
		cfg.Parallelism = parallelism
	}
	if storage != "" {
		dir, err := filepath.Abs(storage)
		if err != nil {
			return fmt.Errorf("reading --storage: %w", err)
		}
		cfg.Storage = &contract.Storage{Volume: &contract.Volume{Path: dir}}
		if cfg.Checkpointing == nil && interval == 0 {
			interval = defaultInterval
		}
	}
	if interval > 0 {
		c := contract.Checkpointing{}
		if cfg.Checkpointing != nil {
			c = *cfg.Checkpointing
		}
		c.Interval = contract.Duration(interval)
		cfg.Checkpointing = &c
	}
	return nil
}
