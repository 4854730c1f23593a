// SPDX-License-Identifier: Apache-2.0

package columns

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// Keys says how rows become key bytes and hashes. The encoding is frozen: state is found by it.
//
//   - One Int column: the eight bytes of the integer, little endian.
//   - One String column: the bytes of the string.
//   - Otherwise, column after column: Int as above; Float as the eight bytes of its IEEE 754 form, little endian, with
//     -0 as 0 and every NaN as the same one; Bool as one byte, 0 or 1; String as its length (varint) and its bytes.
//
// It holds scratch memory and is used from one goroutine.
type Keys struct {
	columns []int
	kinds   []Kind
	scratch Vector
}

// NewKeys returns the keys made of these columns of the schema.
func NewKeys(s *Schema, columns []int) *Keys {
	k := &Keys{columns: columns, scratch: Vector{Kind: String}}
	for _, c := range columns {
		k.kinds = append(k.kinds, s.fields[c].Kind)
	}
	return k
}

// Kind says how state keeps the keys.
func (k *Keys) Kind() state.KeyKind {
	if len(k.kinds) == 1 && k.kinds[0] == Int {
		return state.Int64Keys
	}
	return state.BytesKeys
}

// Type is the signature that is recorded with state: "Int", "String", "Int,String".
func (k *Keys) Type() string {
	parts := make([]string, len(k.kinds))
	for i, kind := range k.kinds {
		parts[i] = kind.String()
	}
	return strings.Join(parts, ",")
}

// Ints returns the keys of the rows of b when the kind is [state.Int64Keys].
func (k *Keys) Ints(b *Batch) []int64 { return b.Columns[k.columns[0]].Ints }

// Texts returns the key bytes of the rows of b when the kind is [state.BytesKeys]. They are valid until the next call.
func (k *Keys) Texts(b *Batch) *Vector {
	if len(k.kinds) == 1 && k.kinds[0] == String {
		return &b.Columns[k.columns[0]]
	}
	k.scratch.Reset()
	for i := range b.n {
		start := len(k.scratch.Arena)
		for _, c := range k.columns {
			k.scratch.Arena = appendKey(k.scratch.Arena, &b.Columns[c], i)
		}
		k.scratch.closeText(start)
	}
	return &k.scratch
}

func appendKey(dst []byte, v *Vector, i int) []byte {
	switch v.Kind {
	case Int:
		return binary.LittleEndian.AppendUint64(dst, uint64(v.Ints[i]))
	case Float:
		return binary.LittleEndian.AppendUint64(dst, keyBits(v.Floats[i]))
	case Bool:
		if v.Bools[i] {
			return append(dst, 1)
		}
		return append(dst, 0)
	default:
		s := v.Text(i)
		return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
	}
}

func keyBits(f float64) uint64 {
	switch {
	case f == 0:
		return 0
	case f != f:
		return math.Float64bits(math.NaN())
	default:
		return math.Float64bits(f)
	}
}

// AppendHashes implements [record.Hasher].
func (k *Keys) AppendHashes(dst []uint64, in record.Batch) []uint64 {
	b, ok := in.(*Batch)
	if !ok {
		return dst
	}
	if k.Kind() == state.Int64Keys {
		for _, x := range k.Ints(b) {
			dst = append(dst, state.HashInt64(x))
		}
		return dst
	}
	keys := k.Texts(b)
	for _, s := range keys.Spans {
		dst = append(dst, state.HashBytes(keys.Arena[s.Start:s.End]))
	}
	return dst
}
