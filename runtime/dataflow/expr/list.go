// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"bytes"
	"unicode/utf8"

	"github.com/google/cel-go/common/ast"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
)

// List is a list for each row: row i has the elements from Ends[i-1] (0 for the first row) to Ends[i].
type List struct {
	// Ends has one entry for each row.
	Ends []uint32
	// Elems are the elements of all rows.
	Elems columns.Vector
}

// rowList is a List with the rows that have none.
type rowList struct {
	List
	bad []bool
}

// listNode computes a list for each row. What it returns is valid until its next evalList.
type listNode interface {
	evalList(b *columns.Batch) *rowList
}

// list compiles an expression that yields a list.
func (c compiler) list(x ast.Expr) (listNode, error) {
	l, err := c.vectorList(x)
	if l != nil || err != nil {
		return l, err
	}
	return c.interpretedList(x)
}

// vectorList compiles a list, or returns nil for one that is left to the interpreter.
func (c compiler) vectorList(x ast.Expr) (listNode, error) {
	if x.Kind() == ast.ListKind {
		return c.literalList(x)
	}
	overloads := c.p.ast.GetOverloadIDs(x.ID())
	if x.Kind() != ast.CallKind || len(overloads) != 1 {
		return nil, nil
	}
	call := x.AsCall()
	switch overloads[0] {
	case "string_words":
		arg, err := c.node(call.Target())
		return &wordsNode{arg: arg}, err
	case "string_split_string":
		sep, ok := literalString(call.Args()[0])
		if !ok {
			return nil, nil
		}
		arg, err := c.node(call.Target())
		return &splitNode{arg: arg, sep: []byte(sep)}, err
	}
	return nil, nil
}

func (c compiler) literalList(x ast.Expr) (listNode, error) {
	l := x.AsList()
	if len(l.Elements()) == 0 || len(l.OptionalIndices()) > 0 {
		return nil, nil
	}
	n := &listLiteralNode{kind: c.kindOf(l.Elements()[0])}
	for _, e := range l.Elements() {
		if n.kind == 0 || c.kindOf(e) != n.kind {
			return nil, nil
		}
		elem, err := c.node(e)
		if err != nil {
			return nil, err
		}
		n.elems = append(n.elems, elem)
	}
	return n, nil
}

// start empties the list, whose elements will be strings in the arena of v.
func (l *rowList) start(v value, n int) {
	l.bad, l.Ends = v.bad, resize(l.Ends, n)
	l.Elems.Kind, l.Elems.Arena, l.Elems.Spans = columns.String, v.Arena, l.Elems.Spans[:0]
}

// wordsNode takes the words out of strings: the longest runs of ASCII letters.
type wordsNode struct {
	arg node
	out rowList
}

var letters = letterTable()

func letterTable() (table [256]bool) {
	for i := range table {
		c := byte(i) | 0x20
		table[i] = c >= 'a' && c <= 'z'
	}
	return table
}

// nextWord returns where the first word of s at or after at starts and ends; both are equal when there is none.
func nextWord(s []byte, at int) (start, end int) {
	for at < len(s) && !letters[s[at]] {
		at++
	}
	start = at
	for at < len(s) && letters[s[at]] {
		at++
	}
	return start, at
}

func (x *wordsNode) evalList(b *columns.Batch) *rowList {
	a, n := x.arg.eval(b), b.Len()
	x.out.start(a, n)
	spans, arena := x.out.Elems.Spans, a.Arena
	for i, s := range a.Spans[:n] {
		for at := s.Start; ; {
			for at < s.End && !letters[arena[at]] {
				at++
			}
			if at == s.End {
				break
			}
			start := at
			for at < s.End && letters[arena[at]] {
				at++
			}
			spans = append(spans, columns.Span{Start: start, End: at})
		}
		x.out.Ends[i] = uint32(len(spans))
	}
	x.out.Elems.Spans = spans
	return &x.out
}

// splitNode splits at a literal separator; an empty one splits between code points.
type splitNode struct {
	arg node
	sep []byte
	out rowList
}

func (x *splitNode) evalList(b *columns.Batch) *rowList {
	a, n := x.arg.eval(b), b.Len()
	x.out.start(a, n)
	for i, s := range a.Spans[:n] {
		if len(x.sep) == 0 {
			x.points(a.Vector, s)
		} else {
			x.split(a.Vector, s)
		}
		x.out.Ends[i] = uint32(len(x.out.Elems.Spans))
	}
	return &x.out
}

func (x *splitNode) split(v *columns.Vector, s columns.Span) {
	spans := x.out.Elems.Spans
	for {
		var at int
		if len(x.sep) == 1 {
			at = bytes.IndexByte(v.Arena[s.Start:s.End], x.sep[0])
		} else {
			at = bytes.Index(v.Arena[s.Start:s.End], x.sep)
		}
		if at < 0 {
			spans = append(spans, s)
			x.out.Elems.Spans = spans
			return
		}
		end := s.Start + uint32(at)
		spans = append(spans, columns.Span{Start: s.Start, End: end})
		s.Start = end + uint32(len(x.sep))
	}
}

func (x *splitNode) points(v *columns.Vector, s columns.Span) {
	for s.Start < s.End {
		_, size := utf8.DecodeRune(v.Arena[s.Start:s.End])
		end := s.Start + uint32(size)
		x.out.Elems.Spans = append(x.out.Elems.Spans, columns.Span{Start: s.Start, End: end})
		s.Start = end
	}
}

// listLiteralNode is [a, b, c].
type listLiteralNode struct {
	elems []node
	kind  columns.Kind
	res   result
	out   rowList
}

func (x *listLiteralNode) evalList(b *columns.Batch) *rowList {
	n, k := b.Len(), len(x.elems)
	x.res.start(n)
	elems := &x.out.Elems
	elems.Kind = x.kind
	elems.Reset()
	vals := make([]value, k)
	for j, e := range x.elems {
		vals[j] = e.eval(b)
		x.res.markBad(vals[j].bad, n)
	}
	x.out.Ends = resize(x.out.Ends, n)
	for i := range n {
		for j := range vals {
			appendFrom(elems, vals[j].Vector, i)
		}
		x.out.Ends[i] = uint32((i + 1) * k)
	}
	x.out.bad = x.res.bad
	return &x.out
}

func (r *result) markBad(bad []bool, n int) {
	for i := range bad {
		if bad[i] {
			r.fail(i, n)
		}
	}
}

func appendFrom(dst, src *columns.Vector, i int) {
	switch dst.Kind {
	case columns.Int:
		dst.Ints = append(dst.Ints, src.Ints[i])
	case columns.Float:
		dst.Floats = append(dst.Floats, src.Floats[i])
	case columns.Bool:
		dst.Bools = append(dst.Bools, src.Bools[i])
	default:
		dst.AppendText(src.Text(i))
	}
}

// listSizeNode is the number of elements.
type listSizeNode struct {
	list listNode
	result
}

func (x *listSizeNode) eval(b *columns.Batch) value {
	l, n := x.list.evalList(b), b.Len()
	x.start(n, l.bad)
	out := x.ints(n)
	last := uint32(0)
	for i, end := range l.Ends[:n] {
		out[i], last = int64(end-last), end
	}
	return x.value()
}
