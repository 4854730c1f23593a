// SPDX-License-Identifier: Apache-2.0

package assign

import "github.com/weir-stream/weir/runtime/graph"

// ShapeOf describes a physical graph.
func ShapeOf(p *graph.Plan) Shape {
	s := Shape{MaxParallelism: p.MaxParallelism}
	for _, v := range p.Vertices {
		x := Vertex{Name: v.Name, Parallelism: v.Parallelism}
		for _, e := range v.Inputs {
			x.Inputs = append(x.Inputs, Input{Vertex: e.From.Name, Forward: e.Partition == graph.Forward})
		}
		for _, n := range v.Nodes {
			x.Operators = append(x.Operators, Operator{Name: n.Name, PreviousNames: n.PreviousNames, Keyed: n.Keyed})
		}
		s.Vertices = append(s.Vertices, x)
	}
	return s
}
