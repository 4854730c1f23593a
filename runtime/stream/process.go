// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"fmt"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// TimeKind says which clock a timer goes by.
type TimeKind uint8

// The kinds of time.
const (
	// EventTime goes by watermarks: a timer fires once a watermark says that no row up to its time follows. At the end of the input,
	// and when a job is drained, all of them fire.
	EventTime TimeKind = iota
	// ProcessingTime goes by the clock of the machine. A timer fires at its time or later: when the task was busy, or wasn't running.
	// The end of the input doesn't wait for it.
	ProcessingTime
)

// String returns "event time" or "processing time".
func (k TimeKind) String() string {
	return [...]string{"event time", "processing time"}[k]
}

// timerStates are the names of the states that hold timers, by kind. No other state has a name that begins like that.
var timerStates = [...]string{EventTime: reserved + "event-timers", ProcessingTime: reserved + "processing-timers"}

const reserved = "weir."

// Timer is a timer that fires.
type Timer struct {
	// Kind of time.
	Kind TimeKind
	// At is the time it was set for, in milliseconds since the Unix epoch.
	At int64

	// scope tells timers of the same key and time apart; users have none.
	scope []byte
}

// KeyedContext gives a function on a keyed stream its state, its timers, and the key of the current row or timer.
// It is valid during the calls it is given to.
type KeyedContext[K any] struct {
	// Context tells about the subtask.
	*operator.Context

	keys      *state.Keys[K]
	newKeys   func() (*state.Keys[K], error)
	key       K
	hash      uint64
	watermark int64
	// timers are set only for a function that handles them.
	timers [2]*state.Timers[K]
	lists  lists
}

// Key is the key of the current row or timer.
func (c *KeyedContext[K]) Key() K { return c.key }

// Watermark is the event time, in milliseconds since the Unix epoch, up to which all rows have come, but for late ones. It is
// [record.MinTime] before the first watermark, also after a restart, and [record.MaxTime] after the last row.
func (c *KeyedContext[K]) Watermark() int64 { return c.watermark }

// SetTimer makes OnTimer be called for the current key at a time, in milliseconds since the Unix epoch. Setting the same timer
// twice is the same as once. One for a time that has passed fires at the next watermark, or soon. While the last
// watermark is being handled no timer of event time can be set any more: this call has no effect then. It panics
// if the function has no OnTimer.
func (c *KeyedContext[K]) SetTimer(kind TimeKind, at int64) { c.setTimer(kind, at, nil) }

// ClearTimer takes back a timer of the current key, if it is there.
func (c *KeyedContext[K]) ClearTimer(kind TimeKind, at int64) {
	c.mustHaveTimers()
	c.timers[kind].Delete(c.key, c.hash, at, nil)
}

func (c *KeyedContext[K]) setTimer(kind TimeKind, at int64, scope []byte) {
	c.mustHaveTimers()
	if kind == EventTime && c.watermark == record.MaxTime {
		return // it would have to fire at once, and a timer that sets the next one would never come to an end
	}
	c.timers[kind].Register(c.key, c.hash, at, scope)
}

func (c *KeyedContext[K]) mustHaveTimers() {
	if c.timers[EventTime] == nil {
		panic(fmt.Sprintf("operator %q uses timers, but its function has no method OnTimer: add it", c.Name))
	}
}

// ProcessFunction handles the rows of a keyed stream with state of its own.
type ProcessFunction[K, T, U any] interface {
	// Open registers the states; called once for each subtask.
	Open(c *KeyedContext[K]) error
	// Process handles a row. An error fails the job, which goes on from the last checkpoint.
	Process(c *KeyedContext[K], v T, out *Collector[U]) error
}

// TimerFunction is what a [ProcessFunction], or another function on a keyed stream, implements to have timers.
type TimerFunction[K, U any] interface {
	// OnTimer is called for a timer, with its key as the current one. Timers of a kind fire in order of time within a subtask.
	OnTimer(c *KeyedContext[K], t Timer, out *Collector[U]) error
}

// Process handles every row with a function made anew for each subtask. A function that is also a [TimerFunction] has timers.
func Process[K, T, U any](s Keyed[K, T], name string, newFunction func() ProcessFunction[K, T, U], opts ...Option) Stream[U] {
	key, keys := s.key, s.keys
	return transform(s.Stream, name, true, opts, func(typ *record.RowType[U]) operator.Operator {
		f := newFunction()
		p := newProcess(typ, keys, f)
		p.open = f.Open
		var in *record.Rows[T]
		p.take = func(_ int, b record.Batch) {
			in = b.(*record.Rows[T]) // an edge carries one type
			p.row = func(i int) error {
				v := in.Values[i]
				p.ctx.key, p.ctx.hash = key(v), in.Keys[i]
				return f.Process(&p.ctx, v, &p.coll)
			}
		}
		return p
	})
}

// ConnectedFunction handles the rows of two keyed streams with state that they share.
type ConnectedFunction[K, A, B, U any] interface {
	// Open registers the states; called once for each subtask.
	Open(c *KeyedContext[K]) error
	// ProcessFirst and ProcessSecond handle a row of the first and of the second stream.
	ProcessFirst(c *KeyedContext[K], v A, out *Collector[U]) error
	ProcessSecond(c *KeyedContext[K], v B, out *Collector[U]) error
}

// ProcessConnected handles the rows of two keyed streams in one operator: rows with the same key meet in the same subtask and
// use the same state. A function that is also a [TimerFunction] has timers.
func ProcessConnected[K, A, B, U any](a Keyed[K, A], b Keyed[K, B], name string, newFunction func() ConnectedFunction[K, A, B, U], opts ...Option) Stream[U] {
	keyA, keyB := a.key, b.key
	return connected(a, b.Stream, name, opts, func(typ *record.RowType[U]) operator.Operator {
		f := newFunction()
		p := newProcess(typ, a.keys, f)
		p.open = f.Open
		p.take = func(input int, batch record.Batch) {
			if input == 0 {
				in := batch.(*record.Rows[A]) // an edge carries one type
				p.row = func(i int) error {
					p.ctx.key, p.ctx.hash = keyA(in.Values[i]), in.Keys[i]
					return f.ProcessFirst(&p.ctx, in.Values[i], &p.coll)
				}
				return
			}
			in := batch.(*record.Rows[B]) // an edge carries one type
			p.row = func(i int) error {
				p.ctx.key, p.ctx.hash = keyB(in.Values[i]), in.Keys[i]
				return f.ProcessSecond(&p.ctx, in.Values[i], &p.coll)
			}
		}
		return p
	})
}

// connected adds an operator with keyed state and two inputs.
func connected[K, A, B, U any](a Keyed[K, A], b Stream[B], name string, opts []Option, build func(*record.RowType[U]) operator.Operator) Stream[U] {
	out := newStream[U](a.job, name, nil)
	if a.job != b.job {
		a.job.fail(name, fmt.Errorf("connects streams of two jobs"))
	}
	typ := out.typ
	a.job.add(&graph.Node{
		Name: name, Inputs: append(a.edges(0), b.edges(1)...), Keyed: true, Output: out.output(),
		NewOperator: func() operator.Operator { return build(typ) },
	}, opts)
	return out
}

// process is the operator behind functions on keyed streams. Output goes on in portions, between rows and timers.
type process[K, U any] struct {
	base[U]
	coll    Collector[U]
	ctx     KeyedContext[K]
	newKeys func() (*state.Keys[K], error)
	open    func(*KeyedContext[K]) error
	onTimer func(c *KeyedContext[K], t Timer, out *Collector[U]) error
	// finish, if set, says of which kind all timers fire at the end of the input.
	finish func() (TimeKind, bool)
	// take begins a batch of an input: it sets row, which handles one row of it.
	take func(input int, b record.Batch)
	row  func(i int) error

	at, rows int
	// firing: timers of kind up to a time are being fired.
	firing bool
	kind   TimeKind
	upTo   int64
}

func newProcess[K, U any](typ *record.RowType[U], newKeys func() (*state.Keys[K], error), f any) *process[K, U] {
	p := &process[K, U]{base: base[U]{typ: typ}, newKeys: newKeys}
	if t, ok := f.(TimerFunction[K, U]); ok {
		p.onTimer = t.OnTimer
	}
	return p
}

// Open opens the function, and the timers if it has any.
func (p *process[K, U]) Open(ctx context.Context, oc *operator.Context) error {
	keys, err := p.newKeys()
	if err != nil {
		return err
	}
	p.ctx = KeyedContext[K]{Context: oc, keys: keys, newKeys: p.newKeys, watermark: record.MinTime, lists: lists{c: oc}}
	if p.onTimer != nil {
		for kind, name := range timerStates {
			if p.ctx.timers[kind], err = state.OpenTimers(oc.Keyed, name, keys); err != nil {
				return err
			}
		}
	}
	if err := p.base.Open(ctx, oc); err != nil {
		return err
	}
	return p.open(&p.ctx)
}

// Process begins a batch.
func (p *process[K, U]) Process(input int, b record.Batch) (operator.Status, error) {
	p.take(input, b)
	p.at, p.rows = 0, b.Len()
	return p.Resume()
}

// Resume goes on with the batch, or with the timers.
func (p *process[K, U]) Resume() (operator.Status, error) {
	for p.at < p.rows || p.firing {
		p.coll.rows = p.out.Values[:0]
		for p.at < p.rows && len(p.coll.rows) < record.TargetRows {
			if err := p.row(p.at); err != nil {
				return operator.Done, err
			}
			p.at++
		}
		if p.at == p.rows && p.firing {
			if err := p.fire(); err != nil {
				return operator.Done, err
			}
		}
		p.out.Values = p.coll.rows
		if st, err := p.emit(); err != nil || st == operator.Paused {
			return st, err
		}
	}
	p.row = nil
	return operator.Done, nil
}

// fire fires timers until the output is a batch or none is left.
func (p *process[K, U]) fire() error {
	timers := p.ctx.timers[p.kind]
	for len(p.coll.rows) < record.TargetRows {
		t, ok := timers.Pop(p.upTo)
		if !ok {
			p.firing = false
			return nil
		}
		p.ctx.key, p.ctx.hash = t.Key, t.Hash
		if err := p.onTimer(&p.ctx, Timer{Kind: p.kind, At: t.At, scope: t.Scope}, &p.coll); err != nil {
			return err
		}
	}
	return nil
}

func (p *process[K, U]) start(kind TimeKind, upTo int64) (operator.Status, error) {
	if p.onTimer == nil {
		return operator.Done, nil
	}
	p.firing, p.kind, p.upTo = true, kind, upTo
	return p.Resume()
}

// OnWatermark fires timers of event time.
func (p *process[K, U]) OnWatermark(t int64) (operator.Status, error) {
	p.ctx.watermark = t
	return p.start(EventTime, t)
}

// NextTimer tells the engine when the next timer of processing time is due.
func (p *process[K, U]) NextTimer() (int64, bool) {
	if p.onTimer == nil {
		return 0, false
	}
	return p.ctx.timers[ProcessingTime].Next()
}

// OnTime fires timers of processing time.
func (p *process[K, U]) OnTime(now int64) (operator.Status, error) {
	return p.start(ProcessingTime, now)
}

// Finish fires what must not be lost at the end of the input.
func (p *process[K, U]) Finish() (operator.Status, error) {
	if p.finish == nil {
		return operator.Done, nil
	}
	if kind, ok := p.finish(); ok {
		return p.start(kind, record.MaxTime)
	}
	return operator.Done, nil
}

// Snapshot fixes the broadcast state.
func (p *process[K, U]) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	return p.ctx.lists.snapshot()
}
