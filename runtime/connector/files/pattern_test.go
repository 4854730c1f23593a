// SPDX-License-Identifier: Apache-2.0

package files

import (
	"strings"
	"testing"
)

func TestMatches(t *testing.T) {
	for name, tc := range map[string]struct {
		pattern, name string
		want          bool
	}{
		"plain":              {"a/b", "a/b", true},
		"too short":          {"a/b", "a", false},
		"too long":           {"a", "a/b", false},
		"star":               {"*.txt", "a.txt", true},
		"star is no slash":   {"*.txt", "a/b.txt", false},
		"star may be empty":  {"a*", "a", true},
		"two stars go back":  {"*ab*c", "aababxc", true},
		"two stars fail":     {"*ab*c", "aabab", false},
		"question mark":      {"?.txt", "ä.txt", true},
		"question mark one":  {"?.txt", ".txt", false},
		"any depth none":     {"**/a", "a", true},
		"any depth some":     {"**/a", "x/y/a", true},
		"any depth middle":   {"x/**/a", "x/y/z/a", true},
		"any depth end":      {"x/**", "x/y/z", true},
		"any depth not":      {"x/**/b", "x/y/a", false},
		"two any depths":     {"**/b/**/d", "a/b/c/b/c/d", true},
		"brackets are plain": {"[a]*", "[a]b", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := matches(strings.Split(tc.pattern, "/"), strings.Split(tc.name, "/")); got != tc.want {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestSplitPattern(t *testing.T) {
	base, pattern := splitPattern("/data/in/*/x.txt")
	if base != "/data/in" || strings.Join(pattern, "/") != "*/x.txt" {
		t.Errorf("%q %q", base, pattern)
	}
	if base, pattern := splitPattern("/data/in"); base != "/data/in" || pattern != nil {
		t.Errorf("%q %q", base, pattern)
	}
}
