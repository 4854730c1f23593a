// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"unsafe"
)

// Keys says how the keys of a Go type become key bytes and hashes. It is used from one goroutine.
type Keys[K any] struct {
	kind  KeyKind
	size  uintptr // of an integer; 0 otherwise
	sign  bool
	text  bool // a string type
	coder Coder[K]
	typ   string
	buf   []byte
	err   error
}

// KeysOf returns the keys of type K: an integer or string type, or another type with a coder, which may be nil for
// the former.
func KeysOf[K any](coder Coder[K]) (*Keys[K], error) {
	t := reflect.TypeFor[K]()
	k := &Keys[K]{kind: BytesKeys, coder: coder}
	switch {
	case coder != nil:
		k.typ = coder.Signature()
	case t.Kind() == reflect.String:
		k.text, k.typ = true, "string"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		k.kind, k.size, k.sign = Int64Keys, t.Size(), t.Kind() <= reflect.Int64
		k.typ = t.Kind().String()
	default:
		return nil, fmt.Errorf("keys of type %s need a coder; only integer and string types go without", t)
	}
	return k, nil
}

// Kind says how tables keep the keys.
func (k *Keys[K]) Kind() KeyKind { return k.kind }

// Type is the signature that is recorded in snapshots.
func (k *Keys[K]) Type() string { return k.typ }

// Err is the first error of the coder. A key that can't be encoded is taken for an empty one.
func (k *Keys[K]) Err() error { return k.err }

// Int64 returns the key as an integer, if it is one.
func (k *Keys[K]) Int64(key K) int64 {
	p := unsafe.Pointer(&key)
	switch {
	case k.size == 8:
		return *(*int64)(p)
	case k.size == 4 && k.sign:
		return int64(*(*int32)(p))
	case k.size == 4:
		return int64(*(*uint32)(p))
	case k.size == 2 && k.sign:
		return int64(*(*int16)(p))
	case k.size == 2:
		return int64(*(*uint16)(p))
	case k.sign:
		return int64(*(*int8)(p))
	default:
		return int64(*(*uint8)(p))
	}
}

// bytes returns the key bytes of a key that is no integer, valid until the next call and as long as key is.
func (k *Keys[K]) bytes(key *K) []byte {
	if k.text {
		s := *(*string)(unsafe.Pointer(key))
		return unsafe.Slice(unsafe.StringData(s), len(s))
	}
	b, err := k.coder.Append(k.buf[:0], *key)
	if err != nil {
		if k.err == nil {
			k.err = fmt.Errorf("encoding a key as %s: %w", k.typ, err)
		}
		return nil
	}
	k.buf = b
	return b
}

// Hash returns the key hash.
func (k *Keys[K]) Hash(key K) uint64 {
	if k.kind == Int64Keys {
		return HashInt64(k.Int64(key))
	}
	return HashBytes(k.bytes(&key))
}

// AppendHashes appends the hashes of all keys to dst.
func (k *Keys[K]) AppendHashes(dst []uint64, keys []K) []uint64 {
	if k.size == 8 {
		n := len(dst)
		dst = slices.Grow(dst, len(keys))[:n+len(keys)]
		HashInt64s(dst[n:], k.int64s(keys))
		return dst
	}
	for _, key := range keys {
		dst = append(dst, k.Hash(key))
	}
	return dst
}

// AppendKey appends the key bytes to dst.
func (k *Keys[K]) AppendKey(dst []byte, key K) []byte {
	if k.kind == Int64Keys {
		return binary.LittleEndian.AppendUint64(dst, uint64(k.Int64(key)))
	}
	return append(dst, k.bytes(&key)...)
}

// decode is the inverse of AppendKey.
func (k *Keys[K]) decode(b []byte) (K, error) {
	var key K
	switch {
	case k.kind == Int64Keys:
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&key)), k.size), b)
	case k.text:
		*(*string)(unsafe.Pointer(&key)) = string(b)
	default:
		return k.coder.Decode(b)
	}
	return key, nil
}
