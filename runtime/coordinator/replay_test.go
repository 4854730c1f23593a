// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"testing"

	"github.com/weir-stream/weir/runtime/protocol"
)

func TestReplay_CountsWhatIsReadAgain(t *testing.T) {
	src := protocol.TaskID{Vertex: "src"}
	first, second, third := protocol.Attempt{K: 1}, protocol.Attempt{K: 2}, protocol.Attempt{K: 3}
	ack := func(a protocol.Attempt, id, records int64) func(*replay) {
		return func(r *replay) {
			r.acked(&protocol.Ack{Attempt: a, Task: src, Checkpoint: id, Metrics: protocol.AckMetrics{Records: records}})
		}
	}
	beat := func(a protocol.Attempt, restored, records int64) func(*replay) {
		return func(r *replay) {
			r.heard(map[protocol.TaskID]protocol.TaskMetrics{
				src:             {Task: src, Attempt: a, RecordsIn: records},
				{Vertex: "agg"}: {Attempt: a, RecordsIn: records},
			}, restored)
		}
	}
	tests := map[string]struct {
		steps []func(*replay)
		want  int64
	}{
		"no restart":                        {[]func(*replay){beat(first, 0, 10), ack(first, 1, 20), beat(first, 0, 30)}, 0},
		"from a checkpoint of the attempt":  {[]func(*replay){ack(first, 1, 20), beat(first, 0, 30), beat(second, 1, 5)}, 10},
		"from nothing":                      {[]func(*replay){beat(first, 0, 30), beat(second, 0, 5)}, 30},
		"from one of an attempt before":     {[]func(*replay){ack(first, 1, 20), beat(first, 0, 30), beat(second, 1, 7), beat(third, 1, 1)}, 17},
		"from the newer of two":             {[]func(*replay){ack(first, 1, 20), ack(first, 2, 28), beat(first, 0, 30), beat(second, 2, 5)}, 2},
		"from the older, the newer damaged": {[]func(*replay){ack(first, 1, 20), ack(first, 2, 28), beat(first, 0, 30), beat(second, 1, 5)}, 10},
		"heartbeat older than the snapshot": {[]func(*replay){beat(first, 0, 15), ack(first, 1, 20), beat(second, 1, 5)}, 0},
		"a region that went on":             {[]func(*replay){ack(first, 1, 20), beat(first, 0, 30), beat(first, 1, 40)}, 0},
		"failed before it was heard of":     {[]func(*replay){ack(first, 1, 20), beat(second, 1, 5)}, 0},
		"a snapshot that isn't known any more": {append([]func(*replay){ack(first, 1, 20)}, append(func() (more []func(*replay)) {
			for id := range int64(maxMarked) {
				more = append(more, ack(first, 2+id, 25))
			}
			return more
		}(), beat(first, 0, 30), beat(second, 1, 5))...), 30},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := newReplay(func(t protocol.TaskID) bool { return t.Vertex == "src" })
			for _, step := range tc.steps {
				step(r)
			}
			if r.total != tc.want {
				t.Errorf("%d records read again, want %d", r.total, tc.want)
			}
			if len(r.order) > maxMarked || len(r.marks) != len(r.order) {
				t.Errorf("%d snapshots and %d marks are remembered", len(r.order), len(r.marks))
			}
		})
	}
}
