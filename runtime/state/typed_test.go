// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type sums struct {
	Count int64
	Sum   float64
	Flags [2]bool
}

type point struct{ X, Y int }

func keysOf[K any](t *testing.T, c Coder[K]) *Keys[K] {
	t.Helper()
	k, err := KeysOf(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func smallMemory(t *testing.T) *Memory {
	t.Helper()
	return mustMemory(t, Options{MaxParallelism: 8, Last: 7})
}

// roundTrip sets values, takes a snapshot, restores it and compares.
func roundTrip[K comparable, V any](t *testing.T, kc Coder[K], vc Coder[V], want map[K]V, valueType string) {
	t.Helper()
	m := smallMemory(t)
	v, err := OpenValue(m, "s", keysOf(t, kc), vc)
	if err != nil {
		t.Fatal(err)
	}
	for k, val := range want {
		v.Set(k, v.Keys().Hash(k), val)
	}
	if got := v.Table().Descriptor().ValueType; got != valueType {
		t.Errorf("value type %q, want %q", got, valueType)
	}
	store := &fileStore{}
	s := m.Seal()
	defer s.Release()
	files, err := s.Write(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	m = smallMemory(t)
	if err := m.Restore(t.Context(), files, store); err != nil {
		t.Fatal(err)
	}
	if v, err = OpenValue(m, "s", keysOf(t, kc), vc); err != nil {
		t.Fatal(err)
	}
	got := map[K]V{}
	if err := v.Range(func(k K, val V) bool { got[k] = val; return true }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for k, val := range want {
		if x, ok := v.Get(k, v.Keys().Hash(k)); !ok || !cmp.Equal(x, val) {
			t.Errorf("value of %v is %v (%v), want %v", k, x, ok, val)
		}
		if !v.Clear(k, v.Keys().Hash(k)) {
			t.Errorf("%v was not there", k)
		}
		if _, ok := v.Get(k, v.Keys().Hash(k)); ok {
			t.Errorf("%v is still there", k)
		}
	}
	if v.Len() != 0 || m.Err() != nil {
		t.Errorf("%d keys, error %v", v.Len(), m.Err())
	}
}

func TestValue_RoundTrip(t *testing.T) {
	t.Run("int64 to struct", func(t *testing.T) {
		roundTrip(t, nil, nil, map[int64]sums{0: {}, -1: {1, 2.5, [2]bool{true, false}}, emptyKey: {Count: 9}},
			"struct{Count int64; Sum float64; Flags [2]bool}")
	})
	t.Run("int8 to bool", func(t *testing.T) {
		roundTrip(t, nil, nil, map[int8]bool{-128: true, 127: false, 0: true}, "bool")
	})
	t.Run("uint32 to int", func(t *testing.T) {
		roundTrip(t, nil, nil, map[uint32]int{math.MaxUint32: 1, 0: -2}, "int64")
	})
	t.Run("uint64 to large array", func(t *testing.T) {
		roundTrip(t, nil, nil, map[uint64][100]int64{math.MaxUint64: {99: 7}}, "[100]int64")
	})
	t.Run("string to empty struct", func(t *testing.T) {
		roundTrip(t, nil, nil, map[string]struct{}{"": {}, "a": {}, strings.Repeat("long ", 20): {}}, "struct{}")
	})
	t.Run("string to string", func(t *testing.T) {
		roundTrip(t, nil, nil, map[string]string{"": "", "a": "b", "seven77": "x", "eight888": "y"}, "string")
	})
	t.Run("coded key and value", func(t *testing.T) {
		roundTrip(t, Coder[point](JSON[point]{}), Coder[map[string]int](JSON[map[string]int]{}),
			map[point]map[string]int{{1, 2}: {"a": 1}, {}: {}}, "json")
	})
}

func TestReducing_Add(t *testing.T) {
	m := smallMemory(t)
	fixed, err := OpenReducing(m, "sum", keysOf[string](t, nil), nil, func(a, b int64) int64 { return a + b })
	if err != nil {
		t.Fatal(err)
	}
	coded, err := OpenReducing(m, "join", keysOf[int16](t, nil), nil, func(a, b string) string { return a + b })
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{1, 2, 3} {
		fixed.Add("k", HashString("k"), n)
		coded.Add(-7, coded.Keys().Hash(-7), string(rune('a'+n-1)))
	}
	if got := fixed.Add("k", HashString("k"), 0); got != 6 {
		t.Errorf("sum is %d, want 6", got)
	}
	if got := coded.Add(-7, HashInt64(-7), ""); got != "abc" {
		t.Errorf("join is %q, want abc", got)
	}
}

func TestOpenValue_RefusesWhatItCannotKeep(t *testing.T) {
	m := smallMemory(t)
	if _, err := OpenValue[int64, struct{ P *int }](m, "s", keysOf[int64](t, nil), nil); err == nil ||
		!strings.Contains(err.Error(), "field P") || !strings.Contains(err.Error(), "coder") {
		t.Errorf("pointer: %v", err)
	}
	if _, err := KeysOf[float64](nil); err == nil || !strings.Contains(err.Error(), "float64") {
		t.Errorf("float key: %v", err)
	}
	if _, err := OpenValue[int64, int64](m, "n", keysOf[int64](t, nil), nil); err != nil {
		t.Fatal(err)
	}
	_, err := OpenValue[int64, float64](m, "n", keysOf[int64](t, nil), nil)
	if se, ok := errors.AsType[*SchemaError](err); !ok || se.Old != `"int64"` || se.New != `"float64"` || se.State != "n" {
		t.Errorf("other type: %v", err)
	}
}

type brokenCoder struct{ JSON[int] }

var errBroken = errors.New("broken coder")

func (brokenCoder) Append([]byte, int) ([]byte, error) { return nil, errBroken }

func TestValue_CoderErrorsAreKept(t *testing.T) {
	m := smallMemory(t)
	v, err := OpenValue(m, "s", keysOf[string](t, nil), Coder[int](brokenCoder{}))
	if err != nil {
		t.Fatal(err)
	}
	v.Set("a", HashString("a"), 1)
	if err := m.Err(); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), `"s"`) {
		t.Errorf("error of the value coder: %v", err)
	}
	m = smallMemory(t)
	w, err := OpenValue[int, int](m, "s", keysOf(t, Coder[int](brokenCoder{})), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Set(1, HashString(""), 1)
	if err := m.Err(); !errors.Is(err, errBroken) {
		t.Errorf("error of the key coder: %v", err)
	}
}
