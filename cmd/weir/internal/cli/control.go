// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/runtime/contract"
)

const defaultOperationTimeout = 10 * time.Minute

// apiFlags say which job a command is about and how long it may take.
type apiFlags struct {
	addr      string
	tlsDir    string
	operation string
	timeout   time.Duration
}

func (f *apiFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.addr, "api", "", "address of the job's control API, as printed by weir run (required)")
	c.Flags().StringVar(&f.tlsDir, "tls", "", "directory with certificates from weir certs, for mutual TLS")
	c.Flags().DurationVar(&f.timeout, "timeout", defaultOperationTimeout, "how long to wait for the outcome")
}

func (f *apiFlags) addOperation(c *cobra.Command) {
	f.add(c)
	c.Flags().StringVar(&f.operation, "operation-id", "", "id of the operation; repeating a command with the same id starts nothing new")
}

func (f *apiFlags) client(c *cobra.Command) (*contract.Client, error) {
	if f.addr == "" {
		return nil, &usageError{err: errors.New("--api ADDR is missing"), command: c.CommandPath()}
	}
	o := contract.ClientOptions{}
	if f.tlsDir != "" {
		t, err := clientTLS(f.tlsDir)
		if err != nil {
			return nil, err
		}
		o.TLS = t
	}
	return contract.NewClient(f.addr, o)
}

// operationID returns the id to use; a random one when none is given.
func (f *apiFlags) operationID() (string, error) {
	if f.operation != "" {
		return f.operation, nil
	}
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("making an operation id: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

func (a *App) controlCommands() []*cobra.Command {
	return []*cobra.Command{
		a.statusCommand(), a.checkpointCommand(), a.savepointCommand(), a.stopCommand(), a.cancelCommand(),
	}
}

func (a *App) statusCommand() *cobra.Command {
	var f apiFlags
	var asJSON bool
	c := &cobra.Command{
		Use: "status", GroupID: "control", Args: exactArgs(),
		Short: "Show state, progress, tasks and checkpoints of a job",
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := f.client(c)
			if err != nil {
				return err
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
			defer cancel()
			job, err := client.Job(ctx)
			if err != nil {
				return err
			}
			history, err := client.Checkpoints(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Out, struct {
					Job         *contract.JobStatus         `json:"job"`
					Checkpoints *contract.CheckpointsReport `json:"checkpoints"`
				}{job, history})
			}
			return printStatus(a.Out, a.Now(), job, history)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

// operate starts an operation and waits for its end.
func (a *App) operate(c *cobra.Command, f *apiFlags, start func(ctx context.Context, cl *contract.Client, id string) (*contract.Operation, error)) error {
	client, err := f.client(c)
	if err != nil {
		return err
	}
	defer client.Close()
	id, err := f.operationID()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
	defer cancel()
	op, err := start(ctx, client, id)
	if err != nil {
		return err
	}
	if !op.Phase.Ended() {
		if op, err = client.WaitOperation(ctx, id); err != nil {
			return fmt.Errorf("waiting for the outcome of operation %s, which may still happen (ask again with --operation-id %s): %w", id, id, err)
		}
	}
	return a.outcome(op)
}

func (a *App) outcome(op *contract.Operation) error {
	switch op.Phase {
	case contract.OperationSucceeded:
		switch {
		case op.Path != "":
			a.printf("%s\n", op.Path)
		case op.Type == contract.CancelOperation:
			a.printf("cancelled\n")
		default:
			a.printf("checkpoint %d completed\n", op.Checkpoint)
		}
		return nil
	case contract.OperationUnknown:
		return fmt.Errorf("the outcome of operation %s is not known: the coordinator ended first: the job's head in storage names it if it happened", op.ID)
	default:
		err := &contract.APIError{Message: fmt.Sprintf("operation %s failed: %s", op.ID, op.Error), Remedy: op.Remedy}
		if op.Path != "" {
			err.Message += fmt.Sprintf("; the savepoint was written to %s", op.Path)
		}
		return err
	}
}

func (a *App) checkpointCommand() *cobra.Command {
	var f apiFlags
	c := &cobra.Command{
		Use: "checkpoint", GroupID: "control", Args: exactArgs(),
		Short: "Take a checkpoint now",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.operate(c, &f, func(ctx context.Context, cl *contract.Client, id string) (*contract.Operation, error) {
				return cl.Checkpoint(ctx, contract.CheckpointRequest{OperationID: id})
			})
		},
	}
	f.addOperation(c)
	return c
}

const targetHelp = "directory in the job's storage below which the savepoint is written (default: the job's savepoint prefix)"

func (a *App) savepointCommand() *cobra.Command {
	var f apiFlags
	var target string
	c := &cobra.Command{
		Use: "savepoint", GroupID: "control", Args: exactArgs(),
		Short: "Take a savepoint and print its path; the job goes on",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.operate(c, &f, func(ctx context.Context, cl *contract.Client, id string) (*contract.Operation, error) {
				return cl.Savepoint(ctx, contract.SavepointRequest{OperationID: id, Target: target})
			})
		},
	}
	f.addOperation(c)
	c.Flags().StringVar(&target, "target", "", targetHelp)
	return c
}

func (a *App) stopCommand() *cobra.Command {
	var f apiFlags
	var target string
	var drain bool
	c := &cobra.Command{
		Use: "stop", GroupID: "control", Args: exactArgs(),
		Short: "Stop a job with a savepoint and print its path",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.operate(c, &f, func(ctx context.Context, cl *contract.Client, id string) (*contract.Operation, error) {
				return cl.Stop(ctx, contract.StopRequest{OperationID: id, Target: target, Drain: drain})
			})
		},
	}
	f.addOperation(c)
	c.Flags().StringVar(&target, "target", "", targetHelp)
	c.Flags().BoolVar(&drain, "drain", false, "end all input first, so that everything held back is emitted; not meant to be resumed from")
	return c
}

func (a *App) cancelCommand() *cobra.Command {
	var f apiFlags
	var q contract.CancelRequest
	c := &cobra.Command{
		Use: "cancel", GroupID: "control", Args: exactArgs(),
		Short: "Cancel a job",
		RunE: func(c *cobra.Command, _ []string) error {
			if q.Target != "" && !q.Savepoint {
				return &usageError{err: errors.New("--target is given without --savepoint"), command: c.CommandPath()}
			}
			return a.operate(c, &f, func(ctx context.Context, cl *contract.Client, id string) (*contract.Operation, error) {
				q.OperationID = id
				return cl.Cancel(ctx, q)
			})
		},
	}
	f.addOperation(c)
	c.Flags().BoolVar(&q.Savepoint, "savepoint", false, "take a savepoint first and print its path; without it the job is not cancelled")
	c.Flags().StringVar(&q.Target, "target", "", targetHelp)
	return c
}
