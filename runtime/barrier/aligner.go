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
	switch {
	case b.Checkpoint < a.current || b.Checkpoint == a.current && !a.pending:
		return nil
	case b.Checkpoint > a.current:
		a.abort(protocol.DeclinedSubsumed)
		a.current, a.pending, a.barrier = b.Checkpoint, true, b
		a.step(Step{Kind: Start, Barrier: b})
	}
	if !a.arrived[ch] && !a.ended[ch] {
		a.arrived[ch] = true
		a.nArrived++
		a.step(Step{Kind: Block, Channel: ch})
	}
	a.settle()
	return a.steps
}

// Cancel takes a cancel-barrier, which also makes later barriers of that id be ignored.
func (a *Aligner) Cancel(_ int, id int64) []Step {
	a.steps = a.steps[:0]
	if id < a.current || id == a.current && !a.pending {
		return nil
	}
	if id > a.current {
		a.abort(protocol.DeclinedSubsumed)
		a.current, a.pending = id, true
	}
	a.abort(protocol.DeclinedCanceled)
	return a.steps
}

// End takes the end of a channel, which counts as its barrier.
func (a *Aligner) End(ch int) []Step {
	a.steps = a.steps[:0]
	if a.ended[ch] {
		return nil
	}
	a.ended[ch] = true
	a.open--
	if a.arrived[ch] {
		a.arrived[ch] = false
		a.nArrived--
	}
	a.settle()
	return a.steps
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
	if a.nArrived > 0 {
		a.step(Step{Kind: Unblock})
	}
	clear(a.arrived)
	a.nArrived = 0
}

func (a *Aligner) step(s Step) { a.steps = append(a.steps, s) }
