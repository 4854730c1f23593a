// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"
)

// MaxKeyGroups is the largest number of key groups of a job.
const MaxKeyGroups = 32768

// maxInlineValue is the largest fixed value size in bytes.
const maxInlineValue = 256

// defaultPartSize is how large a snapshot file grows unless Options say otherwise.
const defaultPartSize = 16 << 20

// KeyKind says what the keys of a state are.
type KeyKind uint8

// The kinds of key.
const (
	// Int64Keys are integers; their key bytes are eight, little endian.
	Int64Keys KeyKind = iota + 1
	// BytesKeys are byte strings: strings as they are, other types as their coder writes them.
	BytesKeys
	// PairKeys are byte strings that begin with another key, their owner, whose key group they share: the length of
	// the owner's key bytes as uvarint, those bytes, and what tells the entries of an owner apart.
	PairKeys
)

// String returns "int64" or "bytes".
func (k KeyKind) String() string {
	switch k {
	case Int64Keys:
		return "int64"
	case BytesKeys:
		return "bytes"
	case PairKeys:
		return "pairs"
	default:
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
}

// Descriptor describes one state of an operator.
type Descriptor struct {
	// Name is unique within the operator and is the identity of the state over restarts.
	Name string `json:"name"`
	// Keys says what the keys are.
	Keys KeyKind `json:"keys"`
	// Kind says what the entries mean to the program; it must be equal at a restore.
	Kind Kind `json:"kind,omitempty"`
	// ValueSize is the size of every value in bytes, a multiple of 8 up to 256; 0 for values of variable size.
	ValueSize int `json:"valueSize,omitempty"`
	// KeyType and ValueType are signatures of the schema; they are recorded and must be equal at a restore.
	KeyType   string `json:"keyType,omitempty"`
	ValueType string `json:"valueType,omitempty"`
}

func (d Descriptor) validate() error {
	switch {
	case d.Name == "":
		return fmt.Errorf("state has no name; give it one, it is its identity over restarts")
	case len(d.Name) > 1<<16-1:
		return fmt.Errorf("name of state is %d bytes long; at most 65535 are allowed", len(d.Name))
	case d.Keys < Int64Keys || d.Keys > PairKeys:
		return fmt.Errorf("state %q has unknown key kind %d", d.Name, d.Keys)
	case d.Kind > maxKind:
		return fmt.Errorf("state %q has unknown kind %d", d.Name, d.Kind)
	case d.ValueSize < 0 || d.ValueSize > maxInlineValue || d.ValueSize%8 != 0:
		return fmt.Errorf("state %q has values of %d bytes; a fixed size is a multiple of 8 up to %d, larger values use a variable size (0)",
			d.Name, d.ValueSize, maxInlineValue)
	}
	return nil
}

// Options configure the backend of one subtask.
type Options struct {
	// MaxParallelism is the number of key groups of the job, 1 to 32768.
	MaxParallelism int
	// First and Last are the key groups of this subtask, both included.
	First, Last int
	// MemoryBudget bounds what MemoryBytes may reach, in bytes; 0 for no bound. See [Memory.Err].
	MemoryBudget int64
	// Account counts the memory together with that of other backends, and bounds it; nil for none. See [Memory.Close].
	Account *Account
	// PartSize is the size in bytes at which a snapshot starts another file; 0 for 16 MiB, at most 32 MiB.
	PartSize int
}

// EnsureDefaults fills in what was left unset.
func (o *Options) EnsureDefaults() {
	if o.PartSize == 0 {
		o.PartSize = defaultPartSize
	}
}

// Validate says what is wrong with the options.
func (o *Options) Validate() error {
	switch {
	case o.MaxParallelism < 1 || o.MaxParallelism > MaxKeyGroups:
		return fmt.Errorf("max parallelism %d is out of range; it must be 1 to %d", o.MaxParallelism, MaxKeyGroups)
	case o.First < 0 || o.Last < o.First || o.Last >= o.MaxParallelism:
		return fmt.Errorf("key groups %d to %d are no range within 0 to %d", o.First, o.Last, o.MaxParallelism-1)
	case o.MemoryBudget < 0:
		return fmt.Errorf("memory budget %d is negative; use 0 for no bound", o.MemoryBudget)
	case o.PartSize < 0 || o.PartSize > 32<<20:
		return fmt.Errorf("part size %d is out of range; it must be 1 to %d bytes, or 0 for the default", o.PartSize, 32<<20)
	}
	return nil
}

// GroupRange returns the first and last key group of subtask i of p.
func GroupRange(i, p, maxParallelism int) (first, last int) {
	return (i*maxParallelism + p - 1) / p, ((i+1)*maxParallelism - 1) / p
}
