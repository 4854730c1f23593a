// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"strings"
)

// Module is the path of the module.
const Module = "github.com/weir-stream/weir"

// Package is what go list says of a package.
type Package struct {
	// ImportPath is the path that other packages import.
	ImportPath string
	// Dir is where its files are.
	Dir string
	// Name is the name in its package clauses.
	Name string
	// Doc is the first sentence of its comment.
	Doc string
	// GoFiles are the files that are built, without tests.
	GoFiles []string
	// Imports, TestImports and XTestImports are the direct imports of the package and of its tests.
	Imports, TestImports, XTestImports []string
	// Deps are all packages that it links.
	Deps []string
}

// Path returns the path of the package inside the module.
func (p *Package) Path() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, Module), "/")
}

// DirectImports returns the imports of the package and of its tests.
func (p *Package) DirectImports() []string {
	all := make([]string, 0, len(p.Imports)+len(p.TestImports)+len(p.XTestImports))
	return append(append(append(all, p.Imports...), p.TestImports...), p.XTestImports...)
}

// Packages lists the packages of the module whose root is dir.
func Packages(ctx context.Context, dir string) ([]Package, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-e",
		"-json=ImportPath,Dir,Name,Doc,GoFiles,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w: %s", err, stderr.String())
	}
	var packages []Package
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("decoding the list of packages: %w", err)
		}
		packages = append(packages, p)
	}
}

// within says whether an import path is that of a folder or of a package below it.
func within(importPath, folder string) bool {
	return importPath == folder || strings.HasPrefix(importPath, folder+"/")
}

func withinAny(importPath string, folders []string) bool {
	for _, folder := range folders {
		if within(importPath, folder) {
			return true
		}
	}
	return false
}

// own returns the import path of a folder of the module.
func own(folder string) string { return path.Join(Module, folder) }
