// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-stream/weir/internal/fuzztest"
	"github.com/weir-stream/weir/runtime/record"
)

type inner struct {
	N int32
	S string
}

type mixed struct {
	ID    int64
	Name  string
	Raw   []byte
	Ok    bool
	F     float64
	In    inner
	Three [3]uint16
}

type plain struct {
	Key int64
	Seq int64
}

func values() []mixed {
	return []mixed{
		{},
		{ID: -1, Name: "ä", Raw: []byte{0, 255}, Ok: true, F: math.Inf(-1), In: inner{7, "x"}, Three: [3]uint16{1, 2, 3}},
		{ID: math.MinInt64, Name: strings.Repeat("long", 1000), Raw: []byte{}},
	}
}

// same encodes and decodes a batch and compares.
func same[T any](t *testing.T, vs []T, hashes []uint64) {
	t.Helper()
	c, err := record.CoderOf[T]()
	if err != nil {
		t.Fatal(err)
	}
	typ := record.NewRowType(c)
	b := typ.Get()
	b.Values = append(b.Values, vs...)
	b.Keys = append(b.Keys, hashes...)
	enc, err := typ.AppendBatch([]byte("before"), b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := typ.DecodeBatch(enc[len("before"):])
	if err != nil {
		t.Fatal(err)
	}
	rows := got.(*record.Rows[T])
	if diff := cmp.Diff(vs, rows.Values, cmp.Comparer(func(a, b []byte) bool { return string(a) == string(b) })); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(hashes, rows.Hashes()); diff != "" {
		t.Errorf("hashes (-want +got):\n%s", diff)
	}
	for n := range len(enc) - len("before") {
		if cut, err := typ.DecodeBatch(enc[len("before") : len("before")+n]); err == nil && cut.Len() != 0 {
			t.Fatalf("cut after %d bytes: no error", n)
		}
	}
	if _, err := typ.DecodeBatch(append(enc[len("before"):], 0)); err == nil {
		t.Error("a byte too many: no error")
	}
}

func TestRowType_RoundTrip(t *testing.T) {
	t.Parallel()
	same(t, []int64{1, -2, math.MaxInt64}, []uint64{3, 2, 1})
	same(t, []int64{1, -2}, nil)
	same(t, []string{"", "a", "日本"}, []uint64{1, 2, 3})
	same(t, []plain{{1, 2}, {3, 4}}, []uint64{9, 8})
	same(t, []float64{0, math.MaxFloat64}, nil)
	same(t, []bool{true, false}, nil)
	same(t, values(), nil)
}

func TestCoderOf_Names(t *testing.T) {
	t.Parallel()
	if got, want := record.MustCoderOf[plain]().Name(), "struct{Key int64; Seq int64}"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := record.MustCoderOf[inner]().Name(), "struct{N int32; S string}"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCoderOf_Refuses(t *testing.T) {
	t.Parallel()
	if _, err := record.CoderOf[map[string]int](); err == nil {
		t.Error("a map has a coder")
	}
	if _, err := record.CoderOf[struct{ P *int }](); err == nil || !strings.Contains(err.Error(), "field P") {
		t.Errorf("got %v, want an error that names the field", err)
	}
}

func TestSplitter_Scatter(t *testing.T) {
	t.Parallel()
	typ := record.NewRowType(record.MustCoderOf[string]())
	s := typ.NewSplitter(3)
	b := typ.Get()
	b.Values = append(b.Values, "a", "b", "c", "d")
	s.Scatter(b, []uint64{10, 11, 12, 13}, []uint16{2, 0, 2, 2})
	s.Scatter(b, []uint64{10, 11, 12, 13}, []uint16{0, 0, 2, 2})
	got := map[int][]string{}
	for d := range 3 {
		o := s.Take(d)
		if o == nil {
			continue
		}
		r := o.(*record.Rows[string])
		for i, h := range r.Keys {
			if want := map[string]uint64{"a": 10, "b": 11, "c": 12, "d": 13}[r.Values[i]]; h != want {
				t.Errorf("row %s has hash %d, want %d", r.Values[i], h, want)
			}
		}
		got[d] = r.Values
	}
	want := map[int][]string{0: {"b", "a", "b"}, 2: {"a", "c", "d", "c", "d"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows by destination (-want +got):\n%s", diff)
	}
	if s.Take(2) != nil || s.Len(2) != 0 {
		t.Error("rows were handed out twice")
	}
}

func TestRows_ReleaseAfterTheLastHolder(t *testing.T) {
	t.Parallel()
	typ := record.NewRowType(record.MustCoderOf[string]())
	b := typ.Get()
	b.Values = append(b.Values, "kept")
	b.Retain(2)
	b.Release()
	b.Release()
	if b.Values[0] != "kept" {
		t.Fatal("cleared while it has a holder")
	}
	b.Release()
	if b.Len() != 0 {
		t.Error("not cleared after the last holder")
	}
}

// FuzzRowType_DecodeBatch decodes batches of rows: no panic, memory in proportion to the input, and what is understood comes back the same.
func FuzzRowType_DecodeBatch(f *testing.F) {
	typ := record.NewRowType(record.MustCoderOf[mixed]())
	b := typ.Get()
	b.Values = append(b.Values, values()...)
	enc, err := typ.AppendBatch(nil, b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(enc)
	f.Add([]byte{255, 255, 63, 1})
	f.Add([]byte{255, 255, 63, 0})
	hashed := typ.Get()
	hashed.Values, hashed.Keys = append(hashed.Values, values()[0]), append(hashed.Keys, 9)
	if enc, err = typ.AppendBatch(nil, hashed); err != nil {
		f.Fatal(err)
	}
	f.Add(enc)
	bound := fuzztest.Bound{Fixed: 1 << 20, PerByte: 200}
	f.Fuzz(func(t *testing.T, src []byte) {
		var got record.Batch
		var err error
		bound.Check(t, len(src), func() { got, err = typ.DecodeBatch(src) })
		if err != nil {
			return
		}
		again, err := typ.AppendBatch(nil, got)
		if err != nil {
			t.Fatal(err)
		}
		back, err := typ.DecodeBatch(again)
		if err != nil {
			t.Fatalf("what was encoded can't be decoded: %v", err)
		}
		want, have := got.(*record.Rows[mixed]), back.(*record.Rows[mixed])
		if d := cmp.Diff(want.Values, have.Values, cmpopts.EquateNaNs()); d != "" {
			t.Errorf("rows (-decoded +decoded again):\n%s", d)
		}
		if d := cmp.Diff(want.Hashes(), have.Hashes()); d != "" {
			t.Errorf("hashes (-decoded +decoded again):\n%s", d)
		}
		got.Release()
		back.Release()
	})
}

// namedCoder is one of a program.
type namedCoder struct{ record.Coder[named] }

type named struct {
	Name string
	N    int64
}

// What a batch takes is told without an allocation for each row.
func TestMemoryOf(t *testing.T) {
	fields := record.MustCoderOf[named]()
	for name, typ := range map[string]*record.RowType[named]{
		"built-in coder": record.NewRowType(fields), "own coder": record.NewRowType[named](namedCoder{fields}),
	} {
		b := typ.Get()
		for range 1000 {
			b.Values = append(b.Values, named{Name: strings.Repeat("x", 1000)})
			b.Keys = append(b.Keys, 1)
		}
		rows, all := record.MemoryOf(b)
		if want := 1000 * (1000 + 24 + 8); rows < want || rows > want+20_000 {
			t.Errorf("%s: the rows take %d bytes, want about %d", name, rows, want)
		}
		if room := cap(b.Values)*24 + cap(b.Keys)*8 - 1000*32; all != rows+room {
			t.Errorf("%s: the batch takes %d bytes beside its rows, want %d", name, all-rows, room)
		}
		if n := testing.AllocsPerRun(10, func() { record.MemoryOf(b) }); n > 8 {
			t.Errorf("%s: %v allocations for a thousand rows", name, n)
		}
		b.Release()
	}
	ints := record.NewRowType(record.MustCoderOf[int64]()).Get()
	ints.Values = append(ints.Values, 1, 2)
	if rows, _ := record.MemoryOf(ints); rows != 16 {
		t.Errorf("two numbers take %d bytes", rows)
	}
}
