// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/stream"
	"github.com/weir-stream/weir/runtime/task/tasktest"
)

// visitsOf runs the job on the lines, spread over several files, and returns the lines of its output, sorted.
func visitsOf(t *testing.T, lines []string, parallelism int) []string {
	t.Helper()
	c := config{in: t.TempDir(), out: t.TempDir(), gap: 10 * time.Second, outOfOrder: time.Hour}
	for i := range 5 {
		var part strings.Builder
		for k := i; k < len(lines); k += 5 {
			fmt.Fprintln(&part, lines[k])
		}
		if err := os.WriteFile(filepath.Join(c.in, fmt.Sprint("part", i)), []byte(part.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g, err := stream.Build(describe(c))(contract.JobConfig{})
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Run(t, g, parallelism)
	written, err := filepath.Glob(filepath.Join(c.out, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range written {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, slices.Collect(strings.Lines(string(text)))...)
	}
	slices.Sort(out)
	return out
}

func TestSessions_FindsVisits(t *testing.T) {
	t.Parallel()
	lines := []string{
		"1000 ann /", "2000 bob /shop", "9000 ann /shop", "no view at all", "30000 ann /", "500 ann /early", "39999 ann /end",
	}
	want := []string{
		`{"user":"ann","start":30000,"seconds":9,"views":2,"first":"/","last":"/end"}` + "\n",
		`{"user":"ann","start":500,"seconds":8,"views":3,"first":"/early","last":"/shop"}` + "\n",
		`{"user":"bob","start":2000,"seconds":0,"views":1,"first":"/shop","last":"/shop"}` + "\n",
	}
	for _, p := range []int{1, 3} {
		if diff := cmp.Diff(want, visitsOf(t, lines, p)); diff != "" {
			t.Errorf("parallelism %d: visits (-want +got):\n%s", p, diff)
		}
	}
}

// TestSessions_AnyOrderAndParallelism has the same views in other orders make the same visits.
func TestSessions_AnyOrderAndParallelism(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 1))
	var lines []string
	for i, at := range rnd.Perm(600_000)[:2000] {
		lines = append(lines, fmt.Sprintf("%d user%d /page%d", 100_000+at, rnd.IntN(20), i))
	}
	want := visitsOf(t, lines, 1)
	if len(want) < 100 {
		t.Fatalf("only %d visits", len(want))
	}
	rnd.Shuffle(len(lines), func(i, k int) { lines[i], lines[k] = lines[k], lines[i] })
	if diff := cmp.Diff(want, visitsOf(t, lines, 2)); diff != "" {
		t.Errorf("visits (-want +got):\n%s", diff)
	}
}
