// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/coordinator"
	"github.com/weir-stream/weir/runtime/program/human"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// ErrStateRefused says that a job can't start from a snapshot.
var ErrStateRefused = errors.New("the job can't start from the snapshot")

// PlanState builds the graph of a job and says what would become of the state of the snapshot at path, which is opened as [OpenSnapshots] does. It
// writes nothing. A plan that isn't accepted is no error.
func PlanState(ctx context.Context, path string, cfg contract.JobConfig, build Build, o SnapshotOptions) (contract.StatePlan, error) {
	s, err := OpenSnapshots(ctx, path, o)
	if err != nil {
		return contract.StatePlan{}, err
	}
	defer s.Close()
	if s.Path == "" {
		return contract.StatePlan{}, fmt.Errorf("opening %s: it is no snapshot: it has no %s", path, snapshot.ManifestName)
	}
	plan, err := coordinator.PlanState(ctx, coordinator.Options{
		Job: cfg, Build: build.safely, Store: s.Store, Location: s.location, Durable: true, Log: logr.Discard(),
	}, s.Path)
	if err != nil {
		return plan, fmt.Errorf("planning the state: %w", err)
	}
	return plan, nil
}

// PrintStatePlan shows a plan as a table, or as JSON, and returns an [ErrStateRefused] if it isn't accepted.
func PrintStatePlan(out io.Writer, p contract.StatePlan, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if err := e.Encode(p); err != nil {
			return fmt.Errorf("printing the plan: %w", err)
		}
	} else if err := printStatePlan(out, p); err != nil {
		return fmt.Errorf("printing the plan: %w", err)
	}
	if p.Accepted {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrStateRefused, strings.Join(p.Problems, "; "))
}

// outcomes are how a table says what becomes of state.
var outcomes = map[contract.StateOutcome]string{
	contract.StateMaps: "maps", contract.StateStartsEmpty: "starts empty", contract.StateDropped: "would be dropped",
	contract.StateIncompatible: "incompatible",
}

func printStatePlan(out io.Writer, p contract.StatePlan) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if s := p.Snapshot; s != nil {
		_, _ = fmt.Fprintf(w, "%s %d, %s\n\n", s.Kind, s.ID, s.Path)
	}
	_, _ = fmt.Fprintf(w, "OPERATOR\tSTATE\tSIZE\tNOTE\n")
	for _, op := range p.Operators {
		size, note := "-", op.Reason
		if op.Bytes > 0 {
			size = human.Bytes(op.Bytes)
		}
		if op.From != "" && note == "" {
			note = fmt.Sprintf("the state of %q", op.From)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", op.Name, outcomes[op.Outcome], size, orDash(note))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var text strings.Builder
	for _, s := range p.Warnings {
		_, _ = fmt.Fprintf(&text, "Warning: %s\n", s)
	}
	if p.Accepted {
		text.WriteString("The job can start from it.\n")
	}
	if text.Len() == 0 {
		return nil
	}
	_, err := io.WriteString(out, "\n"+text.String())
	return err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// planCommand is the plan of a program's own job.
func (c Command) planCommand() *cobra.Command {
	var o SnapshotOptions
	var job string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "plan SNAPSHOT", Args: cobra.ExactArgs(1),
		Short: "Show what would become of the state of a snapshot if the job started from it",
		RunE: func(cmd *cobra.Command, args []string) error {
			signal.Reset(os.Interrupt, syscall.SIGTERM) // nothing here could be stopped in a better way
			cfg, err := c.jobConfig(job)
			if err != nil {
				return err
			}
			plan, err := PlanState(cmd.Context(), args[0], cfg, c.Build, o)
			if err != nil {
				return err
			}
			return PrintStatePlan(os.Stdout, plan, asJSON)
		},
	}
	cmd.Flags().StringVar(&job, "job", "", "file with the configuration of the job as JSON; weir config prints one from a StreamJob")
	cmd.Flags().StringVar(&o.Endpoint, "endpoint", "", "URL of the S3 server, for s3:// paths")
	cmd.Flags().StringVar(&o.Region, "region", "", "region of the bucket, for s3:// paths")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
