// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// A job that was drained goes on from its savepoint only if the user consents. One that was to be drained and goes on because a task
// failed, or its coordinator, after the savepoint was complete, needs no consent.

// drainedWith says whether the job came to its end by being drained with a savepoint.
func drainedWith(h *snapshot.Head, id int64) bool {
	return h.StoppedWith(id) && slices.ContainsFunc(h.Operations, func(o snapshot.Operation) bool {
		return o.Checkpoint == id && o.Stop == record.StopDrain
	})
}

// needsConsent says whether the job can go on only with consent: it came to its end by being drained, also if it went on from that later and
// what it wrote since is damaged, or starts from the savepoint of a job that did.
func (l *lineage) needsConsent() bool {
	ids := restorable(&l.head)
	for _, id := range slices.Backward(ids) {
		if drainedWith(&l.head, id) {
			return true // it is asked for before all of its files have been read
		}
		if l.intact(id) {
			return false
		}
	}
	if len(ids) > 0 {
		return false
	}
	if l.from == "" {
		return false
	}
	m, err := l.w.manifestOf(strings.TrimSuffix(l.from, snapshot.ManifestName))
	return err == nil && m.Stop == record.StopDrain
}

// manifestOf reads the manifest in a directory.
func (w *world) manifestOf(dir string) (*snapshot.Manifest, error) {
	o, err := w.store.get(dir + snapshot.ManifestName)
	if err != nil {
		return nil, err
	}
	return snapshot.DecodeManifest(o.data)
}

// consent decides whether the user of a new version consents: now and then not before the job says that it is needed.
func (w *world) consent() bool {
	asked := w.asked
	w.asked = false
	return asked || w.line.needsConsent() && !w.clock.chance(3)
}

// unconsented says whether a job failed because it needs consent and has none. The next version has it.
func (w *world) unconsented(e job.Exit) bool {
	w.asked = e.State == job.StateFailed && strings.Contains(e.Err.Error(), "allowDrained") && !w.version.config.AllowDrained && w.line.needsConsent()
	return w.asked
}

// checkConsent looks at what an attempt starts from.
func (l *lineage) checkConsent(c *coordinator, old *snapshot.Head, r *snapshot.Restore) {
	if c.version.config.AllowDrained || r.Empty {
		return
	}
	drained := false
	if _, ok := old.Newest(); ok {
		drained = drainedWith(old, r.Checkpoint)
	} else if m, err := l.w.manifestOf(r.Path); err == nil {
		drained = m.Stop == record.StopDrain
	}
	if drained {
		l.w.failf("attempt %s starts from snapshot %d, with which the job was drained, and nobody consented", r.Attempt, r.Checkpoint)
	}
}

// asWritten is the manifest that state is assigned from. Under DrainedIsDrained it is always the one in storage.
func (c *coordinator) asWritten(m *snapshot.Manifest, dir string) *snapshot.Manifest {
	if c.w.mutation != DrainedIsDrained {
		return m
	}
	if written, err := c.w.manifestOf(dir); err == nil {
		return written
	}
	return m
}

// failStopped makes trouble now and then when the savepoint of a stop is in the head and the tasks are told of it.
func (l *lineage) failStopped(c *coordinator, old, h *snapshot.Head) {
	w := l.w
	stopping := func(o snapshot.Operation) bool { return o.Outcome == snapshot.OutcomeStopping }
	if !w.faulty() || !slices.ContainsFunc(h.Operations, stopping) || slices.ContainsFunc(old.Operations, stopping) || !w.clock.chance(4) {
		return
	}
	w.clock.after(nil, w.clock.between(0, 100*time.Millisecond), func() {
		if w.clock.chance(3) {
			w.killCoordinator(c)
		} else {
			w.killWorker()
		}
	})
}
