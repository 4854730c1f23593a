// SPDX-License-Identifier: Apache-2.0

package barrier

import (
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
)

// Aligner aligns barriers for exactly once. Make it with [NewAligner].
type Aligner struct {
	// current is the highest id seen; pending says whether its alignment is under way.
	current int64
	pending bool
	barrier record.Barrier
	// arrived and ended are by channel.
	arrived, ended []bool
	nArrived, open int
	steps          []Step
}

// NewAligner returns an aligner for that many channels, all open.
func NewAligner(channels int) *Aligner {
	return &Aligner{arrived: make([]bool, channels), ended: make([]bool, channels), open: channels}
}

// Barrier takes a barrier: one of an older or already settled snapshot is ignored, a newer one
// gives up the alignment under way.
func (a *Aligner) Barrier(ch int, b record.Barrier) []Step {
	a.steps = a.steps[:0]
	if !a.settled(b.Checkpoint) {
		a.take(ch, b)
	}
	return a.steps
}

// settled says that nothing that comes of that snapshot counts any more.
func (a *Aligner) settled(id int64) bool {
	return id < a.current || id == a.current && !a.pending
}

// take counts a barrier that isn't settled.
func (a *Aligner) take(ch int, b record.Barrier) {
	if b.Checkpoint > a.current {
		a.begin(b)
	}
	if !a.arrived[ch] && !a.ended[ch] {
		a.arrived[ch] = true
		a.nArrived++
		a.step(Step{Kind: Block, Channel: ch})
	}
	a.settle()
}

// begin starts a newer snapshot.
func (a *Aligner) begin(b record.Barrier) {
	a.abort(protocol.DeclinedSubsumed)
	a.current, a.pending, a.barrier = b.Checkpoint, true, b
	a.step(Step{Kind: Start, Barrier: b})
}

// Cancel takes a cancel-barrier, which also makes later barriers of that id be ignored.
func (a *Aligner) Cancel(_ int, id int64) []Step {
	a.steps = a.steps[:0]
	if !a.settled(id) {
		a.cancel(id)
	}
	return a.steps
}

// cancel gives up a snapshot that isn't settled, and those before it.
func (a *Aligner) cancel(id int64) {
	if id > a.current {
		a.abort(protocol.DeclinedSubsumed)
		a.current, a.pending = id, true
	}
	a.abort(protocol.DeclinedCanceled)
}

// End takes the end of a channel, which counts as its barrier.
func (a *Aligner) End(ch int) []Step {
	a.steps = a.steps[:0]
	if a.end(ch) {
		a.settle()
	}
	return a.steps
}

// end takes a channel out of the count; false if it ended before.
func (a *Aligner) end(ch int) bool {
	if a.ended[ch] {
		return false
	}
	a.ended[ch] = true
	a.open--
	if a.arrived[ch] {
		a.arrived[ch] = false
		a.nArrived--
	}
	return true
}

// settle triggers the pending snapshot if every open channel delivered its barrier.
func (a *Aligner) settle() {
	if !a.pending || a.nArrived < a.open {
		return
	}
	a.release()
	a.step(Step{Kind: Trigger, Barrier: a.barrier})
}

func (a *Aligner) abort(why protocol.DeclineReason) {
	if !a.pending {
		return
	}
	a.release()
	a.step(Step{Kind: Abort, Barrier: record.Barrier{Checkpoint: a.current}, Reason: why})
}

func (a *Aligner) release() {
	a.pending = false
	a.unblock()
}

func (a *Aligner) unblock() {
	if a.nArrived > 0 {
		a.step(Step{Kind: Unblock})
	}
	clear(a.arrived)
	a.nArrived = 0
}

func (a *Aligner) step(s Step) { a.steps = append(a.steps, s) }
