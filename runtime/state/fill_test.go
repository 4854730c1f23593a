// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// readers are a reader for restores without loaders, and one for restores with them.
func readers(store *fileStore) map[string]FileReader {
	return map[string]FileReader{"serial": store, "loaders": concurrentStore{store}}
}

// TestRestore_PagesWithoutEntries restores counts whose hashes have the upper bits in common: some of the pages made for them stay empty, and others
// have no room for all entries.
func TestRestore_PagesWithoutEntries(t *testing.T) {
	for _, size := range []int{8, 24} {
		o := Options{MaxParallelism: 1}
		m := mustMemory(t, o)
		d := Descriptor{Name: "count", Keys: Int64Keys, ValueSize: size}
		tab := mustTable(t, m, d)
		n := 0
		for k := int64(0); n < 2000; k++ {
			if h := HashInt64(k); h>>61 == 5 {
				p, _ := tab.RefInt64(k, h)
				*(*int64)(p) = k
				n++
			}
		}
		store := &fileStore{}
		files := writeAll(t, m, store)
		for name, r := range readers(store) {
			back := mustMemory(t, o)
			if err := back.Restore(t.Context(), files, r); err != nil {
				t.Fatal(err)
			}
			again := mustTable(t, back, d)
			if got, want := contents(back), contents(m); !maps.Equal(got, want) || again.Len() != n {
				t.Errorf("%s, values of %d bytes: %d entries, want %d", name, size, len(got), len(want))
			}
			for k := range int64(5000) { // in all pages
				p, _ := again.RefInt64(k, HashInt64(k))
				if v := *(*int64)(p); v != 0 && v != k {
					t.Fatalf("%s: value of %d is %d", name, k, v)
				}
			}
			if got, want := again.memory(), back.MemoryBytes()-back.pool.bytes; got != want {
				t.Errorf("%s: the table takes %d bytes, %d are counted", name, got, want)
			}
		}
	}
}

// TestRestore_LeavesNoPageUnmade restores damaged files: what was reserved for their entries can be given up like any other page.
func TestRestore_LeavesNoPageUnmade(t *testing.T) {
	store := &fileStore{}
	files := writeAll(t, mixed(t, Options{MaxParallelism: 4, Last: 3}, 30_000), store)
	info, err := ReadFileInfo(t.Context(), files[0], store)
	if err != nil {
		t.Fatal(err)
	}
	store.files[0][info.Sections[0].Offset+3]++
	for name, r := range readers(store) {
		m := mustMemory(t, Options{MaxParallelism: 4, Last: 3})
		if err := m.Restore(t.Context(), files, r); err == nil {
			t.Fatalf("%s: damage was not found", name)
		}
		m.DropUnclaimed()
		if _, counts := newCounts(t, m.opts); counts.Len() != 0 {
			t.Errorf("%s: a new table has %d entries", name, counts.Len())
		}
		if used := m.used(); used != 0 {
			t.Errorf("%s: %d bytes are in use after all tables were dropped", name, used)
		}
		if m.pool.take(16) != nil {
			t.Errorf("%s: the page of empty groups is in the pool", name)
		}
	}
}

// TestRestore_BudgetEndsLoaders restores more than the budget allows.
func TestRestore_BudgetEndsLoaders(t *testing.T) {
	defer goleak.VerifyNone(t)
	store := &fileStore{}
	o := Options{MaxParallelism: 16, Last: 15, PartSize: 30_000}
	files := writeAll(t, mixed(t, o, 60_000), store)
	o.MemoryBudget = 800_000
	for name, r := range readers(store) {
		m := mustMemory(t, o)
		var budget *BudgetError
		if err := m.Restore(t.Context(), files, r); !errors.As(err, &budget) || budget.State != "count" {
			t.Errorf("%s: error is %v", name, err)
		}
		if used := m.used(); used > 2_000_000 {
			t.Errorf("%s: %d bytes were taken", name, used)
		}
	}
}

// TestRestore_KeysTwiceInOneSection writes sections, with valid checksums, in which a key is twice.
func TestRestore_KeysTwiceInOneSection(t *testing.T) {
	for _, n := range []int{3, 500} {
		m, tab := newCounts(t, Options{MaxParallelism: 1})
		fill(tab, int64(n))
		key := int64(2)
		r := tab.groups[0].at(HashInt64(key))
		*(*uint64)(tab.vacant(r.ptr, r.mask, HashInt64(key))) = uint64(key ^ emptyKey)
		r.count++
		tab.groups[0].n++
		tab.n++
		store := &fileStore{}
		s := m.Seal()
		files, err := s.Write(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		for name, r := range readers(store) {
			err := mustMemory(t, m.opts).Restore(t.Context(), files, r)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || corrupt.Reason != "key 2 is there twice" {
				t.Errorf("%s, %d entries: %v", name, n, err)
			}
		}
	}
}

// poisoned is a reader that does as it likes with the memory it is given.
type poisoned struct {
	concurrentStore
	reads, used atomic.Int64
}

func (p *poisoned) ReadFileInto(ctx context.Context, f File, off, n int64, buf []byte) ([]byte, error) {
	b, err := p.ReadFile(ctx, f, off, n)
	p.reads.Add(1)
	if int64(cap(buf)) < n || err != nil {
		return b, err
	}
	p.used.Add(1)
	buf = buf[:cap(buf)]
	for i := range buf {
		buf[i] = 0xaa
	}
	runtime.Gosched()
	return buf[:copy(buf, b)], nil
}

// TestRestore_ReadsIntoMemoryNobodyUses restores with a reader that reuses buffers, for which the serial one stands, too.
func TestRestore_ReadsIntoMemoryNobodyUses(t *testing.T) {
	defer goleak.VerifyNone(t)
	store := &fileStore{}
	const n = 500_000
	m, counts := newCounts(t, Options{MaxParallelism: 64, Last: 63, PartSize: 300_000})
	fill(counts, n)
	files := writeAll(t, m, store)
	r := &poisoned{concurrentStore: concurrentStore{store}}
	for name, reader := range map[string]FileReader{"loaders": r, "serial": &oneAtATime{r}} {
		r.reads.Store(0)
		r.used.Store(0)
		back := mustMemory(t, m.opts)
		if err := back.Restore(t.Context(), files, reader); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		tab := back.table("count")
		for k := range int64(n) {
			if p := tab.GetInt64(k, HashInt64(k)); p == nil || *(*int64)(p) != 1 {
				t.Fatalf("%s: key %d is not what it was", name, k)
			}
		}
		if tab.Len() != n || r.used.Load() == 0 {
			t.Errorf("%s: %d entries; %d of %d reads were into memory that was there", name, tab.Len(), r.used.Load(), r.reads.Load())
		}
	}
}

// oneAtATime is a poisoned reader that isn't read ahead.
type oneAtATime struct{ *poisoned }

func (*oneAtATime) ReadsAtOnce() int { return 1 }
