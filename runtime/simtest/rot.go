// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
)

// scheduleRot lets snapshots be damaged, mostly right before they are needed.
func (w *world) scheduleRot() {
	if w.scenario.rots == "" {
		return
	}
	for range 1 + w.clock.rnd.IntN(3) {
		w.clock.after(nil, w.clock.between(500*time.Millisecond, max(2*time.Second, w.faults.until.Sub(start))), func() {
			w.rot()
			switch w.clock.rnd.IntN(4) {
			case 0:
			case 1:
				w.killCoordinator(w.version.leads)
			default:
				w.killWorker()
			}
		})
	}
}

// rot damages an object of a snapshot that the head names, of the newest one most of the time: it is lost, cut off, or one bit of it flips.
func (w *world) rot() {
	l := w.line
	if w.scenario.rots == "" || len(w.rotten) > 2 {
		return
	}
	n, ok := l.head.Newest()
	if !ok {
		return
	}
	id := n.ID
	if k := len(l.head.Checkpoints); k > 1 && w.clock.chance(4) {
		id = l.head.Checkpoints[w.clock.rnd.IntN(k)].ID
	}
	var names []string
	for name, ids := range l.partOf {
		if slices.Contains(ids, id) && !w.rotten[name] {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	name := names[w.clock.rnd.IntN(len(names))]
	if i := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, snapshot.ManifestName) }); i >= 0 && w.clock.chance(2) {
		name = names[i]
	}
	w.damage(name)
}

func (w *world) damage(name string) {
	o, err := w.store.get(name)
	if err != nil || len(o.data) == 0 {
		return
	}
	w.rotten[name] = true
	kind := w.clock.rnd.IntN(3)
	w.tracef(nil, "%s is damaged: %s", name, []string{"lost", "cut off", "a bit flips"}[kind])
	at := w.clock.rnd.IntN(len(o.data))
	switch kind {
	case 0:
		err = w.store.c.Delete(w.ctx, name)
	case 1:
		_, err = w.store.swap(name, o.version, o.data[:at])
	case 2:
		data := slices.Clone(o.data)
		data[at] ^= 1 << w.clock.rnd.IntN(8)
		_, err = w.store.swap(name, o.version, data)
	}
	if err != nil {
		w.failf("damaging %s: %v", name, err)
	}
}

// intact says whether nothing of a snapshot is damaged.
func (l *lineage) intact(id int64) bool {
	for name, ids := range l.partOf {
		if l.w.rotten[name] && slices.Contains(ids, id) {
			return false
		}
	}
	return true
}

// checkRestore looks at what an attempt starts from: the newest snapshot, or an older one that names what it leaves out, which is damaged, and
// with which no sink can have committed.
func (l *lineage) checkRestore(old *snapshot.Head, r *snapshot.Restore) {
	w := l.w
	for _, id := range restorable(old) {
		left := slices.ContainsFunc(r.LeftOut, func(x snapshot.LeftOut) bool { return x.Checkpoint == id })
		switch {
		case id > r.Checkpoint && !left:
			w.failf("attempt %s starts from snapshot %d and says nothing of %d", r.Attempt, r.Checkpoint, id)
		case left && (l.intact(id) || w.scenario.rots != contract.FallBackOnCorruption):
			w.failf("attempt %s leaves out snapshot %d, which is intact, or although the job is to fail", r.Attempt, id)
		case left && !w.scenario.plain:
			w.failf("attempt %s leaves out snapshot %d, with which sinks can have committed", r.Attempt, id)
		}
	}
}

// restorable lists the snapshots of a head that a recovery can start from.
func restorable(h *snapshot.Head) []int64 {
	var ids []int64
	for _, c := range h.Checkpoints {
		ids = append(ids, c.ID)
	}
	for _, o := range h.Operations {
		if o.Restorable() {
			ids = append(ids, o.Checkpoint)
		}
	}
	slices.Sort(ids)
	return ids
}

// rotted says whether a job had to end because what it would start from is damaged, and fails the run if it needn't have.
func (w *world) rotted(e job.Exit) bool {
	n, ok := w.line.head.Newest()
	if len(w.rotten) == 0 || e.State != job.StateFailed || !ok || !strings.Contains(e.Err.Error(), "restoring") {
		return false
	}
	if w.line.intact(n.ID) {
		return false
	}
	if w.scenario.rots == contract.FallBackOnCorruption && w.scenario.plain {
		for _, id := range restorable(&w.line.head) {
			if w.line.intact(id) {
				w.failf("the job failed although snapshot %d is intact: %v", id, e.Err)
			}
		}
	}
	w.tracef(nil, "the job can't go on: %v", e.Err)
	return true
}

// damaged says of an error that an object isn't what was written.
func damaged(err error) bool {
	_, file := errors.AsType[*state.CorruptError](err)
	_, manifest := errors.AsType[*snapshot.CorruptError](err)
	return file || manifest || errors.Is(err, storage.ErrNotFound)
}
