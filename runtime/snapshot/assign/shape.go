// SPDX-License-Identifier: Apache-2.0

package assign

import (
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/record"
)

// ShapeOf describes a physical graph.
func ShapeOf(p *graph.Plan) Shape {
	s := Shape{MaxParallelism: p.MaxParallelism}
	for _, v := range p.Vertices {
		x := Vertex{Name: v.Name, Parallelism: v.Parallelism}
		for _, e := range v.Inputs {
			x.Inputs = append(x.Inputs, Input{Vertex: e.From.Name, Forward: e.Partition == graph.Forward})
		}
		for i, n := range v.Nodes {
			x.Operators = append(x.Operators, Operator{Name: n.Name, PreviousNames: n.PreviousNames, Keyed: n.Keyed, Edges: edgesOf(v, i)})
		}
		s.Vertices = append(s.Vertices, x)
	}
	return s
}

// edgesOf lists what the i-th operator of a chain reads.
func edgesOf(v *graph.Vertex, i int) []Edge {
	if i > 0 {
		from := v.Nodes[i-1]
		return []Edge{edgeFrom(from, 0, graph.Forward, from.Output)}
	}
	var out []Edge
	for _, e := range v.Inputs {
		out = append(out, edgeFrom(e.From.Nodes[len(e.From.Nodes)-1], e.Input, e.Partition, e.Type))
	}
	return out
}

func edgeFrom(from *graph.Node, input int, p graph.Partitioning, t record.Type) Edge {
	e := Edge{From: from.Name, PreviousNames: from.PreviousNames, Input: input, Partition: p}
	if t != nil {
		e.Type = t.Name()
	}
	return e
}
