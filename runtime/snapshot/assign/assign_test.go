// SPDX-License-Identifier: Apache-2.0

package assign

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// A source "src" chained with "map", then "count" (keyed) chained with "sink".
func testShape() Shape {
	return Shape{MaxParallelism: 128, Vertices: []Vertex{
		{Name: "src", Parallelism: 2, Operators: []Operator{{Name: "src"}, {Name: "map"}}},
		{Name: "count", Parallelism: 2, Inputs: []Input{{Vertex: "src"}}, Operators: []Operator{{Name: "count", Keyed: true}, {Name: "sink"}}},
	}}
}

func list(mode operator.Mode, entries ...string) []operator.List {
	l := operator.List{Name: "l", Mode: mode}
	for _, e := range entries {
		l.Entries = append(l.Entries, []byte(e))
	}
	return []operator.List{l}
}

func testState() *snapshot.Manifest {
	return &snapshot.Manifest{JobID: "j", Checkpoint: 7, MaxParallelism: 128, Operators: []snapshot.OperatorState{
		{Name: "count", Parallelism: 2, Subtasks: []snapshot.SubtaskState{
			{Index: 0, Keyed: []state.File{{Path: "a", FirstGroup: 0, LastGroup: 63}}},
			{Index: 1, Keyed: []state.File{{Path: "b", FirstGroup: 64, LastGroup: 127}}},
		}},
		{Name: "map", Parallelism: 2},
		{Name: "sink", Parallelism: 2, Subtasks: []snapshot.SubtaskState{{Index: 1, Lists: list(operator.Split, "tx")}}},
		{Name: "src", Parallelism: 2, Subtasks: []snapshot.SubtaskState{
			{Index: 0, Lists: list(operator.Split, "p0")}, {Index: 1, Lists: list(operator.Split, "p1")},
		}},
	}}
}

func TestAssign_EmptyStart(t *testing.T) {
	got, err := Assign(testShape(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[protocol.TaskID]protocol.TaskDeployment{}
	for _, v := range []string{"src", "count"} {
		for i := range 2 {
			id := protocol.TaskID{Vertex: v, Subtask: i}
			want[id] = protocol.TaskDeployment{Task: id}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("deployments differ (-want +got):\n%s", d)
	}
}

func TestAssign_SameGraph(t *testing.T) {
	got, err := Assign(testShape(), testState(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := protocol.TaskDeployment{Task: protocol.TaskID{Vertex: "count", Subtask: 1}, Operators: map[string]protocol.OperatorRestore{
		"count": {Keyed: []state.File{{Path: "b", FirstGroup: 64, LastGroup: 127}}},
		"sink":  {Lists: list(operator.Split, "tx")},
	}}
	if d := cmp.Diff(want, got[want.Task]); d != "" {
		t.Errorf("deployment differs (-want +got):\n%s", d)
	}
	// A subtask without an entry still sees that the list was there: it is no new operator.
	id := protocol.TaskID{Vertex: "count", Subtask: 0}
	if d := cmp.Diff([]operator.List{{Name: "l"}}, got[id].Operators["sink"].Lists); d != "" {
		t.Errorf("lists of the subtask without entries differ (-want +got):\n%s", d)
	}
}

// Each case changes graph or state; want is part of the error, or empty for success.
func TestAssign_Compatibility(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(s *Shape, m *snapshot.Manifest, o *Options)
		want   []string
	}{
		"operator gone": {
			func(s *Shape, _ *snapshot.Manifest, _ *Options) {
				s.Vertices[1].Operators = s.Vertices[1].Operators[:1]
			},
			[]string{`state of "sink"`, "allowNonRestoredState"},
		},
		"two operators gone": {
			func(s *Shape, _ *snapshot.Manifest, _ *Options) { s.Vertices = s.Vertices[:1] },
			[]string{`"count", "sink"`, "previousNames"},
		},
		"operators gone, allowed": {func(s *Shape, _ *snapshot.Manifest, o *Options) {
			s.Vertices, o.AllowNonRestoredState = s.Vertices[:1], true
		}, nil},
		"operator without state gone": {func(s *Shape, _ *snapshot.Manifest, _ *Options) {
			s.Vertices[0].Operators = s.Vertices[0].Operators[:1]
		}, nil},
		"operator with empty list gone": {func(s *Shape, m *snapshot.Manifest, _ *Options) {
			s.Vertices[1].Operators = s.Vertices[1].Operators[:1]
			m.Operators[2].Subtasks[0].Lists[0].Entries = nil
		}, nil},
		"other maxParallelism": {func(s *Shape, _ *snapshot.Manifest, _ *Options) { s.MaxParallelism = 64 }, []string{"set maxParallelism to 128"}},
		"parallelism too high": {
			func(s *Shape, _ *snapshot.Manifest, _ *Options) { s.Vertices[1].Parallelism = 129 },
			[]string{`parallelism 129 of "count" is above maxParallelism 128`},
		},
		"maxParallelism too high": {func(s *Shape, _ *snapshot.Manifest, _ *Options) { s.MaxParallelism = 40000 }, []string{"1 to 32768"}},
		"no parallelism":          {func(s *Shape, _ *snapshot.Manifest, _ *Options) { s.Vertices[0].Parallelism = 0 }, []string{`"src" is 0`}},
		"operator twice":          {func(s *Shape, _ *snapshot.Manifest, _ *Options) { s.Vertices[0].Operators[1].Name = "sink" }, []string{`two operators "sink"`}},
		"vertex twice":            {func(s *Shape, _ *snapshot.Manifest, _ *Options) { s.Vertices[0].Name = "count" }, []string{`two vertices "count"`}},
		"drained":                 {func(_ *Shape, m *snapshot.Manifest, _ *Options) { m.Stop = record.StopDrain }, []string{"spec.restoreFrom.allowDrained"}},
		"drained, allowed":        {func(_ *Shape, m *snapshot.Manifest, o *Options) { m.Stop, o.AllowDrained = record.StopDrain, true }, nil},
		"stopped":                 {func(_ *Shape, m *snapshot.Manifest, _ *Options) { m.Stop = record.StopFreeze }, nil},
		"no longer keyed":         {func(s *Shape, _ *snapshot.Manifest, _ *Options) { s.Vertices[1].Operators[0].Keyed = false }, []string{`"count" has keyed state`, "key its input"}},
		"no longer keyed, allowed": {func(s *Shape, _ *snapshot.Manifest, o *Options) {
			s.Vertices[1].Operators[0].Keyed, o.AllowNonRestoredState = false, true
		}, nil},
		"state claimed twice": {func(s *Shape, _ *snapshot.Manifest, _ *Options) {
			s.Vertices[0].Operators[1] = Operator{Name: "new", PreviousNames: []string{"sink"}}
		}, []string{`"sink" and "new" both claim`}},
		"modes differ": {
			func(_ *Shape, m *snapshot.Manifest, _ *Options) {
				m.Operators[3].Subtasks[1].Lists[0].Mode = operator.Union
			},
			[]string{`list "l" of operator "src" has different modes`},
		},
		"new operator": {func(s *Shape, _ *snapshot.Manifest, _ *Options) {
			s.Vertices = append(s.Vertices, Vertex{Name: "x", Parallelism: 1, Inputs: []Input{{Vertex: "count"}}, Operators: []Operator{{Name: "x"}}})
		}, nil},
		"all problems at once": {func(s *Shape, m *snapshot.Manifest, _ *Options) {
			s.Vertices = s.Vertices[:1]
			s.MaxParallelism = 64
			m.Stop = record.StopDrain
		}, []string{"allowNonRestoredState", "allowDrained", "set maxParallelism"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, m, o := testShape(), testState(), Options{}
			tc.change(&s, m, &o)
			_, err := Assign(s, m, o)
			if len(tc.want) == 0 {
				if err != nil {
					t.Fatalf("got error %v, want none", err)
				}
				return
			}
			if _, ok := errors.AsType[*IncompatibleError](err); !ok {
				t.Fatalf("got error %v, want an IncompatibleError", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got error %v, want one with %q", err, want)
				}
			}
		})
	}
}

func TestAssign_PreviousNames(t *testing.T) {
	s, m := testShape(), testState()
	s.Vertices[1].Operators = []Operator{{Name: "tally", PreviousNames: []string{"nothing", "count", "sink"}, Keyed: true}, {Name: "out", PreviousNames: []string{"sink"}}}
	got, err := Assign(s, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	task := got[protocol.TaskID{Vertex: "count", Subtask: 1}]
	if len(task.Operators["tally"].Keyed) != 1 || len(task.Operators["out"].Lists) != 1 {
		t.Errorf("renamed operators got %+v", task.Operators)
	}
	// Two operators that swapped their names before find their state by their present names.
	s.Vertices[1].Operators = []Operator{{Name: "count", PreviousNames: []string{"sink"}, Keyed: true}, {Name: "sink", PreviousNames: []string{"count"}}}
	got, err = Assign(s, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if task := got[protocol.TaskID{Vertex: "count", Subtask: 0}]; len(task.Operators["count"].Keyed) != 1 {
		t.Errorf("operators with swapped names got %+v", task.Operators)
	}
}

func finish(m *snapshot.Manifest, subtasks int, names ...string) {
	for i := range m.Operators {
		o := &m.Operators[i]
		for _, n := range names {
			if o.Name != n {
				continue
			}
			o.Finished = subtasks == o.Parallelism
			old := o.Subtasks
			o.Subtasks = nil
			for k := range o.Parallelism {
				s := snapshot.SubtaskState{Index: k, Finished: k < subtasks}
				for _, x := range old {
					if x.Index == k && k >= subtasks {
						s = x
					}
				}
				o.Subtasks = append(o.Subtasks, s)
			}
		}
	}
}

// The order of the tasks is src/0, src/1, count/0, count/1.
func TestAssign_Finished(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(s *Shape, m *snapshot.Manifest)
		want   []bool
		err    string
	}{
		"nothing":        {func(*Shape, *snapshot.Manifest) {}, []bool{false, false, false, false}, ""},
		"source":         {func(_ *Shape, m *snapshot.Manifest) { finish(m, 2, "src", "map") }, []bool{true, true, false, false}, ""},
		"all":            {func(_ *Shape, m *snapshot.Manifest) { finish(m, 2, "src", "map", "count", "sink") }, []bool{true, true, true, true}, ""},
		"part of source": {func(_ *Shape, m *snapshot.Manifest) { finish(m, 1, "src", "map") }, []bool{true, false, false, false}, ""},
		"part of sink":   {func(_ *Shape, m *snapshot.Manifest) { finish(m, 1, "count", "sink") }, []bool{false, false, false, false}, ""},
		"source at a higher parallelism": {func(s *Shape, m *snapshot.Manifest) {
			finish(m, 2, "src", "map")
			s.Vertices[0].Parallelism = 3
		}, []bool{true, true, false, false}, ""},
		"part of source at a higher parallelism": {func(s *Shape, m *snapshot.Manifest) {
			finish(m, 1, "src", "map")
			s.Vertices[0].Parallelism = 3
		}, []bool{false, false, false, false}, ""},
		"part of the sinks after all of the source": {func(_ *Shape, m *snapshot.Manifest) {
			finish(m, 2, "src", "map")
			finish(m, 1, "count", "sink")
		}, []bool{true, true, true, false}, ""},
		"part of the sinks after part of the source": {func(s *Shape, m *snapshot.Manifest) {
			s.Vertices[1].Inputs[0].Forward = true
			finish(m, 1, "src", "map")
			finish(m, 1, "count", "sink")
		}, []bool{true, false, true, false}, ""},
		"part of the chain": {func(_ *Shape, m *snapshot.Manifest) { finish(m, 2, "src") }, nil, `operators ["src"] of the chain "src" had finished and ["map"] had not`},
		"input goes on":     {func(_ *Shape, m *snapshot.Manifest) { finish(m, 2, "count", "sink") }, nil, `"count" had finished and would get input from "src"`},
		"union finished in part": {func(_ *Shape, m *snapshot.Manifest) {
			m.Operators[3].Subtasks[1].Lists[0].Mode = operator.Union
			finish(m, 1, "src", "map")
		}, nil, `union list "l", and 1 of its 2 subtasks had finished and left nothing of it`},
	} {
		t.Run(name, func(t *testing.T) {
			s, m := testShape(), testState()
			tc.change(&s, m)
			got, err := Assign(s, m, Options{})
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var flags []bool
			for _, v := range []string{"src", "count"} {
				for i := range 2 {
					flags = append(flags, got[protocol.TaskID{Vertex: v, Subtask: i}].Finished)
				}
			}
			if d := cmp.Diff(tc.want, flags); d != "" {
				t.Errorf("finished tasks differ (-want +got):\n%s", d)
			}
		})
	}
}

func TestAssign_FinishedInPartGivesTheRestAway(t *testing.T) {
	s, m := testShape(), testState()
	m.Operators[3].Subtasks[1].Lists = list(operator.Split, "a", "b", "c")
	finish(m, 1, "src", "map")
	s.Vertices[0].Parallelism = 3
	got, err := Assign(s, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a", "b", "c"} {
		r := got[protocol.TaskID{Vertex: "src", Subtask: i}].Operators["src"]
		if d := cmp.Diff(list(operator.Split, want), r.Lists); d != "" {
			t.Errorf("lists of subtask %d differ (-want +got):\n%s", i, d)
		}
	}
}

// A task that ended but had not committed yet when the snapshot was taken is finished and has state.
func TestAssign_FinishedKeepsLists(t *testing.T) {
	s, m := testShape(), testState()
	for i := range m.Operators {
		m.Operators[i].Finished = true
	}
	m.Operators[2].Subtasks[0].Lists[0].Mode = operator.Union
	got, err := Assign(s, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := protocol.TaskDeployment{
		Task: protocol.TaskID{Vertex: "count", Subtask: 0}, Finished: true,
		Operators: map[string]protocol.OperatorRestore{"sink": {Lists: list(operator.Union, "tx")}},
	}
	if d := cmp.Diff(want, got[want.Task]); d != "" {
		t.Errorf("deployment differs (-want +got):\n%s", d)
	}
}

// A snapshot that package checkpoint lets pass is one to go on from: a union list without entries lost nothing with the
// subtasks that had finished.
func TestAssign_EmptyUnionListPartlyFinished(t *testing.T) {
	m := testState()
	m.Operators[2].Subtasks = []snapshot.SubtaskState{{Index: 0, Finished: true}, {Index: 1, Lists: list(operator.Union)}}
	if _, err := Assign(testShape(), m, Options{}); err != nil {
		t.Error(err)
	}
	m.Operators[2].Subtasks[1].Lists = list(operator.Union, "tx")
	if _, err := Assign(testShape(), m, Options{}); err == nil {
		t.Error("a union list of which a part is gone is restored")
	}
}

// A subtask whose part of a union list is still needed, since others of its vertex go on, stays although it has finished.
func TestAssign_FinishedStaysForItsUnionState(t *testing.T) {
	m := testState()
	for _, i := range []int{1, 3} { // map and src
		m.Operators[i].Subtasks = []snapshot.SubtaskState{
			{Index: 0, Finished: true, Lists: list(operator.Union, "p0")}, {Index: 1, Lists: list(operator.Union, "p1")},
		}
	}
	for name, tc := range map[string]struct {
		subtask int
		finish  bool
		want    protocol.TaskDeployment
	}{
		"finished, others go on": {0, false, protocol.TaskDeployment{Finished: true, Stays: true}},
		"goes on":                {1, false, protocol.TaskDeployment{}},
		"all finished":           {0, true, protocol.TaskDeployment{Finished: true}},
	} {
		t.Run(name, func(t *testing.T) {
			m := *m
			m.Operators = append([]snapshot.OperatorState(nil), m.Operators...)
			for _, i := range []int{1, 3} {
				m.Operators[i].Finished = tc.finish
			}
			got, err := Assign(testShape(), &m, Options{})
			if err != nil {
				t.Fatal(err)
			}
			d := got[protocol.TaskID{Vertex: "src", Subtask: tc.subtask}]
			if d.Finished != tc.want.Finished || d.Stays != tc.want.Stays {
				t.Errorf("finished %v, stays %v; want %v, %v", d.Finished, d.Stays, tc.want.Finished, tc.want.Stays)
			}
		})
	}
}
