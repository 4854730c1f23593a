// SPDX-License-Identifier: Apache-2.0

package job

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// Decision is what follows a failure.
type Decision struct {
	// Restart after Delay; else the failure is final and Why says why.
	Restart bool
	Delay   time.Duration
	Why     string
}

// Strategy decides what follows a failure. It is a value without state: the counters are the head's.
type Strategy interface {
	// Failed returns the decision and the counters to keep; it doesn't change c.
	Failed(now time.Time, c snapshot.RestartCounters, rnd *rand.Rand) (Decision, snapshot.RestartCounters)
}

// NewStrategy returns the strategy that the configuration asks for. Without one it is none for a job without checkpoints, else the
// exponential delay.
func NewStrategy(r contract.Restart, checkpointing bool) (Strategy, error) {
	set := 0
	var s Strategy = noRestart{}
	if r.None != nil {
		set++
	}
	if r.FixedDelay != nil {
		set++
		s = fixedDelay{attempts: r.FixedDelay.Attempts, delay: orDefault(r.FixedDelay.Delay, time.Second)}
	}
	if r.FailureRate != nil {
		set++
		f := r.FailureRate
		s = failureRate{maxFailures: max(f.MaxFailures, 0), interval: orDefault(f.Interval, time.Minute), delay: orDefault(f.Delay, time.Second)}
		if f.MaxFailures == 0 {
			s = failureRate{maxFailures: 1, interval: orDefault(f.Interval, time.Minute), delay: orDefault(f.Delay, time.Second)}
		}
	}
	if r.ExponentialDelay != nil {
		set++
		s = newExponential(*r.ExponentialDelay)
	}
	if set > 1 {
		return nil, fmt.Errorf("checking the restart strategy: %d are set, set at most one of none, fixedDelay, failureRate and exponentialDelay", set)
	}
	if set == 0 && checkpointing {
		s = newExponential(contract.ExponentialDelay{})
	}
	if err := validate(s); err != nil {
		return nil, err
	}
	return s, nil
}

func validate(s Strategy) error {
	switch s := s.(type) {
	case fixedDelay:
		if s.attempts != nil && *s.attempts < 0 || s.delay < 0 {
			return fmt.Errorf("checking restart.fixedDelay: attempts and delay must not be negative")
		}
	case failureRate:
		if s.maxFailures > snapshot.MaxHeadFailures-1 || s.interval < 0 || s.delay < 0 {
			return fmt.Errorf("checking restart.failureRate: maxFailures must be within 1 and %d, interval and delay not negative", snapshot.MaxHeadFailures-1)
		}
	case exponential:
		if s.multiplier < 1 || s.jitter < 0 || s.jitter > 1 || s.initial < 0 || s.max < s.initial {
			return fmt.Errorf("checking restart.exponentialDelay: want multiplier >= 1, 0 <= jitter <= 1 and maxDelay >= initialDelay >= 0")
		}
	}
	return nil
}

func orDefault(d contract.Duration, v time.Duration) time.Duration {
	if d == 0 {
		return v
	}
	return d.D()
}

// restarted counts one restart.
func restarted(c snapshot.RestartCounters, now time.Time, delay time.Duration) snapshot.RestartCounters {
	c.Total++
	c.LastFailure = now
	c.LastDelay = delay
	return c
}

// notAfter returns the counters with no failure later than now. A coordinator finds times in the head that another one's clock gave. What lies in the future by its own
// clock has happened by now; taken as it is, it would count as recent for as long as the clocks differ, and fail a job at a rate that it never had. If its clock is ahead it
// forgets sooner, which lets at most as many failures pass as the strategy allows within one interval.
func notAfter(c snapshot.RestartCounters, now time.Time) snapshot.RestartCounters {
	if c.LastFailure.After(now) {
		c.LastFailure = now
	}
	c.Failures = slices.Clone(c.Failures)
	for i, t := range c.Failures {
		if t.After(now) {
			c.Failures[i] = now
		}
	}
	return c
}

// ofNewVersion returns the counters for a version that takes over from another one: what made that fail says nothing of it, so delays and rates begin anew.
// The number of restarts in the life of the job goes on.
func ofNewVersion(c snapshot.RestartCounters) snapshot.RestartCounters {
	c.Streak, c.Failures, c.LastDelay = 0, nil, 0
	return c
}

type noRestart struct{}

func (noRestart) Failed(now time.Time, c snapshot.RestartCounters, _ *rand.Rand) (Decision, snapshot.RestartCounters) {
	c.LastFailure = now
	return Decision{Why: "no restart strategy is configured"}, c
}

type fixedDelay struct {
	attempts *int
	delay    time.Duration
}

func (s fixedDelay) Failed(now time.Time, c snapshot.RestartCounters, _ *rand.Rand) (Decision, snapshot.RestartCounters) {
	if s.attempts != nil && c.Total >= int64(*s.attempts) {
		c.LastFailure = now
		return Decision{Why: fmt.Sprintf("the fixed delay strategy allows %d restarts in the life of the job", *s.attempts)}, c
	}
	return Decision{Restart: true, Delay: s.delay}, restarted(c, now, s.delay)
}

type failureRate struct {
	maxFailures     int
	interval, delay time.Duration
}

func (s failureRate) Failed(now time.Time, c snapshot.RestartCounters, _ *rand.Rand) (Decision, snapshot.RestartCounters) {
	var recent []time.Time
	for _, t := range c.Failures {
		if now.Sub(t) <= s.interval {
			recent = append(recent, t)
		}
	}
	recent = append(recent, now)
	c.Failures = recent
	if len(c.Failures) > s.maxFailures {
		c.LastFailure = now
		return Decision{Why: fmt.Sprintf("more than %d failures within %v", s.maxFailures, s.interval)}, c
	}
	return Decision{Restart: true, Delay: s.delay}, restarted(c, now, s.delay)
}

type exponential struct {
	initial, max, reset time.Duration
	multiplier, jitter  float64
	attempts            *int
}

func newExponential(e contract.ExponentialDelay) exponential {
	s := exponential{
		initial: orDefault(e.InitialDelay, time.Second), max: orDefault(e.MaxDelay, time.Minute), reset: orDefault(e.ResetAfter, time.Hour),
		multiplier: e.Multiplier, jitter: 0.1, attempts: e.Attempts,
	}
	if s.multiplier == 0 {
		s.multiplier = 1.5
	}
	if e.Jitter != nil {
		s.jitter = *e.Jitter
	}
	return s
}

func (s exponential) Failed(now time.Time, c snapshot.RestartCounters, rnd *rand.Rand) (Decision, snapshot.RestartCounters) {
	if !c.LastFailure.IsZero() && now.Sub(c.LastFailure) >= c.LastDelay+s.reset {
		c.Streak = 0
	}
	if s.attempts != nil && c.Streak >= int64(*s.attempts) {
		c.LastFailure = now
		return Decision{Why: fmt.Sprintf("the exponential delay strategy allows %d restarts without a quiet time of %v between", *s.attempts, s.reset)}, c
	}
	d := float64(s.initial) * math.Pow(s.multiplier, float64(c.Streak))
	if s.jitter > 0 {
		d *= 1 + s.jitter*(2*rnd.Float64()-1)
	}
	delay := s.max
	if d < float64(s.max) {
		delay = time.Duration(d)
	}
	c.Streak++
	return Decision{Restart: true, Delay: delay}, restarted(c, now, delay)
}
