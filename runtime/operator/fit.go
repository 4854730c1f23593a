// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"slices"
)

// StateError says that an operator can't take its operator state as it is configured now. It is the same at every restart.
type StateError struct{ Err error }

// Error returns the text of the cause.
func (e *StateError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *StateError) Unwrap() error { return e.Err }

// UnusedStateError says that an operator has no use for lists of its operator state, which would be lost with it: positions of a source, transactions of a sink
// that are still to be committed.
type UnusedStateError struct {
	// Lists are the names of the lists.
	Lists []string
}

// Error names the lists and the remedy.
func (e *UnusedStateError) Error() string {
	return fmt.Sprintf("the snapshot holds %q of an operator of this name, which an operator of this kind has no use for: change it back, or give it another name and allow non-restored state", e.Lists)
}

// OnlyLists returns a check of restored state that finds lists with entries of other names: an [UnusedStateError].
func OnlyLists(names ...string) func([]List) error {
	return func(lists []List) error { return unused(lists, names) }
}

// Unused finds restored lists with entries that the operator has not asked for by [Context.List]: an [UnusedStateError]. An operator asks while it is opened.
func (c *Context) Unused() error { return unused(c.Restored, c.asked) }

func unused(lists []List, used []string) error {
	e := &UnusedStateError{}
	for _, l := range lists {
		if len(l.Entries) > 0 && !slices.Contains(used, l.Name) {
			e.Lists = append(e.Lists, l.Name)
		}
	}
	if len(e.Lists) == 0 {
		return nil
	}
	return e
}
