// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// documents returns the Markdown files that people write, relative to the root.
func documents(t *testing.T, root string) []string {
	t.Helper()
	docs := []string{"README.md", "CHANGELOG.md", "runtime/README.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(name) == ".md" {
			relative, relErr := filepath.Rel(root, name)
			docs, err = append(docs, filepath.ToSlash(relative)), relErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func TestTree_DocumentsNameTestsThatExist(t *testing.T) {
	t.Parallel()
	tr := load(t)
	files := make([]string, 0, len(tr.files))
	for _, file := range tr.files {
		relative, err := filepath.Rel(tr.root, file)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.ToSlash(relative))
	}
	count := 0
	for _, doc := range documents(t, tr.root) {
		text, err := os.ReadFile(filepath.Join(tr.root, doc))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range TestReferences(string(text)) {
			count++
			if err := r.Find(tr.root, files); err != nil {
				t.Errorf("%s: %v", doc, err)
			}
		}
	}
	if count < 50 {
		t.Errorf("found only %d names of tests in the documents", count)
	}
}

func TestTree_LinksOfDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	root := load(t).root
	for _, doc := range documents(t, root) {
		if doc == "docs/reference/api.md" {
			continue // generated, with patterns that look like links
		}
		text, err := os.ReadFile(filepath.Join(root, doc))
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range Links(string(text)) {
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(doc), filepath.FromSlash(target))); err != nil {
				t.Errorf("%s links to %s, which doesn't exist", doc, target)
			}
		}
	}
}

// TestTree_APIReferenceShowsAllFields finds structures of which the generator shows Go's text in place of their fields, as it does with those that are nested too deep.
func TestTree_APIReferenceShowsAllFields(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(load(t).root, "docs/reference/api.md"))
	if err != nil {
		t.Fatal(err)
	}
	if before, _, found := strings.Cut(string(text), "[struct{"); found {
		t.Errorf("docs/reference/api.md lacks the fields of a structure in line %d: raise --max-depth of crd-ref-docs in the Makefile", 1+strings.Count(before, "\n"))
	}
}

func TestTestReferences(t *testing.T) {
	t.Parallel()
	text := "`runtime/barrier TestAligner/one channel`, `TestAlone`; not TestBare nor `Tester`, `runtime/x FuzzX`"
	want := []TestReference{{"runtime/barrier", "TestAligner", "one channel"}, {"", "TestAlone", ""}, {"", "Tester", ""}, {"runtime/x", "FuzzX", ""}}
	if got := TestReferences(text); !slices.Equal(got, want) {
		t.Errorf("TestReferences = %v, want %v", got, want)
	}
}

func TestTestReference_Find(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	folder := filepath.Join(root, "a", "testdata")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a_test.go":       "package a\n\nfunc TestIt(t *testing.T) { cases(\"one\") }\n\nfunc TestMutations(t *testing.T) {}\n",
		"b_test.go":       "package a\n\nvar shared = []string{\"beside\"}\n",
		"a.go":            "package a\n\nfunc TestHelper() {}\n\nconst c = \"not a case\"\n",
		"testdata/script": "",
	} {
		if err := os.WriteFile(filepath.Join(root, "a", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		r    TestReference
		want string
	}{
		{TestReference{"a", "TestIt", ""}, ""},
		{TestReference{"", "TestIt", ""}, ""},
		{TestReference{"a", "TestIt", "one"}, ""},
		{TestReference{"a", "TestIt", "beside"}, ""},
		{TestReference{"", "TestIt", "one"}, ""},
		{TestReference{"a", "TestIt", "script"}, ""},
		{TestReference{"", "TestIt", "script"}, ""},
		{TestReference{"a", "TestIt", "not a case"}, "not this case"},
		{TestReference{"", "TestIt", "not a case"}, "not this case"},
		{TestReference{"a", "TestMutations", "not a case"}, ""},
		{TestReference{"a", "TestIt", "two"}, "not this case"},
		{TestReference{"b", "TestIt", ""}, "no test"},
		{TestReference{"a", "TestI", ""}, "no test"},
		{TestReference{"a", "TestHelper", ""}, "no test"},
	} {
		err := tc.r.Find(root, []string{"a/a.go", "a/a_test.go", "a/b_test.go"})
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.r, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: got %v, want an error with %q", tc.r, err, tc.want)
		}
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	got := Links("[a](b/c.md#d) [e](https://example.com/f) [g](h.md)")
	if want := []string{"b/c.md", "h.md"}; !slices.Equal(got, want) {
		t.Errorf("Links = %q, want %q", got, want)
	}
}
