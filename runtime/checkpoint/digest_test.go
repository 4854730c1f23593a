// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/record"
)

func TestSpreadOf(t *testing.T) {
	t.Parallel()
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[99-i] = int64(i + 1)
	}
	tests := map[string]struct {
		values []int64
		want   Spread
	}{
		"nothing":  {nil, Spread{}},
		"one":      {[]int64{7}, Spread{7, 7, 7, 7, 7, 7}},
		"two":      {[]int64{9, 1}, Spread{1, 5, 1, 9, 9, 9}},
		"three":    {[]int64{3, 1, 2}, Spread{1, 2, 2, 3, 3, 3}},
		"hundred":  {hundred, Spread{1, 50, 50, 95, 99, 100}},
		"an input": {[]int64{0, 0, 0, 8}, Spread{0, 2, 0, 8, 8, 8}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, SpreadOf(tc.values)); diff != "" {
				t.Errorf("spread (-want +got):\n%s", diff)
			}
		})
	}
	SpreadOf(hundred)
	if hundred[0] != 100 {
		t.Error("the input was sorted")
	}
}

func TestAdvice_TellsTheSignalsOfAShortInterval(t *testing.T) {
	t.Parallel()
	// a is a completed checkpoint of that duration, after that gap, with that start delay, in seconds.
	a := func(took, gap, start float64) Stats {
		return Stats{State: StateCompleted, Duration: sec(took), IdleGap: sec(gap), StartDelay: sec(start)}
	}
	slow := a(9, 20, 8)
	slow.Culprit = Culprit{Text: "sink/0 is slow"}
	savepoint := a(9, 0, 8)
	savepoint.Kind = record.Savepoint
	failed := a(9, 0, 8)
	failed.State = StateFailed
	tests := map[string]struct {
		o       Options
		history []Stats
		want    []string
	}{
		"all is well":              {Options{Interval: sec(30)}, []Stats{a(1, 29, 0), a(1, 29, 0), a(1, 29, 0)}, nil},
		"too few to tell":          {Options{Interval: sec(10)}, []Stats{a(20, 0, 0), a(20, 0, 0)}, nil},
		"on demand only":           {Options{}, []Stats{a(20, 0, 0), a(20, 0, 0), a(20, 0, 0)}, nil},
		"savepoints don't count":   {Options{Interval: sec(5)}, []Stats{savepoint, savepoint, savepoint}, nil},
		"failed ones don't count":  {Options{Interval: sec(5)}, []Stats{failed, failed, failed}, nil},
		"fast ones without a gap":  {Options{Interval: time.Millisecond}, []Stats{a(0, 0, 0), a(0, 0, 0), a(0, 0, 0)}, nil},
		"a start delay too small":  {Options{Interval: sec(10)}, []Stats{a(1, 9, 0.9), a(1, 9, 0.9), a(1, 9, 0.9)}, nil},
		"one slow one of several":  {Options{Interval: sec(10)}, []Stats{a(1, 9, 0.1), a(1, 9, 0.1), slow}, nil},
		"first ones have no gap":   {Options{Interval: sec(30)}, []Stats{a(9, -1, 0), a(9, -1, 0), a(9, -1, 0)}, nil},
		"longer than the interval": {Options{Interval: sec(10)}, []Stats{a(12, 0, 0), a(12, 0, 0), a(12, 0, 0)}, []string{"checkpoints take 12s (median), longer than the interval of 10s: raise checkpointing.interval, or set checkpointing.minPause to leave the job time between them"}},
		"hardly a gap": {Options{Interval: sec(10)}, []Stats{a(9, 1, 0), a(9, 1, 0), a(9, 1, 0)}, []string{
			"the gap between checkpoints is 1s and a checkpoint takes 9s (medians), so that one is in flight most of the time: raise checkpointing.interval (10s), or set checkpointing.minPause",
		}},
		"barriers are late": {Options{Interval: sec(60)}, []Stats{slow, slow, slow}, []string{
			"barriers take 8s (median) to reach the tasks, most of the 9s of a checkpoint: the job can't keep up, last because sink/0 is slow; give the slow operator more parallelism, or let barriers overtake (checkpointing.alignment.mode AlignedThenUnaligned)",
		}},
		"barriers are late though they overtake": {Options{Interval: sec(60), Unaligned: true}, []Stats{slow, slow, slow}, []string{
			"barriers take 8s (median) to reach the tasks, most of the 9s of a checkpoint: the job can't keep up, last because sink/0 is slow; give the slow operator more parallelism",
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, advice(&tc.o, tc.history)); diff != "" {
				t.Errorf("advice (-want +got):\n%s", diff)
			}
		})
	}
}
