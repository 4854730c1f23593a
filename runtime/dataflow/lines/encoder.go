// SPDX-License-Identifier: Apache-2.0

package lines

import (
	"math"
	"strconv"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/record"
)

// How floats are written that JSON numbers can't express; a Float column reads them back.
const (
	notANumber = "NaN"
	infinity   = "Infinity"
)

type jsonEncoder struct {
	// before is what comes before the value of each column: `{"key":`, `,"seq":`.
	before []string
}

// NewJSONEncoder returns an encoder that writes each row as a line with a JSON object, its fields in the order of the
// columns of schema.
func NewJSONEncoder(schema *columns.Schema) format.Encoder {
	e := &jsonEncoder{}
	for i, f := range schema.Fields() {
		start := byte(',')
		if i == 0 {
			start = '{'
		}
		name := appendText([]byte{start}, []byte(f.Name))
		e.before = append(e.before, string(append(name, ':')))
	}
	return e
}

// AppendBatch implements [format.Encoder].
func (e *jsonEncoder) AppendBatch(dst []byte, in record.Batch) []byte {
	b, ok := in.(*columns.Batch)
	if !ok {
		return dst
	}
	for i := range b.Len() {
		for c := range b.Columns {
			dst = append(dst, e.before[c]...)
			dst = appendJSON(dst, &b.Columns[c], i)
		}
		dst = append(dst, '}', '\n')
	}
	return dst
}

func appendJSON(dst []byte, v *columns.Vector, i int) []byte {
	switch v.Kind {
	case columns.Int:
		return strconv.AppendInt(dst, v.Ints[i], 10)
	case columns.Float:
		return appendFloat(dst, v.Floats[i])
	case columns.Bool:
		return strconv.AppendBool(dst, v.Bools[i])
	default:
		return appendText(dst, v.Text(i))
	}
}

func appendFloat(dst []byte, f float64) []byte {
	switch {
	case f != f:
		return append(dst, `"`+notANumber+`"`...)
	case math.IsInf(f, 1):
		return append(dst, `"`+infinity+`"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-`+infinity+`"`...)
	default:
		return strconv.AppendFloat(dst, f, 'g', -1, 64)
	}
}

const hexDigits = "0123456789abcdef"

func appendText(dst, s []byte) []byte {
	dst = append(dst, '"')
	for at := 0; ; {
		end := plain(s, at)
		dst = append(dst, s[at:end]...)
		if end == len(s) {
			return append(dst, '"')
		}
		switch c := s[end]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		at = end + 1
	}
}
