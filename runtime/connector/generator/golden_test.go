// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/operatortest"
)

// openSource starts the only source of a generator with three keys.
func openSource(t *testing.T, rows int64, restored []operator.List) *source {
	t.Helper()
	g, err := New(&contract.Generator{Keys: 3, Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	s, ok := g.NewSource().(*source)
	if !ok {
		t.Fatal("no source")
	}
	c := &operator.Context{Name: "gen", Parallelism: 1, Now: func() time.Time { return time.Unix(1000, 0) }, Restored: restored}
	if err := s.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return s
}

// rowsOf polls a bounded source to its end and returns keys and sequence numbers.
func rowsOf(t *testing.T, s *source) [][2]int64 {
	t.Helper()
	var rows [][2]int64
	for {
		p, err := s.Poll()
		if err != nil {
			t.Fatal(err)
		}
		if b, ok := p.Batch.(*columns.Batch); ok {
			for i := range b.Len() {
				rows = append(rows, [2]int64{b.Columns[0].Ints[i], b.Columns[1].Ints[i]})
			}
		}
		if p.State == operator.End {
			return rows
		}
	}
}

// TestState_IsFrozen pins what docs/formats/connectors.md says of the generator, and goes on from it.
func TestState_IsFrozen(t *testing.T) {
	t.Parallel()
	const golden = "state-1.golden"
	s := openSource(t, 7, nil)
	if n := len(rowsOf(t, s)); n != 7 {
		t.Fatalf("%d rows, want 7", n)
	}
	operatortest.Golden(t, golden, operatortest.Snapshot(t, s, 1))

	restored := openSource(t, 11, operatortest.Read(t, golden))
	operatortest.Golden(t, golden, operatortest.Snapshot(t, restored, 2))
	rows := rowsOf(t, restored)
	slices.SortFunc(rows, func(a, b [2]int64) int { return int(4*(a[0]-b[0]) + a[1] - b[1]) })
	if d := cmp.Diff([][2]int64{{0, 4}, {1, 3}, {1, 4}, {2, 3}}, rows); d != "" {
		t.Errorf("it goes on with (-want +got):\n%s", d)
	}
}

func TestCheckState(t *testing.T) {
	t.Parallel()
	entry := func(s string) [][]byte { return [][]byte{[]byte(s)} }
	for name, tc := range map[string]struct {
		lists []operator.List
		want  string
	}{
		"its own":           {[]operator.List{{Name: configList, Entries: entry(`{"keys":3}`)}, {Name: splitsList, Entries: entry(`{"split":1}`)}}, ""},
		"none":              {nil, ""},
		"other keys":        {[]operator.List{{Name: configList, Entries: entry(`{"keys":4}`)}}, "set keys back to 4"},
		"a source of files": {[]operator.List{{Name: "listing", Entries: entry(`{}`)}}, `"listing"`},
	} {
		g, err := New(&contract.Generator{Keys: 3})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.CheckState(tc.lists); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
