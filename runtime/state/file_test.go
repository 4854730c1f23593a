// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

var update = flag.Bool("update", false, "write golden files anew")

// filled returns a backend with some entries in every layout.
func filled(t *testing.T, o Options, n int) *Memory {
	t.Helper()
	m := mustMemory(t, o)
	r := rand.New(rand.NewPCG(5, 5))
	for _, d := range modelDescriptors() {
		s := &subject{d: d, t: mustTable(t, m, d), model: map[string]string{}, r: r}
		for i := range n {
			key := fmt.Sprintf("key %d", i*i)
			if d.Keys == Int64Keys {
				key = string([]byte{byte(i), byte(i >> 8), 0, 0, 0, 0, 0, 0})
			}
			if g := int(HashString(key) % uint64(o.MaxParallelism)); g < o.First || g > o.Last {
				continue
			}
			val := fmt.Sprintf("value %d", i)
			if d.ValueSize > 0 {
				val = (val + strings.Repeat(".", d.ValueSize))[:d.ValueSize]
			}
			s.set(key, val)
		}
	}
	return m
}

func writeAll(t *testing.T, m *Memory, store *fileStore) []File {
	t.Helper()
	s := m.Seal()
	defer s.Release()
	files, err := s.Write(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func contents(m *Memory) map[string]string {
	all := map[string]string{}
	for _, t := range m.tables {
		t.Range(func(g int, key, val []byte) bool {
			all[fmt.Sprintf("%s/%d/%x", t.desc.Name, g, key)] = string(val)
			return true
		})
	}
	return all
}

// TestFile_Golden fixes the format: the bytes of a small file, as docs/formats/state-file.md describes them.
func TestFile_Golden(t *testing.T) {
	store := &fileStore{}
	files := writeAll(t, filled(t, Options{MaxParallelism: 4, Last: 3}, 3), store)
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	got := hex.Dump(store.files[0])
	const path = "testdata/state-v1.hex"
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

// TestFile_GoldenIsRead reads the golden file, so that old snapshots stay readable.
func TestFile_GoldenIsRead(t *testing.T) {
	data := readHex(t, "testdata/state-v1.hex")
	store := &fileStore{files: [][]byte{data}}
	f := File{Path: "f0", Size: int64(len(data)), CRC32C: crcOf(data), LastGroup: 3}
	if _, err := VerifyFile(t.Context(), f, store); err != nil {
		t.Fatal(err)
	}
	m := mustMemory(t, Options{MaxParallelism: 4, Last: 3})
	if err := m.Restore(t.Context(), []File{f}, store); err != nil {
		t.Fatal(err)
	}
	if want := contents(filled(t, m.opts, 3)); !maps.Equal(contents(m), want) {
		t.Errorf("content %v, want %v", contents(m), want)
	}
}

// readHex reads what hex.Dump wrote.
func readHex(t testing.TB, path string) []byte {
	t.Helper()
	dump, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	for line := range strings.Lines(string(dump)) {
		if len(line) > 58 {
			b, err := hex.DecodeString(strings.ReplaceAll(line[10:58], " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			data = append(data, b...)
		}
	}
	return data
}

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// TestFile_EveryCorruptByteIsFound flips every byte of a file in turn. Restore and VerifyFile must both say so.
func TestFile_EveryCorruptByteIsFound(t *testing.T) {
	store := &fileStore{}
	o := Options{MaxParallelism: 4, Last: 3}
	f := writeAll(t, filled(t, o, 8), store)[0]
	good := store.files[0]
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		store.files[0] = bad
		err := mustMemory(t, o).Restore(t.Context(), []File{f}, store)
		ce, ok := errors.AsType[*CorruptError](err)
		if !ok || ce.Path != "f0" || ce.Offset > int64(i) || ce.Section == "" || ce.Reason == "" {
			t.Fatalf("byte %d of %d: restore says %v", i, len(good), err)
		}
		if _, err := VerifyFile(t.Context(), f, store); err == nil {
			t.Fatalf("byte %d of %d: verify finds nothing", i, len(good))
		}
	}
}

// TestFile_CutOff cuts a file at every length, with and without the manifest knowing.
func TestFile_CutOff(t *testing.T) {
	store := &fileStore{}
	o := Options{MaxParallelism: 4, Last: 3}
	f := writeAll(t, filled(t, o, 8), store)[0]
	good := store.files[0]
	for n := range good {
		store.files[0] = good[:n]
		if err := mustMemory(t, o).Restore(t.Context(), []File{f}, store); err == nil {
			t.Fatalf("cut off at %d: nothing found", n)
		}
		short := f
		short.Size = int64(n)
		if err := mustMemory(t, o).Restore(t.Context(), []File{short}, store); err == nil {
			t.Fatalf("cut off at %d and in the manifest: nothing found", n)
		}
	}
}

// TestRestore_AtAnotherParallelism writes at one parallelism, with small parts, and restores at others.
func TestRestore_AtAnotherParallelism(t *testing.T) {
	const groups, n = 13, 700
	want := contents(filled(t, Options{MaxParallelism: groups, Last: groups - 1}, n))
	for _, p := range []int{1, 2, 5, 13} {
		store := &fileStore{}
		var files []File
		for i := range p {
			o := Options{MaxParallelism: groups, PartSize: 5000}
			o.First, o.Last = GroupRange(i, p, groups)
			files = append(files, writeAll(t, filled(t, o, n), store)...)
		}
		for _, q := range []int{1, 3, 13} {
			got := map[string]string{}
			for i := range q {
				o := Options{MaxParallelism: groups}
				o.First, o.Last = GroupRange(i, q, groups)
				m := mustMemory(t, o)
				if err := m.Restore(t.Context(), files, store); err != nil {
					t.Fatal(err)
				}
				part := contents(m)
				if len(part) == 0 || len(got)+len(part) > len(want) {
					t.Fatalf("%d to %d: subtask %d has %d entries", p, q, i, len(part))
				}
				maps.Copy(got, part)
			}
			if !maps.Equal(got, want) {
				t.Errorf("%d to %d: %d entries, want %d, or others", p, q, len(got), len(want))
			}
		}
	}
}

// countingReader counts the bytes read.
type countingReader struct {
	*fileStore
	n atomic.Int64
}

func (r *countingReader) ReadFile(ctx context.Context, f File, off, n int64) ([]byte, error) {
	r.n.Add(n)
	return r.fileStore.ReadFile(ctx, f, off, n)
}

func TestRestore_ReadsOnlyItsGroups(t *testing.T) {
	m, tab := newCounts(t, Options{MaxParallelism: 64, Last: 63})
	fill(tab, 200_000)
	store := &fileStore{}
	files := writeAll(t, m, store)
	r := &countingReader{fileStore: store}
	part := mustMemory(t, Options{MaxParallelism: 64, First: 3, Last: 4})
	if err := part.Restore(t.Context(), files, r); err != nil {
		t.Fatal(err)
	}
	if limit := int64(tailBytes + 4096 + 3*200_000/64*16); r.n.Load() > limit {
		t.Errorf("%d bytes read of %d, at most %d are needed", r.n.Load(), files[0].Size, limit)
	}
}

func TestRestore_Refuses(t *testing.T) {
	store := &fileStore{}
	o := Options{MaxParallelism: 8, Last: 7}
	files := writeAll(t, filled(t, o, 20), store)
	refused := func(what, want string, m *Memory, files []File) {
		t.Helper()
		err := m.Restore(t.Context(), files, store)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("other max parallelism", "max parallelism 8, the job has 16", mustMemory(t, Options{MaxParallelism: 16, Last: 15}), files)
	refused("files twice", "is there twice", mustMemory(t, o), append(files, files...))
	m := mustMemory(t, o)
	mustTable(t, m, Descriptor{Name: "int-var", Keys: Int64Keys, KeyType: "int64", ValueType: "protobuf"})
	refused("other type", `state "int-var" has value type "json" in the snapshot but "protobuf" in the job`, m, files)
	over := o
	over.MemoryBudget = 1000
	err := mustMemory(t, over).Restore(t.Context(), files, store)
	if be, ok := errors.AsType[*BudgetError](err); !ok || be.Budget != 1000 || be.Used <= 1000 {
		t.Errorf("over budget: %v", err)
	}
	newer := bytes.Clone(store.files[0])
	newer[len(newer)-16] = packedVersion + 1
	copy(newer[len(newer)-12:], hexCRC(newer[len(newer)-32:len(newer)-12]))
	store.files[0] = newer
	refused("newer version", "version 4", mustMemory(t, o), files)
}

func hexCRC(b []byte) []byte {
	c := checksum(b)
	return []byte{byte(c), byte(c >> 8), byte(c >> 16), byte(c >> 24)}
}

// TestFile_CraftedNumbers puts random numbers into header, index and trailer and makes the checksums fit. Whatever
// they say, the answer is an error or a state, never a panic.
func TestFile_CraftedNumbers(t *testing.T) {
	store := &fileStore{}
	o := Options{MaxParallelism: 4, Last: 3}
	f := writeAll(t, filled(t, o, 8), store)[0]
	good := store.files[0]
	info, err := ReadFileInfo(t.Context(), f, store)
	if err != nil {
		t.Fatal(err)
	}
	header, index := int(info.headerSize), int(info.indexOffset)
	r := rand.New(rand.NewPCG(11, 12))
	refused := 0
	for range 20_000 {
		b := bytes.Clone(good)
		at := r.IntN(header - 4)
		if r.IntN(2) == 0 {
			at = index + r.IntN(len(b)-index-12)
		}
		for range 1 + r.IntN(4) {
			b[at] = []byte{0, 1, 0x7f, 0xff, byte(r.Uint32())}[r.IntN(5)]
			at = min(at+1, len(b)-13)
		}
		copy(b[header-4:], hexCRC(b[:header-4]))
		copy(b[len(b)-20:], hexCRC(b[index:len(b)-trailerSize]))
		copy(b[len(b)-12:], hexCRC(b[len(b)-trailerSize:len(b)-12]))
		store.files[0] = b
		if err := mustMemory(t, o).Restore(t.Context(), []File{f}, store); err != nil {
			refused++
		}
		if _, err := VerifyFile(t.Context(), f, store); err == nil && !bytes.Equal(b, good) {
			t.Fatal("verify accepts a file with another checksum than the manifest's")
		}
	}
	if refused < 10_000 {
		t.Errorf("only %d files were refused", refused)
	}
}

func TestMemory_Unclaimed(t *testing.T) {
	store := &fileStore{}
	o := Options{MaxParallelism: 8, Last: 7}
	files := writeAll(t, filled(t, o, 20), store)
	m := mustMemory(t, o)
	if err := m.Restore(t.Context(), files, store); err != nil {
		t.Fatal(err)
	}
	for _, d := range modelDescriptors()[:3] {
		mustTable(t, m, d)
	}
	if got := fmt.Sprint(m.Unclaimed()); got != "[bytes-fixed bytes-var]" {
		t.Errorf("unclaimed are %s", got)
	}
	before := m.MemoryBytes()
	m.DropUnclaimed()
	if len(m.Unclaimed()) != 0 || len(m.tables) != 3 || m.MemoryBytes() >= before {
		t.Errorf("after dropping: %v, %d tables, %d bytes instead of %d", m.Unclaimed(), len(m.tables), m.MemoryBytes(), before)
	}
}

// failingStore fails at the n-th file, or stores other bytes than it was given.
type failingStore struct {
	fileStore
	n   int
	crc uint32
}

var errFull = errors.New("disk full")

func (s *failingStore) WriteFile(ctx context.Context, data []byte) (File, error) {
	if s.n--; s.n < 0 {
		return File{}, errFull
	}
	f, err := s.fileStore.WriteFile(ctx, data)
	f.CRC32C = s.crc
	return f, err
}

func TestSnapshot_WriteErrors(t *testing.T) {
	m := filled(t, Options{MaxParallelism: 8, Last: 7, PartSize: 3000}, 300)
	s := m.Seal()
	if _, err := s.Write(t.Context(), &failingStore{n: 1}); !errors.Is(err, errFull) || !strings.Contains(err.Error(), "writing") {
		t.Errorf("failing store: %v", err)
	}
	if _, err := s.Write(t.Context(), &failingStore{n: 100, crc: 1}); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("other checksum: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Write(ctx, &fileStore{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	s.Release()
	s.Release()
	if _, err := s.Write(t.Context(), &fileStore{}); !errors.Is(err, errReleased) {
		t.Errorf("released: %v", err)
	}
	if n := m.released.Load(); n != 1 {
		t.Errorf("released %d times", n)
	}
	empty := mustMemory(t, Options{MaxParallelism: 8, Last: 7})
	if files := writeAll(t, empty, &fileStore{}); len(files) != 0 {
		t.Errorf("an empty state has files: %v", files)
	}
}
