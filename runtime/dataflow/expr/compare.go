// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"bytes"
	"cmp"

	"github.com/google/cel-go/common/ast"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
)

// relation is a comparison, as the set of outcomes for which it holds.
type relation struct{ less, equal, greater bool }

func init() {
	for name, rel := range map[string]relation{
		"less": {less: true}, "less_equals": {less: true, equal: true},
		"greater": {greater: true}, "greater_equals": {greater: true, equal: true},
	} {
		for suffix := range map[string]bool{"_int64": true, "_double": true, "_string": true} {
			register(name+suffix, func(args []node, kinds []columns.Kind) node { return compare(args, kinds, rel, true) })
		}
	}
	register("equals", func(args []node, kinds []columns.Kind) node {
		return compare(args, kinds, relation{equal: true}, false)
	})
	register("not_equals", func(args []node, kinds []columns.Kind) node {
		return compare(args, kinds, relation{less: true, greater: true}, false)
	})
}

// compare returns the node of a comparison; ordered says that NaN is an error.
func compare(args []node, kinds []columns.Kind, rel relation, ordered bool) node {
	if kinds[0] != kinds[1] {
		return nil
	}
	return &compareNode{l: args[0], r: args[1], kind: kinds[0], rel: rel, ordered: ordered}
}

type compareNode struct {
	l, r    node
	kind    columns.Kind
	rel     relation
	ordered bool
	result
}

func (x *compareNode) eval(b *columns.Batch) value {
	l, r, n := x.l.eval(b), x.r.eval(b), b.Len()
	x.start(n, l.bad, r.bad)
	out := x.bools(n)
	switch x.kind {
	case columns.Int:
		compareOrdered(out, l.Ints[:n], r.Ints[:n], x.rel)
	case columns.Float:
		x.floats(out, l.Floats[:n], r.Floats[:n])
	case columns.Bool:
		for i := range out {
			out[i] = (l.Bools[i] == r.Bools[i]) == x.rel.equal
		}
	default:
		x.texts(out, l.Vector, r.Vector)
	}
	return x.value()
}

// compareOrdered compares with one loop for each relation, so that there is no branch on it in the loop.
func compareOrdered[T cmp.Ordered](out []bool, l, r []T, rel relation) {
	l, r = l[:len(out)], r[:len(out)]
	switch rel {
	case relation{less: true}:
		for i := range out {
			out[i] = l[i] < r[i]
		}
	case relation{less: true, equal: true}:
		for i := range out {
			out[i] = l[i] <= r[i]
		}
	case relation{greater: true}:
		for i := range out {
			out[i] = l[i] > r[i]
		}
	case relation{greater: true, equal: true}:
		for i := range out {
			out[i] = l[i] >= r[i]
		}
	case relation{equal: true}:
		for i := range out {
			out[i] = l[i] == r[i]
		}
	default:
		for i := range out {
			out[i] = l[i] != r[i]
		}
	}
}

func (x *compareNode) floats(out []bool, l, r []float64) {
	compareOrdered(out, l, r, x.rel)
	if !x.ordered {
		return
	}
	for i := range out {
		if l[i] != l[i] || r[i] != r[i] {
			x.fail(i, len(out))
		}
	}
}

func (x *compareNode) texts(out []bool, l, r *columns.Vector) {
	if !x.ordered {
		for i := range out {
			out[i] = bytes.Equal(l.Text(i), r.Text(i)) == x.rel.equal
		}
		return
	}
	for i := range out {
		switch bytes.Compare(l.Text(i), r.Text(i)) {
		case -1:
			out[i] = x.rel.less
		case 0:
			out[i] = x.rel.equal
		default:
			out[i] = x.rel.greater
		}
	}
}

// membership compiles x in [literals].
func (c compiler) membership(x, list ast.Expr) (node, error) {
	kind := c.kindOf(x)
	if kind == 0 || list.Kind() != ast.ListKind {
		return nil, nil
	}
	elems := list.AsList().Elements()
	if len(elems) == 0 {
		return nil, nil
	}
	m := &memberNode{kind: kind, ints: map[int64]bool{}, texts: map[string]bool{}}
	for _, e := range elems {
		if e.Kind() != ast.LiteralKind || c.kindOf(e) != kind {
			return nil, nil
		}
		l, ok := literal(e.AsLiteral()).(*literalNode)
		if !ok {
			return nil, nil
		}
		m.add(&l.vec)
	}
	var err error
	m.arg, err = c.node(x)
	return m, err
}

// memberNode says whether a value is one of a set.
type memberNode struct {
	arg    node
	kind   columns.Kind
	ints   map[int64]bool
	floats []float64
	bools  [2]bool
	texts  map[string]bool
	result
}

func (x *memberNode) add(v *columns.Vector) {
	switch x.kind {
	case columns.Int:
		x.ints[v.Ints[0]] = true
	case columns.Float:
		x.floats = append(x.floats, v.Floats[0])
	case columns.Bool:
		x.bools[index(v.Bools[0])] = true
	default:
		x.texts[string(v.Text(0))] = true
	}
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (x *memberNode) eval(b *columns.Batch) value {
	a, n := x.arg.eval(b), b.Len()
	x.start(n, a.bad)
	out := x.result.bools(n)
	for i := range out {
		switch x.kind {
		case columns.Int:
			out[i] = x.ints[a.Ints[i]]
		case columns.Float:
			out[i] = false
			for _, f := range x.floats {
				out[i] = out[i] || f == a.Floats[i]
			}
		case columns.Bool:
			out[i] = x.bools[index(a.Bools[i])]
		default:
			out[i] = x.texts[string(a.Text(i))]
		}
	}
	return x.value()
}
