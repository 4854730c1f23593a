// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator/operatortest"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/stream"
)

// goldenGroups is the number of key groups of the golden files.
const goldenGroups = 4

// frozen returns the snapshot of the one subtask of an operator whose lists and keyed state golden files hold; an empty name stands for none.
func frozen[U any](r *rig[U], lists, keyed string) *rigSnapshot {
	r.tb.Helper()
	s := &rigSnapshot{files: &files{}, now: r.now}
	sub := snapshot.SubtaskState{}
	if lists != "" {
		sub.Lists = operatortest.Read(r.tb, lists)
	}
	if keyed != "" {
		b := operatortest.ReadBytes(r.tb, keyed)
		s.files.data = [][]byte{b}
		sub.Keyed = []state.File{{Path: "0", Size: int64(len(b)), CRC32C: crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)), LastGroup: goldenGroups - 1}}
	}
	o := snapshot.OperatorState{Name: r.node.Name, Parallelism: 1, Subtasks: []snapshot.SubtaskState{sub}}
	s.manifest = &snapshot.Manifest{Checkpoint: 1, MaxParallelism: goldenGroups, Operators: []snapshot.OperatorState{o}}
	return s
}

// freeze compares what the one subtask of an operator writes with golden files.
func freeze[U any](r *rig[U], lists, keyed string) {
	r.tb.Helper()
	s := r.snapshot(0)
	if lists != "" {
		operatortest.Golden(r.tb, lists, s.manifest.Operators[0].Subtasks[0].Lists)
	}
	if keyed != "" {
		if len(s.files.data) != 1 {
			r.tb.Fatalf("%d files of keyed state, want one", len(s.files.data))
		}
		operatortest.GoldenBytes(r.tb, keyed, s.files.data[0])
	}
}

// TestOperatorLists_AreFrozen pins what docs/formats/connectors.md says of lists.
func TestOperatorLists_AreFrozen(t *testing.T) {
	t.Parallel()
	const golden = "lists-1.golden"
	r := newRig[string](t, 1, goldenGroups, "buffers", bufferJob)
	r.start(1, nil)
	feed(r, 0, "a", "", "weir")
	freeze(r, golden, "")
	r.start(2, frozen(r, golden, ""))
	feed(r, 0, "flush")
	if d := cmp.Diff([]string{"split a", "split weir", "union aweir", "union aweir"}, []string{r.out[0], r.out[2], r.out[1], r.out[3]}); d != "" {
		t.Errorf("restored (-want +got):\n%s", d)
	}
	r.close()
}

// TestBroadcastState_IsFrozen pins what docs/formats/connectors.md says of broadcast state.
func TestBroadcastState_IsFrozen(t *testing.T) {
	t.Parallel()
	const lists, keyed = "broadcast-1.golden", "broadcast-1.hex"
	r := newRig[string](t, 1, goldenGroups, "check", checkJob)
	r.start(1, nil)
	feed(r, 1, rule{"corner", 300})
	feed(r, 0, sale{"corner", 7})
	freeze(r, lists, keyed)
	r.start(1, frozen(r, lists, keyed))
	feed(r, 0, sale{"corner", 300})
	if d := cmp.Diff([]string{"{corner 300} of 1 rules, row 1"}, r.out); d != "" {
		t.Errorf("restored (-want +got):\n%s", d)
	}
	r.close()
}

// TestWindows_AreFrozen pins what docs/formats/state-kinds.md says of the state of windows.
func TestWindows_AreFrozen(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spec stream.Windows
		job  string
		want []string
	}{
		"tumbling": {stream.Tumbling(time.Second).AllowLateness(time.Minute), "aggregate", []string{
			"{ann 1000 2000 {3 2 5}}", "{ann 2000 3000 {4 1 16}}", "{bob 1000 2000 {8 1 64}}",
		}},
		"sliding": {stream.Sliding(2*time.Second, time.Second), "process", []string{
			"{ann 0 2000 {3 2 5}}", "{ann 1000 3000 {7 3 21}}", "{ann 2000 4000 {4 1 16}}", "{bob 0 2000 {8 1 64}}", "{bob 1000 3000 {8 1 64}}",
		}},
		"sessions":           {stream.Sessions(400 * time.Millisecond), "process", []string{"{ann 1000 1800 {3 2 5}}", "{ann 2500 2900 {4 1 16}}", "{bob 1999 2399 {8 1 64}}"}},
		"sessions aggregate": {stream.Sessions(400 * time.Millisecond), "aggregate", []string{"{ann 1000 1800 {3 2 5}}", "{ann 2500 2900 {4 1 16}}", "{bob 1999 2399 {8 1 64}}"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden := fmt.Sprintf("windows-%.8s-%s-1.hex", name, tc.job)
			r := windowRig(t, 1, goldenGroups, tc.spec, atClick, windowJobs[tc.job])
			r.start(1, nil)
			feed(r, 0, click{"ann", 1400, 2}, click{"ann", 1000, 1}, click{"bob", 1999, 8}, click{"ann", 2500, 4})
			freeze(r, "", golden)
			r.start(1, frozen(r, "", golden))
			r.finish()
			if d := cmp.Diff(tc.want, texts(r.out)); d != "" {
				t.Errorf("restored (-want +got):\n%s", d)
			}
			r.close()
		})
	}
}

// amount is a row of a reduced stream.
type amount struct {
	Shop string
	Sum  int32
}

// TestCountAndReduce_AreFrozen pins what docs/formats/state-kinds.md says of the built-in operators on keys.
func TestCountAndReduce_AreFrozen(t *testing.T) {
	t.Parallel()
	c := newRig[stream.Counted[int64]](t, 1, goldenGroups, "count", func(j *stream.Job) {
		stream.Count(stream.KeyBy(nothing[int64](j, "in"), func(v int64) int64 { return v }), "count")
	})
	c.start(1, nil)
	feed(c, 0, int64(1), int64(-1), int64(1), int64(1_000_000))
	freeze(c, "", "count-1.hex")
	c.start(1, frozen(c, "", "count-1.hex"))
	feed(c, 0, int64(1), int64(-1), int64(2))
	if d := cmp.Diff([]stream.Counted[int64]{{Key: 1, Count: 3}, {Key: -1, Count: 2}, {Key: 2, Count: 1}}, c.out); d != "" {
		t.Errorf("counts (-want +got):\n%s", d)
	}
	c.close()

	r := newRig[amount](t, 1, goldenGroups, "reduce", func(j *stream.Job) {
		byShop := stream.KeyBy(nothing[amount](j, "in"), func(a amount) string { return a.Shop })
		stream.Reduce(byShop, "reduce", func(a, b amount) amount { return amount{a.Shop, a.Sum + b.Sum} })
	})
	r.start(1, nil)
	feed(r, 0, amount{"corner", 3}, amount{"", -1}, amount{"corner", 4})
	freeze(r, "", "reduce-1.hex")
	r.start(1, frozen(r, "", "reduce-1.hex"))
	feed(r, 0, amount{"corner", 10}, amount{"", 1})
	if d := cmp.Diff([]amount{{"corner", 17}, {"", 0}}, r.out); d != "" {
		t.Errorf("sums (-want +got):\n%s", d)
	}
	r.close()
}
