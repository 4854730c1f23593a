// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// fileStore is a FileWriter and FileReader in memory.
type fileStore struct{ files [][]byte }

func (s *fileStore) WriteFile(_ context.Context, data []byte) (File, error) {
	s.files = append(s.files, bytes.Clone(data))
	return File{Path: fmt.Sprintf("f%d", len(s.files)-1)}, nil
}

func (s *fileStore) ReadFile(_ context.Context, f File, off, n int64) ([]byte, error) {
	var i int
	if _, err := fmt.Sscanf(f.Path, "f%d", &i); err != nil {
		return nil, err
	}
	if off+n > int64(len(s.files[i])) {
		return nil, fmt.Errorf("file %s ends at %d", f.Path, len(s.files[i]))
	}
	return bytes.Clone(s.files[i][off : off+n]), nil
}

func mustMemory(tb testing.TB, o Options) *Memory {
	tb.Helper()
	m, err := NewMemory(o)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func mustTable(tb testing.TB, m *Memory, d Descriptor) *Table {
	tb.Helper()
	t, err := m.Table(d)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// subject drives one table and a Go map with the same operations.
type subject struct {
	d     Descriptor
	t     *Table
	model map[string]string
	r     *rand.Rand
}

func (s *subject) hash(key string) uint64 { return HashString(key) }

func (s *subject) randomKey(n int) string {
	k := s.r.IntN(n)
	if s.d.Keys == Int64Keys {
		v := int64(k) - 5
		if k == 0 {
			v = emptyKey
		}
		return string(binary.LittleEndian.AppendUint64(nil, uint64(v)))
	}
	if k == 0 {
		return ""
	}
	return fmt.Sprintf("%.*d", 1+k%13, k)
}

func int64Of(key string) int64 { return int64(binary.LittleEndian.Uint64([]byte(key))) }

func (s *subject) set(key, val string) bool {
	var p unsafe.Pointer
	var created bool
	switch {
	case s.d.ValueSize == 0 && s.d.Keys == Int64Keys:
		s.t.PutVarInt64(int64Of(key), s.hash(key), []byte(val))
		return true
	case s.d.ValueSize == 0:
		s.t.PutVarBytes([]byte(key), s.hash(key), []byte(val))
		return true
	case s.d.Keys == Int64Keys:
		p, created = s.t.RefInt64(int64Of(key), s.hash(key))
	default:
		p, created = s.t.RefBytes([]byte(key), s.hash(key))
	}
	old := string(unsafe.Slice((*byte)(p), len(val)))
	copy(unsafe.Slice((*byte)(p), len(val)), val)
	want, there := s.model[key]
	if !there {
		want = string(make([]byte, s.d.ValueSize))
	}
	return created == !there && old == want
}

func (s *subject) get(key string) (string, bool) {
	if s.d.ValueSize == 0 {
		var v []byte
		var ok bool
		if s.d.Keys == Int64Keys {
			v, ok = s.t.GetVarInt64(int64Of(key), s.hash(key))
		} else {
			v, ok = s.t.GetVarBytes([]byte(key), s.hash(key))
		}
		return string(v), ok
	}
	var p unsafe.Pointer
	if s.d.Keys == Int64Keys {
		p = s.t.GetInt64(int64Of(key), s.hash(key))
	} else {
		p = s.t.GetBytes([]byte(key), s.hash(key))
	}
	if p == nil {
		return "", false
	}
	return string(unsafe.Slice((*byte)(p), s.d.ValueSize)), true
}

func (s *subject) remove(key string) bool {
	if s.d.Keys == Int64Keys {
		return s.t.DeleteInt64(int64Of(key), s.hash(key))
	}
	return s.t.DeleteBytes([]byte(key), s.hash(key))
}

func (s *subject) randomValue() string {
	n := s.d.ValueSize
	if n == 0 {
		n = s.r.IntN(40)
		if s.r.IntN(500) == 0 {
			n = s.r.IntN(100_000)
		}
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.r.Uint32())
	}
	return string(b)
}

// step does one random operation and says what went wrong.
func (s *subject) step(keys, deletions int) string {
	key := s.randomKey(keys)
	want, there := s.model[key]
	switch op := s.r.IntN(100); {
	case op < deletions:
		if s.remove(key) != there {
			return fmt.Sprintf("delete %q: answer is not %v", key, there)
		}
		delete(s.model, key)
	case op < 70:
		val := s.randomValue()
		if !s.set(key, val) {
			return fmt.Sprintf("set %q: wrong old value or created", key)
		}
		s.model[key] = val
	default:
		if got, ok := s.get(key); got != want || ok != there {
			return fmt.Sprintf("get %q: %q %v, want %q %v", key, got, ok, want, there)
		}
	}
	return ""
}

func (s *subject) content() map[string]string {
	got := map[string]string{}
	s.t.Range(func(g int, key, val []byte) bool {
		if int(HashBytes(key)%(s.t.gmask+1)) != g {
			got["wrong group"] = string(key)
		}
		got[string(key)] = string(val)
		return true
	})
	return got
}

// taken is a snapshot with what must be in it.
type taken struct {
	snapshot *Snapshot
	want     []map[string]string
}

// check writes the snapshot and compares what a new backend restores from it.
func (k *taken) check(t *testing.T, o Options, ds []Descriptor) {
	t.Helper()
	store := &fileStore{}
	files, err := k.snapshot.Write(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	m := mustMemory(t, o)
	if err := m.Restore(t.Context(), files, store); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, err := VerifyFile(t.Context(), f, store); err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range ds {
		s := &subject{d: d, t: mustTable(t, m, d)}
		if got := s.content(); !maps.Equal(got, k.want[i]) {
			t.Fatalf("snapshot has %d entries of state %s, or others than the %d that were there", len(got), d.Name, len(k.want[i]))
		}
	}
}

func modelDescriptors() []Descriptor {
	return []Descriptor{
		{Name: "int-fixed", Keys: Int64Keys, ValueSize: 8, KeyType: "int64", ValueType: "int64"},
		{Name: "int-wide", Keys: Int64Keys, ValueSize: 40, KeyType: "int64", ValueType: "struct"},
		{Name: "int-var", Keys: Int64Keys, KeyType: "int64", ValueType: "json"},
		{Name: "bytes-fixed", Keys: BytesKeys, ValueSize: 16, KeyType: "string", ValueType: "struct"},
		{Name: "bytes-var", Keys: BytesKeys, KeyType: "string", ValueType: "json"},
	}
}

var seeds = flag.Uint64("seeds", 12, "number of random runs of TestModel; run one alone with -run TestModel/seed=N$")

// TestModel runs random operations on tables of every layout and on Go maps, with snapshots taken, written and
// released at random moments.
func TestModel(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { runModel(t, seed) })
	}
}

func runModel(t *testing.T, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 17))
	o := Options{MaxParallelism: []int{1, 2, 7, 128}[r.IntN(4)], PartSize: []int{0, 2000}[r.IntN(2)]}
	o.Last = o.MaxParallelism - 1
	m := mustMemory(t, o)
	ds := modelDescriptors()[:[]int{2, 5}[r.IntN(2)]]
	var subjects []*subject
	for _, d := range ds {
		subjects = append(subjects, &subject{d: d, t: mustTable(t, m, d), model: map[string]string{}, r: r})
	}
	keys, deletions := []int{10, 300, 20_000}[r.IntN(3)], 20
	var open []*taken
	for i := range 60_000 {
		s := subjects[r.IntN(len(subjects))]
		if wrong := s.step(keys, deletions); wrong != "" {
			t.Fatalf("seed %d step %d state %s: %s", seed, i, s.d.Name, wrong)
		}
		switch r.IntN(4000) {
		case 0:
			k := &taken{snapshot: m.Seal()}
			for _, s := range subjects {
				k.want = append(k.want, maps.Clone(s.model))
			}
			open = append(open, k)
		case 1:
			if len(open) > 0 {
				j := r.IntN(len(open))
				open[j].check(t, o, ds)
				open[j].snapshot.Release()
				open = append(open[:j], open[j+1:]...)
			}
		case 2:
			deletions = []int{5, 20, 69}[r.IntN(3)]
		}
	}
	for _, k := range open {
		k.check(t, o, ds)
		k.snapshot.Release()
	}
	finish(t, seed, m, subjects)
}

// finish compares tables with models, deletes everything and looks whether the memory is given back.
func finish(t *testing.T, seed uint64, m *Memory, subjects []*subject) {
	t.Helper()
	for _, s := range subjects {
		if got := s.content(); !maps.Equal(got, s.model) || s.t.Len() != len(s.model) {
			t.Fatalf("seed %d state %s: content differs from the model's %d entries", seed, s.d.Name, len(s.model))
		}
		checkShape(t, s.t)
		for key := range s.model {
			if !s.remove(key) {
				t.Fatalf("seed %d state %s: %q could not be deleted", seed, s.d.Name, key)
			}
		}
		if s.t.pages != 0 || s.t.Len() != 0 {
			t.Errorf("seed %d state %s: %d pages are left for %d entries", seed, s.d.Name, s.t.pages, s.t.Len())
		}
	}
	for range 40 {
		m.Seal().Release()
	}
	tails := int64(0)
	for _, s := range subjects {
		tails += int64(s.t.log.total)
	}
	if left := m.MemoryBytes() - tails; left > 128*5*24+1<<10 || m.held.Load() != 0 || m.pool.bytes > 0 {
		t.Errorf("seed %d: %d bytes are left without an entry, %d held, %d for reuse", seed, left, m.held.Load(), m.pool.bytes)
	}
}

// checkShape checks what the code relies on: counts, directory blocks, load and page totals.
func checkShape(t *testing.T, tab *Table) {
	t.Helper()
	total, pages := 0, 0
	for i := range tab.groups {
		g := &tab.groups[i]
		n := 0
		for refs := g.refs(); len(refs) > 0 && g.pages > 0; {
			b, _ := g.block(&refs[0])
			used := uint32(0)
			for j := uint32(0); j <= b[0].mask; j++ {
				if *(*uint64)(unsafe.Add(b[0].ptr, uintptr(j)*tab.stride)) != 0 {
					used++
				}
			}
			for _, r := range b {
				if r != b[0] || r.count != used || used*4 > (r.mask+1)*3 {
					t.Fatalf("page reference %+v of a page with %d entries", r, used)
				}
			}
			n += int(used)
			pages++
			refs = refs[len(b):]
		}
		if n != g.n {
			t.Fatalf("group says %d entries, has %d", g.n, n)
		}
		total += n
	}
	if tab.special.ptr != nil {
		total++
	}
	if total != tab.n || pages != tab.pages {
		t.Fatalf("table says %d entries on %d pages, has %d on %d", tab.n, tab.pages, total, pages)
	}
}
