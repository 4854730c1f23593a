// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// TestReference is a test that a document names in backquotes: a package, a test, and after a slash one of its cases.
type TestReference struct {
	// Folder of the package; empty if the document names the test alone.
	Folder string
	// Test is the name of the function.
	Test string
	// Case is the name of a case or script, if one is named.
	Case string
}

// String shows the reference as documents have it.
func (r TestReference) String() string {
	s := r.Test
	if r.Folder != "" {
		s = r.Folder + " " + s
	}
	if r.Case != "" {
		s += "/" + r.Case
	}
	return s
}

var testReference = regexp.MustCompile("`(?:([a-z0-9/]+) )?((?:Test|Fuzz|Benchmark)\\w+)(?:/([^`]+))?`")

// TestReferences returns the tests that a document names.
func TestReferences(text string) []TestReference {
	var refs []TestReference
	for _, m := range testReference.FindAllStringSubmatch(text, -1) {
		refs = append(refs, TestReference{Folder: m[1], Test: m[2], Case: m[3]})
	}
	return refs
}

// Find returns nil if the test exists in the tree below root; files are its Go files, relative to root.
func (r TestReference) Find(root string, files []string) error {
	var found bool
	for _, file := range files {
		if r.Folder != "" && path.Dir(file) != r.Folder {
			continue
		}
		source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if err != nil {
			return fmt.Errorf("looking for a test: %w", err)
		}
		found = found || strings.HasSuffix(file, "_test.go") && strings.Contains(string(source), "\nfunc "+r.Test+"(")
		if r.Case != "" && strings.Contains(string(source), `"`+r.Case+`"`) {
			r.Case = ""
		}
	}
	if !found {
		return fmt.Errorf("there is no test %s", r)
	}
	if r.Case != "" {
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(r.Folder), "testdata", r.Case)); err != nil {
			return fmt.Errorf("test %s exists, but not this case of it", r)
		}
	}
	return nil
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)

// Links returns the relative links of a Markdown document, without what follows a #.
func Links(text string) []string {
	var links []string
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		if !strings.Contains(m[1], ":") {
			links = append(links, m[1])
		}
	}
	return links
}
