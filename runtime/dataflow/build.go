// SPDX-License-Identifier: Apache-2.0

package dataflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/dataflow/columns"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// Connectors makes the sources and sinks that reach outside the process. A call checks the
// configuration and opens nothing; the function it returns makes the instance of one subtask.
type Connectors interface {
	// FilesSource returns a source of the lines of files. Its batches come from the decoder.
	FilesSource(name string, spec *contract.FilesSource, newDecoder func() format.Decoder) (func() operator.Source, error)
	// FileSink returns a transactional sink of files. Their content comes from the encoder.
	FileSink(name string, spec *contract.FileSink, newEncoder func() format.Encoder) (func() operator.Operator, error)
}

// Build makes the graph of cfg.Dataflow. Without connectors (nil) a job with files is a mistake. The error lists everything that is wrong, each with the operator it is about.
//
// keyBy and union have no instances: they say how rows travel to the next operator, and become edges.
func Build(cfg contract.JobConfig, connectors Connectors) (*graph.Graph, error) {
	if cfg.Dataflow == nil || len(cfg.Dataflow.Operators) == 0 {
		return nil, errors.New("building the dataflow: it has no operators: add a source and a sink")
	}
	if connectors == nil {
		connectors = noConnectors{}
	}
	b := builder{cfg: cfg, connectors: connectors, nodes: map[string]*plan{}}
	b.collect()
	b.checkInputs()
	for _, p := range b.sorted() {
		b.build(p)
	}
	b.checkSinks()
	if err := errors.Join(b.errs...); err != nil {
		return nil, fmt.Errorf("building the dataflow: %w", err)
	}
	return b.graph, nil
}

var errNoConnectors = errors.New("this engine has no connector for files")

// noConnectors stands for an engine without connectors: jobs that need none can still be built.
type noConnectors struct{}

func (noConnectors) FilesSource(string, *contract.FilesSource, func() format.Decoder) (func() operator.Source, error) {
	return nil, errNoConnectors
}

func (noConnectors) FileSink(string, *contract.FileSink, func() format.Encoder) (func() operator.Operator, error) {
	return nil, errNoConnectors
}

// plan is what is known of an operator.
type plan struct {
	op   *contract.Operator
	kind *kind
	// consumers is how many operators read its rows.
	consumers int
	// schema is that of its rows: nil for a sink, and when the operator has mistakes.
	schema *columns.Schema
	// key are the key columns of the rows that come out of a keyBy.
	key []int
	// broken says that a mistake was reported, so that what follows from it isn't.
	broken bool
}

type builder struct {
	cfg        contract.JobConfig
	connectors Connectors
	// plans in the order of the job, nodes by name.
	plans []*plan
	nodes map[string]*plan
	graph *graph.Graph
	errs  []error
}

// bad reports a mistake of an operator.
func (b *builder) bad(p *plan, msg string, args ...any) {
	p.broken = true
	b.errs = append(b.errs, fmt.Errorf("operator %q: "+msg, append([]any{p.op.Name}, args...)...))
}

// collect looks at each operator by itself.
func (b *builder) collect() {
	b.graph = &graph.Graph{}
	names := map[string]string{}
	for i := range b.cfg.Dataflow.Operators {
		op := &b.cfg.Dataflow.Operators[i]
		p := &plan{op: op}
		b.plans = append(b.plans, p)
		if op.Name == "" {
			b.errs = append(b.errs, fmt.Errorf("operator number %d has no name: state is restored by name, so every operator needs one", i+1))
			p.broken = true
			continue
		}
		for j, n := range append([]string{op.Name}, op.PreviousNames...) {
			if owner, used := names[n]; used && (owner != op.Name || j == 0) {
				b.bad(p, "the name %q is also a name or previous name of operator %q: names are identities and must be unique", n, owner)
			}
			names[n] = op.Name
		}
		if b.nodes[op.Name] == nil {
			b.nodes[op.Name] = p
		}
		b.setKind(p)
	}
}

func (b *builder) setKind(p *plan) {
	var set []string
	for i := range kinds {
		if kinds[i].isSet(p.op) {
			set = append(set, kinds[i].name)
			p.kind = &kinds[i]
		}
	}
	if len(set) == 1 {
		return
	}
	p.kind = nil
	names := make([]string, len(kinds))
	for i := range kinds {
		names[i] = kinds[i].name
	}
	found := "has none"
	if len(set) > 1 {
		found = "has " + strings.Join(set, " and ")
	}
	b.bad(p, "it must have exactly one of %s; it %s", strings.Join(names, ", "), found)
}

// checkInputs looks at how operators are connected.
func (b *builder) checkInputs() {
	for _, p := range b.plans {
		for i, in := range p.op.Inputs {
			from := b.nodes[in]
			switch {
			case from == nil:
				b.bad(p, "its input %q does not exist", in)
			case from == p:
				b.bad(p, "it is its own input")
			case from.kind != nil && from.kind.role == sink:
				b.bad(p, "its input %q is a sink, which emits no rows", in)
			case slices.Contains(p.op.Inputs[:i], in):
				b.bad(p, "its input %q is listed twice", in)
			}
			if from != nil {
				from.consumers++
			}
		}
		if p.kind != nil {
			b.checkArity(p)
		}
	}
}

func (b *builder) checkArity(p *plan) {
	n := len(p.op.Inputs)
	switch {
	case p.kind.role == source && n > 0:
		b.bad(p, "it is a source and has no inputs")
	case p.kind.role == source:
	case p.op.Union != nil && n < 2:
		b.bad(p, "a union needs at least two inputs")
	case n == 0:
		b.bad(p, "it needs an input: the name of the operator whose rows it reads")
	case p.op.Union == nil && n > 1:
		b.bad(p, "it has %d inputs, but only a union has more than one: put a union before it", n)
	}
	if p.kind.virtual && p.op.Parallelism != 0 {
		b.bad(p, "a %s has no parallel instances: set the parallelism of the operator after it", p.kind.name)
	}
	if p.op.Parallelism < 0 {
		b.bad(p, "parallelism %d is negative", p.op.Parallelism)
	}
}

// sorted returns the operators so that each comes after its inputs, and reports cycles.
func (b *builder) sorted() []*plan {
	const (
		unseen = iota
		open
		done
	)
	mark := map[*plan]int{}
	var out []*plan
	var path []string
	var visit func(p *plan)
	visit = func(p *plan) {
		path = append(path, p.op.Name)
		defer func() { path = path[:len(path)-1] }()
		mark[p] = open
		for _, in := range p.op.Inputs {
			from := b.nodes[in]
			switch {
			case from == nil || from == p:
			case mark[from] == open:
				cycle := append(slices.Clone(path[slices.Index(path, in):]), in)
				slices.Reverse(cycle)
				b.bad(p, "it is part of a cycle: %s", strings.Join(cycle, " > "))
			case mark[from] == unseen:
				visit(from)
			}
		}
		mark[p] = done
		out = append(out, p)
	}
	for _, p := range b.plans {
		if mark[p] == unseen {
			visit(p)
		}
	}
	return out
}

// build checks an operator against the rows it reads and adds its node.
func (b *builder) build(p *plan) {
	if p.kind == nil {
		return
	}
	if p.kind.role != sink && p.consumers == 0 && !p.broken {
		b.bad(p, "no operator reads its rows: add one with it as input, a sink for example, or remove it")
	}
	in := b.inputSchema(p)
	if p.kind.role != source && in == nil {
		p.broken = true
		return
	}
	n := &graph.Node{Name: p.op.Name, PreviousNames: p.op.PreviousNames, Parallelism: p.op.Parallelism, CheckState: operator.OnlyLists()}
	p.kind.build(b, p, in, n)
	if p.broken || p.kind.virtual {
		return
	}
	if p.schema != nil {
		n.Output = p.schema
	}
	for _, name := range p.op.Inputs {
		n.Inputs = append(n.Inputs, b.edges(name)...)
	}
	signature, err := json.Marshal(p.op)
	if err != nil {
		b.bad(p, "describing it: %w", err)
	}
	n.Signature = string(signature)
	b.graph.Nodes = append(b.graph.Nodes, n)
}

// inputSchema returns the schema of the rows an operator reads, or nil when that isn't known because of mistakes.
func (b *builder) inputSchema(p *plan) *columns.Schema {
	var schema *columns.Schema
	for i, name := range p.op.Inputs {
		from := b.nodes[name]
		if from == nil || from.schema == nil {
			return nil
		}
		if i > 0 && !from.schema.Equal(schema) {
			b.bad(p, "its inputs have different columns: %q has (%s), %q has (%s); make them equal with a map",
				p.op.Inputs[0], schema.Names(), name, from.schema.Names())
			return nil
		}
		if i == 0 {
			schema = from.schema
		}
	}
	return schema
}

// edges returns the edges that bring the rows of an operator to a consumer.
func (b *builder) edges(name string) []graph.Edge {
	p := b.nodes[name]
	if !p.kind.virtual {
		return []graph.Edge{{From: name, Partition: graph.Forward}}
	}
	var out []graph.Edge
	for _, in := range p.op.Inputs {
		out = append(out, b.edges(in)...)
	}
	if p.op.KeyBy == nil {
		return out
	}
	for i := range out {
		out[i].Partition = graph.Hash
		out[i].NewHasher = func() record.Hasher { return columns.NewKeys(p.schema, p.key) }
	}
	return out
}

// checkSinks looks at the job as a whole.
func (b *builder) checkSinks() {
	unbounded, sources, sinks := "", 0, 0
	for _, p := range b.plans {
		switch {
		case p.kind == nil:
		case p.kind.role == sink:
			sinks++
		case p.kind.role == source:
			sources++
			if !bounded(p.op) && unbounded == "" {
				unbounded = p.op.Name
			}
		}
	}
	if sources == 0 {
		b.errs = append(b.errs, errors.New("it has no source: add an operator with files or generator"))
	}
	if sinks == 0 {
		b.errs = append(b.errs, errors.New("it has no sink: add an operator with fileSink or log"))
	}
	if b.cfg.Checkpointing != nil || unbounded == "" {
		return
	}
	for _, p := range b.plans {
		if p.op.FileSink != nil {
			b.bad(p, "without checkpointing a fileSink commits at the end of the input, but source %q never ends: "+
				"set checkpointing, or make the source bounded", unbounded)
		}
	}
}

func bounded(op *contract.Operator) bool {
	switch {
	case op.Files != nil:
		return op.Files.Continuous == nil
	case op.Generator != nil:
		return op.Generator.Rows > 0
	default:
		return true
	}
}
