// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// part is an acknowledgement that comes that many seconds after the trigger.
type part struct {
	task  string
	after float64
	cost  protocol.AckMetrics
}

func taskID(s string) protocol.TaskID {
	name, n, _ := strings.Cut(s, "/")
	id := protocol.TaskID{Vertex: name}
	_, _ = fmt.Sscan(n, &id.Subtask)
	return id
}

func sec(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// load says how a task spent 10 s, in seconds.
func load(idle, blocked float64) protocol.Load {
	return protocol.Load{Time: sec(10), Idle: sec(idle), Blocked: sec(blocked)}
}

// cost is what a task measured, in seconds.
func cost(last string, alignment, waited, sync, async float64) protocol.AckMetrics {
	m := protocol.AckMetrics{Alignment: sec(alignment), Waited: sec(waited), Sync: sec(sync), Async: sec(async)}
	m.Total = m.Alignment + m.Waited + m.Sync + m.Async
	if last != "" {
		m.Last = &protocol.ChannelRef{From: taskID(last)}
	}
	return m
}

func loaded(m protocol.AckMetrics, l protocol.Load) protocol.AckMetrics {
	m.Load = l
	return m
}

func uploading(m protocol.AckMetrics, d float64) protocol.AckMetrics {
	m.Upload = sec(d)
	return m
}

// newTrio returns the coordinator of src (2) → map (2) → sink (1), with a checkpoint in flight.
func newTrio(t *testing.T, change func(*Options)) *soloist {
	t.Helper()
	o := Options{
		JobID: "j", MaxParallelism: 8, Durable: true, Dir: "d/", Timeout: 10 * time.Minute, TolerableFailures: 9,
		Vertices: []Vertex{
			{Name: "src", Parallelism: 2, Operators: []string{"src"}},
			{Name: "map", Parallelism: 2, Operators: []string{"map"}, Inputs: []Input{{Vertex: "src"}}},
			{Name: "sink", Parallelism: 1, Operators: []string{"sink"}, Inputs: []Input{{Vertex: "map"}}},
		},
	}
	if change != nil {
		change(&o)
	}
	c, err := New(o, snapshot.Head{})
	if err != nil {
		t.Fatal(err)
	}
	s := &soloist{Coordinator: c, now: time.Unix(0, 0), attempt: protocol.Attempt{K: 1}}
	s.Start(s.now, s.attempt, nil)
	s.settle()
	s.RequestCheckpoint(s.now, "a")
	s.settle()
	return s
}

func (s *soloist) acks(id int64, parts ...part) {
	began := s.now
	for _, p := range parts {
		s.now = began.Add(sec(p.after))
		s.HandleAck(s.now, protocol.Ack{Attempt: s.attempt, Task: taskID(p.task), Checkpoint: id, Metrics: p.cost})
		s.settle()
	}
}

// fast are the acknowledgements of sources and map subtasks that nothing holds up.
func fast(parts ...part) []part {
	return append([]part{
		{"src/0", 0.1, cost("", 0, 0, 0, 0)},
		{"src/1", 0.1, cost("", 0, 0, 0, 0)},
		{"map/0", 0.2, cost("src/1", 0.1, 0, 0, 0)},
		{"map/1", 0.2, cost("src/0", 0.1, 0, 0, 0)},
	}, parts...)
}

// What workers say of channels may be nonsense: it must not hold the coordinator up.
func TestCoordinator_BlamesNobodyForever(t *testing.T) {
	t.Parallel()
	s := newTrio(t, nil)
	s.acks(1,
		part{"src/0", 0.1, cost("", 0, 0, 0, 0)}, part{"src/1", 0.1, cost("", 0, 0, 0, 0)}, part{"map/1", 0.2, cost("src/0", 0.1, 0, 0, 0)},
		part{"map/0", 0.2, cost("sink/0", 0.1, 0, 0, 0)}, part{"sink/0", 2, cost("map/0", 0, 0, 1, 0)})
	h := s.History()
	if len(h) != 1 || h[0].State != StateCompleted || h[0].Culprit.Phase != PhaseSync {
		t.Errorf("the checkpoint ended as %+v", h)
	}
}

func TestCoordinator_NamesWhatMadeACheckpointSlow(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		parts []part
		want  Culprit
	}{
		"the upload of one subtask": {
			parts: fast(part{"sink/0", 9.2, uploading(cost("map/0", 0, 0, 0, 9), 8)}),
			want:  Culprit{Phase: PhaseUpload, Task: taskID("sink/0"), Duration: sec(8), Text: "the upload of sink/0 took 8s"},
		},
		"the rest of the asynchronous part": {
			parts: fast(part{"sink/0", 9.2, uploading(cost("map/0", 0, 0, 0, 9), 1)}),
			want:  Culprit{Phase: PhaseAsync, Task: taskID("sink/0"), Duration: sec(8), Text: "the asynchronous part of sink/0 took 8s"},
		},
		"a task that is too busy to acknowledge": {
			parts: fast(part{"sink/0", 9.2, protocol.AckMetrics{Total: sec(9), Async: sec(1), Last: &protocol.ChannelRef{From: taskID("map/0")}}}),
			want:  Culprit{Phase: PhaseAck, Task: taskID("sink/0"), Duration: sec(8), Text: "sink/0 was too busy for 8s to acknowledge what was written"},
		},
		"the synchronous part": {
			parts: fast(part{"sink/0", 9.2, cost("map/0", 0, 0, 5, 1)}),
			want:  Culprit{Phase: PhaseSync, Task: taskID("sink/0"), Duration: sec(5), Text: "the synchronous part of sink/0 took 5s"},
		},
		"a busy task does not get to its barrier": {
			// The barrier of map/1 comes 6 s after that of map/0, though both sent it at 0.2 s: sink/0 is slow, and idle never.
			parts: fast(part{"sink/0", 7, loaded(cost("map/1", 6, 0, 0, 0.5), load(0, 0))}),
			want: Culprit{
				Phase: PhaseChannel, Task: taskID("sink/0"), From: taskID("map/1"), Duration: sec(6.3),
				Text: "the barrier was behind rows in the channel from map/1 to sink/0 for 6.3s; sink/0 was busy 100% of the time",
			},
		},
		"the one upstream is late itself": {
			// map/1 gets the barrier of src/0 late, and hands it on at once.
			parts: []part{
				{"src/0", 0.1, cost("", 0, 0, 0, 0)},
				{"src/1", 0.1, cost("", 0, 0, 0, 0)},
				{"map/0", 0.2, cost("src/1", 0.1, 0, 0, 0)},
				{"map/1", 8, loaded(cost("src/0", 7, 0, 0, 0), load(1, 0))},
				{"sink/0", 8.2, loaded(cost("map/1", 7.9, 0, 0, 0), load(9, 0))},
			},
			want: Culprit{
				Phase: PhaseChannel, Task: taskID("map/1"), From: taskID("src/0"), Duration: sec(7.9),
				Text: "the barrier was behind rows in the channel from src/0 to map/1 for 7.9s; map/1 was busy 90% of the time",
			},
		},
		"back-pressure is followed downstream": {
			parts: []part{
				{"src/0", 0.1, loaded(cost("", 0, 0, 0, 0), load(0, 9))},
				{"src/1", 0.1, loaded(cost("", 0, 0, 0, 0), load(0, 9))},
				{"map/0", 5, loaded(cost("src/0", 0, 0, 0, 0), load(0, 9.5))},
				{"map/1", 5, loaded(cost("src/0", 0, 0, 0, 0), load(0, 9.5))},
				{"sink/0", 7, loaded(cost("map/1", 1, 0, 0, 0), load(0.2, 0))},
			},
			want: Culprit{
				Phase: PhaseChannel, Task: taskID("map/1"), From: taskID("src/0"), HeldUpBy: taskID("sink/0"), Duration: sec(4.9),
				Text: "the barrier was behind rows in the channel from src/0 to map/1 for 4.9s; map/1 was held up by sink/0, busy 98% of the time",
			},
		},
		"a source without room": {
			parts: []part{
				{"src/0", 6, loaded(cost("", 0, 5.9, 0, 0), load(0, 9.9))},
				{"src/1", 0.1, cost("", 0, 0, 0, 0)},
				{"map/0", 6.1, loaded(cost("src/0", 5.9, 0, 0, 0), load(0, 0))},
				{"map/1", 6.1, loaded(cost("src/0", 5.9, 0, 0, 0), load(3, 0))},
				{"sink/0", 6.2, cost("map/1", 0, 0, 0, 0)},
			},
			want: Culprit{
				Phase: PhaseWaiting, Task: taskID("src/0"), HeldUpBy: taskID("map/0"), Duration: sec(5.9),
				Text: "src/0 had to finish what was before the barrier for 5.9s; src/0 was held up by map/0, busy 100% of the time",
			},
		},
		"a source stuck in its code": {
			parts: []part{
				{"src/0", 6, loaded(cost("", 0, 0, 0, 0), load(0, 0))},
				{"src/1", 0.1, cost("", 0, 0, 0, 0)},
				{"map/0", 6.1, cost("src/0", 5.9, 0, 0, 0)},
				{"map/1", 6.1, cost("src/0", 5.9, 0, 0, 0)},
				{"sink/0", 6.2, cost("map/1", 0, 0, 0, 0)},
			},
			want: Culprit{
				Phase: PhaseTrigger, Task: taskID("src/0"), Duration: sec(6),
				Text: "src/0 acted on the trigger after 6s; src/0 was busy 100% of the time",
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTrio(t, nil)
			s.acks(1, tc.parts...)
			history := s.History()
			if len(history) != 1 || history[0].State != StateCompleted {
				t.Fatalf("history is %+v, want one completed checkpoint", history)
			}
			if diff := cmp.Diff(tc.want, history[0].Culprit); diff != "" {
				t.Errorf("culprit (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCoordinator_NamesManifestAndHead(t *testing.T) {
	t.Parallel()
	s := newTrio(t, nil)
	for _, p := range fast(part{"sink/0", 0.3, cost("map/0", 0, 0, 0, 0)}) {
		s.HandleAck(s.now.Add(sec(p.after)), protocol.Ack{Attempt: s.attempt, Task: taskID(p.task), Checkpoint: 1, Metrics: p.cost})
	}
	s.now = s.now.Add(4300 * time.Millisecond)
	s.settle()
	want := Culprit{Phase: PhaseFinalize, Duration: sec(4), Text: "writing manifest and head took 4s"}
	got := s.History()[0]
	if diff := cmp.Diff(want, got.Culprit); diff != "" || got.Finalize != sec(4) {
		t.Errorf("finalized in %v, culprit (-want +got):\n%s", got.Finalize, diff)
	}
}

func progressOf(task string, stage protocol.Stage, seconds float64, l protocol.Load, missing ...string) protocol.TaskMetrics {
	p := protocol.SnapshotProgress{Checkpoint: 1, Stage: stage, For: sec(seconds), MissingCount: len(missing)}
	for _, m := range missing {
		p.Missing = append(p.Missing, protocol.ChannelRef{From: taskID(m)})
	}
	return protocol.TaskMetrics{Attempt: protocol.Attempt{K: 1}, Task: taskID(task), Load: l, Snapshots: []protocol.SnapshotProgress{p}}
}

// silent is a heartbeat of a task that has not seen the snapshot.
func silent(task string, l protocol.Load) protocol.TaskMetrics {
	return protocol.TaskMetrics{Attempt: protocol.Attempt{K: 1}, Task: taskID(task), Load: l}
}

func TestCoordinator_NamesWhereTheBarrierOfAnExpiredCheckpointWas(t *testing.T) {
	t.Parallel()
	sources := []part{{"src/0", 0.1, cost("", 0, 0, 0, 0)}, {"src/1", 0.1, cost("", 0, 0, 0, 0)}}
	tests := map[string]struct {
		parts []part
		beats []protocol.TaskMetrics
		want  string
	}{
		"nothing was heard": {
			want: "no acknowledgement of map/0, map/1, sink/0, src/0, src/1; src/0 had not acted on the trigger after 10m0s",
		},
		"a channel without its barrier": {
			parts: append(sources, part{"map/0", 0.2, cost("src/0", 0, 0, 0, 0)}, part{"map/1", 0.2, cost("src/0", 0, 0, 0, 0)}),
			beats: []protocol.TaskMetrics{progressOf("sink/0", protocol.StageAligning, 599, load(0, 0), "map/1")},
			want:  "no acknowledgement of sink/0; the barrier was behind rows in the channel from map/1 to sink/0 for 9m59s; sink/0 was busy 100% of the time",
		},
		"the sender is late too": {
			parts: append(sources, part{"map/0", 0.2, cost("src/0", 0, 0, 0, 0)}),
			beats: []protocol.TaskMetrics{
				progressOf("sink/0", protocol.StageAligning, 599, load(9, 0), "map/1"),
				progressOf("map/1", protocol.StageAligning, 598, load(0, 9), "src/1"),
			},
			want: "no acknowledgement of map/1, sink/0; the barrier was behind rows in the channel from src/1 to map/1 for 9m58s; " +
				"map/1 was held up by sink/0, busy 10% of the time",
		},
		"no barrier at all": {
			parts: append(sources, part{"map/0", 0.2, cost("src/0", 0, 0, 0, 0)}),
			beats: []protocol.TaskMetrics{silent("map/1", load(0, 0)), silent("sink/0", load(9, 0))},
			want:  "no acknowledgement of map/1, sink/0; no barrier had come to map/1 for 10m0s; map/1 was busy 100% of the time",
		},
		"an upload that does not end": {
			parts: append(sources, part{"map/0", 0.2, cost("src/0", 0, 0, 0, 0)}, part{"sink/0", 0.3, cost("map/1", 0, 0, 0, 0)}),
			beats: []protocol.TaskMetrics{progressOf("map/1", protocol.StageWriting, 597, load(9, 0))},
			want:  "no acknowledgement of map/1; map/1 had been writing its part for 9m57s",
		},
		"the slowest of two uploads": {
			parts: append(sources, part{"sink/0", 0.3, cost("map/1", 0, 0, 0, 0)}),
			beats: []protocol.TaskMetrics{
				progressOf("map/0", protocol.StageWriting, 300, load(9, 0)), progressOf("map/1", protocol.StageWriting, 301, load(9, 0)),
			},
			want: "no acknowledgement of map/0, map/1; map/1 had been writing its part for 5m1s",
		},
		"no room for the barrier": {
			parts: []part{{"src/1", 0.1, cost("", 0, 0, 0, 0)}},
			beats: []protocol.TaskMetrics{
				progressOf("src/0", protocol.StageWaiting, 600, load(0, 10)), silent("map/0", load(0, 9)), silent("map/1", load(9, 0)),
				silent("sink/0", load(0, 0)),
			},
			want: "no acknowledgement of map/0, map/1, sink/0, src/0; src/0 had to finish what was before the barrier for 10m0s; " +
				"src/0 was held up by sink/0, busy 100% of the time",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTrio(t, nil)
			began := s.now
			s.acks(1, tc.parts...)
			s.HandleProgress(tc.beats)
			s.now = began.Add(10 * time.Minute)
			s.HandleTime(s.now)
			s.settle()
			history := s.History()
			if len(history) != 1 || history[0].Reason != ReasonExpired {
				t.Fatalf("history is %+v, want one expired checkpoint", history)
			}
			if diff := cmp.Diff("not complete within 10m0s: "+tc.want, history[0].Error); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCoordinator_NamesTheTaskThatDeclined(t *testing.T) {
	t.Parallel()
	s := newTrio(t, nil)
	s.HandleDecline(s.now, protocol.Decline{Attempt: s.attempt, Task: taskID("map/1"), Checkpoint: 1, Reason: protocol.DeclinedAsync, Error: "no space"})
	s.settle()
	want := Culprit{Task: taskID("map/1"), Text: "task map/1 declined it (AsyncFailure): no space"}
	if diff := cmp.Diff(want, s.History()[0].Culprit); diff != "" {
		t.Errorf("culprit (-want +got):\n%s", diff)
	}
}

func TestCoordinator_NamesWhoElseHadNotAcknowledgedADeclinedCheckpoint(t *testing.T) {
	t.Parallel()
	sources := []part{{"src/0", 0.1, cost("", 0, 0, 0, 0)}, {"src/1", 0.1, cost("", 0, 0, 0, 0)}}
	tests := map[string]struct {
		parts []part
		beats []protocol.TaskMetrics
		want  string
	}{
		"where the barrier was": {
			parts: append(sources, part{"map/0", 0.2, cost("src/0", 0, 0, 0, 0)}),
			beats: []protocol.TaskMetrics{
				progressOf("map/1", protocol.StageWriting, 4, load(9, 0)), progressOf("sink/0", protocol.StageAligning, 3, load(0, 0), "map/1"),
			},
			want: "; no acknowledgement of sink/0; the barrier was behind rows in the channel from map/1 to sink/0 for 3s; sink/0 was busy 100% of the time",
		},
		"the one that declined it had not sent the barrier": {
			parts: append(sources, part{"map/0", 0.2, cost("src/0", 0, 0, 0, 0)}),
			beats: []protocol.TaskMetrics{progressOf("sink/0", protocol.StageAligning, 3, load(9, 0), "map/1")},
			want:  "; no acknowledgement of sink/0; map/1 had not sent the barrier to sink/0 after 3s; sink/0 was busy 10% of the time",
		},
		"all others had acknowledged": {
			parts: append(sources, part{"map/0", 0.2, cost("src/0", 0, 0, 0, 0)}, part{"sink/0", 0.3, cost("map/1", 0, 0, 0, 0)}),
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTrio(t, nil)
			began := s.now
			s.acks(1, tc.parts...)
			s.HandleProgress(tc.beats)
			s.now = began.Add(5 * time.Second)
			s.HandleDecline(s.now, protocol.Decline{Attempt: s.attempt, Task: taskID("map/1"), Checkpoint: 1, Reason: protocol.DeclinedAsync, Error: "no space"})
			s.settle()
			h := s.History()[0]
			if diff := cmp.Diff("task map/1 declined it (AsyncFailure): no space"+tc.want, h.Error); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
			if !slices.Contains(h.Missing, taskID("map/1")) {
				t.Errorf("missing are %v, want the one that declined it as well", h.Missing)
			}
		})
	}
}

// Loads are counted from the trigger: what a task did before doesn't count.
func TestCoordinator_LoadSinceTheTrigger(t *testing.T) {
	t.Parallel()
	s := newTrio(t, nil)
	s.acks(1, fast(part{"sink/0", 1, cost("map/0", 0, 0, 0, 0)})...)
	s.HandleProgress([]protocol.TaskMetrics{silent("src/0", protocol.Load{Time: sec(100), Blocked: sec(100)})})
	s.RequestCheckpoint(s.now, "b")
	s.settle()
	s.HandleProgress([]protocol.TaskMetrics{silent("src/0", protocol.Load{Time: sec(110), Blocked: sec(101)})})
	pending := s.Pending(s.now.Add(sec(10)))
	if len(pending) != 1 {
		t.Fatalf("%d in flight, want 1", len(pending))
	}
	if want := "src/0 had not acted on the trigger after 10s; src/0 was busy 90% of the time"; pending[0].Culprit.Text != want {
		t.Errorf("culprit %q, want %q", pending[0].Culprit.Text, want)
	}
}

// Heartbeats of tasks of an older attempt that come late are not taken for those of the new one.
func TestCoordinator_ProgressOfAnOlderAttempt(t *testing.T) {
	t.Parallel()
	s := newTrio(t, nil)
	m := progressOf("src/0", protocol.StageWriting, 3, load(0, 0))
	m.Attempt.K = 2
	old := progressOf("src/0", protocol.StageWaiting, 3, load(0, 0))
	s.HandleProgress([]protocol.TaskMetrics{m, old, {Attempt: m.Attempt, Task: taskID("other/7")}})
	d, ok := s.Detail(s.now, 1)
	if !ok || d.Subtasks[0].Progress == nil || d.Subtasks[0].Progress.Stage != protocol.StageWriting {
		t.Errorf("detail is %+v, want src/0 writing", d)
	}
}

func TestCoordinator_DetailOfEverySubtask(t *testing.T) {
	t.Parallel()
	s := newTrio(t, nil)
	s.HandleProgress([]protocol.TaskMetrics{progressOf("map/0", protocol.StageAligning, 1, load(0, 0), "src/1")})
	s.now = s.now.Add(sec(2))
	ack := protocol.Ack{
		Attempt: s.attempt, Task: taskID("src/0"), Checkpoint: 1,
		Metrics: protocol.AckMetrics{Total: sec(0.5), Bytes: 30, AlignmentBytes: 7, ChannelBytes: 5},
		Operators: map[string]snapshot.SubtaskState{"src": {
			Keyed:    []state.File{{Path: "../../shared/a", Size: 100, Shared: true, Reused: true}, {Path: "../../shared/b", Size: 20, Shared: true}},
			Channels: []snapshot.ChannelState{{Length: 5}},
		}},
	}
	delete(s.find(1).outstanding, ack.Task)
	s.find(1).note(s.now, &ack)
	d, ok := s.Detail(s.now, 1)
	if !ok || len(d.Subtasks) != 5 {
		t.Fatalf("detail is %+v, want five subtasks", d)
	}
	want := SubtaskStats{
		Task: taskID("src/0"), Acked: true, AckedAfter: sec(2), StartDelay: sec(1.5), Cost: ack.Metrics, Size: 125, Reused: 100,
	}
	if diff := cmp.Diff(want, d.Subtasks[0]); diff != "" {
		t.Errorf("src/0 (-want +got):\n%s", diff)
	}
	if p := d.Subtasks[2].Progress; p == nil || p.Stage != protocol.StageAligning || p.Missing[0].From != taskID("src/1") {
		t.Errorf("map/0 is %+v, want it to be aligning without src/1", d.Subtasks[2])
	}
	if d.Size != 125 || d.Reused != 100 || d.Bytes != 30 || d.AlignmentBytes != 7 || d.ChannelBytes != 5 || d.TriggerDelay != sec(1.5) {
		t.Errorf("sums are %+v", d.Stats)
	}
	if _, ok := s.Detail(s.now, 2); ok {
		t.Error("there are details of a checkpoint that was never triggered")
	}
}

func TestCoordinator_IdleGapAndQueue(t *testing.T) {
	t.Parallel()
	s := newTrio(t, nil)
	s.RequestCheckpoint(s.now, "b") // waits for the first
	s.settle()
	s.acks(1, fast(part{"sink/0", 3, cost("map/0", 0, 0, 0, 0)})...)
	s.acks(2, fast(part{"sink/0", 3, cost("map/0", 0, 0, 0, 0)})...)
	s.now = s.now.Add(sec(5))
	s.RequestCheckpoint(s.now, "c")
	s.settle()
	s.Suspend(s.now, ReasonTaskFailure, "a task failed")
	s.settle()
	s.now = s.now.Add(time.Hour)
	s.Start(s.now, s.attempt, nil)
	s.RequestCheckpoint(s.now, "d")
	s.settle()
	s.acks(4, fast(part{"sink/0", 3, cost("map/0", 0, 0, 0, 0)})...)
	var got []string
	for _, h := range s.History() {
		got = append(got, fmt.Sprintf("%d %s queued %v gap %v", h.ID, h.State, h.Queued, h.IdleGap))
	}
	want := []string{
		"1 Completed queued 0s gap -1ns", "2 Completed queued 3s gap 0s", "3 Failed queued 0s gap 5s", "4 Completed queued 0s gap -1ns",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	sum := s.Summary()
	if sum.Completed != 3 || sum.Failed != 1 || sum.FailedBy[ReasonTaskFailure] != 1 || sum.Totals.Duration != sec(9) {
		t.Errorf("summary is %+v", sum)
	}
}

func TestCoordinator_HistoryIsBounded(t *testing.T) {
	t.Parallel()
	s := newTrio(t, func(o *Options) {
		o.History = 5
		o.Vertices = []Vertex{{Name: "v", Parallelism: 15_000, Operators: []string{"v"}}}
	})
	for i := range 8 {
		s.RequestCheckpoint(s.now, fmt.Sprintf("op-%d", i))
		s.settle()
		s.Suspend(s.now, ReasonTaskFailure, "a task failed")
		s.Start(s.now, s.attempt, nil)
		s.settle()
	}
	history := s.History()
	if len(history) != 5 {
		t.Fatalf("history has %d snapshots, want 5", len(history))
	}
	var with []bool
	for _, h := range history {
		d, _ := s.Detail(s.now, h.ID)
		with = append(with, len(d.Subtasks) > 0)
		if len(d.Missing) != maxMissing {
			t.Errorf("snapshot %d names %d tasks, want %d", h.ID, len(d.Missing), maxMissing)
		}
	}
	if diff := cmp.Diff([]bool{false, false, true, true, true}, with); diff != "" {
		t.Errorf("snapshots with their subtasks (-want +got):\n%s", diff)
	}
}

// TestCoordinator_UnalignedBarriersDontWait checks that what an unaligned checkpoint takes until the last barrier isn't taken for its way.
func TestCoordinator_UnalignedBarriersDontWait(t *testing.T) {
	t.Parallel()
	s := newTrio(t, func(o *Options) { o.Unaligned = true })
	if len(s.triggers) != 1 {
		t.Fatalf("%d triggers, want 1", len(s.triggers))
	}
	s.find(1).barrier = record.Barrier{Checkpoint: 1, Unaligned: true}
	s.acks(1, fast(part{"sink/0", 6.2, protocol.AckMetrics{
		Total: sec(6), Alignment: sec(5), Async: sec(1), Upload: sec(0.5), Last: &protocol.ChannelRef{From: taskID("map/1")},
	}})...)
	got := s.History()[0].Culprit
	want := Culprit{
		Phase: PhaseChannel, Task: taskID("sink/0"), From: taskID("map/1"), Duration: sec(5),
		Text: "the barrier was behind rows in the channel from map/1 to sink/0 for 5s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("culprit (-want +got):\n%s", diff)
	}
}
