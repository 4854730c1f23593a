// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
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

// casesElsewhere are tests whose cases are constants of the package that they test, not of its test files.
var casesElsewhere = []string{"TestMutations"}

// Find returns nil if the test exists in the tree below root; files are its Go files, relative to root. A case is a string in a test file of the folder
// that has the test, or a script in its testdata.
func (r TestReference) Find(root string, files []string) error {
	folder, err := r.folder(root, files)
	if err != nil {
		return err
	}
	if r.Case == "" {
		return nil
	}
	for _, file := range files {
		isTest := strings.HasSuffix(file, testSuffix) || slices.Contains(casesElsewhere, r.Test)
		if path.Dir(file) != folder || !isTest {
			continue
		}
		if found, err := contains(root, file, `"`+r.Case+`"`); found || err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(folder), "testdata", r.Case)); err != nil {
		return fmt.Errorf("test %s exists, but not this case of it", r)
	}
	return nil
}

const testSuffix = "_test.go"

// folder returns the folder that has the test.
func (r TestReference) folder(root string, files []string) (string, error) {
	for _, file := range files {
		if r.Folder != "" && path.Dir(file) != r.Folder || !strings.HasSuffix(file, testSuffix) {
			continue
		}
		if found, err := contains(root, file, "\nfunc "+r.Test+"("); found || err != nil {
			return path.Dir(file), err
		}
	}
	return "", fmt.Errorf("there is no test %s", r)
}

// contains says whether a file has a text.
func contains(root, file, text string) (bool, error) {
	source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	if err != nil {
		return false, fmt.Errorf("looking for a test: %w", err)
	}
	return strings.Contains(string(source), text), nil
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
