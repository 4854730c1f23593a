// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unsafe"
)

// Coder encodes single values of T for the wire and for state. It is stateless and safe for use
// by several goroutines. What it writes must be readable by later versions of a program.
type Coder[T any] interface {
	// Name describes the encoding; state and edges with different names are incompatible.
	Name() string
	// Append appends the encoding of v to dst.
	Append(dst []byte, v T) []byte
	// Decode reads one value and returns what follows it. It never panics; the value doesn't refer to src.
	Decode(src []byte) (v T, rest []byte, err error)
}

// BulkCoder encodes many values at once.
type BulkCoder[T any] interface {
	// AppendAll appends the encodings of all values.
	AppendAll(dst []byte, vs []T) []byte
	// DecodeAll appends n values to dst and returns it with what follows them in src.
	DecodeAll(dst []T, n int, src []byte) ([]T, []byte, error)
}

var errShort = errors.New("it ends too early")

// CoderOf returns the coder of T: for booleans, numbers, strings, byte slices, and structs of such.
// Reflection happens here, once; the coder itself works on offsets.
func CoderOf[T any]() (Coder[T], error) {
	t := reflect.TypeFor[T]()
	var fields []field
	name, err := describe(t, 0, &fields, 0)
	if err != nil {
		return nil, fmt.Errorf("making a coder of %s: %w", t, err)
	}
	if isRaw(t, fields) {
		return rawCoder[T]{name: name}, nil
	}
	return fieldCoder[T]{name: name, fields: fields}, nil
}

// MustCoderOf is CoderOf for types known to have a coder; it panics otherwise.
func MustCoderOf[T any]() Coder[T] {
	c, err := CoderOf[T]()
	if err != nil {
		panic(err)
	}
	return c
}

// field is a leaf of a type: where it is and what.
type field struct {
	offset uintptr
	kind   reflect.Kind // String, Slice (of bytes), or a fixed kind
	size   uintptr
}

const maxNesting = 8

// describe lists the leaves of a type and names its layout.
func describe(t reflect.Type, at uintptr, out *[]field, depth int) (string, error) {
	if depth > maxNesting {
		return "", fmt.Errorf("%s is nested deeper than %d", t, maxNesting)
	}
	switch t.Kind() { //nolint:exhaustive // the rest is refused below
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		*out = append(*out, field{at, t.Kind(), t.Size()})
		return t.Kind().String(), nil
	case reflect.String:
		*out = append(*out, field{at, reflect.String, 0})
		return "string", nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			*out = append(*out, field{at, reflect.Slice, 0})
			return "bytes", nil
		}
	case reflect.Array:
		return describeArray(t, at, out, depth)
	case reflect.Struct:
		return describeStruct(t, at, out, depth)
	}
	return "", fmt.Errorf("%s has no built-in coder: use numbers, booleans, strings, []byte and structs of those, or give a Coder", t)
}

func describeArray(t reflect.Type, at uintptr, out *[]field, depth int) (name string, err error) {
	for i := range t.Len() {
		if name, err = describe(t.Elem(), at+uintptr(i)*t.Elem().Size(), out, depth+1); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("[%d]%s", t.Len(), name), nil
}

func describeStruct(t reflect.Type, at uintptr, out *[]field, depth int) (string, error) {
	parts := make([]string, 0, t.NumField())
	for f := range t.Fields() {
		name, err := describe(f.Type, at+f.Offset, out, depth+1)
		if err != nil {
			return "", fmt.Errorf("field %s: %w", f.Name, err)
		}
		parts = append(parts, f.Name+" "+name)
	}
	return "struct{" + strings.Join(parts, "; ") + "}", nil
}

// isRaw says that the memory of a value is its encoding: fixed leaves that fill it without gaps.
func isRaw(t reflect.Type, fields []field) bool {
	var end uintptr
	for _, f := range fields {
		if f.size == 0 || f.offset != end || f.kind == reflect.Bool {
			return false
		}
		end = f.offset + f.size
	}
	return end == t.Size() && end > 0
}

func hasPointers[T any]() bool {
	var fields []field
	t := reflect.TypeFor[T]()
	if _, err := describe(t, 0, &fields, 0); err != nil {
		return true
	}
	for _, f := range fields {
		if f.size == 0 {
			return true
		}
	}
	return false
}

// rawCoder copies memory (little endian, as on every platform Weir runs on).
type rawCoder[T any] struct{ name string }

func (c rawCoder[T]) Name() string { return c.name }

func (c rawCoder[T]) Append(dst []byte, v T) []byte {
	return append(dst, unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v))...)
}

func (c rawCoder[T]) Decode(src []byte) (v T, rest []byte, err error) {
	n := int(unsafe.Sizeof(v))
	if len(src) < n {
		return v, nil, errShort
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&v)), n), src)
	return v, src[n:], nil
}

// AppendAll copies all values at once.
func (c rawCoder[T]) AppendAll(dst []byte, vs []T) []byte { return append(dst, rawBytes(vs)...) }

// DecodeAll copies all values at once.
func (c rawCoder[T]) DecodeAll(dst []T, n int, src []byte) ([]T, []byte, error) {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	if len(src) < size {
		return dst, nil, errShort
	}
	return appendRaw(dst, src[:size]), src[size:], nil
}

// fieldCoder encodes leaf by leaf: fixed ones as their memory, others with a length before them.
type fieldCoder[T any] struct {
	name   string
	fields []field
}

func (c fieldCoder[T]) Name() string { return c.name }

// beside is the length of all strings and slices of the rows.
func (c fieldCoder[T]) beside(rows []T) int {
	n := 0
	for i := range rows {
		base := unsafe.Pointer(&rows[i])
		for _, f := range c.fields {
			switch p := unsafe.Add(base, f.offset); f.kind { // all others are fixed
			case reflect.String:
				n += len(*(*string)(p))
			case reflect.Slice:
				n += len(*(*[]byte)(p))
			default:
			}
		}
	}
	return n
}

func (c fieldCoder[T]) Append(dst []byte, v T) []byte {
	base := unsafe.Pointer(&v)
	for _, f := range c.fields {
		p := unsafe.Add(base, f.offset)
		switch f.kind { // all others are fixed
		case reflect.String:
			s := *(*string)(p)
			dst = binary.AppendUvarint(dst, uint64(len(s)))
			dst = append(dst, s...)
		case reflect.Slice:
			s := *(*[]byte)(p)
			dst = binary.AppendUvarint(dst, uint64(len(s)))
			dst = append(dst, s...)
		default:
			dst = append(dst, unsafe.Slice((*byte)(p), f.size)...)
		}
	}
	return dst
}

func (c fieldCoder[T]) Decode(src []byte) (v T, rest []byte, err error) {
	base := unsafe.Pointer(&v)
	for _, f := range c.fields {
		p := unsafe.Add(base, f.offset)
		n := uint64(f.size)
		if f.size == 0 {
			var w int
			if n, w = binary.Uvarint(src); w <= 0 {
				return v, nil, errShort
			}
			src = src[w:]
		}
		if uint64(len(src)) < n {
			return v, nil, errShort
		}
		switch f.kind { // all others are fixed
		case reflect.String:
			*(*string)(p) = string(src[:n])
		case reflect.Slice:
			*(*[]byte)(p) = append([]byte{}, src[:n]...)
		case reflect.Bool:
			if src[0] > 1 {
				return v, nil, fmt.Errorf("%d is not a boolean", src[0])
			}
			*(*bool)(p) = src[0] == 1
		default:
			copy(unsafe.Slice((*byte)(p), f.size), src)
		}
		src = src[n:]
	}
	return v, src, nil
}
