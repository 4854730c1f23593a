// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/operatortest"
	"github.com/weir-stream/weir/runtime/state"
)

// goldenRows are the rows behind the golden files.
func goldenRows() *columns.Batch {
	b := testSchema.NewBatch()
	b.Columns[0].Ints = append(b.Columns[0].Ints, 7, -7, 7)
	for _, s := range []string{"b", "", "a text"} {
		b.Columns[1].AppendString(s)
	}
	b.Columns[2].Ints = append(b.Columns[2].Ints, 10, -3, 1)
	b.Columns[3].Floats = append(b.Columns[3].Floats, 0.5, 2, -1)
	b.SetLen(3)
	return b
}

// TestAggregate_IsFrozen pins what docs/formats/connectors.md says of the state of Aggregate: accumulators of a fixed size and others, under a key of one
// integer and of several columns.
func TestAggregate_IsFrozen(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		golden string
		keys   []int
		specs  []string
		// want are the results after the same rows again.
		want map[string]string
	}{
		"fixed": {
			"aggregates-fixed-1.hex",
			[]int{0},
			[]string{"Count", "", "Sum", "i", "Min", "f", "Max", "i", "Avg", "i", "Last", "i > 0"},
			map[string]string{
				"-7|": "k=-7, a0=2, a1=-6, a2=2, a3=-3, a4=-3, a5=false",
				"7|":  "k=7, a0=4, a1=22, a2=-1, a3=10, a4=5.5, a5=true",
			},
		},
		"texts": {
			"aggregates-texts-1.hex",
			[]int{0, 1},
			[]string{"Min", "s", "Sum", "f", "Last", "s"},
			map[string]string{
				`-7|""|`:      `k=-7, s="", a0="", a1=4, a2=""`,
				`7|"b"|`:      `k=7, s="b", a0="b", a1=1, a2="b"`,
				`7|"a text"|`: `k=7, s="a text", a0="a text", a1=-2, a2="a text"`,
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, fields := aggregates(t, tc.specs...)
			var keyFields []columns.Field
			for _, c := range tc.keys {
				keyFields = append(keyFields, testSchema.Fields()[c])
			}
			sink := &gather{keys: len(tc.keys), newest: map[string]string{}}
			process := func(m *state.Memory) {
				op := NewAggregate(testSchema, columns.NewSchema(append(keyFields, fields...)...), tc.keys, list)
				if err := op.Open(t.Context(), &operator.Context{Name: "agg", Keyed: m, Out: sink}); err != nil {
					t.Fatal(err)
				}
				if _, err := op.Process(0, goldenRows()); err != nil {
					t.Fatal(err)
				}
			}
			m := memory(t)
			process(m)
			written := &files{}
			if _, err := m.Seal().Write(t.Context(), written); err != nil {
				t.Fatal(err)
			}
			operatortest.GoldenBytes(t, tc.golden, written.data[0])

			b := operatortest.ReadBytes(t, tc.golden)
			file := state.File{Path: "0", Size: int64(len(b)), CRC32C: crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)), LastGroup: 15}
			m = memory(t)
			if err := m.Restore(t.Context(), []state.File{file}, &files{data: [][]byte{b}}); err != nil {
				t.Fatal(err)
			}
			process(m)
			if d := cmp.Diff(tc.want, sink.newest); d != "" {
				t.Errorf("results after a restore (-want +got):\n%s", d)
			}
		})
	}
}
