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

// Capture adds what is queued to c, and from now on what is pushed, until EndCapture. The queues stay as they are. It is called by the
// consumer.
func (g *Gate) Capture(c *barrier.Capture) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for ch := range g.channels {
		g.channels[ch].queue.each(func(it item) { c.Add(ch, it.e) })
	}
	g.mu.capture = c
}

// EndCapture leaves the capture to the consumer.
func (g *Gate) EndCapture() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.capture = nil
}
