// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"slices"
	"time"
)

// Policy is the part of the options that may change while snapshots are taken. Zero means the default, for Interval none.
type Policy struct {
	Interval, Timeout, MinPause                 time.Duration
	MaxConcurrent, TolerableFailures, Retention int
	// Unaligned and AlignmentTimeout count from the next checkpoint on.
	Unaligned        bool
	AlignmentTimeout time.Duration
}

// with returns the options with a policy in place of theirs.
func (o *Options) with(p Policy) *Options {
	n := *o
	n.Interval, n.Timeout, n.MinPause = p.Interval, p.Timeout, p.MinPause
	n.MaxConcurrent, n.TolerableFailures, n.Retention = p.MaxConcurrent, p.TolerableFailures, p.Retention
	n.Unaligned, n.AlignmentTimeout = p.Unaligned, p.AlignmentTimeout
	n.EnsureDefaults()
	return &n
}

// SetPolicy puts a policy into force, or says what is wrong with it and changes nothing. The next periodic trigger follows one new
// interval after the last one; the timeout counts for snapshots in flight, too; failures so far count against the new
// tolerance from the next one on; checkpoints beyond the new retention go with the next one that completes.
func (c *Coordinator) SetPolicy(now time.Time, p Policy) error {
	o := c.o.with(p)
	if err := o.Validate(); err != nil {
		return err
	}
	old := c.o.Interval
	c.o = *o
	c.failures.tolerable = o.TolerableFailures
	if o.Interval != old {
		c.rearm(now)
	}
	c.advance(now)
	return nil
}

// rearm sets the timer of periodic triggers after a change of the interval.
func (c *Coordinator) rearm(now time.Time) {
	armed, last := !c.nextPeriodic.IsZero(), c.lastPeriodic
	if c.o.Interval <= 0 {
		c.nextPeriodic = time.Time{}
		c.queue = slices.DeleteFunc(c.queue, func(q *request) bool { return q.priority == priorityPeriodic })
		return
	}
	if !armed || last.IsZero() {
		c.armPeriodic(now)
		return
	}
	if c.nextPeriodic = last.Add(c.o.Interval); c.nextPeriodic.Before(now) {
		c.nextPeriodic = now
	}
}

// Check says what would be wrong with a policy under these options.
func (o *Options) Check(p Policy) error { return o.with(p).Validate() }
