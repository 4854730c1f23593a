// SPDX-License-Identifier: Apache-2.0

package state

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// kinds is the state of one subtask: one of every kind, and what of it all timers fired.
type kinds[K cmp.Ordered] struct {
	m      *Memory
	list   *List[K, string]
	scoped *ScopedList[K, int64]
	table  *Map[K, string, int64]
	sum    *Reducing[K, int64]
	text   *Aggregating[K, string, string]
	value  *ScopedValue[K, int64]
	timers *Timers[K]
}

func openKinds[K cmp.Ordered](tb testing.TB, m *Memory) *kinds[K] {
	tb.Helper()
	keys := func() *Keys[K] {
		k, err := KeysOf[K](nil)
		if err != nil {
			tb.Fatal(err)
		}
		return k
	}
	users, err := KeysOf[string](nil)
	k := &kinds[K]{m: m}
	errs := []error{err}
	add := func(err error) { errs = append(errs, err) }
	k.list, err = OpenList[K, string](m, "list", keys(), nil)
	add(err)
	k.scoped, err = OpenScopedList[K, int64](m, "scoped", keys(), nil)
	add(err)
	k.table, err = OpenMap[K, string, int64](m, "map", keys(), users, nil)
	add(err)
	k.sum, err = OpenReducing(m, "sum", keys(), nil, func(a, b int64) int64 { return a + b })
	add(err)
	k.text, err = OpenAggregating(m, "text", keys(), nil, func(acc, v string) string { return acc + v })
	add(err)
	k.value, err = OpenScopedValue[K, int64](m, "value", keys(), nil)
	add(err)
	k.timers, err = OpenTimers(m, "timers", keys())
	add(err)
	if err := errors.Join(errs...); err != nil {
		tb.Fatal(err)
	}
	return k
}

// modelKey is what the model knows of one key.
type modelKey struct {
	List   []string
	Scoped map[string][]int64
	Map    map[string]int64
	Sum    int64
	Text   string
	Value  map[string]int64
	Timers map[string]bool
}

// kindsModel drives backends at a changing parallelism and plain Go values with the same operations.
type kindsModel[K cmp.Ordered] struct {
	t      *testing.T
	r      *rand.Rand
	max    int
	tasks  []*kinds[K]
	owner  []int // subtask by key group
	model  map[K]*modelKey
	hash   *Keys[K]
	random func(r *rand.Rand) K
	part   int
	// incremental snapshots refer to the files of the one before; last is its id.
	incremental bool
	store       *sharedStore
	last        int64
	reused      int
}

func (k *kindsModel[K]) options(i, p int) Options {
	o := Options{MaxParallelism: k.max, PartSize: k.part}
	o.First, o.Last = GroupRange(i, p, k.max)
	return o
}

// save writes snapshots of all subtasks.
func (k *kindsModel[K]) save() []File {
	k.t.Helper()
	var files []File
	base := k.last
	k.last++
	for _, task := range k.tasks {
		s := task.m.Seal
		if k.incremental {
			s = func() *Snapshot { return task.m.SealIncremental(k.last, base) }
		}
		sealed := s()
		fs, err := sealed.Write(k.t.Context(), k.store)
		if err != nil {
			k.t.Fatal(err)
		}
		sealed.Release()
		for _, f := range fs {
			if f.Reused {
				k.reused++
			}
		}
		files = append(files, fs...)
	}
	return listed(files)
}

// rescale writes snapshots of all subtasks, and restores them at parallelism p.
func (k *kindsModel[K]) rescale(p int) {
	k.t.Helper()
	store := k.store
	files := k.save()
	if err := verifyAll(k.t.Context(), files, store); err != nil {
		k.t.Fatal(err)
	}
	k.tasks, k.owner = nil, make([]int, k.max)
	for i := range p {
		o := k.options(i, p)
		m := mustMemory(k.t, o)
		if err := m.Restore(k.t.Context(), files, store); err != nil {
			k.t.Fatal(err)
		}
		k.tasks = append(k.tasks, openKinds[K](k.t, m))
		if lost := m.Unclaimed(); len(lost) > 0 {
			k.t.Fatalf("states %q are of no use to the program that wrote them", lost)
		}
		for g := o.First; g <= o.Last; g++ {
			k.owner[g] = i
		}
	}
}

func (k *kindsModel[K]) of(key K) (*kinds[K], uint64, *modelKey) {
	h := k.hash.Hash(key)
	m := k.model[key]
	if m == nil {
		m = &modelKey{Scoped: map[string][]int64{}, Map: map[string]int64{}, Value: map[string]int64{}, Timers: map[string]bool{}}
		k.model[key] = m
	}
	return k.tasks[k.owner[h%uint64(k.max)]], h, m
}

func (k *kindsModel[K]) word() string {
	return strings.Repeat("x", k.r.IntN(3)*k.r.IntN(200)) + fmt.Sprint(k.r.IntN(30))
}

func (k *kindsModel[K]) step() {
	key := k.random(k.r)
	s, h, m := k.of(key)
	user, n := k.word(), k.r.Int64N(1000)
	scope := fmt.Sprint(n % 3)
	switch k.r.IntN(20) {
	case 0, 1:
		s.list.Append(key, h, user, "y")
		m.List = append(m.List, user, "y")
	case 2:
		if k.r.IntN(10) == 0 {
			s.list.Clear(key, h)
			m.List = nil
		}
	case 3, 4:
		s.scoped.Append(key, h, []byte(scope), n)
		m.Scoped[scope] = append(m.Scoped[scope], n)
	case 5:
		s.scoped.Move(key, h, []byte("0"), []byte("1"))
		if len(m.Scoped["0"]) > 0 {
			m.Scoped["1"] = append(m.Scoped["1"], m.Scoped["0"]...)
			delete(m.Scoped, "0")
		}
	case 6, 7, 8, 9:
		s.table.Set(key, h, user, n)
		m.Map[user] = n
	case 10, 11:
		_, there := m.Map[user]
		if s.table.Remove(key, h, user) != there {
			k.t.Fatalf("removing %v[%q]: want %v", key, user, there)
		}
		delete(m.Map, user)
	case 12:
		k.mapInBulk(key, s, h, m)
	case 13:
		m.Sum += n
		if got := s.sum.Add(key, h, n); got != m.Sum {
			k.t.Fatalf("sum of %v: %d, want %d", key, got, m.Sum)
		}
	case 14:
		if len(m.Text) < 400 {
			m.Text += "z"
			s.text.Add(key, h, "z")
		}
	case 15:
		m.Value[scope] += n
		s.value.Update(key, h, []byte(scope), func(old int64, _ bool) int64 { return old + n })
	case 16:
		_, there := m.Value[scope]
		if s.value.Clear(key, h, []byte(scope)) != there {
			k.t.Fatalf("clearing %v/%s: want %v", key, scope, there)
		}
		delete(m.Value, scope)
	case 17, 18:
		id := fmt.Sprint(n, "/", scope)
		if s.timers.Register(key, h, n, []byte(scope)) == m.Timers[id] {
			k.t.Fatalf("registering timer %s of %v: it was there: %v", id, key, m.Timers[id])
		}
		m.Timers[id] = true
	case 19:
		id := fmt.Sprint(n, "/", scope)
		if s.timers.Delete(key, h, n, []byte(scope)) != m.Timers[id] {
			k.t.Fatalf("deleting timer %s of %v: it was there: %v", id, key, m.Timers[id])
		}
		delete(m.Timers, id)
	}
}

// mapInBulk clears a map, or removes some entries during an iteration.
func (k *kindsModel[K]) mapInBulk(key K, s *kinds[K], h uint64, m *modelKey) {
	if k.r.IntN(4) == 0 {
		s.table.Clear(key, h)
		clear(m.Map)
		return
	}
	seen := 0
	for user, n := range s.table.All(key, h) {
		seen++
		if m.Map[user] != n {
			k.t.Fatalf("map of %v yields %q: %d, want %d", key, user, n, m.Map[user])
		}
		if n%2 == 0 {
			s.table.Remove(key, h, user)
			defer delete(m.Map, user)
		}
	}
	if seen != len(m.Map) {
		k.t.Fatalf("map of %v yields %d entries, want %d", key, seen, len(m.Map))
	}
}

// fire pops the timers up to a time from every subtask, and looks that they come in order, all of them, once.
func (k *kindsModel[K]) fire(upTo int64) {
	k.t.Helper()
	for _, s := range k.tasks {
		last := int64(-1)
		for {
			if at, ok := s.timers.Next(); ok && at < last {
				k.t.Fatalf("next timer is at %d after one at %d", at, last)
			}
			timer, ok := s.timers.Pop(upTo)
			if !ok {
				break
			}
			id := fmt.Sprint(timer.At, "/", string(timer.Scope))
			_, h, m := k.of(timer.Key)
			if !m.Timers[id] || timer.At < last || timer.Hash != h {
				k.t.Fatalf("timer %s of %v fires after one at %d; registered: %v", id, timer.Key, last, m.Timers[id])
			}
			delete(m.Timers, id)
			last = timer.At
		}
	}
	for key, m := range k.model {
		for id := range m.Timers {
			at := int64(0)
			if _, err := fmt.Sscanf(id, "%d/", &at); err != nil || at <= upTo {
				k.t.Fatalf("timer %s of %v did not fire up to %d", id, key, upTo)
			}
		}
	}
}

// compare compares everything.
func (k *kindsModel[K]) compare() {
	k.t.Helper()
	timers := 0
	for key := range k.model {
		s, h, want := k.of(key)
		got := &modelKey{
			List: slices.Collect(s.list.All(key, h)), Map: maps.Collect(s.table.All(key, h)),
			Scoped: map[string][]int64{}, Value: map[string]int64{}, Timers: want.Timers,
		}
		for _, scope := range []string{"0", "1", "2"} {
			if vs := slices.Collect(s.scoped.All(key, h, []byte(scope))); vs != nil {
				got.Scoped[scope] = vs
			}
			if v, ok := s.value.Get(key, h, []byte(scope)); ok {
				got.Value[scope] = v
			}
		}
		got.Sum, _ = s.sum.Get(key, h)
		got.Text, _ = s.text.Get(key, h)
		if diff := gocmp.Diff(want, got); diff != "" {
			k.t.Fatalf("state of %v (-want +got):\n%s", key, diff)
		}
		if s.list.Len(key, h) != len(want.List) || s.table.Len(key, h) != len(want.Map) {
			k.t.Fatalf("state of %v: list of %d, map of %d, want %d and %d", key, s.list.Len(key, h), s.table.Len(key, h), len(want.List), len(want.Map))
		}
		timers += len(want.Timers)
	}
	for _, s := range k.tasks {
		timers -= s.timers.Len()
		if err := s.m.Err(); err != nil {
			k.t.Fatal(err)
		}
	}
	if timers != 0 {
		k.t.Fatalf("%d timers are missing", timers)
	}
}

func runKinds[K cmp.Ordered](t *testing.T, seed uint64, random func(r *rand.Rand) K) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 3))
	k := &kindsModel[K]{t: t, r: r, max: []int{1, 7, 16, 128, 1000}[r.IntN(5)], model: map[K]*modelKey{}, random: random}
	k.part, k.incremental, k.store = []int{0, 3000}[r.IntN(2)], seed%2 == 1, &sharedStore{}
	var err error
	if k.hash, err = KeysOf[K](nil); err != nil {
		t.Fatal(err)
	}
	k.rescale(1)
	var open []*Snapshot
	for range 8 {
		for range 1500 {
			k.step()
			if r.IntN(300) == 0 { // snapshots that are being written have to be worked around
				open = append(open, k.tasks[r.IntN(len(k.tasks))].m.Seal())
			}
			if r.IntN(400) == 0 {
				k.save()
			}
			if len(open) > 2 {
				open[0].Release()
				open = open[1:]
			}
		}
		k.fire(r.Int64N(1200) - 200)
		k.compare()
		k.rescale(1 + r.IntN(min(k.max, 16)))
		k.compare()
	}
	if k.incremental != (k.reused > 0) {
		t.Errorf("incremental: %v, but %d files were reused", k.incremental, k.reused)
	}
}

// TestKinds_Model runs random operations on states of every kind, with snapshots and restores at other parallelisms in between.
func TestKinds_Model(t *testing.T) {
	t.Parallel()
	for seed := range *seeds {
		t.Run(fmt.Sprintf("int/seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			runKinds(t, seed, func(r *rand.Rand) int64 { return r.Int64N(40) - 5 })
		})
		t.Run(fmt.Sprintf("string/seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			runKinds(t, seed, func(r *rand.Rand) string { return strings.Repeat("k", r.IntN(6)) + fmt.Sprint(r.IntN(10)) })
		})
	}
}

func TestKinds_OtherSchemaIsRefused(t *testing.T) {
	t.Parallel()
	ints := func() *Keys[int64] {
		k, err := KeysOf[int64](nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	texts, err := KeysOf[string](nil)
	if err != nil {
		t.Fatal(err)
	}
	add := func(a, b int64) int64 { return a + b }
	tests := map[string]struct {
		open func(m *Memory) error
		what string
	}{
		"list as map": {func(m *Memory) error {
			_, err := OpenMap[int64, string, int64](m, "list", ints(), texts, nil)
			return err
		}, "kind list in the snapshot but map in the job"},
		"elements": {func(m *Memory) error { _, err := OpenList[int64, int32](m, "list", ints(), nil); return err }, "list of int64"},
		"user key": {func(m *Memory) error {
			_, err := OpenMap[int64, int64, int64](m, "map", ints(), ints(), nil)
			return err
		}, "map[string]int64"},
		"value as reducing":       {func(m *Memory) error { _, err := OpenReducing(m, "value", ints(), nil, add); return err }, "kind value in the snapshot but reducing"},
		"reducing as aggregating": {func(m *Memory) error { _, err := OpenAggregating(m, "sum", ints(), nil, add); return err }, "aggregating"},
		"timers of another key":   {func(m *Memory) error { _, err := OpenTimers(m, "timers", texts); return err }, "key type"},
	}
	m := mustMemory(t, Options{MaxParallelism: 8, Last: 7})
	_, err1 := OpenList[int64, int64](m, "list", ints(), nil)
	_, err2 := OpenMap[int64, string, int64](m, "map", ints(), texts, nil)
	v, err3 := OpenValue[int64, int64](m, "value", ints(), nil)
	_, err4 := OpenReducing(m, "sum", ints(), nil, add)
	_, err5 := OpenTimers(m, "timers", ints())
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	v.Set(1, v.Keys().Hash(1), 1)
	store := &fileStore{}
	files, err := m.Seal().Write(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := mustMemory(t, Options{MaxParallelism: 8, Last: 7})
			if err := m.Restore(t.Context(), files, store); err != nil {
				t.Fatal(err)
			}
			err := tc.open(m)
			if _, ok := errors.AsType[*SchemaError](err); !ok || !strings.Contains(err.Error(), tc.what) {
				t.Errorf("got %v, want a schema error with %q", err, tc.what)
			}
		})
	}
}

func TestTimers_DeletedOnesDontPileUp(t *testing.T) {
	t.Parallel()
	keys, err := KeysOf[int64](nil)
	if err != nil {
		t.Fatal(err)
	}
	m := mustMemory(t, Options{MaxParallelism: 8, Last: 7})
	s, err := OpenTimers(m, "timers", keys)
	if err != nil {
		t.Fatal(err)
	}
	h := keys.Hash(1)
	for i := range int64(1_000_000) { // a session that every row extends
		s.Register(1, h, i, nil)
		if i > 0 {
			s.Delete(1, h, i-1, nil)
		}
	}
	if len(s.heap) > staleTimers+3 || m.MemoryBytes() > 1<<20 {
		t.Errorf("%d entries and %d bytes for %d timer", len(s.heap), m.MemoryBytes(), s.Len())
	}
	if timer, ok := s.Pop(1 << 40); !ok || timer.At != 999_999 {
		t.Errorf("got %v %v, want the last timer", timer, ok)
	}
	if _, ok := s.Pop(1 << 40); ok {
		t.Error("a deleted timer fires")
	}
}

func TestPairHash_LiesInTheGroupOfTheOwner(t *testing.T) {
	t.Parallel()
	for _, groups := range []int{1, 2, 3, 7, 128, 1000, 32767, 32768} {
		m := mustMemory(t, Options{MaxParallelism: groups, Last: groups - 1})
		tab := mustTable(t, m, Descriptor{Name: "t", Keys: PairKeys})
		high := 0
		for i := range 2000 {
			owner := HashInt64(int64(i) / 10)
			h := tab.pairHash(owner, fmt.Append(nil, "pair", i))
			if h%uint64(groups) != owner%uint64(groups) {
				t.Fatalf("%d groups: pair hash %x of owner %x", groups, h, owner)
			}
			high += int(h >> 63)
		}
		if high < 900 || high > 1100 {
			t.Errorf("%d groups: the uppermost bit is set %d times of 2000", groups, high)
		}
	}
}
