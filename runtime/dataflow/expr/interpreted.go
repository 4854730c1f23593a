// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
)

// rowActivation shows a row of a batch to the interpreter.
type rowActivation struct {
	schema *columns.Schema
	batch  *columns.Batch
	row    int
}

// ResolveName implements the activation of cel-go.
func (a *rowActivation) ResolveName(name string) (any, bool) {
	c := a.schema.Index(name)
	if c < 0 {
		return nil, false
	}
	v := &a.batch.Columns[c]
	switch v.Kind {
	case columns.Int:
		return types.Int(v.Ints[a.row]), true
	case columns.Float:
		return types.Double(v.Floats[a.row]), true
	case columns.Bool:
		return types.Bool(v.Bools[a.row]), true
	default:
		return types.String(v.Text(a.row)), true
	}
}

// Parent implements the activation of cel-go.
func (a *rowActivation) Parent() cel.Activation { return nil }

// interpreted leaves an expression to the interpreter.
func (c compiler) interpreted(x ast.Expr) (node, error) {
	p, err := c.p.plan(x)
	if err != nil {
		return nil, err
	}
	return &interpretedNode{program: p, kind: c.kindOf(x), row: rowActivation{schema: c.p.env.schema}}, nil
}

func (c compiler) interpretedList(x ast.Expr) (listNode, error) {
	p, err := c.p.plan(x)
	if err != nil {
		return nil, err
	}
	return &interpretedListNode{program: p, kind: c.p.kind, row: rowActivation{schema: c.p.env.schema}}, nil
}

// interpretedNode asks the interpreter row by row.
type interpretedNode struct {
	program cel.Program
	kind    columns.Kind
	row     rowActivation
	result
}

func (x *interpretedNode) eval(b *columns.Batch) value {
	n := b.Len()
	x.start(n)
	x.vec.Kind = x.kind
	x.vec.Reset()
	x.row.batch = b
	for i := range n {
		x.row.row = i
		v, _, err := x.program.Eval(&x.row)
		if err != nil || !appendValue(&x.vec, v) {
			x.vec.AppendZero()
			x.fail(i, n)
		}
	}
	x.row.batch = nil
	return x.value()
}

// appendValue appends a value of cel-go and says whether it is of the right kind.
func appendValue(dst *columns.Vector, v ref.Val) bool {
	switch v := v.(type) {
	case types.Int:
		dst.Ints = append(dst.Ints, int64(v))
		return dst.Kind == columns.Int
	case types.Double:
		dst.Floats = append(dst.Floats, float64(v))
		return dst.Kind == columns.Float
	case types.Bool:
		dst.Bools = append(dst.Bools, bool(v))
		return dst.Kind == columns.Bool
	case types.String:
		dst.AppendString(string(v))
		return dst.Kind == columns.String
	default:
		return false
	}
}

// interpretedListNode asks the interpreter for lists, row by row.
type interpretedListNode struct {
	program cel.Program
	kind    columns.Kind
	row     rowActivation
	res     result
	out     rowList
}

func (x *interpretedListNode) evalList(b *columns.Batch) *rowList {
	n := b.Len()
	x.res.start(n)
	x.out.Elems.Kind = x.kind
	x.out.Elems.Reset()
	x.out.Ends = resize(x.out.Ends, n)
	x.row.batch = b
	for i := range n {
		x.row.row = i
		v, _, err := x.program.Eval(&x.row)
		if err != nil || !appendList(&x.out.Elems, v) {
			x.res.fail(i, n)
		}
		x.out.Ends[i] = uint32(x.out.Elems.Len())
	}
	x.row.batch = nil
	x.out.bad = x.res.bad
	return &x.out
}

func appendList(dst *columns.Vector, v ref.Val) bool {
	l, ok := v.(traits.Lister)
	if !ok {
		return false
	}
	for it := l.Iterator(); it.HasNext() == types.True; {
		if !appendValue(dst, it.Next()) {
			return false
		}
	}
	return true
}
