// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/dataflow/expr"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// flatMap makes a row of each element of a list. It emits at most [record.TargetRows] rows at a time and goes on in
// Resume.
type flatMap struct {
	step
	program *expr.Program
	keep    []int
	eval    *expr.Evaluator
	view    *columns.Batch
	rows    []uint32

	// batch is what is being taken apart, list its elements; next is the element to go on with, row the row it is in.
	batch *columns.Batch
	list  *expr.List
	next  int
	row   int
}

// NewFlatMap returns a step that yields one row for each element of the list that the program yields: the element, and
// then the columns of the input that keep names by index.
func NewFlatMap(out *columns.Schema, program *expr.Program, keep []int) operator.Operator {
	return &flatMap{program: program, keep: keep, view: out.NewView()}
}

// Open implements [operator.Operator].
func (f *flatMap) Open(_ context.Context, c *operator.Context) (err error) {
	f.open(c)
	f.eval, err = f.program.NewEvaluator()
	return err
}

// Process implements [operator.Operator].
func (f *flatMap) Process(_ int, in record.Batch) (operator.Status, error) {
	b, err := f.input(in)
	if err != nil {
		return operator.Done, err
	}
	l, err := f.eval.EvalList(b)
	if err != nil {
		return operator.Done, f.fail(err)
	}
	f.batch, f.list, f.next, f.row = b, l, 0, 0
	return f.Resume()
}

// Resume implements [operator.Operator].
func (f *flatMap) Resume() (operator.Status, error) {
	if f.batch == nil {
		return operator.Done, nil
	}
	for total := f.list.Elems.Len(); f.next < total; {
		end := min(f.next+record.TargetRows, total)
		f.cut(f.next, end)
		f.next = end
		if st, err := f.emit(f.view); st == operator.Paused || err != nil {
			return st, err
		}
	}
	f.batch, f.list = nil, nil
	return operator.Done, nil
}

// cut makes the view of elements from to end-1.
func (f *flatMap) cut(from, end int) {
	f.view.SetLen(end - from)
	f.view.Columns[0] = f.list.Elems.Slice(from, end)
	if len(f.keep) == 0 {
		return
	}
	f.rows = f.rows[:0]
	for e := from; e < end; e++ {
		for f.list.Ends[f.row] <= uint32(e) {
			f.row++
		}
		f.rows = append(f.rows, uint32(f.row))
	}
	for i, c := range f.keep {
		f.view.Columns[i+1].Gather(&f.batch.Columns[c], f.rows)
	}
}
