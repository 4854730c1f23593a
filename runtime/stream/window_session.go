// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/weir-stream/weir/runtime/state"
)

// session is one open session of a key. Its id names what the store has of it; it is the time of the session's first row
// and doesn't change when the session grows.
type session struct{ start, end, id int64 }

// sessions are windows that grow and merge.
//
// A session without allowed lateness has one timer at a time, set for an end that it may have outgrown when the timer fires; then it is set
// anew. So a row that only extends a session costs no timer. With allowed lateness every new end has a timer of its
// own, because then a session may be extended after its result was emitted. A timer of a session that was merged
// into another finds nothing.
type sessions[K, T, U any] struct {
	windowBase[K, T, U]
	open    *state.Value[K, []session]
	touched []session
}

// Open opens the store and the list of open sessions.
func (s *sessions[K, T, U]) Open(c *KeyedContext[K]) error {
	keys, err := c.newKeys()
	if err != nil {
		return err
	}
	if s.open, err = state.OpenValue(c.Keyed, "sessions", keys, state.Coder[[]session](sessionCoder{})); err != nil {
		return err
	}
	return s.store.open(c)
}

func (s *sessions[K, T, U]) scopeOf(id int64) []byte {
	binary.LittleEndian.PutUint64(s.scope[:], uint64(id))
	return s.scope[:8]
}

// row puts a row into its session: a new one, one that it extends, or several that it makes one.
func (s *sessions[K, T, U]) row(c *KeyedContext[K], v T, t int64, out *Collector[U]) {
	all, _ := s.open.Get(c.key, c.hash)
	into := session{t, later(t, s.spec.gap), t}
	s.touched = s.touched[:0]
	kept := all[:0]
	for _, o := range all {
		if o.start <= into.end && into.start <= o.end {
			s.touched = append(s.touched, o)
		} else {
			kept = append(kept, o)
		}
	}
	for _, o := range s.touched {
		into.start, into.end = min(into.start, o.start), max(into.end, o.end)
	}
	if s.gone(c, into.end) {
		s.late(c)
		return
	}
	armed := int64(-1) // end of the session whose timer goes on to count
	if len(s.touched) > 0 {
		into.id, armed = s.touched[0].id, s.touched[0].end
		for _, o := range s.touched[1:] {
			s.store.merge(c, binary.LittleEndian.AppendUint64(nil, uint64(o.id)), s.scopeOf(into.id))
		}
	}
	s.open.Set(c.key, c.hash, append(kept, into))
	scope := s.scopeOf(into.id)
	s.store.add(c, scope, v)
	switch {
	case into.end-1 <= s.now(c): // late, but not too late
		s.store.emit(c, scope, Window{into.start, into.end}, out)
		c.setTimer(s.kind, later(into.end-1, s.spec.lateness), scope)
	case len(s.touched) == 0 || s.spec.lateness > 0 && armed != into.end:
		c.setTimer(s.kind, into.end-1, scope)
	}
}

// OnTimer emits a session that is over, or waits for its end.
func (s *sessions[K, T, U]) OnTimer(c *KeyedContext[K], t Timer, out *Collector[U]) error {
	id := int64(binary.LittleEndian.Uint64(t.scope))
	all, _ := s.open.Get(c.key, c.hash)
	i := slices.IndexFunc(all, func(o session) bool { return o.id == id })
	if i < 0 {
		return nil
	}
	scope, o := s.scopeOf(id), all[i]
	grown := t.At < o.end-1
	if grown && !s.final(c) {
		c.setTimer(s.kind, o.end-1, scope)
		return nil
	}
	if grown || t.At == o.end-1 { // grown, but no timer can be set any more
		s.store.emit(c, scope, Window{o.start, o.end}, out)
	}
	if s.keeps(c, t.At, o.end, scope) {
		return nil
	}
	s.store.clear(c, scope)
	if all = slices.Delete(all, i, i+1); len(all) == 0 {
		s.open.Clear(c.key, c.hash)
	} else {
		s.open.Set(c.key, c.hash, all)
	}
	return nil
}

// sessionCoder encodes the open sessions of a key, three numbers each.
type sessionCoder struct{}

// Append implements state.Coder.
func (sessionCoder) Append(dst []byte, all []session) ([]byte, error) {
	for _, s := range all {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(s.start))
		dst = binary.AppendVarint(dst, s.end-s.start)
		dst = binary.AppendVarint(dst, s.id-s.start)
	}
	return dst, nil
}

// Decode implements state.Coder.
func (sessionCoder) Decode(src []byte) ([]session, error) {
	var all []session
	for len(src) > 0 {
		if len(src) < 10 {
			return nil, errSession
		}
		s := session{start: int64(binary.LittleEndian.Uint64(src))}
		length, n := binary.Varint(src[8:])
		if n <= 0 {
			return nil, errSession
		}
		id, k := binary.Varint(src[8+n:])
		if k <= 0 {
			return nil, errSession
		}
		s.end, s.id = s.start+length, s.start+id
		all = append(all, s)
		src = src[8+n+k:]
	}
	return all, nil
}

// Signature implements state.Coder.
func (sessionCoder) Signature() string { return "sessions" }

var errSession = errors.New("it ends within a session")
