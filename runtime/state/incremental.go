// SPDX-License-Identifier: Apache-2.0

package state

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"unsafe"
)

// maxSmallFiles bounds how many shared files of a snapshot may hold less than half a part of what it refers to.
const maxSmallFiles = 64

// place says where the entries of one page lie. A page whose entries were cut has several, one after the other; one without
// entries has one with a count of 0.
type place struct {
	// page is the address of the page at the time of the seal. It tells pages apart and is never followed: a page that has not been
	// written since a seal is at the same address, and was the only one there.
	page   uintptr
	file   uint32
	offset uint32
	length uint32
	count  uint32
	sum    uint32
}

// placement says where the pages of one incremental snapshot lie in files. It doesn't change once made.
type placement struct {
	checkpoint int64
	// epoch is that of the seal: a page with a newer one has been written since.
	epoch uint32
	files []File
	// bytes is the size of all sections of a file, with their entries in its index.
	bytes  []int64
	tables []tablePlaces
}

// tablePlaces holds the places of one table, by group, in the order of the pages.
type tablePlaces struct {
	name   string
	ends   []int32
	places []place
}

// cost is what the placement takes of memory, about.
func (l *placement) cost() int64 {
	n := int64(0)
	for i := range l.tables {
		n += int64(cap(l.tables[i].places))*int64(unsafe.Sizeof(place{})) + int64(4*cap(l.tables[i].ends))
	}
	return n
}

// table returns the places of the table of that name, nil if there was none.
func (l *placement) table(name string) *tablePlaces {
	if l == nil {
		return nil
	}
	for i := range l.tables {
		if l.tables[i].name == name {
			return &l.tables[i]
		}
	}
	return nil
}

// group returns the places of group g.
func (t *tablePlaces) group(g int) []place {
	if t == nil || g >= len(t.ends) {
		return nil
	}
	start := int32(0)
	if g > 0 {
		start = t.ends[g-1]
	}
	return t.places[start:t.ends[g]]
}

// take returns the places of a page, and those behind. Pages that were not written keep their order.
func take(places []place, page uintptr) (found, rest []place) {
	for i := range places {
		if places[i].page != page {
			continue
		}
		n := i + 1
		for n < len(places) && places[n].page == page {
			n++
		}
		return places[i:n], places[n:]
	}
	return nil, places
}

// pagesWithSpecial calls f for the pages of group g, first for the one of the entry that has none.
func (s *tableSnapshot) pagesWithSpecial(g int, f func(page snapPage, special bool) error) error {
	if s.special != nil && s.specialG == g {
		if err := f(snapPage{ptr: s.special, epoch: s.specialE}, true); err != nil {
			return err
		}
	}
	for _, p := range s.pagesOf(g) {
		if err := f(p, false); err != nil {
			return err
		}
	}
	return nil
}

// eachUntouched calls f with the places of every page that has not been written since the base.
func (s *Snapshot) eachUntouched(f func(places []place)) {
	for i := range s.tables {
		t := &s.tables[i]
		old := s.base.table(t.desc.Name)
		for g := range t.groups {
			rest := old.group(g)
			_ = t.pagesWithSpecial(g, func(p snapPage, _ bool) error {
				if p.epoch > s.base.epoch {
					return nil
				}
				var found []place
				if found, rest = take(rest, uintptr(p.ptr)); found != nil {
					f(found)
				}
				return nil
			})
		}
	}
}

// keep says which files of the base the snapshot goes on referring to. Others are given up: what is still needed of them is
// written anew. So at least half of every file is of use, and small files don't pile up.
func (s *Snapshot) keep() []bool {
	if s.base == nil {
		return nil
	}
	live := make([]int64, len(s.base.files))
	s.eachUntouched(func(places []place) {
		for _, p := range places {
			if p.count > 0 {
				live[p.file] += int64(p.length) + indexEntrySize
			}
		}
	})
	keep := make([]bool, len(live))
	var small []int
	for i, n := range live {
		keep[i] = n > 0 && 2*n >= s.base.bytes[i]
		if keep[i] && 2*n < int64(s.m.opts.PartSize) {
			small = append(small, i)
		}
	}
	if len(small) < maxSmallFiles {
		return keep
	}
	slices.SortFunc(small, func(a, b int) int { return cmp.Compare(live[a], live[b]) })
	for _, i := range small[:len(small)-maxSmallFiles/2] {
		keep[i] = false
	}
	return keep
}

// pageEncoder writes pages to shared files, each as a section or more of its own, and notes where they lie.
type pageEncoder struct {
	fileEncoder
	to *placement
	// renamed holds the numbers of the base's files in the new placement.
	renamed []uint32
}

// writeIncremental writes what the base doesn't have, and the index of it all.
func (s *Snapshot) writeIncremental(ctx context.Context, w SharedWriter) ([]File, error) {
	e := &pageEncoder{fileEncoder: *s.newEncoder(w.WriteShared), to: &placement{checkpoint: s.checkpoint, epoch: s.epoch}}
	keep := s.keep()
	e.renamed = make([]uint32, len(keep))
	for i, k := range keep {
		if k {
			e.renamed[i] = uint32(len(e.to.files))
			f := s.base.files[i]
			f.Reused = true
			e.to.files, e.to.bytes = append(e.to.files, f), append(e.to.bytes, s.base.bytes[i])
		}
	}
	groups, size := s.extent()
	e.buf = s.m.takeBuffer(min(size, e.part+1<<18))
	room := cap(e.buf)
	defer func() {
		s.m.settle(e.buf)
		s.m.giveBuffer(e.buf, room)
	}()
	if err := e.pages(ctx, groups, keep); err != nil {
		return nil, err
	}
	index, err := e.index(ctx, w, groups)
	if err != nil {
		return nil, fmt.Errorf("writing the index of keyed state: %w", err)
	}
	files := slices.Concat(index, e.to.files)
	for i := range e.to.files {
		e.to.files[i].Reused = false
	}
	s.m.placements.add(e.to)
	return files, nil
}

// pages writes the pages of all tables, group by group.
func (e *pageEncoder) pages(ctx context.Context, groups int, keep []bool) error {
	e.to.tables = make([]tablePlaces, len(e.s.tables))
	for i := range e.s.tables {
		t := &e.s.tables[i]
		e.to.tables[i] = tablePlaces{name: t.desc.Name, ends: make([]int32, len(t.groups)), places: make([]place, 0, len(t.pages)+1)}
	}
	for g := range groups {
		for i := range e.s.tables {
			if t := &e.s.tables[i]; g < len(t.groups) {
				if err := e.groupPages(ctx, i, g, keep); err != nil {
					return fmt.Errorf("writing state %q: %w", t.desc.Name, err)
				}
				e.to.tables[i].ends[g] = int32(len(e.to.tables[i].places))
			}
		}
		e.s.pass(g + 1)
	}
	if err := e.flushPages(ctx); err != nil {
		return fmt.Errorf("writing keyed state: %w", err)
	}
	return nil
}

// groupPages notes the places of the pages of a group, and writes those that have none.
func (e *pageEncoder) groupPages(ctx context.Context, state, g int, keep []bool) error {
	t, to := &e.s.tables[state], &e.to.tables[state]
	rest := e.s.base.table(t.desc.Name).group(g)
	return t.pagesWithSpecial(g, func(p snapPage, special bool) error {
		var found []place
		if e.s.base != nil && p.epoch <= e.s.base.epoch {
			found, rest = take(rest, uintptr(p.ptr))
		}
		if found == nil || slices.ContainsFunc(found, func(f place) bool { return f.count > 0 && !keep[f.file] }) {
			return e.page(ctx, state, g, p, special)
		}
		for _, f := range found {
			if f.count > 0 {
				f.file = e.renamed[f.file]
			}
			to.places = append(to.places, f)
		}
		return nil
	})
}

// page writes one page.
func (e *pageEncoder) page(ctx context.Context, state, g int, p snapPage, special bool) error {
	t, to := &e.s.tables[state], &e.to.tables[state]
	for at := uintptr(0); at <= uintptr(p.mask); {
		sec := e.open(state, g)
		if special {
			e.buf, sec.Count, at = t.appendSlot(e.buf, p.ptr), 1, 1
		} else {
			e.buf, sec.Count, at = t.appendPage(e.buf, p, at, e.part)
		}
		if sec.Count > 0 || at > uintptr(p.mask) && (len(to.places) == 0 || to.places[len(to.places)-1].page != uintptr(p.ptr)) {
			e.close(sec)
			to.places = append(to.places, place{
				page: uintptr(p.ptr), file: uint32(len(e.to.files)), offset: uint32(sec.Offset),
				length: uint32(int64(len(e.buf)) - sec.Offset), count: uint32(sec.Count), sum: e.lastSum(sec),
			})
		}
		if len(e.buf) < e.yielded+yieldBytes && len(e.buf) < e.part {
			continue
		}
		if err := e.pause(ctx); err != nil {
			return err
		}
		if len(e.buf) >= e.part {
			if err := e.flushPages(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// lastSum returns the checksum of a section that was just closed.
func (e *pageEncoder) lastSum(s Section) uint32 {
	if s.Count == 0 {
		return 0
	}
	return e.sections[len(e.sections)-1].Checksum
}

// flushPages writes the file gathered so far, if it holds anything, and enters it in the placement.
func (e *pageEncoder) flushPages(ctx context.Context) error {
	bytes := int64(0)
	for _, s := range e.sections {
		bytes += s.Length + indexEntrySize
	}
	if err := e.flush(ctx); err != nil {
		return err
	}
	if n := len(e.files); n > 0 {
		f := e.files[0]
		f.Shared = true
		e.to.files, e.to.bytes, e.files = append(e.to.files, f), append(e.to.bytes, bytes), e.files[:0]
	}
	e.sections = e.sections[:0]
	return nil
}
