// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"fmt"
	"maps"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// lists are the lists of operator state that a function has opened.
type lists struct {
	c    *operator.Context
	open []openList
}

// openList is one list: how it is written to a snapshot.
type openList struct {
	name    string
	mode    operator.Mode
	typ     string
	entries func() [][]byte
}

// add registers a list and returns what was restored of it.
func (l *lists) add(o openList) ([][]byte, error) {
	for _, other := range l.open {
		if other.name == o.name {
			return nil, fmt.Errorf("opening list %q: it is open already; names are unique within an operator", o.name)
		}
	}
	l.open = append(l.open, o)
	_ = l.c.List(o.name) // asks for it
	for _, r := range l.c.Restored {
		if r.Name != o.name {
			continue
		}
		if r.Mode != o.mode || r.Type != o.typ {
			return nil, &operator.StateError{Err: fmt.Errorf(
				"opening list %q: it is of %s, mode %d in the snapshot but of %s, mode %d in the job; keep the type, or use another name for the new list",
				o.name, r.Type, r.Mode, o.typ, o.mode)}
		}
		return r.Entries, nil
	}
	return nil, nil
}

// snapshot encodes all lists. They are small, so that this is part of the synchronous part.
func (l *lists) snapshot() (operator.AsyncSnapshot, error) {
	all := make([]operator.List, 0, len(l.open))
	for _, o := range l.open {
		all = append(all, operator.List{Name: o.name, Mode: o.mode, Type: o.typ, Entries: o.entries()})
	}
	return func(context.Context) ([]operator.List, error) { return all, nil }, nil
}

// FunctionContext gives a [Function] its state.
type FunctionContext struct {
	// Context tells about the subtask.
	*operator.Context

	lists lists
}

// Function handles rows with operator state: lists that belong to the subtask, not to a key.
type Function[T, U any] interface {
	// Open registers the lists; called once for each subtask.
	Open(c *FunctionContext) error
	// Process handles a row. An error fails the job, which goes on from the last checkpoint.
	Process(v T, out *Collector[U]) error
}

// Apply handles every row with a function made anew for each subtask.
func Apply[T, U any](s Stream[T], name string, newFunction func() Function[T, U], opts ...Option) Stream[U] {
	return transform(s, name, false, opts, func(typ *record.RowType[U]) operator.Operator {
		a := &apply[T, U]{f: newFunction()}
		a.each = newEach(typ, func(r *record.Rows[T], i int, out *Collector[U]) error {
			return a.f.Process(r.Values[i], out)
		})
		return a
	})
}

type apply[T, U any] struct {
	*each[T, U]
	f   Function[T, U]
	ctx FunctionContext
}

// Open opens the function.
func (a *apply[T, U]) Open(ctx context.Context, oc *operator.Context) error {
	a.ctx = FunctionContext{Context: oc, lists: lists{c: oc}}
	if err := a.each.Open(ctx, oc); err != nil {
		return err
	}
	return a.f.Open(&a.ctx)
}

// Snapshot fixes the lists.
func (a *apply[T, U]) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	return a.ctx.lists.snapshot()
}

// OperatorList is a list of values that belongs to the subtask. It is kept in memory and written as a whole to every snapshot,
// so it should be small: what is large belongs to keys.
type OperatorList[V any] struct {
	// Values may be changed in any way between calls of the function.
	Values []V
}

// OpenList registers a list by name; to be called in Open. When the job is rescaled the values of all subtasks, in order, are
// dealt out evenly.
func OpenList[V any](c *FunctionContext, name string) (*OperatorList[V], error) {
	return openOperatorList[V](c, name, operator.Split)
}

// OpenUnionList is OpenList for a list of which every subtask gets the values of all subtasks at a restart.
func OpenUnionList[V any](c *FunctionContext, name string) (*OperatorList[V], error) {
	return openOperatorList[V](c, name, operator.Union)
}

func openOperatorList[V any](c *FunctionContext, name string, mode operator.Mode) (*OperatorList[V], error) {
	coder, err := record.CoderOf[V]()
	if err != nil {
		return nil, fmt.Errorf("opening list %q: %w", name, err)
	}
	l := &OperatorList[V]{}
	restored, err := c.lists.add(openList{name, mode, coder.Name(), func() [][]byte {
		entries := make([][]byte, 0, len(l.Values))
		for _, v := range l.Values {
			entries = append(entries, coder.Append(nil, v))
		}
		return entries
	}})
	if err != nil {
		return nil, err
	}
	for _, e := range restored {
		v, err := coderOfState[V]{coder}.Decode(e)
		if err != nil {
			return nil, fmt.Errorf("opening list %q: decoding an entry of %d bytes as %s: %w", name, len(e), coder.Name(), err)
		}
		l.Values = append(l.Values, v)
	}
	return l, nil
}

// BroadcastState is a map that is the same in all subtasks, because each of them has seen the same rows of a broadcast stream.
// It is kept in memory and written as a whole to every snapshot. Who has no [BroadcastWriter] can only read it.
type BroadcastState[M comparable, V any] struct{ m map[M]V }

// BroadcastWriter is the permission to change broadcast state. Only the function for rows of the broadcast stream gets
// one: everything else sees other rows in each subtask.
type BroadcastWriter struct{ ok bool }

// OpenBroadcastState registers a broadcast state by name; to be called in Open.
func OpenBroadcastState[M comparable, V any, K any](c *KeyedContext[K], name string) (*BroadcastState[M, V], error) {
	keys, err := record.CoderOf[M]()
	if err != nil {
		return nil, fmt.Errorf("opening broadcast state %q: %w", name, err)
	}
	vals, err := record.CoderOf[V]()
	if err != nil {
		return nil, fmt.Errorf("opening broadcast state %q: %w", name, err)
	}
	s := &BroadcastState[M, V]{m: map[M]V{}}
	typ := "map[" + keys.Name() + "]" + vals.Name()
	restored, err := c.lists.add(openList{name, operator.Broadcast, typ, func() [][]byte {
		entries := make([][]byte, 0, len(s.m))
		for k, v := range s.m {
			entries = append(entries, vals.Append(keys.Append(nil, k), v))
		}
		return entries
	}})
	if err != nil {
		return nil, err
	}
	for _, e := range restored {
		k, rest, err := keys.Decode(e)
		if err != nil {
			return nil, fmt.Errorf("opening broadcast state %q: decoding a key: %w", name, err)
		}
		v, err := coderOfState[V]{vals}.Decode(rest)
		if err != nil {
			return nil, fmt.Errorf("opening broadcast state %q: decoding the value in an entry of %d bytes as %s: %w", name, len(e), vals.Name(), err)
		}
		s.m[k] = v
	}
	return s, nil
}

// Get returns the value of k and whether there is one.
func (s *BroadcastState[M, V]) Get(k M) (V, bool) {
	v, ok := s.m[k]
	return v, ok
}

// Len is the number of entries.
func (s *BroadcastState[M, V]) Len() int { return len(s.m) }

// All yields the entries, in no particular order.
func (s *BroadcastState[M, V]) All(yield func(M, V) bool) { maps.All(s.m)(yield) }

// Set sets the value of k.
func (s *BroadcastState[M, V]) Set(w BroadcastWriter, k M, v V) {
	w.check()
	s.m[k] = v
}

// Remove removes k.
func (s *BroadcastState[M, V]) Remove(w BroadcastWriter, k M) {
	w.check()
	delete(s.m, k)
}

func (w BroadcastWriter) check() {
	if !w.ok {
		panic("broadcast state is changed by a function that isn't given the rows of the broadcast stream: subtasks would differ")
	}
}

// BroadcastFunction handles the rows of a keyed stream, and those of a stream that all subtasks see in full.
type BroadcastFunction[K, A, B, U any] interface {
	// Open registers the states; called once for each subtask.
	Open(c *KeyedContext[K]) error
	// Process handles a row of the keyed stream. It reads broadcast state.
	Process(c *KeyedContext[K], v A, out *Collector[U]) error
	// ProcessBroadcast handles a row of the broadcast stream, in every subtask. It has to do the same in each of them. It has no key, and no keyed state.
	ProcessBroadcast(w BroadcastWriter, v B, out *Collector[U]) error
}

// ProcessBroadcast handles the rows of a keyed stream together with those of a stream that is sent to all subtasks, such as rules.
// A function that is also a [TimerFunction] has timers.
func ProcessBroadcast[K, A, B, U any](a Keyed[K, A], b Stream[B], name string, newFunction func() BroadcastFunction[K, A, B, U], opts ...Option) Stream[U] {
	key := a.key
	return connected(a, b.Broadcast(), name, opts, func(typ *record.RowType[U]) operator.Operator {
		f := newFunction()
		p := newProcess(typ, a.keys, f)
		p.open = f.Open
		p.take = func(input int, batch record.Batch) {
			if input == 0 {
				in := batch.(*record.Rows[A]) // an edge carries one type
				p.row = func(i int) error {
					p.ctx.key, p.ctx.hash = key(in.Values[i]), in.Keys[i]
					return f.Process(&p.ctx, in.Values[i], &p.coll)
				}
				return
			}
			in := batch.(*record.Rows[B]) // an edge carries one type
			p.row = func(i int) error { return f.ProcessBroadcast(BroadcastWriter{true}, in.Values[i], &p.coll) }
		}
		return p
	})
}
