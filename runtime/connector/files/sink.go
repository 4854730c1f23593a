// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
)

// finalSuffix ends the names of JSON lines.
const finalSuffix = ".jsonl"

// sink writes encoded batches.
type sink struct {
	// Operator is set by Open, which comes first.
	*txn.Operator
	to         target
	newEncoder func() format.Encoder
	tx         *transactions
}

// Configure implements [stream.Configured].
func (s *sink) Configure(job contract.JobConfig) {
	s.to.settings = Connectors{Job: job}.settings(s.to.settings)
}

// Open implements [operator.Operator].
func (s *sink) Open(ctx context.Context, c *operator.Context) error {
	to := s.to
	to.stem, to.newEncoder = c.Name, s.newEncoder
	s.tx = &transactions{to: to}
	s.Operator = txn.NewOperator(s.tx)
	return atStart(c, s.Operator.Open(ctx, c))
}

// Close implements [operator.Operator].
func (s *sink) Close() error {
	if s.Operator == nil {
		return nil
	}
	return s.Operator.Close()
}
