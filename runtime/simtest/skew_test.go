// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Clocks that differ make no difference: all happens at the same time as with one clock, to the nanosecond. Left out are seeds with timers of processing time, which are due by the clock of the
// machine, and with sweepers, which judge the age of objects by their own.
func TestSkew_ChangesNothing(t *testing.T) {
	t.Parallel()
	compared := 0
	for seed := uint64(1); seed <= 60; seed++ {
		w := newWorld(t.Context(), seed, Options{})
		if w.skews.off || w.scenario.timed() || w.sweeps {
			continue
		}
		with, without := Run(t.Context(), seed, Options{Trace: true}), Run(t.Context(), seed, Options{Trace: true, OneClock: true})
		compared++
		if with.Err != nil || without.Err != nil {
			t.Errorf("seed %d: %v, with one clock %v", seed, with.Err, without.Err)
		}
		if d := cmp.Diff(without.Trace, with.Trace); d != "" {
			t.Fatalf("seed %d: a run differs from that with one clock (-one +differing):\n%s", seed, d)
		}
	}
	if compared < 15 {
		t.Errorf("only %d seeds were compared", compared)
	}
}

// Clocks are off by anything up to ten minutes, to either side, those of each process by something else, and in some runs not at all.
func TestSkew_IsOfEachProcess(t *testing.T) {
	t.Parallel()
	one, ahead, behind := 0, 0, 0
	for seed := uint64(1); seed <= 100; seed++ {
		w := newWorld(t.Context(), seed, Options{})
		w.begin()
		p := []time.Duration{w.store.skew, w.version.leads.p.skew, w.workers[0].p.skew}
		if w.skews.off {
			one++
			if p[0] != 0 || p[1] != 0 || p[2] != 0 {
				t.Errorf("seed %d has one clock, and offsets of %v", seed, p)
			}
			continue
		}
		if p[0] == p[1] || p[1] == p[2] || p[0] == p[2] {
			t.Errorf("seed %d: two clocks are the same: %v", seed, p)
		}
		for _, d := range p {
			if d < -maxSkew || d > maxSkew {
				t.Errorf("seed %d: a clock is off by %v", seed, d)
			}
			if d > maxSkew/2 {
				ahead++
			}
			if d < -maxSkew/2 {
				behind++
			}
		}
		if now := w.version.leads.now(); now.Sub(w.clock.now) != p[1] {
			t.Errorf("seed %d: the coordinator is told that it is %v at %v", seed, now, w.clock.now)
		}
	}
	if one < 10 || one > 50 || ahead < 20 || behind < 20 {
		t.Errorf("of 100 seeds %d have one clock, %d clocks are far ahead, %d far behind", one, ahead, behind)
	}
}
