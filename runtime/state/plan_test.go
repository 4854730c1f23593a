// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

// numbers returns a backend with three states of integer keys and values of a fixed size, one of them with the key that has no place in pages, and one
// state of another layout without entries.
func numbers(t *testing.T, o Options, n int64) *Memory {
	t.Helper()
	m, counts := newCounts(t, o)
	mustTable(t, m, Descriptor{Name: "text", Keys: BytesKeys})
	wide := mustTable(t, m, Descriptor{Name: "wide", Keys: Int64Keys, ValueSize: 24})
	mustTable(t, m, Descriptor{Name: "nothing", Keys: Int64Keys, ValueSize: 8})
	fill(counts, n)
	fill(wide, n/3)
	for _, k := range []int64{emptyKey, -7} {
		p, _ := wide.RefInt64(k, HashInt64(k))
		*(*int64)(unsafe.Add(p, 16)) = k
	}
	return m
}

// change changes all entries, adds some and removes some.
func change(m *Memory, n int64) {
	counts, wide := m.table("count"), m.table("wide")
	fill(counts, n+n/2)
	fill(wide, n/2)
	for k := range n / 2 {
		wide.DeleteInt64(k*2, HashInt64(k*2))
	}
	p, _ := wide.RefInt64(emptyKey, HashInt64(emptyKey))
	*(*int64)(p) += 5
}

// sameAs restores files and compares the entries with want.
func sameAs(t *testing.T, o Options, files []File, store *fileStore, want map[string]string) {
	t.Helper()
	restored := mustMemory(t, o)
	if err := restored.Restore(t.Context(), files, store); err != nil {
		t.Fatal(err)
	}
	if got := contents(restored); !maps.Equal(got, want) {
		t.Errorf("%d entries instead of %d, or others", len(got), len(want))
	}
	for _, f := range files {
		if _, err := VerifyFile(t.Context(), f, store); err != nil {
			t.Error(err)
		}
	}
}

// TestPlan_FileIsTheSame writes the same state with a plan, once untouched and once after all of it has changed, and without one.
func TestPlan_FileIsTheSame(t *testing.T) {
	for name, o := range map[string]Options{
		"all groups": {MaxParallelism: 16, Last: 15}, "some groups": {MaxParallelism: 100, First: 20, Last: 59}, "one group": {MaxParallelism: 1},
	} {
		t.Run(name, func(t *testing.T) {
			o.EnsureDefaults()
			m := mustMemory(t, o)
			counts := mustTable(t, m, Descriptor{Name: "count", Keys: Int64Keys, ValueSize: 8})
			wide := mustTable(t, m, Descriptor{Name: "wide", Keys: Int64Keys, ValueSize: 24})
			add := func(n int64) {
				for k := range n {
					k += emptyKey
					if g := int(HashInt64(k) % uint64(o.MaxParallelism)); g >= o.First && g <= o.Last {
						p, _ := counts.RefInt64(k, HashInt64(k))
						*(*int64)(p) += k
						p, _ = wide.RefInt64(k, HashInt64(k))
						*(*int64)(unsafe.Add(p, 16)) += 3 * k
					}
				}
			}
			add(20_000)
			want := contents(m)
			store := &fileStore{}
			var files []File
			for i, s := range []*Snapshot{m.seal(0), m.Seal(), m.Seal()} {
				if (s.plan != nil) != (i > 0) {
					t.Fatalf("snapshot %d: planned is %v", i, s.plan != nil)
				}
				if i == 2 {
					add(30_000)
				}
				f, err := s.Write(t.Context(), store)
				if err != nil || len(f) != 1 {
					t.Fatalf("snapshot %d: %d files, %v", i, len(f), err)
				}
				files = append(files, f...)
				s.Release()
			}
			sameAs(t, o, files[2:], store, want)
			for i := range 2 {
				files[i].Path = files[2].Path
				if !bytes.Equal(store.files[i], store.files[2]) || files[i] != files[2] {
					t.Errorf("file %d is %+v, the last one %+v, or their bytes differ", i, files[i], files[2])
				}
			}
		})
	}
}

// TestPlan_ChangingCopiesNothing changes all entries before the snapshot is written, and again after it: the file is that of the seal, and no page was copied.
func TestPlan_ChangingCopiesNothing(t *testing.T) {
	o := Options{MaxParallelism: 16, Last: 15}
	m := numbers(t, o, 20_000)
	store := &fileStore{}
	var buffers []*byte
	for range 3 {
		want := contents(m)
		s := m.Seal()
		buffers = append(buffers, unsafe.SliceData(s.plan.buf))
		fill(m.table("count"), 20_000)
		fill(m.table("wide"), 5000)
		if n := m.held.Load(); n != 0 {
			t.Errorf("%d bytes were copied", n)
		}
		change(m, 20_000)
		var all [][]File
		for range 2 {
			files, err := s.Write(t.Context(), store)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, files)
			change(m, 20_000)
		}
		s.Release()
		for _, files := range all {
			sameAs(t, o, files, store, want)
		}
	}
	if buffers[1] != buffers[2] {
		t.Error("the buffer of a snapshot that was released is not used again")
	}
}

// TestPlan_WrittenWhileEverythingChanges lets owner and writer take pages from each other.
func TestPlan_WrittenWhileEverythingChanges(t *testing.T) {
	o := Options{MaxParallelism: 16, Last: 15}
	m := numbers(t, o, 30_000)
	for range 20 {
		want := contents(m)
		s := m.Seal()
		if s.plan == nil {
			t.Fatal("the snapshot is not planned")
		}
		stores, files := make([]*fileStore, 2), make([][]File, 2)
		var wg sync.WaitGroup
		for i := range stores {
			stores[i] = &fileStore{}
			wg.Go(func() {
				var err error
				if files[i], err = s.Write(t.Context(), stores[i]); err != nil {
					t.Error(err)
				}
			})
			fill(m.table("count"), 30_000)
		}
		change(m, 3000)
		wg.Wait()
		s.Release()
		for i := range stores {
			sameAs(t, o, files[i], stores[i], want)
		}
	}
}

// TestPlan_OlderSnapshotsKeepCopies changes entries that two snapshots need.
func TestPlan_OlderSnapshotsKeepCopies(t *testing.T) {
	o := Options{MaxParallelism: 16, Last: 15}
	m := numbers(t, o, 20_000)
	store := &fileStore{}
	var open []*Snapshot
	var wants []map[string]string
	for i := range int64(4) {
		wants = append(wants, contents(m))
		open = append(open, m.Seal())
		fill(m.table("count"), 5000*(i+1))
	}
	for _, i := range []int{2, 0, 3, 1} {
		files, err := open[i].Write(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		sameAs(t, o, files, store, wants[i])
		open[i].Release()
		change(m, 20_000)
	}
	m.Seal().Release()
	m.refresh()
	if n := m.held.Load(); n != 0 || len(m.open) != 0 || m.table("count").plan != nil {
		t.Errorf("%d bytes are held for %d snapshots, all are released", n, len(m.open))
	}
}

// TestPlan_ReleasedUnwritten goes on after a snapshot that nobody wrote, and one of which writing was given up half way.
func TestPlan_ReleasedUnwritten(t *testing.T) {
	o := Options{MaxParallelism: 16, Last: 15}
	m := numbers(t, o, 20_000)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		s := m.Seal()
		fill(m.table("count"), 10_000)
		if _, err := s.Write(ctx, &fileStore{}); err == nil || !strings.Contains(err.Error(), "canceled") {
			t.Errorf("Write = %v", err)
		}
		s.Release()
		change(m, 20_000)
	}
	want, store := contents(m), &fileStore{}
	s := m.Seal()
	fill(m.table("count"), 10_000)
	files, err := s.Write(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	sameAs(t, o, files, store, want)
}

// TestPlan_DamagedPages finds that a page hasn't the entries that it was sealed with.
func TestPlan_DamagedPages(t *testing.T) {
	for _, size := range []int{8, 16} {
		for _, owner := range []bool{false, true} {
			m := mustMemory(t, Options{MaxParallelism: 4, Last: 3})
			tab := mustTable(t, m, Descriptor{Name: "count", Keys: Int64Keys, ValueSize: size})
			for k := range int64(100) {
				tab.RefInt64(k, HashInt64(k))
			}
			s := m.Seal()
			p := tab.GetInt64(7, HashInt64(7))
			*(*uint64)(unsafe.Add(p, -8)) = 0
			if owner {
				for k := range int64(7) {
					tab.RefInt64(k, HashInt64(k))
				}
			}
			if _, err := s.Write(t.Context(), &fileStore{}); err == nil || !strings.Contains(err.Error(), "entries that it was sealed with") {
				t.Errorf("value size %d, owner %v: Write = %v", size, owner, err)
			}
		}
	}
}

// TestPlan_OnlyWhereItFits looks at which snapshots are planned.
func TestPlan_OnlyWhereItFits(t *testing.T) {
	o := Options{MaxParallelism: 16, Last: 15}
	tests := map[string]struct {
		m    *Memory
		want bool
	}{
		"numbers":         {numbers(t, o, 1000), true},
		"nothing":         {mustMemory(t, o), false},
		"texts":           {mixed(t, o, 1000), false},
		"larger than one": {numbers(t, Options{MaxParallelism: 16, Last: 15, PartSize: 10_000}, 1000), false},
	}
	for name, tc := range tests {
		s := tc.m.Seal()
		if got := s.plan != nil; got != tc.want {
			t.Errorf("%s: planned is %v", name, got)
		}
		if tc.want && slices.Contains(s.plan.tables, nil) {
			t.Errorf("%s: not all tables are planned", name)
		}
		if tc.m.SealIncremental(1, 0).plan != nil {
			t.Errorf("%s: an incremental snapshot is planned", name)
		}
	}
}

// TestPlan_MemoryIsCounted follows the account over snapshots with a plan.
func TestPlan_MemoryIsCounted(t *testing.T) {
	a := NewAccount(0)
	m := numbers(t, Options{MaxParallelism: 16, Last: 15, Account: a}, 20_000)
	before := a.Used()
	s := m.Seal()
	room := int64(cap(s.plan.buf))
	if got := a.Used() - before; got != room {
		t.Errorf("%d bytes more after the seal, the file takes %d", got, room)
	}
	s.Release()
	if got := a.Used() - before; got != 0 {
		t.Errorf("%d bytes more after the release", got)
	}
	s = m.Seal()
	if got := a.Used() - before; got != room {
		t.Errorf("%d bytes more after the second seal, the file takes %d", got, room)
	}
	m.Close()
	s.Release()
	if got := a.Used(); got != 0 {
		t.Errorf("%d bytes are left after the end", got)
	}
}
