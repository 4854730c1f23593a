// SPDX-License-Identifier: Apache-2.0

package assign

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// Edge is what an operator reads.
type Edge struct {
	// From is the name of the operator that produces the rows, PreviousNames those it had.
	From          string
	PreviousNames []string
	// Input is the logical input of the operator that reads.
	Input int
	// Partition says how rows find their subtask.
	Partition graph.Partitioning
	// Type is the name of the type of the rows.
	Type string
}

// edge finds the edge that the rows of an old channel would come over today.
func (op *Operator) edge(c *snapshot.ChannelState) *Edge {
	for i := range op.Edges {
		e := &op.Edges[i]
		if e.Input == c.Input && (e.From == c.From || slices.Contains(e.PreviousNames, c.From)) {
			return e
		}
	}
	return nil
}

// sameChannel says whether two parts belong to one channel, whose order has to be kept.
func sameChannel(a, b *snapshot.ChannelState) bool {
	return a.From == b.From && a.Input == b.Input && a.FromSubtask == b.FromSubtask
}

// addChannels gives what was in flight to the new subtasks. At an unchanged parallelism each gets its own back. Else rows that were sent by
// their key go to every subtask that has key groups of the old one, where all but its own are left out; others are dealt out by channel.
func (a *assigner) addChannels(op Operator, old *snapshot.OperatorState, restores []protocol.OperatorRestore) {
	lost := map[string]bool{}
	dealt := -1
	for i := range old.Subtasks {
		s := &old.Subtasks[i]
		for k := range s.Channels {
			c := &s.Channels[k]
			if k == 0 || !sameChannel(c, &s.Channels[k-1]) {
				dealt++
			}
			e := op.edge(c)
			switch {
			case e == nil:
				lost[fmt.Sprintf("%q", c.From)] = true
			case e.Type != c.Type:
				lost[fmt.Sprintf("%q (%s, now %s)", c.From, c.Type, e.Type)] = true
			default:
				for _, j := range a.takers(e, c, old.Parallelism, s.Index, len(restores), dealt) {
					restores[j].Channels = append(restores[j].Channels, *c)
				}
			}
		}
	}
	if len(lost) > 0 && !a.o.AllowNonRestoredState {
		a.problemf("the snapshot holds rows on their way to operator %q that it has no such input for any more: from %s; keep the input and its type, or resume from a savepoint, which holds no rows in flight, or set upgrade.allowNonRestoredState to drop them",
			op.Name, strings.Join(slices.Sorted(maps.Keys(lost)), ", "))
	}
}

// takers lists the new subtasks, of q, that get an old channel of subtask i of p; it is the dealt-th one.
func (a *assigner) takers(e *Edge, c *snapshot.ChannelState, p, i, q, dealt int) []int {
	var out []int
	switch {
	case e.Partition == graph.Broadcast || e.Partition == graph.Hash && !c.Hashed:
		for j := range q {
			out = append(out, j)
		}
	case e.Partition == graph.Hash:
		first, last := state.GroupRange(i, p, a.m.MaxParallelism)
		for j := range q {
			if f, l := state.GroupRange(j, q, a.m.MaxParallelism); f <= last && l >= first {
				out = append(out, j)
			}
		}
	case p == q:
		out = append(out, i)
	default:
		out = append(out, dealt%q)
	}
	return out
}
