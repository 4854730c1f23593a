// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/coordinator"
)

// defaultAgentTimeout bounds what an agent does.
const defaultAgentTimeout = time.Minute

// agentFlags are those of all tasks of an agent.
type agentFlags struct {
	job, log   string
	rewindTo   string
	grant      int64
	operations []string
	timeout    time.Duration
	snapshotFlags
}

// agentTask is something that an agent does.
type agentTask struct {
	name string
	do   func(context.Context, coordinator.Options) (contract.AgentResult, error)
}

// agentCommand is for those who operate jobs: what needs the storage of a job, or its graph, while no coordinator can be asked. Each task writes its
// outcome as JSON (contract.AgentResult) to the termination log, and to standard output.
func (c Command) agentCommand(signals <-chan os.Signal) *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{Use: "agent", Short: "Do something with the storage of a job that has no coordinator", Args: cobra.NoArgs}
	task := func(t agentTask, short string) {
		cmd.AddCommand(&cobra.Command{
			Use: strings.ToLower(t.name), Short: short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				ctx, stop := untilSignal(cmd.Context(), signals)
				defer stop()
				ctx, cancel := context.WithTimeout(ctx, f.timeout)
				defer cancel()
				return c.agent(ctx, f, t)
			},
		})
	}
	fence := func(ctx context.Context, o coordinator.Options) (contract.AgentResult, error) {
		return coordinator.Fence(ctx, o, f.operations)
	}
	task(agentTask{contract.AgentCheck, coordinator.Check}, "Find out whether the job could start and take its newest state")
	task(agentTask{contract.AgentFence, fence}, "Shut out coordinators of lower grants, and read what has happened")
	task(agentTask{contract.AgentDispose, coordinator.Dispose}, "Delete the checkpoints of the job")
	cmd.AddCommand(c.snapshotTask(signals, &f, contract.AgentInspect, "Look whether a snapshot is whole, and pin it"),
		c.snapshotTask(signals, &f, contract.AgentRemove, "Delete a snapshot that nothing needs"))
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.job, "job", "", "file with the configuration of the job as JSON")
	flags.Int64Var(&f.grant, "grant", 1, "grant to claim the job with")
	flags.StringArrayVar(&f.operations, "operation", nil, "id of an operation whose outcome is wanted; can be given again")
	flags.StringVar(&f.rewindTo, "rewind-to", "", "snapshot of the job that it could go back to: check and fence tell whether that is safe, and check whether the job can take it")
	flags.StringVar(&f.log, "termination-log", "", "file that the outcome is written to")
	flags.DurationVar(&f.timeout, "timeout", defaultAgentTimeout, "how long it may take")
	return cmd
}

// agent does one task. What stands in the way of the task is a part of its outcome; the error is for an outcome that could not be told.
func (c Command) agent(ctx context.Context, f agentFlags, t agentTask) error {
	if f.grant < 1 {
		return errors.New("--grant must be 1 or more")
	}
	r, err := c.agentResult(ctx, f, t)
	if err != nil {
		r.OK, r.Problem = false, coordinator.ProblemOf(err)
	}
	return f.tell(r)
}

// tell writes the outcome of a task.
func (f agentFlags) tell(r contract.AgentResult) error {
	text, err := r.Encode()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(os.Stdout, "%s\n", text); err != nil {
		return fmt.Errorf("writing the outcome: %w", err)
	}
	if f.log == "" {
		return nil
	}
	if err := os.WriteFile(f.log, text, 0o600); err != nil {
		return fmt.Errorf("writing the outcome to the termination log: %w", err)
	}
	return nil
}

func (c Command) agentResult(ctx context.Context, f agentFlags, t agentTask) (contract.AgentResult, error) {
	r := contract.AgentResult{Task: t.name}
	cfg, err := c.jobConfig(f.job)
	if err != nil {
		return r, &coordinator.InvalidJobError{Err: err}
	}
	if f.rewindTo != "" {
		cfg.RewindTo = f.rewindTo
	}
	s, err := openStorage(ctx, cfg.Storage)
	if err != nil {
		return r, err
	}
	defer s.close()
	return t.do(ctx, coordinator.Options{
		Job: cfg, Grant: f.grant, Build: c.Build.safely, Store: s.store, Location: s.location, Durable: s.durable,
		Version: c.Version, Log: JSONLogger(os.Stderr).WithName("agent"),
	})
}
