// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// link is one operator of the chain.
type link struct {
	node    *graph.Node
	src     operator.Source
	op      operator.Operator
	ctx     operator.Context
	backend *state.Memory
	// paused says that the operator answered Paused and has to be resumed.
	paused bool
	opened bool

	stateful  operator.Stateful
	preparer  operator.Preparer
	listener  operator.Listener
	finisher  operator.Finisher
	watermark operator.WatermarkHandler
	timers    operator.TimerHandler
}

// chained is the output of an operator whose consumer is the next link.
type chained struct{ next *link }

// Emit hands the batch to the next operator.
func (c chained) Emit(b record.Batch) (operator.Status, error) { return c.next.process(0, b) }

// sunk is the output of an operator whose consumer is the sink at the end of the chain: it counts the rows.
type sunk struct {
	next *link
	rows *int64
}

// Emit hands the batch to the sink.
func (s sunk) Emit(b record.Batch) (operator.Status, error) {
	*s.rows += int64(b.Len())
	return s.next.process(0, b)
}

func (l *link) process(input int, b record.Batch) (operator.Status, error) {
	st, err := l.op.Process(input, b)
	return l.note(st, err)
}

// note remembers that the operator paused, and names it in an error.
func (l *link) note(st operator.Status, err error) (operator.Status, error) {
	if err != nil {
		return operator.Done, l.wrap(err)
	}
	l.paused = st == operator.Paused
	return st, nil
}

// OperatorError says in which operator something failed.
type OperatorError struct {
	// Operator is its name.
	Operator string
	Err      error
}

// Error names the operator and the cause, which may name it as well.
func (e *OperatorError) Error() string {
	name := fmt.Sprintf("operator %q: ", e.Operator)
	return name + strings.TrimPrefix(e.Err.Error(), name)
}

// Unwrap returns the cause.
func (e *OperatorError) Unwrap() error { return e.Err }

// wrap names this operator unless an operator further down is named already.
func (l *link) wrap(err error) error {
	if _, ok := err.(*OperatorError); ok { //nolint:errorlint // only the outermost error counts
		return err
	}
	return &OperatorError{Operator: l.node.Name, Err: err}
}

// newChain makes the instances of the chain, connected, not yet opened.
func (c *Core) newChain() {
	nodes := c.o.Vertex.Nodes
	c.links = make([]*link, len(nodes))
	for i := len(nodes) - 1; i >= 0; i-- {
		l := &link{node: nodes[i]}
		var instance any
		if l.node.NewSource != nil {
			l.src = l.node.NewSource()
			instance = l.src
		} else {
			l.op = l.node.NewOperator()
			instance = l.op
		}
		l.stateful, _ = instance.(operator.Stateful)
		l.preparer, _ = instance.(operator.Preparer)
		l.listener, _ = instance.(operator.Listener)
		l.finisher, _ = instance.(operator.Finisher)
		l.watermark, _ = instance.(operator.WatermarkHandler)
		l.timers, _ = instance.(operator.TimerHandler)
		l.ctx = c.operatorContext(l.node)
		switch {
		case i+2 == len(nodes) && nodes[i+1].Output == nil:
			l.ctx.Out = sunk{c.links[i+1], &c.out.rows}
		case i+1 < len(nodes):
			l.ctx.Out = chained{c.links[i+1]}
		case len(c.o.Vertex.Outputs) > 0:
			l.ctx.Out = &c.out
		}
		c.links[i] = l
	}
}

func (c *Core) operatorContext(n *graph.Node) operator.Context {
	return operator.Context{
		JobID: c.o.JobID, JobName: c.o.JobName, Name: n.Name,
		Subtask: c.o.Subtask, Parallelism: c.o.Vertex.Parallelism, MaxParallelism: c.o.Plan.MaxParallelism,
		Attempt: c.o.Attempt.String(), Restored: c.o.Deployment.Operators[n.Name].Lists, RestoredFrom: c.o.RestoredFrom,
		Checkpointed: c.o.Checkpointed, Wake: c.o.Wake, Now: c.o.Now, Log: c.o.Log.WithValues("operator", n.Name),
		Counters: &c.counters,
	}
}

// Open restores the state and opens the operators, tail first. It may read files. The caller
// calls Close also after an error.
func (c *Core) Open(ctx context.Context) error {
	for _, l := range slices.Backward(c.links) {
		if err := c.openLink(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func (c *Core) openLink(ctx context.Context, l *link) error {
	if l.node.Keyed {
		if err := c.openState(ctx, l); err != nil {
			return l.wrap(permanent(err))
		}
	}
	l.opened = true
	var err error
	if l.src != nil {
		err = l.src.Open(ctx, &l.ctx)
	} else {
		err = l.op.Open(ctx, &l.ctx)
	}
	if err != nil {
		return l.wrap(permanent(fmt.Errorf("opening: %w", err)))
	}
	if err := l.ctx.Unused(); err != nil && !c.o.AllowNonRestoredState {
		return l.wrap(permanent(err))
	}
	if err := c.openReplay(ctx, l); err != nil {
		return err
	}
	if l.backend == nil {
		return nil
	}
	if c.o.AllowNonRestoredState {
		l.backend.DropUnclaimed()
	}
	if lost := l.backend.Unclaimed(); len(lost) > 0 {
		return l.wrap(&FatalError{&state.UnusedError{States: lost}})
	}
	return nil
}

// permanent marks an error that is the same at every restart: a damaged state file, one of a newer format, another type than the job's, a transaction that the outside has dropped.
func permanent(err error) error {
	_, damaged := errors.AsType[*state.CorruptError](err)
	_, other := errors.AsType[*state.SchemaError](err)
	_, expired := errors.AsType[*txn.ExpiredError](err)
	_, newer := errors.AsType[*state.FormatError](err)
	_, misfit := errors.AsType[*operator.StateError](err)
	_, unused := errors.AsType[*operator.UnusedStateError](err)
	if damaged || other || expired || newer || misfit || unused {
		return &FatalError{err}
	}
	return err
}

func (c *Core) openState(ctx context.Context, l *link) error {
	first, last := graph.KeyGroupRange(c.o.Subtask, c.o.Vertex.Parallelism, c.o.Plan.MaxParallelism)
	m, err := state.NewMemory(state.Options{
		MaxParallelism: c.o.Plan.MaxParallelism, First: first, Last: last, Account: c.o.Memory,
	})
	if err != nil {
		return err
	}
	if files := c.o.Deployment.Operators[l.node.Name].Keyed; len(files) > 0 {
		if err := m.Restore(ctx, files, c.o.Reader); err != nil {
			m.Close()
			return fmt.Errorf("restoring keyed state: %w", err)
		}
	}
	l.backend, l.ctx.Keyed = m, m
	c.keyed = append(c.keyed, l)
	return nil
}

// FatalError marks an error that a restart can't mend: it ends the job under every restart strategy.
type FatalError struct{ Err error }

// Error returns the text of the cause.
func (e *FatalError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *FatalError) Unwrap() error { return e.Err }
