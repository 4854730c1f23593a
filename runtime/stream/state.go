// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"iter"
	"strings"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// coderFor returns the coder of state values of type V, nil for plain memory.
func coderFor[V any]() state.Coder[V] {
	if rc, err := record.CoderOf[V](); err == nil {
		return stateCoder(rc)
	}
	return nil
}

// nameError says that a state has a name that is not for users.
func nameError(name string) error {
	if strings.HasPrefix(name, reserved) {
		return fmt.Errorf("opening state %q: names that begin with %q are reserved; use another one", name, reserved)
	}
	return nil
}

// openKeyed checks the name and makes keys for one state.
func openKeyed[K any](c *KeyedContext[K], name string) (*state.Keys[K], error) {
	if err := nameError(name); err != nil {
		return nil, err
	}
	return c.newKeys()
}

// ValueState is a value for each key. Its methods work on the current key.
type ValueState[K, V any] struct {
	c *KeyedContext[K]
	v *state.Value[K, V]
}

// OpenState registers a value state by name; to be called in Open. V is kept as it is in memory if it holds no
// pointers, else encoded by its built-in coder.
func OpenState[K, V any](c *KeyedContext[K], name string) (*ValueState[K, V], error) {
	keys, err := openKeyed(c, name)
	if err != nil {
		return nil, err
	}
	v, err := state.OpenValue(c.Keyed, name, keys, coderFor[V]())
	if err != nil {
		return nil, fmt.Errorf("opening state %q: %w", name, err)
	}
	return &ValueState[K, V]{c, v}, nil
}

// Get returns the value of the current key and whether there is one.
func (s *ValueState[K, V]) Get() (V, bool) { return s.v.Get(s.c.key, s.c.hash) }

// Set sets the value of the current key.
func (s *ValueState[K, V]) Set(v V) { s.v.Set(s.c.key, s.c.hash, v) }

// Clear removes the value of the current key.
func (s *ValueState[K, V]) Clear() { s.v.Clear(s.c.key, s.c.hash) }

// ListState is a list for each key. Its methods work on the current key.
type ListState[K, V any] struct {
	c *KeyedContext[K]
	l *state.List[K, V]
}

// OpenListState registers a list state by name; to be called in Open. V is a type with a built-in coder.
func OpenListState[K, V any](c *KeyedContext[K], name string) (*ListState[K, V], error) {
	keys, err := openKeyed(c, name)
	if err != nil {
		return nil, err
	}
	l, err := state.OpenList(c.Keyed, name, keys, coderFor[V]())
	if err != nil {
		return nil, err
	}
	return &ListState[K, V]{c, l}, nil
}

// Append adds elements at the end; it costs in proportion to them, however long the list is.
func (s *ListState[K, V]) Append(vs ...V) { s.l.Append(s.c.key, s.c.hash, vs...) }

// Set makes vs the list.
func (s *ListState[K, V]) Set(vs ...V) { s.l.Set(s.c.key, s.c.hash, vs...) }

// All yields the elements in order, one at a time. The list must not be cleared meanwhile; what is appended meanwhile
// isn't yielded.
func (s *ListState[K, V]) All() iter.Seq[V] { return s.l.All(s.c.key, s.c.hash) }

// Len is the number of elements.
func (s *ListState[K, V]) Len() int { return s.l.Len(s.c.key, s.c.hash) }

// Clear removes all elements.
func (s *ListState[K, V]) Clear() { s.l.Clear(s.c.key, s.c.hash) }

// MapState is a map for each key. Its methods work on the current key. To read or write an entry costs the same
// however large the map is.
type MapState[K, M, V any] struct {
	c *KeyedContext[K]
	m *state.Map[K, M, V]
}

// OpenMapState registers a map state by name; to be called in Open. M is a type that can be a key of a stream, V one with
// a built-in coder.
func OpenMapState[K, M, V any](c *KeyedContext[K], name string) (*MapState[K, M, V], error) {
	keys, err := openKeyed(c, name)
	if err != nil {
		return nil, err
	}
	users, err := keysOf[M]()
	if err != nil {
		return nil, fmt.Errorf("opening state %q: %w", name, err)
	}
	m, err := state.OpenMap(c.Keyed, name, keys, users, coderFor[V]())
	if err != nil {
		return nil, err
	}
	return &MapState[K, M, V]{c, m}, nil
}

// Get returns the value of k and whether there is one.
func (s *MapState[K, M, V]) Get(k M) (V, bool) { return s.m.Get(s.c.key, s.c.hash, k) }

// Has says whether k has a value.
func (s *MapState[K, M, V]) Has(k M) bool { return s.m.Has(s.c.key, s.c.hash, k) }

// Set sets the value of k.
func (s *MapState[K, M, V]) Set(k M, v V) { s.m.Set(s.c.key, s.c.hash, k, v) }

// Remove removes k and says whether it was there.
func (s *MapState[K, M, V]) Remove(k M) bool { return s.m.Remove(s.c.key, s.c.hash, k) }

// Len is the number of entries.
func (s *MapState[K, M, V]) Len() int { return s.m.Len(s.c.key, s.c.hash) }

// All yields the entries, one at a time, in no particular order. The entry at hand may be removed meanwhile and values may be set;
// added entries aren't yielded; removing another one may have one yielded twice.
func (s *MapState[K, M, V]) All() iter.Seq2[M, V] { return s.m.All(s.c.key, s.c.hash) }

// Clear removes all entries.
func (s *MapState[K, M, V]) Clear() { s.m.Clear(s.c.key, s.c.hash) }

// ReducingState is a value for each key that new ones are combined with. Its methods work on the current key.
type ReducingState[K, V any] struct {
	c *KeyedContext[K]
	r *state.Reducing[K, V]
}

// OpenReducingState registers a reducing state by name; to be called in Open. The function must be associative.
func OpenReducingState[K, V any](c *KeyedContext[K], name string, combine func(acc, v V) V) (*ReducingState[K, V], error) {
	keys, err := openKeyed(c, name)
	if err != nil {
		return nil, err
	}
	r, err := state.OpenReducing(c.Keyed, name, keys, coderFor[V](), combine)
	if err != nil {
		return nil, err
	}
	return &ReducingState[K, V]{c, r}, nil
}

// Add combines v with the value of the current key and returns the result.
func (s *ReducingState[K, V]) Add(v V) V { return s.r.Add(s.c.key, s.c.hash, v) }

// Get returns the value of the current key and whether there is one.
func (s *ReducingState[K, V]) Get() (V, bool) { return s.r.Get(s.c.key, s.c.hash) }

// Clear removes the value of the current key.
func (s *ReducingState[K, V]) Clear() { s.r.Clear(s.c.key, s.c.hash) }

// Aggregate turns rows of type T into a result of type U by way of an accumulator of type A, which begins as zero.
type Aggregate[T, A, U any] struct {
	// Add returns the accumulator with a row in it.
	Add func(acc A, v T) A
	// Merge returns what two accumulators make together; session windows need it.
	Merge func(a, b A) A
	// Result returns the result.
	Result func(acc A) U
}

// AggregatingState is an accumulator for each key. Its methods work on the current key.
type AggregatingState[K, T, A, U any] struct {
	c      *KeyedContext[K]
	a      *state.Aggregating[K, T, A]
	result func(A) U
}

// OpenAggregatingState registers an aggregating state by name; to be called in Open.
func OpenAggregatingState[K, T, A, U any](c *KeyedContext[K], name string, f Aggregate[T, A, U]) (*AggregatingState[K, T, A, U], error) {
	keys, err := openKeyed(c, name)
	if err != nil {
		return nil, err
	}
	if f.Add == nil || f.Result == nil {
		return nil, fmt.Errorf("opening state %q: an aggregate needs Add and Result", name)
	}
	a, err := state.OpenAggregating(c.Keyed, name, keys, coderFor[A](), f.Add)
	if err != nil {
		return nil, err
	}
	return &AggregatingState[K, T, A, U]{c, a, f.Result}, nil
}

// Add adds a value and returns the result so far.
func (s *AggregatingState[K, T, A, U]) Add(v T) U { return s.result(s.a.Add(s.c.key, s.c.hash, v)) }

// Get returns the result so far and whether anything was added.
func (s *AggregatingState[K, T, A, U]) Get() (u U, ok bool) {
	acc, ok := s.a.Get(s.c.key, s.c.hash)
	if !ok {
		return u, false
	}
	return s.result(acc), true
}

// Clear removes the accumulator of the current key.
func (s *AggregatingState[K, T, A, U]) Clear() { s.a.Clear(s.c.key, s.c.hash) }
