// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/hex"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// goldenKinds fills a state of every kind.
func goldenKinds(t *testing.T) *kinds[string] {
	t.Helper()
	k := openKinds[string](t, mustMemory(t, Options{MaxParallelism: 4, Last: 3}))
	h := HashString("key")
	k.list.Append("key", h, "first", "", strings.Repeat("long", 60))
	k.scoped.Append("key", h, []byte("scope"), 7, -7)
	k.table.Set("key", h, "one", 1)
	k.table.Set("key", h, "two", 2)
	k.table.Set("key", h, "three", 3)
	k.table.Remove("key", h, "one")
	k.sum.Add("key", h, 5)
	k.text.Add("key", h, "text")
	k.value.Set("key", h, []byte("scope"), 9)
	k.timers.Register("key", h, 1000, nil)
	k.timers.Register("key", h, -1, []byte("scope"))
	return k
}

// TestKinds_Golden keeps what the kinds write from changing unnoticed.
func TestKinds_Golden(t *testing.T) {
	t.Parallel()
	const path = "testdata/kinds-v1.hex"
	store := &fileStore{}
	if _, err := goldenKinds(t).m.Seal().Write(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	got := hex.Dump(store.files[0])
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

// TestKinds_GoldenIsRead reads the golden file, so that old snapshots stay readable.
func TestKinds_GoldenIsRead(t *testing.T) {
	t.Parallel()
	data := readHex(t, "testdata/kinds-v1.hex")
	store := &fileStore{files: [][]byte{data}}
	f := File{Path: "f0", Size: int64(len(data)), CRC32C: crcOf(data), LastGroup: 3}
	if _, err := VerifyFile(t.Context(), f, store); err != nil {
		t.Fatal(err)
	}
	m := mustMemory(t, Options{MaxParallelism: 4, Last: 3})
	if err := m.Restore(t.Context(), []File{f}, store); err != nil {
		t.Fatal(err)
	}
	k, h := openKinds[string](t, m), HashString("key")
	if diff := gocmp.Diff([]string{"first", "", strings.Repeat("long", 60)}, slices.Collect(k.list.All("key", h))); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff([]int64{7, -7}, slices.Collect(k.scoped.All("key", h, []byte("scope")))); diff != "" {
		t.Errorf("scoped list (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff(map[string]int64{"two": 2, "three": 3}, maps.Collect(k.table.All("key", h))); diff != "" {
		t.Errorf("map (-want +got):\n%s", diff)
	}
	sum, _ := k.sum.Get("key", h)
	text, _ := k.text.Get("key", h)
	value, _ := k.value.Get("key", h, []byte("scope"))
	if sum != 5 || text != "text" || value != 9 {
		t.Errorf("reducing %d, aggregating %q, scoped value %d, want 5, text, 9", sum, text, value)
	}
	var fired []int64
	for {
		timer, ok := k.timers.Pop(2000)
		if !ok {
			break
		}
		fired = append(fired, timer.At)
	}
	if diff := gocmp.Diff([]int64{-1, 1000}, fired); diff != "" {
		t.Errorf("timers (-want +got):\n%s", diff)
	}
}
