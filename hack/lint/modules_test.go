// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"os"
	"path/filepath"
	"testing"
)

// TestTree_DeployUsesTheVersionsOfTheMainModule keeps the libraries of Kubernetes from being compiled twice: on a machine that has nothing yet, that takes minutes.
func TestTree_DeployUsesTheVersionsOfTheMainModule(t *testing.T) {
	t.Parallel()
	root := load(t).root
	main, deploy := requirements(t, filepath.Join(root, "go.mod")), requirements(t, filepath.Join(root, "hack/deploy/go.mod"))
	common := 0
	for module, version := range deploy {
		if want := main[module]; want != "" {
			common++
			if version != want {
				t.Errorf("hack/deploy/go.mod has %s %s, the main module %s: take the higher one in both", module, version, want)
			}
		}
	}
	if common < 30 {
		t.Errorf("only %d modules are in both", common)
	}
}

// requirements returns the modules of a go.mod, and their versions.
func requirements(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return Requirements(string(text))
}
