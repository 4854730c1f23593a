// SPDX-License-Identifier: Apache-2.0

package files

import (
	"strings"
)

const (
	// meta are the characters that make a path a pattern.
	meta = "*?"
	// anyDepth stands for any number of segments.
	anyDepth = "**"
)

// splitPattern cuts a path before the first segment with a meta character.
func splitPattern(path string) (base string, pattern []string) {
	if !strings.ContainsAny(path, meta) {
		return path, nil
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if strings.ContainsAny(s, meta) {
			return strings.Join(segments[:i], "/"), segments[i:]
		}
	}
	return path, nil
}

// matches says whether the segments of a name fit a pattern.
func matches(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == anyDepth {
			for i := range len(name) + 1 {
				if matches(pattern[1:], name[i:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 || !matchSegment(pattern[0], name[0]) {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return len(name) == 0
}

// matchSegment matches one segment with * and ?. It goes back only to the last *.
func matchSegment(pattern, name string) bool {
	p, n := []rune(pattern), []rune(name)
	pi, ni, star, mark := 0, 0, -1, 0
	for ni < len(n) {
		switch {
		case pi < len(p) && p[pi] == '*':
			star, mark = pi, ni
			pi++
		case pi < len(p) && (p[pi] == '?' || p[pi] == n[ni]):
			pi++
			ni++
		case star >= 0:
			mark++
			pi, ni = star+1, mark
		default:
			return false
		}
	}
	for pi < len(p) && p[pi] == '*' {
		pi++
	}
	return pi == len(p)
}

// ours says that a name is below a directory in which Weir keeps what isn't finished.
func ours(name string) bool {
	for s := range strings.SplitSeq(name, "/") {
		if s == stagingDir || s == storeTempDir {
			return true
		}
	}
	return false
}
