// SPDX-License-Identifier: Apache-2.0

package assign

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWarnings(t *testing.T) {
	rename := func(name string, previous ...string) func(*Shape) {
		return func(s *Shape) {
			for i := range s.Vertices {
				for k, op := range s.Vertices[i].Operators {
					if op.Name == name {
						s.Vertices[i].Operators[k].Name = "new"
						s.Vertices[i].Operators[k].PreviousNames = previous
					}
				}
			}
		}
	}
	tests := map[string]struct {
		change func(*Shape)
		want   []string
	}{
		"the same graph":             {change: func(*Shape) {}},
		"a new name for a stateless": {change: rename("map")},
		"a renamed operator":         {change: rename("count", "count")},
		"a new keyed operator": {change: rename("count"), want: []string{
			`the state of "count" is dropped: the graph has no operator for it, and upgrade.allowNonRestoredState is set`,
			`"new" starts with empty state: the snapshot doesn't know it`,
		}},
		"a new source": {change: rename("src"), want: []string{
			`the state of "src" is dropped: the graph has no operator for it, and upgrade.allowNonRestoredState is set`,
			`source "new" reads from its beginning: the snapshot doesn't know it`,
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := testShape()
			tc.change(&s)
			if d := cmp.Diff(tc.want, Warnings(s, testState(), Options{AllowNonRestoredState: true})); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	if w := Warnings(testShape(), nil, Options{}); w != nil {
		t.Errorf("an empty start: %q", w)
	}
}
