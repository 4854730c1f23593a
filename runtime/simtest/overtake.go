// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"time"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// A task whose barriers may overtake hears of them when they enter the queue of their pipe, and copies what they overtake. The simulator
// lets it hear of them at once or a little later, and of barriers that align first also while they are under way.

func announced(k record.Kind) bool {
	return k == record.KindBarrier || k == record.KindCancelBarrier || k == record.KindEnd
}

// arrived takes note of an element that has entered the queue of a channel.
func (t *taskRun) arrived(ch int, e record.Element) {
	if t.capture != nil && (t.w.mutation != EndlessCapture || e.Kind != record.KindBarrier) {
		t.capture.Add(ch, e)
	}
	if t.announcing && announced(e.Kind) {
		t.hear(barrier.Arrival{Channel: ch, Element: e})
	}
}

// ahead takes note of a barrier that is still under way.
func (t *taskRun) ahead(ch int, e record.Element) {
	if t.announcing && !t.stopped {
		t.hear(barrier.Arrival{Channel: ch, Element: e, Ahead: true})
	}
}

// hear makes the core look at what arrived, soon.
func (t *taskRun) hear(a barrier.Arrival) {
	t.news = append(t.news, a)
	t.w.clock.after(t.worker.p, t.w.clock.between(0, t.w.stepTime), func() { t.handle(func() error { return nil }) })
}

// Arrived implements task.Overtaking.
func (t *taskRun) Arrived(dst []barrier.Arrival) []barrier.Arrival {
	if !t.announcing {
		t.announcing = true
		for ch, p := range t.inputs {
			for _, e := range p.queue {
				if announced(e.Kind) {
					dst = append(dst, barrier.Arrival{Channel: ch, Element: e})
				}
			}
		}
		return dst
	}
	dst = append(dst, t.news...)
	t.news = t.news[:0]
	return dst
}

// Capture implements task.Overtaking.
func (t *taskRun) Capture(c *barrier.Capture) {
	if t.capture != nil {
		t.w.failf("task %s begins a capture while there is another one", t.id)
	}
	for ch, p := range t.inputs {
		for _, e := range p.queue {
			c.Add(ch, e)
		}
	}
	c.Queued()
	t.capture, t.replaying = c, t.inFlight
}

// EndCapture implements task.Overtaking.
func (t *taskRun) EndCapture() { t.capture = nil }

// arm makes the core look at its deadlines and timers when they are due.
func (t *taskRun) arm() {
	now := t.worker.now()
	if due := t.core.Due(); !due.IsZero() && !due.Equal(t.dueAt) {
		t.dueAt = due
		t.w.clock.after(t.worker.p, max(due.Sub(now), 0), func() { t.handle(func() error { return t.core.HandleDue(t.worker.now()) }) })
	}
	if due := t.core.TimerDue(); !due.IsZero() && !due.Equal(t.timerAt) {
		t.timerAt = due
		t.w.clock.after(t.worker.p, max(due.Sub(now), 0)+t.w.clock.between(0, 5*time.Millisecond), func() {
			t.timerAt = time.Time{}
			t.handle(func() error { return t.core.FireTimers(t.worker.now()) })
		})
	}
}

// forget is for the mutations that leave what was in flight out of a snapshot.
func (t *taskRun) forget(checkpoint int64, ops map[string]snapshot.SubtaskState) {
	switch t.w.mutation {
	case ChannelsForgotten:
	case RemainderForgotten:
		if !t.early[checkpoint] {
			return
		}
	default:
		return
	}
	for name, o := range ops {
		o.Channels = nil
		ops[name] = o
	}
}
