// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/program/human"
)

func (a *App) snapshotsCommand() *cobra.Command {
	var f jobFlags
	var format string
	c := &cobra.Command{
		Use: "snapshots [JOB]", GroupID: "control", Args: cobra.MaximumNArgs(1),
		Short: "List the StreamSnapshots of a StreamJob, or of a namespace",
		Long: `List the StreamSnapshots of a StreamJob, the newest first: the savepoints that were asked for as objects, those of its schedule, and those that were
adopted from its storage. Without JOB: all of the namespace. The StreamJob may be gone. Checkpoints and other savepoints are listed by "weir checkpoints" and
"weir snapshot ls".`,
		RunE: func(c *cobra.Command, args []string) error {
			if format != "" && format != "json" && format != "yaml" {
				return &usageError{err: errors.New("--output is neither json nor yaml"), command: c.CommandPath()}
			}
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return a.inCluster(c, &f, name, func(ctx context.Context, s *session) error { return s.snapshots(ctx, format) })
		},
	}
	f.addCluster(c)
	c.Flags().DurationVar(&f.timeout, "timeout", defaultReadTimeout, "how long to wait for the cluster")
	c.Flags().StringVarP(&format, "output", "o", "", "print everything as json or yaml")
	return c
}

// snapshots lists the StreamSnapshots of the job.
func (s *session) snapshots(ctx context.Context, format string) error {
	list, err := s.cluster.Snapshots(ctx, s.name)
	if err != nil {
		return err
	}
	if format != "" {
		return printAs(s.app.Out, format, list)
	}
	if len(list) == 0 {
		s.app.printf("There is no StreamSnapshot.\n")
		return nil
	}
	w := tabwriter.NewWriter(s.app.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "NAME\tKIND\tSTATE\tSIZE\tTOOK\tCOMPLETED\tRECLAIM\tPATH\tMESSAGE\n")
	for i := range list {
		_, _ = fmt.Fprintln(w, s.app.snapshotLine(&list[i]))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing the StreamSnapshots: %w", err)
	}
	return nil
}

func (a *App) snapshotLine(s *streamv1.StreamSnapshot) string {
	st := &s.Status
	size, took, completed := "-", "-", "-"
	if st.SizeBytes > 0 {
		size = human.Bytes(st.SizeBytes)
	}
	if st.DurationMillis > 0 {
		took = human.Duration(time.Duration(st.DurationMillis) * time.Millisecond)
	}
	if !st.CompletedAt.IsZero() {
		completed = human.Duration(a.Now().Sub(st.CompletedAt.Time)) + " ago"
	}
	policy := s.Spec.ReclaimPolicy
	if policy == "" {
		policy = streamv1.ReclaimRetain
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", s.Name, orDash(st.Kind), orDash(string(st.State)), size, took, completed, policy,
		orDash(st.Path), orDash(oneLine(st.Message)))
}
