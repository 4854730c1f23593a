// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
	"github.com/weir-stream/weir/runtime/task"
)

// gather is an operator that keeps what it gets.
type gather struct{ rows *[]int64 }

func (*gather) Open(context.Context, *operator.Context) error { return nil }
func (*gather) Resume() (operator.Status, error)              { return operator.Done, nil }
func (*gather) Close() error                                  { return nil }
func (g *gather) Process(_ int, b record.Batch) (operator.Status, error) {
	*g.rows = append(*g.rows, b.(*record.Rows[int64]).Values...)
	return operator.Done, nil
}

// sameHash takes a number for its own hash.
type sameHash struct{}

func (sameHash) AppendHashes(dst []uint64, b record.Batch) []uint64 {
	for _, v := range b.(*record.Rows[int64]).Values {
		dst = append(dst, uint64(v))
	}
	return dst
}

// gatherPlan is a job that sends numbers to q subtasks.
func gatherPlan(t *testing.T, q, groups int, partition graph.Partitioning, rows *[]int64) *graph.Plan {
	t.Helper()
	in := graph.Edge{From: "in", Partition: partition}
	if partition == graph.Hash {
		in.NewHasher = func() record.Hasher { return sameHash{} }
	}
	plan, err := graph.NewPlan(&graph.Graph{Nodes: []*graph.Node{
		{Name: "in", Parallelism: 2, Output: ints, NewSource: func() operator.Source { return nil }},
		{Name: "op", Parallelism: q, Inputs: []graph.Edge{in}, NewOperator: func() operator.Operator { return &gather{rows} }},
	}}, graph.Options{MaxParallelism: groups})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// section writes what was in flight on one channel.
func section(t *testing.T, files fileMap, from int, hashed bool, batches [][]int64) snapshot.ChannelState {
	t.Helper()
	b := snapshot.AppendChannelHeader(nil)
	s := snapshot.ChannelState{From: "in", FromSubtask: from, Type: ints.Name(), Hashed: hashed}
	for _, vs := range batches {
		rows := ints.Get()
		rows.Values = append(rows.Values, vs...)
		if hashed {
			rows.Keys = sameHash{}.AppendHashes(rows.Keys, rows)
		}
		enc, err := ints.AppendBatch(nil, rows)
		if err != nil {
			t.Fatal(err)
		}
		rows.Release()
		b = binary.LittleEndian.AppendUint32(b, uint32(len(enc)))
		b = append(b, enc...)
		s.Rows += int64(len(vs))
	}
	file, err := files.WriteFile(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	s.Path, s.Length, s.CRC32C = file.Path, int64(len(b)), snapshot.Checksum(b)
	return s
}

// inFlightAt is a snapshot of p subtasks with something in flight to each from two senders; the rows of a channel ascend.
func inFlightAt(t *testing.T, p, groups int, hashed bool, files fileMap) (*snapshot.Manifest, int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(uint64(p), uint64(groups)))
	router := graph.NewRouter(p, groups)
	channels := make([][2][][]int64, p)
	rows := 0
	for v := int64(0); v < 300; v += 1 + rnd.Int64N(5) {
		to, from := rnd.IntN(p), rnd.IntN(2)
		if hashed {
			to = int(router.AppendOwners(nil, []uint64{uint64(v)})[0])
		}
		c := &channels[to][from]
		if len(*c) == 0 || rnd.IntN(3) == 0 {
			*c = append(*c, nil)
		}
		(*c)[len(*c)-1] = append((*c)[len(*c)-1], v)
		rows++
	}
	op := snapshot.OperatorState{Name: "op", Parallelism: p}
	for i := range p {
		s := snapshot.SubtaskState{Index: i}
		for from, batches := range channels[i] {
			if len(batches) > 0 {
				s.Channels = append(s.Channels, section(t, files, from, hashed, batches))
			}
		}
		op.Subtasks = append(op.Subtasks, s)
	}
	m := &snapshot.Manifest{
		JobID: "j", Checkpoint: 1, MaxParallelism: groups,
		Operators: []snapshot.OperatorState{{Name: "in", Parallelism: 2}, op},
	}
	return m, rows
}

// TestReplay_EveryParallelism restores what was in flight to p subtasks in q of them: each row is processed once, by the owner of
// its key group if it has one, and rows of a channel that go to one subtask keep their order.
func TestReplay_EveryParallelism(t *testing.T) {
	t.Parallel()
	for _, groups := range []int{16, 128, 32768} {
		for _, partition := range []graph.Partitioning{graph.Hash, graph.Rebalance} {
			t.Run(fmt.Sprintf("%s of %d", partition, groups), func(t *testing.T) {
				t.Parallel()
				for p := 1; p <= 16; p++ {
					files := fileMap{}
					m, rows := inFlightAt(t, p, groups, partition == graph.Hash, files)
					for q := 1; q <= 16; q++ {
						replayAll(t, m, files, gatherOptions{q: q, partition: partition, rows: rows})
					}
				}
			})
		}
	}
}

// A stateless operator that was rebalanced and is keyed now: each row goes to its owner all the same.
func TestReplay_EdgeThatIsKeyedNow(t *testing.T) {
	t.Parallel()
	for p := 1; p <= 8; p++ {
		files := fileMap{}
		m, rows := inFlightAt(t, p, 128, false, files)
		for q := 1; q <= 8; q++ {
			replayAll(t, m, files, gatherOptions{q: q, partition: graph.Hash, rows: rows})
		}
	}
}

type gatherOptions struct {
	q         int
	partition graph.Partitioning
	rows      int
}

func replayAll(t *testing.T, m *snapshot.Manifest, files fileMap, o gatherOptions) {
	t.Helper()
	var got []int64
	plan := gatherPlan(t, o.q, m.MaxParallelism, o.partition, &got)
	deployments, err := assign.Assign(assign.ShapeOf(plan), m, assign.Options{})
	if err != nil {
		t.Fatal(err)
	}
	router := graph.NewRouter(o.q, m.MaxParallelism)
	seen := map[int64]int{}
	for i := range o.q {
		got = got[:0]
		h := &harness{journal: &journal{}, t: t, room: true, blocked: map[int]bool{}, async: map[int64]task.Async{}}
		core := task.New(task.Options{
			Plan: plan, Vertex: plan.Vertex("op"), Subtask: i, Attempt: protocol.Attempt{K: 1}, Env: h, Inputs: h, Wake: func() {},
			Deployment: deployments[protocol.TaskID{Vertex: "op", Subtask: i}], Reader: files,
			Log: logr.Discard(), Now: func() time.Time { return time.Unix(0, 0) },
		})
		h.must(core.Open(t.Context()))
		h.must(core.Start())
		for core.Replaying() {
			h.must(core.Replay())
		}
		h.must(core.Close())
		for _, v := range got {
			seen[v]++
			if owner := router.AppendOwners(nil, []uint64{uint64(v)})[0]; o.partition == graph.Hash && int(owner) != i {
				t.Fatalf("%d subtasks: row %d of subtask %d came to subtask %d", o.q, v, owner, i)
			}
		}
		checkOrder(t, m, got)
	}
	if len(seen) != o.rows {
		t.Fatalf("to %d subtasks: %d rows of %d came", o.q, len(seen), o.rows)
	}
	for v, n := range seen {
		if n != 1 {
			t.Fatalf("to %d subtasks: row %d came %d times", o.q, v, n)
		}
	}
}

// checkOrder looks for a row that came before an earlier one of its channel: since rows of a channel ascend, there are no more
// descents than channels.
func checkOrder(t *testing.T, m *snapshot.Manifest, got []int64) {
	t.Helper()
	channels, descents := 0, 0
	for _, s := range m.Operators[1].Subtasks {
		channels += len(s.Channels)
	}
	for i := 1; i < len(got); i++ {
		if got[i] < got[i-1] {
			descents++
		}
	}
	if descents >= max(channels, 1) {
		t.Fatalf("rows of a channel came out of order: %v", got)
	}
}
