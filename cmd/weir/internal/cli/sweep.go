// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/runtime/program"
	"github.com/weir-stream/weir/runtime/program/human"
	"github.com/weir-stream/weir/runtime/snapshot/sweep"
)

// sweepFlags are the flags of weir snapshot sweep.
type sweepFlags struct {
	dryRun, json bool
	grace        time.Duration
	// savepoints is where the job takes savepoints; empty if that isn't known.
	savepoints string
}

func (a *App) sweepCommand(o *program.SnapshotOptions) *cobra.Command {
	var f sweepFlags
	c := &cobra.Command{
		Use: "sweep JOBDIR|FILE", Args: exactArgs("JOBDIR or FILE"),
		Short: "Delete what is left in the directory of a job that nothing refers to",
		Long: `Delete what is left in the directory of a job that nothing refers to: what crashes and failed deletions have left, and
damaged checkpoints that a restore went back behind.

JOBDIR is the directory with head.json, on this machine or s3://bucket/prefix/namespace/name/job-id. FILE is that of a StreamJob, whose
storage is searched for all jobs of its namespace and name. What the head names, what its manifests list and what pins hold stays, and
so does what is younger than the grace: it may belong to a checkpoint that is being taken. The job may run meanwhile.

With FILE the directory of its savepoints is looked at, too. What is left there of savepoints that were never completed is listed, for you to delete: savepoints
are yours, and a sweep deletes nothing among them.`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := sweep.CheckGrace(f.grace); err != nil {
				return &usageError{err: err, command: c.CommandPath()}
			}
			s, dirs, err := openSweep(c.Context(), args[0], o, &f)
			if err != nil {
				return err
			}
			defer s.Close()
			return a.sweep(c.Context(), s, dirs, &f)
		},
	}
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "only say what would be deleted")
	c.Flags().DurationVar(&f.grace, "grace", sweep.MinGrace, "how old something must be, at least 25h")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return c
}

// openSweep opens what is to be swept, and returns the directories of jobs.
func openSweep(ctx context.Context, arg string, o *program.SnapshotOptions, f *sweepFlags) (*program.Snapshots, []string, error) {
	if info, err := os.Stat(arg); err == nil && info.Mode().IsRegular() {
		_, cfg, err := loadJob(ctx, arg)
		if err != nil {
			return nil, nil, err
		}
		if s := cfg.Storage; s != nil && s.S3 != nil { // what is known inside of a cluster may not be outside
			s.S3.Endpoint, s.S3.Region = cmp.Or(o.Endpoint, s.S3.Endpoint), cmp.Or(o.Region, s.S3.Region)
		}
		f.savepoints = cfg.Storage.SavepointDir()
		s, dirs, err := program.OpenJob(ctx, cfg)
		if err == nil && len(dirs) == 0 {
			s.Close()
			err = fmt.Errorf("the storage of %s holds no job %s/%s", arg, cfg.Namespace, cfg.Name)
		}
		return s, dirs, err
	}
	opts := *o
	opts.Delete = !f.dryRun
	s, err := program.OpenSnapshots(ctx, arg, opts)
	if err != nil {
		return nil, nil, err
	}
	dir := s.Path
	if dir != "" {
		dir += "/"
	}
	return s, []string{dir}, nil
}

// swept is what is printed as JSON for one job.
type swept struct {
	Directory string `json:"directory"`
	*sweep.Report
}

func (a *App) sweep(ctx context.Context, s *program.Snapshots, dirs []string, f *sweepFlags) error {
	var errs []error
	var all []swept
	for _, dir := range dirs {
		r, err := sweep.Sweep(ctx, s.Store, dir, sweep.Options{Grace: f.grace, DryRun: f.dryRun, Now: time.Now, Savepoints: f.savepoints})
		errs = append(errs, err)
		if r == nil {
			continue
		}
		for i := range r.Orphans {
			r.Orphans[i].Path = s.Located(r.Orphans[i].Path)
		}
		for i := range r.Unfinished {
			r.Unfinished[i].Path = s.Located(r.Unfinished[i].Path)
		}
		all = append(all, swept{Directory: s.Located(dir), Report: r})
	}
	if f.json {
		errs = append(errs, printJSON(a.Out, all))
		return errors.Join(errs...)
	}
	for _, r := range all {
		errs = append(errs, a.printSwept(r, f))
	}
	return errors.Join(errs...)
}

func (a *App) printSwept(r swept, f *sweepFlags) error {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	if len(r.Orphans) > 0 {
		_, _ = fmt.Fprintf(w, "ORPHAN\tOBJECTS\tSIZE\tWRITTEN\tWHY\n")
	}
	for _, o := range r.Orphans {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", o.Path, o.Objects, human.Bytes(o.Bytes), o.Modified.UTC().Format(time.DateTime), o.Reason)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing the orphans: %w", err)
	}
	for _, n := range r.Notes {
		a.printf("note: %s\n", n)
	}
	for _, o := range r.Unfinished {
		a.printf("note: %s: %s, which can be deleted by hand: %s (%s), written %s\n",
			o.Path, o.Reason, human.Count(int64(o.Objects), "object"), human.Bytes(o.Bytes), o.Modified.UTC().Format(time.DateTime))
	}
	n, size := r.Totals()
	what := "deleted"
	switch {
	case f.dryRun:
		what = "would be deleted"
	case n > 0 && !r.Deleted:
		what = "were to be deleted"
	}
	a.printf("%s: %s (%s) %s, %d needed, %d younger than %v\n", r.Directory, human.Count(int64(n), "object"), human.Bytes(size), what, r.Kept, r.Young, f.grace)
	return nil
}
