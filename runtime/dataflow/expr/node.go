// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"errors"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
)

var errNoValue = errors.New("the expression has no value")

// value is what a node yields: a value for each row, and which rows have none.
type value struct {
	*columns.Vector
	// bad marks the rows that are errors; nil for none. What the vector holds for them is of no meaning.
	bad []bool
}

// node computes a value for each row of a batch. What it returns is valid until its next eval.
type node interface {
	eval(b *columns.Batch) value
}

// result is the memory of a node for what it yields.
type result struct {
	vec  columns.Vector
	bads []bool
	bad  []bool
}

// start empties the result and takes over the bad rows of the arguments.
func (r *result) start(n int, args ...[]bool) {
	r.bad = nil
	for _, bad := range args {
		if bad == nil {
			continue
		}
		for i := range n {
			if bad[i] {
				r.fail(i, n)
			}
		}
	}
}

// fail marks row i of n as bad.
func (r *result) fail(i, n int) {
	if r.bad == nil {
		r.bads = resize(r.bads, n)
		clear(r.bads)
		r.bad = r.bads
	}
	r.bad[i] = true
}

func (r *result) value() value { return value{&r.vec, r.bad} }

func (r *result) ints(n int) []int64 {
	r.vec.Kind, r.vec.Ints = columns.Int, resize(r.vec.Ints, n)
	return r.vec.Ints
}

func (r *result) floats(n int) []float64 {
	r.vec.Kind, r.vec.Floats = columns.Float, resize(r.vec.Floats, n)
	return r.vec.Floats
}

func (r *result) bools(n int) []bool {
	r.vec.Kind, r.vec.Bools = columns.Bool, resize(r.vec.Bools, n)
	return r.vec.Bools
}

// texts returns the vector as one of strings, with no row and an arena of its own that is empty.
func (r *result) texts() *columns.Vector {
	r.vec.Kind = columns.String
	r.vec.Reset()
	return &r.vec
}

// spans returns n spans into the arena of v.
func (r *result) spans(v *columns.Vector, n int) []columns.Span {
	r.vec.Kind, r.vec.Arena, r.vec.Spans = columns.String, v.Arena, resize(r.vec.Spans, n)
	return r.vec.Spans
}

// resize returns s with length n and any content.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, max(n, 1024))
	}
	return s[:n]
}

// columnNode is the value of a column.
type columnNode struct{ index int }

func (c *columnNode) eval(b *columns.Batch) value { return value{Vector: &b.Columns[c.index]} }

// literalNode is a constant.
type literalNode struct {
	vec  columns.Vector
	full columns.Vector
}

// literal returns the node of a constant, or nil when it is of no column type.
func literal(v ref.Val) node {
	n := &literalNode{}
	switch v := v.(type) {
	case types.Int:
		n.vec = columns.Vector{Kind: columns.Int, Ints: []int64{int64(v)}}
	case types.Double:
		n.vec = columns.Vector{Kind: columns.Float, Floats: []float64{float64(v)}}
	case types.Bool:
		n.vec = columns.Vector{Kind: columns.Bool, Bools: []bool{bool(v)}}
	case types.String:
		n.vec = columns.Vector{Kind: columns.String}
		n.vec.AppendString(string(v))
	default:
		return nil
	}
	n.full = n.vec
	return n
}

func (l *literalNode) eval(b *columns.Batch) value {
	for l.full.Len() < b.Len() {
		switch l.vec.Kind {
		case columns.Int:
			l.full.Ints = append(l.full.Ints, l.vec.Ints[0])
		case columns.Float:
			l.full.Floats = append(l.full.Floats, l.vec.Floats[0])
		case columns.Bool:
			l.full.Bools = append(l.full.Bools, l.vec.Bools[0])
		default:
			l.full.Spans = append(l.full.Spans, l.vec.Spans[0])
		}
	}
	l.vec = l.full.Slice(0, max(b.Len(), 1))
	return value{Vector: &l.vec}
}
