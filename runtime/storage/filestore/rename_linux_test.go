// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-stream/weir/runtime/storage"
)

// TestMoveNew_ReplacesNothing moves a file to a name that is free, and to one that isn't.
func TestMoveNew_ReplacesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, data := range map[string]string{"a": "first", "b": "second"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "to"), 0o700); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Open(filepath.Join(dir, "to"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	moved, err := moveNew(from, "a", to, "name")
	if err != nil {
		t.Fatal(err)
	}
	if want := onOwnDisk(to); moved != want {
		t.Fatalf("moved: %t, on a file system of this machine alone: %t", moved, want)
	}
	if !moved {
		return // the next test is what is left to see here
	}
	if _, err := moveNew(from, "b", to, "name"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("moving over another file: %v, want that it exists", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "to", "name")); string(b) != "first" {
		t.Errorf("the name has %q, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "b")); string(b) != "second" {
		t.Errorf("what was not moved is %q, %v", b, err)
	}
}

// TestOnOwnDisk_TakesOnlyWhatItKnows has a file system that is no disk of this machine.
func TestOnOwnDisk_TakesOnlyWhatItKnows(t *testing.T) {
	t.Parallel()
	f, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if onOwnDisk(f) {
		t.Error("a file system that is not known counts as one that this machine alone changes")
	}
}

// TestWrites_LeaveNoTemporaryFile looks for what creations, swaps and those that are refused leave behind.
func TestWrites_LeaveNoTemporaryFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(storage.FileConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, key := range []string{"a/b/first", "a/b/second", "top"} {
		if err := s.PutIfAbsent(t.Context(), key, []byte(key)); err != nil {
			t.Fatal(err)
		}
		if err := s.PutIfAbsent(t.Context(), key, []byte("other")); !errors.Is(err, storage.ErrExists) {
			t.Errorf("creating %s again: %v", key, err)
		}
		if b, _, err := s.Get(t.Context(), key); string(b) != key {
			t.Errorf("%s has %q, %v", key, b, err)
		}
	}
	version := ""
	for _, data := range []string{"1", "2", "3"} {
		next, err := s.Swap(t.Context(), "head", []byte(data), version)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Swap(t.Context(), "head", []byte("late"), version); !errors.Is(err, storage.ErrPrecondition) {
			t.Errorf("swapping from version %q again: %v", version, err)
		}
		version = next
	}
	left, err := os.ReadDir(filepath.Join(dir, tempDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		t.Errorf("%s is left", f.Name())
	}
}
