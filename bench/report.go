// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is everything that was measured.
type report struct {
	Machine machine   `json:"machine"`
	Seconds float64   `json:"seconds"`
	Runs    int       `json:"runs"`
	Figures []*figure `json:"figures"`
	Derived []derived `json:"derived,omitempty"`
}

// figure is one benchmark and its runs.
type figure struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// Unit of median, least, greatest and target.
	Unit   string   `json:"unit"`
	Median float64  `json:"median"`
	Min    float64  `json:"min"`
	Max    float64  `json:"max"`
	Target float64  `json:"target,omitempty"`
	Runs   []result `json:"runs"`
	Errors []string `json:"errors,omitempty"`

	scenario *scenario
	// ok says of each round whether it has a result, so that rounds can be compared.
	ok []bool
}

// derived is a figure that follows from others.
type derived struct {
	Title  string  `json:"title"`
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Target float64 `json:"target"`
	// Unit is "" for a ratio.
	Unit string `json:"unit,omitempty"`
	// AtMost says that less is better.
	AtMost bool `json:"atMost,omitempty"`
}

func newFigure(s *scenario) *figure {
	f := &figure{Name: s.name, Title: s.title, Unit: s.unit, Target: s.target, scenario: s}
	if s.memory() {
		f.Unit, f.Target = "MiB", s.targetMiB
	}
	if s.recovery {
		f.Unit, f.Target = "ms", s.targetMillis
	}
	if s.turns > 0 {
		f.Unit, f.Target = "", s.targetLeft
	}
	return f
}

func (f *figure) add(r result, err error) {
	if err != nil {
		f.Errors = append(f.Errors, err.Error())
	}
	f.Runs = append(f.Runs, r)
	f.ok = append(f.ok, err == nil)
}

// value is what counts of a run.
func (f *figure) value(r result) float64 {
	if f.scenario.memory() {
		return r.PeakMiB
	}
	if f.scenario.recovery {
		return r.RecoveryMillis
	}
	if f.scenario.turns > 0 {
		return r.Left
	}
	return r.Rate
}

// values of all runs that succeeded.
func (f *figure) values(of func(result) float64) []float64 {
	var vs []float64
	for i, r := range f.Runs {
		if f.ok[i] {
			vs = append(vs, of(r))
		}
	}
	return vs
}

func (f *figure) lastLine() string {
	n := len(f.Runs) - 1
	if !f.ok[n] {
		return "FAILED: " + f.Errors[len(f.Errors)-1]
	}
	r := f.Runs[n]
	if f.scenario.memory() {
		return fmt.Sprintf("%.1f MiB at its highest, %.1f MiB in the end, heap %.1f MiB, %d checkpoints", r.PeakMiB, r.RSSMiB, r.HeapMiB, r.Checkpoints)
	}
	if f.scenario.recovery {
		return fmt.Sprintf("%.0f ms with %.0f MiB of state, counts right", r.RecoveryMillis, r.StateMiB)
	}
	text := fmt.Sprintf("%s %s in %.1f s, %.2f cores busy, counts right", number(r.Rate), f.scenario.unit, r.Seconds, r.Cores)
	if r.Checkpoints > 0 {
		text += fmt.Sprintf(", %d checkpoints of %.0f MiB, sync %.2f ms (at most %.2f)", r.Checkpoints, r.StateMiB, r.SyncMedian, r.SyncMax)
	}
	if f.scenario.turns > 0 {
		text = fmt.Sprintf("%.3f of the rate left, %s", r.Left, text)
	}
	return text
}

// conclude works out medians and what follows from them.
func (r *report) conclude(seconds float64) {
	byName := map[string]*figure{}
	for _, f := range r.Figures {
		byName[f.Name] = f
		f.Median, f.Min, f.Max = spread(f.values(f.value))
	}
	r.ratio("Keyed count, 1 M keys, to the bare loop", byName["count-1m"], byName["bare-1m"], 0.5)
	r.ratio("Keyed count, 10 k keys, to the bare loop", byName["count-10k"], byName["bare-10k"], 0)
	r.ratio("Keyed count, 10 M keys, to the bare loop", byName["count-10m"], byName["bare-10m"], 0)
	r.ratio("With checkpoints every 10 s to without, 1 M keys", byName["count-1m-10s"], byName["count-1m-off"], 0)
	r.ratio("With checkpoints every second to without, 1 M keys", byName["count-1m"], byName["count-1m-off"], 0.97)
	r.ratio("With checkpoints every 100 ms to without, 1 M keys", byName["count-1m-100ms"], byName["count-1m-off"], 0.9)
	if f := byName["count-10m"]; f != nil {
		r.of(derived{Title: "Garbage collection, share of the processor time, 10 M keys", Target: 0.05, AtMost: true}, f.values(func(r result) float64 { return r.GCShare }))
	}
	f := byName["count-1m"]
	if f == nil || len(f.values(f.value)) == 0 {
		return
	}
	r.of(derived{Title: "Synchronous part of a checkpoint, 1 M keys, median", Target: 5, Unit: "ms", AtMost: true}, f.values(func(r result) float64 { return r.SyncMedian }))
	r.of(derived{Title: "Synchronous part of a checkpoint, 1 M keys, longest", Target: 5, Unit: "ms", AtMost: true}, f.values(func(r result) float64 { return r.SyncMax }))
	wanted := 0.0
	if seconds >= 30 {
		wanted = 25
	}
	r.of(derived{Title: "Checkpoints completed in a run, 1 M keys", Target: wanted, Unit: "checkpoints"}, f.values(func(r result) float64 { return float64(r.Checkpoints) }))
}

// ratio compares two figures round by round.
func (r *report) ratio(title string, a, b *figure, target float64) {
	if a == nil || b == nil {
		return
	}
	var vs []float64
	for i := range a.Runs {
		if a.ok[i] && b.ok[i] {
			vs = append(vs, a.value(a.Runs[i])/b.value(b.Runs[i]))
		}
	}
	r.of(derived{Title: title, Target: target}, vs)
}

func (r *report) of(d derived, vs []float64) {
	if len(vs) == 0 {
		return
	}
	d.Median, d.Min, d.Max = spread(vs)
	r.Derived = append(r.Derived, d)
}

func (r *report) failed() []string {
	var names []string
	for _, f := range r.Figures {
		if len(f.Errors) > 0 {
			names = append(names, f.Name)
		}
	}
	return names
}

// row of the table.
type row struct{ title, median, span, target, met string }

func (r *report) rows() []row {
	var rows []row
	for _, f := range r.Figures {
		s := f.scenario
		out := row{title: s.title}
		if len(f.values(f.value)) == 0 {
			out.median = "failed"
			rows = append(rows, out)
			continue
		}
		switch {
		case s.recovery:
			out.median, out.span = fmt.Sprintf("%.0f ms", f.Median), fmt.Sprintf("%.0f–%.0f", f.Min, f.Max)
			out.target, out.met = fmt.Sprintf("≤ %.0f ms", s.targetMillis), verdict(f.Median, s.targetMillis, true)
		case s.turns > 0:
			out.median, out.span = fmt.Sprintf("%.3g", f.Median), fmt.Sprintf("%.3g–%.3g", f.Min, f.Max)
			out.target, out.met = fmt.Sprintf("≥ %g", s.targetLeft), verdict(f.Median, s.targetLeft, false)
		case s.memory():
			out.median, out.span = fmt.Sprintf("%.1f MiB", f.Median), fmt.Sprintf("%.1f–%.1f", f.Min, f.Max)
			out.target, out.met = fmt.Sprintf("≤ %.0f MiB", s.targetMiB), verdict(f.Median, s.targetMiB, true)
		default:
			out.median, out.span = number(f.Median)+" "+s.unit, number(f.Min)+"–"+number(f.Max)
			if s.target > 0 {
				out.target, out.met = "≥ "+number(s.target), verdict(f.Median, s.target, false)
			}
		}
		if len(f.Errors) > 0 {
			out.met = fmt.Sprintf("%d runs failed", len(f.Errors))
		}
		rows = append(rows, out)
	}
	for _, d := range r.Derived {
		unit := ""
		if d.Unit != "" {
			unit = " " + d.Unit
		}
		out := row{title: d.Title, median: fmt.Sprintf("%.3g%s", d.Median, unit), span: fmt.Sprintf("%.3g–%.3g", d.Min, d.Max)}
		if d.Target > 0 {
			sign := "≥"
			if d.AtMost {
				sign = "≤"
			}
			out.target, out.met = fmt.Sprintf("%s %g%s", sign, d.Target, unit), verdict(d.Median, d.Target, d.AtMost)
		}
		rows = append(rows, out)
	}
	return rows
}

// verdict says whether a target is met, or how much of it is reached.
func verdict(v, target float64, atMost bool) string {
	reached := v / target
	if atMost {
		reached = target / v
	}
	if reached >= 1 {
		return "yes"
	}
	return fmt.Sprintf("%.0f %%", math.Floor(100*reached)) // never 100 % for a target that is missed
}

func (r *report) print(w io.Writer, f flags) error {
	switch {
	case f.json:
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	case f.markdown:
		return r.printMarkdown(w)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "\nbenchmark\tmedian of %d\tmin–max\ttarget\tmet\n", r.Runs)
	for _, o := range r.rows() {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", o.title, o.median, o.span, o.target, o.met)
	}
	return t.Flush()
}

func (r *report) printMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s; %d runs of %g s each.\n\n", r.Machine, r.Runs, r.Seconds)
	b.WriteString("| benchmark | median | min–max | target | met |\n|---|---|---|---|---|\n")
	for _, o := range r.rows() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", o.title, o.median, o.span, o.target, o.met)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// number shows a rate with three digits.
func number(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3g M", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.3g k", v/1e3)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

// median of values, of which there is at least one.
func median(vs []float64) float64 {
	s := slices.Sorted(slices.Values(vs))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

func spread(vs []float64) (mid, low, high float64) {
	if len(vs) == 0 {
		return 0, 0, 0
	}
	return median(vs), slices.Min(vs), slices.Max(vs)
}
