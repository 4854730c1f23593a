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

// The defaults of --timeout: of what is only read, and of what is waited for.
const (
	defaultReadTimeout      = 30 * time.Second
	defaultOperationTimeout = 10 * time.Minute
)

// apiFlags say which job a command is about and how long it may take.
type apiFlags struct {
	addr      string
	tlsDir    string
	operation string
	timeout   time.Duration
}

func (f *apiFlags) add(c *cobra.Command, timeout time.Duration) {
	c.Flags().StringVar(&f.addr, "api", "", "address of the job's control API, as printed by weir run")
	c.Flags().StringVar(&f.tlsDir, "tls", "", "directory with certificates from weir certs, for mutual TLS with --api")
	c.Flags().DurationVar(&f.timeout, "timeout", timeout, "how long to wait for the outcome")
}

func (f *apiFlags) addOperation(c *cobra.Command) {
	f.add(c, defaultOperationTimeout)
	c.Flags().StringVar(&f.operation, "operation-id", "", "id of the operation asked of --api; repeating a command with the same id starts nothing new")
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
	return append(a.pauseCommands(),
		a.statusCommand(), a.checkpointsCommand(), a.snapshotsCommand(), a.historyCommand(), a.savepointCommand(), a.checkpointCommand(), a.suspendCommand(),
		a.resumeCommand(), a.restartCommand(), a.cancelCommand(), a.deleteCommand(), a.stopCommand(),
	)
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
	ctx, cancel := a.bounded(c.Context(), f.timeout)
	defer cancel()
	op, err := start(ctx, client, id)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if err == nil && !op.Phase.Ended() {
		op, err = client.WaitOperation(ctx, id)
	}
	if err != nil {
		return waiting(fmt.Errorf("waiting for the outcome of operation %s, which may still happen (ask again with --operation-id %s): %w", id, id, err))
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

const targetHelp = "directory in the job's storage below which the savepoint is written (default: the job's savepoint prefix)"

func (a *App) stopCommand() *cobra.Command {
	var f apiFlags
	var target string
	var drain bool
	c := &cobra.Command{
		Use: "stop", GroupID: "address", Args: noJob("weir suspend JOB stops a StreamJob of a cluster with a savepoint"),
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
