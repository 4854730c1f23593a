// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
)

// What tasks say of their channels and operators reaches the report of subtask and vertex.
func TestByVertex_ToldByChannelAndOperator(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	part := func(subtask int, m protocol.AckMetrics) checkpoint.SubtaskStats {
		return checkpoint.SubtaskStats{Task: protocol.TaskID{Vertex: "count", Subtask: subtask}, Acked: true, AckedAfter: 50 * ms, Cost: m}
	}
	up := protocol.ChannelRef{From: protocol.TaskID{Vertex: "map", Subtask: 3}, Input: 1}
	l := &loop{prepared: &prepared{}}
	got := l.byVertex([]checkpoint.SubtaskStats{
		part(0, protocol.AckMetrics{
			Total: 40 * ms, Sync: 5 * ms, Async: 20 * ms, AlignmentBytes: 7, ChannelBytes: 2,
			Channels:  []protocol.ChannelCost{{Channel: up, Delay: 9 * ms, Blocked: 4 * ms, BlockedBytes: 7, OvertakenBytes: 2}},
			Operators: []protocol.OperatorCost{{Operator: "count", Sync: 4 * ms, Async: 6 * ms, Bytes: 10}, {Operator: "out", Sync: 1 * ms, Async: 9 * ms, Bytes: 1}},
		}),
		part(1, protocol.AckMetrics{
			Total: 30 * ms, Sync: 3 * ms, Async: 20 * ms,
			Operators: []protocol.OperatorCost{{Operator: "count", Sync: 1 * ms, Async: 8 * ms, Bytes: 20}, {Operator: "out", Sync: 2 * ms, Async: 7 * ms, Bytes: 2}},
		}),
	})
	if len(got) != 1 || len(got[0].Subtasks) != 2 {
		t.Fatalf("got %+v", got)
	}
	v := &got[0]
	if v.AckDelayMillis != 15 || v.AlignmentBytes != 7 || v.ChannelBytes != 2 {
		t.Errorf("the vertex is told as %+v", v)
	}
	byOperator := []contract.OperatorCheckpoint{
		{Operator: "count", SyncMicros: 4000, AsyncMillis: 8, WrittenBytes: 30}, {Operator: "out", SyncMicros: 2000, AsyncMillis: 9, WrittenBytes: 3},
	}
	if diff := cmp.Diff(byOperator, v.ByOperator); diff != "" {
		t.Errorf("operators (-want +got):\n%s", diff)
	}
	channels := []contract.ChannelCheckpoint{{From: "map/3", Input: 1, DelayMillis: 9, BlockedMillis: 4, BlockedBytes: 7, OvertakenBytes: 2}}
	if diff := cmp.Diff(channels, v.Subtasks[0].Channels); diff != "" {
		t.Errorf("channels (-want +got):\n%s", diff)
	}
	if o := v.Subtasks[1].ByOperator; len(o) != 2 || o[0].SyncMicros != 1000 || o[1].WrittenBytes != 2 {
		t.Errorf("the operators of the second subtask are told as %+v", o)
	}
}
