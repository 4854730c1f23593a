// SPDX-License-Identifier: Apache-2.0

package lines

import (
	"unicode/utf8"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/record"
)

// TextColumn is the column that text lines have.
const TextColumn = "line"

// fullBytes is how much text makes a batch full before it has its rows.
const fullBytes = 1 << 20

// building is a batch in the making.
type building struct {
	schema *columns.Schema
	batch  *columns.Batch
	rows   int
	bytes  int
}

// current returns the batch to append to.
func (d *building) current() *columns.Batch {
	if d.batch == nil {
		d.batch = d.schema.NewBatch()
	}
	return d.batch
}

// Len implements [format.Decoder].
func (d *building) Len() int { return d.rows }

// Full implements [format.Decoder].
func (d *building) Full() bool { return d.rows >= record.TargetRows || d.bytes >= fullBytes }

// Take implements [format.Decoder].
func (d *building) Take() record.Batch {
	if d.rows == 0 {
		return nil
	}
	b := d.batch
	b.SetLen(d.rows)
	d.batch, d.rows, d.bytes = nil, 0, 0
	return b
}

type textDecoder struct{ building }

// NewText returns a decoder that makes each line the one column of schema, which is a String.
func NewText(schema *columns.Schema) format.Decoder {
	return &textDecoder{building{schema: schema}}
}

// Append implements [format.Decoder].
func (d *textDecoder) Append(line []byte) error {
	if !utf8.Valid(line) {
		return invalidUTF8(line)
	}
	d.current().Columns[0].AppendText(line)
	d.rows++
	d.bytes += len(line)
	return nil
}

// invalidUTF8 says where the first byte is that isn't part of a code point.
func invalidUTF8(line []byte) error {
	at := 0
	for at < len(line) {
		r, size := utf8.DecodeRune(line[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return &format.MalformedError{Offset: at, Reason: "the text is not valid UTF-8"}
}
