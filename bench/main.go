// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weir-stream/weir/runtime/program"
)

type flags struct {
	runs                  int
	seconds               float64
	quick, json, markdown bool
	only, dir, profile    string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		os.Exit(program.Execute(program.Command{Name: "bench", Short: "Benchmarks", Build: build}))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if len(os.Args) > 2 && os.Args[1] == "measure" {
		err = measureOnce(ctx, os.Args[2])
	} else {
		err = parent(ctx)
	}
	stop()
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// order tells a process of its own what to measure.
type order struct {
	Scenario string  `json:"scenario"`
	Seconds  float64 `json:"seconds"`
	Dir      string  `json:"dir"`
	Profile  string  `json:"profile,omitempty"`
}

// measureOnce measures once, in this process, and prints the result as JSON.
func measureOnce(ctx context.Context, text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return fmt.Errorf("reading what to measure: %w", err)
	}
	s, err := scenarioOf(o.Scenario)
	if err != nil {
		return err
	}
	m := &measurement{s: s, seconds: o.Seconds, dir: o.Dir, profile: o.Profile}
	r, err := m.run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func parseFlags() (flags, []*scenario, error) {
	var f flags
	names := make([]string, len(scenarios))
	for i := range scenarios {
		names[i] = scenarios[i].name
	}
	flag.IntVar(&f.runs, "runs", 5, "how often each is measured")
	flag.Float64Var(&f.seconds, "seconds", 30, "how long each run takes")
	flag.BoolVar(&f.quick, "quick", false, "one run of 5 seconds each")
	flag.BoolVar(&f.json, "json", false, "print all results as JSON")
	flag.BoolVar(&f.markdown, "markdown", false, "print the table as Markdown")
	flag.StringVar(&f.only, "only", "", "what to measure, separated by commas: "+strings.Join(names, ", "))
	flag.StringVar(&f.dir, "dir", "", "directory for inputs and checkpoints (default: a temporary one)")
	flag.StringVar(&f.profile, "cpuprofile", "", "write a CPU profile to this file; needs -only with one name. Worker processes are not in it")
	flag.Parse()
	if f.quick {
		f.runs, f.seconds = 1, 5
	}
	if flag.NArg() > 0 || f.runs < 1 || f.seconds <= 0 {
		return f, nil, errors.New("wrong flags: -runs and -seconds must be positive, and there are no other arguments; see -help")
	}
	var chosen []*scenario
	if f.only == "" {
		for i := range scenarios {
			chosen = append(chosen, &scenarios[i])
		}
	} else {
		for name := range strings.SplitSeq(f.only, ",") {
			s, err := scenarioOf(strings.TrimSpace(name))
			if err != nil {
				return f, nil, fmt.Errorf("%w; there are: %s", err, strings.Join(names, ", "))
			}
			chosen = append(chosen, s)
		}
	}
	if f.profile != "" && len(chosen) != 1 {
		return f, nil, errors.New("-cpuprofile needs -only with one name")
	}
	return f, chosen, nil
}

// parent measures everything, each run in a process of its own, in rounds so that what slows the machine down for a
// while hits all of them.
func parent(ctx context.Context) error {
	f, chosen, err := parseFlags()
	if err != nil {
		return err
	}
	// The build must be measured that was asked for, also when the tree changes meanwhile: this process is it.
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	if f.dir == "" {
		if f.dir, err = os.MkdirTemp("", "weir-bench-"); err != nil {
			return fmt.Errorf("making a directory: %w", err)
		}
		defer func() { _ = os.RemoveAll(f.dir) }()
	}
	if f.dir, err = filepath.Abs(f.dir); err != nil {
		return fmt.Errorf("reading -dir: %w", err)
	}
	rep := &report{Machine: describeMachine(ctx), Seconds: f.seconds, Runs: f.runs}
	for _, s := range chosen {
		rep.Figures = append(rep.Figures, newFigure(s))
	}
	begin := time.Now()
	total := f.runs * len(chosen)
	logf("%s\n%d runs of %g s\n", rep.Machine, total, f.seconds)
	for round := range f.runs {
		for i, fig := range rep.Figures {
			o := order{Scenario: fig.Name, Seconds: f.seconds, Dir: f.dir, Profile: f.profile}
			r, err := runOnce(ctx, self, o)
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			fig.add(r, err)
			logf("%3d/%d  %4.0f s  %-16s %s\n", round*len(rep.Figures)+i+1, total, time.Since(begin).Seconds(), fig.Name, fig.lastLine())
		}
	}
	rep.conclude(f.seconds)
	if err := rep.print(os.Stdout, f); err != nil {
		return err
	}
	if failed := rep.failed(); len(failed) > 0 {
		return fmt.Errorf("these benchmarks failed or counted wrong: %s", strings.Join(failed, ", "))
	}
	return nil
}

// runOnce measures in a new process.
func runOnce(ctx context.Context, self string, o order) (result, error) {
	var r result
	dir, err := os.MkdirTemp(o.Dir, "run-")
	if err != nil {
		return r, fmt.Errorf("making the directory of the run: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	o.Dir = dir
	text, err := json.Marshal(o)
	if err != nil {
		return r, fmt.Errorf("saying what to measure: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "measure", string(text))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var stderr tail
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("%w: %s", err, stderr.text())
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("reading the result: %w", err)
	}
	return r, nil
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

const maxTail = 4 << 10

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	if n := len(t.b) - maxTail; n > 0 {
		t.b = slices.Delete(t.b, 0, n)
	}
	return len(b), nil
}

func (t *tail) text() string { return strings.TrimSpace(string(t.b)) }

func logf(format string, args ...any) { _, _ = fmt.Fprintf(os.Stderr, format, args...) }
