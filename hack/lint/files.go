// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// licence is the first line of every Go file.
const licence = "// SPDX-License-Identifier: Apache-2.0\n"

// GoFiles returns the Go files below a folder, without those of folders that the go command does not look into.
func GoFiles(root string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() && name != root && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "vendor" || base == "bin") {
			return fs.SkipDir
		}
		if !entry.IsDir() && filepath.Ext(base) == ".go" {
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("walking the tree: %w", err)
	}
	return files, nil
}

// HasLicence says whether the text of a Go file starts with the licence, after build constraints if it has any.
func HasLicence(text []byte) bool {
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("//go:build ")) || len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		return string(line) == licence
	}
	return false
}

// takenNames are names that a package of the engine must not have: those of packages below runtime of the standard
// library, between which tools could not choose, and those that say nothing.
var takenNames = []string{
	"asan", "cgo", "coverage", "debug", "metrics", "msan", "pprof", "race", "secret", "trace",
	"api", "util", "utils", "common", "helpers", "types", "errors", "log", "context",
}

// BadName says why a folder below runtime has the wrong name, or nothing.
func BadName(folder string) string {
	for part := range strings.SplitSeq(filepath.ToSlash(folder), "/") {
		if slices.Contains(takenNames, part) {
			return fmt.Sprintf("the name %q is that of a package of the standard library, or says nothing", part)
		}
	}
	return ""
}

// Root returns the root of the module that holds the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the root of the module: %w", err)
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte("module "+Module+"\n")) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("finding the root of the module: no go.mod of %s above the working directory", Module)
		}
		dir = parent
	}
}
