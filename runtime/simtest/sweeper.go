// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"context"
	"iter"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/sweep"
	"github.com/weir-stream/weir/runtime/storage"
)

// Sweepers may run beside a job. What keeps them from deleting what is needed are times: a day in which a snapshot may be committed, and an hour for
// clocks that differ and requests that hang. Where a scenario has sweepers these are seconds.
const (
	// sweptCommitGrace is the day, sweptMargin the hour: both tries of a swap of the head, a pause in each, a late request, and what two clocks differ by are shorter, taken together.
	sweptCommitGrace = 5 * time.Second
	sweptMargin      = 12 * time.Second
	sweptHeadTimeout = 2 * time.Second
	sweptPause       = 1500 * time.Millisecond
)

// swept says whether a seed has sweepers. It is drawn from a source of its own, so that the other seeds stay what they are without them.
func swept(seed uint64) bool { return rand.New(rand.NewPCG(seed, 77)).IntN(5) == 0 }

// scheduleSweeps lets a sweeper look at the job now and then.
func (w *world) scheduleSweeps() {
	if !w.sweeps {
		return
	}
	w.clock.after(nil, w.clock.between(time.Second, 6*time.Second), func() {
		if !w.sweeping {
			w.sweepBeside(w.lines[w.clock.rnd.IntN(len(w.lines))])
		}
		w.scheduleSweeps()
	})
}

// sweepBeside sweeps the directory of a job call by call, with time between the calls.
func (w *world) sweepBeside(l *lineage) {
	age := sweptCommitGrace + sweptMargin
	if w.mutation == SweepWithoutGrace {
		age = 0
	}
	w.sweeping = true
	// Of two clocks that are off one may be ahead, and the other one behind.
	ahead := w.store.skew + w.skews.draw(2*sweptSkew)
	w.aside(func(s *slowStore) {
		r, err := sweep.Sweep(w.ctx, w.swept(s), l.dir, sweep.Options{Now: func() time.Time { return w.clock.now.Add(ahead + sweep.MinGrace - age) }})
		if w.tracing && r != nil {
			objects, _ := r.Totals()
			w.tracef(nil, "swept %s: %d objects of %d orphans, deleted %v: %v", l.dir, objects, len(r.Orphans), r.Deleted, err)
		}
	}, func() { w.sweeping = false })
}

// aside does something beside the job that waits for its calls of storage, each of which takes time. It calls ended when that is done.
func (w *world) aside(f func(s *slowStore), ended func()) {
	s := &slowStore{Store: w.store.c, w: w}
	next, stop := iter.Pull(func(yield func(func()) bool) {
		s.yield = yield
		f(s)
	})
	w.asides = append(w.asides, stop)
	var step func()
	step = func() {
		do, more := next()
		if !more {
			ended()
			return
		}
		w.clock.after(nil, w.clock.between(time.Millisecond, 200*time.Millisecond), func() {
			do()
			step()
		})
	}
	step()
}

// slowStore is storage whose calls take time: each is handed over, to be done later.
type slowStore struct {
	storage.Store
	w     *world
	yield func(func()) bool
	// lateHead is for the mutation that takes a pin for held without looking at the head.
	lateHead bool
}

// do has a call done later; the error is that of a fault, or says that the run is over.
func (s *slowStore) do(f func() error) error {
	err := context.Canceled
	s.yield(func() {
		if s.w.storageDown() || s.w.faulty() && s.w.clock.chance(s.w.faults.storage) {
			err = errRefused
			return
		}
		err = f()
	})
	return err
}

// Get implements storage.Reader.
func (s *slowStore) Get(ctx context.Context, key string) (b []byte, version string, _ error) {
	err := s.do(func() (err error) {
		if s.lateHead && strings.HasSuffix(key, "/"+snapshot.HeadName) {
			return storage.ErrNotFound
		}
		b, version, err = s.Store.Get(ctx, key)
		return err
	})
	return b, version, err
}

// PutIfAbsent implements storage.Writer. The answer may be lost.
func (s *slowStore) PutIfAbsent(_ context.Context, key string, data []byte) error {
	lost := s.w.faulty() && s.w.clock.chance(s.w.faults.storage)
	err := s.do(func() error { return s.w.store.create(key, data) })
	if lost && err == nil {
		return storage.ErrUnknownOutcome
	}
	return err
}

// List implements storage.Lister. The list may be stale, but not that of pins: storage is refused that doesn't list what was written just now.
func (s *slowStore) List(ctx context.Context, prefix string, f func(storage.Object) error) error {
	var all []storage.Object
	err := s.do(func() error {
		view := s.w.clock.now
		if !strings.HasSuffix(prefix, "/"+sweep.PinsDir) {
			view = s.w.listView()
		}
		err := s.Store.List(ctx, prefix, func(o storage.Object) error {
			if !s.w.store.created[o.Key].After(view) {
				all = append(all, o)
			}
			return nil
		})
		for _, name := range s.w.store.ghosts(prefix, view) {
			all = append(all, storage.Object{Key: name, ModTime: s.w.store.created[name].Add(s.w.store.skew)})
		}
		return err
	})
	for _, o := range all {
		if err == nil {
			err = f(o)
		}
	}
	return err
}

// Delete implements storage.Store.
func (s *slowStore) Delete(_ context.Context, keys ...string) error {
	return s.do(func() error { return s.w.store.remove(keys) })
}

// ghosts are the names below a prefix that a list shows which is as of a time, though they were deleted since.
func (s *store) ghosts(prefix string, view time.Time) []string {
	if !view.Before(s.now()) {
		return nil
	}
	var names []string
	for _, k := range sortedKeys(s.removed) {
		if strings.HasPrefix(k, prefix) && s.removed[k].After(view) && !s.created[k].After(view) {
			names = append(names, k)
		}
	}
	return names
}
