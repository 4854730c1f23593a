// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"fmt"
	"math/bits"

	"github.com/weir-stream/weir/runtime/record"
)

// MaxKeyGroups is the largest number of key groups a job may have.
const MaxKeyGroups = 32768

// Options of a plan.
type Options struct {
	// Parallelism of nodes that set none. Default 1.
	Parallelism int
	// MaxParallelism is the number of key groups; 0 for [DefaultMaxParallelism].
	MaxParallelism int
	// DisableChaining makes every operator a vertex of its own.
	DisableChaining bool
}

// Plan is the physical graph. It is immutable and safe for use by several goroutines.
type Plan struct {
	// MaxParallelism is the number of key groups.
	MaxParallelism int
	// Vertices in topological order.
	Vertices []*Vertex
	// Edges between vertices, by index.
	Edges []*PhysicalEdge
	// Slots is the largest parallelism: slot i holds subtask i of every vertex with more than i subtasks.
	Slots int
	// Fingerprint tells whether two processes built the same graph.
	Fingerprint string

	vertices map[string]*Vertex
}

// Vertex is a chain of operators that run in one task.
type Vertex struct {
	// Index in Plan.Vertices.
	Index int
	// Name is that of the first operator.
	Name string
	// Parallelism is the number of subtasks.
	Parallelism int
	// Nodes of the chain, in order.
	Nodes []*Node
	// Inputs and Outputs are the edges into the first and out of the last operator.
	Inputs, Outputs []*PhysicalEdge
}

// Source says whether the vertex begins with a source.
func (v *Vertex) Source() bool { return v.Nodes[0].NewSource != nil }

// Overtakable says whether unaligned barriers may overtake the input of the vertex: rows of every input may come out of any
// channel in any order between channels. Where rows of a subtask follow each other (Forward), or every subtask must get the
// same (Broadcast), barriers are aligned.
func (v *Vertex) Overtakable() bool {
	for _, e := range v.Inputs {
		if e.Partition != Hash && e.Partition != Rebalance {
			return false
		}
	}
	return len(v.Inputs) > 0
}

// PhysicalEdge connects two vertices.
type PhysicalEdge struct {
	// Index in Plan.Edges.
	Index int
	// From and To are the vertices.
	From, To *Vertex
	// Input is the logical input of the consuming operator.
	Input int
	// Partition says how rows travel; Forward only between equal parallelisms.
	Partition Partitioning
	// Type of the batches.
	Type record.Type
	// NewHasher makes the hasher of one producing subtask, for Hash.
	NewHasher func() record.Hasher
}

// ChannelID names one channel: both sides compute the same.
type ChannelID struct {
	// Edge is the index of the edge; From and To are the subtasks.
	Edge, From, To int
}

// String returns "edge:from>to".
func (c ChannelID) String() string { return fmt.Sprintf("%d:%d>%d", c.Edge, c.From, c.To) }

// Channel is an input channel of a subtask.
type Channel struct {
	ChannelID
	// PhysicalEdge it belongs to.
	PhysicalEdge *PhysicalEdge
}

// DefaultMaxParallelism is min(max(roundUpPow2(1.5·parallelism), 128), 32768).
func DefaultMaxParallelism(parallelism int) int {
	p := parallelism + parallelism/2
	n := 1 << bits.Len(uint(max(p-1, 0)))
	return min(max(n, 128), MaxKeyGroups)
}

// NewPlan checks the graph and lays it out. Errors name the node and the remedy.
func NewPlan(g *Graph, opts Options) (*Plan, error) {
	if opts.Parallelism == 0 {
		opts.Parallelism = 1
	}
	if err := check(g, opts); err != nil {
		return nil, err
	}
	b := builder{opts: opts, nodes: map[string]*Node{}, consumers: map[string]int{}, home: map[string]*Vertex{}}
	for _, n := range g.Nodes {
		b.nodes[n.Name] = n
		for _, e := range n.Inputs {
			b.consumers[e.From]++
		}
	}
	p := &Plan{vertices: map[string]*Vertex{}}
	for _, n := range g.Nodes {
		b.place(p, n)
	}
	p.MaxParallelism = opts.MaxParallelism
	if p.MaxParallelism == 0 {
		p.MaxParallelism = DefaultMaxParallelism(p.Slots)
	}
	if p.Slots > p.MaxParallelism {
		return nil, fmt.Errorf("planning the graph: parallelism %d is above maxParallelism %d (the number of key groups): lower the parallelism, or start without state under a higher maxParallelism",
			p.Slots, p.MaxParallelism)
	}
	p.Fingerprint = fingerprint(p)
	return p, nil
}

type builder struct {
	opts      Options
	nodes     map[string]*Node
	consumers map[string]int
	home      map[string]*Vertex
}

// parallelism of a node: its own, or the job's, within its bound.
func (b *builder) parallelism(n *Node) int {
	p := n.Parallelism
	if p == 0 {
		p = b.opts.Parallelism
	}
	if n.MaxParallelism > 0 {
		p = min(p, n.MaxParallelism)
	}
	return p
}

// place puts a node at the end of its producer's chain, or into a vertex of its own.
func (b *builder) place(p *Plan, n *Node) {
	if v := b.chain(n); v != nil {
		v.Nodes = append(v.Nodes, n)
		b.home[n.Name] = v
		return
	}
	v := &Vertex{Index: len(p.Vertices), Name: n.Name, Parallelism: b.parallelism(n), Nodes: []*Node{n}}
	p.Vertices = append(p.Vertices, v)
	p.vertices[v.Name] = v
	p.Slots = max(p.Slots, v.Parallelism)
	b.home[n.Name] = v
	for _, in := range n.Inputs {
		b.connect(p, v, in)
	}
}

// chain returns the vertex that n can join: it is its only producer's, who has no other consumer, and rows needn't move.
func (b *builder) chain(n *Node) *Vertex {
	if b.opts.DisableChaining || n.NoChain || len(n.Inputs) != 1 || n.Inputs[0].Partition != Forward {
		return nil
	}
	from := n.Inputs[0].From
	v := b.home[from]
	if b.consumers[from] != 1 || v.Parallelism != b.parallelism(n) || n.Inputs[0].Input != 0 {
		return nil
	}
	return v
}

func (b *builder) connect(p *Plan, to *Vertex, in Edge) {
	from := b.home[in.From]
	e := &PhysicalEdge{
		Index: len(p.Edges), From: from, To: to, Input: in.Input,
		Partition: in.Partition, Type: b.nodes[in.From].Output, NewHasher: in.NewHasher,
	}
	if e.Partition == Forward && from.Parallelism != to.Parallelism {
		e.Partition = Rebalance
	}
	p.Edges = append(p.Edges, e)
	from.Outputs = append(from.Outputs, e)
	to.Inputs = append(to.Inputs, e)
}

// Vertex returns the vertex of that name, or nil.
func (p *Plan) Vertex(name string) *Vertex { return p.vertices[name] }

// InputChannels lists the input channels of a subtask in the order in which its task numbers them.
func (v *Vertex) InputChannels(subtask int) []Channel {
	var cs []Channel
	for _, e := range v.Inputs {
		if e.Partition == Forward {
			cs = append(cs, Channel{ChannelID{e.Index, subtask, subtask}, e})
			continue
		}
		for from := range e.From.Parallelism {
			cs = append(cs, Channel{ChannelID{e.Index, from, subtask}, e})
		}
	}
	return cs
}

// OutputChannels lists the channels of one edge that a producing subtask writes, in order of destination.
func (e *PhysicalEdge) OutputChannels(subtask int) []ChannelID {
	if e.Partition == Forward {
		return []ChannelID{{e.Index, subtask, subtask}}
	}
	cs := make([]ChannelID, e.To.Parallelism)
	for to := range cs {
		cs[to] = ChannelID{e.Index, subtask, to}
	}
	return cs
}
