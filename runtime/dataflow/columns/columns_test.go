// SPDX-License-Identifier: Apache-2.0

package columns

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

var testSchema = NewSchema(Field{"i", Int}, Field{"f", Float}, Field{"b", Bool}, Field{"s", String}, Field{"t", String})

func randomBatch(r *rand.Rand, n int) *Batch {
	b := testSchema.NewBatch()
	b.SetLen(n)
	for range n {
		b.Columns[0].Ints = append(b.Columns[0].Ints, r.Int64())
		b.Columns[1].Floats = append(b.Columns[1].Floats, r.NormFloat64())
		b.Columns[2].Bools = append(b.Columns[2].Bools, r.IntN(2) == 0)
		b.Columns[3].AppendString(strings.Repeat("é", r.IntN(5)))
		b.Columns[4].AppendString(fmt.Sprint(r.IntN(1000)))
	}
	return b
}

func rows(b record.Batch) []string {
	c, ok := b.(*Batch)
	if !ok {
		return nil
	}
	out := make([]string, c.Len())
	for i := range out {
		out[i] = c.Show(i)
		if c.Hashes() != nil {
			out[i] += fmt.Sprintf(" #%x", c.Hashes()[i])
		}
	}
	return out
}

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestSplitter_KeepsRowsAndOrder(t *testing.T) {
	r := seeded(t)
	const dests = 3
	split := testSchema.NewSplitter(dests)
	keys := NewKeys(testSchema, []int{4})
	want := make([][]string, dests)
	for range 20 {
		b := randomBatch(r, r.IntN(200))
		hashes := keys.AppendHashes(nil, b)
		to := make([]uint16, b.Len())
		for i := range to {
			to[i] = uint16(r.IntN(dests))
			want[to[i]] = append(want[to[i]], b.Show(i)+fmt.Sprintf(" #%x", hashes[i]))
		}
		split.Scatter(b, hashes, to)
		b.Release()
	}
	for d := range dests {
		if split.Len(d) != len(want[d]) {
			t.Errorf("destination %d: Len is %d, want %d", d, split.Len(d), len(want[d]))
		}
		moved := split.Take(d)
		again := testSchema.NewSplitter(1)
		again.Append(0, moved)
		if diff := cmp.Diff(want[d], rows(again.Take(0))); diff != "" {
			t.Errorf("destination %d (-want +got):\n%s", d, diff)
		}
		moved.Release()
		if split.Len(d) != 0 || split.Take(d) != nil {
			t.Errorf("destination %d isn't empty after Take", d)
		}
	}
}

// TestViews_SurviveTransport sends views whose text lies scattered in a shared arena.
func TestViews_SurviveTransport(t *testing.T) {
	r := seeded(t)
	b := randomBatch(r, 300)
	pickRows := []uint32{7, 7, 250, 0, 299, 31}
	view := testSchema.NewView()
	for i := range view.Columns {
		view.Columns[i].Gather(&b.Columns[i], pickRows)
	}
	view.SetLen(len(pickRows))
	var want []string
	for _, i := range pickRows {
		want = append(want, b.Show(int(i)))
	}
	wire, err := testSchema.AppendBatch([]byte("before"), view)
	if err != nil {
		t.Fatal(err)
	}
	got, err := testSchema.DecodeBatch(wire[len("before"):])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, rows(got)); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

func TestWire_RoundTripWithHashes(t *testing.T) {
	r := seeded(t)
	for _, n := range []int{0, 1, 1000} {
		b := randomBatch(r, n)
		b.SetHashes(NewKeys(testSchema, []int{0}).AppendHashes(nil, b))
		wire, err := testSchema.AppendBatch(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := testSchema.DecodeBatch(wire)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rows(b), rows(got)); diff != "" {
			t.Errorf("%d rows (-want +got):\n%s", n, diff)
		}
	}
}

func TestWire_DamageIsAnErrorOrABatch(t *testing.T) {
	r := seeded(t)
	wire, err := testSchema.AppendBatch(nil, randomBatch(r, 20))
	if err != nil {
		t.Fatal(err)
	}
	for n := range wire {
		if _, err := testSchema.DecodeBatch(wire[:n]); err == nil {
			t.Fatalf("a batch cut to %d of %d bytes was taken", n, len(wire))
		}
	}
	if _, err := testSchema.DecodeBatch(append(wire, 0)); err == nil {
		t.Error("a batch with a byte too many was taken")
	}
	for range 3000 {
		bad := append([]byte(nil), wire...)
		for range 1 + r.IntN(3) {
			bad[r.IntN(len(bad))] = byte(r.Uint32())
		}
		if b, err := testSchema.DecodeBatch(bad); err == nil {
			_ = rows(b) // Every row can be read.
		}
	}
}

// TestKeys_Encoding holds the frozen form of keys.
func TestKeys_Encoding(t *testing.T) {
	b := testSchema.NewBatch()
	b.SetLen(2)
	b.Columns[0].Ints = []int64{1, -2}
	b.Columns[1].Floats = []float64{math.Copysign(0, -1), 1.5}
	b.Columns[2].Bools = []bool{true, false}
	for _, s := range []string{"ab", ""} {
		b.Columns[3].AppendString(s)
		b.Columns[4].AppendString(s + "c")
	}
	for name, tc := range map[string]struct {
		columns []int
		kind    state.KeyKind
		typ     string
		want    []string
	}{
		"text":   {[]int{3}, state.BytesKeys, "String", []string{"6162", ""}},
		"float":  {[]int{1}, state.BytesKeys, "Float", []string{"0000000000000000", "000000000000f83f"}},
		"bool":   {[]int{2}, state.BytesKeys, "Bool", []string{"01", "00"}},
		"two":    {[]int{3, 4}, state.BytesKeys, "String,String", []string{"02616203616263", "000163"}},
		"mixed":  {[]int{0, 2, 3}, state.BytesKeys, "Int,Bool,String", []string{"010000000000000001026162", "feffffffffffffff0000"}},
		"number": {[]int{0}, state.Int64Keys, "Int", nil},
	} {
		t.Run(name, func(t *testing.T) {
			k := NewKeys(testSchema, tc.columns)
			if k.Kind() != tc.kind || k.Type() != tc.typ {
				t.Errorf("kind %v, type %s", k.Kind(), k.Type())
			}
			hashes := k.AppendHashes(nil, b)
			if tc.kind == state.Int64Keys {
				if hashes[0] != state.HashInt64(1) || hashes[1] != state.HashInt64(-2) {
					t.Error("the hash is not that of the integer")
				}
				return
			}
			keys := k.Texts(b)
			for i, want := range tc.want {
				if got := hex.EncodeToString(keys.Text(i)); got != want || hashes[i] != state.HashBytes(keys.Text(i)) {
					t.Errorf("key %d is %s, want %s", i, got, want)
				}
			}
		})
	}
}

func TestBatch_PoolGivesEmptyBatches(t *testing.T) {
	r := seeded(t)
	for range 100 {
		b := randomBatch(r, 50)
		if b.Hashes() != nil || b.Len() != 50 || b.Columns[3].Len() != 50 {
			t.Fatalf("a batch of the pool isn't empty: %d rows", b.Columns[3].Len())
		}
		b.SetHashes(make([]uint64, 50))
		b.Retain(1)
		b.Release()
		if b.Len() != 50 {
			t.Fatal("a batch that is still held was emptied")
		}
		b.Release()
	}
}

func TestBatch_ShowCutsLongText(t *testing.T) {
	s := NewSchema(Field{"t", String})
	b := s.NewBatch()
	b.SetLen(1)
	b.Columns[0].AppendString(strings.Repeat("é", 100))
	if got, want := b.Show(0), `t="`+strings.Repeat("é", 40)+`"...`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func BenchmarkScatter(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	in := randomBatch(r, 1024)
	keys := NewKeys(testSchema, []int{4})
	split := testSchema.NewSplitter(2)
	to := make([]uint16, in.Len())
	var hashes []uint64
	b.ReportAllocs()
	for b.Loop() {
		hashes = keys.AppendHashes(hashes[:0], in)
		for i, h := range hashes {
			to[i] = uint16(h & 1)
		}
		split.Scatter(in, hashes, to)
		split.Take(0).Release()
		split.Take(1).Release()
	}
	b.ReportMetric(float64(b.N*in.Len())/b.Elapsed().Seconds(), "rows/s")
}
