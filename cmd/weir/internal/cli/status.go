// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/program/human"
)

// printAs prints a value as "json" or "yaml".
func printAs(w io.Writer, format string, v any) error {
	if format == "json" {
		return printJSON(w, v)
	}
	b, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Errorf("printing YAML: %w", err)
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("printing YAML: %w", err)
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("printing JSON: %w", err)
	}
	return nil
}

// printStatus shows a job for people.
func printStatus(out io.Writer, now time.Time, s *contract.JobStatus, h *contract.CheckpointsReport) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(w, name+"\t"+format+"\n", args...)
	}
	line("Job", "%s/%s (%s)", s.Namespace, s.Name, orDash(s.JobID))
	line("State", "%s, attempt %s, %s", s.State, orDash(s.Attempt), human.Count(s.Restarts, "restart"))
	if f := s.LastFailure; f != nil {
		line("Last failure", "%s ago: %s", human.Duration(now.Sub(f.At)), f.Message)
	}
	if r := s.RestoredFrom; r != nil {
		line("Restored from", "%s", r.Path)
	}
	line("Parallelism", "%d of at most %d", s.Parallelism, s.MaxParallelism)
	line("Records", "%s in, %s out", human.Number(s.RecordsIn), human.Number(s.RecordsOut))
	line("Workers", "%d connected with %s, %d needed", len(s.Workers), human.Count(int64(s.SlotsOffered), "slot"), s.SlotsNeeded)
	line("Checkpoints", "%d completed, %d failed, %d in flight", h.Completed, h.Failed, h.InFlight)
	if c := s.LastCheckpoint; c != nil {
		line("Last checkpoint", "%s", describeSnapshot(now, c))
	}
	if c := s.LastSavepoint; c != nil {
		line("Last savepoint", "%s", describeSnapshot(now, c))
	}
	line("Storage", "%s", orDash(s.Storage))
	if s.MaxOutage > 0 {
		line("Longest outage", "%s before transactions of its sinks expire", s.MaxOutage)
	}
	for _, text := range s.Warnings {
		line("Warning", "%s", text)
	}
	if len(s.Regions) > 0 {
		_, _ = fmt.Fprintf(w, "\nREGION\tSTATE\tATTEMPT\tRESTARTS\tPARTS\n")
		for _, r := range s.Regions {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", r.Name, r.State, orDash(r.Attempt), r.Restarts, strings.Join(r.Vertices, ", "))
		}
	}
	if len(s.Tasks) > 0 {
		_, _ = fmt.Fprintf(w, "\nTASK\tSTATE\tWORKER\tIN\tOUT\n")
		for _, t := range s.Tasks {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.Task, t.State, orDash(t.Worker), human.Number(t.RecordsIn), human.Number(t.RecordsOut))
		}
	}
	if len(s.Operations) > 0 {
		_, _ = fmt.Fprintf(w, "\nOPERATION\tTYPE\tPHASE\tRESULT\n")
		for _, op := range s.Operations {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", op.ID, op.Type, op.Phase, operationResult(op))
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing the status: %w", err)
	}
	return nil
}

func describeSnapshot(now time.Time, c *contract.SnapshotInfo) string {
	text := strconv.FormatInt(c.ID, 10)
	if !c.CompletedAt.IsZero() {
		text += fmt.Sprintf(", %s ago", human.Duration(now.Sub(c.CompletedAt)))
	}
	if c.DurationMillis > 0 {
		text += ", took " + millis(c.DurationMillis)
	}
	text += ", " + human.Bytes(c.SizeBytes)
	if c.Path != "" { // one in the memory of the coordinator has none
		text += ", " + c.Path
	}
	return text
}

func operationResult(op contract.Operation) string {
	switch {
	case op.Error != "":
		return op.Error
	case op.Path != "":
		return op.Path
	case op.Checkpoint != 0:
		return fmt.Sprintf("checkpoint %d", op.Checkpoint)
	default:
		return "-"
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
