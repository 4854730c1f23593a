// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
)

// A job that starts from the savepoint of another one may claim it: it owns it from then on, and deletes it when it has as many checkpoints of its own as it
// retains, or when its state is deleted.

// claimLost is what a job says that could not claim a snapshot because another one had.
const claimLost = "another job owns it"

// claimSnapshot makes the job the owner of what it starts from.
func (c *coordinator) claimSnapshot(e job.ClaimSnapshot) {
	w, name := c.w, e.Dir+snapshot.OwnerName
	mark, err := snapshot.EncodeOwner(c.line.id, "default/sim")
	if err != nil {
		w.failf("encoding an owner: %v", err)
		return
	}
	w.tracef(c.p, "claims %s", e.Dir)
	c.dieOver("claiming")
	done := func(err error, permanent bool) {
		c.do(func(now time.Time) { c.machine.HandleSnapshotClaimed(now, e.Dir, err, permanent) })
		if err == nil && w.mutation == OriginDeletedEarly {
			c.deleteOrigin(job.DeleteOrigin(e))
		}
	}
	call(w, c.p, "create "+name, func() (bool, error) { return true, w.store.create(name, mark) }, func(_ bool, err error) {
		if err == nil {
			done(nil, false)
			return
		}
		call(w, c.p, "read back "+name, func() (object, error) { return w.store.get(name) }, func(o object, readErr error) {
			switch {
			case readErr == nil && (bytes.Equal(o.data, mark) || w.mutation == ClaimTaken):
				done(nil, false)
			case readErr == nil:
				done(&snapshot.ClaimError{Why: claimLost}, true)
			default:
				done(err, false)
			}
		})
	})
}

// deleteOrigin deletes what the job started from, if it owns it: the manifest first, the mark of the owner last, when a list shows nothing else.
func (c *coordinator) deleteOrigin(e job.DeleteOrigin) {
	w, s, mark := c.w, c.w.store, e.Dir+snapshot.OwnerName
	w.tracef(c.p, "deletes its origin %s", e.Dir)
	w.keeper.begins(e.Dir, nil)
	done := func(err error) {
		k := w.keeper.of(e.Dir)
		k.underway--
		k.spoilt = k.spoilt || err != nil
		c.do(func(now time.Time) { c.machine.HandleOriginDeleted(now, e.Dir, err) })
	}
	remove := func(names []string, then func()) {
		c.dieOver("deleting what it claimed")
		call(w, c.p, "delete "+e.Dir, func() (bool, error) { return true, s.remove(names) }, func(_ bool, err error) {
			if err != nil {
				done(err)
				return
			}
			then()
		})
	}
	list := func(then func(names []string)) {
		call(w, c.p, "list "+e.Dir, func() ([]string, error) {
			d := &deletion{at: w.clock.now, view: w.listView()}
			w.keeper.of(e.Dir).deletion = d
			return s.list(e.Dir, d.view), nil
		}, func(names []string, err error) {
			if err != nil {
				done(err)
				return
			}
			then(slices.DeleteFunc(names, func(n string) bool { return n == mark }))
		})
	}
	call(w, c.p, "read "+mark, func() (object, error) { return s.get(mark) }, func(o object, err error) {
		owner, bad := snapshot.DecodeOwner(o.data)
		switch {
		case errors.Is(err, storage.ErrNotFound), err == nil && bad == nil && owner.JobID != c.line.id:
			done(nil)
		case err != nil || bad != nil:
			done(errors.Join(err, bad))
		default:
			list(func(names []string) {
				first := []string{e.Dir + snapshot.ManifestName}
				if w.mutation == OwnerGoesFirst {
					first = append(first, mark)
				}
				remove(first, func() {
					remove(names, func() {
						list(func(left []string) {
							if len(left) > 0 {
								done(errors.New("objects are still there"))
								return
							}
							remove([]string{mark}, func() { done(nil) })
						})
					})
				})
			})
		}
	})
}

// leftBy are the objects that a job has left of what it claimed, but for those that its last list was too old to show, and the mark of another job that came
// when all was gone.
func (w *world) leftBy(dir string) []string {
	d, rival := w.keeper.of(dir).deletion, w.ownerOf(dir) == rivalID
	return slices.DeleteFunc(w.store.list(dir, w.clock.now), func(n string) bool {
		return rival && n == dir+snapshot.OwnerName || d.missed(w.store.created[n])
	})
}

// origin is the directory of the snapshot that the head says the job started from, and whose that is.
func (l *lineage) origin() (dir string, claim snapshot.OriginClaim) {
	if l.head.Origin == nil {
		return "", snapshot.NotClaimed
	}
	return snapshot.Directory(l.head.Origin.Path), l.head.Origin.Claim
}

// released says whether an object belongs to a snapshot that a job has claimed and doesn't need any more.
func (w *world) released(name string) bool {
	return slices.ContainsFunc(w.lines, func(l *lineage) bool {
		dir, claim := l.origin()
		return (claim == snapshot.Released || claim == snapshot.Deleted) && strings.HasPrefix(name, dir)
	})
}

// checkClaim looks at what a head that takes effect says of the snapshot that the job started from.
func (l *lineage) checkClaim(c *coordinator, old, h *snapshot.Head) {
	if h.Origin == nil {
		return
	}
	w, dir := l.w, snapshot.Directory(h.Origin.Path)
	var was snapshot.OriginClaim
	if old.Origin != nil {
		was = old.Origin.Claim
	}
	switch claim := h.Origin.Claim; {
	case claim == was:
	case !l.claims:
		w.failf("job %s makes the snapshot that it started from %s, but was not to claim it", l.id, claim)
	case claim == snapshot.Claimed:
		o, err := w.store.get(dir + snapshot.OwnerName)
		owner, bad := snapshot.DecodeOwner(o.data)
		if err != nil || bad != nil || owner.JobID != l.id {
			w.failf("the head of job %s says that it owns %s, but the mark there isn't its own: %v", l.id, dir, errors.Join(err, bad))
		}
	case claim == snapshot.Released:
		w.keeper.triggered(c, dir)
		if len(h.Checkpoints) == 0 && (h.Final == nil || !w.scenario.deletes) {
			w.failf("job %s releases the snapshot that it started from, and has no checkpoint of its own", l.id)
		}
	case claim == snapshot.Deleted:
		if left := w.leftBy(dir); len(left) > 0 {
			w.failf("the head of job %s says that it has deleted %s, but %v are there", l.id, dir, left)
		}
	}
}
