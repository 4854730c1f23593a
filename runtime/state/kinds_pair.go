// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
)

// pairHash returns the hash of a pair key: xxh3-64 of its bytes, with the remainder by the number of key groups replaced
// by that of its owner, so that it lies in the owner's key group.
func (t *Table) pairHash(owner uint64, pair []byte) uint64 {
	h := HashBytes(pair)
	if !t.anyMax {
		return h&^t.gmask | owner&t.gmask
	}
	groups := t.gmask + 1
	h -= h % groups
	g := owner % groups
	if h > math.MaxUint64-g {
		h -= groups
	}
	return h + g
}

// hashOf returns the hash of a key by its bytes.
func (t *Table) hashOf(key []byte) uint64 {
	if t.desc.Keys != PairKeys {
		return HashBytes(key)
	}
	owner, _ := pairOwner(key)
	return t.pairHash(HashBytes(owner), key)
}

// pairOwner returns the key bytes of the owner that a pair key begins with, and whether there is one.
func pairOwner(pair []byte) ([]byte, bool) {
	n, w := binary.Uvarint(pair)
	if w <= 0 || n > uint64(len(pair)-w) {
		return nil, false
	}
	return pair[w : w+int(n)], true
}

// appendOwner appends the key bytes of an owner, as a pair key begins.
func (k *Keys[K]) appendOwner(dst []byte, key K) []byte {
	if k.kind == Int64Keys {
		dst = append(dst, 8)
		return binary.LittleEndian.AppendUint64(dst, uint64(k.Int64(key)))
	}
	b := k.bytes(&key)
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// elementCoder returns the coder for values that lie in entries of variable size: coder itself if there is one.
func elementCoder[V any](name string, coder Coder[V]) (Coder[V], error) {
	if coder != nil {
		return coder, nil
	}
	if coder = defaultCoder[V](); coder != nil {
		return coder, nil
	}
	signature, err := layout(reflect.TypeFor[V]())
	if err != nil {
		return nil, fmt.Errorf("opening state %q: %w; give the state a coder, for example state.JSON", name, err)
	}
	return memoryCoder[V]{signature}, nil
}
