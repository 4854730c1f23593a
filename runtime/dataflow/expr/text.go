// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"bytes"
	"regexp"
	"unicode"
	"unicode/utf8"

	"github.com/google/cel-go/common/ast"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
)

func init() {
	register("string_lower_ascii", func(args []node, _ []columns.Kind) node { return &mapBytesNode{arg: args[0], table: &lowerTable} })
	register("string_upper_ascii", func(args []node, _ []columns.Kind) node { return &mapBytesNode{arg: args[0], table: &upperTable} })
	for overload, test := range map[string]func(s, arg []byte) bool{
		"contains_string": bytes.Contains, "starts_with_string": bytes.HasPrefix, "ends_with_string": bytes.HasSuffix,
	} {
		register(overload, func(args []node, _ []columns.Kind) node { return &testNode{l: args[0], r: args[1], test: test} })
	}
	for _, overload := range []string{"size_string", "string_size"} {
		register(overload, func(args []node, _ []columns.Kind) node { return &sizeNode{arg: args[0]} })
	}
	register("add_string", func(args []node, _ []columns.Kind) node { return &concatNode{l: args[0], r: args[1]} })
	register("string_trim", func(args []node, _ []columns.Kind) node { return &trimNode{arg: args[0]} })
	for _, overload := range []string{"string_substring_int", "string_substring_int_int"} {
		register(overload, func(args []node, _ []columns.Kind) node { return newSubstring(args) })
	}
	register("string_replace_string_string", func(args []node, _ []columns.Kind) node {
		return &replaceNode{arg: args[0], from: args[1], to: args[2]}
	})
}

var lowerTable, upperTable = byteTables()

func byteTables() (lower, upper [256]byte) {
	for i := range 256 {
		lower[i], upper[i] = byte(i), byte(i)
		if i >= 'A' && i <= 'Z' {
			lower[i] = byte(i) + 'a' - 'A'
		}
		if i >= 'a' && i <= 'z' {
			upper[i] = byte(i) - 'a' + 'A'
		}
	}
	return lower, upper
}

// mapBytesNode replaces each byte by what a table says; the table leaves bytes above ASCII as they are.
type mapBytesNode struct {
	arg   node
	table *[256]byte
	arena []byte
	result
}

func (x *mapBytesNode) eval(b *columns.Batch) value {
	a, n := x.arg.eval(b), b.Len()
	x.start(n, a.bad)
	used := 0
	for _, s := range a.Spans[:n] {
		used += int(s.End - s.Start)
	}
	if 2*used >= len(a.Arena) {
		// The rows use most of the arena: convert it in one go and share the spans.
		x.arena = resize(x.arena, len(a.Arena))
		mapBytes(x.arena, a.Arena, x.table)
		x.vec = columns.Vector{Kind: columns.String, Arena: x.arena, Spans: a.Spans[:n]}
		return x.value()
	}
	x.arena = resize(x.arena, used)
	x.vec = columns.Vector{Kind: columns.String, Arena: x.arena, Spans: make([]columns.Span, n)}
	at := uint32(0)
	for i := range n {
		s := a.Text(i)
		end := at + uint32(len(s))
		mapBytes(x.arena[at:end], s, x.table)
		x.vec.Spans[i], at = columns.Span{Start: at, End: end}, end
	}
	return x.value()
}

func mapBytes(dst, src []byte, table *[256]byte) {
	dst = dst[:len(src)]
	for i, c := range src {
		dst[i] = table[c]
	}
}

// testNode is a yes or no question about two strings.
type testNode struct {
	l, r node
	test func(s, arg []byte) bool
	result
}

func (x *testNode) eval(b *columns.Batch) value {
	l, r, n := x.l.eval(b), x.r.eval(b), b.Len()
	x.start(n, l.bad, r.bad)
	out := x.bools(n)
	for i := range out {
		out[i] = x.test(l.Text(i), r.Text(i))
	}
	return x.value()
}

// matches compiles a match with a literal pattern.
func (c compiler) matches(x, pattern ast.Expr) (node, error) {
	text, ok := literalString(pattern)
	if !ok || c.kindOf(x) != columns.String {
		return nil, nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	arg, err := c.node(x)
	return &matchNode{arg: arg, re: re}, err
}

type matchNode struct {
	arg node
	re  *regexp.Regexp
	result
}

func (x *matchNode) eval(b *columns.Batch) value {
	a, n := x.arg.eval(b), b.Len()
	x.start(n, a.bad)
	out := x.bools(n)
	for i := range out {
		out[i] = x.re.Match(a.Text(i))
	}
	return x.value()
}

// sizeNode is the number of code points of a string.
type sizeNode struct {
	arg node
	result
}

func (x *sizeNode) eval(b *columns.Batch) value {
	a, n := x.arg.eval(b), b.Len()
	x.start(n, a.bad)
	out := x.ints(n)
	for i := range out {
		out[i] = int64(utf8.RuneCount(a.Text(i)))
	}
	return x.value()
}

type concatNode struct {
	l, r node
	result
}

func (x *concatNode) eval(b *columns.Batch) value {
	l, r, n := x.l.eval(b), x.r.eval(b), b.Len()
	x.start(n, l.bad, r.bad)
	out := x.texts()
	for i := range n {
		out.AppendText(l.Text(i))
		out.Arena = append(out.Arena, r.Text(i)...)
		out.CloseText(i)
	}
	return x.value()
}

type trimNode struct {
	arg node
	result
}

func (x *trimNode) eval(b *columns.Batch) value {
	a, n := x.arg.eval(b), b.Len()
	x.start(n, a.bad)
	out := x.spans(a.Vector, n)
	for i, s := range a.Spans[:n] {
		text := a.Arena[s.Start:s.End]
		left := bytes.TrimLeftFunc(text, unicode.IsSpace)
		s.Start = s.End - uint32(len(left))
		s.End = s.Start + uint32(len(bytes.TrimRightFunc(left, unicode.IsSpace)))
		out[i] = s
	}
	return x.value()
}

// replaceNode replaces all occurrences.
type replaceNode struct {
	arg, from, to node
	result
}

func (x *replaceNode) eval(b *columns.Batch) value {
	a, f, t, n := x.arg.eval(b), x.from.eval(b), x.to.eval(b), b.Len()
	x.start(n, a.bad, f.bad, t.bad)
	out := x.texts()
	for i := range n {
		from, rest := f.Text(i), a.Text(i)
		if len(from) == 0 {
			out.AppendText(bytes.ReplaceAll(rest, nil, t.Text(i)))
			continue
		}
		out.AppendText(nil)
		for {
			at := bytes.Index(rest, from)
			if at < 0 {
				break
			}
			out.Arena = append(append(out.Arena, rest[:at]...), t.Text(i)...)
			rest = rest[at+len(from):]
		}
		out.Arena = append(out.Arena, rest...)
		out.CloseText(i)
	}
	return x.value()
}

// substringNode cuts by code points.
type substringNode struct {
	arg, from node
	to        node // nil for the end of the string
	result
}

func newSubstring(args []node) node {
	x := &substringNode{arg: args[0], from: args[1]}
	if len(args) == 3 {
		x.to = args[2]
	}
	return x
}

func (x *substringNode) eval(b *columns.Batch) value {
	a, f, n := x.arg.eval(b), x.from.eval(b), b.Len()
	to := value{}
	if x.to != nil {
		to = x.to.eval(b)
	}
	x.start(n, a.bad, f.bad, to.bad)
	out := x.spans(a.Vector, n)
	for i, s := range a.Spans[:n] {
		text := a.Arena[s.Start:s.End]
		start, end, ok := 0, len(text), true
		if to.Vector != nil {
			end, ok = pointOffset(text, to.Ints[i])
			ok = ok && f.Ints[i] <= to.Ints[i]
		}
		if ok {
			start, ok = pointOffset(text, f.Ints[i])
		}
		if !ok {
			x.fail(i, n)
			out[i] = columns.Span{}
			continue
		}
		out[i] = columns.Span{Start: s.Start + uint32(start), End: s.Start + uint32(end)}
	}
	return x.value()
}

// pointOffset is the offset in bytes of code point k of s; k may be their number.
func pointOffset(s []byte, k int64) (int, bool) {
	if k < 0 || k > int64(len(s)) {
		return 0, false
	}
	at := 0
	for ; k > 0; k-- {
		if at == len(s) {
			return 0, false
		}
		if s[at] < utf8.RuneSelf {
			at++
			continue
		}
		_, size := utf8.DecodeRune(s[at:])
		at += size
	}
	return at, true
}
