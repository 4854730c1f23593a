// SPDX-License-Identifier: Apache-2.0

package dataflow

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/weir-stream/weir/runtime/connector/files"
	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/connector/generator"
	"github.com/weir-stream/weir/runtime/connector/logsink"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/dataflow/expr"
	"github.com/weir-stream/weir/runtime/dataflow/lines"
	"github.com/weir-stream/weir/runtime/dataflow/steps"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
)

// role is where an operator stands in the graph.
type role uint8

const (
	source role = iota
	inner
	sink
)

// kind is one of the kinds of operator.
type kind struct {
	name string
	role role
	// virtual kinds become edges.
	virtual bool
	isSet   func(*contract.Operator) bool
	// build checks the operator against the schema of its input, sets plan.schema and fills in the node.
	build func(b *builder, p *plan, in *columns.Schema, n *graph.Node)
}

var kinds = []kind{
	{name: "files", role: source, isSet: func(o *contract.Operator) bool { return o.Files != nil }, build: (*builder).files},
	{name: "generator", role: source, isSet: func(o *contract.Operator) bool { return o.Generator != nil }, build: (*builder).generator},
	{name: "map", role: inner, isSet: func(o *contract.Operator) bool { return o.Map != nil }, build: (*builder).mapStep},
	{name: "filter", role: inner, isSet: func(o *contract.Operator) bool { return o.Filter != nil }, build: (*builder).filter},
	{name: "flatMap", role: inner, isSet: func(o *contract.Operator) bool { return o.FlatMap != nil }, build: (*builder).flatMap},
	{name: "keyBy", role: inner, virtual: true, isSet: func(o *contract.Operator) bool { return o.KeyBy != nil }, build: (*builder).keyBy},
	{name: "aggregate", role: inner, isSet: func(o *contract.Operator) bool { return o.Aggregate != nil }, build: (*builder).aggregate},
	{name: "union", role: inner, virtual: true, isSet: func(o *contract.Operator) bool { return o.Union != nil }, build: (*builder).union},
	{name: "fileSink", role: sink, isSet: func(o *contract.Operator) bool { return o.FileSink != nil }, build: (*builder).fileSink},
	{name: "log", role: sink, isSet: func(o *contract.Operator) bool { return o.Log != nil }, build: (*builder).logSink},
}

var columnName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// newSchema makes the schema of an operator's rows, unless a column is wrong.
func (b *builder) newSchema(p *plan, fields []columns.Field) {
	seen := map[string]bool{}
	ok := true
	for _, f := range fields {
		switch {
		case !columnName.MatchString(f.Name):
			b.bad(p, "column name %q must be letters, digits and '_', and not begin with a digit", f.Name)
			ok = false
		case seen[f.Name]:
			b.bad(p, "column %q is there twice", f.Name)
			ok = false
		}
		seen[f.Name] = true
	}
	if ok {
		p.schema = columns.NewSchema(fields...)
	}
}

// env returns the expressions over the rows of in; nil after a mistake.
func (b *builder) env(p *plan, in *columns.Schema) *expr.Env {
	e, err := expr.NewEnv(in)
	if err != nil {
		b.bad(p, "%w", err)
		return nil
	}
	return e
}

func (b *builder) files(p *plan, _ *columns.Schema, n *graph.Node) {
	spec := p.op.Files
	decoder := lines.NewText
	switch spec.Format {
	case contract.TextFormat, "":
		if len(spec.Schema) > 0 {
			b.bad(p, "schema must be left out when format is Text: such rows have the one column %q of type String", lines.TextColumn)
		}
		p.schema = columns.NewSchema(columns.Field{Name: lines.TextColumn, Kind: columns.String})
	case contract.JSONFormat:
		decoder = lines.NewJSON
		b.jsonSchema(p, spec.Schema)
	default:
		b.bad(p, "format %q is not one of Text, JSON", spec.Format)
	}
	if p.schema == nil {
		return
	}
	schema := p.schema
	n.Bounded = bounded(p.op)
	n.Transactional = spec.DeadLetterPath != "" // dead letters become visible like the files of a sink
	n.CheckState = files.CheckState(n.Transactional)
	var err error
	n.NewSource, err = b.connectors.FilesSource(p.op.Name, spec, func() format.Decoder { return decoder(schema) })
	if err != nil {
		b.bad(p, "%w", err)
	}
}

func (b *builder) jsonSchema(p *plan, schema []contract.Column) {
	if len(schema) == 0 {
		b.bad(p, "schema is required when format is JSON: list the fields to read, with their types")
		return
	}
	fields := make([]columns.Field, len(schema))
	known := true
	for i, c := range schema {
		k, err := columns.KindOf(c.Type)
		if err != nil {
			b.bad(p, "column %q: %w", c.Name, err)
			known = false
		}
		fields[i] = columns.Field{Name: c.Name, Kind: k}
	}
	if known {
		b.newSchema(p, fields)
	}
}

func (b *builder) generator(p *plan, _ *columns.Schema, n *graph.Node) {
	g, err := generator.New(p.op.Generator)
	if err != nil {
		b.bad(p, "%w", err)
		return
	}
	p.schema = generator.Schema()
	n.Bounded = bounded(p.op)
	n.NewSource, n.CheckState = g.NewSource, g.CheckState
}

func (b *builder) mapStep(p *plan, in *columns.Schema, n *graph.Node) {
	env := b.env(p, in)
	if env == nil {
		return
	}
	if len(p.op.Map.Columns) == 0 {
		b.bad(p, "a map needs at least one column")
	}
	var fields []columns.Field
	var programs []*expr.Program
	known := true
	for _, c := range p.op.Map.Columns {
		prog, err := env.Compile(c.Expression)
		if err != nil {
			b.bad(p, "column %q: %w", c.Name, err)
			known = false
			continue
		}
		fields = append(fields, columns.Field{Name: c.Name, Kind: prog.Kind()})
		programs = append(programs, prog)
	}
	if !known {
		return
	}
	b.newSchema(p, fields)
	out := p.schema
	n.NewOperator = func() operator.Operator { return steps.NewMap(out, programs) }
}

func (b *builder) filter(p *plan, in *columns.Schema, n *graph.Node) {
	p.schema = in
	env := b.env(p, in)
	if env == nil {
		return
	}
	prog, err := env.Compile(p.op.Filter.Expression)
	if err != nil {
		b.bad(p, "%w", err)
		return
	}
	if prog.Kind() != columns.Bool {
		b.bad(p, "expression %q yields %s, but a filter needs Bool", prog.Text(), prog.Kind())
	}
	n.NewOperator = func() operator.Operator { return steps.NewFilter(in, prog) }
}

func (b *builder) flatMap(p *plan, in *columns.Schema, n *graph.Node) {
	env := b.env(p, in)
	if env == nil {
		return
	}
	keep := b.columnsOf(p, in, "keep", p.op.FlatMap.Keep)
	prog, err := env.CompileList(p.op.FlatMap.Expression)
	if err != nil {
		b.bad(p, "%w", err)
		return
	}
	fields := []columns.Field{{Name: p.op.FlatMap.As, Kind: prog.Kind()}}
	for _, c := range keep {
		fields = append(fields, in.Fields()[c])
	}
	b.newSchema(p, fields)
	out := p.schema
	n.NewOperator = func() operator.Operator { return steps.NewFlatMap(out, prog, keep) }
}

// columnsOf finds columns of the input by name.
func (b *builder) columnsOf(p *plan, in *columns.Schema, what string, names []string) []int {
	var out []int
	for _, name := range names {
		i := in.Index(name)
		if i < 0 {
			b.bad(p, "%s: its input has no column %q (the columns are: %s)", what, name, in.Names())
			continue
		}
		out = append(out, i)
	}
	return out
}

func (b *builder) keyBy(p *plan, in *columns.Schema, _ *graph.Node) {
	if len(p.op.KeyBy.Columns) == 0 {
		b.bad(p, "a keyBy needs at least one column")
	}
	seen := map[string]bool{}
	for _, c := range p.op.KeyBy.Columns {
		if seen[c] {
			b.bad(p, "column %q is there twice", c)
		}
		seen[c] = true
	}
	p.schema = in
	p.key = b.columnsOf(p, in, "columns", p.op.KeyBy.Columns)
}

func (b *builder) union(p *plan, in *columns.Schema, _ *graph.Node) { p.schema = in }

func (b *builder) aggregate(p *plan, in *columns.Schema, n *graph.Node) {
	from := b.nodes[p.op.Inputs[0]]
	if from.op.KeyBy == nil {
		b.bad(p, "its input %q must be a keyBy, which says for which key to aggregate", from.op.Name)
		return
	}
	env := b.env(p, in)
	if env == nil || from.broken {
		return
	}
	if len(p.op.Aggregate.Aggregates) == 0 {
		b.bad(p, "it needs at least one aggregate")
	}
	var fields []columns.Field
	for _, c := range from.key {
		fields = append(fields, in.Fields()[c])
	}
	var list []steps.Aggregate
	known := true
	for _, c := range p.op.Aggregate.Aggregates {
		a, kind, err := aggregateOf(env, c)
		if err != nil {
			b.bad(p, "aggregate %q: %w", c.Name, err)
			known = false
			continue
		}
		list = append(list, a)
		fields = append(fields, columns.Field{Name: c.Name, Kind: kind})
	}
	if !known {
		return
	}
	b.newSchema(p, fields)
	out, key := p.schema, from.key
	n.Keyed = true
	n.NewOperator = func() operator.Operator { return steps.NewAggregate(in, out, key, list) }
}

func aggregateOf(env *expr.Env, c contract.AggregateColumn) (steps.Aggregate, columns.Kind, error) {
	a := steps.Aggregate{Name: c.Name, Function: c.Function}
	switch {
	case c.Function == contract.CountFunction && c.Expression != "":
		return a, 0, errors.New("function Count counts rows and takes no expression")
	case c.Function != contract.CountFunction && c.Expression == "":
		return a, 0, fmt.Errorf("function %s needs an expression", c.Function)
	case c.Expression != "":
		var err error
		if a.Program, err = env.Compile(c.Expression); err != nil {
			return a, 0, err
		}
	}
	kind, err := a.Kind()
	return a, kind, err
}

func (b *builder) fileSink(p *plan, in *columns.Schema, n *graph.Node) {
	n.Transactional, n.CheckState = true, operator.OnlyLists(txn.ListName)
	var err error
	n.NewOperator, err = b.connectors.FileSink(p.op.Name, p.op.FileSink, func() format.Encoder { return lines.NewJSONEncoder(in) })
	if err != nil {
		b.bad(p, "%w", err)
	}
}

func (b *builder) logSink(_ *plan, _ *columns.Schema, n *graph.Node) {
	n.NewOperator = logsink.New
}
