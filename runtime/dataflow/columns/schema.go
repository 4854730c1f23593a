// SPDX-License-Identifier: Apache-2.0

package columns

import (
	"fmt"
	"strings"
	"sync"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/record"
)

// Kind is the type of a column.
type Kind uint8

// The kinds of column. Zero is not a valid kind.
const (
	// Int is a signed integer of 64 bits.
	Int Kind = iota + 1
	// Float is a floating point number of 64 bits.
	Float
	// Bool is true or false.
	Bool
	// String is UTF-8 text.
	String
)

// String returns the name of the kind as it is written in a StreamJob.
func (k Kind) String() string {
	switch k {
	case Int:
		return string(contract.IntColumn)
	case Float:
		return string(contract.FloatColumn)
	case Bool:
		return string(contract.BoolColumn)
	case String:
		return string(contract.StringColumn)
	default:
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
}

// KindOf returns the kind for a column type of a StreamJob.
func KindOf(t contract.ColumnType) (Kind, error) {
	switch t {
	case contract.IntColumn:
		return Int, nil
	case contract.FloatColumn:
		return Float, nil
	case contract.BoolColumn:
		return Bool, nil
	case contract.StringColumn:
		return String, nil
	default:
		return 0, fmt.Errorf("column type %q is not one of String, Int, Float, Bool", t)
	}
}

// Field is a column of a schema.
type Field struct {
	// Name of the column.
	Name string
	// Kind of its values.
	Kind Kind
}

// Schema names the columns of a batch, in order. It is the [record.Type] of the edges that carry such batches.
// It is immutable and safe for use by several goroutines.
type Schema struct {
	fields []Field
	name   string
	pool   sync.Pool
}

var _ record.Type = (*Schema)(nil)

// NewSchema returns the schema with these columns.
func NewSchema(fields ...Field) *Schema {
	s := &Schema{fields: append([]Field(nil), fields...)}
	parts := make([]string, len(fields))
	for i, f := range fields {
		parts[i] = f.Name + " " + f.Kind.String()
	}
	s.name = "columns(" + strings.Join(parts, ", ") + ")"
	return s
}

// Fields lists the columns. Read only.
func (s *Schema) Fields() []Field { return s.fields }

// Index returns the position of a column, or -1.
func (s *Schema) Index(name string) int {
	for i := range s.fields {
		if s.fields[i].Name == name {
			return i
		}
	}
	return -1
}

// Names lists the names of the columns with their types, for messages: "line String, n Int".
func (s *Schema) Names() string {
	return strings.TrimSuffix(strings.TrimPrefix(s.name, "columns("), ")")
}

// Equal says whether both have the same columns in the same order.
func (s *Schema) Equal(o *Schema) bool { return s.name == o.name }

// Name identifies the type: "columns(key Int, seq Int)".
func (s *Schema) Name() string { return s.name }

// NewBatch returns an empty batch of the pool, held once by the caller.
func (s *Schema) NewBatch() *Batch {
	b, ok := s.pool.Get().(*Batch)
	if !ok {
		b = s.NewView()
		b.pooled = true
	}
	b.refs.Reset()
	b.reset()
	return b
}

// NewView returns a batch that isn't pooled: Retain and Release do nothing, and its vectors may be shared.
func (s *Schema) NewView() *Batch {
	b := &Batch{schema: s, Columns: make([]Vector, len(s.fields))}
	for i, f := range s.fields {
		b.Columns[i].Kind = f.Kind
	}
	return b
}
