// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// Another job may claim the savepoint that a job is to own. One of them gets it. The other one ends before it has done anything, and starts without a claim if its
// user says so. A coordinator dies now and then in each step of claiming a savepoint, and of deleting it.

const (
	// rivalID is the job that claims the same savepoint. It never comes so far that it would delete it.
	rivalID = "rival"
	// rivalWithin is how soon it does so.
	rivalWithin = 2 * time.Second
	// maxClaimDeaths is how often a coordinator dies over a claim in a run: that is not bound to the time in which there are faults, because savepoints are deleted later.
	maxClaimDeaths = 2
)

// rivalClaims lets another job claim a savepoint.
func (w *world) rivalClaims(dir string) {
	mark, err := snapshot.EncodeOwner(rivalID, "default/rival")
	if err != nil {
		w.failf("encoding an owner: %v", err)
		return
	}
	w.clock.after(nil, w.clock.between(0, rivalWithin), func() {
		w.aside(func(s *slowStore) {
			err := s.PutIfAbsent(w.ctx, dir+snapshot.OwnerName, mark)
			w.tracef(nil, "another job claims %s: %v", dir, err)
		}, func() {})
	})
}

// ownerOf is the id of the job that owns a snapshot, empty for none.
func (w *world) ownerOf(dir string) string {
	o, err := w.store.get(dir + snapshot.OwnerName)
	if err != nil {
		return ""
	}
	owner, err := snapshot.DecodeOwner(o.data)
	if err != nil {
		w.failf("the owner of %s: %v", dir, err)
	}
	return owner.JobID
}

// lostClaim says whether a job ended because another one owns what it was to claim, and fails the run if that isn't so or the job had done something before. Its next version
// doesn't claim.
func (w *world) lostClaim(e job.Exit) bool {
	l := w.line
	if e.State != job.StateFailed || !l.claims || !strings.Contains(e.Err.Error(), claimLost) {
		return false
	}
	if owner := w.ownerOf(snapshot.Directory(l.from)); owner != rivalID {
		w.failf("job %s says that another job owns %s, but its owner is %q", l.id, l.from, owner)
	}
	if h := &l.head; len(h.Restores) > 0 || len(h.Checkpoints) > 0 || h.Origin.Usable() || len(l.out.transactions) > 0 || len(l.out.trimmed) > 0 {
		w.failf("job %s has begun although another job owns %s", l.id, l.from)
	}
	w.tracef(nil, "job %s could not claim %s", l.id, l.from)
	l.claims = false
	return true
}

// dieOver kills the coordinator now and then in a step of a claim.
func (c *coordinator) dieOver(step string) {
	w := c.w
	if w.claimDeaths == maxClaimDeaths || !w.clock.chance(4) {
		return
	}
	w.claimDeaths++
	w.faults.until = later(w.faults.until, w.clock.now)
	w.clock.after(nil, w.clock.between(0, 40*time.Millisecond), func() {
		if c.lead {
			w.tracef(c.p, "dies over: %s", step)
			w.killCoordinator(c)
		}
	})
}
