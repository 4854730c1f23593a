// SPDX-License-Identifier: Apache-2.0

package expr

import "github.com/weir-stream/weir/runtime/dataflow/columns"

func init() {
	register("logical_and", func(args []node, _ []columns.Kind) node {
		return &logicNode{l: args[0], r: args[1], decides: false}
	})
	register("logical_or", func(args []node, _ []columns.Kind) node {
		return &logicNode{l: args[0], r: args[1], decides: true}
	})
	register("logical_not", func(args []node, _ []columns.Kind) node { return &notNode{arg: args[0]} })
	register("conditional", func(args []node, kinds []columns.Kind) node {
		if kinds[1] != kinds[2] {
			return nil
		}
		return &conditionalNode{cond: args[0], then: args[1], otherwise: args[2], kind: kinds[1]}
	})
}

// logicNode is && or ||. A side that decides makes up for an error of the other side.
type logicNode struct {
	l, r node
	// decides is the value of a side that settles the result: false for &&, true for ||.
	decides bool
	result
}

func (x *logicNode) eval(b *columns.Batch) value {
	l, n := x.l.eval(b), b.Len()
	if l.bad == nil && all(l.Bools[:n], x.decides) {
		return l
	}
	r := x.r.eval(b)
	x.start(n)
	out := x.bools(n)
	for i := range out {
		if x.decides {
			out[i] = l.Bools[i] || r.Bools[i]
		} else {
			out[i] = l.Bools[i] && r.Bools[i]
		}
	}
	if l.bad == nil && r.bad == nil {
		return x.value()
	}
	for i := range out {
		lBad, rBad := isBad(l.bad, i), isBad(r.bad, i)
		switch {
		case !lBad && l.Bools[i] == x.decides, !rBad && r.Bools[i] == x.decides:
			out[i] = x.decides
		case lBad || rBad:
			x.fail(i, n)
		}
	}
	return x.value()
}

func all(bs []bool, want bool) bool {
	for _, b := range bs {
		if b != want {
			return false
		}
	}
	return true
}

func isBad(bad []bool, i int) bool { return bad != nil && bad[i] }

type notNode struct {
	arg node
	result
}

func (x *notNode) eval(b *columns.Batch) value {
	a, n := x.arg.eval(b), b.Len()
	x.start(n, a.bad)
	out := x.bools(n)
	for i, v := range a.Bools[:n] {
		out[i] = !v
	}
	return x.value()
}

// conditionalNode is cond ? then : otherwise.
type conditionalNode struct {
	cond, then, otherwise node
	kind                  columns.Kind
	result
}

func (x *conditionalNode) eval(b *columns.Batch) value {
	c, n := x.cond.eval(b), b.Len()
	if c.bad == nil {
		if all(c.Bools[:n], true) {
			return x.then.eval(b)
		}
		if all(c.Bools[:n], false) {
			return x.otherwise.eval(b)
		}
	}
	t, o := x.then.eval(b), x.otherwise.eval(b)
	x.start(n, c.bad)
	if t.bad != nil || o.bad != nil {
		for i, yes := range c.Bools[:n] {
			if (yes && isBad(t.bad, i)) || (!yes && isBad(o.bad, i)) {
				x.fail(i, n)
			}
		}
	}
	x.choose(c.Bools[:n], t.Vector, o.Vector)
	return x.value()
}

func (x *conditionalNode) choose(cond []bool, t, o *columns.Vector) {
	n := len(cond)
	switch x.kind {
	case columns.Int:
		choose(x.ints(n), cond, t.Ints, o.Ints)
	case columns.Float:
		choose(x.floats(n), cond, t.Floats, o.Floats)
	case columns.Bool:
		choose(x.bools(n), cond, t.Bools, o.Bools)
	default:
		out := x.texts()
		for i, yes := range cond {
			if yes {
				out.AppendText(t.Text(i))
			} else {
				out.AppendText(o.Text(i))
			}
		}
	}
}

func choose[T any](out []T, cond []bool, t, o []T) {
	for i, yes := range cond {
		if yes {
			out[i] = t[i]
		} else {
			out[i] = o[i]
		}
	}
}
