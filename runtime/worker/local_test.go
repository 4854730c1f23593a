// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// counted counts the reads of a store.
type counted struct {
	storage.Store
	reads int
}

func (c *counted) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	c.reads++
	return c.Store.GetRange(ctx, key, off, n)
}

func openCopies(t *testing.T, dir string) *localCopies {
	t.Helper()
	l, err := openLocalCopies(dir, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// write stores data for a checkpoint as an asynchronous part does.
func write(t *testing.T, f files, checkpoint int64, data []byte) state.File {
	t.Helper()
	f.checkpoint = checkpoint
	file, err := f.WriteFile(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	file.CRC32C = crc32.Checksum(data, castagnoli)
	return file
}

// copies lists what is in the directory.
func copies(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestLocalCopies_AreReadInsteadOfStorageIfTheyAreWhole(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 1000)
	tests := map[string]struct {
		harm   func(file string) error
		remote bool
	}{
		"whole":        {func(string) error { return nil }, false},
		"missing":      {os.Remove, true},
		"a wrong byte": {func(f string) error { b := slices.Clone(data); b[7000] ^= 1; return os.WriteFile(f, b, 0o600) }, true},
		"cut short":    {func(f string) error { return os.Truncate(f, 9_999) }, true},
		"longer":       {func(f string) error { return os.WriteFile(f, append(slices.Clone(data), 'x'), 0o600) }, true},
	}
	for name, tc := range tests {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/restarted %v", name, restarted), func(t *testing.T) {
				dir := t.TempDir()
				store := &counted{Store: memstore.New("test", time.Now).Client(memstore.Options{})}
				f := files{store: store, dir: "job/chk-1", local: openCopies(t, dir)}
				file := write(t, f, 1, data)
				f.local.complete(1)
				if err := tc.harm(f.local.file(file.Path)); err != nil {
					t.Fatal(err)
				}
				if restarted {
					f.local = openCopies(t, dir)
				}
				f.local.recheck()
				for _, r := range [][2]int64{{0, 10_000}, {6_990, 20}} {
					got, err := f.ReadFile(t.Context(), file, r[0], r[1])
					if err != nil || !bytes.Equal(got, data[r[0]:r[0]+r[1]]) {
						t.Errorf("%d bytes from %d: %d bytes, error %v", r[1], r[0], len(got), err)
					}
				}
				if remote := store.reads > 0; remote != tc.remote {
					t.Errorf("%d reads of storage", store.reads)
				}
				if left := len(copies(t, dir)); (left == 0) != tc.remote {
					t.Errorf("%d copies are left", left)
				}
			})
		}
	}
}

func TestLocalCopies_KeepWhatTheNewestCheckpointAndLaterOnesUse(t *testing.T) {
	dir := t.TempDir()
	f := files{store: memstore.New("test", time.Now).Client(memstore.Options{}), dir: "job/chk-1", local: openCopies(t, dir)}
	name := map[string]string{}
	put := func(what string, checkpoint int64) state.File {
		file := write(t, f, checkpoint, []byte(what))
		name[localPrefix+file.Path] = what
		return file
	}
	want := func(step string, whats ...string) {
		t.Helper()
		var got []string
		for _, n := range copies(t, dir) {
			got = append(got, name[n])
		}
		slices.Sort(got)
		if diff := cmp.Diff(whats, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
	}
	uses := func(checkpoint int64, fs ...state.File) {
		f.local.acknowledged(checkpoint, map[string]snapshot.SubtaskState{"op": {Keyed: fs}})
	}
	one, shared := put("1", 1), put("1 shared", 1)
	uses(1, one, shared)
	f.local.complete(1)
	two := put("2", 2)
	uses(2, two, shared)
	put("3 aborted", 3)
	want("before 2 is complete", "1", "1 shared", "2", "3 aborted")
	f.local.complete(2)
	want("after", "1 shared", "2", "3 aborted")
	f.local.aborted(3)
	want("without 3", "1 shared", "2")
	put("1 late", 1)
	want("a late file", "1 shared", "2")
	f.local.complete(1)
	want("a late completion", "1 shared", "2")

	f.local = openCopies(t, dir)
	want("another process", "1 shared", "2")
	four := put("4", 4)
	uses(4, four, shared)
	f.local.complete(4)
	want("its first checkpoint", "1 shared", "4")
}

func TestLocalCopies_DoWithoutADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openLocalCopies(file, logr.Discard()); err == nil {
		t.Error("a file was taken for a directory")
	}
	dir := t.TempDir()
	f := files{store: memstore.New("test", time.Now).Client(memstore.Options{}), dir: "job/chk-1", local: openCopies(t, dir)}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	data := []byte("data")
	kept := write(t, f, 1, data)
	f.local.acknowledged(1, nil)
	f.local.complete(1)
	var none *localCopies
	none.put(1, "key", data)
	none.complete(1)
	for _, l := range []*localCopies{f.local, none} {
		f.local = l
		if got, err := f.ReadFile(t.Context(), kept, 0, kept.Size); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%q, error %v", got, err)
		}
	}
}
