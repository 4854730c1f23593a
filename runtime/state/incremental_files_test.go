// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestIncremental_EveryCorruptByteIsFound flips bytes of every file of a snapshot. Verifying must find each; a restore must
// either find it or not have used it.
func TestIncremental_EveryCorruptByteIsFound(t *testing.T) {
	store := &sharedStore{}
	o := Options{MaxParallelism: 4, Last: 3, PartSize: 1500}
	m := filled(t, o, 40)
	increment(t, m, store, 1, 0)
	tab := m.table("int-fixed")
	for k := range int64(20) {
		p, _ := tab.RefInt64(k, HashInt64(k))
		*(*int64)(p) = 7
	}
	files := listed(increment(t, m, store, 2, 1))
	want := contents(m)
	found, unused := 0, 0
	for _, f := range files {
		var n int
		if _, err := fmt.Sscanf(f.Path, "f%d", &n); err != nil {
			t.Fatal(err)
		}
		good := store.files[n]
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << (i % 8)
			store.files[n] = bad
			if ce, ok := errors.AsType[*CorruptError](verifyAll(t.Context(), files, store)); !ok || ce.Path != f.Path || ce.Offset > int64(i) || ce.Section == "" {
				t.Fatalf("byte %d of %s: verify says %v", i, f.Path, ce)
			}
			fresh := mustMemory(t, o)
			err := fresh.Restore(t.Context(), files, store)
			if ce, ok := errors.AsType[*CorruptError](err); ok && ce.Path == f.Path && ce.Offset <= int64(i) {
				found++
				continue
			}
			if unused++; err != nil || f.Index || !maps.Equal(contents(fresh), want) {
				t.Fatalf("byte %d of %s: restore says %v", i, f.Path, err)
			}
		}
		store.files[n] = good
	}
	if found < unused {
		t.Errorf("restore found %d and didn't use %d", found, unused)
	}
}

func TestIncremental_RestoreRefuses(t *testing.T) {
	store := &sharedStore{}
	o := Options{MaxParallelism: 4, Last: 3}
	files := listed(increment(t, filled(t, o, 20), store, 1, 0))
	refused := func(what, want string, files []File) {
		t.Helper()
		err := mustMemory(t, o).Restore(t.Context(), files, store)
		if _, ok := errors.AsType[*CorruptError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("a file that isn't listed", "which the manifest doesn't list so", files[:1])
	other := slices.Clone(files)
	other[1].Size++
	refused("another size", "which the manifest doesn't list so", other)
	other = slices.Clone(files)
	other[0].Index = false
	refused("an index listed as a file", "contrary to what the manifest says", other)
	other = slices.Clone(files[1:])
	other[0].Shared, other[0].Index = false, true
	refused("a file listed as an index", "contrary to what the manifest says", other)
	if err := mustMemory(t, o).Restore(t.Context(), files[1:], store); err != nil {
		t.Errorf("shared files without an index: %v", err)
	}
}

func TestIncremental_RescaledReadsOnlyItsGroups(t *testing.T) {
	m, tab := newCounts(t, Options{MaxParallelism: 64, Last: 63, PartSize: 400_000})
	fill(tab, 200_000)
	store := &sharedStore{}
	increment(t, m, store, 1, 0)
	fill(tab, 50)
	files := listed(increment(t, m, store, 2, 1))
	r := &countingReader{fileStore: &store.fileStore}
	part := mustMemory(t, Options{MaxParallelism: 64, First: 3, Last: 4})
	if err := part.Restore(t.Context(), files, r); err != nil {
		t.Fatal(err)
	}
	if limit := files[0].Size + 4096 + 3*200_000/64*16 + 50*pageBytes; r.n.Load() > limit {
		t.Errorf("%d bytes read, at most %d are needed", r.n.Load(), limit)
	}
}

func TestIncremental_NeedsSharedFiles(t *testing.T) {
	m, _ := newCounts(t, Options{MaxParallelism: 2, Last: 1})
	s := m.SealIncremental(3, 0)
	defer s.Release()
	if _, err := s.Write(t.Context(), &fileStore{}); err == nil || !strings.Contains(err.Error(), "checkpoint 3: storage takes no shared files") {
		t.Errorf("error is %v", err)
	}
}

// TestIncremental_LargeValuesAreCut has a page whose values take many parts.
func TestIncremental_LargeValuesAreCut(t *testing.T) {
	const part = 10_000
	m := mustMemory(t, Options{MaxParallelism: 1, PartSize: part})
	tab := mustTable(t, m, Descriptor{Name: "v", Keys: Int64Keys})
	for k := range int64(60) {
		tab.PutVarInt64(k, HashInt64(k), bytes.Repeat([]byte{byte(k)}, 3000))
	}
	store := &sharedStore{}
	for id := range int64(2) {
		files := listed(increment(t, m, store, id+1, id))
		for _, f := range append(files, writeAll(t, m, &store.fileStore)...) {
			if f.Size > part+3000+500 {
				t.Errorf("file %s has %d bytes", f.Path, f.Size)
			}
		}
		fresh := mustMemory(t, m.opts)
		if err := fresh.Restore(t.Context(), files, store); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(contents(fresh), contents(m)) {
			t.Error("another state was restored")
		}
		tab.PutVarInt64(3, HashInt64(3), []byte("short"))
	}
}

// TestIncremental_Golden fixes the format of an index, as docs/formats/state-file.md describes it.
func TestIncremental_Golden(t *testing.T) {
	store := &sharedStore{}
	o := Options{MaxParallelism: 4, Last: 3}
	m := filled(t, o, 3)
	increment(t, m, store, 1, 0)
	files := listed(increment(t, m, store, 2, 1))
	var n int
	if _, err := fmt.Sscanf(files[0].Path, "f%d", &n); err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{"testdata/index-v2.hex": store.files[n], "testdata/index-v2-shared.hex": store.files[0]} {
		got := hex.Dump(data)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("the file is not as %s; a changed format needs a new version\n%s", path, got)
		}
	}
}

// TestIncremental_GoldenIsRead reads the golden files, so that old checkpoints stay readable.
func TestIncremental_GoldenIsRead(t *testing.T) {
	store := &fileStore{files: [][]byte{readHex(t, "testdata/index-v2-shared.hex"), readHex(t, "testdata/index-v2.hex")}}
	files := []File{
		{Path: "f1", Size: int64(len(store.files[1])), CRC32C: crcOf(store.files[1]), LastGroup: 3, Index: true},
		{Path: "f0", Size: int64(len(store.files[0])), CRC32C: crcOf(store.files[0]), LastGroup: 3, Shared: true},
	}
	if err := verifyAll(t.Context(), files, store); err != nil {
		t.Fatal(err)
	}
	m := mustMemory(t, Options{MaxParallelism: 4, Last: 3})
	if err := m.Restore(t.Context(), files, store); err != nil {
		t.Fatal(err)
	}
	if want := contents(filled(t, m.opts, 3)); !maps.Equal(contents(m), want) {
		t.Errorf("content %v, want %v", contents(m), want)
	}
}
