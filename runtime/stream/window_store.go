// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"iter"

	"github.com/weir-stream/weir/runtime/state"
)

// accStore keeps one accumulator for each window.
type accStore[K, T, A, U any] struct {
	fold   func(acc A, ok bool, v T) A
	join   func(a, b A) A
	result func(A) U
	accs   *state.ScopedValue[K, A]
}

func (s *accStore[K, T, A, U]) open(c *KeyedContext[K]) error {
	keys, err := c.newKeys()
	if err != nil {
		return err
	}
	s.accs, err = state.OpenScopedValue(c.Keyed, "windows", keys, coderFor[A]())
	return err
}

func (s *accStore[K, T, A, U]) add(c *KeyedContext[K], scope []byte, v T) {
	s.accs.Update(c.key, c.hash, scope, func(acc A, ok bool) A { return s.fold(acc, ok, v) })
}

func (s *accStore[K, T, A, U]) merge(c *KeyedContext[K], from, to []byte) {
	other, ok := s.accs.Get(c.key, c.hash, from)
	if !ok {
		return
	}
	s.accs.Clear(c.key, c.hash, from)
	s.accs.Update(c.key, c.hash, to, func(acc A, ok bool) A {
		if !ok {
			return other
		}
		return s.join(acc, other)
	})
}

func (s *accStore[K, T, A, U]) emit(c *KeyedContext[K], scope []byte, w Window, out *Collector[Pane[K, U]]) {
	if acc, ok := s.accs.Get(c.key, c.hash, scope); ok {
		out.Emit(Pane[K, U]{c.key, w.Start, w.End, s.result(acc)})
	}
}

func (s *accStore[K, T, A, U]) clear(c *KeyedContext[K], scope []byte) {
	s.accs.Clear(c.key, c.hash, scope)
}

// rowStore keeps all rows of each window.
type rowStore[K, T, U any] struct {
	f    func(key K, w Window, rows iter.Seq[T], out *Collector[U])
	rows *state.ScopedList[K, T]
}

func (s *rowStore[K, T, U]) open(c *KeyedContext[K]) error {
	keys, err := c.newKeys()
	if err != nil {
		return err
	}
	s.rows, err = state.OpenScopedList(c.Keyed, "windows", keys, coderFor[T]())
	return err
}

func (s *rowStore[K, T, U]) add(c *KeyedContext[K], scope []byte, v T) {
	s.rows.Append(c.key, c.hash, scope, v)
}

func (s *rowStore[K, T, U]) merge(c *KeyedContext[K], from, to []byte) {
	s.rows.Move(c.key, c.hash, from, to)
}

func (s *rowStore[K, T, U]) emit(c *KeyedContext[K], scope []byte, w Window, out *Collector[U]) {
	s.f(c.key, w, s.rows.All(c.key, c.hash, scope), out)
}

func (s *rowStore[K, T, U]) clear(c *KeyedContext[K], scope []byte) {
	s.rows.Clear(c.key, c.hash, scope)
}
