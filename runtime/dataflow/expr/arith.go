// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"math"
	"math/bits"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
)

func init() {
	for overload, op := range map[string]intOp{
		"add_int64": addInts, "subtract_int64": subtractInts, "multiply_int64": multiplyInts,
		"divide_int64": divideInts, "modulo_int64": moduloInts,
	} {
		register(overload, func(args []node, _ []columns.Kind) node { return &intNode{l: args[0], r: args[1], op: op} })
	}
	for overload, op := range map[string]floatOp{
		"add_double": addFloats, "subtract_double": subtractFloats, "multiply_double": multiplyFloats, "divide_double": divideFloats,
	} {
		register(overload, func(args []node, _ []columns.Kind) node { return &floatNode{l: args[0], r: args[1], op: op} })
	}
	register("negate_int64", func(args []node, _ []columns.Kind) node { return &negateIntNode{arg: args[0]} })
	register("negate_double", func(args []node, _ []columns.Kind) node { return &negateFloatNode{arg: args[0]} })
}

// intOp sets out to l op r and calls fail for the rows where that is an error.
type intOp func(out, l, r []int64, fail func(int))

type intNode struct {
	l, r node
	op   intOp
	result
}

func (x *intNode) eval(b *columns.Batch) value {
	l, r, n := x.l.eval(b), x.r.eval(b), b.Len()
	x.start(n, l.bad, r.bad)
	x.op(x.ints(n), l.Ints[:n], r.Ints[:n], func(i int) { x.fail(i, n) })
	return x.value()
}

func addInts(out, l, r []int64, fail func(int)) {
	for i := range out {
		s := l[i] + r[i]
		if (s^l[i])&(s^r[i]) < 0 {
			fail(i)
		}
		out[i] = s
	}
}

func subtractInts(out, l, r []int64, fail func(int)) {
	for i := range out {
		d := l[i] - r[i]
		if (l[i]^r[i])&(l[i]^d) < 0 {
			fail(i)
		}
		out[i] = d
	}
}

func multiplyInts(out, l, r []int64, fail func(int)) {
	for i := range out {
		p, ok := multiply(l[i], r[i])
		if !ok {
			fail(i)
		}
		out[i] = p
	}
}

// multiply says whether the product fits.
func multiply(a, b int64) (int64, bool) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	h := int64(hi) - (a>>63)&b - (b>>63)&a
	return int64(lo), h == int64(lo)>>63
}

func divideInts(out, l, r []int64, fail func(int)) {
	for i := range out {
		if r[i] == 0 || (r[i] == -1 && l[i] == math.MinInt64) {
			fail(i)
			out[i] = 0
			continue
		}
		out[i] = l[i] / r[i]
	}
}

func moduloInts(out, l, r []int64, fail func(int)) {
	for i := range out {
		if r[i] == 0 || (r[i] == -1 && l[i] == math.MinInt64) {
			fail(i)
			out[i] = 0
			continue
		}
		out[i] = l[i] % r[i]
	}
}

type floatOp func(out, l, r []float64)

type floatNode struct {
	l, r node
	op   floatOp
	result
}

func (x *floatNode) eval(b *columns.Batch) value {
	l, r, n := x.l.eval(b), x.r.eval(b), b.Len()
	x.start(n, l.bad, r.bad)
	x.op(x.floats(n), l.Floats[:n], r.Floats[:n])
	return x.value()
}

func addFloats(out, l, r []float64) {
	for i := range out {
		out[i] = l[i] + r[i]
	}
}

func subtractFloats(out, l, r []float64) {
	for i := range out {
		out[i] = l[i] - r[i]
	}
}

func multiplyFloats(out, l, r []float64) {
	for i := range out {
		out[i] = l[i] * r[i]
	}
}

func divideFloats(out, l, r []float64) {
	for i := range out {
		out[i] = l[i] / r[i]
	}
}

type negateIntNode struct {
	arg node
	result
}

func (x *negateIntNode) eval(b *columns.Batch) value {
	a, n := x.arg.eval(b), b.Len()
	x.start(n, a.bad)
	out := x.ints(n)
	for i, v := range a.Ints[:n] {
		if v == math.MinInt64 {
			x.fail(i, n)
		}
		out[i] = -v
	}
	return x.value()
}

type negateFloatNode struct {
	arg node
	result
}

func (x *negateFloatNode) eval(b *columns.Batch) value {
	a, n := x.arg.eval(b), b.Len()
	x.start(n, a.bad)
	out := x.floats(n)
	for i, v := range a.Floats[:n] {
		out[i] = -v
	}
	return x.value()
}
