// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/record"
)

// announced says whether the consumer hears of such an element when it arrives, before it reads it.
func announced(k record.Kind) bool {
	return k == record.KindBarrier || k == record.KindCancelBarrier || k == record.KindEnd
}

// Arrived appends to dst the barriers, cancel-barriers and ends that came in since the last call, in order of arrival; each keeps
// its place in its queue. The first call tells of those that are queued then. From there on ready is set for each new one. It is
// called by the consumer.
func (g *Gate) Arrived(dst []barrier.Arrival) []barrier.Arrival {
	if !g.news.Load() {
		return dst
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.mu.announcing {
		g.mu.announcing = true
		for ch := range g.channels {
			g.channels[ch].queue.each(func(it item) {
				if announced(it.e.Kind) {
					g.mu.arrived = append(g.mu.arrived, barrier.Arrival{Channel: ch, Element: it.e})
				}
			})
		}
	}
	dst = append(dst, g.mu.arrived...)
	clear(g.mu.arrived)
	g.mu.arrived = g.mu.arrived[:0]
	g.news.Store(false)
	return dst
}

// arrive notes an element that arrived, or that was announced, and says whether to wake the consumer. The lock is held.
func (g *Gate) arrive(a barrier.Arrival) bool {
	c := &g.channels[a.Channel]
	if !a.Ahead && toldAhead(a.Element) && c.told > 0 {
		if c.told--; c.told == 0 {
			c.ahead = 0
		}
	}
	if g.mu.announcing {
		g.mu.arrived = append(g.mu.arrived, a)
		g.news.Store(true)
	}
	return g.mu.announcing
}

// announce notes that an element waits with the sender until it gets that many credits more. It gets them in advance if
// a capture waits for it.
func (g *Gate) announce(ch int, e record.Element, need int) {
	c := &g.channels[ch]
	g.mu.Lock()
	c.told++
	c.ahead = need
	wake := g.arrive(barrier.Arrival{Channel: ch, Element: e, Ahead: true})
	grant := 0
	if g.mu.capture != nil {
		grant = g.advance(ch, g.mu.capture)
	}
	g.mu.Unlock()
	if grant > 0 {
		c.drained(grant)
	}
	if wake {
		g.ready.Set()
	}
}

// advance says how many credits to grant in advance, to be paid back by what is taken out, so that a capture gets all it waits for. The
// lock is held.
func (g *Gate) advance(ch int, capture *barrier.Capture) int {
	c := &g.channels[ch]
	if c.ahead == 0 || c.drained == nil || capture.Done(ch) {
		return 0
	}
	n := c.ahead
	c.owed -= n
	c.ahead = 0
	return n
}

// Capture adds what is queued to c, and from now on what is pushed, until EndCapture. The queues stay as they are. It is called by the
// consumer.
func (g *Gate) Capture(c *barrier.Capture) {
	g.mu.Lock()
	grants := map[int]int{}
	for ch := range g.channels {
		g.channels[ch].queue.each(func(it item) { c.Add(ch, it.e) })
		if n := g.advance(ch, c); n > 0 {
			grants[ch] = n
		}
	}
	c.Queued()
	g.mu.capture = c
	g.mu.Unlock()
	for ch, n := range grants {
		g.channels[ch].drained(n)
	}
}

// EndCapture leaves the capture to the consumer.
func (g *Gate) EndCapture() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.capture = nil
}

// Queued returns how many rows are queued in a channel, and the first of their batches, which stays where it is; nil for none. It is called
// by the consumer.
func (g *Gate) Queued(ch int) (rows int, next record.Batch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.channels[ch].queue.each(func(it item) {
		if it.e.Batch == nil {
			return
		}
		rows += it.e.Batch.Len()
		if next == nil {
			next = it.e.Batch
		}
	})
	return rows, next
}
