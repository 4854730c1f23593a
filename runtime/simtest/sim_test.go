// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	seedFlag      = flag.Uint64("seed", 0, "run this seed alone (TestSeed)")
	seedsFlag     = flag.Uint64("seeds", 300, "how many seeds to run (TestSeeds)")
	firstFlag     = flag.Uint64("first", 1, "the first seed (TestSeeds)")
	mutationsFlag = flag.Bool("mutations", false, "run TestMutations, which takes minutes with the race detector")
	mutationFlag  = flag.String("mutation", "", "run with this mutation (TestSeed, TestSeeds)")
)

// runSeeds runs n seeds on all cores and hands each result to f, one at a time. f says whether to go on.
func runSeeds(t *testing.T, first, n uint64, o Options, f func(Result) bool) {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // runs are small, and make much garbage
	var (
		next    atomic.Uint64
		stopped atomic.Bool
		mu      sync.Mutex
		wg      sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !stopped.Load() {
				i := next.Add(1) - 1
				if i >= n {
					return
				}
				r := Run(t.Context(), first+i, o)
				mu.Lock()
				if !stopped.Load() && !f(r) {
					stopped.Store(true)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// mostRelaxed is in one of how many seeds a user may have to give checkpoints more time.
const mostRelaxed = 2000

// TestSeeds runs many seeds. A failing one is replayed by TestSeed.
func TestSeeds(t *testing.T) {
	began := time.Now()
	var failed []Result
	var checkpoints, restores, versions, steps, runs, relaxed int
	runSeeds(t, *firstFlag, *seedsFlag, Options{Mutation: Mutation(*mutationFlag)}, func(r Result) bool {
		runs++
		checkpoints += r.Checkpoints
		restores += r.Restores
		versions += r.Versions
		steps += r.Steps
		if r.Relaxed {
			relaxed++
		}
		if r.Err != nil {
			failed = append(failed, r)
		}
		return len(failed) < 10
	})
	took := time.Since(began)
	t.Logf("%d seeds from %d in %v (%.0f a second): %d checkpoints, %d restores, %d versions, %d steps; in %d seeds checkpoints had to be given more time",
		runs, *firstFlag, took.Round(time.Millisecond), float64(runs)/took.Seconds(), checkpoints, restores, versions, steps, relaxed)
	if most := max(3, runs/mostRelaxed); relaxed > most {
		t.Errorf("in %d of %d seeds the job came to its end only when its checkpoints were given more time, want %d at most: that hides jobs that are stuck", relaxed, runs, most)
	}
	slices.SortFunc(failed, func(a, b Result) int { return int(a.Seed) - int(b.Seed) })
	for i, r := range failed {
		t.Errorf("seed %d: %v\nreplay: %s", r.Seed, r.Err, replay(r.Seed, Mutation(*mutationFlag)))
		if i < 3 {
			t.Logf("what happened last with seed %d:\n%s", r.Seed, lastLines(t, r.Seed, Mutation(*mutationFlag)))
		}
	}
}

// replay is the command that runs a seed again and prints all that happens.
func replay(seed uint64, m Mutation) string {
	cmd := fmt.Sprintf("go test ./runtime/simtest -run 'TestSeed$' -v -seed=%d", seed)
	if m != NoMutation {
		cmd += " -mutation=" + string(m)
	}
	return cmd
}

// lastLines runs a seed again for the end of its trace.
func lastLines(t *testing.T, seed uint64, m Mutation) string {
	t.Helper()
	trace := Run(t.Context(), seed, Options{Mutation: m, Trace: true}).Trace
	return strings.Join(trace[max(0, len(trace)-20):], "\n")
}

// TestSeed runs the seed given by -seed and prints what happened.
func TestSeed(t *testing.T) {
	if *seedFlag == 0 {
		t.Skip("no -seed is given")
	}
	r := Run(t.Context(), *seedFlag, Options{Mutation: Mutation(*mutationFlag), Trace: true})
	for _, line := range r.Trace {
		t.Log(line)
	}
	t.Logf("seed %d: %d steps in %v of virtual time, %d snapshots, %d restores, %d versions", r.Seed, r.Steps, r.Time, r.Checkpoints, r.Restores, r.Versions)
	if r.Err != nil {
		t.Errorf("seed %d: %v", r.Seed, r.Err)
	}
}

// maxMutationSeeds is within how many seeds each mutation has to be found.
const maxMutationSeeds = 2000

// TestMutations shows that the simulator finds mistakes: each mutation is caught by a seed that is clean without it, and the first one that does is printed.
func TestMutations(t *testing.T) {
	if !*mutationsFlag {
		t.Skip("it has a step of its own: make mutations")
	}
	for _, m := range Mutations() {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= maxMutationSeeds; seed++ {
				if r := Run(t.Context(), seed, Options{Mutation: m}); r.Err != nil {
					what, _, _ := strings.Cut(r.Err.Error(), "\n")
					if clean := Run(t.Context(), seed, Options{}); clean.Err != nil {
						t.Fatalf("%s: seed %d fails, and without the mutation as well: %v\nreplay: %s", m, seed, clean.Err, replay(seed, NoMutation))
					}
					t.Logf("%s: caught by seed %d: %s\nreplay: %s", m, seed, what, replay(seed, m))
					return
				}
			}
			t.Errorf("%s: NOT caught by %d seeds", m, maxMutationSeeds)
		})
	}
}

// TestRun_IsDeterministic runs some seeds twice: everything that happens has to be the same.
func TestRun_IsDeterministic(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		a := Run(t.Context(), seed, Options{Trace: true})
		b := Run(t.Context(), seed, Options{Trace: true})
		if d := cmp.Diff(a.Trace, b.Trace); d != "" {
			t.Fatalf("seed %d: two runs differ (-first +second):\n%s", seed, d)
		}
	}
}
