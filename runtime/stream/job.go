// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// Job collects the operators of a job. It is used from one goroutine.
type Job struct {
	// Config is the configuration of the job, for a program that wants to look at it.
	Config contract.JobConfig

	nodes []*graph.Node
	errs  []error
}

// Build turns a function that describes a job into one that yields its graph, as program.Main takes it.
func Build(describe func(*Job)) func(contract.JobConfig) (*graph.Graph, error) {
	return func(cfg contract.JobConfig) (*graph.Graph, error) {
		j := &Job{Config: cfg}
		describe(j)
		return j.Graph()
	}
}

// Graph returns the graph, or everything that was wrong with the description.
func (j *Job) Graph() (*graph.Graph, error) {
	if err := errors.Join(j.errs...); err != nil {
		return nil, fmt.Errorf("building the job: %w", err)
	}
	return &graph.Graph{Nodes: j.nodes}, nil
}

func (j *Job) add(n *graph.Node, opts []Option) {
	for _, o := range opts {
		o(n)
	}
	j.nodes = append(j.nodes, n)
}

func (j *Job) fail(name string, err error) {
	j.errs = append(j.errs, fmt.Errorf("operator %q: %w", name, err))
}

// Option sets something of one operator.
type Option func(*graph.Node)

// Parallelism sets the number of subtasks of the operator; unset, that of the job.
func Parallelism(p int) Option { return func(n *graph.Node) { n.Parallelism = p } }

// PreviousNames lets the operator find state that was saved under an earlier name.
func PreviousNames(names ...string) Option {
	return func(n *graph.Node) { n.PreviousNames = append(n.PreviousNames, names...) }
}

// NoChain keeps the operator in a task of its own.
func NoChain() Option { return func(n *graph.Node) { n.NoChain = true } }

// Transactional says that the operator commits to the outside when a snapshot has completed.
func Transactional() Option { return func(n *graph.Node) { n.Transactional = true } }

// TransactionTimeout says how long the outside keeps a transaction of this sink that isn't committed; unset, for ever. A job whose checkpoints
// may exceed it, because it is less than twice the sum of their interval and their timeout, is refused.
func TransactionTimeout(d time.Duration) Option {
	return func(n *graph.Node) { n.TransactionTimeout = d }
}

// Bounded says of a source that it ends by itself.
func Bounded() Option { return func(n *graph.Node) { n.Bounded = true } }

// Stream is a stream of rows of type T.
type Stream[T any] struct {
	job *Job
	// inputs are the edges that a consumer has to take: one, or several for a union.
	inputs []graph.Edge
	typ    *record.RowType[T]
}

// newStream makes the stream that node name emits.
func newStream[T any](j *Job, name string, coder record.Coder[T]) Stream[T] {
	if coder == nil {
		c, err := record.CoderOf[T]()
		if err != nil {
			j.fail(name, err)
			return Stream[T]{job: j}
		}
		coder = c
	}
	return Stream[T]{job: j, inputs: []graph.Edge{{From: name}}, typ: record.NewRowType(coder)}
}

func (s Stream[T]) output() record.Type {
	if s.typ == nil {
		return nil
	}
	return s.typ
}

// edges returns the edges of a consumer's input.
func (s Stream[T]) edges(input int) []graph.Edge {
	es := make([]graph.Edge, len(s.inputs))
	for i, e := range s.inputs {
		e.Input = input
		es[i] = e
	}
	return es
}

// WithCoder sets how rows are encoded between processes, for types without a built-in coder. It must directly
// follow the function that made the stream.
func WithCoder[T any](s Stream[T], c record.Coder[T]) Stream[T] {
	s.typ = record.NewRowType(c)
	for _, n := range s.job.nodes {
		for _, e := range s.inputs {
			if n.Name == e.From {
				n.Output = s.typ
			}
		}
	}
	return s
}

// partitioned returns the stream with another way for its rows to travel to the next operator.
func (s Stream[T]) partitioned(p graph.Partitioning) Stream[T] {
	s.inputs = s.edges(0)
	for i := range s.inputs {
		s.inputs[i].Partition = p
	}
	return s
}

// Rebalance spreads rows evenly over the subtasks of the next operator.
func (s Stream[T]) Rebalance() Stream[T] { return s.partitioned(graph.Rebalance) }

// Broadcast sends every row to every subtask of the next operator.
func (s Stream[T]) Broadcast() Stream[T] { return s.partitioned(graph.Broadcast) }

// Union is the rows of all streams, in no particular order between them.
func Union[T any](first Stream[T], more ...Stream[T]) Stream[T] {
	inputs := first.edges(0)
	for _, s := range more {
		inputs = append(inputs, s.edges(0)...)
	}
	first.inputs = inputs
	return first
}

// transform adds an operator from T to U.
func transform[T, U any](s Stream[T], name string, keyed bool, opts []Option, build func(*record.RowType[U]) operator.Operator) Stream[U] {
	out := newStream[U](s.job, name, nil)
	typ := out.typ
	s.job.add(&graph.Node{
		Name: name, Inputs: s.edges(0), Keyed: keyed, Output: out.output(),
		NewOperator: func() operator.Operator { return build(typ) },
	}, opts)
	return out
}

// Keyed is a stream whose rows have a key: all rows with equal keys go to the same subtask.
type Keyed[K, T any] struct {
	Stream[T]
	key  func(T) K
	keys func() (*state.Keys[K], error)
}

// KeyBy gives rows a key: an integer, a string, or another type with a built-in coder. The function must be
// deterministic.
func KeyBy[K, T any](s Stream[T], key func(T) K) Keyed[K, T] {
	keys := keysOf[K]
	k := Keyed[K, T]{Stream: s.partitioned(graph.Hash), key: key, keys: keys}
	if _, err := keys(); err != nil {
		s.job.errs = append(s.job.errs, fmt.Errorf("keying a stream of %T: %w", *new(T), err))
		return k
	}
	for i := range k.inputs {
		k.inputs[i].NewHasher = func() record.Hasher {
			ks, _ := keys() // it was made without error above
			return &keyHasher[K, T]{key: key, keys: ks}
		}
	}
	return k
}

// keysOf encodes integers and strings as they are, other types by their built-in coder.
func keysOf[K any]() (*state.Keys[K], error) {
	keys, err := state.KeysOf[K](nil)
	if err == nil {
		return keys, nil
	}
	c, err := record.CoderOf[K]()
	if err != nil {
		return nil, err
	}
	return state.KeysOf(state.Coder[K](coderOfState[K]{c}))
}

type keyHasher[K, T any] struct {
	key  func(T) K
	keys *state.Keys[K]
	buf  []K
}

// AppendHashes computes the key of every row, then the hashes in one go.
func (h *keyHasher[K, T]) AppendHashes(dst []uint64, b record.Batch) []uint64 {
	rows := b.(*record.Rows[T]).Values // an edge carries one type
	h.buf = h.buf[:0]
	for i := range rows {
		h.buf = append(h.buf, h.key(rows[i]))
	}
	return h.keys.AppendHashes(dst, h.buf)
}
