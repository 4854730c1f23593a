// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
)

// ToTransactional ends a stream in a sink that writes in transactions, made anew for each subtask: every row becomes visible outside exactly once, when the
// checkpoint after it has completed. A client says what to do, package txn when; see also [TransactionTimeout].
func ToTransactional[T any](s Stream[T], name string, newClient func() txn.Client[T], opts ...Option) {
	s.job.add(&graph.Node{
		Name: name, Inputs: s.edges(0), Transactional: true, CheckState: operator.OnlyLists(txn.ListName),
		NewOperator: func() operator.Operator { return txn.NewOperator(txn.Blocking(newClient())) },
	}, opts)
}
