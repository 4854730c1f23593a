// SPDX-License-Identifier: Apache-2.0

package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/storage"
)

func openDir(t *testing.T, cfg storage.FileConfig) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSwap_Sleeper plays a writer that looked, slept through many swaps, and then creates a number that is free again.
func TestSwap_Sleeper(t *testing.T) {
	t.Parallel()
	s := openDir(t, storage.FileConfig{Dir: t.TempDir()})
	version := ""
	for i := range keepVersions + 5 {
		next, err := s.Swap(t.Context(), "head", fmt.Appendf(nil, "%d", i), version)
		must(t, err)
		version = next
	}
	const slept = 3
	must(t, s.create("head/"+versionName(slept), []byte("sleeper")))
	if err := s.settle("head", slept); !errors.Is(err, storage.ErrUnknownOutcome) {
		t.Errorf("settle = %v, want %v", err, storage.ErrUnknownOutcome)
	}
	data, now, err := s.Get(t.Context(), "head")
	must(t, err)
	if now != version || string(data) != fmt.Sprint(keepVersions+4) {
		t.Errorf("Get = %q, %s, want version %s", data, now, version)
	}
	if _, err := s.Swap(t.Context(), "head", []byte("on"), version); err != nil {
		t.Error(err)
	}
	seqs, err := s.versions("head")
	must(t, err)
	if len(seqs) != keepVersions {
		t.Errorf("%d versions stay, want %d: %v", len(seqs), keepVersions, seqs)
	}
}

func TestSwap_OvertakenIsSuccess(t *testing.T) {
	t.Parallel()
	s := openDir(t, storage.FileConfig{Dir: t.TempDir()})
	must(t, s.create("head/"+versionName(1), nil))
	must(t, s.create("head/"+versionName(2), nil))
	if err := s.settle("head", 1); err != nil {
		t.Errorf("settle = %v: the version had been created and was overtaken", err)
	}
}

func TestPutIfAbsent_AfterSwapThatDied(t *testing.T) {
	t.Parallel()
	s := openDir(t, storage.FileConfig{Dir: t.TempDir()})
	must(t, s.makeDirs("a/head")) // a Swap that died before its first version
	if _, _, err := s.Get(t.Context(), "a/head"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get = %v", err)
	}
	must(t, s.PutIfAbsent(t.Context(), "a/head", []byte("x")))
}

func TestSymlinksDontLeadOut(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	dir := t.TempDir()
	must(t, os.Symlink(outside, filepath.Join(dir, "out")))
	s := openDir(t, storage.FileConfig{Dir: dir})
	if data, _, err := s.Get(t.Context(), "out/secret"); err == nil {
		t.Errorf("Get = %q", data)
	}
	if err := s.PutIfAbsent(t.Context(), "out/new", nil); err == nil {
		t.Error("PutIfAbsent succeeds")
	}
	if err := s.Delete(t.Context(), "out/secret"); err == nil {
		t.Error("Delete succeeds")
	}
	if _, err := os.Stat(filepath.Join(outside, "secret")); err != nil {
		t.Error(err)
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o750))
	must(t, os.WriteFile(filepath.Join(dir, "sub", "a.txt"), []byte("a"), 0o600))
	must(t, os.Symlink("a.txt", filepath.Join(dir, "sub", "link.txt")))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "sub", "dangling")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	s := openDir(t, storage.FileConfig{Dir: dir, ReadOnly: true})
	var keys []string
	must(t, s.List(t.Context(), "", func(o storage.Object) error { keys = append(keys, o.Key); return nil }))
	if diff := cmp.Diff([]string{"sub/a.txt", "sub/link.txt"}, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if _, _, err := s.Get(t.Context(), "pipe"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("Get of a pipe = %v", err)
	}
	if err := s.PutIfAbsent(t.Context(), "x", nil); err == nil {
		t.Error("PutIfAbsent succeeds")
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 2 {
		t.Errorf("a store that only reads has made something: %v", entries)
	}
	_, err = Open(storage.FileConfig{Dir: filepath.Join(dir, "missing"), ReadOnly: true})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "check the path") {
		t.Errorf("Open of a missing directory = %v", err)
	}
	if _, err = Open(storage.FileConfig{Dir: filepath.Join(dir, "sub", "a.txt")}); err == nil || !strings.Contains(err.Error(), "it is a file") {
		t.Errorf("Open of a file = %v", err)
	}
}

func TestReservedNames(t *testing.T) {
	t.Parallel()
	s := openDir(t, storage.FileConfig{Dir: t.TempDir()})
	for _, key := range []string{tempDir + "/x", "a/" + tempDir, "head/" + versionName(7)} {
		if err := s.PutIfAbsent(t.Context(), key, nil); err == nil || !strings.Contains(err.Error(), "reserved") {
			t.Errorf("PutIfAbsent(%s) = %v", key, err)
		}
	}
}

func TestPathThroughObject(t *testing.T) {
	t.Parallel()
	s := openDir(t, storage.FileConfig{Dir: t.TempDir()})
	must(t, s.PutIfAbsent(t.Context(), "a", nil))
	_, swapErr := s.Swap(t.Context(), "a/b", nil, "")
	for op, err := range map[string]error{"PutIfAbsent": s.PutIfAbsent(t.Context(), "a/b", nil), "Swap": swapErr} {
		if !errors.Is(err, errBlocked) {
			t.Errorf("%s = %v, want %v", op, err, errBlocked)
		}
	}
}

func TestStaleTempIsRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openDir(t, storage.FileConfig{Dir: dir})
	must(t, s.PutIfAbsent(t.Context(), "x", nil))
	for name, age := range map[string]time.Duration{"old": 2 * staleTemp, "new": 0} {
		path := filepath.Join(dir, tempDir, name)
		must(t, os.WriteFile(path, nil, 0o600))
		must(t, os.Chtimes(path, time.Time{}, time.Now().Add(-age)))
	}
	openDir(t, storage.FileConfig{Dir: dir})
	entries, err := os.ReadDir(filepath.Join(dir, tempDir))
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != "new" {
		t.Errorf("temporary files: %v", entries)
	}
}

// TestFullDisk needs the right to mount a small file system.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("mounting a small file system: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	s, err := Open(storage.FileConfig{Dir: dir})
	must(t, err)
	defer s.Close()
	version, err := s.Swap(t.Context(), "head", []byte("small"), "")
	must(t, err)
	_, swapErr := s.Swap(t.Context(), "head", make([]byte, 1<<20), version)
	for op, err := range map[string]error{"PutIfAbsent": s.PutIfAbsent(t.Context(), "x", make([]byte, 1<<20)), "Swap": swapErr} {
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, storage.ErrUnknownOutcome) || !strings.Contains(err.Error(), "the disk is full") {
			t.Errorf("%s = %v", op, err)
		}
	}
	if data, _, err := s.Get(t.Context(), "head"); err != nil || string(data) != "small" {
		t.Errorf("Get = %q, %v", data, err)
	}
	must(t, s.PutIfAbsent(t.Context(), "x", make([]byte, 1000))) // what the failed write took is free again
}
