// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"github.com/weir-stream/weir/runtime/protocol"
)

// maxMarked bounds the snapshots of which a replay remembers how far the sources were.
const maxMarked = 64

// replay estimates how many records sources read again after restarts: those that they had emitted, as far as heartbeats told, after
// their part of the snapshot that they were restarted from. It is an estimate from below: what came after the last heartbeat is not known.
// Its methods are for one goroutine.
type replay struct {
	// source says whether a task is of a source.
	source func(protocol.TaskID) bool
	// marks are how far sources were at their barriers, by snapshot; order has the snapshots, oldest first.
	marks map[int64]map[protocol.TaskID]mark
	order []int64
	seen  map[protocol.TaskID]mark
	total int64
}

// mark is how many records a task has emitted since its deployment in an attempt.
type mark struct {
	attempt protocol.Attempt
	records int64
}

func newReplay(source func(protocol.TaskID) bool) *replay {
	return &replay{source: source, marks: map[int64]map[protocol.TaskID]mark{}, seen: map[protocol.TaskID]mark{}}
}

// acked takes how far a source was at its barrier.
func (r *replay) acked(a *protocol.Ack) {
	if !r.source(a.Task) {
		return
	}
	if r.marks[a.Checkpoint] == nil {
		if len(r.order) >= maxMarked {
			delete(r.marks, r.order[0])
			r.order = r.order[1:]
		}
		r.marks[a.Checkpoint] = map[protocol.TaskID]mark{}
		r.order = append(r.order, a.Checkpoint)
	}
	r.marks[a.Checkpoint][a.Task] = mark{a.Attempt, a.Metrics.Records}
}

// heard takes what the tasks of the running attempt have counted. restored is the snapshot that they were started from, 0 for none.
func (r *replay) heard(counts map[protocol.TaskID]protocol.TaskMetrics, restored int64) {
	for task, m := range counts {
		if !r.source(task) {
			continue
		}
		if before, ok := r.seen[task]; ok && before.attempt != m.Attempt {
			kept := int64(0)
			if at := r.marks[restored][task]; at.attempt == before.attempt {
				kept = at.records
			}
			r.total += max(0, before.records-kept)
		}
		r.seen[task] = mark{m.Attempt, m.RecordsIn}
	}
}
