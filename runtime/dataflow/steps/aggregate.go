// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/dataflow/expr"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// Aggregate is one aggregate of a key.
type Aggregate struct {
	// Name of the column.
	Name string
	// Function over the rows of the key.
	Function contract.AggregateFunction
	// Program is the value of each row; nil for Count.
	Program *expr.Program
}

// Kind returns the kind of the aggregate's column. The error says that the function doesn't take such values.
func (a *Aggregate) Kind() (columns.Kind, error) {
	var in columns.Kind
	if a.Program != nil {
		in = a.Program.Kind()
	}
	number := in == columns.Int || in == columns.Float
	switch a.Function {
	case contract.CountFunction:
		return columns.Int, nil
	case contract.SumFunction, contract.AvgFunction:
		if !number {
			return 0, fmt.Errorf("function %s needs an Int or Float, not the %s that %q yields", a.Function, in, a.Program.Text())
		}
		if a.Function == contract.AvgFunction {
			return columns.Float, nil
		}
	case contract.MinFunction, contract.MaxFunction:
		if in == columns.Bool {
			return 0, fmt.Errorf("function %s needs an Int, Float or String, not the Bool that %q yields", a.Function, a.Program.Text())
		}
	case contract.LastFunction:
	default:
		return 0, fmt.Errorf("function %q is not one of Count, Sum, Min, Max, Avg, Last", a.Function)
	}
	return in, nil
}

// maxFixed is the largest value that state keeps in place, in words of eight bytes.
const maxFixed = 32

// aggregate keeps aggregates for each key. A batch is worked on in passes: its rows are grouped by key; the
// accumulators of the keys are read from state; each aggregate loops over the rows; the accumulators are written back
// and emitted, one row a key.
type aggregate struct {
	step
	keyColumns []int
	keys       *columns.Keys
	cells      []cell
	evals      []*expr.Evaluator
	// words and texts are how many of each the accumulator of a key has.
	words, texts int
	fixed        bool
	// countsOnly says that there are only counts, which need one look at state instead of two.
	countsOnly bool
	table      *state.Table
	groups     groups
	acc        accumulators
	view       *columns.Batch
}

// NewAggregate returns a step that keeps the aggregates for each key of its input, whose rows have schema in and whose
// key is made of the given columns. Its output has the key columns and then the aggregates.
func NewAggregate(in, out *columns.Schema, keyColumns []int, aggregates []Aggregate) operator.Operator {
	a := &aggregate{
		keyColumns: keyColumns, keys: columns.NewKeys(in, keyColumns), view: out.NewView(),
	}
	for i := range aggregates {
		a.addCell(&aggregates[i])
	}
	a.fixed = a.texts == 0 && a.words <= maxFixed
	a.countsOnly = a.fixed && !slices.ContainsFunc(aggregates, func(g Aggregate) bool { return g.Function != contract.CountFunction })
	return a
}

func (a *aggregate) addCell(g *Aggregate) {
	c := cell{Aggregate: *g, word: a.words, text: a.texts}
	c.kind, _ = g.Kind()
	if g.Program != nil {
		c.in = g.Program.Kind()
	}
	switch {
	case c.kind == columns.String:
		a.texts++
	case g.Function == contract.AvgFunction:
		a.words += 2
	default:
		a.words++
	}
	a.cells = append(a.cells, c)
}

// descriptor says what the state is. Names are part of it, so that a value is never taken for another one.
func (a *aggregate) descriptor() state.Descriptor {
	parts := make([]string, len(a.cells))
	for i, c := range a.cells {
		parts[i] = fmt.Sprintf("%s=%s", c.Name, c.Function)
		if c.in != 0 {
			parts[i] += "(" + c.in.String() + ")"
		}
	}
	d := state.Descriptor{
		Name: "aggregates", Keys: a.keys.Kind(), KeyType: a.keys.Type(), ValueType: strings.Join(parts, ","),
	}
	if a.fixed {
		d.ValueSize = 8 * a.words
	}
	return d
}

// Open implements [operator.Operator].
func (a *aggregate) Open(_ context.Context, c *operator.Context) (err error) {
	a.open(c)
	programs := make([]*expr.Program, len(a.cells))
	for i := range a.cells {
		programs[i] = a.cells[i].Program
	}
	if a.evals, err = evaluators(programs); err != nil {
		return err
	}
	if a.table, err = c.Keyed.Table(a.descriptor()); err != nil {
		return a.fail(err)
	}
	return nil
}

// Process implements [operator.Operator].
func (a *aggregate) Process(_ int, in record.Batch) (operator.Status, error) {
	b, err := a.input(in)
	if err != nil || b.Len() == 0 {
		return operator.Done, err
	}
	a.group(b)
	a.acc.reset(a.groups.len(), a.words, a.texts)
	if a.countsOnly {
		a.count()
		return a.emit(a.result(b))
	}
	if err := a.load(); err != nil {
		return operator.Done, a.fail(err)
	}
	for i := range a.cells {
		if err := a.update(&a.cells[i], a.evals[i], b); err != nil {
			return operator.Done, a.fail(err)
		}
	}
	a.store()
	return a.emit(a.result(b))
}

func (a *aggregate) group(b *columns.Batch) {
	hashes := b.Hashes()
	if hashes == nil {
		a.groups.hashes = a.keys.AppendHashes(a.groups.hashes[:0], b)
		hashes = a.groups.hashes
	}
	if a.keys.Kind() == state.Int64Keys {
		a.groups.byInt(hashes, a.keys.Ints(b))
		return
	}
	a.groups.byText(hashes, a.keys.Texts(b))
}

// load reads the accumulators of the groups and notes which keys are new.
func (a *aggregate) load() error {
	g := &a.groups
	ints := a.keys.Kind() == state.Int64Keys
	switch {
	case !a.fixed:
		for i, h := range g.groupHashes {
			var old []byte
			var ok bool
			if ints {
				old, ok = a.table.GetVarInt64(g.ints[i], h)
			} else {
				old, ok = a.table.GetVarBytes(g.text(i), h)
			}
			if ok && !a.acc.decode(i, old) {
				return fmt.Errorf("the state of a key has a damaged value of %d bytes", len(old))
			}
			a.acc.fresh[i] = !ok
		}
	case ints:
		a.table.PrefetchInt64(g.ints, g.groupHashes)
		for i, h := range g.groupHashes {
			p, created := a.table.RefInt64(g.ints[i], h)
			copy(a.acc.of(i), a.inPlace(p))
			a.acc.fresh[i] = created
		}
	default:
		a.table.PrefetchBytes(g.groupHashes)
		for i, h := range g.groupHashes {
			p, created := a.table.RefBytes(g.text(i), h)
			copy(a.acc.of(i), a.inPlace(p))
			a.acc.fresh[i] = created
		}
	}
	return nil
}

// count is load, update and store for an aggregate with nothing but counts.
func (a *aggregate) count() {
	g := &a.groups
	for _, i := range g.of {
		a.acc.words[int(i)*a.words]++
	}
	ints := a.keys.Kind() == state.Int64Keys
	if ints {
		a.table.PrefetchInt64(g.ints, g.groupHashes)
	} else {
		a.table.PrefetchBytes(g.groupHashes)
	}
	for i, h := range g.groupHashes {
		var p unsafe.Pointer
		if ints {
			p, _ = a.table.RefInt64(g.ints[i], h)
		} else {
			p, _ = a.table.RefBytes(g.text(i), h)
		}
		words := a.inPlace(p)
		n := words[0] + a.acc.words[i*a.words]
		for w := range words {
			words[w], a.acc.words[i*a.words+w] = n, n
		}
	}
}

// inPlace is the value in state that p points to.
func (a *aggregate) inPlace(p unsafe.Pointer) []uint64 { return unsafe.Slice((*uint64)(p), a.words) }

// store writes the accumulators back.
func (a *aggregate) store() {
	g := &a.groups
	ints := a.keys.Kind() == state.Int64Keys
	for i, h := range g.groupHashes {
		switch {
		case !a.fixed && ints:
			a.table.PutVarInt64(g.ints[i], h, a.acc.encode(i))
		case !a.fixed:
			a.table.PutVarBytes(g.text(i), h, a.acc.encode(i))
		case ints:
			p, _ := a.table.RefInt64(g.ints[i], h)
			copy(a.inPlace(p), a.acc.of(i))
		default:
			p, _ := a.table.RefBytes(g.text(i), h)
			copy(a.inPlace(p), a.acc.of(i))
		}
	}
}

// result makes the rows that are emitted.
func (a *aggregate) result(b *columns.Batch) *columns.Batch {
	for i, c := range a.keyColumns {
		a.view.Columns[i].Gather(&b.Columns[c], a.groups.first)
	}
	for i := range a.cells {
		a.acc.fill(&a.view.Columns[len(a.keyColumns)+i], &a.cells[i])
	}
	a.view.SetLen(a.groups.len())
	return a.view
}
