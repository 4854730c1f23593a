// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// guaranteePoints is how many numbered rows the sections of docs/operator-guarantees.md have.
var guaranteePoints = map[string]int{"What a better operator does": 15, "Situations that are rarely tested": 23}

// guaranteeRows is how many rows without a number the parts of its checklist have at least.
var guaranteeRows = map[string]int{"What is easily got wrong": 30}

// noTest is what a row says that has no test, or no whole one.
var noTest = regexp.MustCompile(`\b(no test|there is none)\b`)

// Guarantee is a row of a table below a heading of the second level.
type Guarantee struct {
	// Section is the heading.
	Section string
	// Number is the first cell if that is one, else 0.
	Number int
	// What is guaranteed: the first cell that is no number.
	What string
	// Tests are those that the last cell names.
	Tests []TestReference
	// Untested says that the last cell speaks of a test that there isn't.
	Untested bool
}

// ReadGuarantees reads the rows of all tables of a page, without their headings.
func ReadGuarantees(text string) []Guarantee {
	var out []Guarantee
	section := ""
	header := true
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = title
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			header = true // of the next table
		case strings.HasPrefix(line, "|--"):
			header = false
		case !header:
			out = append(out, guarantee(section, line))
		}
	}
	return out
}

func guarantee(section, row string) Guarantee {
	cells := strings.Split(strings.Trim(row, "|"), "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	g := Guarantee{Section: section}
	if n, err := strconv.Atoi(cells[0]); err == nil {
		g.Number, cells = n, cells[1:]
	}
	if len(cells) > 1 {
		last := cells[len(cells)-1]
		g.What, g.Tests, g.Untested = cells[0], TestReferences(last), noTest.MatchString(last)
	}
	return g
}

// GuaranteeProblems says which rows have neither a test nor say that there is none, which of the numbers of each section are missing or there twice, and
// which sections have fewer rows than they should.
func GuaranteeProblems(rows []Guarantee, numbered, least map[string]int) []string {
	var out []string
	count := map[string]int{}
	seen := map[string]map[int]int{}
	for _, g := range rows {
		count[g.Section]++
		if seen[g.Section] == nil {
			seen[g.Section] = map[int]int{}
		}
		seen[g.Section][g.Number]++
		if len(g.Tests) == 0 && !g.Untested {
			out = append(out, fmt.Sprintf("%s: %d %q names no test and doesn't say that there is none", g.Section, g.Number, g.What))
		}
	}
	for section, n := range numbered {
		for i := 1; i <= n; i++ {
			if seen[section][i] != 1 {
				out = append(out, fmt.Sprintf("%s: number %d has %d rows, want one", section, i, seen[section][i]))
			}
		}
		if count[section] > n {
			out = append(out, fmt.Sprintf("%s: %d rows, want %d", section, count[section], n))
		}
	}
	for section, n := range least {
		if count[section] < n {
			out = append(out, fmt.Sprintf("%s: %d rows, want at least %d", section, count[section], n))
		}
	}
	slices.Sort(out)
	return out
}
