// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
)

// Env compiles expressions over the columns of one schema. Safe for use by several goroutines.
type Env struct {
	schema *columns.Schema
	cel    *cel.Env
}

var baseEnv = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		ext.Strings(), ext.Math(),
		cel.Function("words", cel.MemberOverload("string_words", []*cel.Type{cel.StringType},
			cel.ListType(cel.StringType), cel.UnaryBinding(celWords))),
	)
})

// celWords is words() for the interpreter.
func celWords(v ref.Val) ref.Val {
	s, ok := v.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	out := []string{}
	for at := 0; ; {
		start, end := nextWord([]byte(s), at)
		if start == end {
			return types.DefaultTypeAdapter.NativeToValue(out)
		}
		out = append(out, string(s[start:end]))
		at = end
	}
}

// NewEnv returns the environment for rows of that schema.
func NewEnv(schema *columns.Schema) (*Env, error) {
	base, err := baseEnv()
	if err != nil {
		return nil, fmt.Errorf("preparing the expression language: %w", err)
	}
	opts := make([]cel.EnvOption, 0, len(schema.Fields()))
	for _, f := range schema.Fields() {
		opts = append(opts, cel.Variable(f.Name, celType(f.Kind)))
	}
	e, err := base.Extend(opts...)
	if err != nil {
		return nil, fmt.Errorf("preparing expressions over the columns %s: %w", schema.Names(), err)
	}
	return &Env{schema: schema, cel: e}, nil
}

func celType(k columns.Kind) *cel.Type {
	switch k {
	case columns.Int:
		return cel.IntType
	case columns.Float:
		return cel.DoubleType
	case columns.Bool:
		return cel.BoolType
	default:
		return cel.StringType
	}
}

// kindOf is the column kind of a CEL type, or 0.
func kindOf(t *cel.Type) columns.Kind {
	switch t.Kind() {
	case types.IntKind:
		return columns.Int
	case types.DoubleKind:
		return columns.Float
	case types.BoolKind:
		return columns.Bool
	case types.StringKind:
		return columns.String
	default:
		return 0
	}
}

// CompileError says what is wrong with an expression.
type CompileError struct {
	// Expression is the text.
	Expression string
	// Problems says what is wrong and where, one entry for each mistake.
	Problems []string
}

// Error implements error.
func (e *CompileError) Error() string {
	return fmt.Sprintf("expression %q: %s", e.Expression, strings.Join(e.Problems, "; "))
}

// Compile parses and checks an expression that yields a value of one of the column types.
func (e *Env) Compile(text string) (*Program, error) {
	p, out, err := e.check(text)
	if err != nil {
		return nil, err
	}
	if p.kind = kindOf(out); p.kind == 0 {
		return nil, &CompileError{text, []string{fmt.Sprintf("it yields %s, where an int, double, bool or string is needed", out)}}
	}
	return p, nil
}

// CompileList parses and checks an expression that yields a list of values of one of the column types.
func (e *Env) CompileList(text string) (*Program, error) {
	p, out, err := e.check(text)
	if err != nil {
		return nil, err
	}
	if out.Kind() == types.ListKind {
		p.kind = kindOf(out.Parameters()[0])
	}
	if p.kind == 0 {
		return nil, &CompileError{text, []string{fmt.Sprintf("it yields %s, where a list of int, double, bool or string is needed", out)}}
	}
	p.list = true
	return p, nil
}

func (e *Env) check(text string) (*Program, *cel.Type, error) {
	checked, issues := e.cel.Compile(text)
	if issues.Err() != nil {
		return nil, nil, e.explain(text, issues)
	}
	p := &Program{env: e, text: text, ast: checked.NativeRep()}
	if err := checkPatterns(p.ast); err != nil {
		return nil, nil, &CompileError{text, []string{err.Error()}}
	}
	whole, err := p.plan(p.ast.Expr())
	if err != nil {
		return nil, nil, &CompileError{text, []string{err.Error()}}
	}
	p.whole = whole
	return p, checked.OutputType(), nil
}

// explain puts the position before each message, and the columns after one about a name that doesn't exist.
func (e *Env) explain(text string, issues *cel.Issues) error {
	out := &CompileError{Expression: text}
	for _, is := range issues.Errors() {
		msg := strings.TrimSuffix(strings.Join(strings.Fields(is.Message), " "), " (in container '')")
		if strings.Contains(msg, "undeclared reference") {
			msg += " (the columns are: " + e.schema.Names() + ")"
		}
		msg += conversion(msg)
		at := fmt.Sprintf("column %d", is.Location.Column()+1)
		if strings.Contains(text, "\n") {
			at = fmt.Sprintf("line %d %s", is.Location.Line(), at)
		}
		out.Problems = append(out.Problems, at+": "+msg)
	}
	return out
}

// conversion says how the sides of an operator get one type, if a message is about two that differ; else nothing.
func conversion(message string) string {
	switch _, sides, _ := strings.Cut(message, "applied to "); sides {
	case "'(int, double)'", "'(double, int)'":
		return " (both sides must have one type: double(x) makes a double of an int, int(x) an int of a double)"
	case "'(string, int)'", "'(int, string)'", "'(string, double)'", "'(double, string)'", "'(string, bool)'", "'(bool, string)'":
		return " (both sides must have one type: string(x) makes a text of a value, int(x) or double(x) a number of a text)"
	default:
		return ""
	}
}

// checkPatterns finds literal patterns of matches() that are no regular expressions.
func checkPatterns(a *ast.AST) error {
	var errs []error
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() != ast.CallKind || x.AsCall().FunctionName() != "matches" {
			return
		}
		args := x.AsCall().Args()
		pattern, ok := literalString(args[len(args)-1])
		if !ok {
			return
		}
		if _, err := regexp.Compile(pattern); err != nil {
			errs = append(errs, fmt.Errorf("the pattern %q of matches() is no regular expression: %w", pattern, err))
		}
	}))
	return errors.Join(errs...)
}

func literalString(x ast.Expr) (string, bool) {
	if x.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := x.AsLiteral().(types.String)
	return string(s), ok
}
