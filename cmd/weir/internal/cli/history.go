// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	streamv1 "github.com/weir-stream/weir/api/v1alpha1"
	"github.com/weir-stream/weir/runtime/program/human"
)

// history shows the versions of a StreamJob.
func (s *session) history(ctx context.Context, format string) error {
	job, err := s.cluster.Get(ctx, s.name)
	if err != nil {
		return err
	}
	if format != "" {
		return printAs(s.app.Out, format, job.Status.History)
	}
	if len(job.Status.History) == 0 {
		s.app.printf("No version was deployed yet.\n")
		return nil
	}
	w := tabwriter.NewWriter(s.app.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "GRANT\tREVISION\tGENERATION\tDEPLOYED\tLASTED\tOUTCOME\tSTARTED FROM\tWHY\n")
	now := s.app.Now()
	for i := range job.Status.History {
		h := &job.Status.History[i]
		deployed, lasted := "-", "-"
		if !h.DeployedAt.IsZero() {
			deployed = human.Duration(now.Sub(h.DeployedAt.Time)) + " ago"
			end := now
			if !h.EndedAt.IsZero() {
				end = h.EndedAt.Time
			}
			lasted = human.Duration(end.Sub(h.DeployedAt.Time))
		}
		_, _ = fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", h.Grant, orDash(h.Revision), h.Generation, deployed, lasted, orDash(string(h.Outcome)),
			startOf(h), orDash(oneLine(h.Message)))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing the history: %w", err)
	}
	return nil
}

// startOf says what a version started from.
func startOf(h *streamv1.HistoryEntry) string {
	if h.EffectiveMode == "" && h.RestoredFrom != "" {
		return "- (asked for: " + orDash(h.RequestedMode) + "; not all tasks ran) " + h.RestoredFrom
	}
	text := orDash(h.EffectiveMode)
	if h.EffectiveMode != "" && h.RequestedMode != "" && h.RequestedMode != h.EffectiveMode {
		text += " (asked for: " + h.RequestedMode
		if h.RestoreReason != "" {
			text += ", because " + oneLine(h.RestoreReason)
		}
		text += ")"
	}
	if h.RestoredFrom != "" {
		text += " " + h.RestoredFrom
	}
	return text
}
