// SPDX-License-Identifier: Apache-2.0

package barrier

import (
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
)

// Arrival is a control element (a barrier, a cancel-barrier or the end) that came in on a channel and may be queued behind other elements.
type Arrival struct {
	// Channel is its number.
	Channel int
	// Element is what arrived. It carries no batch.
	Element record.Element
	// Ahead says that the barrier itself is still with the sender, waiting for room, and will arrive later.
	Ahead bool
}

// Overtaker handles the barriers of a task whose inputs may be overtaken. Make it with [NewOvertaker].
//
// It is told twice of each control element: when it arrives in the queue of its channel ([Overtaker.Arrived]), and when it is read
// from there (the methods of [Handler]). Reading something that wasn't announced counts as its arrival, so the order of the two
// calls doesn't matter. A barrier that is not marked as unaligned is handled as by an [Aligner]. One that is, overtakes when it
// arrives first on any channel; if it carries a timeout, then only once that much time has passed on this task's clock and
// alignment isn't over. Up to there it is aligned.
type Overtaker struct {
	// a sees what is read. Its current snapshot is that of the overtaker, too.
	a   *Aligner
	now func() time.Time
	// overtook says that the pending snapshot has been begun and its capture isn't complete.
	overtook bool
	// due is when the pending snapshot overtakes; zero for never.
	due time.Time
	// delivered says of which channels the barrier of the pending unaligned snapshot arrived, gone of which the end.
	delivered, gone []bool
	// seen and read hold, by channel, the highest id of a barrier or cancel-barrier that arrived, and of a barrier that was read.
	seen, read []int64
}

// NewOvertaker returns an overtaker for that many channels, all open. now is a monotonic clock.
func NewOvertaker(channels int, now func() time.Time) *Overtaker {
	return &Overtaker{
		a: NewAligner(channels), now: now, delivered: make([]bool, channels), gone: make([]bool, channels),
		seen: make([]int64, channels), read: make([]int64, channels),
	}
}

// Arrived takes what arrived in the queue of a channel. Elements of one channel come in their order.
func (o *Overtaker) Arrived(r Arrival) []Step {
	o.a.steps = o.a.steps[:0]
	o.arrive(r)
	return o.done()
}

func (o *Overtaker) arrive(r Arrival) {
	switch r.Element.Kind {
	case record.KindBarrier:
		if !o.a.settled(r.Element.Barrier.Checkpoint) {
			o.announce(r)
		}
		if !r.Ahead {
			o.seen[r.Channel] = max(o.seen[r.Channel], r.Element.Barrier.Checkpoint)
		}
	case record.KindCancelBarrier:
		o.cancelArrived(r.Channel, r.Element.Barrier.Checkpoint)
	case record.KindEnd:
		o.gone[r.Channel] = o.gone[r.Channel] || !r.Ahead
		o.settle()
	default:
	}
}

// announce begins an unaligned snapshot, or counts its barrier.
func (o *Overtaker) announce(r Arrival) {
	a, b := o.a, r.Element.Barrier
	switch {
	case b.Checkpoint > a.current && !b.Unaligned:
		o.skipped(r.Channel) // it begins when it is read
	case b.Checkpoint > a.current && slices.Max(o.seen) >= b.Checkpoint:
		// Another channel brought a cancel-barrier, or went on without it, and nobody has read that yet.
		o.abort(protocol.DeclinedSubsumed)
		a.cancel(b.Checkpoint)
	case b.Checkpoint > a.current:
		o.abort(protocol.DeclinedSubsumed)
		a.begin(b)
		clear(o.delivered)
		o.delivered[r.Channel] = !r.Ahead
		if b.AlignmentTimeout > 0 {
			o.due = o.now().Add(b.AlignmentTimeout)
			return
		}
		o.overtake()
	default:
		o.delivered[r.Channel] = o.delivered[r.Channel] || !r.Ahead
		o.settle()
	}
}

// skipped gives the pending unaligned snapshot up if a channel went on to another one without its barrier.
func (o *Overtaker) skipped(ch int) {
	if o.a.barrier.Unaligned && !o.delivered[ch] {
		o.abort(protocol.DeclinedSubsumed)
	}
}

// overtake begins the pending snapshot before its barriers are in.
func (o *Overtaker) overtake() {
	o.overtook, o.due = true, time.Time{}
	o.a.unblock()
	o.a.step(Step{Kind: Overtake, Barrier: o.a.barrier})
	o.settle()
}

// settle completes the pending capture if every channel delivered its barrier or its end.
func (o *Overtaker) settle() {
	if !o.a.pending || !o.overtook {
		return
	}
	for ch, ok := range o.delivered {
		if !ok && !o.gone[ch] {
			return
		}
	}
	o.a.pending = false
	o.a.step(Step{Kind: Delivered, Barrier: o.a.barrier})
}

// cancelArrived gives up an unaligned snapshot whose barrier won't come on a channel. Others are given up when it is read.
func (o *Overtaker) cancelArrived(ch int, id int64) {
	o.seen[ch] = max(o.seen[ch], id)
	switch {
	case o.a.settled(id) || !o.a.barrier.Unaligned:
	case id == o.a.current:
		o.abort(protocol.DeclinedCanceled)
	default:
		o.skipped(ch)
	}
}

// abort gives the pending snapshot up.
func (o *Overtaker) abort(why protocol.DeclineReason) {
	o.a.abort(why)
	o.overtook, o.due = false, time.Time{}
}

// Tick lets the pending snapshot overtake if it is time.
func (o *Overtaker) Tick(now time.Time) []Step {
	o.a.steps = o.a.steps[:0]
	if o.a.pending && !o.overtook && !o.due.IsZero() && !now.Before(o.due) {
		o.overtake()
	}
	return o.done()
}

// Due is when Tick has something to do next; zero for never.
func (o *Overtaker) Due() time.Time { return o.due }

// Past says whether what is read next from the channel comes after the barrier of that snapshot.
func (o *Overtaker) Past(ch int, checkpoint int64) bool {
	return o.a.ended[ch] || o.read[ch] >= checkpoint
}

// Barrier takes a barrier that is read.
func (o *Overtaker) Barrier(ch int, b record.Barrier) []Step {
	o.a.steps = o.a.steps[:0]
	o.read[ch] = max(o.read[ch], b.Checkpoint)
	o.arrive(Arrival{Channel: ch, Element: record.OfBarrier(b)})
	switch {
	case o.a.settled(b.Checkpoint), o.overtook && b.Checkpoint == o.a.current:
	case b.Checkpoint > o.a.current:
		o.abort(protocol.DeclinedSubsumed)
		o.a.take(ch, b)
	default:
		o.a.take(ch, b)
	}
	return o.done()
}

// Cancel takes a cancel-barrier that is read.
func (o *Overtaker) Cancel(ch int, id int64) []Step {
	o.a.steps = o.a.steps[:0]
	o.cancelArrived(ch, id)
	if !o.a.settled(id) {
		o.a.cancel(id)
	}
	return o.done()
}

// End takes the end of a channel that is read, which counts as its barrier.
func (o *Overtaker) End(ch int) []Step {
	o.a.steps = o.a.steps[:0]
	o.gone[ch] = true
	o.settle()
	if o.a.end(ch) && !o.overtook {
		o.a.settle()
	}
	return o.done()
}

// done forgets what belonged to a snapshot that is settled now.
func (o *Overtaker) done() []Step {
	if !o.a.pending {
		o.overtook, o.due = false, time.Time{}
	}
	return o.a.steps
}
