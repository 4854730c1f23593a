// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/runtime/contract"
)

const jobHelp = `

JOB is a StreamJob of the cluster and namespace that the kubeconfig says, as with kubectl. With --api ADDR instead, the command
talks to the control API of a job that runs outside of Kubernetes.`

func (a *App) statusCommand() *cobra.Command {
	var f jobFlags
	var format string
	var asJSON bool
	c := &cobra.Command{
		Use: "status [JOB]", GroupID: "control", Args: oneJob,
		Short: "Show state, progress and checkpoints of a job",
		Long: `Show what the operator knows of a StreamJob: conditions, the step in flight, version, snapshots, pods. With --api: what the
coordinator says: state, progress, tasks, operations.` + jobHelp,
		RunE: func(c *cobra.Command, args []string) error {
			name, err := f.job(c, args)
			if err != nil {
				return err
			}
			if asJSON {
				format = "json"
			}
			if format != "" && format != "json" && format != "yaml" {
				return &usageError{err: errors.New("--output is neither json nor yaml"), command: c.CommandPath()}
			}
			if name != "" {
				return a.inCluster(c, &f, name, func(ctx context.Context, s *session) error { return s.status(ctx, format) })
			}
			return a.apiStatus(c, &f, format)
		},
	}
	f.add(c, defaultReadTimeout)
	c.Flags().StringVarP(&format, "output", "o", "", "print everything as json or yaml")
	c.Flags().BoolVar(&asJSON, "json", false, "the same as -o json")
	return c
}

func (a *App) apiStatus(c *cobra.Command, f *jobFlags, format string) error {
	client, err := f.client(c)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := a.bounded(c.Context(), f.timeout)
	defer cancel()
	job, err := client.Job(ctx)
	if err != nil {
		return err
	}
	history, err := client.Checkpoints(ctx)
	if err != nil {
		return err
	}
	if format != "" {
		return printAs(a.Out, format, struct {
			Job         *contract.JobStatus         `json:"job"`
			Checkpoints *contract.CheckpointsReport `json:"checkpoints"`
		}{job, history})
	}
	return printStatus(a.Out, a.Now(), job, history)
}

func (a *App) savepointCommand() *cobra.Command {
	var f jobFlags
	var target string
	c := &cobra.Command{
		Use: "savepoint [JOB]", GroupID: "control", Args: oneJob,
		Short: "Take a savepoint and print its path; the job goes on",
		Long: `Take a savepoint and print its path; the job goes on. In a cluster it sets spec.savepoint.trigger, and the operator tries until the
savepoint is complete.` + jobHelp,
		RunE: func(c *cobra.Command, args []string) error {
			name, err := f.job(c, args)
			if err != nil {
				return err
			}
			if name == "" {
				return a.operate(c, &f.apiFlags, func(ctx context.Context, cl *contract.Client, id string) (*contract.Operation, error) {
					return cl.Savepoint(ctx, contract.SavepointRequest{OperationID: id, Target: target})
				})
			}
			var where *string
			if c.Flags().Changed("target") {
				where = &target
			}
			return a.inCluster(c, &f, name, func(ctx context.Context, s *session) error { return s.savepoint(ctx, where) })
		},
	}
	f.add(c, defaultOperationTimeout)
	f.addOperation(c)
	f.addWait(c)
	c.Flags().StringVar(&target, "target", "", targetHelp)
	return c
}

func (a *App) suspendCommand() *cobra.Command {
	var f jobFlags
	c := &cobra.Command{
		Use: "suspend JOB", GroupID: "control", Args: exactArgs("JOB"),
		Short: "Stop a StreamJob with a savepoint and print its path",
		Long: `Stop a StreamJob with a savepoint and print its path. It sets spec.state to Suspended, and the operator tries until the savepoint is
complete; until then the job runs on. "weir resume JOB" goes on from exactly that savepoint.`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.inCluster(c, &f, args[0], func(ctx context.Context, s *session) error { return s.suspend(ctx) })
		},
	}
	f.addStateChange(c)
	return c
}

func (a *App) resumeCommand() *cobra.Command {
	var f jobFlags
	c := &cobra.Command{
		Use: "resume JOB", GroupID: "control", Args: exactArgs("JOB"),
		Short: "Run a suspended StreamJob on from where it was stopped",
		Long: `Run a suspended StreamJob on from exactly the savepoint it was stopped with, and print that savepoint's path. It sets spec.state to
Running.`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.inCluster(c, &f, args[0], func(ctx context.Context, s *session) error { return s.resume(ctx) })
		},
	}
	f.addStateChange(c)
	return c
}

// addStateChange adds the flags of commands that are for StreamJobs of a cluster only.
func (f *jobFlags) addStateChange(c *cobra.Command) {
	f.addCluster(c)
	f.addWait(c)
	c.Flags().DurationVar(&f.timeout, "timeout", defaultOperationTimeout, "how long to wait")
}

func (a *App) cancelCommand() *cobra.Command {
	var f jobFlags
	var savepoint bool
	var target string
	c := &cobra.Command{
		Use: "cancel [JOB]", GroupID: "control", Args: oneJob,
		Short: "Cancel a job; in a cluster this deletes its StreamJob",
		Long: `Cancel a job. In a cluster it deletes the StreamJob, after setting spec.deletionPolicy if --savepoint is given, says what becomes of its
checkpoints, and waits until it is gone. Savepoints always stay.` + jobHelp,
		RunE: func(c *cobra.Command, args []string) error {
			name, err := f.job(c, args)
			if err != nil {
				return err
			}
			if name != "" {
				return a.inCluster(c, &f, name, func(ctx context.Context, s *session) error { return s.cancel(ctx, savepoint) })
			}
			if target != "" && !savepoint {
				return &usageError{err: errors.New("--target is given without --savepoint"), command: c.CommandPath()}
			}
			return a.operate(c, &f.apiFlags, func(ctx context.Context, cl *contract.Client, id string) (*contract.Operation, error) {
				return cl.Cancel(ctx, contract.CancelRequest{OperationID: id, Savepoint: savepoint, Target: target})
			})
		},
	}
	f.add(c, defaultOperationTimeout)
	f.addOperation(c)
	f.addWait(c)
	c.Flags().BoolVar(&savepoint, "savepoint", false, "take a savepoint first and print its path; without it the job is not cancelled")
	c.Flags().StringVar(&target, "target", "", targetHelp)
	only(c, forAPI, "target")
	return c
}
