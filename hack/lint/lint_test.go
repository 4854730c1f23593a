// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// tree is the tree under test, listed once.
var tree = sync.OnceValues(func() (*treeUnderTest, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	files, err := GoFiles(root)
	if err != nil {
		return nil, err
	}
	return &treeUnderTest{root: root, files: files}, nil
})

type treeUnderTest struct {
	root  string
	files []string
}

func load(t *testing.T) *treeUnderTest {
	t.Helper()
	tr, err := tree()
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.files) < 50 {
		t.Fatalf("found only %d Go files below %s", len(tr.files), tr.root)
	}
	return tr
}

func listPackages(t *testing.T) []Package {
	t.Helper()
	packages, err := Packages(t.Context(), load(t).root)
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

func TestTree_NoGoFileDirectlyInRuntime(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(load(t).root, "runtime", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Errorf("%s: runtime holds only packages: move the file into one of them", file)
	}
}

func TestTree_Imports(t *testing.T) {
	t.Parallel()
	packages := listPackages(t)
	for _, rule := range ImportRules() {
		violations, checked := rule.Check(packages)
		if checked == 0 {
			t.Errorf("%s: the rule is about no package (%v)", rule.Name, rule.From)
		}
		for _, violation := range violations {
			t.Error(violation)
		}
	}
}

func TestTree_PackagesHaveComments(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		if strings.Contains(p.ImportPath, "/applyconfiguration") {
			continue // generated, without comments
		}
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func TestTree_NamesOfEnginePackages(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		if !within(p.ImportPath, own("runtime")) {
			continue
		}
		if why := BadName(p.Path()); why != "" {
			t.Errorf("%s: %s", p.ImportPath, why)
		}
	}
}

func TestTree_PureCores(t *testing.T) {
	t.Parallel()
	tr := load(t)
	for _, core := range PureCores {
		files := tr.codeBelow(core)
		if len(files) == 0 {
			t.Errorf("%s is listed as a pure core but has no Go file", core)
		}
		for _, file := range files {
			if isShell(file) {
				continue
			}
			for _, impurity := range impuritiesOf(t, tr, file) {
				t.Errorf("%s: a pure core must not do that: let the shell do it", impurity)
			}
		}
	}
}

func TestTree_ShellsInPureCoresNeedToBe(t *testing.T) {
	t.Parallel()
	tr := load(t)
	for _, shell := range Shells {
		found := 0
		for _, file := range tr.codeBelow(shell) {
			found += len(impuritiesOf(t, tr, file))
		}
		if found == 0 {
			t.Errorf("%s is listed as a shell inside a pure core but is pure: take it off the list", shell)
		}
	}
}

// codeBelow returns the Go files of a folder, or the one file, without tests; paths are relative to the root.
func (tr *treeUnderTest) codeBelow(name string) []string {
	var files []string
	for _, file := range tr.files {
		relative, err := filepath.Rel(tr.root, file)
		if err != nil {
			continue
		}
		relative = filepath.ToSlash(relative)
		if within(relative, name) && !strings.HasSuffix(relative, "_test.go") {
			files = append(files, relative)
		}
	}
	return files
}

func isShell(file string) bool {
	return slices.ContainsFunc(Shells, func(shell string) bool { return within(file, shell) })
}

func impuritiesOf(t *testing.T, tr *treeUnderTest, file string) []string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(tr.root, filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	impurities, err := Impurities(file, source)
	if err != nil {
		t.Fatal(err)
	}
	return impurities
}

func TestTree_Licence(t *testing.T) {
	t.Parallel()
	for _, file := range load(t).files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !HasLicence(text) {
			t.Errorf("%s does not start with %q", file, strings.TrimSpace(licence))
		}
	}
}

func TestTree_DependenciesAreExplained(t *testing.T) {
	t.Parallel()
	root := load(t).root
	goMod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	direct := DirectModules(listPackages(t), Requirements(string(goMod)))
	if len(direct) < 5 {
		t.Errorf("found only the dependencies %q", direct)
	}
	for _, module := range direct {
		if !strings.Contains(string(page), "`"+module+"`") {
			t.Errorf("docs/dependencies.md does not say what %s is there for", module)
		}
	}
}

func TestRequirements(t *testing.T) {
	t.Parallel()
	got := Requirements("module m\n\nrequire a.b/one v1\n\nrequire (\n\ta.b/two v2 // indirect\n\t// comment\n\ta.b/two/v3 v3.0.0\n)\nreplace (\n\ta.b/x => y\n)\n")
	want := map[string]string{"a.b/one": "v1", "a.b/two": "v2", "a.b/two/v3": "v3.0.0"}
	if !maps.Equal(got, want) {
		t.Errorf("Requirements = %q, want %q", got, want)
	}
	packages := []Package{{Imports: []string{"fmt", "a.b/two/v3/p", "a.b/twofold"}, TestImports: []string{"a.b/one"}}}
	if direct := DirectModules(packages, got); !slices.Equal(direct, []string{"a.b/one", "a.b/two/v3"}) {
		t.Errorf("DirectModules = %q", direct)
	}
}

func TestImpurities_FindsEach(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		source string
		want   []string
	}{
		"pure": {
			source: "package p\nimport \"time\"\nfunc f(now time.Time) time.Time { return now.Add(time.Second) }\n",
		},
		"goroutine":        {source: "package p\nfunc f() { go f() }\n", want: []string{"p.go:2:12: starts a goroutine"}},
		"clock":            {source: "package p\nimport \"time\"\nvar t = time.Now()\n", want: []string{"p.go:3:9: uses time.Now"}},
		"renamed clock":    {source: "package p\nimport clock \"time\"\nvar t = clock.Since\n", want: []string{"p.go:3:9: uses time.Since"}},
		"socket":           {source: "package p\nimport \"net/http\"\nvar c http.Client\n", want: []string{"p.go:2:8: imports net/http"}},
		"file":             {source: "package p\nimport \"os\"\nvar f os.File\n", want: []string{"p.go:2:8: imports os"}},
		"shared random":    {source: "package p\nimport \"math/rand/v2\"\nvar n = rand.IntN(3)\n", want: []string{"p.go:3:9: uses math/rand/v2.IntN"}},
		"own random":       {source: "package p\nimport \"math/rand/v2\"\nfunc f(r *rand.Rand) int { return r.IntN(3) }\n"},
		"channels":         {source: "package p\nfunc f(c chan int) { c <- 1; <-c }\n", want: []string{"p.go:2:22: sends to a channel", "p.go:2:30: receives from a channel"}},
		"select":           {source: "package p\nfunc f() { select {} }\n", want: []string{"p.go:2:12: waits on channels"}},
		"field named Now":  {source: "package p\ntype o struct{ Now int }\nfunc f(time o) int { return time.Now }\n"},
		"shell of storage": {source: "package p\nimport _ \"github.com/weir-stream/weir/runtime/storage/s3\"\n", want: []string{"p.go:2:8: imports github.com/weir-stream/weir/runtime/storage/s3"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Impurities("p.go", tc.source)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("Impurities = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestImportRule_Check(t *testing.T) {
	t.Parallel()
	rule := ImportRule{
		Name: "rule", From: []string{"runtime"}, Except: []string{"runtime/x"},
		Deny: []string{"k8s.io", own("api")}, Allow: []string{"k8s.io/klog"}, Linked: true,
	}
	tests := map[string]struct {
		p           Package
		want        []string
		wantChecked int
	}{
		"fine":          {p: Package{ImportPath: own("runtime/a"), Imports: []string{"fmt", "k8s.iox/b"}}, wantChecked: 1},
		"direct":        {p: Package{ImportPath: own("runtime/a"), Imports: []string{"k8s.io/api"}}, want: []string{"rule: " + own("runtime/a") + " sees k8s.io/api"}, wantChecked: 1},
		"indirect":      {p: Package{ImportPath: own("runtime/a"), Deps: []string{own("api/v1")}}, want: []string{"rule: " + own("runtime/a") + " sees " + own("api/v1")}, wantChecked: 1},
		"in a test":     {p: Package{ImportPath: own("runtime/a"), XTestImports: []string{"k8s.io/api"}}, want: []string{"rule: " + own("runtime/a") + " sees k8s.io/api"}, wantChecked: 1},
		"allowed":       {p: Package{ImportPath: own("runtime/a"), Imports: []string{"k8s.io/klog/v2"}}, wantChecked: 1},
		"left out":      {p: Package{ImportPath: own("runtime/x"), Imports: []string{"k8s.io/api"}}},
		"other folder":  {p: Package{ImportPath: own("runtimes"), Imports: []string{"k8s.io/api"}}},
		"folder itself": {p: Package{ImportPath: own("runtime")}, wantChecked: 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, checked := rule.Check([]Package{tc.p})
			if !slices.Equal(got, tc.want) || checked != tc.wantChecked {
				t.Errorf("Check = %q of %d packages, want %q of %d", got, checked, tc.want, tc.wantChecked)
			}
		})
	}
}

func TestHasLicence(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		licence + "\npackage p\n":                          true,
		"//go:build linux\n\n" + licence + "\npackage p\n": true,
		"package p\n": false,
		"// Package p.\n" + licence + "package p\n": false,
		"": false,
	} {
		if got := HasLicence([]byte(text)); got != want {
			t.Errorf("HasLicence(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestBadName(t *testing.T) {
	t.Parallel()
	for folder, want := range map[string]bool{"runtime/metrics": true, "runtime/state/types": true, "runtime/telemetry": false} {
		if got := BadName(folder) != ""; got != want {
			t.Errorf("BadName(%q) says bad: %v, want %v", folder, got, want)
		}
	}
}
