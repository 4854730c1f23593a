// SPDX-License-Identifier: Apache-2.0

package conditions

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The files that must agree, from here.
var (
	declared   = filepath.Join("..", "..", "..", "api", "v1alpha1", "streamjob_conditions.go")
	documented = filepath.Join("..", "..", "..", "docs", "reference", "streamjob-conditions.md")
)

// constants returns the values of the constants in a file whose names have a prefix.
func constants(t *testing.T, path, prefix string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
		return true
	})
	return values
}

// row is a line of a table that begins with a name in code font.
var row = regexp.MustCompile("(?m)^\\| `([A-Za-z]+)` \\|(.*)\\|$")

// TestDocumentation_HasEveryConditionAndReason keeps docs/reference/streamjob-conditions.md complete and free of what is gone: every
// condition and every reason has one row, no cell of which is empty.
func TestDocumentation_HasEveryConditionAndReason(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(documented)
	if err != nil {
		t.Fatal(err)
	}
	reasons := constants(t, declared, "Reason")
	conditions := constants(t, declared, "Condition")
	if len(reasons) < 30 || len(conditions) != 7 {
		t.Fatalf("found only the conditions %v and the reasons %v in %s", conditions, reasons, declared)
	}
	rows := map[string]int{}
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		name := match[1]
		rows[name]++
		for cell := range strings.SplitSeq(match[2], "|") {
			if strings.TrimSpace(cell) == "" {
				t.Errorf("the row of %s has an empty cell", name)
			}
		}
	}
	const kstatus = "Current InProgress Failed Terminating"
	want := map[string]int{} // Running and Completed are both a condition and a reason
	for _, name := range slices.Concat(conditions, reasons) {
		want[name]++
	}
	for name, n := range want {
		if rows[name] != n {
			t.Errorf("%s has %d rows, want %d", name, rows[name], n)
		}
		delete(rows, name)
	}
	for name := range rows {
		if !strings.Contains(kstatus, name) {
			t.Errorf("%s is documented, but it is neither a condition nor a reason", name)
		}
	}
}
