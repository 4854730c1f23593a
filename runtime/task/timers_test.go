// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/stream"
	"github.com/weir-stream/weir/runtime/task"
	"github.com/weir-stream/weir/runtime/task/tasktest"
)

// clocked emits the time of each of its timers n times.
type clocked struct {
	repeat
	timers []int64
	due    []int64
}

func (c *clocked) NextTimer() (int64, bool) {
	if len(c.timers) == 0 {
		return 0, false
	}
	return c.timers[0], true
}

func (c *clocked) OnTime(now int64) (operator.Status, error) {
	c.due = nil
	for len(c.timers) > 0 && c.timers[0] <= now {
		c.due, c.timers = append(c.due, c.timers[0]), c.timers[1:]
	}
	c.add("on time %d: %d", now, c.due)
	c.in, c.left = c.due, c.n
	return c.Resume()
}

// clockedCore returns a running core around an operator with timers.
func clockedCore(t *testing.T, n int64, timers ...int64) *harness {
	t.Helper()
	h := &harness{journal: &journal{}, t: t, room: true, blocked: map[int]bool{}, async: map[int64]task.Async{}}
	h.core = task.New(optionsOf(t, h, func(o *task.Options) {
		o.Vertex.Nodes[0].NewOperator = func() operator.Operator {
			return &clocked{repeat: repeat{journal: h.journal, n: n}, timers: timers}
		}
	}))
	h.must(h.core.Open(t.Context()))
	h.must(h.core.Start())
	return h
}

func TestCore_FiresTimersThatAreDue(t *testing.T) {
	t.Parallel()
	h := clockedCore(t, 1, 100, 200, 300)
	if due := h.core.TimerDue(); !due.Equal(time.UnixMilli(100)) {
		t.Errorf("due at %s", due)
	}
	h.must(h.core.FireTimers(time.UnixMilli(99)))
	h.want("")
	h.must(h.core.FireTimers(time.UnixMilli(250)))
	h.core.Flush()
	h.want("on time 250: [100 200]; rows 2")
	if due := h.core.TimerDue(); !due.Equal(time.UnixMilli(300)) {
		t.Errorf("due at %s", due)
	}
	h.must(h.core.FireTimers(time.UnixMilli(400)))
	if due := h.core.TimerDue(); !due.IsZero() {
		t.Errorf("due at %s without a timer", due)
	}
}

func TestCore_FrozenTasksFireNoTimers(t *testing.T) {
	t.Parallel()
	h := clockedCore(t, 1, 100)
	for ch := range 2 {
		h.must(h.core.HandleElement(ch, barrierOf(1, record.StopFreeze)))
	}
	h.finishAsync(1, nil)
	h.take()
	h.must(h.core.FireTimers(time.UnixMilli(1000)))
	h.want("")
	if due := h.core.TimerDue(); !due.IsZero() {
		t.Errorf("due at %s though the task is frozen", due)
	}
	h.must(h.core.Aborted(1))
	h.take()
	if due := h.core.TimerDue(); !due.Equal(time.UnixMilli(100)) {
		t.Errorf("due at %s after the task was released", due)
	}
	h.must(h.core.FireTimers(time.UnixMilli(1000)))
	h.core.Flush()
	h.want("on time 1000: [100]; rows 1")
}

func TestCore_TimersWaitForRoom(t *testing.T) {
	t.Parallel()
	const times = 5 * record.TargetRows
	h := clockedCore(t, times, 100, 200)
	h.room = false
	h.must(h.core.FireTimers(time.UnixMilli(100)))
	if !h.core.Paused() || h.core.Readable() {
		t.Fatal("the core isn't paused though its output is full")
	}
	before := len(h.rows)
	h.must(h.core.FireTimers(time.UnixMilli(200)))
	if due := h.core.TimerDue(); !due.IsZero() || len(h.rows) != before {
		t.Errorf("due at %s, %d rows after %d, though the output is full", due, len(h.rows), before)
	}
	h.room = true
	h.must(h.core.Resume())
	h.core.Flush()
	if h.core.Paused() || len(h.rows) != times {
		t.Errorf("%d rows, want %d", len(h.rows), times)
	}
}

// slow yields one row at once, and ends after three seconds.
type slow struct {
	c    *operator.Context
	end  time.Time
	sent bool
}

func (s *slow) Open(_ context.Context, c *operator.Context) error {
	s.c, s.end = c, c.Now().Add(3*time.Second)
	return nil
}
func (s *slow) Close() error { return nil }
func (s *slow) Poll(rows []int64) ([]int64, operator.Polled, error) {
	if !s.sent {
		s.sent = true
		rows = append(rows, int64(s.c.Subtask))
	}
	if s.c.Now().Before(s.end) {
		return rows, operator.Polled{State: operator.Wait, WakeAt: s.end}, nil
	}
	return rows, operator.Polled{State: operator.End}, nil
}

// TestLoop_WaitsForTimers runs a job whose windows end while nothing else happens.
func TestLoop_WaitsForTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		j := &stream.Job{}
		in := stream.From(j, "in", func() stream.Source[int64] { return &slow{} }, stream.Bounded())
		w := stream.WindowBy(stream.KeyBy(in, func(v int64) int64 { return v }), stream.Tumbling(time.Second), nil)
		sums := stream.ReduceWindow(w, "windows", func(a, b int64) int64 { return a + b })
		got := make(chan string, 10)
		stream.ForEach(sums, "out", func(p stream.Pane[int64, int64]) {
			got <- fmt.Sprint(p.Key, " after ", time.Since(began).Round(100*time.Millisecond))
		})
		g, err := j.Graph()
		if err != nil {
			t.Fatal(err)
		}
		tasktest.Run(t, g, 2)
		close(got)
		var all []string
		for s := range got {
			all = append(all, s)
		}
		slices.Sort(all)
		if diff := cmp.Diff([]string{"0 after 1s", "1 after 1s"}, all); diff != "" {
			t.Errorf("windows (-want +got):\n%s", diff)
		}
	})
}
