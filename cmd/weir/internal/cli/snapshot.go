// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/program/human"
	"github.com/weir-stream/weir/runtime/snapshot/verify"
)

func (a *App) snapshotCommand() *cobra.Command {
	var o program.SnapshotOptions
	c := &cobra.Command{
		Use: "snapshot", GroupID: "other",
		Short: "Look into checkpoints and savepoints",
		Args:  cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{err: fmt.Errorf("unknown command %q", args[0]), command: c.CommandPath()}
			}
			return c.Help()
		},
	}
	c.PersistentFlags().StringVar(&o.Endpoint, "endpoint", "", "URL of the S3 server, for s3:// paths")
	c.PersistentFlags().StringVar(&o.Region, "region", "", "region of the bucket, for s3:// paths")
	c.AddCommand(
		snapshotSubcommand(&o, "ls", "List the snapshots below a directory", a.snapshotList),
		snapshotSubcommand(&o, "inspect", "Show what a snapshot holds", a.snapshotInspect),
		snapshotSubcommand(&o, "verify", "Read every byte of a snapshot and compare it with what was written", a.snapshotVerify),
		a.planCommand(&o),
		a.sweepCommand(&o),
	)
	return c
}

// snapshotSubcommand opens PATH for a command that looks at it.
func snapshotSubcommand(o *program.SnapshotOptions, name, short string, look func(ctx context.Context, s *program.Snapshots, asJSON bool) error) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: name + " PATH", Args: exactArgs("PATH"), Short: short,
		RunE: func(c *cobra.Command, args []string) error {
			s, err := program.OpenSnapshots(c.Context(), args[0], *o)
			if err != nil {
				return err
			}
			defer s.Close()
			return look(c.Context(), s, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *App) snapshotList(ctx context.Context, s *program.Snapshots, asJSON bool) error {
	list, err := verify.List(ctx, s.Store, s.Path)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("there are no snapshots below %s", s.Located(s.Path))
	}
	for i := range list {
		list[i].Path = s.Located(list[i].Path)
	}
	if asJSON {
		return printJSON(a.Out, list)
	}
	return printList(a.Out, list)
}

func printList(out io.Writer, list []verify.Entry) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "KIND\tID\tJOB\tTAKEN\tSIZE\tPATH\n")
	var errs []error
	for _, e := range list {
		s := e.Summary
		if s == nil {
			_, _ = fmt.Fprintf(w, "unreadable\t-\t-\t%s\t-\t%s\n", e.Modified.UTC().Format(time.DateTime), e.Path)
			errs = append(errs, errors.New(e.Problem))
			continue
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", kindOf(s), s.Checkpoint, orDash(s.JobName),
			s.CreatedAt.UTC().Format(time.DateTime), human.Bytes(s.Bytes), e.Path)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing the list: %w", err)
	}
	return errors.Join(errs...)
}

func kindOf(s *verify.Summary) string {
	if s.Stop == "" {
		return s.Kind
	}
	return s.Kind + " (" + s.Stop + ")"
}

func (a *App) snapshotInspect(ctx context.Context, s *program.Snapshots, asJSON bool) error {
	m, err := verify.Inspect(ctx, s.Store, s.Path)
	if err != nil {
		return err
	}
	m.Path = s.Located(m.Path)
	if asJSON {
		return printJSON(a.Out, m)
	}
	return printSummary(a.Out, m)
}

func printSummary(out io.Writer, s *verify.Summary) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "Snapshot\t%s %d\n", kindOf(s), s.Checkpoint)
	_, _ = fmt.Fprintf(w, "Path\t%s\n", s.Path)
	_, _ = fmt.Fprintf(w, "Job\t%s (%s), attempt %s\n", orDash(s.JobName), s.JobID, s.Attempt)
	_, _ = fmt.Fprintf(w, "Taken\t%s\n", s.CreatedAt.UTC().Format(time.RFC3339))
	_, _ = fmt.Fprintf(w, "Key groups\t%d\n", s.MaxParallelism)
	_, _ = fmt.Fprintf(w, "State\t%s in %s\n", human.Bytes(s.Bytes), human.Count(int64(s.Files), "file"))
	_, _ = fmt.Fprintf(w, "\nOPERATOR\tPARALLELISM\tFINISHED\tSTATE FILES\tROWS IN FLIGHT\tLISTS\n")
	for _, op := range s.Operators {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%s in %s\t%s\t%s\n", op.Name, op.Parallelism, op.Finished,
			human.Bytes(op.Bytes), human.Count(int64(op.Files), "file"), human.Number(op.InFlightRows), lists(op.Lists))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing the snapshot: %w", err)
	}
	return nil
}

func lists(all []verify.ListSummary) string {
	text := ""
	for _, l := range all {
		if text != "" {
			text += ", "
		}
		entries := "entries"
		if l.Entries == 1 {
			entries = "entry"
		}
		text += fmt.Sprintf("%s (%s, %d %s, %s)", l.Name, l.Mode, l.Entries, entries, human.Bytes(l.Bytes))
	}
	return orDash(text)
}

func (a *App) snapshotVerify(ctx context.Context, s *program.Snapshots, asJSON bool) error {
	r, err := verify.Verify(ctx, s.Store, s.Path)
	if err != nil {
		return err
	}
	r.Manifest = s.Located(r.Manifest)
	for i := range r.Damages {
		r.Damages[i].Object = s.Located(r.Damages[i].Object)
	}
	if asJSON {
		if err := printJSON(a.Out, r); err != nil {
			return err
		}
	}
	path := s.Located(s.Path)
	if r.Whole() {
		if !asJSON {
			a.printf("%s is intact: %s %d, %s, %s read\n", path, kindOf(r.Snapshot), r.Snapshot.Checkpoint,
				human.Count(int64(r.Files), "object"), human.Bytes(r.Bytes))
		}
		return nil
	}
	if !asJSON {
		for _, d := range r.Damages {
			a.printf("%s\n", d)
		}
	}
	return fmt.Errorf("%s is damaged (%d of %s): restore from another snapshot, or put back the objects from a backup",
		path, len(r.Damages), human.Count(int64(r.Files), "object"))
}
