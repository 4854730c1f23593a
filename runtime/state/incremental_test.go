// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// sharedStore is a fileStore that takes shared files and knows which there are.
type sharedStore struct {
	fileStore
	uploaded int64
	data     int64 // of uploaded, in shared files
	fail     int   // the write that fails, counted down; 0 for none
}

func (s *sharedStore) WriteFile(ctx context.Context, data []byte) (File, error) {
	if s.fail--; s.fail == 0 {
		return File{}, errors.New("no answer")
	}
	s.uploaded += int64(len(data))
	return s.fileStore.WriteFile(ctx, data)
}

func (s *sharedStore) WriteShared(ctx context.Context, data []byte) (File, error) {
	f, err := s.WriteFile(ctx, data)
	s.data += int64(len(data))
	f.Shared = true
	return f, err
}

// remove takes a file away, as the coordinator does with one that nobody refers to.
func (s *sharedStore) remove(t *testing.T, f File) {
	t.Helper()
	var i int
	if _, err := fmt.Sscanf(f.Path, "f%d", &i); err != nil {
		t.Fatal(err)
	}
	s.files[i] = nil
}

// increment writes an incremental snapshot.
func increment(t testing.TB, m *Memory, w SharedWriter, id, base int64) []File {
	t.Helper()
	s := m.SealIncremental(id, base)
	defer s.Release()
	files, err := s.Write(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// listed is what a manifest says of files.
func listed(files []File) []File {
	files = slices.Clone(files)
	for i := range files {
		files[i].Reused = false
	}
	return files
}

// verifyAll verifies every file of a snapshot and that the references fit.
func verifyAll(ctx context.Context, files []File, r FileReader) error {
	infos, listed := map[string]*FileInfo{}, map[string]File{}
	for _, f := range files {
		listed[f.Path] = f
		info, err := VerifyFile(ctx, f, r)
		if err != nil {
			return err
		}
		infos[f.Path] = info
	}
	for _, f := range files {
		if !f.Index {
			continue
		}
		info, refs, err := ReadIndex(ctx, f, r)
		if err != nil {
			return err
		}
		if err := CheckReferences(f, info, refs, listed, infos); err != nil {
			return err
		}
	}
	return nil
}

// incrementalModel plays a task and a coordinator over one backend and a map.
type incrementalModel struct {
	t        *testing.T
	r        *rand.Rand
	o        Options
	m        *Memory
	subjects []*subject
	store    *sharedStore
	next     int64
	complete int64 // the base that the coordinator names
	retained map[int64][]File
	want     map[int64][]map[string]string
}

func newIncrementalModel(t *testing.T, seed uint64) *incrementalModel {
	t.Helper()
	x := &incrementalModel{
		t: t, r: rand.New(rand.NewPCG(seed, 23)), store: &sharedStore{}, next: 1,
		retained: map[int64][]File{}, want: map[int64][]map[string]string{},
	}
	x.o = Options{MaxParallelism: []int{1, 2, 7, 128}[x.r.IntN(4)], PartSize: []int{800, 4000, 20_000, 0}[x.r.IntN(4)]}
	x.o.Last = x.o.MaxParallelism - 1
	x.start()
	return x
}

// start is a task that begins, empty.
func (x *incrementalModel) start() {
	x.m = mustMemory(x.t, x.o)
	x.subjects = nil
	for _, d := range modelDescriptors() {
		x.subjects = append(x.subjects, &subject{d: d, t: mustTable(x.t, x.m, d), model: map[string]string{}, r: x.r})
	}
}

// operate does n random operations on keys of a part of the key space.
func (x *incrementalModel) operate(n, keys, deletions int) {
	x.t.Helper()
	for range n {
		if wrong := x.subjects[x.r.IntN(len(x.subjects))].step(keys, deletions); wrong != "" {
			x.t.Fatal(wrong)
		}
	}
}

// checkpoint takes a snapshot; what becomes of it and who hears of that is random.
func (x *incrementalModel) checkpoint() {
	x.t.Helper()
	id, base := x.next, x.complete
	x.next++
	s := x.m.SealIncremental(id, base)
	var want []map[string]string
	for _, sub := range x.subjects {
		want = append(want, maps.Clone(sub.model))
	}
	if x.r.IntN(2) == 0 { // processing goes on beside the upload
		x.operate(200, 2000, 20)
	}
	if x.r.IntN(6) == 0 {
		x.store.fail = 1 + x.r.IntN(4)
	}
	files, err := s.Write(x.t.Context(), x.store)
	s.Release()
	x.store.fail = 0
	heard := x.r.IntN(3) > 0
	if err != nil || x.r.IntN(5) == 0 {
		for _, f := range files {
			if !f.Reused { // nobody refers to what an aborted snapshot created
				x.store.remove(x.t, f)
			}
		}
		if heard {
			x.m.Aborted(id)
		}
		return
	}
	for _, f := range files {
		if f.Reused && !slices.ContainsFunc(x.retained[base], func(o File) bool { return o.Path == f.Path && o.Shared }) {
			x.t.Fatalf("checkpoint %d refers to %s, which its base %d doesn't", id, f.Path, base)
		}
		if f.Shared == f.Index || f.Reused && base == 0 {
			x.t.Fatalf("file %+v of checkpoint %d", f, id)
		}
	}
	x.retained[id], x.want[id] = listed(files), want
	x.complete = id
	if heard {
		x.m.Completed(id)
	}
	x.subsume(2)
}

// subsume keeps the newest n checkpoints and deletes what only others referred to.
func (x *incrementalModel) subsume(n int) {
	ids := slices.Sorted(maps.Keys(x.retained))
	for len(ids) > n {
		gone := x.retained[ids[0]]
		delete(x.retained, ids[0])
		delete(x.want, ids[0])
		ids = ids[1:]
		for _, f := range gone {
			used := false
			for _, files := range x.retained {
				used = used || slices.ContainsFunc(files, func(o File) bool { return o.Path == f.Path })
			}
			if !used {
				x.store.remove(x.t, f)
			}
		}
	}
}

// restore reads a retained checkpoint at parallelism p and compares; it returns the content.
func (x *incrementalModel) restore(id int64, p int) {
	x.t.Helper()
	files := x.retained[id]
	if err := verifyAll(x.t.Context(), files, x.store); err != nil {
		x.t.Fatalf("checkpoint %d: %v", id, err)
	}
	got := make([]map[string]string, len(x.subjects))
	for i := range got {
		got[i] = map[string]string{}
	}
	for i := range p {
		o := x.o
		o.First, o.Last = GroupRange(i, p, x.o.MaxParallelism)
		m := mustMemory(x.t, o)
		if err := m.Restore(x.t.Context(), files, x.store); err != nil {
			x.t.Fatalf("checkpoint %d subtask %d of %d: %v", id, i, p, err)
		}
		for j, sub := range x.subjects {
			s := &subject{d: sub.d, t: mustTable(x.t, m, sub.d)}
			checkShape(x.t, s.t)
			maps.Copy(got[j], s.content())
		}
	}
	for j := range got {
		if !maps.Equal(got[j], x.want[id][j]) {
			x.t.Fatalf("checkpoint %d at parallelism %d: state %s has %d entries, or others than the %d that were there",
				id, p, x.subjects[j].d.Name, len(got[j]), len(x.want[id][j]))
		}
	}
}

// fail lets the task end and another one start from the newest checkpoint.
func (x *incrementalModel) fail() {
	x.t.Helper()
	x.m.Close()
	x.start()
	if x.complete == 0 {
		return
	}
	if err := x.m.Restore(x.t.Context(), x.retained[x.complete], x.store); err != nil {
		x.t.Fatal(err)
	}
	for i, s := range x.subjects {
		s.model = maps.Clone(x.want[x.complete][i])
	}
	if x.r.IntN(2) == 0 {
		x.complete = 0 // the coordinator forgot its base, too; else it names one that the task doesn't know
	}
}

// TestIncremental_Model runs random operations with incremental checkpoints that complete, fail or are aborted, with notifications
// that are lost, tasks that start again, and files that are deleted as soon as no retained checkpoint refers to them.
func TestIncremental_Model(t *testing.T) {
	for seed := range *seeds * 2 {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			x := newIncrementalModel(t, seed)
			for range 60 {
				x.operate(x.r.IntN(600), []int{3, 300, 2000}[x.r.IntN(3)], []int{5, 20, 69}[x.r.IntN(3)])
				x.checkpoint()
				switch x.r.IntN(12) {
				case 0:
					for id := range x.retained {
						x.restore(id, 1+x.r.IntN(min(5, x.o.MaxParallelism)))
					}
				case 1:
					x.fail()
				case 2: // a savepoint in between is no business of the others
					writeAll(t, x.m, &fileStore{})
				}
			}
			for id := range x.retained {
				x.restore(id, 1)
			}
		})
	}
}

func TestIncremental_UploadsOnlyTouchedPages(t *testing.T) {
	m, tab := newCounts(t, Options{MaxParallelism: 128, Last: 127})
	fill(tab, 500_000)
	store := &sharedStore{}
	full := increment(t, m, store, 1, 0)
	before := store.uploaded
	one := int64(4711)
	p, _ := tab.RefInt64(one, HashInt64(one))
	*(*int64)(p) = 99
	files := increment(t, m, store, 2, 1)
	index := files[0]
	if data := store.uploaded - before - index.Size; !index.Index || data > 2*pageBytes {
		t.Errorf("%d bytes were uploaded for one changed value beside an index of %d", data, index.Size)
	}
	if limit := int64(tab.pages)*14 + 20_000; index.Size > limit {
		t.Errorf("the index of %d pages takes %d bytes, more than %d", tab.pages, index.Size, limit)
	}
	if reused := slices.IndexFunc(files, func(f File) bool { return f.Reused && f.Path == full[1].Path }); reused < 0 || len(files) != len(full)+1 {
		t.Errorf("files are %+v after %+v", files, full)
	}
	fresh := mustMemory(t, m.opts)
	if err := fresh.Restore(t.Context(), listed(files), store); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(contents(fresh), contents(m)) {
		t.Error("another state was restored")
	}
}

// TestIncremental_ValueReplacedInPlace changes values of variable size where they are, with no snapshot open.
func TestIncremental_ValueReplacedInPlace(t *testing.T) {
	m := mustMemory(t, Options{MaxParallelism: 4, Last: 3})
	tab := mustTable(t, m, Descriptor{Name: "v", Keys: Int64Keys})
	store := &sharedStore{}
	for id := range int64(3) {
		for k := range int64(10) {
			tab.PutVarInt64(k, HashInt64(k), fmt.Appendf(nil, "%d", id))
		}
		files := listed(increment(t, m, store, id+1, id))
		fresh := mustMemory(t, m.opts)
		if err := fresh.Restore(t.Context(), files, store); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(contents(fresh), contents(m)) {
			t.Fatalf("checkpoint %d has %v, want %v", id+1, contents(fresh), contents(m))
		}
	}
}

func TestIncremental_BaseIsTheOneNamed(t *testing.T) {
	reused := func(files []File) int {
		n := 0
		for _, f := range files {
			if f.Reused {
				n++
			}
		}
		return n
	}
	tests := map[string]struct {
		before func(t *testing.T, m *Memory, store *sharedStore)
		base   int64
		want   bool
	}{
		"none named":               {base: 0},
		"never learned of":         {base: 7},
		"complete":                 {base: 1, want: true, before: func(_ *testing.T, m *Memory, _ *sharedStore) { m.Completed(1) }},
		"notification was lost":    {base: 1, want: true},
		"aborted":                  {base: 1, before: func(_ *testing.T, m *Memory, _ *sharedStore) { m.Aborted(1) }},
		"older than the one in it": {base: 1, want: true, before: func(t *testing.T, m *Memory, s *sharedStore) { t.Helper(); increment(t, m, s, 2, 1) }},
		"trigger overtaken by the end of the next one": {base: 1, want: true, before: func(t *testing.T, m *Memory, s *sharedStore) {
			t.Helper()
			m.Completed(1)
			increment(t, m, s, 2, 1)
			m.Completed(2)
		}},
		"older than one that was a base": {base: 1, before: func(t *testing.T, m *Memory, s *sharedStore) {
			t.Helper()
			increment(t, m, s, 2, 1)
			increment(t, m, s, 3, 2)
		}},
		"a savepoint": {base: 2, before: func(t *testing.T, m *Memory, s *sharedStore) { t.Helper(); writeAll(t, m, &s.fileStore) }},
		"one that failed to upload": {base: 2, before: func(t *testing.T, m *Memory, s *sharedStore) {
			t.Helper()
			k := m.SealIncremental(2, 0)
			defer k.Release()
			s.fail = 2
			if _, err := k.Write(t.Context(), s); err == nil {
				t.Fatal("no error")
			}
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m, tab := newCounts(t, Options{MaxParallelism: 8, Last: 7})
			fill(tab, 2000)
			store := &sharedStore{}
			increment(t, m, store, 1, 0)
			if tc.before != nil {
				tc.before(t, m, store)
			}
			if n := reused(increment(t, m, store, 9, tc.base)); n > 0 != tc.want {
				t.Errorf("%d files are reused", n)
			}
		})
	}
}

// TestIncremental_WhatIsRememberedIsBounded never tells what became of a snapshot.
func TestIncremental_WhatIsRememberedIsBounded(t *testing.T) {
	account := NewAccount(0)
	m, tab := newCounts(t, Options{MaxParallelism: 8, Last: 7, Account: account})
	fill(tab, 2000)
	store := &sharedStore{}
	increment(t, m, store, 1, 0)
	m.Completed(1)
	for id := range int64(40) {
		increment(t, m, store, id+2, 0)
	}
	if n := len(m.placements.list); n != maxPlacements {
		t.Errorf("%d snapshots are remembered", n)
	}
	if files := increment(t, m, store, 50, 1); !files[1].Reused {
		t.Error("the one that is known to be complete was forgotten")
	}
	m.Close()
	if n := account.Used(); n != 0 {
		t.Errorf("%d bytes are in the account of a closed backend", n)
	}
}

// TestIncremental_SpaceAndFilesAreBounded changes a few random pages before each of many checkpoints.
func TestIncremental_SpaceAndFilesAreBounded(t *testing.T) {
	const part = 40_000
	m, tab := newCounts(t, Options{MaxParallelism: 16, Last: 15, PartSize: part})
	fill(tab, 100_000)
	store := &sharedStore{}
	r := rand.New(rand.NewPCG(1, 2))
	most, rewritten := 0, int64(0)
	for id := range int64(400) {
		from := r.Int64N(100_000)
		for k := from; k < from+40; k++ {
			p, _ := tab.RefInt64(k, HashInt64(k))
			*(*int64)(p)++
		}
		before := store.uploaded
		files := increment(t, m, store, id+1, id)
		live, total, data := int64(0), int64(0), 0
		_, refs, err := ReadIndex(t.Context(), files[0], store)
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range refs {
			live += ref.Length + indexEntrySize
		}
		for _, f := range files {
			if f.Shared {
				total += f.Size
				data++
			}
		}
		if limit := 2*live + int64(data)*200; total > limit {
			t.Fatalf("checkpoint %d takes %d bytes for %d that are of use", id+1, total, live)
		}
		if limit := maxSmallFiles + int(2*live/part) + 1; data > limit {
			t.Fatalf("checkpoint %d has %d files, more than %d", id+1, data, limit)
		}
		most = max(most, data)
		if id > 0 {
			rewritten += store.uploaded - before
		}
	}
	if most < maxSmallFiles/2 {
		t.Errorf("there were %d files at most; the test reaches no bound", most)
	}
	if full := int64(16 * 100_000); rewritten > 400*full/4 {
		t.Errorf("%d bytes were uploaded over 400 checkpoints of %d", rewritten, full)
	}
}

// TestIncremental_SmallFilesAreMerged fills one key group after the other, so that no file ever loses what it holds.
func TestIncremental_SmallFilesAreMerged(t *testing.T) {
	const groups = 300
	m, tab := newCounts(t, Options{MaxParallelism: groups, Last: groups - 1})
	byGroup := make([][]int64, groups)
	for k := range int64(20 * groups) {
		g := HashInt64(k) % groups
		byGroup[g] = append(byGroup[g], k)
	}
	store := &sharedStore{}
	most := 0
	for g, keys := range byGroup {
		for _, k := range keys {
			tab.RefInt64(k, HashInt64(k))
		}
		files := listed(increment(t, m, store, int64(g)+1, int64(g)))
		most = max(most, len(files)-1)
	}
	if most != maxSmallFiles {
		t.Errorf("there were %d files at most, want %d", most, maxSmallFiles)
	}
	if full := int64(groups * 20 * (16 + indexEntrySize)); store.data > 6*full {
		t.Errorf("%d bytes were uploaded for a state of %d", store.data, full)
	}
}

func TestPlace_IsSmall(t *testing.T) {
	if n := unsafe.Sizeof(place{}); n > 32 {
		t.Errorf("a place takes %d bytes", n)
	}
}

func TestTable_PrefetchChangesNothing(t *testing.T) {
	m := filled(t, Options{MaxParallelism: 4, Last: 3}, 300)
	want := contents(m)
	hashes := make([]uint64, 400)
	for i := range hashes {
		hashes[i] = HashString(fmt.Sprintf("key %d", i*i))
	}
	for _, name := range []string{"bytes-fixed", "bytes-var"} {
		m.table(name).PrefetchBytes(hashes)
	}
	if !maps.Equal(contents(m), want) {
		t.Error("the content changed")
	}
}

// TestIncremental_WrittenBesideProcessing writes each snapshot in a goroutine of its own while the tables change; run it with -race.
func TestIncremental_WrittenBesideProcessing(t *testing.T) {
	x := newIncrementalModel(t, 5)
	for id := range int64(15) {
		x.operate(300, 2000, 20)
		s := x.m.SealIncremental(id+1, id)
		want := make([]map[string]string, len(x.subjects))
		for i, sub := range x.subjects {
			want[i] = maps.Clone(sub.model)
		}
		type written struct {
			files []File
			err   error
		}
		done := make(chan written)
		go func() {
			defer s.Release()
			files, err := s.Write(t.Context(), x.store)
			done <- written{files, err}
		}()
		x.operate(300, 2000, 20)
		w := <-done
		if w.err != nil {
			t.Fatal(w.err)
		}
		x.retained[id+1], x.want[id+1] = listed(w.files), want
		x.restore(id+1, 1)
		x.m.Completed(id + 1)
		delete(x.retained, id-1)
	}
}
