// SPDX-License-Identifier: Apache-2.0

package txn

import (
	"context"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// Operator is the end of a stream in a [Sink]. Its node must be declared Transactional.
type Operator struct {
	m *Manager
	// finishing says that the input has ended and the last commit is being made.
	finishing bool
}

// NewOperator returns the operator of one subtask.
func NewOperator(s Sink) *Operator { return &Operator{m: NewManager(s)} }

// Open implements [operator.Operator].
func (o *Operator) Open(ctx context.Context, c *operator.Context) error { return o.m.Open(ctx, c) }

// Process implements [operator.Operator].
func (o *Operator) Process(_ int, b record.Batch) (operator.Status, error) {
	if b.Len() == 0 {
		return operator.Done, nil
	}
	tx, err := o.m.Current()
	if err != nil {
		return operator.Done, err
	}
	return tx.Write(b)
}

// Resume implements [operator.Operator].
func (o *Operator) Resume() (operator.Status, error) {
	if o.finishing {
		return o.finish()
	}
	if tx := o.m.IfOpen(); tx != nil {
		return tx.Resume()
	}
	return operator.Done, nil
}

// Snapshot implements [operator.Stateful].
func (o *Operator) Snapshot(b record.Barrier) (operator.AsyncSnapshot, error) {
	return o.m.Snapshot(b), nil
}

// NotifyComplete implements [operator.Listener].
func (o *Operator) NotifyComplete(ctx context.Context, checkpoint int64) error {
	return o.m.NotifyComplete(ctx, checkpoint)
}

// NotifyAborted implements [operator.Listener]: the transactions of the snapshot belong to the next one.
func (o *Operator) NotifyAborted(int64) {}

// Finish implements [operator.Finisher].
func (o *Operator) Finish() (operator.Status, error) {
	o.finishing = true
	return o.finish()
}

func (o *Operator) finish() (operator.Status, error) {
	if done, err := o.m.Finish(); err != nil || done {
		return operator.Done, err
	}
	return operator.Paused, nil
}

// Close implements [operator.Operator].
func (o *Operator) Close() error { return o.m.Close() }
