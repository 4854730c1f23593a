// SPDX-License-Identifier: Apache-2.0

package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/storage"
)

const (
	racers     = 8
	raceRounds = 10
	largeSize  = 8 << 20
	manyKeys   = 1100 // more than a page of a listing
)

// Run runs the conformance suite. open gives an empty store for each test, or one that others have written to below other prefixes:
// each test uses a prefix of its own.
func Run(t *testing.T, open func(*testing.T) storage.Store) {
	t.Helper()
	tests := map[string]func(*testing.T, storage.Store){
		"put and get":           putAndGet,
		"put twice":             putTwice,
		"missing":               missing,
		"ranges":                ranges,
		"swap":                  swap,
		"swap and put":          swapAndPut,
		"many swaps":            manySwaps,
		"delete":                deleteKeys,
		"delete and swap":       deleteAndSwap,
		"list":                  list,
		"list order":            listOrder,
		"list stops":            listStops,
		"list many":             listMany,
		"promote":               promote,
		"promote again":         promoteAgain,
		"promote over":          promoteOver,
		"racing creates":        racingCreates,
		"racing swaps":          racingSwaps,
		"racing increments":     racingIncrements,
		"racing promotes":       racingPromotes,
		"racing deletes":        racingDeletes,
		"bad keys":              badKeys,
		"odd keys":              oddKeys,
		"large object":          largeObject,
		"empty object":          emptyObject,
		"slices are not shared": slicesAreNotShared,
		"canceled":              canceled,
		"probe":                 probe,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			store := open(t)
			test(t, store)
			if err := store.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %q", what, err, want)
	}
	if _, ok := errors.AsType[*storage.Error](err); !ok {
		t.Errorf("%s = %T, want a *storage.Error", what, err)
	}
}

func wantData(t *testing.T, s storage.Store, key, want string) {
	t.Helper()
	data, version, err := s.Get(t.Context(), key)
	must(t, err)
	if string(data) != want {
		t.Errorf("Get(%s) = %.40q, want %.40q", key, data, want)
	}
	if version == "" {
		t.Errorf("Get(%s) gives no version", key)
	}
}

func keysBelow(t *testing.T, s storage.Store, prefix string) []string {
	t.Helper()
	var keys []string
	must(t, s.List(t.Context(), prefix, func(o storage.Object) error {
		keys = append(keys, o.Key)
		return nil
	}))
	return keys
}

func putAndGet(t *testing.T, s storage.Store) {
	must(t, s.PutIfAbsent(t.Context(), "put-and-get/a/b/c", []byte("hello")))
	wantData(t, s, "put-and-get/a/b/c", "hello")
}

func putTwice(t *testing.T, s storage.Store) {
	must(t, s.PutIfAbsent(t.Context(), "put-twice/x", []byte("first")))
	wantErr(t, "PutIfAbsent of other bytes", s.PutIfAbsent(t.Context(), "put-twice/x", []byte("second")), storage.ErrExists)
	wantErr(t, "PutIfAbsent of the same bytes", s.PutIfAbsent(t.Context(), "put-twice/x", []byte("first")), storage.ErrExists)
	wantData(t, s, "put-twice/x", "first")
}

func missing(t *testing.T, s storage.Store) {
	must(t, s.PutIfAbsent(t.Context(), "missing/there", []byte("x")))
	for _, key := range []string{"missing/not", "missing", "missing/there/below", "missing-more/not/at/all"} {
		_, _, err := s.Get(t.Context(), key)
		wantErr(t, "Get "+key, err, storage.ErrNotFound)
		_, err = s.GetRange(t.Context(), key, 0, 1)
		wantErr(t, "GetRange "+key, err, storage.ErrNotFound)
		_, err = s.GetRange(t.Context(), key, 3, 0)
		wantErr(t, "GetRange of nothing "+key, err, storage.ErrNotFound)
	}
	_, err := s.Swap(t.Context(), "missing/swap", []byte("x"), "1")
	wantErr(t, "Swap of a missing object", err, storage.ErrPrecondition)
	wantErr(t, "Promote of a missing object", s.Promote(t.Context(), "missing/p", "missing/q"), storage.ErrNotFound)
}

func ranges(t *testing.T, s storage.Store) {
	const key, content = "ranges/x", "0123456789"
	must(t, s.PutIfAbsent(t.Context(), key, []byte(content)))
	tests := map[string]struct {
		off, length int64
		want        string
	}{
		"all":             {0, -1, content},
		"from the middle": {4, -1, "456789"},
		"within":          {2, 3, "234"},
		"first":           {0, 1, "0"},
		"last":            {9, 1, "9"},
		"over the end":    {8, 100, "89"},
		"nothing":         {3, 0, ""},
		"at the end":      {10, -1, ""},
		"behind the end":  {11, 5, ""},
		"far behind":      {1 << 40, -1, ""},
	}
	for name, tc := range tests {
		got, err := s.GetRange(t.Context(), key, tc.off, tc.length)
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: GetRange(%d, %d) = %q, %v, want %q", name, tc.off, tc.length, got, err, tc.want)
		}
		into, ok := s.(storage.BufferReader)
		if !ok || tc.length < 0 {
			continue
		}
		for _, room := range []int64{0, 1, tc.length, 200} {
			got, err := into.GetRangeInto(t.Context(), key, tc.off, tc.length, bytes.Repeat([]byte("x"), int(room)))
			if err != nil || string(got) != tc.want {
				t.Errorf("%s: GetRangeInto(%d, %d) with room for %d = %q, %v, want %q", name, tc.off, tc.length, room, got, err, tc.want)
			}
		}
	}
	if _, err := s.GetRange(t.Context(), key, -1, 2); err == nil {
		t.Error("GetRange of a negative offset succeeds")
	}
}

func swap(t *testing.T, s storage.Store) {
	const key = "swap/head.json"
	v1, err := s.Swap(t.Context(), key, []byte("one"), "")
	must(t, err)
	wantData(t, s, key, "one")
	_, err = s.Swap(t.Context(), key, []byte("other"), "")
	wantErr(t, "Swap of an object that is there", err, storage.ErrPrecondition)
	v2, err := s.Swap(t.Context(), key, []byte("two"), v1)
	must(t, err)
	if v2 == v1 || v2 == "" {
		t.Errorf("the version is %q after %q", v2, v1)
	}
	_, err = s.Swap(t.Context(), key, []byte("three"), v1)
	wantErr(t, "Swap of an old version", err, storage.ErrPrecondition)
	_, err = s.Swap(t.Context(), key, []byte("three"), "no such version")
	wantErr(t, "Swap of a made-up version", err, storage.ErrPrecondition)
	data, version, err := s.Get(t.Context(), key)
	must(t, err)
	if string(data) != "two" || version != v2 {
		t.Errorf("Get = %q, %q, want %q, %q", data, version, "two", v2)
	}
	got, err := s.GetRange(t.Context(), key, 1, -1)
	must(t, err)
	if string(got) != "wo" {
		t.Errorf("GetRange = %q", got)
	}
}

func swapAndPut(t *testing.T, s storage.Store) {
	must(t, s.PutIfAbsent(t.Context(), "swap-and-put/put", []byte("1")))
	_, err := s.Swap(t.Context(), "swap-and-put/put", []byte("2"), "")
	wantErr(t, "Swap of a key that was put", err, storage.ErrPrecondition)
	_, err = s.Swap(t.Context(), "swap-and-put/swap", []byte("1"), "")
	must(t, err)
	wantErr(t, "PutIfAbsent of a key that was swapped", s.PutIfAbsent(t.Context(), "swap-and-put/swap", []byte("2")), storage.ErrExists)
	wantData(t, s, "swap-and-put/put", "1")
	wantData(t, s, "swap-and-put/swap", "1")
}

func manySwaps(t *testing.T, s storage.Store) {
	const key = "many-swaps/dir/head"
	version := ""
	for i := range 60 {
		next, err := s.Swap(t.Context(), key, fmt.Appendf(nil, "%d", i), version)
		must(t, err)
		version = next
	}
	wantData(t, s, key, "59")
	if diff := cmp.Diff([]string{key}, keysBelow(t, s, "many-swaps/")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if got := keysBelow(t, s, key+"/"); len(got) != 0 {
		t.Errorf("keys below the swapped one: %q", got)
	}
}

func deleteKeys(t *testing.T, s storage.Store) {
	var keys []string
	for i := range 5 {
		keys = append(keys, fmt.Sprintf("delete/d%d/x", i))
		must(t, s.PutIfAbsent(t.Context(), keys[i], []byte("x")))
	}
	must(t, s.Delete(t.Context()))
	must(t, s.Delete(t.Context(), keys[0]))
	must(t, s.Delete(t.Context(), keys[0]))
	must(t, s.Delete(t.Context(), keys[0], keys[1], "delete/never", keys[2]))
	if diff := cmp.Diff(keys[3:], keysBelow(t, s, "delete/")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	must(t, s.Delete(t.Context(), "delete", "delete/d3")) // parts of keys are no objects
	wantData(t, s, keys[3], "x")
	must(t, s.PutIfAbsent(t.Context(), keys[0], []byte("again")))
	wantData(t, s, keys[0], "again")
}

func deleteAndSwap(t *testing.T, s storage.Store) {
	const key = "delete-and-swap/head"
	version, err := s.Swap(t.Context(), key, []byte("1"), "")
	must(t, err)
	version, err = s.Swap(t.Context(), key, []byte("2"), version)
	must(t, err)
	must(t, s.Delete(t.Context(), key))
	_, _, err = s.Get(t.Context(), key)
	wantErr(t, "Get after Delete", err, storage.ErrNotFound)
	_, err = s.Swap(t.Context(), key, []byte("3"), version)
	wantErr(t, "Swap after Delete", err, storage.ErrPrecondition)
	_, err = s.Swap(t.Context(), key, []byte("4"), "")
	must(t, err)
	wantData(t, s, key, "4")
}

func list(t *testing.T, s storage.Store) {
	for _, name := range []string{"a", "chk-1/_metadata", "chk-1/f", "chk-10/f", "chk-2/f", "z/y/x"} {
		must(t, s.PutIfAbsent(t.Context(), "list/"+name, []byte(name)))
	}
	_, err := s.Swap(t.Context(), "list/head.json", []byte("head"), "")
	must(t, err)
	tests := map[string][]string{
		"list/":             {"list/a", "list/chk-1/_metadata", "list/chk-1/f", "list/chk-10/f", "list/chk-2/f", "list/head.json", "list/z/y/x"},
		"list/chk-1":        {"list/chk-1/_metadata", "list/chk-1/f", "list/chk-10/f"},
		"list/chk-1/":       {"list/chk-1/_metadata", "list/chk-1/f"},
		"list/chk-1/_meta":  {"list/chk-1/_metadata"},
		"list/head.json":    {"list/head.json"},
		"list/he":           {"list/head.json"},
		"list/nothing":      nil,
		"list/a/":           nil,
		"list/nothing/x/y/": nil,
	}
	for prefix, want := range tests {
		if diff := cmp.Diff(want, keysBelow(t, s, prefix)); diff != "" {
			t.Errorf("List(%q) (-want +got):\n%s", prefix, diff)
		}
	}
	all := keysBelow(t, s, "")
	if !slices.Contains(all, "list/a") {
		t.Errorf("List of everything has no list/a: %q", all)
	}
	must(t, s.List(t.Context(), "list/head.json", func(o storage.Object) error {
		if o.Size != 4 {
			t.Errorf("the size of head.json is %d", o.Size)
		}
		return nil
	}))
}

func listOrder(t *testing.T, s storage.Store) {
	names := []string{"a/b", "a-b", "a.b", "a0", "B", "a/b-c", "ab/c", "a/é", "a/z", "_x", "~", "a!"}
	want := make([]string, 0, len(names))
	for _, name := range names {
		want = append(want, "list-order/"+name)
		must(t, s.PutIfAbsent(t.Context(), "list-order/"+name, nil))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, keysBelow(t, s, "list-order/")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func listStops(t *testing.T, s storage.Store) {
	for i := range 3 {
		must(t, s.PutIfAbsent(t.Context(), fmt.Sprintf("list-stops/%d/x", i), nil))
	}
	stop, calls := errors.New("stop"), 0
	err := s.List(t.Context(), "list-stops/", func(o storage.Object) error {
		if calls++; calls == 2 {
			return stop
		}
		return s.Delete(t.Context(), o.Key)
	})
	if err != stop || calls != 2 { //nolint:errorlint // the very same error is promised
		t.Errorf("List = %v after %d calls, want %v after 2", err, calls, stop)
	}
	if got := keysBelow(t, s, "list-stops/"); len(got) != 2 {
		t.Errorf("keys: %q", got)
	}
}

func listMany(t *testing.T, s storage.Store) {
	want := make([]string, manyKeys)
	for i := range want {
		want[i] = fmt.Sprintf("list-many/%d/%04d", i/100%3, i)
	}
	parallel(racers, func(racer int) {
		for i := racer; i < len(want); i += racers {
			if err := s.PutIfAbsent(t.Context(), want[i], []byte("x")); err != nil {
				t.Error(err)
				return
			}
		}
	})
	sorted := slices.Sorted(slices.Values(want))
	if diff := cmp.Diff(sorted, keysBelow(t, s, "list-many/")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	must(t, s.Delete(t.Context(), want...))
	if got := keysBelow(t, s, "list-many/"); len(got) != 0 {
		t.Errorf("%d keys are left", len(got))
	}
}

func promote(t *testing.T, s storage.Store) {
	const src, dst = "promote/staged/part-1", "promote/final/part-1"
	must(t, s.PutIfAbsent(t.Context(), src, []byte("rows")))
	must(t, s.Promote(t.Context(), src, dst))
	wantData(t, s, dst, "rows")
	if diff := cmp.Diff([]string{dst}, keysBelow(t, s, "promote/")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func promoteAgain(t *testing.T, s storage.Store) {
	const src, dst = "promote-again/staged", "promote-again/final"
	must(t, s.PutIfAbsent(t.Context(), src, []byte("rows")))
	must(t, s.Promote(t.Context(), src, dst))
	must(t, s.Promote(t.Context(), src, dst))
	// The copy was made, and the process died before the source was gone.
	must(t, s.PutIfAbsent(t.Context(), src, []byte("rows")))
	must(t, s.Promote(t.Context(), src, dst))
	if diff := cmp.Diff([]string{dst}, keysBelow(t, s, "promote-again/")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	wantData(t, s, dst, "rows")
	must(t, s.Promote(t.Context(), dst, dst))
	wantData(t, s, dst, "rows")
}

func promoteOver(t *testing.T, s storage.Store) {
	for name, content := range map[string]string{"same-size": "ROWS", "other-size": "more rows"} {
		src, dst := "promote-over/"+name+"/src", "promote-over/"+name+"/dst"
		must(t, s.PutIfAbsent(t.Context(), src, []byte("rows")))
		must(t, s.PutIfAbsent(t.Context(), dst, []byte(content)))
		wantErr(t, "Promote over another object", s.Promote(t.Context(), src, dst), storage.ErrExists)
		wantData(t, s, dst, content)
		wantData(t, s, src, "rows")
	}
}

// parallel runs f for 0..n-1 at the same time and waits.
func parallel(n int, f func(i int)) {
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		group.Go(func() { <-start; f(i) })
	}
	close(start)
	group.Wait()
}

// winner returns which of the errors is nil, and fails the test unless it is exactly one and all others are want.
func winner(t *testing.T, errs []error, want error) int {
	t.Helper()
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won >= 0:
			t.Fatalf("writers %d and %d both won", won, i)
		case err == nil:
			won = i
		case !errors.Is(err, want):
			t.Fatalf("writer %d: %v, want %q", i, err, want)
		}
	}
	if won < 0 {
		t.Fatalf("nobody won: %v", errs)
	}
	return won
}

func racingCreates(t *testing.T, s storage.Store) {
	for round := range raceRounds {
		key, errs := fmt.Sprintf("racing-creates/%d/x", round), make([]error, racers)
		parallel(racers, func(i int) { errs[i] = s.PutIfAbsent(t.Context(), key, fmt.Appendf(nil, "writer %d", i)) })
		wantData(t, s, key, fmt.Sprintf("writer %d", winner(t, errs, storage.ErrExists)))
	}
}

func racingSwaps(t *testing.T, s storage.Store) {
	const key = "racing-swaps/head"
	version := ""
	for round := range raceRounds {
		errs, versions := make([]error, racers), make([]string, racers)
		parallel(racers, func(i int) {
			versions[i], errs[i] = s.Swap(t.Context(), key, fmt.Appendf(nil, "round %d writer %d", round, i), version)
		})
		won := winner(t, errs, storage.ErrPrecondition)
		wantData(t, s, key, fmt.Sprintf("round %d writer %d", round, won))
		version = versions[won]
	}
}

// racingIncrements counts up from many sides: a swap that was refused and happened, or succeeded and was lost, shows in the sum.
func racingIncrements(t *testing.T, s storage.Store) {
	const key, each = "racing-increments/counter", 8
	_, err := s.Swap(t.Context(), key, []byte("0"), "")
	must(t, err)
	parallel(racers/2, func(int) {
		for done := 0; done < each; {
			data, version, err := s.Get(t.Context(), key)
			if err != nil {
				t.Error(err)
				return
			}
			var n int
			if _, err := fmt.Sscan(string(data), &n); err != nil {
				t.Errorf("reading %q: %v", data, err)
				return
			}
			switch _, err := s.Swap(t.Context(), key, fmt.Appendf(nil, "%d", n+1), version); {
			case err == nil:
				done++
			case !errors.Is(err, storage.ErrPrecondition):
				t.Error(err)
				return
			}
		}
	})
	wantData(t, s, key, fmt.Sprint(racers/2*each))
}

func racingPromotes(t *testing.T, s storage.Store) {
	for round := range raceRounds / 2 {
		src, dst := fmt.Sprintf("racing-promotes/%d/src", round), fmt.Sprintf("racing-promotes/%d/to/dst", round)
		must(t, s.PutIfAbsent(t.Context(), src, []byte("rows")))
		parallel(racers/2, func(i int) {
			if err := s.Promote(t.Context(), src, dst); err != nil {
				t.Errorf("round %d, %d: %v", round, i, err)
			}
		})
		wantData(t, s, dst, "rows")
	}
}

// racingDeletes creates objects beside deletions that empty their directory.
func racingDeletes(t *testing.T, s storage.Store) {
	parallel(racers, func(i int) {
		for n := range raceRounds {
			key := fmt.Sprintf("racing-deletes/dir/%d-%d", i, n)
			if err := s.PutIfAbsent(t.Context(), key, []byte("x")); err != nil {
				t.Error(err)
			}
			if _, _, err := s.Get(t.Context(), key); err != nil {
				t.Error(err)
			}
			if err := s.Delete(t.Context(), key); err != nil {
				t.Error(err)
			}
		}
	})
	if got := keysBelow(t, s, "racing-deletes/"); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

func badKeys(t *testing.T, s storage.Store) {
	const good = "bad-keys/good"
	must(t, s.PutIfAbsent(t.Context(), good, []byte("x")))
	for _, key := range []string{
		"", "/", "/etc/passwd", "..", "../x", "bad-keys/../x", "bad-keys/..", "a/./b", ".", "a//b", "a/", "a\x00b", `a\b`, `..\x`,
		"a\nb", "a\xffb", strings.Repeat("k", 1025),
	} {
		_, _, getErr := s.Get(t.Context(), key)
		_, rangeErr := s.GetRange(t.Context(), key, 0, 1)
		_, swapErr := s.Swap(t.Context(), key, []byte("x"), "")
		for op, err := range map[string]error{
			"Get": getErr, "GetRange": rangeErr, "Swap": swapErr,
			"PutIfAbsent":  s.PutIfAbsent(t.Context(), key, []byte("x")),
			"Delete":       s.Delete(t.Context(), key),
			"Promote from": s.Promote(t.Context(), key, "bad-keys/dst"),
			"Promote to":   s.Promote(t.Context(), good, key),
		} {
			if e, ok := errors.AsType[*storage.Error](err); !ok || e.Remedy == "" || storage.Retriable(err) {
				t.Errorf("%s(%.20q) = %v, want a final error with a remedy", op, key, err)
			}
		}
	}
	for _, prefix := range []string{"/", "..", "../", "a/../b", "a//b", "a\x00"} {
		called := false
		err := s.List(t.Context(), prefix, func(storage.Object) error { called = true; return nil })
		if called || err == nil && prefix != ".." {
			t.Errorf("List(%q) = %v, called: %v", prefix, err, called)
		}
	}
}

func oddKeys(t *testing.T, s storage.Store) {
	for _, name := range []string{"with space", "plus+and&amp;", "per%20cent", "ünï/cödé", "..data", "a...", "q?x=1#y", "(b)*'!", "=,;:@$"} {
		key := "odd-keys/" + name
		must(t, s.PutIfAbsent(t.Context(), key, []byte(name)))
		wantData(t, s, key, name)
		must(t, s.Promote(t.Context(), key, key+"-final"))
		if diff := cmp.Diff([]string{key + "-final"}, keysBelow(t, s, key)); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
		must(t, s.Delete(t.Context(), key+"-final", key))
	}
	if got := keysBelow(t, s, "odd-keys/"); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

func largeObject(t *testing.T, s storage.Store) {
	random := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, largeSize)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	must(t, s.PutIfAbsent(t.Context(), "large/src", data))
	must(t, s.Promote(t.Context(), "large/src", "large/object"))
	got, _, err := s.Get(t.Context(), "large/object")
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Error("the bytes differ")
	}
	part, err := s.GetRange(t.Context(), "large/object", 5_000_000, 100_000)
	must(t, err)
	if !bytes.Equal(part, data[5_000_000:5_100_000]) {
		t.Error("the bytes of a range differ")
	}
	must(t, s.Delete(t.Context(), "large/object"))
}

func emptyObject(t *testing.T, s storage.Store) {
	must(t, s.PutIfAbsent(t.Context(), "empty/x", nil))
	wantData(t, s, "empty/x", "")
	if got, err := s.GetRange(t.Context(), "empty/x", 0, -1); err != nil || len(got) != 0 {
		t.Errorf("GetRange = %q, %v", got, err)
	}
	wantErr(t, "PutIfAbsent", s.PutIfAbsent(t.Context(), "empty/x", nil), storage.ErrExists)
	must(t, s.Promote(t.Context(), "empty/x", "empty/y"))
	wantData(t, s, "empty/y", "")
}

func slicesAreNotShared(t *testing.T, s storage.Store) {
	data := []byte("before")
	must(t, s.PutIfAbsent(t.Context(), "shared/x", data))
	copy(data, "after!")
	got, _, err := s.Get(t.Context(), "shared/x")
	must(t, err)
	if len(got) > 0 {
		got[0] = 'X'
	}
	wantData(t, s, "shared/x", "before")
}

func probe(t *testing.T, s storage.Store) {
	before := keysBelow(t, s, "")
	must(t, storage.Probe(t.Context(), s))
	if diff := cmp.Diff(before, keysBelow(t, s, "")); diff != "" {
		t.Errorf("what the probe left (-before +after):\n%s", diff)
	}
}
