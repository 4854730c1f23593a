// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/program/human"
)

// checkpointsFlags say what to show of a job's checkpoints and how.
type checkpointsFlags struct {
	format string
	// id of the one to show in detail; 0 for the list.
	id int64
}

func (f *checkpointsFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.format, "output", "o", "", "print everything as json or yaml")
	c.Flags().Int64Var(&f.id, "id", 0, "show one checkpoint or savepoint by operator and subtask")
}

func (f *checkpointsFlags) check(c *cobra.Command) error {
	switch {
	case f.format != "" && f.format != "json" && f.format != "yaml":
		return &usageError{err: errors.New("--output is neither json nor yaml"), command: c.CommandPath()}
	case c.Flags().Changed("id") && f.id < 1:
		return &usageError{err: errors.New("--id is not the number of a checkpoint"), command: c.CommandPath()}
	}
	return nil
}

func (a *App) checkpointsCommand() *cobra.Command {
	var f jobFlags
	var show checkpointsFlags
	c := &cobra.Command{
		Use: "checkpoints [JOB]", GroupID: "control", Args: oneJob,
		Short: "Show a job's checkpoints, what each cost, and what made it slow or failed it",
		Long: `Show the history of a job's checkpoints and savepoints as its coordinator tells it: how each went, what it cost, what took longest,
what failed it, and which ones storage keeps. With --id: one of them by operator and subtask.

In a cluster it calls the coordinator through a port-forward, with the certificate in the secret JOB-client-tls. So it needs
to get secrets and create pods/portforward, which the other commands don't.` + jobHelp,
		RunE: func(c *cobra.Command, args []string) error {
			name, err := f.job(c, args)
			if err != nil {
				return err
			}
			if err := show.check(c); err != nil {
				return err
			}
			if name != "" {
				return a.inCluster(c, &f, name, func(ctx context.Context, s *session) error { return s.checkpoints(ctx, show) })
			}
			client, err := f.client(c)
			if err != nil {
				return err
			}
			defer client.Close()
			ctx, cancel := a.bounded(c.Context(), f.timeout)
			defer cancel()
			return a.showCheckpoints(ctx, client, show)
		},
	}
	f.add(c, defaultReadTimeout)
	show.add(c)
	return c
}

func (a *App) showCheckpoints(ctx context.Context, client *contract.Client, f checkpointsFlags) error {
	if f.id > 0 {
		detail, err := client.CheckpointDetail(ctx, f.id)
		if err != nil {
			return err
		}
		if f.format != "" {
			return printAs(a.Out, f.format, detail)
		}
		return printCheckpoint(a.Out, a.Now(), detail)
	}
	history, err := client.Checkpoints(ctx)
	if err != nil {
		return err
	}
	if f.format != "" {
		return printAs(a.Out, f.format, history)
	}
	return printCheckpoints(a.Out, a.Now(), history)
}

// checkpointPrinter writes the parts of a report.
type checkpointPrinter struct {
	w   *tabwriter.Writer
	now time.Time
}

func (p *checkpointPrinter) row(cells ...any) {
	for i, c := range cells {
		if i > 0 {
			_, _ = io.WriteString(p.w, "\t")
		}
		_, _ = fmt.Fprint(p.w, c)
	}
	_, _ = io.WriteString(p.w, "\n")
}

// title begins a table.
func (p *checkpointPrinter) title(cells ...any) {
	_ = p.w.Flush() // the columns of a table don't depend on those of the one before
	p.row()
	p.row(cells...)
}

func (p *checkpointPrinter) end() error {
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("printing the checkpoints: %w", err)
	}
	return nil
}

// printCheckpoints shows the history of a job's snapshots for people.
func printCheckpoints(out io.Writer, now time.Time, h *contract.CheckpointsReport) error {
	p := &checkpointPrinter{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), now: now}
	p.row("Since the coordinator started", fmt.Sprintf("%d completed, %d failed%s, %d in flight", h.Completed, h.Failed, byReason(h), h.InFlight))
	if h.Waiting != "" {
		p.row("The next one waits", h.Waiting)
	}
	for _, text := range h.Advice {
		p.row("Advice", text)
	}
	p.recent(h.Recent)
	p.reasons(h.Recent)
	if h.Summary != nil {
		p.summary(h.Summary)
	}
	if len(h.Retained) > 0 {
		p.title("IN STORAGE", "COMPLETED", "SIZE", "PATH")
	}
	for i := range h.Retained {
		r := &h.Retained[i]
		p.row(r.ID, ago(now, r.CompletedAt), human.Bytes(r.SizeBytes), r.Path)
	}
	return p.end()
}

func byReason(h *contract.CheckpointsReport) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(h.FailedByReason)) {
		parts = append(parts, fmt.Sprintf("%d %s", h.FailedByReason[reason], reason))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func (p *checkpointPrinter) recent(recent []contract.CheckpointReport) {
	if len(recent) == 0 {
		return
	}
	p.title("ID", "KIND", "STATE", "TRIGGERED", "TOOK", "TRIGGER", "START", "ALIGNED", "SYNC", "ASYNC", "UPLOAD", "SIZE", "WRITTEN", "GAP", "TASKS", "SLOWEST")
	for i := range recent {
		r := &recent[i]
		gap := "-"
		if r.IdleGapMillis != nil {
			gap = millis(*r.IdleGapMillis)
		}
		p.row(r.ID, orDash(r.Kind), state(r), ago(p.now, r.TriggeredAt), took(p.now, r), millis(r.TriggerDelayMillis), millis(r.StartDelayMillis),
			millis(r.AlignmentMillis), micros(r.SyncMicros), millis(r.AsyncMillis), millis(r.UploadMillis), human.Bytes(r.SizeBytes), human.Bytes(r.WrittenBytes), gap,
			fmt.Sprintf("%d/%d", r.Acked, r.Tasks), orDash(r.SlowestTask))
	}
}

// state of a snapshot, with the reason if it failed.
func state(r *contract.CheckpointReport) string {
	if r.State == "Failed" && r.Reason != "" {
		return r.State + ":" + r.Reason
	}
	return r.State
}

// reasons says why snapshots failed, what those in flight wait for, and what took longest of the newest that completed.
func (p *checkpointPrinter) reasons(recent []contract.CheckpointReport) {
	titled, completed := false, false
	for i := range recent {
		r := &recent[i]
		text := r.Error
		if text == "" && r.Culprit != nil && !completed {
			text = r.Culprit.Text
			if r.State == "Completed" {
				completed = true
				text = "slowest part: " + text
			}
		}
		if text == "" {
			continue
		}
		if !titled {
			titled = true
			p.title("ID", "WHY")
		}
		p.row(r.ID, oneLine(text))
	}
}

func (p *checkpointPrinter) summary(s *contract.CheckpointsSummary) {
	p.title(fmt.Sprintf("LAST %d COMPLETED", s.Count), "MIN", "AVG", "P50", "P95", "P99", "MAX")
	spread := func(name string, s contract.Spread, show func(int64) string) {
		p.row(name, show(s.Min), show(s.Avg), show(s.P50), show(s.P95), show(s.P99), show(s.Max))
	}
	spread("took", s.DurationMillis, millis)
	spread("gap before", s.IdleGapMillis, millis)
	spread("trigger delay", s.TriggerDelayMillis, millis)
	spread("start delay", s.StartDelayMillis, millis)
	spread("alignment", s.AlignmentMillis, millis)
	spread("synchronous", s.SyncMicros, micros)
	spread("asynchronous", s.AsyncMillis, millis)
	spread("upload", s.UploadMillis, millis)
	spread("finalize", s.FinalizeMillis, millis)
	spread("size", s.SizeBytes, human.Bytes)
	spread("written", s.WrittenBytes, human.Bytes)
}

func micros(n int64) string { return human.Duration(time.Duration(n) * time.Microsecond) }

func ago(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return human.Duration(now.Sub(t)) + " ago"
}

// took is how long a snapshot took, or how long it has been in flight.
func took(now time.Time, r *contract.CheckpointReport) string {
	switch {
	case r.State == "InFlight" && !r.TriggeredAt.IsZero():
		return human.Duration(cmp.Or(time.Duration(r.DurationMillis)*time.Millisecond, now.Sub(r.TriggeredAt))) + " so far"
	case r.DurationMillis > 0:
		return millis(r.DurationMillis)
	default:
		return "-"
	}
}
