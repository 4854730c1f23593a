// SPDX-License-Identifier: Apache-2.0

package assign

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/snapshot"
)

func TestFates_OfEveryOperator(t *testing.T) {
	tests := map[string]struct {
		change func(*Shape, *snapshot.Manifest, *Options)
		want   []Fate
	}{
		"the same graph": {func(*Shape, *snapshot.Manifest, *Options) {}, []Fate{
			{Name: "src", Bytes: 4}, {Name: "map"}, {Name: "count", Bytes: 30}, {Name: "sink", Bytes: 2},
		}},
		"renamed, and one that is new": {func(s *Shape, _ *snapshot.Manifest, _ *Options) {
			s.Vertices[0].Operators[1].Name = "trim"
			s.Vertices[1].Operators[0] = Operator{Name: "total", PreviousNames: []string{"sum", "count"}, Keyed: true}
		}, []Fate{
			{Name: "src", Bytes: 4}, {Name: "trim", Kind: StartsEmpty}, {Name: "total", From: "count", Bytes: 30}, {Name: "sink", Bytes: 2},
		}},
		"one that is gone, with and without state": {func(s *Shape, _ *snapshot.Manifest, _ *Options) {
			s.Vertices[0].Operators = s.Vertices[0].Operators[:1]
			s.Vertices[1].Operators = s.Vertices[1].Operators[1:]
		}, []Fate{{Name: "src", Bytes: 4}, {Name: "sink", Bytes: 2}, {Name: "count", Kind: Dropped, Bytes: 30}}},
		"no longer keyed": {func(s *Shape, _ *snapshot.Manifest, _ *Options) { s.Vertices[1].Operators[0].Keyed = false }, []Fate{
			{Name: "src", Bytes: 4},
			{Name: "map"},
			{
				Name: "count", Kind: Incompatible, Bytes: 30,
				Why: `operator "count" has keyed state in the snapshot and is not keyed in the graph: key its input, or set upgrade.allowNonRestoredState to drop that state`,
			},
			{Name: "sink", Bytes: 2},
		}},
		"claimed twice": {func(s *Shape, _ *snapshot.Manifest, _ *Options) {
			s.Vertices[0].Operators[1] = Operator{Name: "new", PreviousNames: []string{"sink"}}
		}, []Fate{
			{Name: "src", Bytes: 4},
			{Name: "new", From: "sink", Kind: Incompatible, Why: `another operator claims the state of "sink", too`},
			{Name: "count", Bytes: 30},
			{Name: "sink", Bytes: 2},
		}},
		"a list of two modes": {func(s *Shape, m *snapshot.Manifest, _ *Options) {
			m.Operators[3].Subtasks[1].Lists[0].Mode = operator.Union
			s.Vertices = s.Vertices[:1]
		}, []Fate{
			{
				Name: "src", Kind: Incompatible, Bytes: 4,
				Why: `list "l" of operator "src" has different modes or types in different subtasks: the snapshot can't be used`,
			},
			{Name: "map"},
			{Name: "count", Kind: Dropped, Bytes: 30},
			{Name: "sink", Kind: Dropped, Bytes: 2},
		}},
		"another number of key groups is a problem of the whole": {
			func(s *Shape, _ *snapshot.Manifest, _ *Options) { s.MaxParallelism = 1 },
			[]Fate{{Name: "src", Bytes: 4}, {Name: "map"}, {Name: "count", Bytes: 30}, {Name: "sink", Bytes: 2}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, m, o := testShape(), testState(), Options{}
			m.Operators[0].Subtasks[0].Keyed[0].Size, m.Operators[0].Subtasks[1].Keyed[0].Size = 10, 20
			tc.change(&s, m, &o)
			if d := cmp.Diff(tc.want, Fates(s, m, o)); d != "" {
				t.Errorf("fates differ (-want +got):\n%s", d)
			}
		})
	}
	want := []Fate{{Name: "src", Kind: StartsEmpty}, {Name: "map", Kind: StartsEmpty}, {Name: "count", Kind: StartsEmpty}, {Name: "sink", Kind: StartsEmpty}}
	if d := cmp.Diff(want, Fates(testShape(), nil, Options{})); d != "" {
		t.Errorf("an empty start differs (-want +got):\n%s", d)
	}
}
