// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// A soloist is a coordinator of a job with one task, whose head is swapped at once.
type soloist struct {
	*Coordinator
	now      time.Time
	attempt  protocol.Attempt
	task     protocol.TaskID
	triggers []record.Barrier
	aborted  []int64
	complete []int64
}

func newSoloist(t *testing.T, maxConcurrent int) *soloist {
	t.Helper()
	c, err := New(Options{
		JobID: "j", MaxParallelism: 8, Vertices: []Vertex{{Name: "v", Parallelism: 1, Operators: []string{"v"}, Bounded: true}},
		MaxConcurrent: maxConcurrent, Durable: true, Dir: "d/",
	}, snapshot.Head{})
	if err != nil {
		t.Fatal(err)
	}
	s := &soloist{Coordinator: c, now: time.Unix(0, 0), attempt: protocol.Attempt{K: 1}, task: protocol.TaskID{Vertex: "v"}}
	s.Start(s.now, s.attempt, nil)
	s.settle()
	return s
}

// settle carries out effects until there are none.
func (s *soloist) settle() {
	for effects := s.Effects(); len(effects) > 0; effects = s.Effects() {
		for _, e := range effects {
			switch e := e.(type) {
			case Trigger:
				s.triggers = append(s.triggers, e.Barrier)
			case NotifyAborted:
				s.aborted = append(s.aborted, e.Checkpoint)
			case NotifyComplete:
				s.complete = append(s.complete, e.Checkpoint)
			case WriteManifest:
				s.HandleManifestWritten(s.now, e.Checkpoint, 1, 1, nil)
			case UpdateHead:
				s.HandleHeadUpdated(s.now, e.Token)
			case Delete:
				s.HandleDeleted(s.now, e.Token)
			}
		}
	}
}

func (s *soloist) ack(id int64) {
	s.HandleAck(s.now, protocol.Ack{
		Attempt: s.attempt, Task: s.task, Checkpoint: id,
		Operators: map[string]snapshot.SubtaskState{"v": {}},
	})
	s.settle()
}

// A checkpoint that is in flight when a stop's savepoint completes must not become complete after it: nothing may
// come after what the job was stopped with.
func TestCoordinator_StopSubsumesOlderCheckpoints(t *testing.T) {
	s := newSoloist(t, 2)
	s.RequestCheckpoint(s.now, "a")
	s.RequestSavepoint(s.now, SavepointRequest{Operation: "b", Stop: record.StopFreeze})
	s.settle()
	if len(s.triggers) != 2 {
		t.Fatalf("%d snapshots were triggered, want 2", len(s.triggers))
	}
	checkpoint, stop := s.triggers[0].Checkpoint, s.triggers[1].Checkpoint
	s.ack(stop)
	if len(s.aborted) != 1 || s.aborted[0] != checkpoint {
		t.Errorf("aborted are %v, want checkpoint %d", s.aborted, checkpoint)
	}
	s.ack(checkpoint)
	if len(s.complete) != 1 || s.complete[0] != stop {
		t.Errorf("complete are %v, want savepoint %d alone", s.complete, stop)
	}
}

// While a stop is under way the final checkpoint isn't repeated, so its time must not wake the coordinator again and again.
func TestCoordinator_StopDoesntSpin(t *testing.T) {
	s := newSoloist(t, 1)
	s.HandleEndOfData(s.now, protocol.EndOfData{Attempt: s.attempt, Task: s.task})
	s.settle()
	if len(s.triggers) != 1 {
		t.Fatalf("%d snapshots were triggered, want the final one", len(s.triggers))
	}
	s.RequestSavepoint(s.now, SavepointRequest{Operation: "b", Stop: record.StopFreeze})
	s.settle()
	s.HandleDecline(s.now, protocol.Decline{Attempt: s.attempt, Task: s.task, Checkpoint: s.triggers[0].Checkpoint, Reason: protocol.DeclinedAsync})
	s.settle()
	s.ack(s.triggers[1].Checkpoint)
	for range 100 {
		at, ok := s.NextWake()
		if !ok {
			return
		}
		if at.After(s.now) {
			s.now = at
		}
		before := s.now
		s.HandleTime(s.now)
		s.settle()
		if next, ok := s.NextWake(); ok && !next.After(before) {
			t.Fatalf("the coordinator wants to be woken at %v, which is not after %v", next, before)
		}
	}
}
