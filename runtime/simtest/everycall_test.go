// SPDX-License-Identifier: Apache-2.0

package simtest

import "testing"

// A job runs to its end, with checkpoints, and nothing goes wrong but one call of storage: each of those that its coordinator and its tasks make, in each way. All that
// must hold does, as in any other run: the output, what the head names, and what is left in storage.
func TestStorage_FaultAtEveryCall(t *testing.T) {
	t.Parallel()
	seeds := []uint64{lifeOf(t, true)}
	if !testing.Short() {
		seeds = append(seeds, lifeOf(t, false))
	}
	for _, fault := range storageFaults {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			for _, seed := range seeds {
				everyCall(t, seed, fault)
			}
		})
	}
}

// plainLife is a run in which nothing happens but what the job itself does.
func plainLife(t *testing.T, seed uint64) *world {
	t.Helper()
	w := newWorld(t.Context(), seed, Options{})
	w.faults = faultRates{between: w.faults.between, until: start}
	w.sweeps, w.pins = false, false
	return w
}

// lifeOf finds the seed of a plain life with some checkpoints, none of which may fail, and not too many calls.
func lifeOf(t *testing.T, incremental bool) uint64 {
	t.Helper()
	for seed := uint64(1); seed < 2000; seed++ {
		w := plainLife(t, seed)
		if s := w.scenario; s.volatile || s.rots != "" || s.rare || s.rewinds || s.endless || s.plain || s.incremental != incremental {
			continue
		}
		w.run()
		if w.failure != nil {
			t.Errorf("seed %d, nothing fails: %v", seed, w.failure)
		}
		if w.checkpoints >= 4 && w.versions == 1 && w.calls.n >= 60 && w.calls.n <= 150 && w.version.config.Checkpointing.TolerableFailures == 0 {
			return seed
		}
	}
	t.Fatal("no seed has such a life")
	return 0
}

// everyCall lets one call after the other fail, each in a run of its own.
func everyCall(t *testing.T, seed uint64, fault storageFault) {
	t.Helper()
	clean := plainLife(t, seed)
	clean.run()
	byTask, again := 0, 0
	for at := 1; ; at++ {
		w := plainLife(t, seed)
		w.calls.at, w.calls.fault = at, fault
		w.run()
		if !w.calls.hit {
			t.Logf("seed %d: %d calls, %d by tasks, for %d checkpoints; %d faults made the job start again", seed, at-1, byTask, clean.checkpoints, again)
			if at <= clean.calls.n || byTask < 15 || byTask > at-15 || again == 0 {
				t.Errorf("seed %d: %d calls, of which tasks made %d, and %d restarts are not those of a job with checkpoints", seed, at-1, byTask, again)
			}
			return
		}
		if w.failure != nil {
			t.Errorf("seed %d, call %d %s: %v", seed, at, fault, w.failure)
		}
		if w.calls.task {
			byTask++
		}
		if w.restores > clean.restores {
			again++
		}
	}
}
