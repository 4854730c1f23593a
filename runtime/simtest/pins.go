// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/reclaim"
	"github.com/weir-stream/weir/runtime/snapshot/sweep"
	"github.com/weir-stream/weir/runtime/storage"
)

// People may pin checkpoints of a job beside it, by the agent that does so for a StreamSnapshot. From when that has said that the pin is there until it is to be taken away, everything of
// the checkpoint stays, whatever the job and sweepers do. An agent that fails is not repeated: its pin stays until somebody takes it away, and counts for nothing.

const (
	// maxPins is how many pins are tried in a run.
	maxPins = 10
	// pinsSlow is how long a coordinator may take to delete after it has looked for pins.
	pinsSlow = time.Second
	// pinLasts is how long a pin stays that somebody takes away again.
	pinLasts = 8 * time.Second
)

// pinned says whether a seed has pins. Like [swept], it leaves the other seeds what they are.
func pinned(seed uint64) bool { return rand.New(rand.NewPCG(seed, 78)).IntN(6) == 0 }

// pinName is the name of a pin.
func pinName(n int) string { return fmt.Sprintf("pin-%d", n) }

// schedulePins lets somebody pin a checkpoint now and then.
func (w *world) schedulePins() {
	if !w.pins || w.pinsTried == maxPins {
		return
	}
	w.clock.after(nil, w.clock.between(200*time.Millisecond, 3*time.Second), func() {
		l := w.lines[w.clock.rnd.IntN(len(w.lines))]
		if n := len(l.head.Checkpoints); n > 0 {
			i := w.clock.rnd.IntN(2*n) - n // the oldest, which goes next, as often as all others
			w.pin(l, l.head.Checkpoints[max(i, 0)])
		}
		w.schedulePins()
	})
}

// pin lets an agent pin a checkpoint that the head named a little while ago.
func (w *world) pin(l *lineage, k snapshot.CompletedCheckpoint) {
	w.pinsTried++
	name := pinName(w.pinsTried)
	w.tracef(nil, "%s is to be pinned as %s", k.Path, name)
	w.aside(func(s *slowStore) {
		s.lateHead = w.mutation == PinTooLate
		f, err := reclaim.Inspect(w.ctx, s, k.Path, name)
		w.tracef(nil, "%s pinned as %s: %v", k.Path, name, err)
		if err != nil || !f.Pinned {
			return
		}
		l.pin(name, k)
		if w.clock.chance(2) {
			w.clock.after(nil, w.clock.between(0, pinLasts), func() { w.unpin(l, name, k.Path) })
		}
	}, func() {})
}

// pin notes that a checkpoint is pinned, and looks whether it is there.
func (l *lineage) pin(name string, k snapshot.CompletedCheckpoint) {
	l.pins[name] = k.ID
	for _, object := range sortedKeys(l.partOf) {
		if slices.Contains(l.partOf[object], k.ID) && l.w.store.created[object].Before(l.w.store.removed[object]) {
			l.w.failf("%s is pinned as %s, but %s was deleted before that", k.Path, name, object)
		}
	}
}

// unpin lets an agent remove the snapshot of a pin: the pin goes, and the checkpoint if its job doesn't retain it.
func (w *world) unpin(l *lineage, name, dir string) {
	delete(l.pins, name)
	w.keeper.of(dir).spoilt = true // an agent may fail half-way
	w.aside(func(s *slowStore) {
		r, err := reclaim.Remove(w.ctx, s, dir, name, reclaim.Identity{JobID: l.id})
		w.tracef(nil, "pin %s of %s taken away: %+v %v", name, dir, r, err)
	}, func() {})
}

// pinHolds says whether a pin holds a snapshot.
func (l *lineage) pinHolds(id int64) bool {
	for _, held := range l.pins {
		if held == id {
			return true
		}
	}
	return false
}

// unpinned drops what pins hold from what a coordinator is going to delete.
func (c *coordinator) unpinned(names []string, then func([]string, error)) {
	w := c.w
	if !w.pins || w.mutation == PinsIgnored {
		then(names, nil)
		return
	}
	call(w, c.p, "look for pins", func() ([]string, error) {
		left, err := sweep.Unpinned(w.ctx, w.store.c, c.line.dir, slices.Clone(names))
		if err != nil {
			return nil, fmt.Errorf("looking for pins: %w", err)
		}
		for _, n := range names {
			if !slices.Contains(left, n) {
				w.keeper.of(custodian(n)).spoilt = true // it is left to a sweep
			}
		}
		return left, nil
	}, func(left []string, err error) {
		slow := time.Duration(0)
		if w.clock.chance(2) {
			slow = w.clock.between(0, pinsSlow) // or the coordinator would be faster than any agent
		}
		w.clock.after(c.p, slow, func() { then(left, err) })
	})
}

// dropOtherPins takes pins away that came to nothing: they would hold more than what is needed.
func (w *world) dropOtherPins() {
	for _, l := range w.lines {
		for _, key := range w.store.list(l.dir+sweep.PinsDir, w.clock.now) {
			if _, held := l.pins[strings.TrimPrefix(key, l.dir+sweep.PinsDir)]; !held {
				_ = w.store.c.Delete(w.ctx, key)
			}
		}
	}
}

// needsPins adds the pins of a job to what is needed; what they hold has to be among what it needs already.
func (l *lineage) needsPins(needed map[string]bool) {
	for name := range l.pins {
		needed[l.dir+sweep.PinsDir+name] = true
	}
}

// inPinned says whether an object is in the directory of a pinned checkpoint, of which all stays, also what a task wrote that finished before it could acknowledge it.
func (w *world) inPinned(name string) bool {
	return slices.ContainsFunc(w.lines, func(l *lineage) bool {
		for _, id := range l.pins {
			if dir := l.dirs[id]; dir != "" && strings.HasPrefix(name, dir) {
				return true
			}
		}
		return false
	})
}

// noPins is storage that shows no pins, for the mutation of sweepers.
type noPins struct{ storage.Store }

// List implements storage.Lister.
func (s noPins) List(ctx context.Context, prefix string, f func(storage.Object) error) error {
	if strings.HasSuffix(prefix, "/"+sweep.PinsDir) {
		return nil
	}
	return s.Store.List(ctx, prefix, f) //nolint:wrapcheck // it stands for the store
}

// swept is the storage that sweepers see.
func (w *world) swept(s storage.Store) storage.Store {
	if w.mutation == SweepOverPins {
		return noPins{s}
	}
	return s
}
