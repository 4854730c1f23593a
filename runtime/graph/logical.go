// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"time"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// Partitioning says how rows of an edge find their subtask.
type Partitioning uint8

// The partitionings.
const (
	// Forward keeps rows in the subtask of the same index; between different parallelisms it becomes Rebalance.
	Forward Partitioning = iota
	// Hash sends a row to the subtask that owns the key group of its hash.
	Hash
	// Rebalance spreads batches evenly, round robin.
	Rebalance
	// Broadcast sends every row to every subtask.
	Broadcast
)

// String returns the name of the partitioning.
func (p Partitioning) String() string {
	return [...]string{"forward", "hash", "rebalance", "broadcast"}[p]
}

// Edge is an input of a node. Several edges with the same Input are a union.
type Edge struct {
	// From is the name of the node that produces the rows.
	From string
	// Input is the logical input of the consuming operator: 0, or 1 for the second of two inputs.
	Input int
	// Partition says how rows travel.
	Partition Partitioning
	// NewHasher makes the hasher of one producing subtask; set exactly for Hash.
	NewHasher func() record.Hasher
}

// Node is one dataflow operator of the logical graph. Exactly one of NewSource and NewOperator is set.
type Node struct {
	// Name is the identity of the operator: state is restored by it. Mandatory, unique.
	Name string
	// PreviousNames lets state of renamed operators be found.
	PreviousNames []string
	// Parallelism of this node; 0 for the job's.
	Parallelism int
	// MaxParallelism bounds this node's own parallelism, e.g. 1 for a source that can't be divided; 0 for no bound.
	MaxParallelism int
	// Inputs is empty exactly for sources.
	Inputs []Edge
	// NewSource and NewOperator make the instance of one subtask.
	NewSource   func() operator.Source
	NewOperator func() operator.Operator
	// Keyed declares keyed state; every input must be Hash, or Broadcast, whose rows go with no key.
	Keyed bool
	// Output is the type of the batches it emits; nil for a sink.
	Output record.Type
	// Bounded says of a source that it ends by itself.
	Bounded bool
	// Trims says of a source that it may give up its input upstream, up to its position in a completed snapshot: acknowledge or delete what it has
	// read. Then nothing may go back behind that snapshot.
	Trims bool
	// Transactional says that it commits to the outside on completion of a snapshot.
	Transactional bool
	// TransactionTimeout is how long a transaction of it may be open before the outside drops it; 0 for as long as it takes.
	TransactionTimeout time.Duration
	// CheckState says of the operator state that a subtask is to take whether it can, without opening anything: an [operator.StateError] or an
	// [operator.UnusedStateError]. Nil: that shows when the operator is opened.
	CheckState func(lists []operator.List) error
	// NoChain keeps the node apart from its producer.
	NoChain bool
	// Signature describes the configuration that must agree between coordinator and workers; enters the fingerprint.
	Signature string
}

// Graph is the logical graph of a job.
type Graph struct {
	// Nodes in topological order: a node comes after its inputs.
	Nodes []*Node
}
