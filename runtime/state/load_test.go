// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"go.uber.org/goleak"
)

// mixed returns a backend with counts, one of them of the key that has no place in pages, and texts.
func mixed(t *testing.T, o Options, n int64) *Memory {
	t.Helper()
	m, counts := newCounts(t, o)
	texts := mustTable(t, m, Descriptor{Name: "text", Keys: BytesKeys})
	mine := func(hash uint64) bool {
		g := int(hash % uint64(o.MaxParallelism))
		return g >= o.First && g <= o.Last
	}
	for k := range n {
		if k == 0 {
			k = emptyKey
		}
		if h := HashInt64(k); mine(h) {
			counts.AddInt64s([]int64{k}, []uint64{h}, []int64{k * 3}, nil)
		}
		if key := []byte(fmt.Sprint("key ", k)); k%10 == 0 && mine(HashBytes(key)) {
			texts.PutVarBytes(key, HashBytes(key), key[3:])
		}
	}
	return m
}

// TestRestore_LoadsInSeveralGoroutines restores what two subtasks have written, in sections that were cut, with several loaders.
func TestRestore_LoadsInSeveralGoroutines(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, parallelism := range []int{16, 100} {
		store := &fileStore{}
		var files []File
		want := map[string]string{}
		for i := range 2 {
			o := Options{MaxParallelism: parallelism, PartSize: 30_000}
			o.First, o.Last = GroupRange(i, 2, parallelism)
			m := mixed(t, o, 30_000)
			maps.Copy(want, contents(m))
			files = append(files, writeAll(t, m, store)...)
		}
		m := mustMemory(t, Options{MaxParallelism: parallelism, Last: parallelism - 1})
		if err := m.Restore(t.Context(), files, concurrentStore{store}); err != nil {
			t.Fatal(err)
		}
		if got := contents(m); !maps.Equal(got, want) || m.table("count").Len() != 30_000 {
			t.Errorf("max parallelism %d: %d entries of %d, %d counts", parallelism, len(got), len(want), m.table("count").Len())
		}
		if err := m.Restore(t.Context(), files, concurrentStore{store}); !errorIsTwice(err) {
			t.Errorf("max parallelism %d, everything once more: %v", parallelism, err)
		}
	}
}

func errorIsTwice(err error) bool {
	var corrupt *CorruptError
	return errors.As(err, &corrupt) && len(corrupt.Reason) > 20 && corrupt.Reason[len(corrupt.Reason)-14:] == "is there twice"
}

// TestRestore_LoadersFindTheFirstDamage damages two sections: the error is of the first, whatever loader finds it.
func TestRestore_LoadersFindTheFirstDamage(t *testing.T) {
	defer goleak.VerifyNone(t)
	store := &fileStore{}
	o := Options{MaxParallelism: 16, Last: 15, PartSize: 30_000}
	files := writeAll(t, mixed(t, o, 30_000), store)
	for _, i := range []int{len(files) / 2, len(files) - 2} {
		info, err := ReadFileInfo(t.Context(), files[i], store)
		if err != nil {
			t.Fatal(err)
		}
		store.files[i][info.Sections[0].Offset+3]++
	}
	err := mustMemory(t, o).Restore(t.Context(), files, concurrentStore{store})
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.Path != files[len(files)/2].Path {
		t.Errorf("error is %v, want that of %s", err, files[len(files)/2].Path)
	}
}

// TestRestore_AddsLargeSectionsInPieces restores sections that take several pieces, and finds damage in the last piece of one although all before it was added.
func TestRestore_AddsLargeSectionsInPieces(t *testing.T) {
	defer goleak.VerifyNone(t)
	store := &fileStore{}
	o := Options{MaxParallelism: 4, Last: 3, PartSize: 5 * pieceBytes}
	m := mixed(t, o, 60_000)
	want := contents(m)
	files := writeAll(t, m, store)
	back := mustMemory(t, o)
	if err := back.Restore(t.Context(), files, concurrentStore{store}); err != nil {
		t.Fatal(err)
	}
	if got := contents(back); !maps.Equal(got, want) {
		t.Errorf("%d entries of %d came back", len(got), len(want))
	}
	largest, at := Section{}, 0
	for i := range files {
		info, err := ReadFileInfo(t.Context(), files[i], store)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range info.Sections {
			if s.Length > largest.Length {
				largest, at = s, i
			}
		}
	}
	if largest.Length < 2*pieceBytes || len(files) < 2 {
		t.Fatalf("the largest section has %d bytes in %d files, which tests nothing", largest.Length, len(files))
	}
	store.files[at][largest.Offset+largest.Length-1]++
	err := mustMemory(t, o).Restore(t.Context(), files, concurrentStore{store})
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.Path != files[at].Path || corrupt.Offset != largest.Offset {
		t.Errorf("error is %v, want that of %s at %d", err, files[at].Path, largest.Offset)
	}
}
