// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

// TestAddInt64s_Model compares batches of additions with a map, over growth, seals and the key without a place.
func TestAddInt64s_Model(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			groups := []int{1, 3, 128}[seed%3]
			m, tab := newCounts(t, Options{MaxParallelism: groups, Last: groups - 1})
			model := map[int64]int64{}
			var open []*Snapshot
			for range 300 {
				keys := make([]int64, r.IntN(200))
				for i := range keys {
					keys[i] = r.Int64N(1 + int64(len(model))*2)
					if r.IntN(100) == 0 {
						keys[i] = emptyKey
					}
				}
				checkAdd(t, r, tab, keys, model)
				if r.IntN(20) == 0 {
					open = append(open, m.Seal())
				}
				if r.IntN(40) == 0 && len(open) > 0 {
					open[0].Release()
					open = open[1:]
				}
			}
			got := map[int64]int64{}
			tab.RangeInt64(func(_ int, k int64, val []byte) bool {
				got[k] = *(*int64)(unsafe.Pointer(unsafe.SliceData(val)))
				return true
			})
			if !maps.Equal(got, model) || tab.Len() != len(model) {
				t.Fatalf("seed %d: %d keys, want %d, or other sums", seed, len(got), len(model))
			}
			checkShape(t, tab)
		})
	}
}

// checkAdd adds one batch, with or without deltas and results, and brings the model up to it.
func checkAdd(t *testing.T, r *rand.Rand, tab *Table, keys []int64, model map[int64]int64) {
	t.Helper()
	hashes := make([]uint64, len(keys))
	HashInt64s(hashes, keys)
	var deltas, out []int64
	if r.IntN(2) == 0 {
		for range keys {
			deltas = append(deltas, r.Int64N(100)-50)
		}
	}
	if r.IntN(2) == 0 {
		out = make([]int64, len(keys))
	}
	if r.IntN(3) == 0 {
		tab.PrefetchInt64(keys, hashes)
	}
	tab.AddInt64s(keys, hashes, deltas, out)
	for i, k := range keys {
		if deltas != nil {
			model[k] += deltas[i]
		} else {
			model[k]++
		}
		if out != nil && out[i] != model[k] {
			t.Fatalf("sum %d of key %d is %d, want %d", i, k, out[i], model[k])
		}
	}
}

// TestSnapshot_BesideProcessing writes snapshots in other goroutines while the owner goes on counting: each has
// exactly what was there when it was sealed. The race detector watches.
func TestSnapshot_BesideProcessing(t *testing.T) {
	m := mustMemory(t, Options{MaxParallelism: 16, Last: 15, PartSize: 20_000})
	counts := mustTable(t, m, Descriptor{Name: "count", Keys: Int64Keys, ValueSize: 8})
	texts := mustTable(t, m, Descriptor{Name: "text", Keys: BytesKeys})
	r := rand.New(rand.NewPCG(9, 9))
	var wg sync.WaitGroup
	total := int64(0)
	for round := range 40 {
		for range 3000 {
			k := r.Int64N(5000)
			p, _ := counts.RefInt64(k, HashInt64(k))
			*(*int64)(p)++
			total++
			key := fmt.Appendf(nil, "key number %d", k)
			if r.IntN(3) == 0 {
				texts.PutVarBytes(key, HashBytes(key), fmt.Appendf(nil, "%d", total))
			} else if r.IntN(20) == 0 {
				texts.DeleteBytes(key, HashBytes(key))
			}
		}
		s, want, n := m.Seal(), total, texts.Len()
		wg.Go(func() {
			defer s.Release()
			checkTotals(t, m.opts, s, want, n, round)
		})
		if round%4 == 3 {
			wg.Wait()
		}
	}
	wg.Wait()
	m.Seal().Release()
	m.refresh()
	if m.held.Load() != 0 || len(m.retired) != 0 || len(m.open) != 0 {
		t.Errorf("%d bytes on %d pages are held for %d snapshots, all are released", m.held.Load(), len(m.retired), len(m.open))
	}
}

func checkTotals(t *testing.T, o Options, s *Snapshot, want int64, texts, round int) {
	t.Helper()
	store := &fileStore{}
	files, err := s.Write(t.Context(), store)
	if err != nil {
		t.Error(err)
		return
	}
	m, err := NewMemory(o)
	if err == nil {
		err = m.Restore(t.Context(), files, store)
	}
	if err != nil {
		t.Error(err)
		return
	}
	got := int64(0)
	m.table("count").RangeInt64(func(_ int, _ int64, val []byte) bool {
		got += *(*int64)(unsafe.Pointer(unsafe.SliceData(val)))
		return true
	})
	if got != want || m.table("text").Len() != texts {
		t.Errorf("snapshot %d: counts add up to %d, want %d; %d texts, want %d", round, got, want, m.table("text").Len(), texts)
	}
}

// TestMemory_CopiesOnlyWhileNeeded counts pages copied: after a release nothing is.
func TestMemory_CopiesOnlyWhileNeeded(t *testing.T) {
	m, tab := newCounts(t, Options{MaxParallelism: 4, Last: 3, PartSize: 1 << 16})
	fill(tab, 10_000)
	s := m.Seal()
	before := m.MemoryBytes() - m.pool.bytes
	fill(tab, 10_000)
	if held, pages := m.held.Load(), int64(tab.pages)*pageBytes; held != pages || m.MemoryBytes()-m.pool.bytes != before+pages {
		t.Errorf("%d bytes are held, %d taken more, want %d", held, m.MemoryBytes()-m.pool.bytes-before, pages)
	}
	s.Release()
	m.Seal().Release()
	if m.held.Load() != 0 {
		t.Errorf("%d bytes are still held", m.held.Load())
	}
	before = m.MemoryBytes() - m.pool.bytes
	fill(tab, 10_000)
	if m.MemoryBytes()-m.pool.bytes != before || m.held.Load() != 0 {
		t.Errorf("%d bytes were taken after the snapshot was released", m.MemoryBytes()-m.pool.bytes-before)
	}
}

func TestMemory_Budget(t *testing.T) {
	m := mustMemory(t, Options{MaxParallelism: 4, Last: 3, MemoryBudget: 400_000, PartSize: 1 << 16})
	tab := mustTable(t, m, Descriptor{Name: "count", Keys: Int64Keys, ValueSize: 8})
	fill(tab, 10_000)
	if err := m.Err(); err != nil {
		t.Fatalf("within the budget: %v", err)
	}
	s := m.Seal()
	fill(tab, 10_000)
	be, ok := errors.AsType[*BudgetError](m.Err())
	if !ok || be.Held == 0 || be.Used <= be.Budget || !strings.Contains(be.Error(), "400000 bytes") {
		t.Fatalf("with a copy for the snapshot: %v", m.Err())
	}
	s.Release()
	if err := m.Err(); err != nil {
		t.Errorf("after the release: %v", err)
	}
}

func TestMemory_EmptyGroupsAreSmall(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m := mustMemory(t, Options{MaxParallelism: MaxKeyGroups, Last: MaxKeyGroups - 1})
	for i := range 10 {
		mustTable(t, m, Descriptor{Name: fmt.Sprint(i), Keys: KeyKind(1 + i%2), ValueSize: i / 2 * 8})
	}
	m.Seal().Release()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 10<<20 {
		t.Errorf("ten empty states of %d key groups take %d bytes", MaxKeyGroups, used)
	}
	runtime.KeepAlive(m)
}

// TestTable_HashesThatShareBits puts keys into one group whose hashes agree in their upper bits, so that
// splitting doesn't help.
func TestTable_HashesThatShareBits(t *testing.T) {
	m := mustMemory(t, Options{MaxParallelism: 2, Last: 1})
	tab := mustTable(t, m, Descriptor{Name: "s", Keys: BytesKeys, ValueSize: 8})
	r := rand.New(rand.NewPCG(1, 2))
	hashes := make([]uint64, 5000)
	for i := range hashes {
		hashes[i] = 0xabcdef0000000000 | r.Uint64N(1<<36)
		p, created := tab.RefBytes(fmt.Append(nil, i), hashes[i])
		if !created {
			t.Fatalf("key %d was there", i)
		}
		*(*int64)(p) = int64(i)
	}
	for i, h := range hashes {
		if p := tab.GetBytes(fmt.Append(nil, i), h); p == nil || *(*int64)(p) != int64(i) {
			t.Fatalf("key %d is lost", i)
		}
	}
	checkShape(t, tab)
	if m.MemoryBytes() > 2<<20 {
		t.Errorf("%d bytes for %d keys", m.MemoryBytes(), len(hashes))
	}
}

// TestTable_EqualHashes keeps keys apart that differ in nothing but their bytes, also with hash 0.
func TestTable_EqualHashes(t *testing.T) {
	for _, hash := range []uint64{0, 1, 1 << 40} {
		m := mustMemory(t, Options{MaxParallelism: 1})
		tab := mustTable(t, m, Descriptor{Name: "s", Keys: BytesKeys, ValueSize: 8})
		keys := []string{"", "a", "\x00", "a\x00", "1234567", "12345678", "123456789", strings.Repeat("x", 1000)}
		for i, k := range keys {
			p, created := tab.RefBytes([]byte(k), hash)
			if !created {
				t.Fatalf("hash %d: key %q was there", hash, k)
			}
			*(*int64)(p) = int64(i)
		}
		tab.PrefetchBytes([]uint64{hash, hash + 99})
		for i, k := range keys {
			if p := tab.GetBytes([]byte(k), hash); p == nil || *(*int64)(p) != int64(i) {
				t.Errorf("hash %d: key %q is lost", hash, k)
			}
			if !tab.DeleteBytes([]byte(k), hash) || tab.GetBytes([]byte(k), hash) != nil {
				t.Errorf("hash %d: key %q can't be deleted", hash, k)
			}
		}
	}
}

// TestTable_LogIsCompacted replaces values again and again; the log stays in proportion to what is live.
func TestTable_LogIsCompacted(t *testing.T) {
	m := mustMemory(t, Options{MaxParallelism: 8, Last: 7})
	tab := mustTable(t, m, Descriptor{Name: "s", Keys: Int64Keys})
	val := make([]byte, 100)
	for round := range 30 {
		s := m.Seal()
		for k := range int64(2000) {
			val[0] = byte(round)
			tab.PutVarInt64(k, HashInt64(k), val[:50+round])
		}
		s.Release()
	}
	if live := 2000 * (12 + 8 + 100); tab.log.total > 3*live {
		t.Errorf("the log has %d bytes for about %d that are live", tab.log.total, live)
	}
	for k := range int64(2000) {
		if v, ok := tab.GetVarInt64(k, HashInt64(k)); !ok || v[0] != 29 {
			t.Fatalf("value of %d is %v", k, v)
		}
	}
}

func TestOptions_Validate(t *testing.T) {
	for name, o := range map[string]Options{
		"no groups": {}, "too many groups": {MaxParallelism: MaxKeyGroups + 1},
		"range": {MaxParallelism: 4, First: 2, Last: 1}, "range end": {MaxParallelism: 4, Last: 4},
		"budget": {MaxParallelism: 4, MemoryBudget: -1}, "part": {MaxParallelism: 4, PartSize: 33 << 20},
	} {
		if _, err := NewMemory(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	m := smallMemory(t)
	for name, d := range map[string]Descriptor{
		"no name": {Keys: Int64Keys}, "no kind": {Name: "a"}, "odd size": {Name: "a", Keys: Int64Keys, ValueSize: 7},
		"too large": {Name: "a", Keys: BytesKeys, ValueSize: 264}, "long name": {Name: strings.Repeat("a", 1<<16), Keys: Int64Keys},
	} {
		if _, err := m.Table(d); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestGroupRange_CoversAll(t *testing.T) {
	for _, groups := range []int{1, 7, 128, MaxKeyGroups} {
		for _, p := range []int{1, 2, 3, 7, groups} {
			next := 0
			for i := range min(p, groups) {
				first, last := GroupRange(i, min(p, groups), groups)
				if first != next || last < first {
					t.Fatalf("range %d of %d over %d groups is %d to %d, want it to start at %d", i, p, groups, first, last, next)
				}
				next = last + 1
			}
			if next != groups {
				t.Fatalf("ranges of %d over %d groups end at %d", p, groups, next)
			}
		}
	}
}

func TestTable_WrongLayoutPanics(t *testing.T) {
	m := smallMemory(t)
	ints := mustTable(t, m, Descriptor{Name: "i", Keys: Int64Keys, ValueSize: 8})
	vars := mustTable(t, m, Descriptor{Name: "v", Keys: Int64Keys})
	for name, f := range map[string]func(){
		"RefBytes":     func() { ints.RefBytes(nil, 0) },
		"PutVarInt64":  func() { ints.PutVarInt64(1, HashInt64(1), nil) },
		"RefInt64":     func() { vars.RefInt64(1, HashInt64(1)) },
		"RefInt64 odd": func() { vars.RefInt64(emptyKey, HashInt64(emptyKey)) },
		"AddInt64s":    func() { vars.AddInt64s([]int64{1}, []uint64{1}, nil, nil) },
		"other group": func() {
			part, err := NewMemory(Options{MaxParallelism: 8, First: 2, Last: 3})
			if err != nil {
				t.Error(err)
				return
			}
			tab := mustTable(t, part, Descriptor{Name: "i", Keys: Int64Keys, ValueSize: 8})
			tab.AddInt64s([]int64{1, 2, 3, 4, 5}, []uint64{0, 1, 4, 5, 6}, nil, nil)
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
