// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// Connect handles the rows of two streams in one operator: f1 those of the first, f2 those of the
// second. Both are called from the same goroutine of a subtask.
func Connect[A, B, U any](a Stream[A], b Stream[B], name string, f1 func(A, *Collector[U]), f2 func(B, *Collector[U]), opts ...Option) Stream[U] {
	out := newStream[U](a.job, name, nil)
	if a.job != b.job {
		a.job.fail(name, fmt.Errorf("connects streams of two jobs"))
	}
	typ := out.typ
	a.job.add(&graph.Node{
		Name: name, Inputs: append(a.edges(0), b.edges(1)...), Output: out.output(),
		NewOperator: func() operator.Operator {
			return &connect[A, B, U]{
				each: newEach(typ, func(r *record.Rows[A], i int, out *Collector[U]) error {
					f1(r.Values[i], out)
					return nil
				}),
				second: newEach(typ, func(r *record.Rows[B], i int, out *Collector[U]) error {
					f2(r.Values[i], out)
					return nil
				}),
			}
		},
	}, opts)
	return out
}

type connect[A, B, U any] struct {
	*each[A, U]
	second *each[B, U]
}

// Process hands the batch to the side it came from.
func (c *connect[A, B, U]) Process(input int, b record.Batch) (operator.Status, error) {
	if input == 0 {
		return c.each.Process(0, b)
	}
	c.second.out, c.second.to = c.out, c.to
	return c.second.Process(0, b)
}

// Resume goes on with the side that has something left.
func (c *connect[A, B, U]) Resume() (operator.Status, error) {
	if c.second.in != nil {
		return c.second.Resume()
	}
	return c.each.Resume()
}
