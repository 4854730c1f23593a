// SPDX-License-Identifier: Apache-2.0

package assign

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/graph"
)

func TestShapeOf(t *testing.T) {
	v0 := &graph.Vertex{Name: "src", Parallelism: 1, Nodes: []*graph.Node{{Name: "src"}, {Name: "map", PreviousNames: []string{"old"}}}}
	v1 := &graph.Vertex{Name: "count", Parallelism: 3, Nodes: []*graph.Node{{Name: "count", Keyed: true}}}
	v1.Inputs = []*graph.PhysicalEdge{{From: v0, To: v1, Partition: graph.Forward, Input: 1}}
	got := ShapeOf(&graph.Plan{MaxParallelism: 64, Vertices: []*graph.Vertex{v0, v1}})
	want := Shape{MaxParallelism: 64, Vertices: []Vertex{
		{Name: "src", Parallelism: 1, Operators: []Operator{
			{Name: "src"}, {Name: "map", PreviousNames: []string{"old"}, Edges: []Edge{{From: "src", Partition: graph.Forward}}},
		}},
		{Name: "count", Parallelism: 3, Inputs: []Input{{Vertex: "src", Forward: true}}, Operators: []Operator{{
			Name: "count", Keyed: true, Edges: []Edge{{From: "map", PreviousNames: []string{"old"}, Input: 1, Partition: graph.Forward}},
		}}},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("shape differs (-want +got):\n%s", d)
	}
}
