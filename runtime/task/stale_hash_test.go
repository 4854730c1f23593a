// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
	"github.com/weir-stream/weir/runtime/task"
)

// gatherHashes keeps the hashes of what it gets.
type gatherHashes struct {
	gather
	hashes *[]uint64
}

func (g *gatherHashes) Process(input int, b record.Batch) (operator.Status, error) {
	*g.hashes = append(*g.hashes, b.Hashes()...)
	return g.gather.Process(input, b)
}

// Rows that were rebalanced may carry hashes of a key they had further up. If their edge is keyed now, those don't count.
func TestReplay_EdgeThatIsKeyedNowHashesAnew(t *testing.T) {
	t.Parallel()
	rows := ints.Get()
	rows.Values, rows.Keys = append(rows.Values, 1, 2, 3), append(rows.Keys, 901, 902, 903)
	enc, err := ints.AppendBatch(nil, rows)
	if err != nil {
		t.Fatal(err)
	}
	files := fileMap{}
	b := append(binary.LittleEndian.AppendUint32(snapshot.AppendChannelHeader(nil), uint32(len(enc))), enc...)
	file, err := files.WriteFile(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	m := &snapshot.Manifest{JobID: "j", Checkpoint: 1, MaxParallelism: 128, Operators: []snapshot.OperatorState{
		{Name: "in", Parallelism: 2},
		{Name: "op", Parallelism: 1, Subtasks: []snapshot.SubtaskState{{Channels: []snapshot.ChannelState{{
			From: "in", Type: ints.Name(), Rows: 3, Path: file.Path, Length: int64(len(b)), CRC32C: snapshot.Checksum(b),
		}}}}},
	}}
	var got []int64
	var hashes []uint64
	plan := gatherPlan(t, 1, 128, graph.Hash, &got)
	plan.Vertex("op").Nodes[0].NewOperator = func() operator.Operator { return &gatherHashes{gather{&got}, &hashes} }
	deployments, err := assign.Assign(assign.ShapeOf(plan), m, assign.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{journal: &journal{}, t: t, room: true, blocked: map[int]bool{}, async: map[int64]task.Async{}}
	core := task.New(task.Options{
		Plan: plan, Vertex: plan.Vertex("op"), Attempt: protocol.Attempt{K: 1}, Env: h, Inputs: h, Wake: func() {},
		Deployment: deployments[protocol.TaskID{Vertex: "op"}], Reader: files,
		Log: logr.Discard(), Now: func() time.Time { return time.Unix(0, 0) },
	})
	h.must(core.Open(t.Context()))
	h.must(core.Start())
	for core.Replaying() {
		h.must(core.Replay())
	}
	h.must(core.Close())
	if diff := cmp.Diff([]int64{1, 2, 3}, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint64{1, 2, 3}, hashes); diff != "" {
		t.Errorf("hashes, each of which is that of its row (-want +got):\n%s", diff)
	}
}
