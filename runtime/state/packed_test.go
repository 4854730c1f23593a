// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

// tally returns a backend with one state of small integer keys and counts, without the key that has no place in pages.
func tally(t testing.TB, o Options, n int64) (*Memory, *Table) {
	m := mustMemory(t, o)
	tab := mustTable(t, m, Descriptor{Name: "count", Keys: Int64Keys, ValueSize: 8, KeyType: "int64", ValueType: "int64"})
	fill(tab, n)
	return m, tab
}

// set gives a key a value.
func set(t *Table, key, val int64) {
	p, _ := t.RefInt64(key, HashInt64(key))
	*(*int64)(p) = val
}

// seen writes a snapshot of a backend and gives it up.
func seen(t *testing.T, m *Memory, store *fileStore) []File {
	t.Helper()
	s := m.Seal()
	defer s.Release()
	files, err := s.Write(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// versionIn is the version of a file.
func versionIn(store *fileStore, f File) uint32 {
	return binary.LittleEndian.Uint32(store.files[fileNumber(f)][8:])
}

// pageOf is a page with these slots, of which so many are in use.
func pageOf(slots [][2]uint64, n int) snapPage {
	return snapPage{ptr: unsafe.Pointer(unsafe.SliceData(slots)), mask: uint32(len(slots) - 1), count: uint32(n)}
}

func fileNumber(f File) (n int) {
	_, _ = fmt.Sscanf(f.Path, "f%d", &n)
	return n
}

// packers are the ways to write pairs: that of this processor, and that of any.
var packers = map[string]func(p *pairs, b []byte, page snapPage) (int, uint64, uint64){
	"pack": func(p *pairs, b []byte, page snapPage) (int, uint64, uint64) {
		other := make([][2]uint64, page.mask+1)
		return p.pack(b, page, unsafe.Pointer(unsafe.SliceData(other)))
	},
	"pack, nothing next": func(p *pairs, b []byte, page snapPage) (int, uint64, uint64) { return p.pack(b, page, nil) },
	"packEach":           func(p *pairs, b []byte, page snapPage) (int, uint64, uint64) { return p.packEach(b, page) },
}

func TestPairs_HoldWhatTheWidthsSay(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for name, pack := range packers {
		r := rand.New(rand.NewPCG(seed, 1))
		for key := uint8(1); key <= 8; key++ {
			for val := uint8(1); val <= 8; val++ {
				for _, n := range []int{0, 1, 2, 3, 5, 8, 17, 100, 256} {
					size := 8
					for size < n {
						size *= 2
					}
					if n < 128 && r.IntN(2) == 0 {
						size = 256
					}
					testPack(t, name, pack, widths{key, val}, randomPage(r, widths{key, val}, n, size), n)
				}
			}
		}
	}
}

// randomPage is a page of which n slots are in use, by entries that the widths hold. The others have a value that must not count.
func randomPage(r *rand.Rand, w widths, n, size int) [][2]uint64 {
	page := make([][2]uint64, size)
	for i := range page {
		page[i][1] = r.Uint64()
	}
	for _, at := range r.Perm(size)[:n] {
		page[at] = [2]uint64{r.Uint64()>>(64-8*w.key) ^ emptyTag, r.Uint64() >> (64 - 8*w.val)}
	}
	return page
}

func testPack(t *testing.T, name string, pack func(*pairs, []byte, snapPage) (int, uint64, uint64), w widths, page [][2]uint64, n int) {
	t.Helper()
	var want []byte
	keys, vals := uint64(0), uint64(0)
	for _, slot := range page {
		if slot[0] == 0 {
			continue
		}
		k := slot[0] ^ emptyTag
		keys, vals = keys|k, vals|slot[1]
		want = binary.LittleEndian.AppendUint64(want, k)
		want = binary.LittleEndian.AppendUint64(want, slot[1])
	}
	const behind = 4 * pairSize
	p, size := newPairs(w), n*w.entry(pairSize)
	for _, more := range []int{0, 1, behind} { // more room than entries
		room := bytes.Repeat([]byte{0xaa}, size+more+behind)
		written, gotKeys, gotVals := pack(&p, room[:size+more:size+more], pageOf(page, n))
		if written != size || gotKeys != keys || gotVals != vals || !w.hold(keys, vals) {
			t.Fatalf("%s, %v, %d entries: %d bytes of %d, combined %x %x, want %x %x", name, w, n, written, size, gotKeys, gotVals, keys, vals)
		}
		if !bytes.Equal(room[size+more:], bytes.Repeat([]byte{0xaa}, behind)) {
			t.Fatalf("%s, %v, %d entries: wrote behind its place", name, w, n)
		}
		if got := w.appendUnpacked([]byte("x"), room[:size]); !bytes.Equal(got[1:], want) {
			t.Fatalf("%s, %v, %d entries: got %x, want %x", name, w, n, got[1:], want)
		}
	}
	for less := 1; less <= size && less <= behind; less += 5 { // too little
		room := bytes.Repeat([]byte{0xaa}, size-less+behind)
		written, _, _ := pack(&p, room[:size-less:size-less], pageOf(page, n))
		if written != -1 {
			t.Fatalf("%s, %v, %d entries: %d bytes in a place for %d", name, w, n, written, size-less)
		}
		if !bytes.Equal(room[size-less:], bytes.Repeat([]byte{0xaa}, behind)) {
			t.Fatalf("%s, %v, %d entries: wrote behind a place that is too small", name, w, n)
		}
	}
}

// TestLens_LeadToWidths has room for values up to twice as large, so that counts that grow seldom outgrow a plan.
func TestLens_LeadToWidths(t *testing.T) {
	tests := map[lens]widths{
		{}:       {},     // nothing is known
		{1, 1}:   {1, 1}, // the smallest
		{8, 7}:   {1, 1}, // 255 and 127
		{9, 8}:   {2, 2}, // 511 and 255, which may become 510
		{20, 15}: {3, 2}, // a million keys, 32767
		{20, 16}: {3, 3}, // a million keys, 65535
		{32, 63}: {4, 8}, // as much as is worth it
		{33, 63}: {},     // more
		{64, 24}: {8, 4}, // negative keys
		{64, 32}: {},     // and values that take more beside them
		{24, 64}: {3, 8}, // negative values
		{32, 57}: {4, 8}, // no more than there are
	}
	for l, want := range tests {
		if got := l.widths(); got != want {
			t.Errorf("%v: got %v, want %v", l, got, want)
		}
	}
}

// TestPacked_FilesHoldTheSame writes state twice: the first time whole, since nothing is known of it, the second time packed, untouched or after all of it has changed.
func TestPacked_FilesHoldTheSame(t *testing.T) {
	for name, o := range map[string]Options{
		"all groups": {MaxParallelism: 16, Last: 15}, "one group": {MaxParallelism: 1}, "many": {MaxParallelism: 4096, Last: 4095},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 20_000
			m, tab := tally(t, o, n)
			store := &fileStore{}
			whole := seen(t, m, store)
			for _, changes := range []bool{false, true} {
				want := contents(m)
				s := m.Seal()
				if changes {
					fill(tab, n)
					for k := range int64(n / 10) {
						tab.DeleteInt64(k*7, HashInt64(k*7))
					}
					if held := m.held.Load(); held != 0 {
						t.Errorf("%d bytes were copied", held)
					}
				}
				var files []File
				for range 2 {
					var err error
					if files, err = s.Write(t.Context(), store); err != nil {
						t.Fatal(err)
					}
				}
				s.Release()
				if v, w := versionIn(store, files[0]), versionIn(store, whole[0]); v != packedVersion || w != fileVersion {
					t.Errorf("the files have versions %d and %d, want %d and %d", v, w, packedVersion, fileVersion)
				}
				if got, want := whole[0].Size-files[0].Size, int64(n*(16-3)); got != want && !changes { // keys of 15 bits, counts of 1
					t.Errorf("packed it is smaller by %d bytes, want %d", got, want)
				}
				sameAs(t, o, files, store, want)
			}
		})
	}
}

// TestPacked_FilesOfValuesThatOutgrowThePlan are whole, and hold what was sealed, whoever meets the value that is too large first. The next ones have more room.
func TestPacked_FilesOfValuesThatOutgrowThePlan(t *testing.T) {
	const n = 20_000
	o := Options{MaxParallelism: 16, Last: 15}
	for name, tc := range map[string]struct {
		key, val int64
		// packed says that files are packed again afterwards.
		packed bool
	}{
		"a larger value":  {5, 1 << 40, true},
		"a negative one":  {5, -1, true},
		"a larger key":    {1 << 30, 1, true},
		"a negative key":  {-3, 1, true},
		"the largest key": {1<<63 - 1, 1<<63 - 1, false},
	} {
		for _, changes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, changed meanwhile %v", name, changes), func(t *testing.T) {
				m, tab := tally(t, o, n)
				store := &fileStore{}
				seen(t, m, store)
				set(tab, tc.key, tc.val)
				want := contents(m)
				s := m.Seal()
				if s.plan == nil || s.plan.packed == nil {
					t.Fatal("the file is not to be packed")
				}
				if changes {
					fill(tab, n)
					set(tab, tc.key, 77)
				}
				var all [][]File
				for range 2 {
					files, err := s.Write(t.Context(), store)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, files)
					fill(tab, n)
				}
				s.Release()
				for _, files := range all {
					if v := versionIn(store, files[0]); v != fileVersion {
						t.Errorf("the file has version %d, want %d", v, fileVersion)
					}
					sameAs(t, o, files, store, want)
				}
				set(tab, tc.key, tc.val)
				want = contents(m)
				files := seen(t, m, store)
				if v := versionIn(store, files[0]); (v == packedVersion) != tc.packed {
					t.Errorf("the next file has version %d, packed should be %v", v, tc.packed)
				}
				sameAs(t, o, files, store, want)
			})
		}
	}
}

// TestPacked_BesideOtherStates packs what can be, in a file with states that can't.
func TestPacked_BesideOtherStates(t *testing.T) {
	o := Options{MaxParallelism: 16, Last: 15}
	m := numbers(t, o, 20_000)
	set(m.table("nothing"), emptyKey, 3) // has no place in a page, so this state isn't packed
	store := &fileStore{}
	seen(t, m, store)
	for _, outgrown := range []bool{false, true} {
		if outgrown {
			set(m.table("count"), 9, 1<<50)
		}
		want := contents(m)
		s := m.Seal()
		change(m, 20_000)
		files, err := s.Write(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
		if v := versionIn(store, files[0]); (v == packedVersion) == outgrown {
			t.Errorf("the file has version %d", v)
		}
		sameAs(t, o, files, store, want)
	}
}

// TestPacked_WrittenWhileEverythingChanges lets owner and writer take pages from each other, some of which outgrow the plan.
func TestPacked_WrittenWhileEverythingChanges(t *testing.T) {
	const n = 6000
	o := Options{MaxParallelism: 16, Last: 15}
	m, tab := tally(t, o, n)
	packed := 0
	for i := range int64(40) {
		set(tab, i, 1<<min(3*i, 62)) // too much for the plan now and then
		want := contents(m)
		s := m.Seal()
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
			fill(tab, n)
		}
		wg.Wait()
		s.Release()
		for i := range stores {
			sameAs(t, o, files[i], stores[i], want)
			if versionIn(stores[i], files[i][0]) == packedVersion {
				packed++
			}
		}
	}
	if packed < 50 || packed > 74 {
		t.Errorf("%d of 80 files were packed, want most, and not all", packed)
	}
}

// TestPacked_AreReadInParts restores a packed file into backends with some of the key groups each, by several goroutines.
func TestPacked_AreReadInParts(t *testing.T) {
	const groups, n = 32, 300_000
	o := Options{MaxParallelism: groups, Last: groups - 1}
	m, _ := tally(t, o, n)
	store := &fileStore{}
	seen(t, m, store)
	files := seen(t, m, store)
	if v := versionIn(store, files[0]); v != packedVersion {
		t.Fatalf("the file has version %d", v)
	}
	got := map[string]string{}
	for first := 0; first < groups; first += 5 {
		part := mustMemory(t, Options{MaxParallelism: groups, First: first, Last: min(first+4, groups-1)})
		if err := part.Restore(t.Context(), files, concurrentStore{store}); err != nil {
			t.Fatal(err)
		}
		maps.Copy(got, contents(part))
	}
	if want := contents(m); !maps.Equal(got, want) {
		t.Errorf("%d entries instead of %d, or others", len(got), len(want))
	}
}

// packedGolden is a small packed file.
func packedGolden(t *testing.T) (*Memory, []byte) {
	t.Helper()
	m, tab := tally(t, Options{MaxParallelism: 4, Last: 3}, 5)
	set(tab, 300, 70_000)
	mustTable(t, m, Descriptor{Name: "words", Keys: BytesKeys, ValueSize: 8})
	store := &fileStore{}
	seen(t, m, store)
	f := seen(t, m, store)[0]
	return m, store.files[fileNumber(f)]
}

// TestPacked_Golden fixes the format of packed files, as docs/formats/state-file.md describes them.
func TestPacked_Golden(t *testing.T) {
	m, data := packedGolden(t)
	got := hex.Dump(data)
	const path = "testdata/state-v3.hex"
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
	// Old snapshots stay readable.
	old := readHex(t, path)
	store := &fileStore{files: [][]byte{old}}
	f := File{Path: "f0", Size: int64(len(old)), CRC32C: crcOf(old), LastGroup: 3}
	if _, err := VerifyFile(t.Context(), f, store); err != nil {
		t.Fatal(err)
	}
	restored := mustMemory(t, m.opts)
	if err := restored.Restore(t.Context(), []File{f}, store); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(contents(restored), contents(m)) {
		t.Errorf("content %v, want %v", contents(restored), contents(m))
	}
}

func TestPacked_RefusesWidthsThatCannotBe(t *testing.T) {
	_, data := packedGolden(t)
	for name, tc := range map[string]struct {
		change func(b []byte)
		want   string
	}{
		"too wide":             {func(b []byte) { b[fixedHeader+2] = 9 }, "can't be packed to 9 and"},
		"no width":             {func(b []byte) { b[fixedHeader+2] = 0 }, "can't be packed to 0 and"},
		"another width":        {func(b []byte) { b[fixedHeader+2]++ }, "cannot take"},
		"of keys of bytes":     {func(b []byte) { at := bytes.Index(b, []byte("words")) - 12; b[at+2], b[at+3] = 1, 1 }, "can't be packed to 1 and 1"},
		"of a file of version": {func(b []byte) { b[8], b[len(b)-16] = 1, 1 }, "can't be packed to"},
		"header and trailer":   {func(b []byte) { b[8] = 1 }, "disagree"},
	} {
		t.Run(name, func(t *testing.T) {
			b := bytes.Clone(data)
			tc.change(b)
			b = seal(b)
			store := &fileStore{files: [][]byte{b}}
			f := File{Path: "f0", Size: int64(len(b)), CRC32C: crcOf(b), LastGroup: 3}
			_, verr := VerifyFile(t.Context(), f, store)
			rerr := mustMemory(t, Options{MaxParallelism: 4, Last: 3}).Restore(t.Context(), []File{f}, store)
			for _, err := range []error{verr, rerr} {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q", err, tc.want)
				}
			}
		})
	}
}

// TestReadEntries_AreThoseOfTheFile reads files with whole and with packed entries.
func TestReadEntries_AreThoseOfTheFile(t *testing.T) {
	o := Options{MaxParallelism: 16, Last: 15}
	m := numbers(t, o, 2000)
	store := &fileStore{}
	want := map[string]string{}
	for name, val := range contents(m) {
		state, rest, _ := strings.Cut(name, "/")
		_, key, _ := strings.Cut(rest, "/")
		want[state+"/"+key] = val
	}
	for i, version := range []uint32{fileVersion, packedVersion} {
		f := seen(t, m, store)[0]
		if v := versionIn(store, f); v != version {
			t.Fatalf("file %d has version %d, want %d", i, v, version)
		}
		got := map[string]string{}
		if err := ReadEntries(t.Context(), f, store, func(d Descriptor, key, val []byte) error {
			got[fmt.Sprintf("%s/%x", d.Name, key)] = string(val)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got, want) {
			t.Errorf("version %d: %d entries instead of %d, or others", version, len(got), len(want))
		}
		enough := errors.New("enough")
		if err := ReadEntries(t.Context(), f, store, func(Descriptor, []byte, []byte) error { return enough }); !errors.Is(err, enough) {
			t.Errorf("got %v, want the error of the function", err)
		}
		b := store.files[fileNumber(f)]
		b[len(b)/2] ^= 1
		if err := ReadEntries(t.Context(), f, store, func(Descriptor, []byte, []byte) error { return nil }); err == nil || !strings.Contains(err.Error(), "checksum") {
			t.Errorf("of a damaged file: %v", err)
		}
	}
}

// TestPacked_GivenUpTeachesToo has values outgrow what is planned while no snapshot is finished: only the first one has pages copied.
func TestPacked_GivenUpTeachesToo(t *testing.T) {
	const n = 20_000
	m, tab := tally(t, Options{MaxParallelism: 16, Last: 15}, n)
	seen(t, m, &fileStore{})
	for k := range int64(n) {
		set(tab, k, 1<<40)
	}
	for i := range 5 {
		s := m.Seal()
		fill(tab, n)
		if held := m.held.Load(); (held > 0) != (i == 0) {
			t.Errorf("snapshot %d: %d bytes were copied, with widths %v", i, held, s.plan.packed)
		}
		s.Release()
		m.refresh()
	}
}

// TestCheckReferences_ToPackedFile has an index refer to a file with packed entries, which no writer makes: what says that a snapshot is whole must not differ from what restores it.
func TestCheckReferences_ToPackedFile(t *testing.T) {
	o := Options{MaxParallelism: 4, Last: 3}
	m, _ := tally(t, o, 100)
	store := &fileStore{}
	seen(t, m, store)
	f := seen(t, m, store)[0]
	f.Shared = true
	info, err := VerifyFile(t.Context(), f, store)
	if err != nil || info.packed == nil {
		t.Fatalf("error %v, %+v", err, info)
	}
	s := m.Seal()
	defer s.Release()
	e := s.newEncoder(store.WriteFile)
	e.refer = []File{f}
	for _, sec := range info.Sections {
		at := place{offset: uint32(sec.Offset), length: uint32(sec.Length), count: uint32(sec.Count), sum: sec.Checksum}
		e.references(sec.State, sec.Group, []place{at})
	}
	if err := e.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	index := e.files[0]
	x, refs, err := ReadIndex(t.Context(), index, store)
	if err != nil {
		t.Fatal(err)
	}
	err = CheckReferences(index, x, refs, map[string]File{f.Path: f}, map[string]*FileInfo{f.Path: info})
	if _, ok := errors.AsType[*CorruptError](err); !ok || !strings.Contains(err.Error(), "packed") {
		t.Errorf("checked: %v", err)
	}
	if err := mustMemory(t, o).Restore(t.Context(), []File{index, f}, store); err == nil {
		t.Error("it was restored")
	}
}

// TestSnapshot_ReleasedUnwrittenBesideTheOwner gives snapshots up, as an aborted checkpoint does, while the owner encodes their pages.
func TestSnapshot_ReleasedUnwrittenBesideTheOwner(t *testing.T) {
	const n = 200_000
	m, tab := tally(t, Options{MaxParallelism: 16, Last: 15}, n)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		s := m.Seal()
		if s.plan == nil {
			t.Fatal("nothing is planned")
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = s.Write(ctx, &fileStore{})
			s.Release()
		})
		fill(tab, n)
		wg.Wait()
	}
}
