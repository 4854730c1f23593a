// SPDX-License-Identifier: Apache-2.0

package assign

import (
	"fmt"

	"github.com/weir-stream/weir/runtime/snapshot"
)

// Warnings says what somebody may not have meant by giving the state of m to the shape: state that is dropped by consent, operators
// with keyed state that start empty, and sources that read from the beginning. It is for what [Assign] accepts; a nil m gives none.
func Warnings(shape Shape, m *snapshot.Manifest, o Options) []string {
	if m == nil {
		return nil
	}
	a := &assigner{shape: shape, m: m, o: o, old: map[string]*snapshot.OperatorState{}}
	a.match()
	var out []string
	taken := map[*snapshot.OperatorState]bool{}
	for _, old := range a.old {
		taken[old] = true
	}
	for i := range m.Operators {
		if old := &m.Operators[i]; !taken[old] && !old.Empty() {
			out = append(out, fmt.Sprintf("the state of %q is dropped: the graph has no operator for it, and upgrade.allowNonRestoredState is set", old.Name))
		}
	}
	for _, v := range shape.Vertices {
		for i, op := range v.Operators {
			switch {
			case a.old[op.Name] != nil:
			case op.Keyed:
				out = append(out, fmt.Sprintf("%q starts with empty state: the snapshot doesn't know it", op.Name))
			case i == 0 && len(v.Inputs) == 0:
				out = append(out, fmt.Sprintf("source %q reads from its beginning: the snapshot doesn't know it", op.Name))
			}
		}
	}
	return out
}
