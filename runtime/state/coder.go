// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unsafe"
)

// Coder turns values of a type into bytes and back. For keys, equal keys must have equal bytes, for ever. It is
// used from one goroutine.
type Coder[T any] interface {
	// Append appends the encoding of v to dst.
	Append(dst []byte, v T) ([]byte, error)
	// Decode decodes a value. The result must not refer to src.
	Decode(src []byte) (T, error)
	// Signature names the encoding and what it encodes; state with another signature is not restored.
	Signature() string
}

// JSON is a Coder that writes JSON. Its signature is "json", so that fields may be added and removed.
type JSON[T any] struct{}

// Append implements Coder.
func (JSON[T]) Append(dst []byte, v T) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(dst, b...), err
}

// Decode implements Coder.
func (JSON[T]) Decode(src []byte) (T, error) {
	var v T
	err := json.Unmarshal(src, &v)
	return v, err
}

// Signature implements Coder.
func (JSON[T]) Signature() string { return "json" }

// stringCoder keeps strings and byte slices as they are.
type stringCoder[T any] struct{ name string }

func (stringCoder[T]) Append(dst []byte, v T) ([]byte, error) {
	return append(dst, *(*string)(unsafe.Pointer(&v))...), nil
}

func (c stringCoder[T]) Decode(src []byte) (T, error) {
	var v T
	if c.name == "string" {
		*(*string)(unsafe.Pointer(&v)) = string(src)
	} else {
		*(*[]byte)(unsafe.Pointer(&v)) = append([]byte{}, src...)
	}
	return v, nil
}

func (c stringCoder[T]) Signature() string { return c.name }

// memoryCoder keeps values without pointers, too large for a slot, as they are in memory.
type memoryCoder[T any] struct{ signature string }

func (memoryCoder[T]) Append(dst []byte, v T) ([]byte, error) {
	return append(dst, unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v))...), nil
}

func (memoryCoder[T]) Decode(src []byte) (T, error) {
	var v T
	if len(src) != int(unsafe.Sizeof(v)) {
		return v, fmt.Errorf("value has %d bytes instead of %d", len(src), unsafe.Sizeof(v))
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&v)), len(src)), src)
	return v, nil
}

func (c memoryCoder[T]) Signature() string { return c.signature }

// defaultCoder returns the coder for a type that has an obvious one: strings and byte slices.
func defaultCoder[T any]() Coder[T] {
	t := reflect.TypeFor[T]()
	switch {
	case t.Kind() == reflect.String:
		return stringCoder[T]{"string"}
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return stringCoder[T]{"bytes"}
	}
	return nil
}

// layout returns the signature of the memory of a type, such as "struct{Count int64; Sum float64}", or
// an error that names the part that is not plain memory.
func layout(t reflect.Type) (string, error) {
	switch t.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return t.Kind().String(), nil
	case reflect.Int:
		return "int64", nil
	case reflect.Uint:
		return "uint64", nil
	case reflect.Array:
		elem, err := layout(t.Elem())
		return fmt.Sprintf("[%d]%s", t.Len(), elem), err
	case reflect.Struct:
		return structLayout(t)
	default:
		return "", fmt.Errorf("type %s is not plain memory", t)
	}
}

func structLayout(t reflect.Type) (string, error) {
	fields := make([]string, 0, t.NumField())
	for f := range t.Fields() {
		l, err := layout(f.Type)
		if err != nil {
			return "", fmt.Errorf("field %s of %s: %w", f.Name, t, err)
		}
		fields = append(fields, f.Name+" "+l)
	}
	return "struct{" + strings.Join(fields, "; ") + "}", nil
}
