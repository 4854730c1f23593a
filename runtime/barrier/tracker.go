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
type Tracker struct {
	ended []bool
	open  int
	// done is the highest id triggered; pending ascends.
	done    int64
	pending []*tracked
	steps   []Step
}

type tracked struct {
	barrier record.Barrier
	arrived []bool
	n       int
	// canceled stays counted until complete, so that a late barrier doesn't start it again.
	canceled bool
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
	if !p.canceled {
		p.canceled = true
		t.steps = append(t.steps, Step{Kind: Abort, Barrier: p.barrier, Reason: protocol.DeclinedCanceled})
	}
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
	if len(t.pending) > maxTracked {
		t.done = t.pending[0].barrier.Checkpoint
		t.pending = slices.Delete(t.pending, 0, 1)
	}
	t.steps = append(t.steps, Step{Kind: Start, Barrier: b})
	return p
}

func (t *Tracker) arrive(p *tracked, ch int) {
	if !p.arrived[ch] && !t.ended[ch] {
		p.arrived[ch] = true
		p.n++
	}
}

// settle triggers the newest snapshot that is complete and drops the older ones.
func (t *Tracker) settle() {
	for i, p := range slices.Backward(t.pending) {
		if p.n < t.open {
			continue
		}
		if !p.canceled {
			t.steps = append(t.steps, Step{Kind: Trigger, Barrier: p.barrier})
		}
		t.done = p.barrier.Checkpoint
		t.pending = slices.Delete(t.pending, 0, i+1)
		return
	}
}
