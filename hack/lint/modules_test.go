// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestTree_OtherModulesUseTheVersionsOfTheMainModule keeps libraries, those of Kubernetes above all, from being compiled once for each module that uses them: on a machine
// that has nothing yet, that takes minutes.
func TestTree_OtherModulesUseTheVersionsOfTheMainModule(t *testing.T) {
	t.Parallel()
	root := load(t).root
	main := Requirements(goMod(t, root))
	tests := map[string]struct {
		// common is a number of modules that are in both for certain.
		common int
		// except are those that this module needs in another version.
		except []string
	}{
		"hack/deploy":                  {common: 30},
		"hack/localcluster/kubernetes": {common: 80},
		"hack/localcluster/etcd":       {common: 30},
		"hack/localcluster/containerd": {common: 40, except: []string{"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"}},
		"hack/localcluster/coredns":    {common: 40, except: []string{"golang.org/x/time", "google.golang.org/genproto/googleapis/rpc"}},
	}
	for dir, tc := range tests {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			text := goMod(t, filepath.Join(root, dir))
			required, replaced := Requirements(text), replacements(text)
			common := 0
			for module, want := range main {
				version := required[module]
				if version == "" {
					continue
				}
				common++
				switch except := slices.Contains(tc.except, module); {
				case except && version == want:
					t.Errorf("%s has %s %s, as the main module has: it is no exception any more", dir, module, version)
				case !except && version != want:
					t.Errorf("%s has %s %s, the main module %s: take the higher one in both", dir, module, version, want)
				}
				// What is compiled is the replacement, and the version that is required is in its debug information: both have to be the same.
				if r := replaced[module]; r != "" && r != module+" "+version {
					t.Errorf("%s requires %s %s and replaces it by %s", dir, module, version, r)
				}
			}
			if common < tc.common {
				t.Errorf("only %d modules are in both", common)
			}
		})
	}
}

var replacement = regexp.MustCompile(`(?m)^(?:replace)?\s*(\S+)(?: v\S+)? => (.+)$`)

// replacements returns what modules are replaced by in a go.mod.
func replacements(goMod string) map[string]string {
	modules := map[string]string{}
	for _, m := range replacement.FindAllStringSubmatch(goMod, -1) {
		modules[m[1]] = m[2]
	}
	return modules
}

// goMod returns the go.mod of a folder.
func goMod(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
