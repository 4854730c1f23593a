// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"slices"
	"strings"
)

// Requirements returns the modules that the text of a go.mod file requires, directly or not, with their versions.
func Requirements(goMod string) map[string]string {
	modules := map[string]string{}
	inBlock := false
	for line := range strings.Lines(goMod) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case len(fields) == 2 && fields[0] == "require" && fields[1] == "(":
			inBlock = true
		case fields[0] == ")":
			inBlock = false
		case inBlock && len(fields) >= 2 && fields[0] != "//":
			modules[fields[0]] = fields[1]
		case len(fields) >= 3 && fields[0] == "require":
			modules[fields[1]] = fields[2]
		}
	}
	return modules
}

// DirectModules returns those of the modules that packages of this module or their tests import.
func DirectModules(packages []Package, modules map[string]string) []string {
	var direct []string
	for i := range packages {
		for _, imported := range packages[i].DirectImports() {
			if m := moduleOf(imported, modules); m != "" {
				direct = append(direct, m)
			}
		}
	}
	slices.Sort(direct)
	return slices.Compact(direct)
}

// moduleOf returns the module with the longest path that holds a package.
func moduleOf(importPath string, modules map[string]string) string {
	longest := ""
	for m := range modules {
		if within(importPath, m) && len(m) > len(longest) {
			longest = m
		}
	}
	return longest
}
