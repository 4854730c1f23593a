// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"errors"
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/interpreter"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
)

// Program is a compiled expression. It is immutable and safe for use by several goroutines.
type Program struct {
	env   *Env
	text  string
	ast   *ast.AST
	whole cel.Program
	kind  columns.Kind
	list  bool
}

// Kind is the kind of the value, or of the elements of the list.
func (p *Program) Kind() columns.Kind { return p.kind }

// Text is the expression as it was written.
func (p *Program) Text() string { return p.text }

// Column returns the index of the column when the expression is nothing but its name, else -1.
func (p *Program) Column() int {
	if x := p.ast.Expr(); x.Kind() == ast.IdentKind {
		return p.env.schema.Index(x.AsIdent())
	}
	return -1
}

// plan prepares a part of the expression for the interpreter.
func (p *Program) plan(x ast.Expr) (cel.Program, error) {
	part := ast.NewCheckedAST(ast.NewAST(x, p.ast.SourceInfo()), p.ast.TypeMap(), p.ast.ReferenceMap())
	opts := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if loops(x) {
		opts = append(opts, cel.CostLimit(maxSteps))
	}
	return p.env.cel.PlanProgram(part, opts...)
}

// maxSteps bounds what an expression with macros that go through lists does for one row, in units of cost of cel-go: about a second. Nested macros
// multiply, so a short expression could take longer than anybody waits. Others are bounded by their length and the row's; counting would slow them down.
const maxSteps = 2_000_000

var errTooLong = fmt.Errorf("it takes more than %d steps for one row: nest fewer of map, filter, all, exists and exists_one, or have them go through shorter lists", maxSteps)

// loops says that an expression goes through a list.
func loops(x ast.Expr) bool {
	found := false
	ast.PostOrderVisit(x, ast.NewExprVisitor(func(x ast.Expr) { found = found || x.Kind() == ast.ComprehensionKind }))
	return found
}

// RowError says that an expression has no value for a row.
type RowError struct {
	// Expression is the text.
	Expression string
	// Row is the row, shortened.
	Row string
	// Err says why.
	Err error
}

// Error implements error.
func (e *RowError) Error() string {
	return fmt.Sprintf("evaluating %q for the row (%s): %v", e.Expression, e.Row, e.Err)
}

// Unwrap returns Err.
func (e *RowError) Unwrap() error { return e.Err }

// Evaluator evaluates a program. It holds memory that it uses again and belongs to one goroutine.
type Evaluator struct {
	program *Program
	node    node
	list    listNode
	row     rowActivation
}

// NewEvaluator returns an evaluator of its own for one goroutine.
func (p *Program) NewEvaluator() (*Evaluator, error) {
	e := &Evaluator{program: p, row: rowActivation{schema: p.env.schema}}
	c := compiler{p}
	var err error
	if p.list {
		e.list, err = c.list(p.ast.Expr())
	} else {
		e.node, err = c.node(p.ast.Expr())
	}
	if err != nil {
		return nil, fmt.Errorf("preparing the expression %q: %w", p.text, err)
	}
	return e, nil
}

// Eval returns the value for each row of b. The vector is valid until the next call and no longer than b.
// The error is a [*RowError] about the first row that has no value.
func (e *Evaluator) Eval(b *columns.Batch) (*columns.Vector, error) {
	v := e.node.eval(b)
	if v.bad != nil {
		if err := e.firstError(b, v.bad); err != nil {
			return nil, err
		}
	}
	return v.Vector, nil
}

// EvalList is Eval for a list expression.
func (e *Evaluator) EvalList(b *columns.Batch) (*List, error) {
	l := e.list.evalList(b)
	if l.bad != nil {
		if err := e.firstError(b, l.bad); err != nil {
			return nil, err
		}
	}
	return &l.List, nil
}

func (e *Evaluator) firstError(b *columns.Batch, bad []bool) error {
	for i := range b.Len() {
		if !bad[i] {
			continue
		}
		e.row.batch, e.row.row = b, i
		_, _, err := e.program.whole.Eval(&e.row)
		ended, ok := errors.AsType[interpreter.EvalCancelledError](err)
		switch {
		case err == nil:
			err = errNoValue
		case ok && ended.Cause == interpreter.CostLimitExceeded:
			err = errTooLong
		}
		return &RowError{Expression: e.program.text, Row: b.Show(i), Err: err}
	}
	return nil
}

// compiler turns checked expressions into nodes.
type compiler struct{ p *Program }

func (c compiler) typeOf(x ast.Expr) *types.Type { return c.p.ast.GetType(x.ID()) }

func (c compiler) kindOf(x ast.Expr) columns.Kind { return kindOf(c.typeOf(x)) }

// node compiles an expression of one of the column types.
func (c compiler) node(x ast.Expr) (node, error) {
	switch x.Kind() {
	case ast.LiteralKind:
		if n := literal(x.AsLiteral()); n != nil {
			return n, nil
		}
	case ast.IdentKind:
		if i := c.p.env.schema.Index(x.AsIdent()); i >= 0 {
			return &columnNode{index: i}, nil
		}
	case ast.CallKind:
		n, err := c.call(x)
		if n != nil || err != nil {
			return n, err
		}
	default:
	}
	return c.interpreted(x)
}

// call compiles a call, or returns nil for one that is left to the interpreter.
func (c compiler) call(x ast.Expr) (node, error) {
	overloads := c.p.ast.GetOverloadIDs(x.ID())
	if len(overloads) != 1 {
		return nil, nil
	}
	args := x.AsCall().Args()
	if x.AsCall().IsMemberFunction() {
		args = append([]ast.Expr{x.AsCall().Target()}, args...)
	}
	switch overloads[0] {
	case "in_list":
		return c.membership(args[0], args[1])
	case "size_list", "list_size":
		l, err := c.vectorList(args[0])
		if l == nil || err != nil {
			return nil, err
		}
		return &listSizeNode{list: l}, nil
	case "matches", "matches_string":
		return c.matches(args[0], args[1])
	}
	build := builders[overloads[0]]
	if build == nil {
		return nil, nil
	}
	nodes := make([]node, len(args))
	kinds := make([]columns.Kind, len(args))
	for i, a := range args {
		if kinds[i] = c.kindOf(a); kinds[i] == 0 {
			return nil, nil
		}
		var err error
		if nodes[i], err = c.node(a); err != nil {
			return nil, err
		}
	}
	return build(nodes, kinds), nil
}

// builders make nodes of overloads, by the name cel-go gives the overload. A builder may return nil.
var builders = map[string]func(args []node, kinds []columns.Kind) node{}

func register(overload string, build func(args []node, kinds []columns.Kind) node) {
	builders[overload] = build
}
