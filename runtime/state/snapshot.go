// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

// errReleased is what writing a snapshot ends with that was released.
var errReleased = errors.New("snapshot was released")

// errSpent is what writing a snapshot ends with that was written before, and of which pages have changed since.
var errSpent = errors.New("snapshot was written before")

// Snapshot is the state as of one Seal. It holds pages of the tables until it is released.
type Snapshot struct {
	m      *Memory
	epoch  uint32
	tables []tableSnapshot
	n      int // keys over all states
	// checkpoint is the id of an incremental snapshot, 0 for one that stands alone; base is what it may refer to, nil for nothing.
	checkpoint int64
	base       *placement
	// plan is the layout of the only file, nil if there is none. It doesn't change.
	plan *plan

	mu      sync.Mutex
	writers int
	// passed is how many key groups were written: their pages aren't looked at again. Guarded by mu.
	passed int
	// begun says that there was a writer, again that there was a second one, for which no page may change, and spent that pages have changed
	// that were passed. Guarded by mu.
	begun, again, spent bool
	released            bool
	done                atomic.Bool // released and no writer left
	// spare are the lists of pages, emptied unless there is a plan. They are the owner's once done is set.
	spare [][]snapPage
}

// snapPage is one page of a table at the time of the seal.
type snapPage struct {
	ptr   unsafe.Pointer
	mask  uint32
	epoch uint32 // of its last change
	count uint32
	at    uint32 // where its entries begin in the file, if there is a plan
}

// snapGroup says which of the pages belong to a group.
type snapGroup struct {
	end   int // of its pages; they start where those of the group before end
	count int // entries
}

// tableSnapshot is one table at the time of the seal. Nobody writes to what it refers to.
type tableSnapshot struct {
	desc     Descriptor
	ints     bool
	logged   bool
	inlines  bool // slots may hold short keys
	stride   uintptr
	widths   widths // of the entries in a planned file
	learn    bool   // how long they are
	first    int    // key group of groups[0]
	groups   []snapGroup
	pages    []snapPage
	log      []*logPage
	special  unsafe.Pointer
	specialG int
	specialE uint32 // epoch of its last change
	n        int
}

// Seal is the synchronous part of a snapshot: it fixes the state as of now. It takes time in proportion to the
// number of pages and key groups, not of entries. The snapshot must be released.
func (m *Memory) Seal() *Snapshot { return m.seal(m.plannedSize()) }

// seal is Seal for a snapshot whose file is to be planned, and takes at most so many bytes; 0 for no plan.
func (m *Memory) seal(planned int) *Snapshot {
	m.refresh()
	m.trim()
	s := &Snapshot{m: m, epoch: m.epoch, tables: make([]tableSnapshot, len(m.tables))}
	for i, t := range m.tables {
		t.plan = nil
		s.tables[i] = t.seal(planned > 0)
		s.n += t.n
	}
	if planned > 0 {
		s.layOut(planned)
	}
	m.open = append(m.open, s)
	m.openMax = s.epoch
	m.epoch++
	for _, t := range m.tables {
		t.epoch = m.epoch
	}
	return s
}

// takePages returns an empty list with room for n pages, that of a snapshot before if there is one. To make one takes the longer part of a seal: memory that is
// new to the process, and the garbage collector at times, which has whoever asks for that much sweep as much.
func (m *Memory) takePages(n int) []snapPage {
	best := -1
	for i, pages := range m.lists {
		if cap(pages) >= n && (best < 0 || cap(pages) < cap(m.lists[best])) {
			best = i
		}
	}
	if best < 0 {
		return make([]snapPage, 0, n+n/8) // state that grows would need another one each time
	}
	pages := m.lists[best]
	m.lists = slices.Delete(m.lists, best, best+1)
	return pages
}

// givePages takes the lists of a snapshot back. What no seal has taken since those of another snapshot came is given up.
func (m *Memory) givePages(s *Snapshot) {
	clear(m.lists)
	m.lists = m.lists[:0]
	for _, pages := range s.spare {
		if s.plan != nil {
			clear(pages)
		}
		m.lists = append(m.lists, pages[:0])
	}
	s.spare = nil
}

// seal returns the table as it is. If it is numbered, the directories say which page of the snapshot each of theirs is.
func (t *Table) seal(numbered bool) tableSnapshot {
	s := tableSnapshot{
		desc: t.desc, ints: t.ints, logged: t.logged, inlines: !t.ints && t.desc.ValueSize > 0, stride: t.stride, first: int(t.first), n: t.n,
	}
	if t.n == 0 {
		return s
	}
	if t.logged {
		s.log = append(s.log, t.log.pages...)
	}
	s.special, s.specialG, s.specialE = t.special.ptr, t.specialG, t.special.epoch
	s.groups = make([]snapGroup, len(t.groups))
	s.pages = t.m.takePages(t.pages)
	for i := range t.groups {
		g := &t.groups[i]
		if g.n > 0 {
			s.pages = g.appendPages(s.pages, numbered)
		}
		s.groups[i] = snapGroup{end: len(s.pages), count: g.n}
	}
	if s.special != nil {
		s.groups[s.specialG].count++
	}
	return s
}

// appendPages appends the pages of the group, each once. If they are to be numbered, the directory gets their places in pages.
func (g *group) appendPages(pages []snapPage, numbered bool) []snapPage {
	var last unsafe.Pointer
	refs := g.refs()
	for i := range refs {
		r := &refs[i]
		if r.ptr != last {
			pages = append(pages, snapPage{ptr: r.ptr, mask: r.mask, epoch: r.epoch, count: r.count})
			last = r.ptr
		}
		if numbered {
			r.number = uint32(len(pages) - 1)
		}
	}
	return pages
}

// Release ends the use of the snapshot; a Write that runs is waited for by nobody, the pages are kept until it
// returns. Safe for use by any goroutine, any number of times.
func (s *Snapshot) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released {
		return
	}
	s.released = true
	s.finish()
}

// Len is the number of keys over all states.
func (s *Snapshot) Len() int { return s.n }

// finish hands the pages back when nobody uses them. mu is held.
func (s *Snapshot) finish() {
	if s.released && s.writers == 0 && !s.done.Load() {
		for i := range s.tables {
			pages := s.tables[i].pages
			if s.plan == nil { // those of a plan are the owner's to clear: it may encode one of them right now
				clear(pages) // so that they keep no page alive
			}
			s.spare = append(s.spare, pages)
		}
		s.tables = nil
		if s.plan != nil {
			s.m.beside(-int64(s.plan.room))
		}
		s.done.Store(true)
		s.m.released.Add(1)
	}
}

func (s *Snapshot) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.released:
		return errReleased
	case s.spent:
		return errSpent
	}
	s.again = s.begun
	s.begun = true
	s.writers++
	return nil
}

// pass tells that the first n key groups were written.
func (s *Snapshot) pass(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passed = n
}

// spend says whether nobody will look at the pages of a group again. If so, they may change.
func (s *Snapshot) spend(group int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.again || group >= s.passed {
		return false
	}
	s.spent = true
	return true
}

func (s *Snapshot) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writers--
	s.finish()
}

// each calls f with the slots in use of group g, until f returns false.
func (s *tableSnapshot) each(g int, f func(slot unsafe.Pointer) bool) bool {
	if s.special != nil && s.specialG == g && !f(s.special) {
		return false
	}
	for _, page := range s.pagesOf(g) {
		for i := uintptr(0); i <= uintptr(page.mask); i++ {
			p := unsafe.Add(page.ptr, i*s.stride)
			if *(*uint64)(p) != 0 && !f(p) {
				return false
			}
		}
	}
	return true
}

// pagesOf returns the pages of group g.
func (s *tableSnapshot) pagesOf(g int) []snapPage {
	start := 0
	if g > 0 {
		start = s.groups[g-1].end
	}
	return s.pages[start:s.groups[g].end]
}

// entry returns key and value of a slot. The key is appended to buf where it isn't in memory in this form.
func (s *tableSnapshot) entry(buf []byte, p unsafe.Pointer) (key, val []byte) {
	if s.ints {
		tag := *(*uint64)(p)
		key = binary.LittleEndian.AppendUint64(buf, tag^emptyTag)
		if s.logged {
			_, val = entryAt(s.log, slotRef(p))
			return key, val
		}
		return key, unsafe.Slice((*byte)(unsafe.Add(p, 8)), s.desc.ValueSize)
	}
	ref := slotRef(p)
	if ref&inlineRef != 0 {
		key = appendInlineKey(buf, ref)
	} else {
		key, val = entryAt(s.log, ref)
	}
	if s.desc.ValueSize > 0 {
		val = unsafe.Slice((*byte)(unsafe.Add(p, 16)), s.desc.ValueSize)
	}
	return key, val
}

// Range calls f for every entry, group by group, until f returns false. The slices are valid only during the call
// and must not be changed; f must not use the table for writing.
func (t *Table) Range(f func(keyGroup int, key, val []byte) bool) {
	s := t.seal(false)
	buf := make([]byte, 0, 8)
	for g := range s.groups {
		if !s.each(g, func(p unsafe.Pointer) bool {
			key, val := s.entry(buf, p)
			return f(int(t.first)+g, key, val)
		}) {
			return
		}
	}
}

// RangeInt64 is Range for integer keys.
func (t *Table) RangeInt64(f func(keyGroup int, key int64, val []byte) bool) {
	t.want(t.ints, "RangeInt64")
	t.Range(func(g int, key, val []byte) bool {
		return f(g, int64(binary.LittleEndian.Uint64(key)), val)
	})
}

// Write is the asynchronous part of a snapshot: it writes the sealed state in parts and returns the files, in order
// of key group. It may run in any goroutine, beside the processing. What was written may change after that, so a snapshot can be written once, or several times while nothing
// is changed; if it has a single file with entries of a fixed size, any number of times. An empty state has no files. An incremental snapshot needs a
// [SharedWriter]; its files are those of the index first, then the shared ones that it refers to.
func (s *Snapshot) Write(ctx context.Context, w FileWriter) ([]File, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	switch {
	case s.plan != nil:
		return s.writePlanned(ctx, w)
	case s.checkpoint == 0:
		return s.write(ctx, w)
	}
	shared, ok := w.(SharedWriter)
	if !ok {
		return nil, fmt.Errorf("writing keyed state of checkpoint %d: storage takes no shared files", s.checkpoint)
	}
	return s.writeIncremental(ctx, shared)
}
