// SPDX-License-Identifier: Apache-2.0

package columns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/weir-stream/weir/runtime/record"
)

// The encoding of a batch: the number of rows as a varint, a byte that is 1 when hashes follow, the hashes (8 bytes
// each, little endian), then column after column: Int and Float as 8 bytes a row, little endian; Bool as one byte a
// row; String as the lengths, 4 bytes a row, then the text of all rows.

// maxWireRows bounds what a decoder believes before it has seen the bytes.
const maxWireRows = 1 << 26

// AppendBatch implements [record.Type].
func (s *Schema) AppendBatch(dst []byte, in record.Batch) ([]byte, error) {
	b, ok := in.(*Batch)
	if !ok || !b.schema.Equal(s) {
		return dst, fmt.Errorf("encoding a batch: it is not one of %s", s.name)
	}
	dst = binary.AppendUvarint(dst, uint64(b.n))
	if b.hashed {
		dst = append(dst, 1)
		for _, h := range b.hashes[:b.n] {
			dst = binary.LittleEndian.AppendUint64(dst, h)
		}
	} else {
		dst = append(dst, 0)
	}
	for c := range b.Columns {
		dst = appendVector(dst, &b.Columns[c])
	}
	return dst, nil
}

func appendVector(dst []byte, v *Vector) []byte {
	switch v.Kind {
	case Int:
		for _, x := range v.Ints {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(x))
		}
	case Float:
		for _, x := range v.Floats {
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(x))
		}
	case Bool:
		for _, x := range v.Bools {
			n := byte(0)
			if x {
				n = 1
			}
			dst = append(dst, n)
		}
	default:
		for _, s := range v.Spans {
			dst = binary.LittleEndian.AppendUint32(dst, s.End-s.Start)
		}
		for _, s := range v.Spans {
			dst = append(dst, v.Arena[s.Start:s.End]...)
		}
	}
	return dst
}

var errShortBatch = errors.New("decoding a batch: it is cut short")

// DecodeBatch implements [record.Type].
func (s *Schema) DecodeBatch(src []byte) (record.Batch, error) {
	n64, k := binary.Uvarint(src)
	if k <= 0 || len(src) == k {
		return nil, errShortBatch
	}
	if n64 > maxWireRows {
		return nil, fmt.Errorf("decoding a batch: %d rows are more than a batch can hold", n64)
	}
	n, flag, src := int(n64), src[k], src[k+1:]
	b := s.NewBatch()
	b.n = n
	src, err := b.decode(src, flag)
	if err == nil && len(src) > 0 {
		err = fmt.Errorf("decoding a batch: %d bytes are left over", len(src))
	}
	if err != nil {
		b.Release()
		return nil, err
	}
	return b, nil
}

func (b *Batch) decode(src []byte, flag byte) ([]byte, error) {
	switch {
	case flag > 1:
		return nil, fmt.Errorf("decoding a batch: unknown flag %d", flag)
	case flag == 1 && len(src) < 8*b.n:
		return nil, errShortBatch
	case flag == 1:
		for i := range b.n {
			b.hashes = append(b.hashes, binary.LittleEndian.Uint64(src[8*i:]))
		}
		b.hashed = true
		src = src[8*b.n:]
	}
	var err error
	for c := range b.Columns {
		if src, err = b.Columns[c].decode(src, b.n); err != nil {
			return nil, fmt.Errorf("column %q: %w", b.schema.fields[c].Name, err)
		}
	}
	return src, nil
}

func (v *Vector) decode(src []byte, n int) ([]byte, error) {
	if len(src) < n*v.width() {
		return nil, errShortBatch
	}
	switch v.Kind {
	case Int:
		for i := range n {
			v.Ints = append(v.Ints, int64(binary.LittleEndian.Uint64(src[8*i:])))
		}
	case Float:
		for i := range n {
			v.Floats = append(v.Floats, math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
		}
	case Bool:
		for _, x := range src[:n] {
			v.Bools = append(v.Bools, x != 0)
		}
	default:
		return v.decodeText(src, n)
	}
	return src[n*v.width():], nil
}

func (v *Vector) decodeText(src []byte, n int) ([]byte, error) {
	end := uint64(0)
	for i := range n {
		start := end
		end += uint64(binary.LittleEndian.Uint32(src[4*i:]))
		if end > uint64(len(src)-4*n) || end > math.MaxUint32 {
			return nil, errShortBatch
		}
		v.Spans = append(v.Spans, Span{uint32(start), uint32(end)})
	}
	v.Arena = append(v.Arena, src[4*n:4*n+int(end)]...)
	return src[4*n+int(end):], nil
}

// width is the size in the encoding of what each row has of its own.
func (v *Vector) width() int {
	switch v.Kind {
	case Bool:
		return 1
	case String:
		return 4
	default:
		return 8
	}
}
