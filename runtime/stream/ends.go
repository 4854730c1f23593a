// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// Source yields rows from a position that its snapshot holds. Unless it starts anew each
// time it also implements [operator.Stateful].
type Source[T any] interface {
	Open(ctx context.Context, c *operator.Context) error
	// Poll appends the next rows, at most about [record.TargetRows], to rows and returns it; it never blocks.
	// Batch of the result is not used.
	Poll(rows []T) ([]T, operator.Polled, error)
	Close() error
}

// From begins a stream with a source made anew for each subtask. One that is also an [operator.Listener] hears of completed checkpoints, and is taken to give up
// its input upstream then: such a job never goes back behind a checkpoint that it may have heard of.
func From[T any](j *Job, name string, newSource func() Source[T], opts ...Option) Stream[T] {
	out := newStream[T](j, name, nil)
	typ, cfg := out.typ, j.Config
	j.add(&graph.Node{
		Name: name, Output: out.output(), Trims: listens(newSource()),
		NewSource: func() operator.Source {
			s := newSource()
			configure(s, cfg)
			if st, ok := s.(operator.Stateful); ok {
				return &statefulSource[T]{source[T]{Source: s, typ: typ}, st}
			}
			return &source[T]{Source: s, typ: typ}
		},
	}, opts)
	return out
}

// Configured is what a source or sink implements that takes from the configuration of the job what it isn't told otherwise. [From] and [To] call
// Configure once for each that they make, before it is opened.
type Configured interface {
	Configure(job contract.JobConfig)
}

func configure(end any, job contract.JobConfig) {
	if c, ok := end.(Configured); ok {
		c.Configure(job)
	}
}

// listens says whether a source wants to hear how snapshots end. A wrapper passes on what it hears, if there is anybody.
func listens(s any) bool {
	if w, ok := s.(interface{ listens() bool }); ok {
		return w.listens()
	}
	_, ok := s.(operator.Listener)
	return ok
}

type source[T any] struct {
	Source[T]
	typ  *record.RowType[T]
	rows *record.Rows[T]
}

// Poll polls the user's source.
func (s *source[T]) Poll() (operator.Polled, error) {
	if s.rows == nil {
		s.rows = s.typ.Get()
	}
	rows, p, err := s.Source.Poll(s.rows.Values[:0])
	s.rows.Values = rows
	p.Batch = s.rows
	return p, err
}

// NotifyComplete hands the completion on to a source that wants to hear of it.
func (s *source[T]) NotifyComplete(ctx context.Context, checkpoint int64) error {
	if l, ok := s.Source.(operator.Listener); ok {
		return l.NotifyComplete(ctx, checkpoint)
	}
	return nil
}

// NotifyAborted hands the end of a snapshot on.
func (s *source[T]) NotifyAborted(checkpoint int64) {
	if l, ok := s.Source.(operator.Listener); ok {
		l.NotifyAborted(checkpoint)
	}
}

type statefulSource[T any] struct {
	source[T]
	operator.Stateful
}

// To ends a stream in an operator that consumes batches of *record.Rows[T], made anew for each subtask.
func To[T any](s Stream[T], name string, newSink func() operator.Operator, opts ...Option) {
	cfg := s.job.Config
	s.job.add(&graph.Node{Name: name, Inputs: s.edges(0), NewOperator: func() operator.Operator {
		sink := newSink()
		configure(sink, cfg)
		return sink
	}}, opts)
}

// ForEach ends a stream in a function that is called for every row. What it does to the outside is done again
// after a failure: at least once.
func ForEach[T any](s Stream[T], name string, f func(T), opts ...Option) {
	To(s, name, func() operator.Operator { return &forEach[T]{f: f} }, opts...)
}

type forEach[T any] struct{ f func(T) }

// Open has nothing to prepare.
func (*forEach[T]) Open(context.Context, *operator.Context) error { return nil }

// Process calls the function for every row.
func (e *forEach[T]) Process(_ int, b record.Batch) (operator.Status, error) {
	for _, v := range b.(*record.Rows[T]).Values { // an edge carries one type
		e.f(v)
	}
	return operator.Done, nil
}

// Resume has nothing left.
func (*forEach[T]) Resume() (operator.Status, error) { return operator.Done, nil }

// Close has nothing to release.
func (*forEach[T]) Close() error { return nil }
