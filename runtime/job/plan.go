// SPDX-License-Identifier: Apache-2.0

package job

import (
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// Vertex is a node of the physical graph.
type Vertex = checkpoint.Vertex

// Input is an edge of the physical graph, seen from the vertex that reads it.
type Input = checkpoint.Input

// Plan is what the machine has to know of the physical graph.
type Plan struct {
	// Vertices in topological order.
	Vertices []Vertex
	// Slots needed: the largest parallelism. Slot i holds subtask i of every vertex with more than i subtasks.
	Slots int
	// MaxParallelism is the number of key groups.
	MaxParallelism int
	// TransactionTimeout is the shortest time after which the outside drops a transaction of a sink that isn't committed; 0 for never.
	TransactionTimeout time.Duration
	// Fingerprint of the graph; a worker with another one is refused. Empty: not compared.
	Fingerprint string
}

// Restorer gives old state to the tasks of the new graph. It is called with nothing but pure code in it. dir is the directory of the
// manifest. A task that is missing in the result starts without state. An error ends the job: restarting can't help.
type Restorer func(m *snapshot.Manifest, dir string) (map[protocol.TaskID]protocol.TaskDeployment, error)

// tasks lists the tasks of the plan, in order of vertex and subtask.
func (p *Plan) tasks() []protocol.TaskID {
	var ts []protocol.TaskID
	for _, v := range p.Vertices {
		for i := range v.Parallelism {
			ts = append(ts, protocol.TaskID{Vertex: v.Name, Subtask: i})
		}
	}
	return ts
}
