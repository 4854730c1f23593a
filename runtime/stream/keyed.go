// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"fmt"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// prefetchRows is how many keys are touched ahead, so that cache misses overlap.
const prefetchRows = 64

// Counted is a key and how often it was seen so far.
type Counted[K any] struct {
	Key   K
	Count int64
}

// Count counts the rows of every key and emits the new count on every row.
func Count[K, T any](s Keyed[K, T], name string, opts ...Option) Stream[Counted[K]] {
	key, keys := s.key, s.keys
	return transform(s.Stream, name, true, opts, func(typ *record.RowType[Counted[K]]) operator.Operator {
		return &counter[K, T]{base: base[Counted[K]]{typ: typ}, key: key, newKeys: keys}
	})
}

type counter[K, T any] struct {
	base[Counted[K]]
	key     func(T) K
	newKeys func() (*state.Keys[K], error)
	counts  *state.Value[K, int64]
	buf     []K
	ints    []int64
	result  []int64
}

// Open registers the state "count".
func (c *counter[K, T]) Open(ctx context.Context, oc *operator.Context) error {
	keys, err := c.newKeys()
	if err != nil {
		return err
	}
	if c.counts, err = state.OpenValue[K, int64](oc.Keyed, "count", keys, nil); err != nil {
		return err
	}
	return c.base.Open(ctx, oc)
}

// Process counts the batch.
func (c *counter[K, T]) Process(_ int, b record.Batch) (operator.Status, error) {
	in := b.(*record.Rows[T]) // an edge carries one type
	c.buf = c.buf[:0]
	for i := range in.Values {
		c.buf = append(c.buf, c.key(in.Values[i]))
	}
	if c.counts.Keys().Kind() == state.Int64Keys {
		c.countInts(in.Keys)
	} else {
		c.countKeys(in.Keys)
	}
	if c.to != nil {
		out := c.out.Values[:0]
		for i, k := range c.buf {
			out = append(out, Counted[K]{k, c.result[i]})
		}
		c.out.Values = out
	}
	return c.emit()
}

func (c *counter[K, T]) countInts(hashes []uint64) {
	keys := c.counts.Keys()
	if direct, ok := any(c.buf).([]int64); ok {
		c.ints = direct
	} else {
		c.ints = c.ints[:0]
		for _, k := range c.buf {
			c.ints = append(c.ints, keys.Int64(k))
		}
	}
	c.sized(len(c.buf))
	c.counts.Table().AddInt64s(c.ints, hashes, nil, c.result)
}

func (c *counter[K, T]) countKeys(hashes []uint64) {
	c.sized(len(c.buf))
	for i, k := range c.buf {
		if i%prefetchRows == 0 {
			c.counts.Prefetch(hashes[i:min(i+prefetchRows, len(hashes))])
		}
		p, _ := c.counts.Ref(k, hashes[i])
		*p++
		c.result[i] = *p
	}
}

func (c *counter[K, T]) sized(n int) {
	if cap(c.result) < n {
		c.result = make([]int64, n, max(n, 2*record.TargetRows))
	}
	c.result = c.result[:n]
}

// Reduce combines the rows of every key into one and emits the new value on every row. The
// function must be associative. Rows that hold pointers need a coder for state: see [Process].
func Reduce[K, T any](s Keyed[K, T], name string, combine func(acc, v T) T, opts ...Option) Stream[T] {
	key, keys := s.key, s.keys
	return transform(s.Stream, name, true, opts, func(typ *record.RowType[T]) operator.Operator {
		return &reducer[K, T]{base: base[T]{typ: typ}, key: key, newKeys: keys, combine: combine}
	})
}

type reducer[K, T any] struct {
	base[T]
	key     func(T) K
	newKeys func() (*state.Keys[K], error)
	combine func(acc, v T) T
	values  *state.Reducing[K, T]
}

// Open registers the state "reduce".
func (r *reducer[K, T]) Open(ctx context.Context, oc *operator.Context) error {
	keys, err := r.newKeys()
	if err != nil {
		return err
	}
	if r.values, err = state.OpenReducing(oc.Keyed, "reduce", keys, stateCoder(r.typ.Coder()), r.combine); err != nil {
		return err
	}
	return r.base.Open(ctx, oc)
}

// Process reduces the batch.
func (r *reducer[K, T]) Process(_ int, b record.Batch) (operator.Status, error) {
	in := b.(*record.Rows[T]) // an edge carries one type
	out := r.out.Values[:0]
	for i, v := range in.Values {
		out = append(out, r.values.Add(r.key(v), in.Keys[i], v))
	}
	r.out.Values = out
	return r.emit()
}

// stateCoder lets a coder of rows encode state; nil for plain memory, which state keeps by itself.
func stateCoder[T any](c record.Coder[T]) state.Coder[T] {
	if _, raw := c.(record.BulkCoder[T]); raw || c == nil {
		return nil
	}
	return coderOfState[T]{c}
}

type coderOfState[T any] struct{ c record.Coder[T] }

// Append implements state.Coder.
func (s coderOfState[T]) Append(dst []byte, v T) ([]byte, error) { return s.c.Append(dst, v), nil }

// Decode implements state.Coder.
func (s coderOfState[T]) Decode(src []byte) (T, error) {
	v, rest, err := s.c.Decode(src)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes too many", len(rest))
	}
	return v, err
}

// Signature implements state.Coder.
func (s coderOfState[T]) Signature() string { return s.c.Name() }
