// SPDX-License-Identifier: Apache-2.0

package state

import (
	"math"
	"testing"
	"time"
)

// TestPace_SpreadsWhatIsNotFree writes ten parts, each of a tenth of a second if it is paced, that take a certain time to write.
func TestPace_SpreadsWhatIsNotFree(t *testing.T) {
	const part = 10 << 20
	for name, tc := range map[string]struct {
		pace Pace
		each time.Duration
		want time.Duration
	}{
		"no bound":              {Pace{Most: time.Hour}, time.Millisecond, 10 * time.Millisecond},
		"fewer bytes than free": {Pace{Free: 10 * part, Rate: 1, Most: time.Hour}, time.Millisecond, 10 * time.Millisecond},
		"some free":             {Pace{Free: 4 * part, Rate: 10 * part, Most: time.Hour}, time.Millisecond, 501 * time.Millisecond},
		"none free":             {Pace{Rate: 10 * part, Most: time.Hour}, time.Millisecond, 901 * time.Millisecond},
		"not for that long":     {Pace{Rate: 10 * part, Most: 250 * time.Millisecond}, time.Millisecond, 260 * time.Millisecond},
		"a slower storage":      {Pace{Rate: 10 * part, Most: time.Hour}, 200 * time.Millisecond, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Unix(100, 0)
			now := start
			for range 10 {
				now = now.Add(tc.pace.Wait(now, part)).Add(tc.each)
			}
			if took := now.Sub(start); took != tc.want {
				t.Errorf("took %v, want %v", took, tc.want)
			}
		})
	}
}

// TestPace_HoldsForTerabytes looks at sizes whose products would not fit.
func TestPace_HoldsForTerabytes(t *testing.T) {
	now := time.Unix(100, 0)
	p := Pace{Free: 1 << 20, Rate: 1 << 28, Most: 1 << 62}
	p.Wait(now, 1<<20)
	p.Wait(now, math.MaxInt32)
	p.bytes = 1<<20 + 1<<42
	if d, want := p.Wait(now, 1), (1<<14)*time.Second; d != want {
		t.Errorf("waits %v, want %v", d, want)
	}
}
