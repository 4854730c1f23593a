// SPDX-License-Identifier: Apache-2.0

package task

import (
	"time"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
)

// overtaking is the part of a core that lets barriers overtake. Its handler is nil where barriers are aligned.
type overtaking struct {
	handler *barrier.Overtaker
	inputs  Overtaking
	news    []barrier.Arrival
	// types are those of the rows of the channels.
	types []record.Type
	// delivered is the last snapshot whose barriers have all arrived.
	delivered int64
}

// newHandler chooses how the barriers of the inputs are handled.
func (c *Core) newHandler() {
	n := len(c.channels)
	inputs, able := c.o.Inputs.(Overtaking)
	switch {
	case c.o.AtLeastOnce:
		c.handler = barrier.NewTracker(n)
	case able && c.o.Vertex.Overtakable():
		c.over.inputs, c.over.handler = inputs, barrier.NewOvertaker(n, c.o.Now)
		c.handler = c.over.handler
		for _, ch := range c.channels {
			c.over.types = append(c.over.types, ch.PhysicalEdge.Type)
		}
	default:
		c.handler = barrier.NewAligner(n)
	}
}

// HandleArrivals lets the core look at the barriers that arrived behind others. It may be called at any time, also while the core is
// paused; the shell does so soon after something arrived (see [Overtaking]).
func (c *Core) HandleArrivals() error {
	if c.over.handler == nil || c.frozen != 0 {
		return nil
	}
	c.over.news = c.over.inputs.Arrived(c.over.news[:0])
	if len(c.over.news) == 0 || c.phase != running {
		return nil
	}
	for _, r := range c.over.news {
		if b := r.Element.Barrier; r.Element.Kind == record.KindBarrier && b.Unaligned && !r.Ahead {
			c.noteBarrier(r.Channel, b.Checkpoint)
		}
		c.apply(c.over.handler.Arrived(r))
	}
	return c.goOn()
}

// Due is when HandleDue has something to do next; zero for never, which also holds while the task is frozen.
func (c *Core) Due() time.Time {
	if c.over.handler == nil || c.frozen != 0 || c.phase != running {
		return time.Time{}
	}
	return c.over.handler.Due()
}

// HandleDue lets barriers overtake whose time to align is over. It may be called at any time, also while the core is paused.
func (c *Core) HandleDue(now time.Time) error {
	if due := c.Due(); due.IsZero() || now.Before(due) {
		return nil
	}
	c.apply(c.over.handler.Tick(now))
	return c.goOn()
}

// goOn does steps that were added from outside of processing, for an unaligned snapshot also without room.
func (c *Core) goOn() error {
	switch {
	case !c.paused:
		return c.advance()
	case c.out.urgent:
		return c.Resume()
	default:
		return nil
	}
}

// capture begins to copy what is in flight, for a snapshot whose state has just been fixed.
func (c *Core) capture(p *pendingSnapshot) {
	id := p.barrier.Checkpoint
	p.flight = &flight{remainder: c.remainder()}
	if c.over.handler == nil {
		c.over.delivered = id // there is nothing but the remainder of a restore
		return
	}
	past := make([]bool, len(c.channels))
	for ch := range past {
		past[ch] = c.over.handler.Past(ch, id)
	}
	p.flight.channels, p.flight.capture, p.flight.budget = c.channels, barrier.NewCapture(id, past), c.o.Memory.Budget()
	p.flight.capture.Budget, p.flight.capture.Types = c.o.Memory, c.over.types
	c.over.inputs.Capture(p.flight.capture)
	p.capturing = true
	c.progress.reach(id, protocol.StageAligning, c.o.Now())
}

// deliver notes that all barriers of a snapshot that overtakes are in, so that it can be written.
func (c *Core) deliver(id int64) {
	c.over.delivered = id
	if p := c.snap.pending[id]; p != nil && p.capturing {
		c.write(p)
	}
}

// endCapture stops copying for a snapshot, if that is under way.
func (c *Core) endCapture(p *pendingSnapshot) {
	if p.capturing {
		p.capturing = false
		c.over.inputs.EndCapture()
	}
}

// overtakeCosts completes what a snapshot cost that overtook: its alignment lasted until the last barrier arrived.
func (c *Core) overtakeCosts(p *pendingSnapshot) {
	if f := c.progress.find(p.barrier.Checkpoint); f != nil {
		p.metrics.Alignment, p.metrics.Last = f.last.Sub(f.first), c.progress.ref(f.lastChannel)
	}
	c.progress.reach(p.barrier.Checkpoint, protocol.StageWriting, p.started)
}

// discard releases what a snapshot holds whose asynchronous part has not begun.
func (c *Core) discard(p *pendingSnapshot) {
	c.endCapture(p)
	for _, q := range p.parts {
		q.release()
	}
	p.flight.release()
	p.parts, p.flight = nil, nil
}
