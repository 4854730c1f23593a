// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"hash/crc32"
	"math/bits"
	"runtime"
	"sync"
)

const (
	// maxLoaders bounds how many goroutines add entries at the same time.
	maxLoaders = 4
	// pieceBytes is how much of a section is checked and added at once.
	pieceBytes = 64 << 10
)

// room is how many entries of a restore are still to come, by table and by group relative to first, for groups without pages.
type room map[*Table][]int

// newRoom counts the entries of all runs.
func (m *Memory) newRoom(runs []sectionRun) room {
	r := room{}
	for i := range runs {
		for _, s := range runs[i].sections {
			t := runs[i].tables[s.State]
			if r[t] == nil {
				r[t] = make([]int, len(t.groups))
			}
			r[t][s.Group-m.opts.First] += s.Count
		}
	}
	return r
}

// reserve makes pages for all entries of the group of a section, if that wasn't done, and returns how many. It may be called for
// different groups at the same time.
func (r room) reserve(t *Table, s Section) (pages int) {
	n := &r[t][s.Group-int(t.first)]
	if *n > 0 {
		pages = t.reserve(&t.groups[s.Group-int(t.first)], *n)
		*n = 0
	}
	return pages
}

// loading is one run, for all loaders to do their part of.
type loading struct {
	run *sectionRun
	chunk
	// number is that of the run.
	number int
	// todo is how many loaders haven't done theirs.
	todo sync.WaitGroup
}

// loader adds entries to the tables with integer keys and values of a fixed size, for some of the key groups. What has no
// room in the pages that were reserved is left for the owner of the tables.
type loader struct {
	work chan *loading
	room room
	n    map[*Table]loaded
	left []leftEntries
	// pages are those it makes.
	pages pageMaker
	// unpacked has entries that were packed.
	unpacked []byte
	// err is the first error, and at the number of its run.
	err error
	at  int
}

// loaded is what a loader has added to a table.
type loaded struct{ entries, pages int }

// leftEntries are entries of one section.
type leftEntries struct {
	run     *sectionRun
	section Section
	b       []byte
}

// loaders have the key groups that are i modulo their number.
type loaders []loader

// loadRuns is restoreRuns with loaders. What they can't do is done by the caller.
func (m *Memory) loadRuns(ctx context.Context, runs []sectionRun, room room) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := make(loaders, min(runtime.GOMAXPROCS(0), maxLoaders))
	var wg sync.WaitGroup
	for i := range all {
		l := &all[i]
		l.work, l.room, l.n = make(chan *loading, 1), room, map[*Table]loaded{}
		wg.Go(func() { l.run(i, len(all), cancel) })
	}
	old := make(spares, readsAhead)
	reads := runReads(runs, old)
	last := &loading{}
	reads.use = func(i int, c chunk) error {
		if err := m.loadOthers(&runs[i], c.b, room); err != nil {
			return err
		}
		before := last
		last = &loading{run: &runs[i], chunk: c, number: i}
		all.give(last)
		before.todo.Wait()
		old.give(before.chunk)
		if m.mayFail() {
			last.todo.Wait() // the answer looks at all pages
			if err := m.Err(); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	err := reads.run(ctx)
	for i := range all {
		close(all[i].work)
	}
	wg.Wait()
	first := len(runs)
	for i := range all {
		if l := &all[i]; l.err != nil && l.at < first {
			first, err = l.at, l.err
		}
	}
	if err != nil {
		return err
	}
	return m.loadRest(all)
}

// give hands work to all loaders.
func (l loaders) give(w *loading) {
	w.todo.Add(len(l))
	for i := range l {
		l[i].work <- w
	}
}

// mayFail says whether it is worth the time to ask for Err.
func (m *Memory) mayFail() bool {
	return m.failed != nil || m.opts.MemoryBudget > 0 && m.used() > m.opts.MemoryBudget || m.opts.Account.full()
}

// loadOthers adds the entries of a run that loaders don't.
func (m *Memory) loadOthers(run *sectionRun, b []byte, room room) error {
	for _, s := range run.sections {
		t := run.tables[s.State]
		if !t.logged {
			continue
		}
		t.count(loaded{pages: room.reserve(t, s)})
		part, err := run.part(s, b)
		if err != nil {
			return err
		}
		if err := loadLogged(run, s, part); err != nil {
			return err
		}
	}
	return nil
}

// loadRest counts what loaders have added, and adds what they have left.
func (m *Memory) loadRest(all loaders) error {
	m.makeBlanks()
	for i := range all {
		for t, n := range all[i].n {
			t.count(n)
		}
	}
	for i := range all {
		for _, e := range all[i].left {
			if err := e.run.r.loadLeft(e.run.info, e.section, e.b, e.run.tables[e.section.State]); err != nil {
				return err
			}
			if err := m.Err(); err != nil {
				return err
			}
		}
	}
	return m.Err()
}

// count counts what was added.
func (t *Table) count(n loaded) {
	t.n += n.entries
	t.pages += n.pages
	if n.pages > 0 {
		t.grown++
	}
}

// makeBlanks makes the pages of all tables that were reserved and got no entry.
func (m *Memory) makeBlanks() {
	for _, t := range m.tables {
		t.makeBlanks()
	}
}

// run does what comes until the first error; what comes after that is only taken.
func (l *loader) run(mine, of int, failed func()) {
	for w := range l.work {
		for _, s := range w.run.sections {
			if t := w.run.tables[s.State]; l.err != nil || s.Group%of != mine || t.logged {
				continue
			}
			if l.err = l.check(w, s); l.err != nil {
				l.at = w.number
				failed()
			}
		}
		w.todo.Done()
	}
}

// check adds the entries of one section and checks that it is what was written. Each piece is added right after its bytes were summed up, while it is
// in the cache; whether all are right is seen at the end, and if not, the restore fails.
func (l *loader) check(w *loading, s Section) error {
	t, b := w.run.tables[s.State], w.run.bytes(s, w.b)
	if misfit := w.run.r.fits(w.run.info, s, b, t); misfit != nil {
		if _, err := w.run.part(s, w.b); err != nil {
			return err // what doesn't fit is damage
		}
		return misfit
	}
	l.reserve(t, s)
	sum, left, packing := uint32(0), []byte(nil), w.run.info.widths(s)
	entry := packing.entry(int(t.stride))
	for size := pieceBytes / entry * entry; len(b) > 0; {
		piece := b[:min(size, len(b))]
		sum = crc32.Update(sum, castagnoli, piece)
		left = l.add(t, s, l.whole(packing, piece), left)
		b = b[len(piece):]
	}
	if bits.RotateLeft32(sum, turn) != s.Checksum {
		return w.run.wrong(s)
	}
	l.leave(w.run, s, left)
	return nil
}

// load adds the entries of one section that was checked.
func (l *loader) load(run *sectionRun, s Section, b []byte) error {
	t := run.tables[s.State]
	if err := run.r.fits(run.info, s, b, t); err != nil {
		return err
	}
	l.reserve(t, s)
	l.leave(run, s, l.add(t, s, l.whole(run.info.widths(s), b), nil))
	return nil
}

// whole returns the entries as they are in memory, until it is called again.
func (l *loader) whole(w widths, b []byte) []byte {
	if !w.packed() {
		return b
	}
	l.unpacked = w.appendUnpacked(l.unpacked[:0], b)
	return l.unpacked
}

// reserve makes pages for all entries of the group of a section, if that wasn't done.
func (l *loader) reserve(t *Table, s Section) {
	n := l.n[t]
	n.pages += l.room.reserve(t, s)
	l.n[t] = n
}

// add adds entries of one section, and appends those that are to be left.
func (l *loader) add(t *Table, s Section, b, left []byte) []byte {
	left, added := t.loadNew(s.Group-int(t.first), b, left, &l.pages)
	l.pages.count(t.m)
	n := l.n[t]
	n.entries += added
	l.n[t] = n
	return left
}

// leave keeps entries of one section for the owner of the tables.
func (l *loader) leave(run *sectionRun, s Section, left []byte) {
	if len(left) > 0 {
		l.left = append(l.left, leftEntries{run: run, section: s, b: left})
	}
}
