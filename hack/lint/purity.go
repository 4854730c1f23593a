// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// PureCores are the packages that decide and do nothing else: what they need to know of the world is passed in, what
// they want done is given back. The simulator runs them as they are, so they must not act on their own.
var PureCores = []string{
	"runtime/barrier",
	"runtime/checkpoint",
	"runtime/graph",
	"runtime/job",
	"runtime/operator",
	"runtime/protocol",
	"runtime/record",
	"runtime/snapshot",
	"runtime/task",
}

// Shells are the files and folders inside those packages that are not pure: what drives a core, here or in
// tests, or reads storage.
var Shells = []string{
	"runtime/operator/operatortest",
	"runtime/operator/txn/blocking.go",
	"runtime/operator/txn/manager.go",
	"runtime/snapshot/reclaim",
	"runtime/snapshot/sweep",
	"runtime/snapshot/verify",
	"runtime/task/run.go",
	"runtime/task/tasktest",
}

// impureImports are packages that reach outside the process, or block; with everything below them.
var impureImports = []string{
	"net", "os", "syscall", "golang.org/x/sys", "golang.org/x/sync", "google.golang.org/grpc",
	"github.com/minio/minio-go", "crypto/rand", "math/rand", "database/sql",
	own("runtime/storage"), own("runtime/transport"), own("runtime/coordinator"), own("runtime/worker"), own("runtime/connector"),
}

// impureNames are functions that read the clock or draw from a shared source of randomness, by import path.
var impureNames = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
	"math/rand/v2": {
		"Int", "IntN", "Int32", "Int32N", "Int64", "Int64N", "Uint32", "Uint32N", "Uint64", "Uint64N", "Uint", "UintN",
		"N", "Float32", "Float64", "NormFloat64", "ExpFloat64", "Perm", "Shuffle",
	},
	"context": {"Background", "TODO", "WithTimeout", "WithDeadline", "AfterFunc"},
}

// Impurities returns what a Go file of a pure core must not do: start a goroutine, use a channel, read a clock, open a
// socket or a file.
func Impurities(name string, source any) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parsing a Go file: %w", err)
	}
	w := purityWalk{fset: fset, imports: map[string]string{}}
	w.readImports(file)
	ast.Inspect(file, w.visit)
	return w.found, nil
}

type purityWalk struct {
	fset *token.FileSet
	// imports maps the name of a package in the file to its import path.
	imports map[string]string
	found   []string
}

func (w *purityWalk) reportf(at token.Pos, format string, args ...any) {
	w.found = append(w.found, fmt.Sprintf("%s: %s", w.fset.Position(at), fmt.Sprintf(format, args...)))
}

func (w *purityWalk) readImports(file *ast.File) {
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		w.imports[localName(spec, imported)] = imported
		if withinAny(imported, impureImports) && imported != "math/rand/v2" {
			w.reportf(spec.Pos(), "imports %s", imported)
		}
	}
}

// localName returns the name by which a file uses a package.
func localName(spec *ast.ImportSpec, imported string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	base := path.Base(imported)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		return path.Base(path.Dir(imported))
	}
	return base
}

func (w *purityWalk) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		w.reportf(n.Pos(), "starts a goroutine")
	case *ast.SelectStmt:
		w.reportf(n.Pos(), "waits on channels")
	case *ast.SendStmt:
		w.reportf(n.Pos(), "sends to a channel")
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			w.reportf(n.Pos(), "receives from a channel")
		}
	case *ast.SelectorExpr:
		w.selector(n)
	}
	return true
}

func (w *purityWalk) selector(n *ast.SelectorExpr) {
	x, ok := n.X.(*ast.Ident)
	if !ok {
		return
	}
	imported, ok := w.imports[x.Name]
	if !ok {
		return
	}
	if slices.Contains(impureNames[imported], n.Sel.Name) {
		w.reportf(n.Pos(), "uses %s.%s", imported, n.Sel.Name)
	}
}
