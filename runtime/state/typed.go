// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"
	"reflect"
	"unsafe"
)

// Value is a state with one value of type V for each key of type K. Values without pointers are kept as they are in
// memory, under a signature of their layout; other types need a coder. Methods take the hash of the key, as
// [Keys.Hash] returns it. Errors of coders are reported by [Memory.Err].
type Value[K, V any] struct {
	t     *Table
	keys  *Keys[K]
	coder Coder[V] // nil for values in the slots
	buf   []byte
}

// OpenValue registers the state name and returns it, with what was restored. The coder may be nil for
// strings, byte slices and types without pointers.
func OpenValue[K, V any](m *Memory, name string, keys *Keys[K], coder Coder[V]) (*Value[K, V], error) {
	return openValue(m, Descriptor{Name: name, Keys: keys.kind, KeyType: keys.typ}, keys, coder)
}

// openValue registers the state d, whose value type and size it fills in.
func openValue[K, V any](m *Memory, d Descriptor, keys *Keys[K], coder Coder[V]) (*Value[K, V], error) {
	if coder == nil {
		coder = defaultCoder[V]()
	}
	if coder == nil {
		typ := reflect.TypeFor[V]()
		signature, err := layout(typ)
		if err != nil {
			return nil, fmt.Errorf("opening state %q: %w; give the state a coder, for example state.JSON", d.Name, err)
		}
		d.ValueType = signature
		if size := max(8, (int(typ.Size())+7)&^7); size <= maxInlineValue {
			d.ValueSize = size
		} else {
			coder = memoryCoder[V]{signature}
		}
	}
	if coder != nil {
		d.ValueType = coder.Signature()
	}
	t, err := m.Table(d)
	if err != nil {
		return nil, err
	}
	return &Value[K, V]{t: t, keys: keys, coder: coder}, nil
}

// Table returns the table behind the state.
func (v *Value[K, V]) Table() *Table { return v.t }

// Keys returns how keys are encoded.
func (v *Value[K, V]) Keys() *Keys[K] { return v.keys }

// Fixed says whether values are in the slots, so that Ref can be used.
func (v *Value[K, V]) Fixed() bool { return v.coder == nil }

// Ref returns the value of key for reading and writing, added as zero when it is absent. The pointer is valid until the
// next call that can write to the state, and until the next Seal. It panics unless Fixed.
func (v *Value[K, V]) Ref(key K, hash uint64) (val *V, created bool) {
	var p unsafe.Pointer
	if v.keys.kind == Int64Keys {
		p, created = v.t.RefInt64(v.keys.Int64(key), hash)
	} else {
		p, created = v.t.RefBytes(v.keyBytes(&key), hash)
	}
	return (*V)(p), created
}

// Get returns the value of key and whether it is there.
func (v *Value[K, V]) Get(key K, hash uint64) (val V, ok bool) {
	if v.coder != nil {
		return v.decoded(key, hash)
	}
	var p unsafe.Pointer
	if v.keys.kind == Int64Keys {
		p = v.t.GetInt64(v.keys.Int64(key), hash)
	} else {
		p = v.t.GetBytes(v.keyBytes(&key), hash)
	}
	if p == nil {
		return val, false
	}
	return *(*V)(p), true
}

func (v *Value[K, V]) decoded(key K, hash uint64) (val V, ok bool) {
	var b []byte
	if v.keys.kind == Int64Keys {
		b, ok = v.t.GetVarInt64(v.keys.Int64(key), hash)
	} else {
		b, ok = v.t.GetVarBytes(v.keyBytes(&key), hash)
	}
	if !ok {
		return val, false
	}
	val, err := v.coder.Decode(b)
	if err != nil {
		v.t.m.fail(fmt.Errorf("decoding a value of state %q: %w", v.t.desc.Name, err))
	}
	return val, true
}

// Set sets the value of key.
func (v *Value[K, V]) Set(key K, hash uint64, val V) {
	if v.coder == nil {
		p, _ := v.Ref(key, hash)
		*p = val
		return
	}
	b, err := v.coder.Append(v.buf[:0], val)
	if err != nil {
		v.t.m.fail(fmt.Errorf("encoding a value of state %q: %w", v.t.desc.Name, err))
		return
	}
	v.buf = b
	if v.keys.kind == Int64Keys {
		v.t.PutVarInt64(v.keys.Int64(key), hash, b)
	} else {
		v.t.PutVarBytes(v.keyBytes(&key), hash, b)
	}
}

// Clear removes key and says whether it was there.
func (v *Value[K, V]) Clear(key K, hash uint64) bool {
	if v.keys.kind == Int64Keys {
		return v.t.DeleteInt64(v.keys.Int64(key), hash)
	}
	return v.t.DeleteBytes(v.keyBytes(&key), hash)
}

// Prefetch touches what is needed for a batch of keys, given by their hashes, so that cache misses overlap.
// Batches of 32 to 128 keys do best.
func (v *Value[K, V]) Prefetch(hashes []uint64) {
	if v.keys.kind == Int64Keys {
		v.t.prefetch(hashes)
	} else {
		v.t.PrefetchBytes(hashes)
	}
}

// Len is the number of keys.
func (v *Value[K, V]) Len() int { return v.t.n }

// Range calls f for every key, group by group, until f returns false. f must not write to the state.
func (v *Value[K, V]) Range(f func(key K, val V) bool) error {
	var failed error
	v.t.Range(func(_ int, kb, vb []byte) bool {
		key, err := v.keys.decode(kb)
		var val V
		if err == nil && v.coder != nil {
			val, err = v.coder.Decode(vb)
		} else if err == nil {
			val = *(*V)(unsafe.Pointer(unsafe.SliceData(vb)))
		}
		if err != nil {
			failed = fmt.Errorf("decoding an entry of state %q: %w", v.t.desc.Name, err)
			return false
		}
		return f(key, val)
	})
	return failed
}

func (v *Value[K, V]) keyBytes(key *K) []byte {
	b := v.keys.bytes(key)
	if v.keys.err != nil {
		v.t.m.fail(v.keys.err)
	}
	return b
}

// Reducing is a state that combines what is added for a key into one value.
type Reducing[K, V any] struct {
	Value[K, V]
	reduce func(acc, val V) V
}

// OpenReducing is OpenValue for a reducing state. The function must be associative.
func OpenReducing[K, V any](m *Memory, name string, keys *Keys[K], coder Coder[V], reduce func(acc, val V) V) (*Reducing[K, V], error) {
	v, err := openValue(m, Descriptor{Name: name, Keys: keys.kind, KeyType: keys.typ, Kind: ReducingKind}, keys, coder)
	if err != nil {
		return nil, err
	}
	return &Reducing[K, V]{Value: *v, reduce: reduce}, nil
}

// Add combines val with the value of key, which it becomes when the key is absent, and returns the result.
func (r *Reducing[K, V]) Add(key K, hash uint64, val V) V {
	if r.coder == nil {
		p, created := r.Ref(key, hash)
		if !created {
			val = r.reduce(*p, val)
		}
		*p = val
		return val
	}
	if old, ok := r.decoded(key, hash); ok {
		val = r.reduce(old, val)
	}
	r.Set(key, hash, val)
	return val
}
