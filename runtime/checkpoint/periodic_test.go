// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"math/rand/v2"
	"testing"
	"time"
)

// The first periodic trigger comes after a random delay within [minPause, interval], which spreads the checkpoints of many jobs; those after it come at a fixed rate.
func TestCoordinator_FirstTriggerIsSpreadOverTheInterval(t *testing.T) {
	t.Parallel()
	const seeds = 100
	tests := map[string]struct{ interval, minPause, low, high time.Duration }{
		"an interval":          {interval: 10 * time.Second, low: 0, high: 10 * time.Second},
		"with a pause":         {interval: 10 * time.Second, minPause: 4 * time.Second, low: 4 * time.Second, high: 10 * time.Second},
		"the pause is longer":  {interval: time.Second, minPause: 3 * time.Second, low: 3 * time.Second, high: 3 * time.Second},
		"the pause is as long": {interval: 3 * time.Second, minPause: 3 * time.Second, low: 3 * time.Second, high: 3 * time.Second},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			delays, lower, upper := map[time.Duration]bool{}, 0, 0
			for seed := range uint64(seeds) {
				s := &script{now: scriptStart}
				c, err := New(Options{
					JobID: "j", MaxParallelism: 128, Durable: true, Dir: "jobs/j/", Rand: rand.New(rand.NewPCG(seed, 1)), Interval: tc.interval, MinPause: tc.minPause, TolerableFailures: 9,
					Vertices: []Vertex{{Name: "src", Parallelism: 1, Operators: []string{"src"}}},
				}, s.head)
				if err != nil {
					t.Fatal(err)
				}
				c.Start(scriptStart, s.attempt, nil)
				c.HandleHeadUpdated(scriptStart, reservation(t, c))
				at, ok := c.NextWake()
				if !ok {
					t.Fatalf("seed %d: no trigger is to come", seed)
				}
				d := at.Sub(scriptStart)
				if d < tc.low || d > tc.high {
					t.Errorf("seed %d: the first trigger comes after %v, want within %v and %v", seed, d, tc.low, tc.high)
				}
				delays[d] = true
				if d < (tc.low+tc.high)/2 {
					lower++
				} else {
					upper++
				}
				if n := triggers(c, at.Add(-1)); n != 0 {
					t.Errorf("seed %d: %d triggers before %v", seed, n, d)
				}
				if n := triggers(c, at); n != 1 {
					t.Errorf("seed %d: %d triggers at %v, want 1", seed, n, d)
				}
				if next, _ := c.NextWake(); next.Sub(at) != max(tc.interval, tc.minPause) {
					t.Errorf("seed %d: the next one comes %v after the first", seed, next.Sub(at))
				}
			}
			if tc.low == tc.high {
				return
			}
			if len(delays) < 2 || lower < seeds/5 || upper < seeds/5 {
				t.Errorf("%d different delays, %d in the lower half, %d in the upper: that isn't random", len(delays), lower, upper)
			}
		})
	}
}

// reservation is the token of the change of the head that reserves ids.
func reservation(t *testing.T, c *Coordinator) int64 {
	t.Helper()
	for _, e := range c.Effects() {
		if u, ok := e.(UpdateHead); ok && u.ReserveUntil > 0 {
			return u.Token
		}
	}
	t.Fatal("no ids are reserved")
	return 0
}

// triggers counts the snapshots that begin when time passes.
func triggers(c *Coordinator, now time.Time) int {
	c.HandleTime(now)
	n := 0
	for _, e := range c.Effects() {
		if _, ok := e.(Trigger); ok {
			n++
		}
	}
	return n
}
