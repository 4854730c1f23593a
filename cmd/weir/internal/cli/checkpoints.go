// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/program/human"
)

// printCheckpoints shows the history of a job's snapshots for people.
func printCheckpoints(out io.Writer, now time.Time, h *contract.CheckpointsReport) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "Since the coordinator started\t%d completed, %d failed, %d in flight\n", h.Completed, h.Failed, h.InFlight)
	if h.Waiting != "" {
		_, _ = fmt.Fprintf(w, "The next one waits\t%s\n", h.Waiting)
	}
	if len(h.Recent) > 0 {
		_, _ = fmt.Fprintf(w, "\nID\tKIND\tSTATE\tTRIGGERED\tTOOK\tSIZE\tWRITTEN\tALIGNED\tSYNC\tASYNC\tTASKS\tSLOWEST\n")
	}
	for i := range h.Recent {
		r := &h.Recent[i]
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d/%d\t%s\n", r.ID, orDash(r.Kind), r.State, ago(now, r.TriggeredAt), took(now, r),
			human.Bytes(r.SizeBytes), human.Bytes(r.WrittenBytes), millis(r.AlignmentMillis), human.Duration(time.Duration(r.SyncMicros)*time.Microsecond),
			millis(r.AsyncMillis), r.Acked, r.Tasks, orDash(r.SlowestTask))
	}
	failed := false
	for i := range h.Recent {
		r := &h.Recent[i]
		if r.Error == "" {
			continue
		}
		if !failed {
			_, _ = fmt.Fprintf(w, "\nFAILED\tWHY\n")
			failed = true
		}
		_, _ = fmt.Fprintf(w, "%d\t%s\n", r.ID, oneLine(r.Error))
	}
	if len(h.Retained) > 0 {
		_, _ = fmt.Fprintf(w, "\nIN STORAGE\tCOMPLETED\tSIZE\tPATH\n")
	}
	for i := range h.Retained {
		r := &h.Retained[i]
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", r.ID, ago(now, r.CompletedAt), human.Bytes(r.SizeBytes), r.Path)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing the checkpoints: %w", err)
	}
	return nil
}

func ago(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return human.Duration(now.Sub(t)) + " ago"
}

// took is how long a snapshot took, or how long it has been in flight.
func took(now time.Time, r *contract.CheckpointReport) string {
	switch {
	case r.DurationMillis > 0:
		return millis(r.DurationMillis)
	case r.State == "InFlight" && !r.TriggeredAt.IsZero():
		return human.Duration(now.Sub(r.TriggeredAt)) + " so far"
	default:
		return "-"
	}
}
