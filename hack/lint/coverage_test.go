// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The tests that the page names are looked for by TestTree_DocumentsNameTestsThatExist.
func TestTree_EveryRuleOfTheSemanticsHasATest(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(load(t).root, "docs", "semantics-coverage.md"))
	if err != nil {
		t.Fatal(err)
	}
	c := ReadCoverage(string(text))
	for _, p := range c.Problems(semanticsRules) {
		t.Errorf("docs/semantics-coverage.md: %s", p)
	}
	open := slices.SortedFunc(maps.Keys(c.Open), func(a, b Rule) int {
		return cmp.Or(cmp.Compare(a.Section, b.Section), cmp.Compare(a.Number, b.Number))
	})
	for _, r := range open {
		t.Logf("not covered yet: %s: %s", r, c.Open[r])
	}
}

func TestCoverage_Problems(t *testing.T) {
	t.Parallel()
	rules := map[int]int{1: 2, 3: 1}
	tests := map[string]struct {
		text string
		want []string
	}{
		"complete": {"| 1.1 | a | `TestA` |\n| 1.2 | b | `x TestB/c` |\n| 3.1 | c | `TestC` |\n", nil},
		"other rows don't count": {
			"| rule | by |\n|---|---|\n| 1.1 | a | `TestA` |\n| 1.2 | b | `TestB` |\n| 3.1 | c | `TestC` |\n| more | `TestD` |\n", nil,
		},
		"a rule is missing":    {"| 1.1 | a | `TestA` |\n| 3.1 | c | `TestC` |\n", []string{"rule 1.2 has no row"}},
		"a rule has no test":   {"| 1.1 | a | `TestA` |\n| 1.2 | b | by hand |\n| 3.1 | c | `TestC` |\n", []string{"rule 1.2 names no test"}},
		"but it is listed":     {"| 1.1 | a | `TestA` |\n| 1.2 | b | |\n| 3.1 | c | `TestC` |\n## Not covered yet\n| 1.2 | why |\n", nil},
		"listed without a row": {"| 1.1 | a | `TestA` |\n| 3.1 | c | `TestC` |\n## Not covered yet\n| 1.2 | why |\n", []string{"rule 1.2 has no row"}},
		"covered in part":      {"| 1.1 | a | `TestA` |\n| 1.2 | b | `TestB` |\n| 3.1 | c | `TestC` |\n## Not covered yet\n| 1.2 | why |\n## More\n", nil},
		"two rows":             {"| 1.1 | a | `TestA` |\n| 1.1 | a | `TestA` |\n| 1.2 | b | `TestB` |\n| 3.1 | c | `TestC` |\n", []string{"rule 1.1 has two rows"}},
		"no such rule":         {"| 1.1 | a | `TestA` |\n| 1.2 | b | `TestB` |\n| 1.3 | b | `TestB` |\n| 3.1 | c | `TestC` |\n", []string{"there is no rule 1.3"}},
		"no such open rule":    {"| 1.1 | a | `TestA` |\n| 1.2 | b | `TestB` |\n| 3.1 | c | `TestC` |\n## Not covered yet\n| 2.1 | b |\n", []string{"there is no rule 2.1"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ReadCoverage(tc.text).Problems(rules)
			same := slices.EqualFunc(got, tc.want, strings.HasPrefix)
			if !same {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
