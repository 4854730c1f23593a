// SPDX-License-Identifier: Apache-2.0

package task

import (
	"time"

	"github.com/weir-stream/weir/runtime/operator"
)

// maySeeTime says that timers may fire: the task runs, isn't frozen, and has finished what came before.
func (c *Core) maySeeTime() bool {
	return !c.paused && c.frozen == 0 && c.phase == running && len(c.steps) == 0
}

// TimerDue returns when FireTimers is to be called, maybe too early but never too late; zero for not by time, which also
// holds while timers may not fire.
func (c *Core) TimerDue() time.Time {
	var due time.Time
	if !c.maySeeTime() {
		return due
	}
	for _, l := range c.links {
		if l.timers == nil {
			continue
		}
		if at, ok := l.timers.NextTimer(); ok {
			if t := time.UnixMilli(at); due.IsZero() || t.Before(due) {
				due = t
			}
		}
	}
	return due
}

// FireTimers fires the timers of processing time that are due, if they may fire now. The shell calls it when TimerDue
// says so, and now and then while the task is busy.
func (c *Core) FireTimers(now time.Time) error {
	if !c.maySeeTime() {
		return nil
	}
	ms := now.UnixMilli()
	for _, l := range c.links {
		if l.timers == nil {
			continue
		}
		if at, ok := l.timers.NextTimer(); ok && at <= ms {
			c.push(func() (operator.Status, error) { return l.note(l.timers.OnTime(ms)) })
		}
	}
	if len(c.steps) == 0 {
		return nil
	}
	if err := c.advance(); err != nil {
		return err
	}
	return c.stateErr()
}

// byTime does what is due by the clock while the task is busy.
func (c *Core) byTime() error {
	now := c.o.Now()
	c.FlushDue(now)
	return c.FireTimers(now)
}
