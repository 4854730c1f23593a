// SPDX-License-Identifier: Apache-2.0

package barrier

import (
	"slices"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
)

// maxTracked bounds how many snapshots a [Tracker] counts at once; beyond it the oldest is dropped.
const maxTracked = 50

// Tracker counts barriers for at least once. Make it with [NewTracker].
//
// Nothing is blocked, so several snapshots may be counted at once. The barriers of a channel ascend. A cancel-barrier may come before barriers
// of older snapshots, as whoever sends it doesn't align either: it gives up its own snapshot alone.
type Tracker struct {
	ended []bool
	open  int
	// done is the highest id triggered or dropped; pending ascends.
	done    int64
	pending []*tracked
	steps   []Step
}

type tracked struct {
	barrier record.Barrier
	arrived []bool
	n       int
	// over says that it was triggered or given up. One that was given up stays, so that a late barrier doesn't start it again.
	over bool
}

// NewTracker returns a tracker for that many channels, all open.
func NewTracker(channels int) *Tracker {
	return &Tracker{ended: make([]bool, channels), open: channels}
}

// Barrier counts a barrier.
func (t *Tracker) Barrier(ch int, b record.Barrier) []Step {
	t.steps = t.steps[:0]
	if b.Checkpoint <= t.done {
		return nil
	}
	p := t.find(b)
	t.arrive(p, ch)
	t.settle()
	return t.steps
}

// Cancel gives a snapshot up.
func (t *Tracker) Cancel(ch int, id int64) []Step {
	t.steps = t.steps[:0]
	if id <= t.done {
		return nil
	}
	p := t.find(record.Barrier{Checkpoint: id})
	t.abort(p, protocol.DeclinedCanceled)
	t.arrive(p, ch)
	t.settle()
	return t.steps
}

// End counts the end of a channel as its barrier.
func (t *Tracker) End(ch int) []Step {
	t.steps = t.steps[:0]
	if t.ended[ch] {
		return nil
	}
	t.ended[ch] = true
	t.open--
	for _, p := range t.pending {
		if p.arrived[ch] {
			p.arrived[ch] = false
			p.n--
		}
	}
	t.settle()
	return t.steps
}

// find returns the entry of a snapshot, made and announced if it is new.
func (t *Tracker) find(b record.Barrier) *tracked {
	i, ok := slices.BinarySearchFunc(t.pending, b.Checkpoint, func(p *tracked, id int64) int {
		return int(p.barrier.Checkpoint - id)
	})
	if ok {
		return t.pending[i]
	}
	p := &tracked{barrier: b, arrived: make([]bool, len(t.ended))}
	t.pending = slices.Insert(t.pending, i, p)
	t.step(Step{Kind: Start, Barrier: b})
	if len(t.pending) > maxTracked {
		t.drop(1)
	}
	return p
}

// drop forgets the n oldest snapshots, and gives up those that aren't over.
func (t *Tracker) drop(n int) {
	for _, p := range t.pending[:n] {
		t.abort(p, protocol.DeclinedSubsumed)
		t.done = p.barrier.Checkpoint
	}
	t.pending = slices.Delete(t.pending, 0, n)
}

// abort gives a snapshot up that isn't over.
func (t *Tracker) abort(p *tracked, why protocol.DeclineReason) {
	if !p.over {
		p.over = true
		t.step(Step{Kind: Abort, Barrier: p.barrier, Reason: why})
	}
}

func (t *Tracker) step(s Step) { t.steps = append(t.steps, s) }

func (t *Tracker) arrive(p *tracked, ch int) {
	if !p.arrived[ch] && !t.ended[ch] {
		p.arrived[ch] = true
		p.n++
	}
}

// settle triggers the snapshots that are complete, the oldest first. One before them lacks the barrier of a channel that brought theirs, so
// it can't be completed any more. One that was given up says nothing of those before it.
func (t *Tracker) settle() {
	for i := 0; i < len(t.pending); {
		p := t.pending[i]
		if p.over || p.n < t.open {
			i++
			continue
		}
		p.over = true
		t.drop(i + 1)
		t.step(Step{Kind: Trigger, Barrier: p.barrier})
		i = 0
	}
}
