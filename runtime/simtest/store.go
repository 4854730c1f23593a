// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/storage/memstore"
)

var (
	errRefused  = errors.New("storage refused the call")
	errNoAnswer = errors.New("storage didn't answer")
)

// object is one stored object with its version.
type object struct {
	data    []byte
	version string
}

// store is the object store. Its methods take effect at once; [call] gives them latency and faults.
type store struct {
	mem *memstore.Memory
	c   *memstore.Client
	ctx context.Context //nolint:containedctx // it never ends: a run has no deadline but that of its test
	// now is the true time. The times that objects show to callers are ahead of it by skew.
	now  func() time.Time
	skew time.Duration
	// created is when each object was written, removed when one was deleted.
	created, removed map[string]time.Time
	// deleting hears of every deletion before it takes effect.
	deleting func(name string)
}

// newStore makes a store whose clock is ahead of the true time by skew; negative is behind.
func newStore(ctx context.Context, now func() time.Time, skew time.Duration) *store {
	m := memstore.New("sim", func() time.Time { return now().Add(skew) })
	return &store{mem: m, c: m.Client(memstore.Options{}), ctx: ctx, now: now, skew: skew, created: map[string]time.Time{}, removed: map[string]time.Time{}}
}

func (s *store) get(name string) (object, error) {
	b, v, err := s.c.Get(s.ctx, name)
	return object{b, v}, err
}

func (s *store) getRange(name string, off, n int64) ([]byte, error) {
	return s.c.GetRange(s.ctx, name, off, n)
}

// create writes a new object.
func (s *store) create(name string, data []byte) error {
	err := s.c.PutIfAbsent(s.ctx, name, data)
	if err == nil {
		s.created[name] = s.now()
	}
	return err
}

// swap replaces the object of that version, "" for none, and returns the new version.
func (s *store) swap(name, version string, data []byte) (string, error) {
	return s.c.Swap(s.ctx, name, data, version)
}

// list returns the names below a prefix as they were at a time: now, or a little ago if the list is stale. It lacks what was written since, and has what
// was deleted.
func (s *store) list(prefix string, view time.Time) []string {
	var names []string
	for _, k := range s.mem.Keys() {
		if strings.HasPrefix(k, prefix) && !s.created[k].After(view) {
			names = append(names, k)
		}
	}
	return append(names, s.ghosts(prefix, view)...)
}

func (s *store) remove(names []string) error {
	for _, n := range names {
		s.deleting(n)
		s.removed[n] = s.now()
	}
	return s.c.Delete(s.ctx, names...)
}

// staleness is how old a list may be.
const staleness = 2 * time.Second

// listView is the time as of which a list is.
func (w *world) listView() time.Time {
	if w.faulty() && w.clock.chance(6) {
		return w.clock.now.Add(-w.clock.between(0, staleness))
	}
	return w.clock.now
}

// storageFault is what goes wrong with a call of storage.
type storageFault string

const (
	noFault storageFault = ""
	// refused has no effect, and the caller is told so.
	refused storageFault = "refused"
	// noAnswer takes effect, but the caller gets an error.
	noAnswer storageFault = "no answer"
	// lateEffect takes effect when the caller has got an error.
	lateEffect storageFault = "late"
	// repeated takes effect, and then once more, with the answer of the second time.
	repeated storageFault = "repeated"
)

// storageFaults are the faults of a call.
var storageFaults = []storageFault{refused, noAnswer, lateEffect, repeated}

// calls counts the calls of storage by coordinators and tasks, to let one of them fail.
type calls struct {
	n, at int
	fault storageFault
	// hit says that it was the turn of that one, task that a task made it.
	hit, task bool
	// unwritten is the last snapshot of which no task can write its part.
	unwritten int64
}

// next says what goes wrong with the next call, by a task or a coordinator.
func (c *calls) next(task bool) storageFault {
	c.n++
	if c.n != c.at {
		return noFault
	}
	c.hit, c.task = true, task
	return c.fault
}

// call is a call of storage by process p. It takes effect after some time, or never, or twice, or after p has got an error.
// done hears the outcome, if p still lives.
func call[T any](w *world, p *process, what string, op func() (T, error), done func(T, error)) {
	var none T
	there, back := w.clock.between(time.Millisecond, 15*time.Millisecond), w.clock.between(time.Millisecond, 15*time.Millisecond)
	if strings.HasPrefix(what, "list ") && w.clock.chance(8) {
		there, back = w.clock.between(0, time.Second), w.clock.between(0, time.Second)
	}
	fault := w.calls.next(false)
	if w.storageDown() || w.faulty() && w.clock.chance(w.faults.storage) {
		fault = storageFaults[w.clock.rnd.IntN(len(storageFaults))]
	}
	if fault != noFault {
		w.tracef(p, "storage: %s: %s", what, fault)
	}
	switch fault {
	case refused:
		w.clock.after(p, there+back, func() { done(none, errRefused) })
	case noAnswer:
		w.clock.after(nil, there, func() { _, _ = op() })
		w.clock.after(p, there+back+w.clock.between(0, 200*time.Millisecond), func() { done(none, errNoAnswer) })
	case lateEffect:
		w.clock.after(p, there+back, func() { done(none, errNoAnswer) })
		w.clock.after(nil, there+back+w.clock.between(0, 500*time.Millisecond), func() { _, _ = op() })
	case repeated:
		// The answer is lost, and a library under the caller sends the request again.
		w.clock.after(nil, there, func() { _, _ = op() })
		w.clock.after(nil, there+back, func() {
			v, err := op()
			w.clock.after(p, back, func() { done(v, err) })
		})
	default:
		w.clock.after(nil, there, func() {
			v, err := op()
			w.clock.after(p, back, func() { done(v, err) })
		})
	}
}
