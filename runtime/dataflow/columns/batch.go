// SPDX-License-Identifier: Apache-2.0

package columns

import (
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/weir-stream/weir/runtime/record"
)

const tooMuchText = "columns: the text of one batch is larger than 4 GiB"

// maxKeptArena is how large an arena may be to stay with a pooled batch.
const maxKeptArena = 1 << 20

// Batch is rows, column by column. See the package comment for who owns the vectors.
type Batch struct {
	refs   record.Refs
	schema *Schema
	pooled bool
	n      int
	hashes []uint64
	hashed bool
	// Columns in the order of the schema. Each has Len values.
	Columns []Vector
}

var (
	_ record.Batch = (*Batch)(nil)
	_ record.Sized = (*Batch)(nil)
)

// Len is the number of rows.
func (b *Batch) Len() int { return b.n }

// SetLen says how many rows the vectors hold.
func (b *Batch) SetLen(n int) { b.n = n }

// Schema describes the columns.
func (b *Batch) Schema() *Schema { return b.schema }

// Hashes returns the key hash of each row, or nil when the rows carry none. Read only.
func (b *Batch) Hashes() []uint64 {
	if !b.hashed {
		return nil
	}
	return b.hashes
}

// SetHashes gives the rows of a view their key hashes; nil takes them away.
func (b *Batch) SetHashes(hashes []uint64) { b.hashes, b.hashed = hashes, hashes != nil }

// Retain adds n holders.
func (b *Batch) Retain(n int) {
	if b.pooled {
		b.refs.Retain(n)
	}
}

// Release drops one holder; the last one gives the batch back to the pool of its schema.
func (b *Batch) Release() {
	if b.pooled && b.refs.Drop() {
		b.schema.pool.Put(b)
	}
}

func (b *Batch) reset() {
	b.n, b.hashed, b.hashes = 0, false, b.hashes[:0]
	for i := range b.Columns {
		b.Columns[i].Reset()
	}
}

// Bytes is the size of the text in the arenas.
func (b *Batch) Bytes() int {
	n := 0
	for i := range b.Columns {
		n += len(b.Columns[i].Arena)
	}
	return n
}

// Memory implements [record.Sized].
func (b *Batch) Memory() (rows, all int) {
	rows, all = 8*len(b.hashes), 8*cap(b.hashes)
	for i := range b.Columns {
		v := &b.Columns[i]
		rows += 8*(len(v.Ints)+len(v.Floats)+len(v.Spans)) + len(v.Bools) + len(v.Arena)
		all += 8*(cap(v.Ints)+cap(v.Floats)+cap(v.Spans)) + cap(v.Bools) + cap(v.Arena)
	}
	return rows, all
}

// Span is where a string lies in an arena.
type Span struct{ Start, End uint32 }

// Vector is the values of one column. The slice of its kind is set.
type Vector struct {
	// Kind says which slice holds the values.
	Kind Kind
	// Ints, Floats and Bools are the values of such columns.
	Ints   []int64
	Floats []float64
	Bools  []bool
	// Arena holds the text and Spans the place of each row's string in it.
	Arena []byte
	Spans []Span
}

// Reset empties the vector and keeps its memory, unless that is very large.
func (v *Vector) Reset() {
	v.Ints, v.Floats, v.Bools = v.Ints[:0], v.Floats[:0], v.Bools[:0]
	v.Spans = v.Spans[:0]
	if cap(v.Arena) > maxKeptArena {
		v.Arena = nil
	}
	v.Arena = v.Arena[:0]
}

// Len is the number of values.
func (v *Vector) Len() int {
	switch v.Kind {
	case Int:
		return len(v.Ints)
	case Float:
		return len(v.Floats)
	case Bool:
		return len(v.Bools)
	default:
		return len(v.Spans)
	}
}

// Text returns the string of row i, which must not be changed.
func (v *Vector) Text(i int) []byte {
	s := v.Spans[i]
	return v.Arena[s.Start:s.End]
}

// AppendText appends a string.
func (v *Vector) AppendText(s []byte) {
	start := len(v.Arena)
	v.Arena = append(v.Arena, s...)
	v.closeText(start)
}

// AppendString appends a string.
func (v *Vector) AppendString(s string) {
	start := len(v.Arena)
	v.Arena = append(v.Arena, s...)
	v.closeText(start)
}

func (v *Vector) closeText(start int) {
	if len(v.Arena) > math.MaxUint32 {
		panic(tooMuchText)
	}
	v.Spans = append(v.Spans, Span{uint32(start), uint32(len(v.Arena))})
}

// CloseText makes the string of row i, the last one, end where the arena ends now.
func (v *Vector) CloseText(i int) {
	if len(v.Arena) > math.MaxUint32 {
		panic(tooMuchText)
	}
	v.Spans[i].End = uint32(len(v.Arena))
}

// AppendZero appends the zero value of the kind.
func (v *Vector) AppendZero() {
	switch v.Kind {
	case Int:
		v.Ints = append(v.Ints, 0)
	case Float:
		v.Floats = append(v.Floats, 0)
	case Bool:
		v.Bools = append(v.Bools, false)
	default:
		v.Spans = append(v.Spans, Span{})
	}
}

// AppendAll appends all values of o, which has the same kind.
func (v *Vector) AppendAll(o *Vector) {
	switch v.Kind {
	case Int:
		v.Ints = append(v.Ints, o.Ints...)
	case Float:
		v.Floats = append(v.Floats, o.Floats...)
	case Bool:
		v.Bools = append(v.Bools, o.Bools...)
	default:
		for _, s := range o.Spans {
			v.AppendText(o.Arena[s.Start:s.End])
		}
	}
}

// Gather makes v the values of o at the given rows. Text is shared with o.
func (v *Vector) Gather(o *Vector, rows []uint32) {
	v.Kind = o.Kind
	switch o.Kind {
	case Int:
		v.Ints = gather(v.Ints[:0], o.Ints, rows)
	case Float:
		v.Floats = gather(v.Floats[:0], o.Floats, rows)
	case Bool:
		v.Bools = gather(v.Bools[:0], o.Bools, rows)
	default:
		v.Arena, v.Spans = o.Arena, gather(v.Spans[:0], o.Spans, rows)
	}
}

func gather[T any](dst, src []T, rows []uint32) []T {
	for _, r := range rows {
		dst = append(dst, src[r])
	}
	return dst
}

// Slice returns the values of rows lo to hi-1, shared with v.
func (v *Vector) Slice(lo, hi int) Vector {
	out := Vector{Kind: v.Kind}
	switch v.Kind {
	case Int:
		out.Ints = v.Ints[lo:hi]
	case Float:
		out.Floats = v.Floats[lo:hi]
	case Bool:
		out.Bools = v.Bools[lo:hi]
	default:
		out.Arena, out.Spans = v.Arena, v.Spans[lo:hi]
	}
	return out
}

// maxShown is how much of a string a message shows.
const maxShown = 80

// AppendShown appends the value of row i in a form for messages: text is quoted and cut when it is long.
func (v *Vector) AppendShown(dst []byte, i int) []byte {
	switch v.Kind {
	case Int:
		return strconv.AppendInt(dst, v.Ints[i], 10)
	case Float:
		return strconv.AppendFloat(dst, v.Floats[i], 'g', -1, 64)
	case Bool:
		return strconv.AppendBool(dst, v.Bools[i])
	default:
		return appendShownText(dst, v.Text(i))
	}
}

func appendShownText(dst, s []byte) []byte {
	if len(s) <= maxShown {
		return strconv.AppendQuote(dst, string(s))
	}
	cut := maxShown
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	dst = strconv.AppendQuote(dst, string(s[:cut]))
	return append(dst, "..."...)
}

// maxShownRow is how much of a row a message shows.
const maxShownRow = 1000

// Show returns row i for messages: key=1, word="the".
func (b *Batch) Show(i int) string {
	var out []byte
	for c := range b.Columns {
		if c > 0 {
			out = append(out, ", "...)
		}
		if len(out) > maxShownRow {
			return string(append(out, "..."...))
		}
		out = append(out, b.schema.fields[c].Name...)
		out = append(out, '=')
		out = b.Columns[c].AppendShown(out, i)
	}
	return string(out)
}
