// SPDX-License-Identifier: Apache-2.0

package state

import "fmt"

// Kind says what the entries of a state mean to the program.
type Kind uint8

// The kinds of state.
const (
	// ValueKind is one value for each key.
	ValueKind Kind = iota
	// ListKind is a list of elements for each key, see [List].
	ListKind
	// MapKind is a map for each key, see [Map].
	MapKind
	// ReducingKind is a value that new ones are combined with, see [Reducing].
	ReducingKind
	// AggregatingKind is an accumulator, see [Aggregating].
	AggregatingKind
	// TimersKind is a set of timers, see [Timers].
	TimersKind
)

const maxKind = TimersKind

// String returns the name of the kind, as messages show it.
func (k Kind) String() string {
	names := [...]string{"value", "list", "map", "reducing", "aggregating", "timers"}
	if int(k) >= len(names) {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return names[k]
}
