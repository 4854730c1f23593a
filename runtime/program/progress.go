// SPDX-License-Identifier: Apache-2.0

package program

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/program/human"
)

// progress writes a line about a running job each time it is given a status. On a terminal it overwrites the line
// before, else it adds one; what else is to be said goes through notef, so that lines don't mix.
type progress struct {
	out      io.Writer
	terminal bool
	last     *contract.JobStatus
	width    int
	open     bool
	state    contract.JobState
	failure  time.Time
	message  string
	// warnings are those of the report before.
	warnings []string
}

// show writes the line for s, and before it what happened since the last one.
func (p *progress) show(s *contract.JobStatus) {
	p.events(s)
	line := progressLine(p.last, s)
	p.last = s
	if !p.terminal {
		_, _ = fmt.Fprintln(p.out, line)
		return
	}
	pad := max(0, p.width-len(line))
	_, _ = fmt.Fprintf(p.out, "\r%s%s", line, strings.Repeat(" ", pad))
	p.width, p.open = len(line), true
}

// events notes changes that a line of numbers would hide.
func (p *progress) events(s *contract.JobStatus) {
	if f := s.LastFailure; f != nil && !f.At.Equal(p.failure) {
		p.failure = f.At
		where := ""
		if f.Task != "" && !strings.Contains(f.Message, f.Task) {
			where = " in task " + f.Task
		}
		p.notef("failure%s: %s", where, f.Message)
	}
	if s.State != p.state && s.State == contract.JobRunning && s.RestoredFrom != nil {
		p.notef("restored from %s", s.RestoredFrom.Path)
	}
	for _, w := range s.Warnings {
		if p.state != "" && !slices.Contains(p.warnings, w) { // those that are there from the start follow from the configuration
			p.notef("warning: %s", w)
		}
	}
	p.warnings = s.Warnings
	first := p.state == "" && s.State == contract.JobWaiting // the line itself counts the slots
	if s.Message != "" && s.Message != p.message && !first {
		p.notef("%s", s.Message)
	}
	p.state, p.message = s.State, s.Message
}

// notef writes a line of its own.
func (p *progress) notef(format string, args ...any) {
	p.finish()
	_, _ = fmt.Fprintf(p.out, format+"\n", args...)
}

// finish ends the line that is being overwritten.
func (p *progress) finish() {
	if p.open {
		_, _ = fmt.Fprintln(p.out)
	}
	p.open, p.width = false, 0
}

// progressLine says how far a job is; the rate is that since the report before, if it is of the same attempt.
func progressLine(before, s *contract.JobStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  in %s  out %s", stateWord(s), human.Number(s.RecordsIn), human.Number(s.RecordsOut))
	if r, ok := rate(before, s); ok {
		fmt.Fprintf(&b, "  %s", human.Rate(r))
	}
	switch c := s.LastCheckpoint; {
	case c == nil:
		b.WriteString("  no checkpoint yet")
	case c.CompletedAt.IsZero():
		fmt.Fprintf(&b, "  checkpoint %d", c.ID)
	default:
		fmt.Fprintf(&b, "  checkpoint %d %s ago, %s", c.ID, human.Duration(s.MeasuredAt.Sub(c.CompletedAt)), human.Bytes(c.SizeBytes))
		if c.DurationMillis > 0 {
			fmt.Fprintf(&b, " in %s", human.Duration(time.Duration(c.DurationMillis)*time.Millisecond))
		}
	}
	if s.Restarts > 0 {
		fmt.Fprintf(&b, "  %s", human.Count(s.Restarts, "restart"))
	}
	return b.String()
}

// rate is the number of records that the sources emitted per second between two reports.
func rate(before, s *contract.JobStatus) (float64, bool) {
	if before == nil || before.Attempt != s.Attempt || s.RecordsIn < before.RecordsIn {
		return 0, false
	}
	d := s.MeasuredAt.Sub(before.MeasuredAt)
	if d <= 0 {
		return 0, false
	}
	return float64(s.RecordsIn-before.RecordsIn) / d.Seconds(), true
}

func stateWord(s *contract.JobStatus) string {
	if s.State == contract.JobWaiting {
		return fmt.Sprintf("waiting for workers (%d of %s)", s.SlotsOffered, human.Count(int64(s.SlotsNeeded), "slot"))
	}
	return strings.ToLower(string(s.State))
}
