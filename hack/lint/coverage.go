// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// semanticsRules is how many rules each section of the semantics has, in the order of their numbers in docs/semantics-coverage.md.
// Section 11 (feedback edges) isn't built, and section 13 lists scenarios, not rules.
var semanticsRules = map[int]int{1: 10, 2: 7, 3: 7, 4: 7, 5: 5, 6: 8, 7: 4, 8: 6, 9: 6, 10: 10, 12: 8}

// notCovered is the heading below which a page lists rules that lack a test, in whole or in part.
const notCovered = "## Not covered yet"

var ruleRow = regexp.MustCompile(`^\|\s*(\d+)\.(\d+)\s*\|(.*)\|\s*$`)

// Rule is a rule of the semantics: section and number.
type Rule struct{ Section, Number int }

// String returns "section.number".
func (r Rule) String() string { return fmt.Sprintf("%d.%d", r.Section, r.Number) }

// Coverage is what a page says of the rules of the semantics.
type Coverage struct {
	// Tests are those named for each rule that has a row.
	Tests map[Rule][]TestReference
	// Open are the rules below "Not covered yet", with what is missing.
	Open map[Rule]string
	// Doubled are rules that have two rows in the same place.
	Doubled []Rule
}

// ReadCoverage reads the tables of a page: rows that begin with the number of a rule.
func ReadCoverage(text string) Coverage {
	c := Coverage{Tests: map[Rule][]TestReference{}, Open: map[Rule]string{}}
	open := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "## ") {
			open = strings.TrimSpace(line) == notCovered
		}
		m := ruleRow.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		var r Rule
		_, _ = fmt.Sscan(m[1], &r.Section) // digits, as matched
		_, _ = fmt.Sscan(m[2], &r.Number)
		if open {
			if _, there := c.Open[r]; there {
				c.Doubled = append(c.Doubled, r)
			}
			c.Open[r] = strings.TrimSpace(m[3])
			continue
		}
		if _, there := c.Tests[r]; there {
			c.Doubled = append(c.Doubled, r)
		}
		c.Tests[r] = TestReferences(m[3])
	}
	return c
}

// Problems compares the page with the rules there are: each has one row, names a test or is listed as not covered, and no row is of a
// rule that doesn't exist.
func (c Coverage) Problems(rules map[int]int) []string {
	var out []string
	for _, section := range slices.Sorted(maps.Keys(rules)) {
		for n := 1; n <= rules[section]; n++ {
			r := Rule{section, n}
			tests, there := c.Tests[r]
			_, open := c.Open[r]
			switch {
			case !there:
				out = append(out, fmt.Sprintf("rule %s has no row", r))
			case len(tests) == 0 && !open:
				out = append(out, fmt.Sprintf("rule %s names no test and isn't listed below %q", r, notCovered))
			}
		}
	}
	for _, rows := range [][]Rule{slices.Collect(maps.Keys(c.Tests)), slices.Collect(maps.Keys(c.Open))} {
		for _, r := range rows {
			if r.Number < 1 || r.Number > rules[r.Section] {
				out = append(out, fmt.Sprintf("there is no rule %s", r))
			}
		}
	}
	for _, r := range c.Doubled {
		out = append(out, fmt.Sprintf("rule %s has two rows", r))
	}
	slices.Sort(out)
	return out
}
