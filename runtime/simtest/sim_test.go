// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"flag"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	seedFlag     = flag.Uint64("seed", 0, "run this seed alone (TestSeed)")
	seedsFlag    = flag.Uint64("seeds", 300, "how many seeds to run (TestSeeds)")
	firstFlag    = flag.Uint64("first", 1, "the first seed (TestSeeds)")
	mutationFlag = flag.String("mutation", "", "run with this mutation (TestSeed, TestSeeds)")
)

// runSeeds runs n seeds on all cores and hands each result to f, one at a time. f says whether to go on.
func runSeeds(t *testing.T, first, n uint64, o Options, f func(Result) bool) {
	t.Helper()
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

// TestSeeds runs many seeds. A failing one is replayed by TestSeed.
func TestSeeds(t *testing.T) {
	began := time.Now()
	var failed []Result
	var checkpoints, restores, versions, steps, runs int
	runSeeds(t, *firstFlag, *seedsFlag, Options{Mutation: Mutation(*mutationFlag)}, func(r Result) bool {
		runs++
		checkpoints += r.Checkpoints
		restores += r.Restores
		versions += r.Versions
		steps += r.Steps
		if r.Err != nil {
			failed = append(failed, r)
		}
		return len(failed) < 10
	})
	took := time.Since(began)
	t.Logf("%d seeds from %d in %v (%.0f a second): %d checkpoints, %d restores, %d versions, %d steps",
		runs, *firstFlag, took.Round(time.Millisecond), float64(runs)/took.Seconds(), checkpoints, restores, versions, steps)
	slices.SortFunc(failed, func(a, b Result) int { return int(a.Seed) - int(b.Seed) })
	for _, r := range failed {
		t.Errorf("seed %d: %v\nreplay: go test ./runtime/simtest -run 'TestSeed$' -seed=%d -v", r.Seed, r.Err, r.Seed)
	}
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

// TestMutations shows that the simulator finds mistakes: each mutation is caught, and the seed is printed.
func TestMutations(t *testing.T) {
	for _, m := range Mutations() {
		t.Run(string(m), func(t *testing.T) {
			runs := 0
			var caught *Result
			runSeeds(t, 1, maxMutationSeeds, Options{Mutation: m}, func(r Result) bool {
				runs++
				if r.Err != nil {
					caught = &r
				}
				return caught == nil
			})
			if caught == nil {
				t.Fatalf("%d seeds didn't find it", runs)
			}
			t.Logf("found by seed %d, the %d. run: %v\nreplay: go test ./runtime/simtest -run 'TestSeed$' -seed=%d -mutation=%s -v",
				caught.Seed, runs, caught.Err, caught.Seed, m)
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
