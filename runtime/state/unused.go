// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"fmt"
	"slices"
)

// UnusedError says that a snapshot holds keyed state that an operator has no use for, and which would be lost with it.
type UnusedError struct {
	// States are their names, in order.
	States []string
}

// Error names the states and the remedy.
func (e *UnusedError) Error() string {
	return fmt.Sprintf("the snapshot holds state %q that the operator doesn't use any more: keep the state in the program, or set upgrade.allowNonRestoredState (--allow-non-restored-state) to drop it", e.States)
}

// WithEntries returns which of the named states have entries in the files of a snapshot, in order. It reads header and index of as many files as it takes to find
// out, each once; shared files need not be read, since an index says what of them counts.
func WithEntries(ctx context.Context, files []File, r FileReader, names []string) ([]string, error) {
	found, seen := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		if len(found) == len(names) {
			break
		}
		if f.Shared || seen[f.Path] {
			continue
		}
		seen[f.Path] = true
		info, err := ReadFileInfo(ctx, f, r)
		if err != nil {
			return nil, err
		}
		for _, s := range info.Sections {
			if name := info.States[s.State].Name; s.Count > 0 && slices.Contains(names, name) {
				found[name] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !found[name] }), nil
}
