// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"context"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// plainSink makes rows visible at once, so that some come again after a failure.
type plainSink struct {
	out *outside
	ctx *operator.Context
}

// Open implements operator.Operator.
func (s *plainSink) Open(_ context.Context, c *operator.Context) error {
	s.ctx = c
	return nil
}

// Process implements operator.Operator.
func (s *plainSink) Process(_ int, b record.Batch) (operator.Status, error) {
	x := b.(*batch)
	x.check()
	for _, r := range x.rows {
		s.out.show("", s.ctx.Name, r)
	}
	return operator.Done, nil
}

// Resume implements operator.Operator.
func (s *plainSink) Resume() (operator.Status, error) { return operator.Done, nil }

// Close implements operator.Operator.
func (s *plainSink) Close() error { return nil }
