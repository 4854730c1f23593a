// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"errors"
	"maps"
	"testing"
)

// halfWay is a store that calls a function when the given number of files was written.
type halfWay struct {
	sharedStore
	n    int
	call func()
}

func (h *halfWay) stored() {
	if h.n--; h.n == 0 {
		h.call()
	}
}

func (h *halfWay) WriteFile(ctx context.Context, data []byte) (File, error) {
	defer h.stored()
	return h.sharedStore.WriteFile(ctx, data)
}

func (h *halfWay) WriteShared(ctx context.Context, data []byte) (File, error) {
	defer h.stored()
	return h.sharedStore.WriteShared(ctx, data)
}

// TestSnapshot_PagesThatWereWrittenAreNotCopied changes all entries while half of the files are written: fewer pages are copied than there are, and the files
// hold what was sealed, as do those of the next snapshot.
func TestSnapshot_PagesThatWereWrittenAreNotCopied(t *testing.T) {
	const n = 40_000
	for name, incremental := range map[string]bool{"full": false, "incremental": true} {
		t.Run(name, func(t *testing.T) {
			o := Options{MaxParallelism: 16, Last: 15, PartSize: 20_000}
			m := mixed(t, o, n)
			seal := func(id int64) *Snapshot {
				if incremental {
					return m.SealIncremental(id, id-1)
				}
				return m.Seal()
			}
			store := &halfWay{n: 16}
			for id := range int64(3) {
				want := contents(m)
				s := seal(id + 1)
				store.n, store.call = 16, func() {
					fill(m.table("count"), n)
					for k := range 1000 {
						key := []byte{'x', byte(k), byte(k >> 8), byte(id)}
						m.table("text").PutVarBytes(key, HashBytes(key), key)
					}
				}
				files, err := s.Write(t.Context(), store)
				if err != nil {
					t.Fatal(err)
				}
				if held, all := m.held.Load(), m.table("count").memory(); held == 0 || held > all*4/5 {
					t.Errorf("snapshot %d: %d bytes of %d were copied", id, held, all)
				}
				if _, err := s.Write(t.Context(), store); !errors.Is(err, errSpent) {
					t.Errorf("snapshot %d was written again: %v", id, err)
				}
				s.Release()
				m.Completed(id + 1)
				restored := mustMemory(t, o)
				if err := restored.Restore(t.Context(), files, store); err != nil {
					t.Fatal(err)
				}
				if got := contents(restored); !maps.Equal(got, want) {
					t.Errorf("snapshot %d: %d entries instead of %d, or others", id, len(got), len(want))
				}
			}
		})
	}
}

// TestSnapshot_TwoOfWhichOneIsWritten keeps pages that only the other snapshot needs.
func TestSnapshot_TwoOfWhichOneIsWritten(t *testing.T) {
	o := Options{MaxParallelism: 16, Last: 15}
	m := mixed(t, o, 20_000)
	want := contents(m)
	older, newer := m.Seal(), m.Seal()
	store := &fileStore{}
	if _, err := newer.Write(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	fill(m.table("count"), 20_000)
	restored := mustMemory(t, o)
	files, err := older.Write(t.Context(), store)
	if err == nil {
		err = restored.Restore(t.Context(), files, store)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(contents(restored), want) {
		t.Error("the older snapshot has other entries than it was sealed with")
	}
	older.Release()
	newer.Release()
}

// TestSnapshot_NothingIsCopiedOnceItIsWritten changes everything between the end of a write and the release.
func TestSnapshot_NothingIsCopiedOnceItIsWritten(t *testing.T) {
	m, counts := newCounts(t, Options{MaxParallelism: 16, Last: 15})
	fill(counts, 20_000)
	s := m.Seal()
	defer s.Release()
	if _, err := s.Write(t.Context(), &fileStore{}); err != nil {
		t.Fatal(err)
	}
	fill(counts, 20_000)
	if n := m.held.Load(); n != 0 {
		t.Errorf("%d bytes were copied", n)
	}
}

// TestSnapshot_WrittenTwiceStaysAsItIs changes entries between two writes of one snapshot, the second of which began before.
func TestSnapshot_WrittenTwiceStaysAsItIs(t *testing.T) {
	o := Options{MaxParallelism: 16, Last: 15}
	m := mixed(t, o, 20_000)
	want := contents(m)
	s := m.Seal()
	defer s.Release()
	store := &fileStore{}
	for range 2 {
		if _, err := s.Write(t.Context(), store); err != nil {
			t.Fatal(err)
		}
	}
	fill(m.table("count"), 20_000)
	files, err := s.Write(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	restored := mustMemory(t, o)
	if err := restored.Restore(t.Context(), files, store); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(contents(restored), want) {
		t.Error("the third time there are other entries")
	}
}
