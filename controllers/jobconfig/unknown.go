// SPDX-License-Identifier: Apache-2.0

package jobconfig

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// maxNearby is how many names of fields are suggested in place of one that does not exist.
const maxNearby = 3

// explainUnknown says for each path of a field that the schema doesn't know what may have been meant: a field there that is spelled
// nearly so, or one of that name elsewhere. Paths of which nothing can be said are left out.
func explainUnknown(s *structuralschema.Structural, paths []string) []string {
	var details []string
	for _, path := range paths {
		parents, name := cutPath(path)
		there := s
		for _, p := range parents {
			if there = child(there, p); there == nil {
				break
			}
		}
		if there == nil {
			continue
		}
		where := strings.Join(parents, ".")
		if near := nearest(name, slices.Collect(maps.Keys(there.Properties))); len(near) > 0 {
			details = append(details, fmt.Sprintf("%s: did you mean %s?", path, strings.Join(near, " or ")))
		} else if found := named(s, name, "", where); len(found) > 0 {
			details = append(details, fmt.Sprintf("%s: a field of this name is at %s", path, strings.Join(found, " and ")))
		}
	}
	return details
}

// cutPath splits the path of a field into the names of what it is in, without indices, and its own.
func cutPath(path string) (parents []string, name string) {
	steps := strings.Split(path, ".")
	for i, s := range steps {
		steps[i], _, _ = strings.Cut(s, "[")
	}
	return steps[:len(steps)-1], steps[len(steps)-1]
}

// child returns what a field of an object is described by, if it is a list what its items are; nil if there is no such field.
func child(s *structuralschema.Structural, name string) *structuralschema.Structural {
	p, ok := s.Properties[name]
	switch {
	case ok:
	case s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil:
		p = *s.AdditionalProperties.Structural
	default:
		return nil
	}
	for p.Items != nil {
		p = *p.Items
	}
	return &p
}

// named returns where below a schema fields of a name are, except in one place and in what Kubernetes itself describes, the templates of
// pods; nothing if they are too many to be a help.
func named(s *structuralschema.Structural, name, at, except string) []string {
	var found []string
	for _, property := range slices.Sorted(maps.Keys(s.Properties)) {
		if at == "" && property != "spec" || property == "podTemplate" || property == "template" {
			continue
		}
		path := strings.TrimPrefix(at+"."+property, ".")
		if property == name && at != except {
			found = append(found, path)
		}
		found = append(found, named(child(s, property), name, path, except)...)
	}
	if at == "" && len(found) > maxNearby {
		return nil
	}
	return found
}

// nearest returns the names that differ least from one, if that is little: by case alone, or by so few letters that it can be a slip.
func nearest(name string, names []string) []string {
	var near []string
	best := 1 + len(name)/4
	for _, n := range slices.Sorted(slices.Values(names)) {
		d := distance(strings.ToLower(name), strings.ToLower(n))
		if d < best {
			best, near = d, nil
		}
		if d == best {
			near = append(near, n)
		}
	}
	if len(near) > maxNearby {
		return nil
	}
	return near
}

// distance is how many bytes have to be put in, taken out or replaced to make one word of another (Levenshtein's).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
