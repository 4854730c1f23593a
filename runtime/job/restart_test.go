// SPDX-License-Identifier: Apache-2.0

package job

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

func dur(d time.Duration) contract.Duration { return contract.Duration(d) }

// final marks a failure that no restart follows.
const final = time.Duration(-1)

func TestStrategy(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		config        contract.Restart
		checkpointing bool
		// failures happen at these times; want are the delays that follow.
		failures, want []time.Duration
	}{
		"without checkpointing the first failure is final": {failures: []time.Duration{0}, want: []time.Duration{final}},
		"none is none even with checkpointing": {
			config: contract.Restart{None: &struct{}{}}, checkpointing: true, failures: []time.Duration{0}, want: []time.Duration{final},
		},
		"with checkpointing it is the exponential delay": {
			checkpointing: true, failures: []time.Duration{0}, want: []time.Duration{time.Second},
		},
		"fixed delay is unlimited by default": {
			config:   contract.Restart{FixedDelay: &contract.FixedDelay{}},
			failures: []time.Duration{0, 1, 2, 3, 4}, want: []time.Duration{time.Second, time.Second, time.Second, time.Second, time.Second},
		},
		"fixed delay counts over the life of the job": {
			config:   contract.Restart{FixedDelay: &contract.FixedDelay{Attempts: new(2), Delay: dur(5 * time.Second)}},
			failures: []time.Duration{0, time.Hour, 1000 * time.Hour}, want: []time.Duration{5 * time.Second, 5 * time.Second, final},
		},
		"fixed delay of no attempts": {
			config: contract.Restart{FixedDelay: &contract.FixedDelay{Attempts: new(0)}}, failures: []time.Duration{0}, want: []time.Duration{final},
		},
		"failure rate tolerates one a minute by default": {
			config:   contract.Restart{FailureRate: &contract.FailureRate{}},
			failures: []time.Duration{0, 61 * time.Second, 100 * time.Second}, want: []time.Duration{time.Second, time.Second, final},
		},
		"failure rate forgets what is older than the interval": {
			config:   contract.Restart{FailureRate: &contract.FailureRate{MaxFailures: 2, Interval: dur(10 * time.Second), Delay: dur(time.Millisecond)}},
			failures: []time.Duration{0, 5 * time.Second, 11 * time.Second, 12 * time.Second},
			want:     []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond, final},
		},
		"exponential delay grows up to its bound": {
			config:   contract.Restart{ExponentialDelay: &contract.ExponentialDelay{Multiplier: 2, MaxDelay: dur(5 * time.Second), Jitter: new(0.0)}},
			failures: []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second, 40 * time.Second},
			want:     []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second},
		},
		"exponential delay starts over after a quiet time": {
			config: contract.Restart{ExponentialDelay: &contract.ExponentialDelay{
				Multiplier: 3, ResetAfter: dur(time.Minute), MaxDelay: dur(time.Hour), Jitter: new(0.0),
			}},
			// The quiet time is counted from the end of the last delay.
			failures: []time.Duration{0, 60 * time.Second, 123 * time.Second, 180 * time.Second},
			want:     []time.Duration{time.Second, 3 * time.Second, time.Second, 3 * time.Second},
		},
		"exponential delay with attempts": {
			config: contract.Restart{ExponentialDelay: &contract.ExponentialDelay{
				Multiplier: 2, ResetAfter: dur(time.Minute), Jitter: new(0.0), Attempts: new(2),
			}},
			failures: []time.Duration{0, 2 * time.Second, 5 * time.Second}, want: []time.Duration{time.Second, 2 * time.Second, final},
		},
		"exponential delay does not overflow": {
			config:   contract.Restart{ExponentialDelay: &contract.ExponentialDelay{Multiplier: 1e300, Jitter: new(0.0)}},
			failures: []time.Duration{0, 1, 2, 3},
			want:     []time.Duration{time.Second, time.Minute, time.Minute, time.Minute},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := NewStrategy(tc.config, tc.checkpointing)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			var c snapshot.RestartCounters
			var got []time.Duration
			for _, at := range tc.failures {
				var d Decision
				// The jitter of a source that yields the middle is none.
				d, c = s.Failed(start.Add(at), c, rand.New(middle{}))
				if !d.Restart {
					if d.Why == "" {
						t.Error("a final failure without a reason")
					}
					d.Delay = final
				}
				got = append(got, d.Delay.Round(time.Millisecond))
			}
			if tc.want[len(tc.want)-1] == final {
				got[len(got)-1] = final
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("delays (-want +got):\n%s", diff)
			}
		})
	}
}

// middle is a source whose floating-point numbers are one half.
type middle struct{}

func (middle) Uint64() uint64 { return 1 << 52 }

func TestStrategy_JitterStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	s, err := NewStrategy(contract.Restart{ExponentialDelay: &contract.ExponentialDelay{Jitter: new(0.5), InitialDelay: dur(10 * time.Second)}}, true)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	low, high := time.Hour, time.Duration(0)
	for range 1000 {
		d, _ := s.Failed(time.Unix(0, 0), snapshot.RestartCounters{}, rnd)
		low, high = min(low, d.Delay), max(high, d.Delay)
	}
	if low < 5*time.Second || high > 15*time.Second || low > 6*time.Second || high < 14*time.Second {
		t.Errorf("delays were within %v and %v, want about 5s to 15s", low, high)
	}
}

// A coordinator takes over from one whose clock is ahead of its own. What failed there has failed by now, and is forgotten after the interval, and not after the interval and the difference.
func TestMachine_FailuresOfAClockThatIsAheadAgeFromTheClaim(t *testing.T) {
	t.Parallel()
	now, ahead := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), 20*time.Minute
	r := contract.Restart{FailureRate: &contract.FailureRate{MaxFailures: 1, Interval: dur(time.Minute)}}
	m, err := New(Options{
		Config: contract.JobConfig{Name: "job", JobID: "j", Checkpointing: &contract.Checkpointing{Interval: dur(time.Hour)}, Restart: r}, Owner: "b", Dir: "dir/", Rand: rand.New(middle{}), Grant: 1,
		Plan:    Plan{MaxParallelism: 128, Vertices: []Vertex{{Name: "src", Parallelism: 1, Operators: []string{"src"}}}},
		Restore: func(*snapshot.Manifest, string) (map[protocol.TaskID]protocol.TaskDeployment, error) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	old := now.Add(-time.Hour)
	found := snapshot.Head{
		JobID: "j", Owner: "a", Epoch: snapshot.Epoch{Grant: 1, N: 1}, Seq: 7,
		Restarts: snapshot.RestartCounters{Total: 2, LastFailure: now.Add(ahead), Failures: []time.Time{old, now.Add(ahead)}},
	}
	m.HandleStart(now)
	m.HandleHeadRead(now, found, true, nil)
	var claimed *snapshot.Head
	for _, e := range m.Effects() {
		if s, ok := e.(SwapHead); ok {
			claimed = &s.Head
		}
	}
	if claimed == nil {
		t.Fatal("the head wasn't claimed")
	}
	want := snapshot.RestartCounters{Total: 2, LastFailure: now, Failures: []time.Time{old, now}}
	if d := cmp.Diff(want, claimed.Restarts); d != "" {
		t.Errorf("counters (-want +got):\n%s", d)
	}
	if !found.Restarts.Failures[1].Equal(now.Add(ahead)) {
		t.Error("the head that was read has been changed")
	}
	s, err := NewStrategy(r, true)
	if err != nil {
		t.Fatal(err)
	}
	if d, _ := s.Failed(now.Add(30*time.Second), claimed.Restarts, nil); d.Restart {
		t.Error("a second failure within the interval is to be final")
	}
	if d, _ := s.Failed(now.Add(61*time.Second), claimed.Restarts, nil); !d.Restart {
		t.Errorf("a failure after the interval is to be followed by a restart: %s", d.Why)
	}
}

func TestNewStrategy_Refuses(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]contract.Restart{
		"two at once":         {None: &struct{}{}, FixedDelay: &contract.FixedDelay{}},
		"negative attempts":   {FixedDelay: &contract.FixedDelay{Attempts: new(-1)}},
		"multiplier below 1":  {ExponentialDelay: &contract.ExponentialDelay{Multiplier: 0.5}},
		"jitter above 1":      {ExponentialDelay: &contract.ExponentialDelay{Jitter: new(1.5)}},
		"bound below initial": {ExponentialDelay: &contract.ExponentialDelay{InitialDelay: dur(time.Hour)}},
		"too many failures":   {FailureRate: &contract.FailureRate{MaxFailures: 5000}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := NewStrategy(r, true); err == nil || !strings.Contains(err.Error(), "restart") {
				t.Errorf("got %v, want an error about the restart strategy", err)
			}
		})
	}
}
