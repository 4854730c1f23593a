// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// opens is an operator that has the states of these names.
type opens struct {
	names []string
	size  int
}

func (o *opens) Open(_ context.Context, c *operator.Context) error {
	for _, name := range o.names {
		if _, err := c.Keyed.Table(state.Descriptor{Name: name, Keys: state.Int64Keys, ValueSize: o.size}); err != nil {
			return err
		}
	}
	return nil
}

func (*opens) Process(int, record.Batch) (operator.Status, error) { return operator.Done, nil }
func (*opens) Resume() (operator.Status, error)                   { return operator.Done, nil }
func (*opens) Close() error                                       { return nil }

// stored writes files of state into the directory of a snapshot.
type stored struct {
	store *memstore.Client
	dir   string
	n     int
}

func (s *stored) WriteFile(ctx context.Context, data []byte) (state.File, error) {
	name := fmt.Sprintf("f%d", s.n)
	s.n++
	return state.File{Path: name}, s.store.PutIfAbsent(ctx, path.Join(s.dir, name), data)
}

// TestSchemaProblems_FindStateThatNobodyUses shows that the check before an upgrade finds state that an operator has stopped using, also where the part of it that is opened has no
// entry of it, and that a consent turns that into a warning.
func TestSchemaProblems_FindStateThatNobodyUses(t *testing.T) {
	const dir = "ns/job/0123456789/checkpoints/chk-1/"
	store := memstore.New("test", time.Now).Client(memstore.Options{})
	var subtasks [][]state.File
	for first := 0; first < 128; first += 64 { // the second subtask alone has entries of "rare"
		m, err := state.NewMemory(state.Options{MaxParallelism: 128, First: first, Last: first + 63})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"sums", "rare", "empty"} {
			table, err := m.Table(state.Descriptor{Name: name, Keys: state.Int64Keys, ValueSize: 8})
			if err != nil {
				t.Fatal(err)
			}
			for k := range int64(100) {
				hash := state.HashInt64(k)
				if mine := int(hash%128)/64 == first/64; mine && (name == "sums" || name == "rare" && first > 0) {
					table.RefInt64(k, hash)
				}
			}
		}
		s := m.Seal()
		files, err := s.Write(t.Context(), &stored{store: store, dir: dir, n: first})
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
		subtasks = append(subtasks, files)
	}
	tests := map[string]struct {
		op            opens
		consent       bool
		problem, warn string
	}{
		"all are used":      {op: opens{[]string{"sums", "rare", "empty"}, 8}},
		"a new one":         {op: opens{[]string{"sums", "rare", "more"}, 8}}, // what has no entries may go
		"one less":          {op: opens{[]string{"sums"}, 8}, problem: `operator "tally": the snapshot holds state ["rare"] that the operator doesn't use any more`},
		"another name":      {op: opens{[]string{"totals", "rare"}, 8}, problem: `state ["sums"]`},
		"one less, consent": {op: opens{[]string{"rare"}, 8}, consent: true, warn: `state ["sums"] of operator "tally" is dropped`},
		"another type":      {op: opens{[]string{"sums", "rare"}, 16}, consent: true, problem: "sums"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := &Coordinator{o: Options{Store: store, Log: logr.Discard()}}
			v := &graph.Vertex{Name: "tally", Parallelism: 2, Nodes: []*graph.Node{{Name: "tally", Keyed: true, NewOperator: func() operator.Operator { return &tc.op }}}}
			p := &prepared{
				cfg:   contract.JobConfig{MaxParallelism: 128, AllowNonRestoredState: tc.consent},
				graph: &graph.Plan{Vertices: []*graph.Vertex{v}},
				from:  &startingState{Newest: snapshot.Newest{Path: dir}, manifest: &snapshot.Manifest{Checkpoint: 1}},
				tasks: map[protocol.TaskID]protocol.TaskDeployment{},
			}
			for s, files := range subtasks {
				p.tasks[protocol.TaskID{Vertex: "tally", Subtask: s}] = protocol.TaskDeployment{Operators: map[string]protocol.OperatorRestore{"tally": {Keyed: files}}}
			}
			problems, warnings := c.schemaProblems(t.Context(), p)
			got := ""
			for _, s := range problems {
				got += s.String()
			}
			if (tc.problem == "") != (got == "") || !strings.Contains(got, tc.problem) {
				t.Errorf("problems %q, want %q", got, tc.problem)
			}
			if told := strings.Join(warnings, "; "); (tc.warn == "") != (told == "") || !strings.Contains(told, tc.warn) {
				t.Errorf("warnings %q, want %q", told, tc.warn)
			}
		})
	}
}
