// SPDX-License-Identifier: Apache-2.0

// Package logsink is a sink that writes each row to the log of the worker, for looking at a job while it is made.
package logsink

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

type sink struct {
	name   string
	log    logr.Logger
	values []any
}

// New returns the sink of one subtask.
func New() operator.Operator { return &sink{} }

// Open implements [operator.Operator].
func (s *sink) Open(_ context.Context, c *operator.Context) error {
	s.name, s.log = c.Name, c.Log
	return nil
}

// Process implements [operator.Operator].
func (s *sink) Process(_ int, in record.Batch) (operator.Status, error) {
	b, ok := in.(*columns.Batch)
	if !ok {
		return operator.Done, fmt.Errorf("operator %q: a batch of type %T came in where columns are expected", s.name, in)
	}
	for i := range b.Len() {
		s.values = s.values[:0]
		for c, f := range b.Schema().Fields() {
			s.values = append(s.values, f.Name, value(&b.Columns[c], i))
		}
		s.log.Info("Row", s.values...)
	}
	return operator.Done, nil
}

func value(v *columns.Vector, i int) any {
	switch v.Kind {
	case columns.Int:
		return v.Ints[i]
	case columns.Float:
		return v.Floats[i]
	case columns.Bool:
		return v.Bools[i]
	default:
		return string(v.Text(i))
	}
}

// Resume implements [operator.Operator].
func (s *sink) Resume() (operator.Status, error) { return operator.Done, nil }

// Close implements [operator.Operator].
func (s *sink) Close() error { return nil }
