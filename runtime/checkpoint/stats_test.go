// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// TestCoordinator_History checks that a checkpoint says what it cost and which task was the slowest.
func TestCoordinator_History(t *testing.T) {
	start := time.Unix(0, 0)
	c, err := New(Options{
		JobID: "j", MaxParallelism: 8, Vertices: []Vertex{{Name: "v", Parallelism: 2, Operators: []string{"v"}}}, Durable: true, Dir: "d/",
	}, snapshot.Head{})
	if err != nil {
		t.Fatal(err)
	}
	s := &soloist{Coordinator: c, now: start, attempt: protocol.Attempt{K: 1}}
	s.Start(s.now, s.attempt, nil)
	s.settle()
	s.RequestCheckpoint(s.now, "now")
	s.settle()
	ack := func(after time.Duration, subtask int, m protocol.AckMetrics, st snapshot.SubtaskState) {
		s.now = start.Add(after)
		st.Index = subtask
		s.HandleAck(s.now, protocol.Ack{
			Attempt: s.attempt, Task: protocol.TaskID{Vertex: "v", Subtask: subtask}, Checkpoint: 1,
			Operators: map[string]snapshot.SubtaskState{"v": st}, Metrics: m,
		})
		s.settle()
	}
	ack(10*time.Millisecond, 1, protocol.AckMetrics{Total: 8 * time.Millisecond, Alignment: 4, Sync: 9, Async: 5, Upload: 3, Bytes: 100},
		snapshot.SubtaskState{Keyed: []state.File{{Path: "a", Size: 100, LastGroup: 0, FirstGroup: 0}}})
	ack(30*time.Millisecond, 0, protocol.AckMetrics{Total: 25 * time.Millisecond, Alignment: 7, Sync: 2, Async: 6, Waited: 20 * time.Millisecond, Bytes: 11},
		snapshot.SubtaskState{Lists: []operator.List{{Name: "l", Entries: [][]byte{[]byte("four"), []byte("x")}}}})
	history := s.History()
	if len(history) != 1 {
		t.Fatalf("history has %d snapshots, want 1: %+v", len(history), history)
	}
	want := Stats{
		ID: 1, Operation: "now", State: StateCompleted, Path: "d/checkpoints/chk-1/", TriggeredAt: start, Duration: 30 * time.Millisecond,
		IdleGap: -1, Size: 105, Bytes: 111, TriggerDelay: 5 * time.Millisecond, StartDelay: 5 * time.Millisecond, Alignment: 7,
		Waited: 20 * time.Millisecond, Sync: 9, Async: 6, Upload: 3, Slowest: protocol.TaskID{Vertex: "v", Subtask: 0}, Tasks: 2, Acked: 2,
		Culprit: Culprit{
			Phase: PhaseWaiting, Task: protocol.TaskID{Vertex: "v", Subtask: 0}, Duration: 20 * time.Millisecond,
			Text: "v/0 had to finish what was before the barrier for 20ms",
		},
	}
	if d := cmp.Diff(want, history[0]); d != "" {
		t.Errorf("differs (-want +got):\n%s", d)
	}
}

func TestCoordinator_EndedSinceTellsEachSnapshotOnce(t *testing.T) {
	c, err := New(Options{
		JobID: "j", MaxParallelism: 8, Vertices: []Vertex{{Name: "v", Parallelism: 1, Operators: []string{"v"}}}, Durable: true, Dir: "d/", History: 2,
	}, snapshot.Head{})
	if err != nil {
		t.Fatal(err)
	}
	s := &soloist{Coordinator: c, now: time.Unix(0, 0), attempt: protocol.Attempt{K: 1}}
	s.Start(s.now, s.attempt, nil)
	s.settle()
	take := func(id int64) {
		s.RequestCheckpoint(s.now, fmt.Sprintf("now-%d", id))
		s.settle()
		s.HandleAck(s.now, protocol.Ack{
			Attempt: s.attempt, Task: protocol.TaskID{Vertex: "v"}, Checkpoint: id, Operators: map[string]snapshot.SubtaskState{"v": {}},
		})
		s.settle()
	}
	var told []int64
	seen := int64(0)
	look := func() {
		var ended []Stats
		ended, seen = c.EndedSince(seen)
		for _, e := range ended {
			told = append(told, e.ID)
		}
	}
	look()
	take(1)
	look()
	look()
	for id := int64(2); id <= 5; id++ { // more than the history holds
		take(id)
	}
	look()
	if d := cmp.Diff([]int64{1, 4, 5}, told); d != "" || seen != 5 {
		t.Errorf("%d ended; told of (-want +got):\n%s", seen, d)
	}
}
