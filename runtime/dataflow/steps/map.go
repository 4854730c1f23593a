// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/dataflow/expr"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// step is what all steps share.
type step struct {
	name string
	out  operator.Output
}

func (s *step) open(c *operator.Context) { s.name, s.out = c.Name, c.Out }

// emit passes rows on, unless there are none or nobody wants them.
func (s *step) emit(b *columns.Batch) (operator.Status, error) {
	if s.out == nil || b.Len() == 0 {
		return operator.Done, nil
	}
	return s.out.Emit(b)
}

// input returns the batch as columns.
func (s *step) input(in record.Batch) (*columns.Batch, error) {
	b, ok := in.(*columns.Batch)
	if !ok {
		return nil, s.fail(fmt.Errorf("a batch of type %T came in where columns are expected", in))
	}
	return b, nil
}

func (s *step) fail(err error) error { return fmt.Errorf("operator %q: %w", s.name, err) }

// Resume has nothing to do for a step that emits once for each batch.
func (s *step) Resume() (operator.Status, error) { return operator.Done, nil }

// Close has nothing to release.
func (s *step) Close() error { return nil }

func evaluators(programs []*expr.Program) ([]*expr.Evaluator, error) {
	out := make([]*expr.Evaluator, len(programs))
	for i, p := range programs {
		if p == nil {
			continue
		}
		var err error
		if out[i], err = p.NewEvaluator(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// mapStep computes each column of its output.
type mapStep struct {
	step
	programs []*expr.Program
	evals    []*expr.Evaluator
	view     *columns.Batch
}

// NewMap returns a step that yields, for each row, the values of the programs as the columns of out.
func NewMap(out *columns.Schema, programs []*expr.Program) operator.Operator {
	return &mapStep{programs: programs, view: out.NewView()}
}

// Open implements [operator.Operator].
func (m *mapStep) Open(_ context.Context, c *operator.Context) (err error) {
	m.open(c)
	m.evals, err = evaluators(m.programs)
	return err
}

// Process implements [operator.Operator].
func (m *mapStep) Process(_ int, in record.Batch) (operator.Status, error) {
	b, err := m.input(in)
	if err != nil {
		return operator.Done, err
	}
	for i, e := range m.evals {
		v, err := e.Eval(b)
		if err != nil {
			return operator.Done, m.fail(err)
		}
		m.view.Columns[i] = v.Slice(0, b.Len())
	}
	m.view.SetLen(b.Len())
	return m.emit(m.view)
}

// filter passes rows on for which its program is true.
type filter struct {
	step
	program *expr.Program
	eval    *expr.Evaluator
	rows    []uint32
	view    *columns.Batch
}

// NewFilter returns a step that passes on the rows of schema for which the program is true.
func NewFilter(schema *columns.Schema, program *expr.Program) operator.Operator {
	return &filter{program: program, view: schema.NewView()}
}

// Open implements [operator.Operator].
func (f *filter) Open(_ context.Context, c *operator.Context) (err error) {
	f.open(c)
	f.eval, err = f.program.NewEvaluator()
	return err
}

// Process implements [operator.Operator].
func (f *filter) Process(_ int, in record.Batch) (operator.Status, error) {
	b, err := f.input(in)
	if err != nil {
		return operator.Done, err
	}
	keep, err := f.eval.Eval(b)
	if err != nil {
		return operator.Done, f.fail(err)
	}
	f.rows = trueRows(f.rows[:0], keep.Bools[:b.Len()])
	switch len(f.rows) {
	case 0:
		return operator.Done, nil
	case b.Len():
		return f.emit(b)
	}
	for i := range b.Columns {
		f.view.Columns[i].Gather(&b.Columns[i], f.rows)
	}
	f.view.SetLen(len(f.rows))
	return f.emit(f.view)
}

// trueRows lists the rows that are true, without a branch on them.
func trueRows(rows []uint32, keep []bool) []uint32 {
	if cap(rows) < len(keep) {
		rows = make([]uint32, 0, max(len(keep), record.TargetRows))
	}
	rows = rows[:len(keep)]
	n := 0
	for i, k := range keep {
		rows[n] = uint32(i)
		if k {
			n++
		}
	}
	return rows[:n]
}
