// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The tests that the page names are looked for by TestTree_DocumentsNameTestsThatExist.
func TestTree_EveryGuaranteeOfTheOperatorHasATest(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(load(t).root, "docs", "operator-guarantees.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := ReadGuarantees(string(text))
	for _, p := range GuaranteeProblems(rows, guaranteePoints, guaranteeRows) {
		t.Errorf("docs/operator-guarantees.md: %s", p)
	}
	for _, g := range rows {
		if g.Untested {
			t.Logf("no test, or no whole one: %s: %d %s", g.Section, g.Number, g.What)
		}
	}
}

func TestGuaranteeProblems(t *testing.T) {
	t.Parallel()
	numbered, least := map[string]int{"Points": 2}, map[string]int{"List": 1}
	const list = "## List\n\n| | by |\n|---|---|\n| a | `TestA` |\n"
	tests := map[string]struct {
		text string
		want []string
	}{
		"complete": {"## Points\n\n| | | by |\n|---|---|---|\n| 1 | a | `x TestA/b` |\n| 2 | b | `TestB` |\n" + list, nil},
		"said to have none": {
			"## Points\n\n| | | by |\n|---|---|---|\n| 1 | a | no test on a cluster |\n| 2 | b | there is none: it isn't needed |\n" + list, nil,
		},
		"no test": {
			"## Points\n\n| | | by |\n|---|---|---|\n| 1 | a | see above |\n| 2 | b | `TestB` |\n" + list,
			[]string{`Points: 1 "a" names no test`},
		},
		"a test in another cell doesn't count": {
			"## Points\n\n| | | by |\n|---|---|---|\n| 1 | `TestA` | by hand |\n| 2 | b | `TestB` |\n" + list,
			[]string{"Points: 1 \"`TestA`\" names no test"},
		},
		"a number is missing": {
			"## Points\n\n| | | by |\n|---|---|---|\n| 1 | a | `TestA` |\n" + list, []string{"Points: number 2 has 0 rows"},
		},
		"a number is there twice": {
			"## Points\n\n| | | by |\n|---|---|---|\n| 1 | a | `TestA` |\n| 2 | b | `TestB` |\n| 2 | c | `TestB` |\n" + list,
			[]string{"Points: 3 rows, want 2", "Points: number 2 has 2 rows"},
		},
		"a row of an item without a test": {
			"## Points\n\n| | | by |\n|---|---|---|\n| 1 | a | `TestA` |\n| 2 | b | `TestB` |\n" + list + "| c | by looking at it |\n",
			[]string{`List: 0 "c" names no test`},
		},
		"the list is gone": {
			"## Points\n\n| | | by |\n|---|---|---|\n| 1 | a | `TestA` |\n| 2 | b | `TestB` |\n", []string{"List: 0 rows, want at least 1"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := GuaranteeProblems(ReadGuarantees(tc.text), numbered, least)
			if !slices.EqualFunc(got, tc.want, strings.HasPrefix) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
