// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/dataflow/expr"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

var testSchema = columns.NewSchema(
	columns.Field{Name: "k", Kind: columns.Int}, columns.Field{Name: "s", Kind: columns.String},
	columns.Field{Name: "i", Kind: columns.Int}, columns.Field{Name: "f", Kind: columns.Float},
)

// gather keeps the newest shown row of each key.
type gather struct {
	keys   int
	newest map[string]string
	rows   int
}

func (g *gather) Emit(in record.Batch) (operator.Status, error) {
	b, ok := in.(*columns.Batch)
	if !ok {
		return operator.Done, fmt.Errorf("a batch of type %T", in)
	}
	seen := map[string]bool{}
	for i := range b.Len() {
		var key []byte
		for c := range g.keys {
			key = append(b.Columns[c].AppendShown(key, i), '|')
		}
		if seen[string(key)] {
			return operator.Done, fmt.Errorf("key %s is twice in one batch", key)
		}
		seen[string(key)] = true
		g.newest[string(key)] = b.Show(i)
		g.rows++
	}
	return operator.Done, nil
}

func aggregates(t *testing.T, specs ...string) ([]Aggregate, []columns.Field) {
	t.Helper()
	env, err := expr.NewEnv(testSchema)
	if err != nil {
		t.Fatal(err)
	}
	var list []Aggregate
	var fields []columns.Field
	for i := 0; i < len(specs); i += 2 {
		a := Aggregate{Name: fmt.Sprintf("a%d", i/2), Function: contract.AggregateFunction(specs[i])}
		if specs[i+1] != "" {
			if a.Program, err = env.Compile(specs[i+1]); err != nil {
				t.Fatal(err)
			}
		}
		kind, err := a.Kind()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
		fields = append(fields, columns.Field{Name: a.Name, Kind: kind})
	}
	return list, fields
}

// files keeps snapshot files in memory.
type files struct{ data [][]byte }

func (f *files) WriteFile(_ context.Context, data []byte) (state.File, error) {
	f.data = append(f.data, bytes.Clone(data))
	return state.File{Path: fmt.Sprint(len(f.data) - 1)}, nil
}

func (f *files) ReadFile(_ context.Context, file state.File, off, n int64) ([]byte, error) {
	var i int
	if _, err := fmt.Sscan(file.Path, &i); err != nil {
		return nil, err
	}
	return f.data[i][off : off+n], nil
}

func memory(t *testing.T) *state.Memory {
	t.Helper()
	m, err := state.NewMemory(state.Options{MaxParallelism: 16, Last: 15})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func randomRows(r *rand.Rand, n int) *columns.Batch {
	b := testSchema.NewBatch()
	b.SetLen(n)
	for range n {
		b.Columns[0].Ints = append(b.Columns[0].Ints, r.Int64N(50)-25)
		b.Columns[1].AppendString([]string{"", "a", "b", "ab", "ü", "a long key that does not fit in a slot of the table"}[r.IntN(6)])
		b.Columns[2].Ints = append(b.Columns[2].Ints, r.Int64N(2000)-1000)
		b.Columns[3].Floats = append(b.Columns[3].Floats, []float64{1, -2.5, math.NaN(), 0, 1e9, math.Inf(-1)}[r.IntN(6)])
	}
	return b
}

// model is the obvious way to do it: one row after the other, values in maps.
type model struct {
	n, sum, min int64
	fmin, fmax  float64
	smin, smax  string
	last        string
}

func (m *model) add(b *columns.Batch, i int) {
	v, f, s := b.Columns[2].Ints[i], b.Columns[3].Floats[i], string(b.Columns[1].Text(i))
	if m.n == 0 {
		m.min, m.fmin, m.fmax, m.smin, m.smax = v, f, f, s, s
	}
	m.n++
	m.sum += v
	m.min = min(m.min, v)
	if f < m.fmin || m.fmin != m.fmin {
		m.fmin = f
	}
	if f > m.fmax || m.fmax != m.fmax {
		m.fmax = f
	}
	m.smin, m.smax, m.last = min(m.smin, s), max(m.smax, s), s
}

// TestAggregate_AgreesWithModel runs random batches through all layouts of state, with a snapshot and a restore between.
func TestAggregate_AgreesWithModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	fixed := []string{"Count", "", "Sum", "i", "Min", "i", "Avg", "i", "Min", "f", "Max", "f", "Last", "i > 0"}
	texts := slices.Concat(fixed, []string{"Min", "s", "Max", "s", "Last", "s"})
	wide := slices.Concat(fixed, bytesOf("Sum", "i", 40))
	for name, specs := range map[string][]string{"counts": {"Count", "", "Count", ""}, "fixed": fixed, "texts": texts, "wide": wide} {
		for _, keyColumns := range [][]int{{0}, {1}, {0, 1}, {3}} {
			t.Run(fmt.Sprint(name, keyColumns), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 0))
				list, fields := aggregates(t, specs...)
				var keyFields []columns.Field
				for _, c := range keyColumns {
					keyFields = append(keyFields, testSchema.Fields()[c])
				}
				out := columns.NewSchema(append(keyFields, fields...)...)
				sink := &gather{keys: len(keyColumns), newest: map[string]string{}}
				m := memory(t)
				open := func() operator.Operator {
					op := NewAggregate(testSchema, out, keyColumns, list)
					if err := op.Open(t.Context(), &operator.Context{Name: "agg", Keyed: m, Out: sink}); err != nil {
						t.Fatal(err)
					}
					return op
				}
				op := open()
				models := map[string]*model{}
				for round := range 30 {
					b := randomRows(r, 1+r.IntN(300))
					for i := range b.Len() {
						var key []byte
						for _, c := range keyColumns {
							key = append(b.Columns[c].AppendShown(key, i), '|')
						}
						if models[string(key)] == nil {
							models[string(key)] = &model{}
						}
						models[string(key)].add(b, i)
					}
					if _, err := op.Process(0, b); err != nil {
						t.Fatal(err)
					}
					b.Release()
					if round == 15 {
						m = restored(t, m)
						op = open()
					}
				}
				checkModels(t, models, sink, name)
			})
		}
	}
}

func bytesOf(function, expression string, n int) (out []string) {
	for range n {
		out = append(out, function, expression)
	}
	return out
}

func restored(t *testing.T, m *state.Memory) *state.Memory {
	t.Helper()
	f := &files{}
	snap := m.Seal()
	list, err := snap.Write(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	snap.Release()
	next := memory(t)
	if err := next.Restore(t.Context(), list, f); err != nil {
		t.Fatal(err)
	}
	return next
}

func checkModels(t *testing.T, models map[string]*model, sink *gather, layout string) {
	t.Helper()
	want, got := map[string]string{}, map[string]string{}
	for key, m := range models {
		w := fmt.Sprintf("a0=%d, a1=%d", m.n, m.n)
		if layout == "counts" {
			want[key] = w
			got[key] = shownFrom(sink.newest[key], "a0=")
			continue
		}
		w = fmt.Sprintf("a0=%d, a1=%d, a2=%d, a3=%v, a4=%v, a5=%v, ", m.n, m.sum, m.min, float64(m.sum)/float64(m.n), m.fmin, m.fmax)
		want[key] = w
		row := sink.newest[key]
		got[key] = strings.TrimSuffix(shownFrom(row, "a0="), shownFrom(row, "a6="))
		if layout == "texts" {
			want[key] += fmt.Sprintf("a7=%q, a8=%q, a9=%q", m.smin, m.smax, m.last)
			got[key] += shownFrom(row, "a7=")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("newest rows (-want +got):\n%s", diff)
	}
}

// shownFrom is the part of a shown row from a column on.
func shownFrom(row, column string) string {
	if at := strings.Index(row, column); at >= 0 {
		return row[at:]
	}
	return ""
}

func TestAggregate_OtherStateIsRefused(t *testing.T) {
	m := memory(t)
	for i, specs := range [][]string{{"Count", ""}, {"Sum", "i"}} {
		list, fields := aggregates(t, specs...)
		out := columns.NewSchema(append([]columns.Field{testSchema.Fields()[0]}, fields...)...)
		err := NewAggregate(testSchema, out, []int{0}, list).Open(t.Context(), &operator.Context{Name: "agg", Keyed: m})
		if (err != nil) != (i == 1) {
			t.Errorf("%v: error %v", specs, err)
		}
	}
}
