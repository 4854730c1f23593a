// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"unsafe"
)

// maxLoaders bounds how many goroutines add entries at the same time.
const maxLoaders = 4

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

// reserve makes pages for all entries of the group of a section, if that wasn't done.
func (r room) reserve(t *Table, s Section) {
	n := &r[t][s.Group-int(t.first)]
	if *n > 0 {
		t.reserve(&t.groups[s.Group-int(t.first)], *n)
		*n = 0
	}
}

// loading is the part of one run that one loader does.
type loading struct {
	run *sectionRun
	b   []byte
	// number is that of the run.
	number int
}

// loader adds entries to the tables with integer keys and values of a fixed size, for some of the key groups. It makes no pages: what has no
// room in those there are is left for the owner of the tables.
type loader struct {
	work chan loading
	n    map[*Table]int
	left []leftEntries
	// err is the first error, and at the number of its run.
	err error
	at  int
}

// leftEntries are entries of one section.
type leftEntries struct {
	run     *sectionRun
	section Section
	b       []byte
}

// loadRuns is restoreRuns with loaders: loader i of n has the key groups that are i modulo n. Everything else is done by the caller.
func (m *Memory) loadRuns(ctx context.Context, runs []sectionRun, room room) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	loaders := make([]loader, min(runtime.GOMAXPROCS(0), maxLoaders))
	var wg sync.WaitGroup
	for i := range loaders {
		l := &loaders[i]
		l.work, l.n = make(chan loading, 1), map[*Table]int{}
		wg.Go(func() { l.run(i, len(loaders), cancel) })
	}
	all := runReads(runs)
	all.use = func(i int, b []byte) error {
		if err := m.loadOthers(&runs[i], b, room); err != nil {
			return err
		}
		for k := range loaders {
			loaders[k].work <- loading{run: &runs[i], b: b, number: i}
		}
		return ctx.Err()
	}
	err := all.run(ctx)
	for i := range loaders {
		close(loaders[i].work)
	}
	wg.Wait()
	first := len(runs)
	for i := range loaders {
		if l := &loaders[i]; l.err != nil && l.at < first {
			first, err = l.at, l.err
		}
	}
	if err != nil {
		return err
	}
	return m.loadRest(loaders)
}

// loadOthers makes room for the entries of a run, and adds those that loaders don't.
func (m *Memory) loadOthers(run *sectionRun, b []byte, room room) error {
	for _, s := range run.sections {
		t := run.tables[s.State]
		room.reserve(t, s)
		if t.logged {
			part, err := run.part(s, b)
			if err != nil {
				return err
			}
			if err := run.r.loadSection(run.info, s, part, t); err != nil {
				return err
			}
		}
		if err := m.Err(); err != nil {
			return err
		}
	}
	return nil
}

// loadRest counts what loaders have added, and adds what they have left.
func (m *Memory) loadRest(loaders []loader) error {
	for i := range loaders {
		for t, n := range loaders[i].n {
			t.n += n
		}
	}
	for i := range loaders {
		for _, e := range loaders[i].left {
			if err := e.run.r.loadLeft(e.run.info, e.section, e.b, e.run.tables[e.section.State]); err != nil {
				return err
			}
			if err := m.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// run does what comes until the first error; what comes after that is only taken.
func (l *loader) run(mine, of int, failed func()) {
	for w := range l.work {
		for _, s := range w.run.sections {
			if t := w.run.tables[s.State]; l.err != nil || s.Group%of != mine || t.logged {
				continue
			}
			if l.err = l.load(w, s); l.err != nil {
				l.at = w.number
				failed()
			}
		}
	}
}

// load adds the entries of one section.
func (l *loader) load(w loading, s Section) error {
	t := w.run.tables[s.State]
	b, err := w.run.part(s, w.b)
	if err == nil {
		err = w.run.r.fits(w.run.info, s, b, t)
	}
	if err != nil {
		return err
	}
	left, n := t.loadNew(s.Group-int(t.first), b, nil)
	l.n[t] += n
	if len(left) > 0 {
		l.left = append(l.left, leftEntries{run: w.run, section: s, b: left})
	}
	return nil
}

// loadNew adds entries of a group, relative to first, with integer keys, and returns how many. Those that have no room in pages that may be written, are
// there already or aren't of this group are appended to left. It writes to nothing but the group and its pages.
func (t *Table) loadNew(group int, b, left []byte) ([]byte, int) {
	g, n, size := &t.groups[group], 0, int(t.stride)
	single := int(g.pages) == g.size() // each page has one reference
	for at := 0; at < len(b); at += size {
		e := b[at : at+size : at+size]
		key := int64(binary.LittleEndian.Uint64(e))
		hash := HashInt64(key)
		tag := uint64(key ^ emptyKey)
		r := g.at(hash)
		if tag == 0 || t.index(hash) != uint64(group) || r.epoch != t.epoch || t.full(r) {
			left = append(left, e...)
			continue
		}
		p := t.slotFor(r, tag, hash)
		if p == nil {
			left = append(left, e...)
			continue
		}
		*(*uint64)(p) = tag
		if size == 16 {
			*(*[8]byte)(unsafe.Add(p, 8)) = [8]byte(e[8:])
		} else {
			copy(unsafe.Slice((*byte)(unsafe.Add(p, 8)), size-8), e[8:])
		}
		n++
		if single {
			r.count++
			continue
		}
		refs, _ := g.block(r)
		for i := range refs {
			refs[i].count++
		}
	}
	g.n += n
	return left, n
}

// slotFor returns the empty slot for a tag in the page of r, nil if the tag is there.
func (t *Table) slotFor(r *pageRef, tag, hash uint64) unsafe.Pointer {
	i := uint32(hash>>slotBits) & r.mask
	for {
		p := unsafe.Add(r.ptr, uintptr(i)*t.stride)
		switch *(*uint64)(p) {
		case 0:
			return p
		case tag:
			return nil
		}
		i = (i + 1) & r.mask
	}
}
