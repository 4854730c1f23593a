// SPDX-License-Identifier: Apache-2.0

package assign

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// inFlight is a manifest of one operator at parallelism p with two parts of each channel from two producers.
func inFlight(p, groups int, hashed bool) *snapshot.Manifest {
	o := snapshot.OperatorState{Name: "op", Parallelism: p}
	for i := range p {
		s := snapshot.SubtaskState{Index: i}
		for from := range 2 {
			for part := range 2 {
				s.Channels = append(s.Channels, snapshot.ChannelState{
					From: "src", FromSubtask: from, Type: "t", Hashed: hashed, Path: fmt.Sprintf("%d-%d-%d", i, from, part), Length: 12, Rows: 1,
				})
			}
		}
		o.Subtasks = append(o.Subtasks, s)
	}
	return &snapshot.Manifest{JobID: "j", Checkpoint: 1, MaxParallelism: groups, Operators: []snapshot.OperatorState{o}}
}

func assignFlight(t *testing.T, m *snapshot.Manifest, q int, e Edge, o Options) ([]protocol.OperatorRestore, error) {
	t.Helper()
	got, err := Assign(Shape{MaxParallelism: m.MaxParallelism, Vertices: []Vertex{{
		Name: "v", Parallelism: q, Inputs: []Input{{Vertex: "src"}}, Operators: []Operator{{Name: "op", Edges: []Edge{e}}},
	}}}, m, o)
	if err != nil {
		return nil, err
	}
	restores := make([]protocol.OperatorRestore, q)
	for i := range q {
		restores[i] = got[protocol.TaskID{Vertex: "v", Subtask: i}].Operators["op"]
	}
	return restores, nil
}

// TestAssign_ChannelsOfEveryParallelism gives channel state of p subtasks to q: what was sent by its key to each subtask with a key group
// of the old one, everything else to exactly one, both parts of a channel to the same in their order.
func TestAssign_ChannelsOfEveryParallelism(t *testing.T) {
	t.Parallel()
	for _, groups := range []int{16, 128, 32768} {
		for p := 1; p <= 16; p++ {
			for q := 1; q <= 16; q++ {
				for _, partition := range []graph.Partitioning{graph.Hash, graph.Rebalance} {
					m := inFlight(p, groups, partition == graph.Hash)
					restores, err := assignFlight(t, m, q, Edge{From: "src", Partition: partition, Type: "t"}, Options{})
					if err != nil {
						t.Fatal(err)
					}
					for i := range p {
						for from := range 2 {
							checkTakers(t, restores, fmt.Sprintf("%d-%d-", i, from), wantTakers(partition, i, p, q, groups))
						}
					}
				}
			}
		}
	}
}

// wantTakers lists the subtasks that must get a channel; nil for any single one.
func wantTakers(partition graph.Partitioning, i, p, q, groups int) []int {
	if partition == graph.Rebalance {
		if p == q {
			return []int{i}
		}
		return nil
	}
	var out []int
	first, last := state.GroupRange(i, p, groups)
	for j := range q {
		f, l := state.GroupRange(j, q, groups)
		if max(f, first) <= min(l, last) {
			out = append(out, j)
		}
	}
	return out
}

func checkTakers(t *testing.T, restores []protocol.OperatorRestore, channel string, want []int) {
	t.Helper()
	var got []int
	for j, r := range restores {
		var parts []string
		for _, c := range r.Channels {
			if part, ok := strings.CutPrefix(c.Path, channel); ok {
				parts = append(parts, part)
			}
		}
		if len(parts) == 0 {
			continue
		}
		got = append(got, j)
		if !slices.Equal(parts, []string{"0", "1"}) {
			t.Fatalf("subtask %d of %d got parts %v of channel %s, want 0 and 1 in order", j, len(restores), parts, channel)
		}
	}
	if want == nil && len(got) == 1 {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("channel %s among %d subtasks (-want +got):\n%s", channel, len(restores), diff)
	}
}

func TestAssign_ChannelsAreDealtEvenly(t *testing.T) {
	t.Parallel()
	restores, err := assignFlight(t, inFlight(6, 128, false), 4, Edge{From: "src", Partition: graph.Rebalance, Type: "t"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range restores {
		if len(r.Channels) != 6 {
			t.Errorf("subtask %d got %d parts of 24, want 6", i, len(r.Channels))
		}
	}
}

func TestAssign_ChannelsOfAChangedGraph(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		edge   Edge
		hashed bool
		allow  bool
		want   string
		takers []int
	}{
		"renamed producer":          {edge: Edge{From: "new", PreviousNames: []string{"src"}, Partition: graph.Rebalance, Type: "t"}, takers: []int{1}},
		"the input is gone":         {edge: Edge{From: "other", Type: "t"}, want: `from "src"; keep the input`},
		"another logical input":     {edge: Edge{From: "src", Input: 1, Type: "t"}, want: `from "src"`},
		"another type":              {edge: Edge{From: "src", Type: "u"}, want: `"src" (t, now u)`},
		"gone by consent":           {edge: Edge{From: "other", Type: "t"}, allow: true},
		"now keyed":                 {edge: Edge{From: "src", Partition: graph.Hash, Type: "t"}, takers: []int{0, 1, 2}},
		"now in the producer's own": {edge: Edge{From: "src", Partition: graph.Forward, Type: "t"}, hashed: true, takers: []int{1}},
		"now broadcast":             {edge: Edge{From: "src", Partition: graph.Broadcast, Type: "t"}, takers: []int{0, 1, 2}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			restores, err := assignFlight(t, inFlight(3, 128, tc.hashed), 3, tc.edge, Options{AllowNonRestoredState: tc.allow})
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if err == nil {
				checkTakers(t, restores, "1-0-", tc.takers)
			}
		})
	}
}
