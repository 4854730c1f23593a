// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
)

func TestKeyGen(t *testing.T) {
	const keys, draws = 16, 160_000
	gen := newKeyGen(0, keys)
	got := make([]int64, draws)
	sum := gen.fill(got)
	counts, want := [keys]int{}, int64(0)
	for _, k := range got {
		counts[k]++
		want += k
	}
	if sum != want {
		t.Errorf("fill says that the sum is %d, but it is %d", sum, want)
	}
	for k, n := range counts {
		if n < draws/keys*9/10 || n > draws/keys*11/10 {
			t.Errorf("key %d was drawn %d times of %d", k, n, draws)
		}
	}
	again := newKeyGen(0, keys)
	parts := make([]int64, 0, draws)
	for len(parts) < draws {
		more := make([]int64, min(700, draws-len(parts)))
		again.fill(more)
		parts = append(parts, more...)
	}
	if diff := cmp.Diff(got, parts); diff != "" {
		t.Errorf("in portions other keys come out:\n%s", diff)
	}
}

func TestBareLoop(t *testing.T) {
	r, err := bareLoop(5_000, 50*time.Millisecond)
	if err != nil || r.Records == 0 || r.Rate == 0 {
		t.Errorf("result %+v, error %v", r, err)
	}
}

func TestTotal_Check(t *testing.T) {
	emitted := mark{Rows: 10, Sum: 35}
	tests := map[string]struct {
		total total
		want  string
	}{
		"right":         {total{distinct: 4, rows: 10, sum: 35}, ""},
		"a record lost": {total{distinct: 4, rows: 9, sum: 35}, "add up to 9 records, but the sources emitted 10"},
		"a wrong key":   {total{distinct: 4, rows: 10, sum: 34}, "other keys"},
		"too many keys": {total{distinct: 5, rows: 10, sum: 35}, "there are only 4"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) { wantError(t, tc.total.check(emitted, 4), tc.want) })
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("unexpected error: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v does not say %q", err, want)
	}
}

func TestCheckChain(t *testing.T) {
	emitted := []mark{{Rows: 5000}, {Rows: 1024}}
	passed := int64(0)
	for i, m := range emitted {
		keys := make([]int64, m.Rows)
		gen := newKeyGen(i, chainKeys)
		gen.fill(keys)
		for _, k := range keys {
			if (k+1)%4 != 0 {
				passed++
			}
		}
	}
	wantError(t, checkChain(emitted, mark{Rows: passed}), "")
	wantError(t, checkChain(emitted, mark{Rows: passed - 1}), "the sinks took")
}

func TestCountWords(t *testing.T) {
	got := map[string]int64{}
	countWords(got, []byte("The cat,\nthe_hat 4you\nétat"))
	want := map[string]int64{"the": 2, "cat": 1, "hat": 1, "you": 1, "tat": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("words (-want +got):\n%s", diff)
	}
}

func TestScenarios_Build(t *testing.T) {
	for _, s := range scenarios {
		if s.bare {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			g, err := build(s.config(t.TempDir(), t.TempDir()))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := graph.NewPlan(g, graph.Options{Parallelism: parallelism, MaxParallelism: s.keyGroups}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A job runs, its result is right, and the check would notice if it weren't.
func TestMeasurement_Count(t *testing.T) {
	s, err := scenarioOf("count-10k")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	m := &measurement{s: s, seconds: 0.2, dir: dir}
	r, err := m.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Records == 0 || r.Rate == 0 || r.Seconds < 0.1 {
		t.Errorf("result %+v", r)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("state directories: %v, error %v", files, err)
	}
	back, err := openLast(t.Context(), dir+"/"+files[0].Name())
	if err != nil {
		t.Fatal(err)
	}
	defer back.close()
	sources, err := back.marks("source")
	if err != nil {
		t.Fatal(err)
	}
	all := addMarks(sources)
	wantError(t, checkCount(t.Context(), back, s.keys, all, all), "")
	wrong := all
	wrong.Sum++
	wantError(t, checkCount(t.Context(), back, s.keys, wrong, all), "other keys")
	wrong = all
	wrong.Rows++
	wantError(t, checkCount(t.Context(), back, s.keys, wrong, all), "add up to")
	wantError(t, checkCount(t.Context(), back, s.keys, all, wrong), "the sinks took")
}

// TestLeft has turns of 10, 8, 10 and so on, which get slower from one to the next.
func TestLeft(t *testing.T) {
	if got := left([]float64{10, 7.2, 8, 5.6, 6}); math.Abs(got-0.8) > 1e-9 {
		t.Errorf("%v is left, want 0.8", got)
	}
}

// A job that takes turns has the checkpoints that were asked for, and its result is checked as that of others.
func TestMeasurement_Turns(t *testing.T) {
	m := &measurement{s: &scenario{name: "turns-1m-1s", keys: 10_000, turns: 500 * time.Millisecond}, seconds: 0.1, dir: t.TempDir()}
	r, err := m.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Left <= 0 || r.Records == 0 || r.Checkpoints < warmUpCheckpoints+1 {
		t.Errorf("result %+v", r)
	}
}

func TestOpenLast_Nothing(t *testing.T) {
	_, err := openLast(t.Context(), t.TempDir())
	wantError(t, err, "the run left none")
}

func TestReport(t *testing.T) {
	a, err := scenarioOf("count-1m")
	if err != nil {
		t.Fatal(err)
	}
	b, err := scenarioOf("bare-1m")
	if err != nil {
		t.Fatal(err)
	}
	r := &report{Runs: 3, Seconds: 30, Figures: []*figure{newFigure(a), newFigure(b)}}
	for i, v := range []float64{30e6, 10e6, 18e6} {
		r.Figures[0].add(result{Rate: v, Checkpoints: 24, SyncMedian: 1, SyncMax: 7}, nil)
		if i == 1 {
			r.Figures[1].add(result{}, os.ErrDeadlineExceeded)
			continue
		}
		r.Figures[1].add(result{Rate: 40e6}, nil)
	}
	r.conclude(30)
	var out strings.Builder
	if err := r.print(&out, flags{markdown: true}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| SDK keyed count, 1 M keys | 18 M records/s | 10 M–30 M | ≥ 20 M | 90 % |",
		"| Bare loop, 1 M keys | 40 M records/s | 40 M–40 M |  | 1 runs failed |",
		"| Keyed count, 1 M keys, to the bare loop | 0.6 | 0.45–0.75 | ≥ 0.5 | yes |",
		"longest | 7 ms | 7–7 | ≤ 5 ms | 71 % |",
		"| 24 checkpoints | 24–24 | ≥ 25 checkpoints | 96 % |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if diff := cmp.Diff([]string{"bare-1m"}, r.failed()); diff != "" {
		t.Errorf("failed (-want +got):\n%s", diff)
	}
}

func TestScenario_Config(t *testing.T) {
	for _, s := range scenarios {
		cfg := s.config("dir", "input")
		if (cfg.Checkpointing == nil) != s.noCheckpoints || cfg.Storage == nil {
			t.Errorf("%s: checkpointing %v, storage %v", s.name, cfg.Checkpointing, cfg.Storage)
		}
		want := time.Second
		if s.interval > 0 {
			want = s.interval
		}
		if s.turns > 0 {
			want = never
		}
		if cfg.Checkpointing != nil && cfg.Checkpointing.Interval != contract.Duration(want) {
			t.Errorf("%s: interval %v", s.name, cfg.Checkpointing.Interval)
		}
	}
}
