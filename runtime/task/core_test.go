// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/task"
)

var ints = record.NewRowType(record.MustCoderOf[int64]())

// journal writes down, in order, what a core and its operators do.
type journal struct{ lines []string }

func (j *journal) add(format string, args ...any) {
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns what was written since the last call.
func (j *journal) take() string {
	s := strings.Join(j.lines, "; ")
	j.lines = nil
	return s
}

// harness drives the core of the last vertex of a graph by hand; it is its environment, inputs and writers.
type harness struct {
	*journal
	t       *testing.T
	core    *task.Core
	room    bool
	blocked map[int]bool
	async   map[int64]task.Async
	rows    []int64
	sizes   []int
}

func (h *harness) StartAsync(b record.Barrier, run task.Async) {
	h.add("async %d", b.Checkpoint)
	h.async[b.Checkpoint] = run
}
func (h *harness) CancelAsync(id int64) { h.add("cancel async %d", id) }
func (h *harness) Ack(id int64, ops map[string]snapshot.SubtaskState, _ protocol.AckMetrics) {
	finished := ""
	for _, o := range ops {
		if o.Finished {
			finished = " finished"
		}
	}
	h.add("ack %d%s", id, finished)
}

func (h *harness) Decline(id int64, r protocol.DeclineReason, err error) {
	h.add("decline %d %s %v", id, r, err)
}
func (h *harness) EndOfData()                      { h.add("end of data") }
func (h *harness) Notified(id int64)               { h.add("notified %d", id) }
func (h *harness) SetBlocked(ch int, blocked bool) { h.blocked[ch] = blocked }
func (h *harness) HasRoom() bool                   { return h.room }

// Push is the output channel.
func (h *harness) Push(e record.Element) {
	switch e.Kind {
	case record.KindBatch:
		r := e.Batch.(*record.Rows[int64])
		h.rows = append(h.rows, r.Values...)
		h.sizes = append(h.sizes, r.Len())
		h.add("rows %d", r.Len())
		r.Release()
	case record.KindWatermark:
		if e.Time == record.MaxTime {
			h.add("watermark max")
		} else {
			h.add("watermark %d", e.Time)
		}
	case record.KindBarrier, record.KindCancelBarrier:
		h.add("%s %d", e.Kind, e.Barrier.Checkpoint)
	default:
		h.add("%s", e.Kind)
	}
}

// must fails the test on an error.
func (h *harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) want(want string) {
	h.t.Helper()
	if diff := cmp.Diff(want, h.take()); diff != "" {
		h.t.Errorf("what happened (-want +got):\n%s", diff)
	}
}

// finishAsync runs the asynchronous part and reports its outcome.
func (h *harness) finishAsync(id int64, fail error) {
	h.t.Helper()
	r, err := h.async[id](h.t.Context(), nil)
	if err == nil {
		err = fail
	}
	h.core.AsyncDone(id, r, err)
}

func batch(vs ...int64) record.Element {
	b := ints.Get()
	b.Values = append(b.Values, vs...)
	return record.OfBatch(b)
}

func barrierOf(id int64, stop record.StopMode) record.Element {
	return record.OfBarrier(record.Barrier{Checkpoint: id, Stop: stop})
}

// repeat emits every row n times, in portions, and writes down what the engine tells it.
type repeat struct {
	*journal
	n, left int64
	out     operator.Output
	in      []int64
	buf     *record.Rows[int64]
}

func (r *repeat) Open(_ context.Context, c *operator.Context) error {
	r.out, r.buf = c.Out, ints.Get()
	for _, e := range c.List("seen") {
		r.add("restored %s", e)
	}
	return nil
}

func (r *repeat) Process(_ int, b record.Batch) (operator.Status, error) {
	r.in = b.(*record.Rows[int64]).Values
	for _, v := range r.in {
		if v < 0 {
			return operator.Done, errors.New("a negative row")
		}
	}
	r.left = r.n
	return r.Resume()
}

func (r *repeat) Resume() (operator.Status, error) {
	for len(r.in) > 0 {
		r.buf.Values = r.buf.Values[:0]
		for len(r.in) > 0 && len(r.buf.Values) < record.TargetRows {
			r.buf.Values = append(r.buf.Values, r.in[0])
			if r.left--; r.left == 0 {
				r.in, r.left = r.in[1:], r.n
			}
		}
		if st, err := r.out.Emit(r.buf); st == operator.Paused || err != nil {
			return st, err
		}
	}
	return operator.Done, nil
}
func (r *repeat) Close() error { return nil }
func (r *repeat) Snapshot(b record.Barrier) (operator.AsyncSnapshot, error) {
	r.add("snapshot %d", b.Checkpoint)
	if b.Checkpoint == brokenSnapshot {
		return nil, errors.New("state is gone")
	}
	return func(context.Context) ([]operator.List, error) {
		return []operator.List{{Name: "seen", Entries: [][]byte{[]byte("x")}}}, nil
	}, nil
}

// brokenSnapshot is the one that repeat can't take.
const brokenSnapshot = 13

func (r *repeat) PrepareSnapshot(b record.Barrier) (operator.Status, error) {
	r.add("prepare %d", b.Checkpoint)
	return operator.Done, nil
}

func (r *repeat) NotifyComplete(_ context.Context, id int64) error {
	r.add("complete %d", id)
	return nil
}
func (r *repeat) NotifyAborted(id int64) { r.add("aborted %d", id) }
func (r *repeat) Finish() (operator.Status, error) {
	r.add("finish")
	return operator.Done, nil
}

// start returns a running core with two input channels and one output channel, around a repeat operator.
func start(t *testing.T, n int64, change func(*task.Options)) *harness {
	t.Helper()
	h := &harness{journal: &journal{}, t: t, room: true, blocked: map[int]bool{}, async: map[int64]task.Async{}}
	h.core = task.New(optionsOf(t, h, func(o *task.Options) {
		o.Vertex.Nodes[0].NewOperator = func() operator.Operator { return &repeat{journal: h.journal, n: n} }
		if change != nil {
			change(o)
		}
	}))
	h.must(h.core.Open(t.Context()))
	h.must(h.core.Start())
	return h
}

// optionsOf are the options of a task with two input channels and one output channel.
func optionsOf(t *testing.T, h *harness, change func(*task.Options)) task.Options {
	t.Helper()
	g := &graph.Graph{Nodes: []*graph.Node{
		{Name: "in", Parallelism: 2, Output: ints, NewSource: func() operator.Source { return nil }},
		{
			Name: "mid", Parallelism: 1, Output: ints, Inputs: []graph.Edge{{From: "in"}},
			NewOperator: func() operator.Operator { return &repeat{journal: h.journal, n: 1} },
		},
		{
			Name: "out", Parallelism: 1, NoChain: true, Inputs: []graph.Edge{{From: "mid"}},
			NewOperator: func() operator.Operator { return nil },
		},
	}}
	plan, err := graph.NewPlan(g, graph.Options{})
	h.must(err)
	o := task.Options{
		Plan: plan, Vertex: plan.Vertex("mid"), Attempt: protocol.Attempt{K: 1}, Checkpointed: true,
		Env: h, Inputs: h, Writers: [][]task.Writer{{h}}, Wake: func() {}, Log: logr.Discard(),
		Now: func() time.Time { return time.Unix(0, 0) },
	}
	change(&o)
	return o
}

func TestCore_BarrierGoesOutBeforeTheSnapshot(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil)
	h.must(h.core.HandleElement(0, batch(1, 2)))
	h.want("")
	h.must(h.core.HandleElement(0, barrierOf(1, record.StopNone)))
	if !h.blocked[0] || h.blocked[1] {
		t.Errorf("blocked channels: %v, want channel 0 only", h.blocked)
	}
	h.must(h.core.HandleElement(1, batch(3)))
	h.must(h.core.HandleElement(1, barrierOf(1, record.StopNone)))
	h.want("prepare 1; rows 3; barrier 1; snapshot 1; async 1")
	if h.blocked[0] || h.blocked[1] {
		t.Errorf("blocked channels after the alignment: %v", h.blocked)
	}
	h.finishAsync(1, nil)
	h.must(h.core.Complete(t.Context(), 1, record.StopNone))
	h.want("ack 1; complete 1")
}

func TestCore_AtLeastOnceBlocksNothing(t *testing.T) {
	t.Parallel()
	h := start(t, 1, func(o *task.Options) { o.AtLeastOnce = true })
	h.must(h.core.HandleElement(0, barrierOf(1, record.StopNone)))
	if h.blocked[0] {
		t.Error("channel 0 is blocked")
	}
	h.must(h.core.HandleElement(0, batch(1)))
	h.must(h.core.HandleElement(1, barrierOf(1, record.StopNone)))
	h.want("prepare 1; rows 1; barrier 1; snapshot 1; async 1")
}

func TestCore_PausesWhenOutputsAreFull(t *testing.T) {
	t.Parallel()
	const times = 10 * record.TargetRows
	h := start(t, times, nil)
	h.room = false
	h.must(h.core.HandleElement(0, batch(7)))
	if !h.core.Paused() || h.core.Readable() {
		t.Fatal("the core isn't paused though its output is full")
	}
	for range 3 {
		before := len(h.rows)
		h.must(h.core.Resume())
		if len(h.rows) != before {
			t.Fatal("rows were produced without room")
		}
	}
	h.must(h.core.Trigger(record.Barrier{Checkpoint: 1})) // not for a task with inputs
	h.room = true
	h.must(h.core.Resume())
	if h.core.Paused() {
		t.Fatal("still paused")
	}
	if len(h.rows) != times {
		t.Errorf("got %d rows, want %d", len(h.rows), times)
	}
	for _, n := range h.sizes {
		if n > 2*record.TargetRows {
			t.Errorf("a batch of %d rows", n)
		}
	}
}

func TestCore_BarrierWaitsForPausedWork(t *testing.T) {
	t.Parallel()
	h := start(t, record.TargetRows, nil)
	h.room = false
	h.must(h.core.HandleElement(0, batch(1, 2, 3)))
	h.want("rows 1024")
	h.room = true
	h.must(h.core.Resume())
	h.want("rows 1024; rows 1024")
}

func TestCore_AbortBeforeTheBarrier(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil)
	h.must(h.core.Aborted(3))
	h.must(h.core.HandleElement(0, barrierOf(3, record.StopNone)))
	h.must(h.core.HandleElement(1, barrierOf(3, record.StopNone)))
	h.want("aborted 3; notified 3; decline 3 CancelBarrier <nil>; cancel-barrier 3")
	h.must(h.core.HandleElement(0, barrierOf(4, record.StopNone)))
	h.must(h.core.HandleElement(1, barrierOf(4, record.StopNone)))
	h.want("prepare 4; barrier 4; snapshot 4; async 4")
}

func TestCore_CancelBarrier(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil)
	h.must(h.core.HandleElement(0, barrierOf(1, record.StopNone)))
	h.must(h.core.HandleElement(1, record.OfCancelBarrier(1)))
	h.want("decline 1 CancelBarrier <nil>; cancel-barrier 1")
	if h.blocked[0] {
		t.Error("channel 0 is still blocked")
	}
}

func TestCore_AsyncFailureDeclines_AbortSilences(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil)
	for id := int64(1); id <= 2; id++ {
		h.must(h.core.HandleElement(0, barrierOf(id, record.StopNone)))
		h.must(h.core.HandleElement(1, barrierOf(id, record.StopNone)))
	}
	h.take()
	h.finishAsync(1, errors.New("disk full"))
	h.want("decline 1 AsyncFailure disk full")
	h.must(h.core.Aborted(2))
	h.finishAsync(2, nil)
	h.want("cancel async 2; aborted 2; notified 2")
}

func TestCore_StopFreezesUntilComplete(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil)
	h.must(h.core.HandleElement(0, barrierOf(1, record.StopFreeze)))
	h.must(h.core.HandleElement(1, barrierOf(1, record.StopFreeze)))
	if !h.core.Frozen() || h.core.Readable() {
		t.Fatal("the task goes on after the barrier of a stop")
	}
	h.finishAsync(1, nil)
	h.take()
	h.must(h.core.Complete(t.Context(), 1, record.StopFreeze))
	h.want("complete 1; notified 1")
	if !h.core.Finished() {
		t.Error("the task isn't finished")
	}
}

func TestCore_StopGivenUpThaws(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil)
	h.must(h.core.HandleElement(0, barrierOf(1, record.StopFreeze)))
	h.must(h.core.HandleElement(1, barrierOf(1, record.StopFreeze)))
	h.take()
	h.must(h.core.Aborted(1))
	h.want("cancel async 1; aborted 1; notified 1")
	if !h.core.Readable() {
		t.Error("the task is still frozen")
	}
}

func TestCore_DrainFinishesBeforeTheSnapshot(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil)
	h.must(h.core.HandleElement(0, batch(1)))
	h.must(h.core.HandleElement(0, barrierOf(1, record.StopDrain)))
	h.must(h.core.HandleElement(1, barrierOf(1, record.StopDrain)))
	h.want("rows 1; watermark max; finish; prepare 1; barrier 1; snapshot 1; async 1")
	if err := h.core.Aborted(1); err == nil {
		t.Error("giving up a drain is no error, though the operators have finished")
	}
}

func TestCore_EndOfDataWaitsForALaterSnapshot(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil)
	h.must(h.core.HandleElement(0, barrierOf(1, record.StopNone)))
	h.must(h.core.HandleElement(1, barrierOf(1, record.StopNone)))
	h.take()
	h.must(h.core.HandleElement(0, batch(5)))
	h.must(h.core.HandleElement(0, record.End()))
	h.want("")
	h.must(h.core.HandleElement(1, record.End()))
	h.want("rows 1; watermark max; finish; end; end of data")
	h.must(h.core.Complete(t.Context(), 1, record.StopNone))
	if h.core.Finished() {
		t.Fatal("finished with a snapshot from before the end")
	}
	h.take()
	h.must(h.core.Trigger(record.Barrier{Checkpoint: 2}))
	h.finishAsync(2, nil)
	h.must(h.core.Complete(t.Context(), 2, record.StopNone))
	h.want("prepare 2; snapshot 2; async 2; ack 2 finished; complete 2")
	if !h.core.Finished() {
		t.Error("not finished")
	}
}

func TestCore_WithoutCheckpointsTheEndIsTheEnd(t *testing.T) {
	t.Parallel()
	h := start(t, 1, func(o *task.Options) { o.Checkpointed = false })
	h.must(h.core.HandleElement(0, record.End()))
	h.must(h.core.HandleElement(1, record.End()))
	h.want("watermark max; finish; end")
	if !h.core.Finished() {
		t.Error("not finished")
	}
}

func TestCore_RestoredAsFinished(t *testing.T) {
	t.Parallel()
	h := start(t, 1, func(o *task.Options) {
		o.Deployment = protocol.TaskDeployment{Finished: true, Operators: map[string]protocol.OperatorRestore{
			"mid": {Lists: []operator.List{{Name: "seen", Entries: [][]byte{[]byte("a")}}}},
		}}
	})
	h.want("restored a; end")
	if !h.core.Finished() {
		t.Error("not finished")
	}
}

func TestCore_Watermarks(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil)
	for _, s := range []struct {
		ch   int
		e    record.Element
		want string
	}{
		{0, record.OfWatermark(10), ""},
		{1, record.OfWatermark(5), "watermark 5"},
		{1, record.OfWatermark(20), "watermark 10"},
		{0, record.OfWatermark(8), ""},
		{0, record.Idle(), "watermark 20"},
		{1, record.Idle(), "idle"},
		{0, record.OfWatermark(15), ""},
		{0, record.OfWatermark(30), "watermark 30"},
	} {
		h.must(h.core.HandleElement(s.ch, s.e))
		h.want(s.want)
	}
}

func TestCore_SynchronousFailureFailsTheTask(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil)
	h.must(h.core.HandleElement(0, barrierOf(brokenSnapshot, record.StopNone)))
	err := h.core.HandleElement(1, barrierOf(brokenSnapshot, record.StopNone))
	if err == nil || !strings.Contains(err.Error(), `operator "mid"`) || !strings.Contains(err.Error(), "state is gone") {
		t.Errorf("got %v", err)
	}
	h.want("prepare 13; barrier 13; snapshot 13")
	h.must(h.core.Close())
}

func TestCore_ErrorsNameTheOperator(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil)
	err := h.core.HandleElement(0, batch(-1))
	if err == nil || err.Error() != `operator "mid": a negative row` {
		t.Errorf("got %v", err)
	}
	h.must(h.core.Close())
}
