// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/weir-stream/weir/runtime/record"
)

// A task that has of every channel the barrier of a snapshot, its cancel-barrier or the end, or that was triggered itself, owes an answer: it takes the
// snapshot and then acknowledges or declines it, or it declines it at once. Only one that the coordinator gave up needs none. A snapshot that a task doesn't
// answer for hangs until its timeout, which looks like one that was merely slow.

// crowded says whether a job that skips alignment has many snapshots in flight. Like [swept], it leaves the other seeds what they are.
func crowded(seed uint64) bool { return rand.New(rand.NewPCG(seed, 79)).IntN(2) == 0 }

// answers is what a task was told of snapshots, and what it said.
type answers struct {
	// came are the snapshots that a channel brought a barrier or a cancel-barrier of, reached is the highest of the barriers.
	came    []map[int64]bool
	reached []int64
	// owed are the snapshots that have no answer yet, given those that have one or need none, taken those whose asynchronous part began.
	owed         map[int64]bool
	given, taken map[int64]bool
	// canceled is the highest cancel-barrier that was read.
	canceled int64
}

func newAnswers(channels int) *answers {
	a := &answers{came: make([]map[int64]bool, channels), reached: make([]int64, channels), owed: map[int64]bool{}, given: map[int64]bool{}, taken: map[int64]bool{}}
	for ch := range a.came {
		a.came[ch] = map[int64]bool{}
	}
	return a
}

// read notes what is read from a channel.
func (a *answers) read(ch int, e record.Element) {
	id := e.Barrier.Checkpoint
	switch e.Kind {
	case record.KindBarrier:
		a.reached[ch] = max(a.reached[ch], id)
	case record.KindCancelBarrier:
		a.canceled = max(a.canceled, id)
	default:
		return
	}
	a.came[ch][id] = true
	a.owe(id)
}

func (a *answers) owe(id int64) {
	if !a.given[id] {
		a.owed[id] = true
	}
}

// give notes an answer, or that none is needed.
func (a *answers) give(id int64) {
	a.given[id] = true
	delete(a.owed, id)
}

// complete says that nothing of a snapshot can come any more. A channel that ended counts if it didn't leave the snapshot out.
func (a *answers) complete(id int64, ended []bool) bool {
	for ch := range a.came {
		if !a.came[ch][id] && (!ended[ch] || a.reached[ch] > id) {
			return false
		}
	}
	return true
}

// checkAnswers looks for snapshots that the task should have taken or declined by now. One that works on what was in flight, has no room, or is frozen
// does so later.
func (t *taskRun) checkAnswers() {
	if len(t.answers.owed) == 0 || t.core.Paused() || t.core.Replaying() || t.core.Frozen() || t.core.Finished() {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(t.answers.owed)) {
		if t.answers.taken[id] || t.givenUpFor(id) || !t.deploy.Finished && !t.answers.complete(id, t.endedInput) {
			continue
		}
		t.w.failf("task %s has all barriers of snapshot %d, and neither takes nor declines it", t.id, id)
	}
}

// checkReported looks whether a task that has done the asynchronous part of a snapshot has said so.
func (t *taskRun) checkReported(id int64) {
	if !t.answers.given[id] && !t.givenUpFor(id) {
		t.w.failf("task %s has done its part of snapshot %d, and neither acknowledges nor declines it", t.id, id)
	}
}

// givenUpFor says whether the coordinator gave a snapshot up, whether or not the task has heard of it. In tests without one nobody does.
func (t *taskRun) givenUpFor(id int64) bool {
	l := t.worker.version.line
	return l != nil && l.givenUp[id]
}

// skips says whether a task loses a barrier, under CancelEndsOlder: one that only counts barriers takes the cancel-barrier of a snapshot for the end of
// those before it as well.
func (t *taskRun) skips(e record.Element) bool {
	return t.w.mutation == CancelEndsOlder && t.w.scenario.atLeastOnce && e.Kind == record.KindBarrier && e.Barrier.Checkpoint < t.answers.canceled
}

// triggeredItself says whether a task has no channel that could bring it a snapshot.
func (t *taskRun) triggeredItself() bool {
	return len(t.inputs) == 0 || t.deploy.Finished || !slices.Contains(t.endedInput, false)
}
