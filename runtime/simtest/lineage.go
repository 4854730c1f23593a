// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"slices"
	"strings"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// lineage is one job over all its versions, with its directory in storage and its outside, and what must hold of them.
type lineage struct {
	w   *world
	id  string
	dir string
	// from is the savepoint of another job that it starts from.
	from string
	// claims says that it is to own that.
	claims bool
	out    *outside
	// head is what storage holds, named every snapshot that a head ever named.
	head  snapshot.Head
	named map[int64]bool
	// partOf says of which snapshots that a head named an object is a part.
	partOf    map[string][]int64
	completed int64
	triggered map[triggerKey]protocol.Attempt
	// outlived are snapshots that are newer than what an attempt started from since.
	outlived map[int64]bool
	// goneBackTo is the newest savepoint that it went back to.
	goneBackTo int64
	// begunAfter is the newest snapshot when the job began anew, after its end took its state along.
	begunAfter int64
	// dirs are the directories of all snapshots, givenUp those that tasks were told the end of.
	dirs    map[int64]string
	givenUp map[int64]bool
	// pins are the snapshots that pins hold, by name.
	pins map[string]int64
	// startedFrom is the newest snapshot when the present version started.
	startedFrom int64
}

// triggerKey is a snapshot at a vertex: each region has its own attempt.
type triggerKey struct {
	id     int64
	vertex string
}

// startLineage begins a job.
func (w *world) startLineage(id, from string) {
	l := &lineage{
		w: w, id: id, dir: "jobs/" + id + "/", from: from, named: map[int64]bool{}, partOf: map[string][]int64{}, triggered: map[triggerKey]protocol.Attempt{},
		dirs: map[int64]string{}, givenUp: map[int64]bool{}, outlived: map[int64]bool{}, pins: map[string]int64{},
	}
	l.begin()
	w.line = l
	w.lines = append(w.lines, l)
}

// begin gives the job an outside on which nothing has happened.
func (l *lineage) begin() {
	w := l.w
	for id := range l.named {
		l.begunAfter = max(l.begunAfter, id)
	}
	lax := w.scenario.atLeastOnce
	l.out = &outside{ledger: newLedger(w.failf), rnd: w.clock.rnd, lax: lax, mutation: w.mutation, keep: w.scenario.keeps}
	l.out.ledger.lax = lax || w.scenario.plain
	for _, n := range w.scenario.nodes {
		l.out.loose = l.out.loose || n.keep || n.kind == delayNode && !w.scenario.ordered
	}
	l.out.commitFails = func() bool { return w.faulty() && w.clock.chance(w.faults.commit) }
	l.out.newestAttempt = l.newestAttempt
}

// newestAttempt is the newest that the head names of the region that a vertex is in.
func (l *lineage) newestAttempt(vertex string) string {
	plan := l.w.version.jobPlan()
	region := plan.Region(vertex)
	for _, r := range slices.Backward(l.head.Restores) {
		if len(r.Regions) == 0 || slices.Contains(r.Regions, region) {
			return r.Attempt
		}
	}
	return ""
}

func (l *lineage) headName() string { return l.dir + "head.json" }

// checkOutput compares what is visible with what a sequential run yields.
func (l *lineage) checkOutput(complete bool) {
	if err := l.outputError(complete); err != nil {
		l.w.failf("comparing the output of job %s: %v", l.id, err)
	}
}

// outputError says how what is visible differs from what a sequential run yields.
func (l *lineage) outputError(complete bool) error {
	for _, n := range l.w.scenario.nodes {
		if n.kind != sinkNode {
			continue
		}
		if err := l.out.check(n.name, n.keys, l.w.scenario.rowsPerKey, complete); err != nil {
			return err
		}
	}
	return nil
}

// headSwapped looks at each head that takes effect.
func (l *lineage) headSwapped(c *coordinator, h snapshot.Head) {
	w, old := l.w, l.head
	if h.Seq != old.Seq+1 {
		w.failf("the head goes from seq %d to %d", old.Seq, h.Seq)
	}
	if old.Seq == 0 {
		l.checkUntouched()
	}
	if h.Epoch.Compare(old.Epoch) < 0 {
		w.failf("the head goes from epoch %v back to %v", old.Epoch, h.Epoch)
	}
	for _, k := range h.Checkpoints {
		l.checkNamed(k.ID, k.Path, k.ManifestCRC32C, true)
	}
	for _, o := range h.Operations {
		if o.Checkpoint > 0 {
			l.checkNamed(o.Checkpoint, o.Path, o.ManifestCRC32C, o.Restorable())
		}
	}
	if h.Epoch.Compare(old.Epoch) > 0 {
		c.inherited = old.Checkpoints
		l.checkRewind(c, &old, &h)
	}
	for _, k := range old.Checkpoints {
		if !slices.ContainsFunc(h.Checkpoints, func(n snapshot.CompletedCheckpoint) bool { return n.ID == k.ID }) {
			l.dropped(c, k, h.Final != nil && old.Final == nil)
		}
	}
	if len(h.Restores) > len(old.Restores) {
		w.restores++
		if r := h.Restores[len(h.Restores)-1]; w.tracing && len(r.LeftOut) > 0 {
			w.tracef(c.p, "falls back to %d behind %+v", r.Checkpoint, r.LeftOut)
		}
		l.checkRestore(&old, &h.Restores[len(h.Restores)-1])
		l.outlive(h.Restores[len(h.Restores)-1].Checkpoint)
		l.checkConsent(c, &old, &h.Restores[len(h.Restores)-1])
	}
	l.checkClaim(c, &old, &h)
	l.failStopped(c, &old, &h)
	l.head = h.Clone()
	if w.tracing {
		w.tracef(nil, "the head is now %d of %s: %s", h.Seq, c.p.name, describeHead(&h))
	}
}

// checkNamed looks at a snapshot that a head names for the first time. A recovery starts from the newest one; only savepoints that
// don't stop the job are beside that and may be complete after a checkpoint with a higher id.
func (l *lineage) checkNamed(id int64, path string, crc uint32, recovery bool) {
	w := l.w
	if l.named[id] {
		return
	}
	l.named[id] = true
	w.checkpoints++
	if recovery && id <= l.completed {
		w.failf("snapshot %d is complete after %d", id, l.completed)
	}
	if recovery {
		l.completed = id
	}
	o, err := w.store.get(path + snapshot.ManifestName)
	if err != nil || snapshot.Checksum(o.data) != crc {
		w.failf("the head names snapshot %d, but its manifest isn't there or is another one: %v", id, err)
		return
	}
	m, err := snapshot.DecodeManifest(o.data)
	if err != nil {
		w.failf("the head names snapshot %d: %v", id, err)
		return
	}
	if err := l.out.checkHeld(m); err != nil {
		w.failf("%v", err)
	}
	l.belongs(path+snapshot.ManifestName, id)
	for _, f := range m.ChannelFiles() {
		l.belongs(path+f.Path, id)
		if _, err := w.store.get(path + f.Path); err != nil && !w.rotten[path+f.Path] {
			w.failf("the head names snapshot %d, but its file %s of channel state is missing: %v", id, f.Path, err)
		}
	}
	for _, f := range m.Files() {
		key := snapshot.FileKey(path, f.Path)
		l.belongs(key, id)
		b, err := w.store.getRange(key, 0, -1)
		if (err != nil || int64(len(b)) != f.Size || snapshot.Checksum(b) != f.CRC32C) && !w.rotten[key] {
			w.failf("the head names snapshot %d, but its file %s is missing or damaged: %v", id, f.Path, err)
		}
	}
}

// checkDelete looks at each deletion: nothing may go that the head refers to, and no savepoint ever.
func (l *lineage) checkDelete(name string) {
	w := l.w
	if name == l.headName() {
		w.failf("the head is deleted")
	}
	for _, id := range l.partOf[name] {
		switch {
		case l.keeps(id) && !w.released(name):
			w.failf("%s is deleted, but snapshot %d in the head needs it", name, id)
		case l.pinHolds(id):
			w.failf("%s is deleted, but a pin holds snapshot %d, which needs it", name, id)
		}
	}
}

func (l *lineage) belongs(name string, id int64) { l.partOf[name] = append(l.partOf[name], id) }

// keeps says whether the head names a snapshot.
func (l *lineage) keeps(id int64) bool {
	return slices.ContainsFunc(l.head.Checkpoints, func(k snapshot.CompletedCheckpoint) bool { return k.ID == id }) ||
		slices.ContainsFunc(l.head.Operations, func(o snapshot.Operation) bool {
			return o.Checkpoint == id && o.Type != snapshot.OperationCheckpoint
		})
}

// wants says whether the manifest in a directory has to be there: the head names it, or no sweeper could have taken it.
func (l *lineage) wants(dir string) bool {
	if !l.w.sweeps || !strings.HasPrefix(dir, l.dir+"checkpoints/") {
		return true
	}
	return slices.ContainsFunc(l.head.Checkpoints, func(k snapshot.CompletedCheckpoint) bool { return k.Path == dir })
}

// dropped notes that a coordinator has to delete what only a checkpoint needs that it took out of the head; ended says that the head also names
// the end of the job.
func (l *lineage) dropped(c *coordinator, k snapshot.CompletedCheckpoint, ended bool) {
	if ended {
		c.endedWith[k.Path] = true
	}
	shared := k.Shared && !slices.Contains(l.w.keeper.of(k.Path).owners, c)
	drop := func(name string) {
		if shared {
			s := l.w.keeper.of(name)
			s.inherited = append(s.inherited, inheritance{by: c, path: k.Path, ended: ended})
		}
		l.w.keeper.triggered(c, name)
	}
	for name, ids := range l.partOf {
		if slices.Contains(ids, k.ID) && !strings.HasPrefix(name, k.Path) {
			drop(name)
		}
	}
	drop(k.Path)
}

// checkSend looks at each message that a coordinator sends.
func (l *lineage) checkSend(c *coordinator, m protocol.ToWorker) {
	w := l.w
	switch {
	case m.Complete != nil:
		if !l.named[m.Complete.Checkpoint] {
			w.failf("%s announces snapshot %d, which no head names", c.p.name, m.Complete.Checkpoint)
		}
	case m.Aborted != nil:
		l.givenUp[m.Aborted.Checkpoint] = true
	case m.Trigger != nil:
		id := m.Trigger.Barrier.Checkpoint
		for _, t := range m.Trigger.Tasks {
			key := triggerKey{id, t.Vertex}
			if a, ok := l.triggered[key]; ok && a != m.Trigger.Attempt {
				w.failf("the id %d is used in attempt %s of %s and again in %s", id, a, t.Vertex, m.Trigger.Attempt)
			}
			l.triggered[key] = m.Trigger.Attempt
		}
		l.dirs[id] = m.Trigger.Barrier.Target
		w.keeper.triggered(c, m.Trigger.Barrier.Target)
		w.keeper.triggered(c, m.Trigger.Barrier.Target+snapshot.SavepointFilePrefix(id))
	}
}
