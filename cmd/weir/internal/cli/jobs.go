// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
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
		Short: "Run a suspended or cancelled StreamJob on",
		Long: `Run a suspended StreamJob on from exactly the savepoint it was stopped with, a cancelled one from the newest state that was
kept, and print the path of that. It sets spec.state to Running.`,
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
		Short: "End a job without a savepoint",
		Long: `End a job without a savepoint. In a cluster it sets spec.state to Cancelled, says what becomes of the checkpoints, and waits until the job
has ended; the StreamJob stays, and "weir resume JOB" runs it on from what was kept. To end a job with a savepoint, use "weir suspend JOB"; to
delete its StreamJob, "weir delete JOB".` + jobHelp,
		RunE: func(c *cobra.Command, args []string) error {
			name, err := f.job(c, args)
			if err != nil {
				return err
			}
			if name != "" {
				return a.inCluster(c, &f, name, func(ctx context.Context, s *session) error { return s.cancel(ctx) })
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
	only(c, forAPI, "savepoint", "target")
	return c
}

func (a *App) deleteCommand() *cobra.Command {
	var f jobFlags
	var o deletion
	c := &cobra.Command{
		Use: "delete JOB", GroupID: "control", Args: exactArgs("JOB"),
		Short: "Delete a StreamJob, and say what becomes of its state",
		Long: `Delete a StreamJob as kubectl delete does, but say beforehand what becomes of its checkpoints, and wait until it is gone. Savepoints always
stay. With --savepoint it sets spec.deletionPolicy first, with --deadline spec.deletion.deadline, with --force
spec.deletion.force.`,
		RunE: func(c *cobra.Command, args []string) error {
			if o.savepoint && o.force {
				return &usageError{err: errors.New("--savepoint and --force are both given: leave one of them out"), command: c.CommandPath()}
			}
			if c.Flags().Changed("deadline") && (o.deadline < time.Second || o.force) {
				return &usageError{err: errors.New("--deadline must be at least 1s, and doesn't go with --force"), command: c.CommandPath()}
			}
			return a.inCluster(c, &f, args[0], func(ctx context.Context, s *session) error { return s.delete(ctx, o) })
		},
	}
	f.addStateChange(c)
	c.Flags().BoolVar(&o.savepoint, "savepoint", false, "take a savepoint first and print its path; without it the job is not deleted")
	c.Flags().DurationVar(&o.deadline, "deadline", 0, "how long the savepoint of the deletion is tried; then it goes without (sets spec.deletion.deadline)")
	c.Flags().BoolVar(&o.force, "force", false, "let the StreamJob go at once, whatever its engine and its storage are doing: no savepoint is taken, no checkpoint deleted")
	return c
}

func (a *App) checkpointCommand() *cobra.Command {
	var f jobFlags
	c := &cobra.Command{
		Use: "checkpoint [JOB]", GroupID: "control", Args: oneJob,
		Short: "Take a checkpoint now",
		Long:  `Take a checkpoint now, besides the periodic ones. In a cluster it sets spec.checkpoint.trigger.` + jobHelp,
		RunE: func(c *cobra.Command, args []string) error {
			name, err := f.job(c, args)
			if err != nil {
				return err
			}
			if name != "" {
				return a.inCluster(c, &f, name, func(ctx context.Context, s *session) error { return s.checkpoint(ctx) })
			}
			return a.operate(c, &f.apiFlags, func(ctx context.Context, cl *contract.Client, id string) (*contract.Operation, error) {
				return cl.Checkpoint(ctx, contract.CheckpointRequest{OperationID: id})
			})
		},
	}
	f.add(c, defaultOperationTimeout)
	f.addOperation(c)
	f.addWait(c)
	return c
}

func (a *App) restartCommand() *cobra.Command {
	var f jobFlags
	c := &cobra.Command{
		Use: "restart JOB", GroupID: "control", Args: exactArgs("JOB"),
		Short: "Restart a StreamJob with its state, and print what it went on from",
		Long: `Restart a StreamJob as an upgrade to the same version would, with the state that spec.upgrade.mode says, and print the path of what it went
on from. It sets spec.restartNonce. A version that was rolled back is tried again.`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.inCluster(c, &f, args[0], func(ctx context.Context, s *session) error { return s.restart(ctx) })
		},
	}
	f.addStateChange(c)
	return c
}

func (a *App) pauseCommands() []*cobra.Command {
	command := func(verb, short, long string, pause bool) *cobra.Command {
		var f jobFlags
		c := &cobra.Command{
			Use: verb + " JOB", GroupID: "control", Args: exactArgs("JOB"), Short: short, Long: long,
			RunE: func(c *cobra.Command, args []string) error {
				return a.inCluster(c, &f, args[0], func(ctx context.Context, s *session) error { return s.pause(ctx, pause) })
			},
		}
		f.addStateChange(c)
		return c
	}
	return []*cobra.Command{
		command("pause", "Keep the operator from acting for a StreamJob; its pods run on",
			`Keep the operator from doing anything for a StreamJob but watch and report, with the annotation `+streamv1.AnnotationPaused+`: its pods run on, edits wait.
"weir unpause JOB" ends that.`, true),
		command("unpause", "Let the operator act for a StreamJob again",
			`Let the operator act for a StreamJob again: it removes the annotation `+streamv1.AnnotationPaused+`.`, false),
	}
}

func (a *App) historyCommand() *cobra.Command {
	var f jobFlags
	var format string
	c := &cobra.Command{
		Use: "history JOB", GroupID: "control", Args: exactArgs("JOB"),
		Short: "Show the versions of a StreamJob: what each started from and what became of it",
		Long: `Show the newest versions of a StreamJob that were deployed: what each was to start from and what it did start from, whether it became
stable, and why it was rolled back or failed.`,
		RunE: func(c *cobra.Command, args []string) error {
			if format != "" && format != "json" && format != "yaml" {
				return &usageError{err: errors.New("--output is neither json nor yaml"), command: c.CommandPath()}
			}
			return a.inCluster(c, &f, args[0], func(ctx context.Context, s *session) error { return s.history(ctx, format) })
		},
	}
	f.addCluster(c)
	c.Flags().DurationVar(&f.timeout, "timeout", defaultReadTimeout, "how long to wait for the cluster")
	c.Flags().StringVarP(&format, "output", "o", "", "print everything as json or yaml")
	return c
}
