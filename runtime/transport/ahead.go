// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"google.golang.org/grpc/mem"

	"github.com/weir-stream/weir/runtime/record"
)

// untold is an element that waits for credits on a channel that isn't connected yet, and at which place.
type untold struct {
	at int
	e  record.Element
}

// toldAhead says whether the receiver hears of such an element while it waits for credits.
func toldAhead(e record.Element) bool {
	return e.Kind == record.KindBarrier && e.Barrier.Unaligned || e.Kind == record.KindCancelBarrier || e.Kind == record.KindEnd
}

// enqueueControl sends a control element, or keeps it until there is credit. An unaligned barrier that overtakes at once takes all that is
// before it along, with or without credits: what the receiver takes in beyond them is bounded by what a producer may have waiting.
// Of others that the receiver may have to wait for it is told, and how many credits they need.
func (w *remoteWriter) enqueueControl(b mem.Buffer, e record.Element) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	atOnce := e.Kind == record.KindBarrier && e.Barrier.Unaligned && e.Barrier.AlignmentTimeout == 0
	switch {
	case w.ended:
		b.Free()
	case w.credits.Load() > 0:
		w.credits.Add(-int64(frameCost(b.Len())))
		w.p.enqueue(b)
	case atOnce && w.connected:
		w.pending = append(w.pending, b)
		for _, f := range w.pending {
			w.credits.Add(-int64(frameCost(f.Len())))
			w.p.enqueue(f)
		}
		w.sent(len(w.pending))
	default:
		if atOnce {
			w.urgent = len(w.pending) + 1
		} else if toldAhead(e) {
			w.tell(untold{len(w.pending), e})
		}
		w.pending = append(w.pending, b)
	}
}

// tell announces an element of pending. The lock is held.
func (w *remoteWriter) tell(u untold) {
	if !w.connected {
		w.untold = append(w.untold, u)
		return
	}
	need := 1 - w.credits.Load()
	for _, f := range w.pending[:u.at] {
		need += int64(frameCost(f.Len()))
	}
	w.p.enqueue(mem.SliceBuffer(aheadFrame(w.number, need, u.e)))
}

// sent takes the first n frames out of pending; after the first credit, the receiver is told of what is left. The lock is held.
func (w *remoteWriter) sent(n int) {
	rest := copy(w.pending, w.pending[n:])
	clear(w.pending[rest:])
	w.pending = w.pending[:rest]
	if w.connected {
		return
	}
	w.connected, w.urgent = true, 0
	for _, u := range w.untold {
		if u.at >= n {
			w.tell(untold{u.at - n, u.e})
		}
	}
	w.untold = nil
}
