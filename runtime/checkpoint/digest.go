// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/record"
)

// Spread is the distribution of a quantity over snapshots. Percentiles are values that occurred (nearest rank).
type Spread struct {
	Min, Avg, P50, P95, P99, Max int64
}

// SpreadOf returns the distribution of values; the zero Spread if there are none.
func SpreadOf(values []int64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Clone(values)
	slices.Sort(v)
	sum := int64(0)
	for _, x := range v {
		sum += x
	}
	rank := func(percent int) int64 { return v[max((len(v)*percent+99)/100, 1)-1] }
	return Spread{Min: v[0], Avg: sum / int64(len(v)), P50: rank(50), P95: rank(95), P99: rank(99), Max: v[len(v)-1]}
}

const (
	// enough is how many checkpoints have to have completed before they tell something of the settings.
	enough = 3
	// noticeable is the shortest delay that is worth a word.
	noticeable = time.Second
)

// Advice says what the last checkpoints tell of the settings: whether the interval leaves the job time between them, and whether
// barriers get through. It holds sentences for people, each with what to do; empty if there is nothing to say.
func (c *Coordinator) Advice() []string { return advice(&c.o, c.history) }

func advice(o *Options, history []Stats) []string {
	var took, gaps, starts []int64
	var newest *Stats
	for i := range history {
		s := &history[i]
		if s.Kind != record.Checkpoint || s.State != StateCompleted {
			continue
		}
		newest = s
		took, starts = append(took, int64(s.Duration)), append(starts, int64(s.StartDelay))
		if s.IdleGap >= 0 {
			gaps = append(gaps, int64(s.IdleGap))
		}
	}
	if len(took) < enough || o.Interval <= 0 {
		return nil
	}
	var out []string
	duration, gap, start := time.Duration(SpreadOf(took).P50), time.Duration(SpreadOf(gaps).P50), time.Duration(SpreadOf(starts).P50)
	switch {
	case duration >= o.Interval:
		out = append(out, fmt.Sprintf("checkpoints take %v (median), longer than the interval of %v: raise checkpointing.interval, or set "+
			"checkpointing.minPause to leave the job time between them", round(duration), o.Interval))
	case len(gaps) >= enough && 4*gap < duration:
		out = append(out, fmt.Sprintf("the gap between checkpoints is %v and a checkpoint takes %v (medians), so that one is in flight most of the time: "+
			"raise checkpointing.interval (%v), or set checkpointing.minPause", round(gap), round(duration), o.Interval))
	}
	if start >= noticeable && 2*start > duration {
		text := fmt.Sprintf("barriers take %v (median) to reach the tasks, most of the %v of a checkpoint: the job can't keep up", round(start), round(duration))
		if newest.Culprit.Text != "" {
			text += ", last because " + newest.Culprit.Text
		}
		text += "; give the slow operator more parallelism"
		if !o.Unaligned {
			text += ", or let barriers overtake (checkpointing.alignment.mode AlignedThenUnaligned)"
		}
		out = append(out, text)
	}
	return out
}
