// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// Map turns every row into another.
func Map[T, U any](s Stream[T], name string, f func(T) U, opts ...Option) Stream[U] {
	return transform(s, name, false, opts, func(typ *record.RowType[U]) operator.Operator {
		return &mapper[T, U]{f: f, base: base[U]{typ: typ}}
	})
}

// Filter keeps the rows for which keep is true.
func Filter[T any](s Stream[T], name string, keep func(T) bool, opts ...Option) Stream[T] {
	return transform(s, name, false, opts, func(typ *record.RowType[T]) operator.Operator {
		return &filter[T]{keep: keep, base: base[T]{typ: typ}}
	})
}

// FlatMap turns every row into any number of rows.
func FlatMap[T, U any](s Stream[T], name string, f func(v T, out *Collector[U]), opts ...Option) Stream[U] {
	return transform(s, name, false, opts, func(typ *record.RowType[U]) operator.Operator {
		return newEach(typ, func(r *record.Rows[T], i int, out *Collector[U]) error {
			f(r.Values[i], out)
			return nil
		})
	})
}

// base is what all row operators share: the output and its buffer.
type base[U any] struct {
	typ *record.RowType[U]
	out *record.Rows[U]
	to  operator.Output
}

// Open takes the output.
func (b *base[U]) Open(_ context.Context, c *operator.Context) error {
	b.to = c.Out
	b.out = b.typ.Get()
	return nil
}

// Resume has nothing to do: these operators emit once for each batch.
func (b *base[U]) Resume() (operator.Status, error) { return operator.Done, nil }

// Close releases the buffer.
func (b *base[U]) Close() error {
	if b.out != nil {
		b.out.Release()
		b.out = nil
	}
	return nil
}

func (b *base[U]) emit() (operator.Status, error) {
	if b.to == nil || len(b.out.Values) == 0 {
		return operator.Done, nil
	}
	return b.to.Emit(b.out)
}

// sized returns values, or a longer slice, with n elements to be overwritten.
func sized[T any](values []T, n int) []T {
	if cap(values) < n {
		values = make([]T, n, max(n, record.TargetRows))
	}
	return values[:n]
}

type mapper[T, U any] struct {
	base[U]
	f func(T) U
}

// Process maps the batch.
func (m *mapper[T, U]) Process(_ int, b record.Batch) (operator.Status, error) {
	in := b.(*record.Rows[T]).Values // an edge carries one type
	out, f := sized(m.out.Values, len(in)), m.f
	for i := range in {
		out[i] = f(in[i])
	}
	m.out.Values = out
	return m.emit()
}

type filter[T any] struct {
	base[T]
	keep func(T) bool
}

// Process copies the rows to keep. Every row is written, and one that isn't kept is written over: unlike a branch
// that costs the same whichever rows are kept.
func (o *filter[T]) Process(_ int, b record.Batch) (operator.Status, error) {
	in := b.(*record.Rows[T]).Values // an edge carries one type
	out, keep := sized(o.out.Values, len(in)), o.keep
	n := 0
	for i := range in {
		out[n] = in[i]
		kept := 0
		if keep(in[i]) {
			kept = 1
		}
		n += kept
	}
	if n < len(out) {
		out[n] = *new(T)
	}
	o.out.Values = out[:n]
	return o.emit()
}

// Collector takes the rows that a function emits. It is valid during the call it is given to.
type Collector[U any] struct{ rows []U }

// Emit adds a row to the output.
func (c *Collector[U]) Emit(v U) { c.rows = append(c.rows, v) }

// each calls a function for every row; the output goes on in portions, between rows.
type each[T, U any] struct {
	base[U]
	f    func(r *record.Rows[T], i int, out *Collector[U]) error
	coll Collector[U]
	in   *record.Rows[T]
	at   int
}

func newEach[T, U any](typ *record.RowType[U], f func(r *record.Rows[T], i int, out *Collector[U]) error) *each[T, U] {
	return &each[T, U]{base: base[U]{typ: typ}, f: f}
}

// Process begins a batch.
func (e *each[T, U]) Process(_ int, b record.Batch) (operator.Status, error) {
	e.in, e.at = b.(*record.Rows[T]), 0 // an edge carries one type
	return e.Resume()
}

// Resume goes on with the batch.
func (e *each[T, U]) Resume() (operator.Status, error) {
	for e.in != nil {
		e.coll.rows = e.out.Values[:0]
		for e.at < len(e.in.Values) && len(e.coll.rows) < record.TargetRows {
			if err := e.f(e.in, e.at, &e.coll); err != nil {
				return operator.Done, err
			}
			e.at++
		}
		if e.at == len(e.in.Values) {
			e.in = nil
		}
		e.out.Values = e.coll.rows
		if st, err := e.emit(); err != nil || st == operator.Paused {
			return st, err
		}
	}
	return operator.Done, nil
}
