// SPDX-License-Identifier: Apache-2.0

package state

import "fmt"

// BudgetError says that keyed state takes more memory than it may use.
type BudgetError struct {
	// Used and Budget in bytes.
	Used, Budget int64
	// Held is what only open snapshots of this backend need, in bytes.
	Held int64
	// Shared says that Used and Budget are those of an account, of several backends together.
	Shared bool
	// State is the largest state of this backend, and Bytes what it takes.
	State string
	Bytes int64
}

// Error implements error.
func (e *BudgetError) Error() string {
	whose := "keyed state"
	if e.Shared {
		whose = "keyed state of all tasks of this worker"
	}
	return fmt.Sprintf("%s takes %d bytes, above the memory budget of %d bytes; here, state %q takes the most with %d bytes, and %d bytes are held for running snapshots; "+
		"raise the budget, spread the job over more workers, or keep less state", whose, e.Used, e.Budget, e.State, e.Bytes, e.Held)
}

// SchemaError says that a state in a snapshot is of another type than the job's.
type SchemaError struct {
	// State is the name of the state.
	State string
	// What differs: "key type", "value type", "key kind", "kind" or "value size".
	What string
	// Old is that of the snapshot, New that of the job.
	Old, New string
}

// Error implements error.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("state %q has %s %s in the snapshot but %s in the job; keep the type, or use another name for the new state",
		e.State, e.What, e.Old, e.New)
}

// FormatError says that a file of a snapshot has a format that this version doesn't know. It is whole: another version of Weir reads it.
type FormatError struct {
	// What it is, such as "state file", and Path where.
	What, Path string
	// Version of its format, and the newest that is Known here.
	Version, Known int64
}

// Error implements error.
func (e *FormatError) Error() string {
	return fmt.Sprintf("%s %s has version %d of the format and this version reads up to %d: use the version of Weir that wrote it, or a newer one", e.What, e.Path, e.Version, e.Known)
}

// CorruptError says where a snapshot file is damaged.
type CorruptError struct {
	// Path of the file.
	Path string
	// Section is the damaged part, e.g. "header", "index" or "state \"count\" key group 17".
	Section string
	// Offset of that part in the file.
	Offset int64
	// End is where the part ends, as far as that is known; else 0.
	End int64
	// Reason says what is wrong.
	Reason string
}

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("state file %s is corrupt: %s at offset %d: %s; restore from another checkpoint or savepoint, or put back the file from a backup",
		e.Path, e.Section, e.Offset, e.Reason)
}

// compare checks that state d of the job is what the snapshot holds.
func (d Descriptor) compare(old Descriptor) error {
	differ := func(what, o, n string) error { return &SchemaError{State: d.Name, What: what, Old: o, New: n} }
	switch {
	case old.Keys != d.Keys:
		return differ("key kind", old.Keys.String(), d.Keys.String())
	case old.Kind != d.Kind:
		return differ("kind", old.Kind.String(), d.Kind.String())
	case old.KeyType != d.KeyType:
		return differ("key type", quoted(old.KeyType), quoted(d.KeyType))
	case old.ValueType != d.ValueType:
		return differ("value type", quoted(old.ValueType), quoted(d.ValueType))
	case old.ValueSize != d.ValueSize:
		return differ("value size", fmt.Sprint(old.ValueSize), fmt.Sprint(d.ValueSize))
	}
	return nil
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }
