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
	"github.com/weir-stream/weir/runtime/snapshot"
)

// TestCoordinator_PlanOfABoundedJob is the truth table of where a snapshot is triggered, whom it waits for, and what it records as finished, while some tasks are at the end of
// their data or have finished.
func TestCoordinator_PlanOfABoundedJob(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		// ended and finished are the tasks that are at the end of their data, and those that have finished.
		ended, finished string
		// triggered, waits and recorded are the tasks where barriers start, whose acknowledgement is needed, and that are finished in the manifest.
		triggered, waits, recorded string
	}{
		"all run": {"", "", "a/0 a/1 b/0", "a/0 a/1 b/0 mid/0 mid/1 out/0", ""},
		"one subtask of a source has finished": {
			"", "a/0", "a/1 b/0", "a/1 b/0 mid/0 mid/1 out/0", "a/0",
		},
		"one subtask of a source waits at the end of its data": {
			"a/0", "", "a/0 a/1 b/0", "a/0 a/1 b/0 mid/0 mid/1 out/0", "",
		},
		"one of two sources has finished": {
			"", "a/0 a/1", "b/0", "b/0 mid/0 mid/1 out/0", "a/0 a/1 [a]",
		},
		"both sources have finished, those after them are at the end": {
			"mid/0 mid/1", "a/0 a/1 b/0", "mid/0 mid/1", "mid/0 mid/1 out/0", "a/0 a/1 b/0 [a] [b]",
		},
		"a task in the middle has finished, its sibling is at the end": {
			"mid/1", "a/0 a/1 b/0 mid/0", "mid/1", "mid/1 out/0", "a/0 a/1 b/0 mid/0 [a] [b]",
		},
		"only the sink is left": {
			"out/0", "a/0 a/1 b/0 mid/0 mid/1", "out/0", "out/0", "a/0 a/1 b/0 mid/0 mid/1 [a] [b] [mid]",
		},
		// Its inputs have ended but it hasn't got there yet: the barrier can't come any more, so it is triggered when it reports its end.
		"the sink still works on what is queued": {
			"", "a/0 a/1 b/0 mid/0 mid/1", "", "out/0", "a/0 a/1 b/0 mid/0 mid/1 [a] [b] [mid]",
		},
		"all are at the end": {
			"a/0 a/1 b/0 mid/0 mid/1 out/0", "", "a/0 a/1 b/0 mid/0 mid/1 out/0", "a/0 a/1 b/0 mid/0 mid/1 out/0", "",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlanned(t, tc.ended, tc.finished)
			p.check(tc.triggered, tc.waits, tc.recorded)
		})
	}
}

// planned is a coordinator whose tasks are at different points.
type planned struct {
	*Coordinator
	t         *testing.T
	now       time.Time
	attempt   protocol.Attempt
	triggered map[string]bool
	id        int64
	recorded  []string
	written   bool
}

func idOf(s string) protocol.TaskID {
	vertex, n, _ := strings.Cut(s, "/")
	return protocol.TaskID{Vertex: vertex, Subtask: int(n[0] - '0')}
}

func newPlanned(t *testing.T, ended, finished string) *planned {
	t.Helper()
	c, err := New(Options{JobID: "j", MaxParallelism: 8, Durable: true, Dir: "d/", Vertices: []Vertex{
		{Name: "a", Parallelism: 2, Operators: []string{"a"}, Bounded: true},
		{Name: "b", Parallelism: 1, Operators: []string{"b"}, Bounded: true},
		{Name: "mid", Parallelism: 2, Operators: []string{"mid"}, Bounded: true, Inputs: []Input{{Vertex: "a"}, {Vertex: "b"}}},
		{Name: "out", Parallelism: 1, Operators: []string{"out"}, Bounded: true, Inputs: []Input{{Vertex: "mid"}}},
	}}, snapshot.Head{})
	if err != nil {
		t.Fatal(err)
	}
	p := &planned{Coordinator: c, t: t, now: time.Unix(0, 0), attempt: protocol.Attempt{K: 1}, triggered: map[string]bool{}}
	starts := map[protocol.TaskID]*TaskStart{}
	for s := range strings.FieldsSeq(ended + " " + finished) {
		starts[idOf(s)] = &TaskStart{Task: idOf(s)}
	}
	for s := range strings.FieldsSeq(ended) {
		starts[idOf(s)].EndOfData = true
	}
	for s := range strings.FieldsSeq(finished) {
		starts[idOf(s)].Finished = true
	}
	var list []TaskStart
	for _, s := range starts {
		list = append(list, *s)
	}
	p.Start(p.now, p.attempt, list)
	p.RequestCheckpoint(p.now, "c")
	p.settle()
	return p
}

func (p *planned) settle() {
	for effects := p.Effects(); len(effects) > 0; effects = p.Effects() {
		for _, e := range effects {
			switch e := e.(type) {
			case Trigger:
				p.id = e.Barrier.Checkpoint
				for _, id := range e.Tasks {
					p.triggered[id.String()] = true
				}
			case WriteManifest:
				p.written = true
				p.note(e.Manifest)
			case UpdateHead:
				p.HandleHeadUpdated(p.now, e.Token)
			}
		}
	}
}

func (p *planned) note(m *snapshot.Manifest) {
	for _, o := range m.Operators {
		for _, s := range o.Subtasks {
			if s.Finished {
				p.recorded = append(p.recorded, fmt.Sprintf("%s/%d", o.Name, s.Index))
			}
		}
		if o.Finished {
			p.recorded = append(p.recorded, "["+o.Name+"]")
		}
	}
}

// check acknowledges the snapshot task by task: it is complete with the last one that it waits for.
func (p *planned) check(triggered, waits, recorded string) {
	p.t.Helper()
	got := []string{}
	for s := range p.triggered {
		got = append(got, s)
	}
	slices.Sort(got)
	if d := cmp.Diff(strings.Fields(triggered), got); d != "" {
		p.t.Errorf("triggered at (-want +got):\n%s", d)
	}
	if p.id == 0 { // nothing is triggered until a task reports the end of its data
		for s := range strings.FieldsSeq(waits) {
			p.HandleEndOfData(p.now, protocol.EndOfData{Attempt: p.attempt, Task: idOf(s)})
		}
		p.settle()
	}
	for s := range strings.FieldsSeq(waits) {
		if p.written {
			p.t.Fatalf("it is complete without %s", s)
		}
		id := idOf(s)
		p.HandleAck(p.now, protocol.Ack{Attempt: p.attempt, Task: id, Checkpoint: p.id, Operators: map[string]snapshot.SubtaskState{id.Vertex: {Index: id.Subtask}}})
		p.settle()
	}
	if !p.written {
		p.t.Fatal("it waits for more")
	}
	slices.Sort(p.recorded)
	want := strings.Fields(recorded)
	slices.Sort(want)
	if d := cmp.Diff(strings.Join(want, " "), strings.Join(p.recorded, " ")); d != "" {
		p.t.Errorf("recorded as finished (-want +got):\n%s", d)
	}
}
