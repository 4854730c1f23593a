// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"slices"
)

// ImportRule says what the packages below some folders must not see.
type ImportRule struct {
	// Name says what the rule is for.
	Name string
	// From are the folders of the module that the rule is about, and Except those that it leaves out.
	From, Except []string
	// Deny are import paths that must not be seen, with everything below them, and Allow those that may be all the same.
	Deny, Allow []string
	// Linked also looks at what is imported indirectly.
	Linked bool
}

// Kubernetes are the import paths of its libraries.
var Kubernetes = []string{"k8s.io", "sigs.k8s.io"}

// ImportRules are the rules of this tree.
func ImportRules() []ImportRule {
	engineSide := slices.Concat(Kubernetes, []string{own("api"), own("controllers"), own("config")})
	return []ImportRule{
		{Name: "the engine runs without Kubernetes", From: []string{"runtime"}, Deny: engineSide, Linked: true},
		{Name: "the pods' program links no Kubernetes library", From: []string{"cmd/engine"}, Deny: engineSide, Linked: true},
		{Name: "examples are built on the engine alone", From: []string{"examples"}, Deny: engineSide, Linked: true},
		{
			Name: "the operator sees of the engine only the contract", From: []string{"controllers"},
			Deny: []string{own("runtime")}, Allow: []string{own("runtime/contract")}, Linked: true,
		},
		{
			Name: "the contract sees nothing of the engine", From: []string{"runtime/contract"},
			Deny: []string{Module}, Allow: []string{own("runtime/contract")}, Linked: true,
		},
		{Name: "the API is a leaf", From: []string{"api"}, Deny: []string{Module}, Allow: []string{own("api")}, Linked: true},
		{
			Name: "nothing imports programs and tests", From: []string{"."}, Except: []string{"cmd", "test", "hack", "bench", "examples"},
			Deny: []string{own("cmd"), own("test"), own("hack"), own("bench"), own("examples")}, Linked: true,
		},
		{Name: "nothing imports a program", From: []string{"."}, Except: []string{"cmd"}, Deny: []string{own("cmd")}},
	}
}

// Check returns what the packages do against the rule, and how many packages it is about.
func (r *ImportRule) Check(packages []Package) (violations []string, checked int) {
	for i := range packages {
		p := &packages[i]
		if !r.covers(p) {
			continue
		}
		checked++
		seen := p.DirectImports()
		if r.Linked {
			seen = append(seen, p.Deps...)
		}
		slices.Sort(seen)
		for _, imported := range slices.Compact(seen) {
			if withinAny(imported, r.Deny) && !withinAny(imported, r.Allow) {
				violations = append(violations, fmt.Sprintf("%s: %s sees %s", r.Name, p.ImportPath, imported))
			}
		}
	}
	return violations, checked
}

func (r *ImportRule) covers(p *Package) bool {
	covered := false
	for _, folder := range r.From {
		covered = covered || within(p.ImportPath, own(folder))
	}
	for _, folder := range r.Except {
		covered = covered && !within(p.ImportPath, own(folder))
	}
	return covered
}
