// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Memory is the backend that keeps the keyed state of one subtask in memory.
type Memory struct {
	opts   Options
	tables []*Table

	// epoch is raised by every seal. A page stamped with an older one is sealed.
	epoch uint32
	// open are the snapshots not known to be released, oldest first; openMax is the epoch of the newest, 0 for none.
	open    []*Snapshot
	openMax uint32
	// released counts calls of Release that took effect; seen is how many the owner has dealt with.
	released atomic.Int64
	seen     int64

	pool    pagePool
	pages   pageMaker // of the owner, for state that isn't small
	retired []retiredPage
	lists   [][]snapPage // of released snapshots, for the next one
	bytes   meter        // all memory taken
	held    atomic.Int64 // of bytes: retired pages that open snapshots need
	failed  error

	encodeMu sync.Mutex
	encode   []byte // buffer of the asynchronous part, guarded by encodeMu
	closed   bool   // guarded by encodeMu
	// usedBuffer is the address of the buffer that was written last, hugeBuffer of the one that was made of huge pages last. Guarded by encodeMu.
	usedBuffer, hugeBuffer uintptr

	placements placements
}

// NewMemory returns an empty backend for a range of key groups.
func NewMemory(opts Options) (*Memory, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("creating keyed state: %w", err)
	}
	m := &Memory{opts: opts, epoch: 1, pool: pagePool{lists: map[int]*freeList{}, account: opts.Account}}
	m.bytes.account = opts.Account
	m.placements.memory = m
	return m, nil
}

// Table registers the state d and returns its table. When a state of that name was restored, or is
// registered already, its schema must be the same: otherwise the error is a [SchemaError].
func (m *Memory) Table(d Descriptor) (*Table, error) {
	if err := d.validate(); err != nil {
		return nil, err
	}
	t := m.table(d.Name)
	if t == nil {
		t = m.addTable(d)
	} else if err := d.compare(t.desc); err != nil {
		return nil, err
	}
	t.claimed = true
	return t, nil
}

// Unasked names the restored states, with or without entries, that no Table call has asked for, in order of name.
func (m *Memory) Unasked() []string { return m.unclaimed(0) }

// Unclaimed names the restored states that hold entries and that no Table call has asked for, in order of name.
func (m *Memory) Unclaimed() []string { return m.unclaimed(1) }

func (m *Memory) unclaimed(least int) []string {
	var names []string
	for _, t := range m.tables {
		if !t.claimed && t.n >= least {
			names = append(names, t.desc.Name)
		}
	}
	slices.Sort(names)
	return names
}

// DropUnclaimed removes the restored states that no Table call has asked for.
func (m *Memory) DropUnclaimed() {
	m.tables = slices.DeleteFunc(m.tables, func(t *Table) bool {
		if !t.claimed {
			t.clear()
		}
		return !t.claimed
	})
}

// MemoryBytes is the memory taken by all tables, including copies held for open snapshots and pages kept
// for reuse. Safe for use by any goroutine.
func (m *Memory) MemoryBytes() int64 { return m.bytes.Load() }

// Err says whether the state is in order: it returns a [BudgetError] while the memory budget, its own or that of the account, is
// exceeded, and the error of a value that could not be stored. Operations themselves don't fail; a task asks
// once per batch and fails if there is an error. So the budget may be overrun by what one batch adds.
func (m *Memory) Err() error {
	if m.failed != nil {
		return m.failed
	}
	if own := m.opts.MemoryBudget; own > 0 && m.used() > own {
		m.refresh()
		if used := m.used(); used > own {
			return m.overBudget(used, own)
		}
	}
	if a := m.opts.Account; a.full() {
		m.refresh()
		m.bytes.Add(-int64(m.pool.drop()))
		m.dropBuffer()
		if a.over() {
			return m.overBudget(a.state(), a.budget)
		}
	}
	return nil
}

// used is the memory of this backend without pages kept for reuse.
func (m *Memory) used() int64 { return m.bytes.Load() - m.pool.bytes }

func (m *Memory) overBudget(used, budget int64) error {
	e := &BudgetError{Used: used, Budget: budget, Held: m.held.Load(), Shared: budget != m.opts.MemoryBudget}
	for _, t := range m.tables {
		if n := t.memory(); n > e.Bytes {
			e.State, e.Bytes = t.desc.Name, n
		}
	}
	return e
}

func (m *Memory) table(name string) *Table {
	for _, t := range m.tables {
		if t.desc.Name == name {
			return t
		}
	}
	return nil
}

func (m *Memory) addTable(d Descriptor) *Table {
	t := newTable(m, d)
	m.tables = append(m.tables, t)
	return t
}

func (m *Memory) fail(err error) {
	if m.failed == nil {
		m.failed = err
	}
}

// refresh takes note of the snapshots released since the last call, and reuses the pages only they needed.
func (m *Memory) refresh() {
	n := m.released.Load()
	if n == m.seen {
		return
	}
	m.seen = n
	m.open = slices.DeleteFunc(m.open, func(s *Snapshot) bool {
		if !s.done.Load() {
			return false
		}
		m.endPlan(s)
		m.givePages(s)
		return true
	})
	m.openMax = 0
	if len(m.open) > 0 {
		m.openMax = m.open[len(m.open)-1].epoch
	}
	kept := m.retired[:0]
	for _, p := range m.retired {
		if m.needed(p.from, p.to) {
			kept = append(kept, p)
			continue
		}
		m.held.Add(-int64(p.bytes))
		m.recycle(p)
	}
	clear(m.retired[len(kept):])
	m.retired = kept
}

// needed says whether an open snapshot was sealed in an epoch e with from <= e < to.
func (m *Memory) needed(from, to uint32) bool {
	for _, s := range m.open {
		if s.epoch >= from && s.epoch < to {
			return true
		}
	}
	return false
}

// alloc returns a page of the given size; it is zero if zeroed is set.
func (m *Memory) alloc(bytes int, zeroed bool) unsafe.Pointer {
	if p := m.pool.take(bytes); p != nil {
		if zeroed {
			clear(unsafe.Slice((*uint64)(p), bytes/8))
		}
		return p
	}
	if m.bytes.Load() < populateFrom {
		m.bytes.Add(int64(bytes))
		return newPage(bytes)
	}
	defer m.pages.count(m)
	return m.pages.make(bytes)
}

// retire gives up a page that was stamped with epoch from. It is reused once no snapshot needs it.
func (m *Memory) retire(p retiredPage) {
	m.refresh()
	p.to = m.epoch
	if p.from > m.openMax || !m.needed(p.from, p.to) {
		m.recycle(p)
		return
	}
	m.held.Add(int64(p.bytes))
	m.retired = append(m.retired, p)
}

func (m *Memory) recycle(p retiredPage) {
	if p.ptr == nil {
		m.bytes.Add(-int64(p.bytes))
		return
	}
	if m.opts.Account.full() {
		m.bytes.Add(-int64(p.bytes)) // rather than keep it for later
		return
	}
	m.pool.put(p.ptr, p.bytes)
}

// trim gives pages that stayed unused over a whole epoch back to the garbage collector.
func (m *Memory) trim() { m.bytes.Add(-int64(m.pool.trim())) }
