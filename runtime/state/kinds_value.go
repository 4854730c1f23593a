// SPDX-License-Identifier: Apache-2.0

package state

import "fmt"

// ScopedValue is a state with one value of type V for each key of type K and scope, which is a byte string. Methods take
// the hash of the key, as [Keys.Hash] returns it. Errors of coders are reported by [Memory.Err]. It is used from one goroutine.
type ScopedValue[K, V any] struct {
	v    *Value[K, V] // for its table and coder
	pair []byte
}

// OpenScopedValue registers the state name and returns it, with what was restored. The coder may be nil for strings,
// byte slices and types without pointers.
func OpenScopedValue[K, V any](m *Memory, name string, keys *Keys[K], coder Coder[V]) (*ScopedValue[K, V], error) {
	v, err := openValue(m, Descriptor{Name: name, Keys: PairKeys, KeyType: keys.typ}, keys, coder)
	if err != nil {
		return nil, err
	}
	return &ScopedValue[K, V]{v: v}, nil
}

// Table returns the table behind the state.
func (s *ScopedValue[K, V]) Table() *Table { return s.v.t }

func (s *ScopedValue[K, V]) at(key K, hash uint64, scope []byte) ([]byte, uint64) {
	s.pair = append(s.v.keys.appendOwner(s.pair[:0], key), scope...)
	if s.v.keys.err != nil {
		s.v.t.m.fail(s.v.keys.err)
	}
	return s.pair, s.v.t.pairHash(hash, s.pair)
}

// Get returns the value of key in scope and whether it is there.
func (s *ScopedValue[K, V]) Get(key K, hash uint64, scope []byte) (val V, ok bool) {
	pair, h := s.at(key, hash, scope)
	if s.v.coder == nil {
		p := s.v.t.GetBytes(pair, h)
		if p == nil {
			return val, false
		}
		return *(*V)(p), true
	}
	b, ok := s.v.t.GetVarBytes(pair, h)
	if !ok {
		return val, false
	}
	val, err := s.v.coder.Decode(b)
	if err != nil {
		s.v.t.m.fail(fmt.Errorf("decoding a value of state %q: %w", s.v.t.desc.Name, err))
	}
	return val, true
}

// Update replaces the value of key in scope by what f makes of it and returns the new value. f gets the zero value
// and false when there is none, and must not use the state.
func (s *ScopedValue[K, V]) Update(key K, hash uint64, scope []byte, f func(old V, ok bool) V) V {
	pair, h := s.at(key, hash, scope)
	if s.v.coder == nil {
		p, created := s.v.t.RefBytes(pair, h)
		v := (*V)(p)
		*v = f(*v, !created)
		return *v
	}
	var old V
	b, ok := s.v.t.GetVarBytes(pair, h)
	if ok {
		var err error
		if old, err = s.v.coder.Decode(b); err != nil {
			s.v.t.m.fail(fmt.Errorf("decoding a value of state %q: %w", s.v.t.desc.Name, err))
		}
	}
	val := f(old, ok)
	enc, err := s.v.coder.Append(s.v.buf[:0], val)
	if err != nil {
		s.v.t.m.fail(fmt.Errorf("encoding a value of state %q: %w", s.v.t.desc.Name, err))
		return val
	}
	s.v.buf = enc
	s.v.t.PutVarBytes(pair, h, enc)
	return val
}

// Set sets the value of key in scope.
func (s *ScopedValue[K, V]) Set(key K, hash uint64, scope []byte, val V) {
	s.Update(key, hash, scope, func(V, bool) V { return val })
}

// Clear removes the value of key in scope and says whether it was there.
func (s *ScopedValue[K, V]) Clear(key K, hash uint64, scope []byte) bool {
	return s.v.t.DeleteBytes(s.at(key, hash, scope))
}

// Aggregating is a state that gathers what is added for a key in an accumulator of another type.
type Aggregating[K, V, A any] struct {
	Value[K, A]
	add func(acc A, val V) A
}

// OpenAggregating is OpenValue for an aggregating state: add puts a value into an accumulator, which begins as zero.
func OpenAggregating[K, V, A any](m *Memory, name string, keys *Keys[K], coder Coder[A], add func(acc A, val V) A) (*Aggregating[K, V, A], error) {
	v, err := openValue(m, Descriptor{Name: name, Keys: keys.kind, KeyType: keys.typ, Kind: AggregatingKind}, keys, coder)
	if err != nil {
		return nil, err
	}
	return &Aggregating[K, V, A]{Value: *v, add: add}, nil
}

// Add adds val to the accumulator of key and returns the result.
func (a *Aggregating[K, V, A]) Add(key K, hash uint64, val V) A {
	if a.coder == nil {
		p, _ := a.Ref(key, hash)
		*p = a.add(*p, val)
		return *p
	}
	old, _ := a.decoded(key, hash)
	acc := a.add(old, val)
	a.Set(key, hash, acc)
	return acc
}
