// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// Window is a span of time of one key, in milliseconds since the Unix epoch.
type Window struct {
	// Start is the first moment in the window, End the first one after it.
	Start, End int64
}

// Windows says how the rows of a key are cut into windows. Make it with [Tumbling], [Sliding] or [Sessions].
type Windows struct {
	size, slide, gap int64 // milliseconds
	lateness         int64
	err              error
}

// Tumbling windows follow each other without a gap; they begin at multiples of their size since the Unix epoch. A size is a
// whole number of milliseconds, like every duration of windows.
func Tumbling(size time.Duration) Windows { return Sliding(size, size) }

// Sliding windows begin every slide, at multiples of it since the Unix epoch, and overlap: a row is in size/slide of them.
func Sliding(size, slide time.Duration) Windows {
	w := Windows{size: size.Milliseconds(), slide: slide.Milliseconds()}
	if size <= 0 || slide <= 0 || slide > size || size%time.Millisecond != 0 || slide%time.Millisecond != 0 {
		w.err = fmt.Errorf("windows of size %s that begin every %s: both must be whole milliseconds above zero, and the size not below the other", size, slide)
	}
	return w
}

// Sessions are windows that end when a key has had no row for the gap. A row that comes between two of them makes them one.
func Sessions(gap time.Duration) Windows {
	w := Windows{gap: gap.Milliseconds()}
	if gap <= 0 || gap%time.Millisecond != 0 {
		w.err = fmt.Errorf("sessions with a gap of %s: it must be whole milliseconds above zero", gap)
	}
	return w
}

// AllowLateness keeps windows of event time for a while after their result was emitted: a row that comes late, but not later than
// that, has the new result emitted again. Without it, a row whose windows are all over is dropped and counted as "lateRows".
func (w Windows) AllowLateness(d time.Duration) Windows {
	w.lateness = d.Milliseconds()
	if d < 0 || d%time.Millisecond != 0 {
		w.err = fmt.Errorf("allowed lateness of %s: it must be whole milliseconds, not below zero", d)
	}
	return w
}

// Windowed is a keyed stream, cut into windows.
type Windowed[K, T any] struct {
	stream Keyed[K, T]
	spec   Windows
	at     func(T) int64
}

// WindowBy cuts a keyed stream into windows. at returns the event time of a row, in milliseconds since the Unix epoch; with nil it is the
// time at which the row is processed. Results of event time come when watermarks say so: see [WithWatermarks].
func WindowBy[K, T any](s Keyed[K, T], windows Windows, at func(T) int64) Windowed[K, T] {
	if at == nil && windows.lateness > 0 && windows.err == nil {
		windows.err = fmt.Errorf("windows of processing time allow lateness, but no row can be late: leave it out")
	}
	return Windowed[K, T]{s, windows, at}
}

// Pane is the result of a window.
type Pane[K, V any] struct {
	// Key of the rows.
	Key K
	// Start is the first moment in the window, End the first one after it, in milliseconds since the Unix epoch.
	Start, End int64
	// Value is what the rows made.
	Value V
}

// ReduceWindow combines the rows of each window into one, which is all that is kept of them. The function must be associative, and for
// sessions commutative.
func ReduceWindow[K, T any](w Windowed[K, T], name string, combine func(acc, v T) T, opts ...Option) Stream[Pane[K, T]] {
	return windowed(w, name, opts, func() windowStore[K, T, Pane[K, T]] {
		return &accStore[K, T, T, T]{
			fold: func(acc T, ok bool, v T) T {
				if !ok {
					return v
				}
				return combine(acc, v)
			},
			join: combine, result: func(v T) T { return v },
		}
	})
}

// AggregateWindow gathers the rows of each window in an accumulator, which is all that is kept of them. Sessions need Merge.
func AggregateWindow[K, T, A, U any](w Windowed[K, T], name string, f Aggregate[T, A, U], opts ...Option) Stream[Pane[K, U]] {
	if f.Add == nil || f.Result == nil || f.Merge == nil && w.spec.gap > 0 {
		w.stream.job.fail(name, fmt.Errorf("an aggregate needs Add and Result, and Merge for sessions"))
	}
	return windowed(w, name, opts, func() windowStore[K, T, Pane[K, U]] {
		return &accStore[K, T, A, U]{
			fold: func(acc A, _ bool, v T) A { return f.Add(acc, v) },
			join: f.Merge, result: f.Result,
		}
	})
}

// ProcessWindow keeps all rows of each window, in the order in which they came, and has a function handle them when it ends. Rows are read from
// state one at a time.
func ProcessWindow[K, T, U any](w Windowed[K, T], name string, f func(key K, w Window, rows iter.Seq[T], out *Collector[U]), opts ...Option) Stream[U] {
	return windowed(w, name, opts, func() windowStore[K, T, U] { return &rowStore[K, T, U]{f: f} })
}

// windowStore keeps what is known of each window of the current key. A scope names a window.
type windowStore[K, T, U any] interface {
	open(c *KeyedContext[K]) error
	add(c *KeyedContext[K], scope []byte, v T)
	// merge adds what is in scope from to scope to.
	merge(c *KeyedContext[K], from, to []byte)
	emit(c *KeyedContext[K], scope []byte, w Window, out *Collector[U])
	clear(c *KeyedContext[K], scope []byte)
}

// windowed adds the operator.
func windowed[K, T, U any](w Windowed[K, T], name string, opts []Option, newStore func() windowStore[K, T, U]) Stream[U] {
	s, spec, at := w.stream, w.spec, w.at
	if spec.err != nil {
		s.job.fail(name, spec.err)
	}
	kind := EventTime
	if at == nil {
		kind = ProcessingTime
	}
	signature := Option(func(n *graph.Node) {
		n.Signature = fmt.Sprintf("windows size=%d slide=%d gap=%d lateness=%d %s", spec.size, spec.slide, spec.gap, spec.lateness, kind)
	})
	key, keys := s.key, s.keys
	return transform(s.Stream, name, true, append([]Option{signature}, opts...), func(typ *record.RowType[U]) operator.Operator {
		b := windowBase[K, T, U]{spec: spec, kind: kind, store: newStore()}
		var f windowFunction[K, T, U] = &aligned[K, T, U]{b}
		if spec.gap > 0 {
			f = &sessions[K, T, U]{windowBase: b}
		}
		p := newProcess(typ, keys, f)
		p.open = f.Open
		p.finish = func() (TimeKind, bool) { return ProcessingTime, kind == ProcessingTime }
		p.take = func(_ int, batch record.Batch) {
			in := batch.(*record.Rows[T]) // an edge carries one type
			now := int64(0)
			if at == nil {
				now = p.ctx.Now().UnixMilli()
			}
			p.row = func(i int) error {
				v, t := in.Values[i], now
				p.ctx.key, p.ctx.hash = key(v), in.Keys[i]
				if at != nil {
					t = at(v)
				}
				f.row(&p.ctx, v, t, &p.coll)
				return nil
			}
		}
		return p
	})
}

type windowFunction[K, T, U any] interface {
	TimerFunction[K, U]
	Open(c *KeyedContext[K]) error
	row(c *KeyedContext[K], v T, t int64, out *Collector[U])
}

// windowBase is what all kinds of windows share.
type windowBase[K, T, U any] struct {
	spec  Windows
	kind  TimeKind
	store windowStore[K, T, U]
	scope [16]byte
}

// now is the time up to which windows are over.
func (b *windowBase[K, T, U]) now(c *KeyedContext[K]) int64 {
	if b.kind == EventTime {
		return c.watermark
	}
	return record.MinTime // a row is never late by the clock it is given its time by
}

// gone says that a window is over and nothing is kept of it any more.
func (b *windowBase[K, T, U]) gone(c *KeyedContext[K], end int64) bool {
	return later(end-1, b.spec.lateness) <= b.now(c)
}

// late counts a row that is in no window any more.
func (b *windowBase[K, T, U]) late(c *KeyedContext[K]) {
	if c.Counters != nil {
		c.Counters.Add("lateRows", 1)
	}
}

// final says that the last watermark is being handled: no row follows.
func (b *windowBase[K, T, U]) final(c *KeyedContext[K]) bool {
	return b.kind == EventTime && c.watermark == record.MaxTime
}

// keeps says whether a window that is over is kept for late rows beyond the time of a timer, and sets the timer that ends that.
func (b *windowBase[K, T, U]) keeps(c *KeyedContext[K], at, end int64, scope []byte) bool {
	until := later(end-1, b.spec.lateness)
	if at >= until || b.final(c) {
		return false
	}
	c.setTimer(b.kind, until, scope)
	return true
}

// later adds durations to a time, up to the end of all time.
func later(t, d int64) int64 {
	if t > record.MaxTime-d {
		return record.MaxTime
	}
	return t + d
}

// aligned are windows that begin at the same times for all keys.
type aligned[K, T, U any] struct{ windowBase[K, T, U] }

// Open opens the store.
func (a *aligned[K, T, U]) Open(c *KeyedContext[K]) error { return a.store.open(c) }

// scopeOf names a window by its bounds.
func (a *aligned[K, T, U]) scopeOf(w Window) []byte {
	binary.LittleEndian.PutUint64(a.scope[:], uint64(w.Start))
	binary.LittleEndian.PutUint64(a.scope[8:], uint64(w.End))
	return a.scope[:]
}

// row puts a row into its windows.
func (a *aligned[K, T, U]) row(c *KeyedContext[K], v T, t int64, out *Collector[U]) {
	in := false
	rest := t % a.spec.slide
	if rest < 0 {
		rest += a.spec.slide
	}
	for start := t - rest; start > t-a.spec.size; start -= a.spec.slide {
		w := Window{start, start + a.spec.size}
		if a.gone(c, w.End) {
			continue
		}
		in = true
		scope := a.scopeOf(w)
		a.store.add(c, scope, v)
		if w.End-1 > a.now(c) {
			c.setTimer(a.kind, w.End-1, scope)
			continue
		}
		a.store.emit(c, scope, w, out)
		c.setTimer(a.kind, later(w.End-1, a.spec.lateness), scope)
	}
	if !in {
		a.late(c)
	}
}

// OnTimer emits a window, or gives it up.
func (a *aligned[K, T, U]) OnTimer(c *KeyedContext[K], t Timer, out *Collector[U]) error {
	w := Window{int64(binary.LittleEndian.Uint64(t.scope)), int64(binary.LittleEndian.Uint64(t.scope[8:]))}
	scope := a.scopeOf(w) // that of the timer doesn't last
	if t.At == w.End-1 {
		a.store.emit(c, scope, w, out)
	}
	if !a.keeps(c, t.At, w.End, scope) {
		a.store.clear(c, scope)
	}
	return nil
}
