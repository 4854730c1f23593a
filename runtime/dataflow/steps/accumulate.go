// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/dataflow/expr"
)

// cell is an aggregate and the place of its accumulator.
type cell struct {
	Aggregate
	// in is the kind of the values, kind that of the result.
	in, kind columns.Kind
	// word and text are the index of the first word, or of the text, among those of a key.
	word, text int
}

// accumulators are those of the keys of a batch: words side by side, and texts for aggregates over strings.
type accumulators struct {
	width, textWidth int
	words            []uint64
	texts            [][]byte
	// fresh says which keys have no state yet.
	fresh []bool
	// arena holds texts read from state, encoded what is written to it.
	arena, encoded []byte
}

func (a *accumulators) reset(n, width, textWidth int) {
	a.width, a.textWidth = width, textWidth
	a.words = resized(a.words, n*width)
	clear(a.words)
	a.texts = resized(a.texts, n*textWidth)
	clear(a.texts)
	a.fresh = resized(a.fresh, n)
	a.arena = a.arena[:0]
}

func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, 2*n)
	}
	return s[:n]
}

// of returns the words of a group.
func (a *accumulators) of(g int) []uint64 { return a.words[g*a.width : (g+1)*a.width] }

// The encoding of a value of variable size: the words, eight bytes each, little endian, then each text as its length
// (varint) and its bytes.

func (a *accumulators) encode(g int) []byte {
	a.encoded = a.encoded[:0]
	for _, w := range a.of(g) {
		a.encoded = binary.LittleEndian.AppendUint64(a.encoded, w)
	}
	for _, t := range a.texts[g*a.textWidth : (g+1)*a.textWidth] {
		a.encoded = binary.AppendUvarint(a.encoded, uint64(len(t)))
		a.encoded = append(a.encoded, t...)
	}
	return a.encoded
}

func (a *accumulators) decode(g int, src []byte) bool {
	if len(src) < 8*a.width {
		return false
	}
	for i := range a.width {
		a.words[g*a.width+i] = binary.LittleEndian.Uint64(src[8*i:])
	}
	src = src[8*a.width:]
	for i := range a.textWidth {
		n, k := binary.Uvarint(src)
		if k <= 0 || n > uint64(len(src)-k) {
			return false
		}
		start := len(a.arena)
		a.arena = append(a.arena, src[k:k+int(n)]...)
		a.texts[g*a.textWidth+i] = a.arena[start:len(a.arena):len(a.arena)]
		src = src[k+int(n):]
	}
	return len(src) == 0
}

// update adds the rows of b to one aggregate of their groups.
func (a *aggregate) update(c *cell, e *expr.Evaluator, b *columns.Batch) error {
	if e == nil {
		for _, g := range a.groups.of {
			a.acc.words[int(g)*a.words+c.word]++
		}
		return nil
	}
	v, err := e.Eval(b)
	if err != nil {
		return fmt.Errorf("aggregate %q: %w", c.Name, err)
	}
	switch {
	case c.kind == columns.String:
		a.updateTexts(c, v)
	case c.Function == contract.AvgFunction:
		a.updateAvg(c, v)
	case c.in == columns.Int:
		if row := a.updateInts(c, v.Ints); row >= 0 {
			return fmt.Errorf("aggregate %q: the sum no longer fits an Int (64 bits) at the row (%s); use a Float: double(...)",
				c.Name, b.Show(row))
		}
	case c.in == columns.Float:
		a.updateFloats(c, v.Floats)
	default:
		for row, g := range a.groups.of {
			w := uint64(0)
			if v.Bools[row] {
				w = 1
			}
			a.acc.words[int(g)*a.words+c.word] = w
		}
	}
	return nil
}

// begin gives new keys the value of their first row.
func (a *aggregate) begin(c *cell, first func(row uint32) uint64) {
	for g, fresh := range a.acc.fresh {
		if fresh {
			a.acc.words[g*a.words+c.word] = first(a.groups.first[g])
		}
	}
}

// updateInts returns the row at which a sum overflows, or -1.
func (a *aggregate) updateInts(c *cell, vals []int64) int {
	if c.Function != contract.SumFunction {
		a.begin(c, func(row uint32) uint64 { return uint64(vals[row]) })
	}
	words, width, at := a.acc.words, a.words, c.word
	for row, g := range a.groups.of {
		w, v := &words[int(g)*width+at], vals[row]
		old := int64(*w)
		switch c.Function {
		case contract.SumFunction:
			sum := old + v
			if (sum^old)&(sum^v) < 0 {
				return row
			}
			*w = uint64(sum)
		case contract.MinFunction:
			*w = uint64(min(old, v))
		case contract.MaxFunction:
			*w = uint64(max(old, v))
		default:
			*w = uint64(v)
		}
	}
	return -1
}

// updateFloats: a NaN counts for Min and Max only as long as there is nothing else.
func (a *aggregate) updateFloats(c *cell, vals []float64) {
	if c.Function != contract.SumFunction {
		a.begin(c, func(row uint32) uint64 { return math.Float64bits(vals[row]) })
	}
	words, width, at := a.acc.words, a.words, c.word
	for row, g := range a.groups.of {
		w, v := &words[int(g)*width+at], vals[row]
		old := math.Float64frombits(*w)
		switch c.Function {
		case contract.SumFunction:
			v = old + v
		case contract.MinFunction:
			if !(v < old || old != old) {
				continue
			}
		case contract.MaxFunction:
			if !(v > old || old != old) {
				continue
			}
		default:
		}
		*w = math.Float64bits(v)
	}
}

// updateAvg keeps a sum and a count.
func (a *aggregate) updateAvg(c *cell, v *columns.Vector) {
	for row, g := range a.groups.of {
		w := a.acc.words[int(g)*a.words+c.word:][:2]
		var x float64
		if c.in == columns.Int {
			x = float64(v.Ints[row])
		} else {
			x = v.Floats[row]
		}
		w[0] = math.Float64bits(math.Float64frombits(w[0]) + x)
		w[1]++
	}
}

// updateTexts notes where the new value lies; it is copied when it is written to state.
func (a *aggregate) updateTexts(c *cell, v *columns.Vector) {
	for row, g := range a.groups.of {
		t, val := &a.acc.texts[int(g)*a.texts+c.text], v.Text(row)
		first := a.acc.fresh[g] && int(a.groups.first[g]) == row
		switch {
		case first || c.Function == contract.LastFunction,
			c.Function == contract.MinFunction && bytes.Compare(val, *t) < 0,
			c.Function == contract.MaxFunction && bytes.Compare(val, *t) > 0:
			*t = val
		}
	}
}

// fill makes out the results of one aggregate.
func (a *accumulators) fill(out *columns.Vector, c *cell) {
	n := len(a.fresh)
	switch {
	case c.kind == columns.String:
		out.Reset()
		for g := range n {
			out.AppendText(a.texts[g*a.textWidth+c.text])
		}
	case c.Function == contract.AvgFunction:
		out.Floats = resized(out.Floats, n)
		for g := range n {
			w := a.of(g)[c.word:]
			out.Floats[g] = math.Float64frombits(w[0]) / float64(w[1])
		}
	case c.kind == columns.Int:
		out.Ints = resized(out.Ints, n)
		for g := range n {
			out.Ints[g] = int64(a.words[g*a.width+c.word])
		}
	case c.kind == columns.Float:
		out.Floats = resized(out.Floats, n)
		for g := range n {
			out.Floats[g] = math.Float64frombits(a.words[g*a.width+c.word])
		}
	default:
		out.Bools = resized(out.Bools, n)
		for g := range n {
			out.Bools[g] = a.words[g*a.width+c.word] != 0
		}
	}
}
