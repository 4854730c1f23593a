// SPDX-License-Identifier: Apache-2.0

package lines

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/dataflow/columns"
)

// field is the value of a column in the line that is being read.
type field struct {
	// line is the number of the line that set it; another number means that this line lacks the field.
	line  uint64
	int   int64
	float float64
	bool  bool
	text  []byte
}

type jsonDecoder struct {
	building
	scan   scanner
	fields []field
	line   uint64
	byName map[string]int
	// next is the column that is expected: most lines have their fields in the same order.
	next int
}

// NewJSON returns a decoder of lines that are JSON objects with the columns of schema as fields.
func NewJSON(schema *columns.Schema) format.Decoder {
	d := &jsonDecoder{
		building: building{schema: schema},
		fields:   make([]field, len(schema.Fields())),
		byName:   map[string]int{},
	}
	for i, f := range schema.Fields() {
		d.byName[f.Name] = i
	}
	return d
}

// Append implements [format.Decoder].
func (d *jsonDecoder) Append(line []byte) error {
	if !utf8.Valid(line) {
		return invalidUTF8(line)
	}
	d.line++
	d.next = 0
	d.scan.reset(line)
	if !d.object() {
		return &format.MalformedError{Offset: d.scan.at, Reason: d.scan.reason}
	}
	d.commit()
	d.rows++
	d.bytes += len(line)
	return nil
}

func (d *jsonDecoder) commit() {
	b := d.current()
	for i := range d.fields {
		f, v := &d.fields[i], &b.Columns[i]
		if f.line != d.line {
			v.AppendZero()
			continue
		}
		switch v.Kind {
		case columns.Int:
			v.Ints = append(v.Ints, f.int)
		case columns.Float:
			v.Floats = append(v.Floats, f.float)
		case columns.Bool:
			v.Bools = append(v.Bools, f.bool)
		default:
			v.AppendText(f.text)
		}
	}
}

// object reads the line: one object, and nothing after it.
func (d *jsonDecoder) object() bool {
	s := &d.scan
	s.space()
	if s.peek() != '{' {
		return s.fail("a JSON object was expected, which begins with '{'")
	}
	s.at++
	s.space()
	if s.peek() == '}' {
		s.at++
		return s.end()
	}
	for {
		if !d.member() {
			return false
		}
		s.space()
		switch s.peek() {
		case ',':
			s.at++
			s.space()
		case '}':
			s.at++
			return s.end()
		default:
			return s.fail("',' or '}' was expected after the value of a field")
		}
	}
}

// member reads a name and its value.
func (d *jsonDecoder) member() bool {
	s := &d.scan
	if s.peek() != '"' {
		return s.fail("the name of a field in quotes was expected")
	}
	name, ok := s.text()
	if !ok {
		return false
	}
	s.space()
	if s.peek() != ':' {
		return s.fail("':' was expected after the name of a field")
	}
	s.at++
	s.space()
	column := d.column(name)
	if column < 0 {
		return s.skip(0)
	}
	f := &d.fields[column]
	f.line = d.line
	return d.value(f, column)
}

func (d *jsonDecoder) column(name []byte) int {
	fields := d.schema.Fields()
	if d.next < len(fields) && string(name) == fields[d.next].Name {
		d.next++
		return d.next - 1
	}
	if i, ok := d.byName[string(name)]; ok {
		d.next = i + 1
		return i
	}
	return -1
}

// value reads the value of a column.
func (d *jsonDecoder) value(f *field, column int) bool {
	s := &d.scan
	kind := d.schema.Fields()[column].Kind
	c := s.peek()
	if c == 'n' {
		f.int, f.float, f.bool, f.text = 0, 0, false, nil
		return s.word("null")
	}
	switch {
	case kind == columns.String && c == '"':
		var ok bool
		f.text, ok = s.text()
		return ok
	case kind == columns.Int && (c == '-' || c-'0' <= 9):
		return d.integer(f, column)
	case kind == columns.Float && (c == '-' || c-'0' <= 9):
		var ok bool
		f.float, ok = s.float()
		return ok
	case kind == columns.Float && c == '"':
		return d.namedFloat(f, column)
	case kind == columns.Bool && c == 't':
		f.bool = true
		return s.word("true")
	case kind == columns.Bool && c == 'f':
		f.bool = false
		return s.word("false")
	}
	return d.mismatch(column, c)
}

func (d *jsonDecoder) integer(f *field, column int) bool {
	s := &d.scan
	start := s.at
	v, isInt, ok := s.integer()
	if !ok {
		return false
	}
	if !isInt {
		s.at = start
		return s.fail(fmt.Sprintf("column %q is Int, but the number is no whole number of 64 bits", d.name(column)))
	}
	f.int = v
	return true
}

// namedFloat reads what JSON numbers can't say.
func (d *jsonDecoder) namedFloat(f *field, column int) bool {
	s := &d.scan
	start := s.at
	text, ok := s.text()
	if !ok {
		return false
	}
	switch string(text) {
	case notANumber:
		f.float = math.NaN()
	case infinity:
		f.float = math.Inf(1)
	case "-" + infinity:
		f.float = math.Inf(-1)
	default:
		s.at = start
		return d.mismatch(column, '"')
	}
	return true
}

func (d *jsonDecoder) name(column int) string { return d.schema.Fields()[column].Name }

// mismatch says that a value is of another type than its column, or no value at all.
func (d *jsonDecoder) mismatch(column int, c byte) bool {
	s := &d.scan
	var found string
	switch {
	case c == '"':
		found = "a string"
	case c == '{':
		found = "an object"
	case c == '[':
		found = "an array"
	case c == 't' || c == 'f':
		found = "a boolean"
	case c == '-' || c-'0' <= 9:
		found = "a number"
	default:
		return s.fail("a value was expected")
	}
	return s.fail(fmt.Sprintf("column %q is %s, but the value is %s", d.name(column), d.schema.Fields()[column].Kind, found))
}
