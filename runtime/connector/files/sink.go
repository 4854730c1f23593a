// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// finalSuffix ends the names of JSON lines.
const finalSuffix = ".jsonl"

// sink writes encoded batches.
type sink struct {
	to         target
	newEncoder func() format.Encoder
	encoder    format.Encoder
	tx         *transactions
	finishing  bool
}

// Open implements [operator.Operator].
func (s *sink) Open(ctx context.Context, c *operator.Context) (err error) {
	s.encoder = s.newEncoder()
	to := s.to
	to.stem = c.Name
	s.tx, err = openTransactions(ctx, c, to)
	return atStart(c, err)
}

// Process implements [operator.Operator].
func (s *sink) Process(_ int, b record.Batch) (operator.Status, error) {
	s.tx.buf = s.encoder.AppendBatch(s.tx.buf, b)
	return s.Resume()
}

// Resume implements [operator.Operator].
func (s *sink) Resume() (operator.Status, error) {
	next := s.tx.room
	if s.finishing {
		next = s.tx.finish
	}
	done, err := next()
	if err != nil || done {
		return operator.Done, err
	}
	return operator.Paused, nil
}

// Snapshot implements [operator.Stateful].
func (s *sink) Snapshot(b record.Barrier) (operator.AsyncSnapshot, error) {
	return s.tx.snapshot(b), nil
}

// NotifyComplete implements [operator.Listener].
func (s *sink) NotifyComplete(ctx context.Context, checkpoint int64) error {
	return s.tx.complete(ctx, checkpoint)
}

// NotifyAborted implements [operator.Listener]: the parts of the snapshot belong to the next one.
func (s *sink) NotifyAborted(int64) {}

// Finish implements [operator.Finisher]: without snapshots everything becomes visible now.
func (s *sink) Finish() (operator.Status, error) {
	if s.tx.checkpointed {
		return operator.Done, nil
	}
	s.finishing = true
	return s.Resume()
}

// Close implements [operator.Operator].
func (s *sink) Close() error {
	if s.tx == nil {
		return nil
	}
	return s.tx.close()
}
