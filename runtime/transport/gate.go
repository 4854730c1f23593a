// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/record"
)

// DefaultCapacity is how many elements a channel holds before its producer is told to pause.
const DefaultCapacity = 16

// Writer is the producer's end of a channel. It is used from one goroutine.
type Writer interface {
	// Push hands over an element, and with it the batch it holds. It never blocks or refuses.
	Push(e record.Element)
	// HasRoom says whether the producer should go on. After a no, the signal given for room is
	// set once there is room again.
	HasRoom() bool
}

// Gate is the input side of one task: numbered channels, each a queue with a single producer,
// and one consumer. Producers and the consumer may run in different goroutines.
type Gate struct {
	capacity int
	ready    *Signal
	channels []channel

	mu struct {
		sync.Mutex
		// readable has a bit for each channel that holds an element and isn't blocked.
		readable []uint64
		// next is where the search for a readable channel starts.
		next int
		// waiting says that the consumer found nothing and wants to be woken.
		waiting bool
		closed  bool
		// announcing says that the consumer wants to hear of control elements when they arrive; arrived are those it hasn't heard of.
		announcing bool
		arrived    []barrier.Arrival
		// capture gets a copy of what is pushed; nil for none.
		capture *barrier.Capture
	}
	// news says that Arrived has something to say.
	news atomic.Bool
}

// channel is one queue of a gate. Guarded by the lock of the gate but for popped.
type channel struct {
	queue   ring
	blocked bool
	// popped counts the elements taken out; the producer reads it without the lock.
	popped atomic.Int64
	// room is set for a producer that found no room.
	room     *Signal
	wantRoom bool
	// drained hears of the cost of elements taken out, in portions of half the capacity.
	drained func(cost int)
	owed    int
	// told is how many elements were announced that haven't arrived, ahead how many credits let them all come.
	told, ahead int
}

// NewGate returns a gate of the given number of channels, each of which takes capacity
// elements before its producer is told to pause; 0 means [DefaultCapacity]. ready is set when
// there is something to read after Next found nothing.
func NewGate(channels, capacity int, ready *Signal) *Gate {
	if capacity <= 0 {
		capacity = DefaultCapacity
	}
	g := &Gate{capacity: capacity, ready: ready, channels: make([]channel, channels)}
	g.mu.readable = make([]uint64, (channels+63)/64)
	g.news.Store(true)
	return g
}

// Channels is the number of channels.
func (g *Gate) Channels() int { return len(g.channels) }

// Next takes an element out of an unblocked channel, round robin between those that hold one.
// It never blocks; the element belongs to the caller.
func (g *Gate) Next() (ch int, e record.Element, ok bool) {
	g.mu.Lock()
	ch = g.pick()
	if ch < 0 {
		g.mu.waiting = true
		g.mu.Unlock()
		return 0, record.Element{}, false
	}
	c := &g.channels[ch]
	it := c.queue.pop()
	if c.queue.n == 0 {
		g.mu.readable[ch>>6] &^= 1 << (ch & 63)
	}
	c.popped.Add(1)
	wake, owed := c.afterPop(it.cost, g.capacity)
	g.mu.Unlock()
	if wake != nil {
		wake.Set()
	}
	if owed > 0 {
		c.drained(owed)
	}
	return ch, it.e, true
}

// pick finds the next readable channel, or -1, and moves the start of the search behind it.
func (g *Gate) pick() int {
	words := g.mu.readable
	if len(words) == 0 {
		return -1
	}
	at := g.mu.next >> 6
	w := words[at] &^ (1<<(g.mu.next&63) - 1)
	for range len(words) + 1 {
		if w != 0 {
			ch := at<<6 + bits.TrailingZeros64(w)
			g.mu.next = ch + 1
			if g.mu.next == len(g.channels) {
				g.mu.next = 0
			}
			return ch
		}
		if at++; at == len(words) {
			at = 0
		}
		w = words[at]
	}
	return -1
}

// afterPop says whom to wake and what to grant once an element was taken out.
func (c *channel) afterPop(cost, capacity int) (wake *Signal, owed int) {
	if c.wantRoom && c.queue.n <= capacity/2 {
		c.wantRoom = false
		wake = c.room
	}
	if c.drained != nil {
		c.owed += cost
		if c.owed >= (capacity+1)/2 {
			owed, c.owed = c.owed, 0
		}
	}
	return wake, owed
}

// SetBlocked sets whether Next leaves the channel out. It is called by the consumer.
func (g *Gate) SetBlocked(ch int, blocked bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := &g.channels[ch]
	c.blocked = blocked
	if !blocked && c.queue.n > 0 {
		g.mu.readable[ch>>6] |= 1 << (ch & 63)
	} else {
		g.mu.readable[ch>>6] &^= 1 << (ch & 63)
	}
}

// Close drops what is queued and makes later pushes drop theirs.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.closed = true
	clear(g.mu.readable)
	for i := range g.channels {
		for q := &g.channels[i].queue; q.n > 0; {
			drop(q.pop().e)
		}
	}
}

// Writer returns the producer's end of a channel in this process. room is set when there is
// room again after HasRoom said no.
func (g *Gate) Writer(ch int, room *Signal) Writer {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.channels[ch].room = room
	return &gateWriter{g: g, c: &g.channels[ch], ch: ch}
}

// push appends an element to a channel. cost is what drained hears of it later.
func (g *Gate) push(ch int, e record.Element, cost int) {
	c := &g.channels[ch]
	g.mu.Lock()
	if g.mu.closed {
		g.mu.Unlock()
		drop(e)
		return
	}
	c.queue.push(item{e: e, cost: cost}, g.capacity)
	wake := false
	if !c.blocked {
		g.mu.readable[ch>>6] |= 1 << (ch & 63)
		wake, g.mu.waiting = g.mu.waiting, false
	}
	if g.mu.capture != nil {
		g.mu.capture.Add(ch, e)
	}
	if announced(e.Kind) {
		wake = g.arrive(barrier.Arrival{Channel: ch, Element: e}) || wake
	}
	g.mu.Unlock()
	if wake {
		g.ready.Set()
	}
}

// onDrain sets who hears of the cost of elements taken out of a channel.
func (g *Gate) onDrain(ch int, drained func(cost int)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.channels[ch].drained = drained
}

// drop releases what an element holds.
func drop(e record.Element) {
	if e.Batch != nil {
		e.Batch.Release()
	}
}

// gateWriter is the producer's end of a channel in the same process.
type gateWriter struct {
	g      *Gate
	c      *channel
	ch     int
	pushed int64
}

// Push implements [Writer].
func (w *gateWriter) Push(e record.Element) {
	w.pushed++
	w.g.push(w.ch, e, 1)
}

// HasRoom implements [Writer].
func (w *gateWriter) HasRoom() bool {
	if w.pushed-w.c.popped.Load() < int64(w.g.capacity) {
		return true
	}
	w.g.mu.Lock()
	defer w.g.mu.Unlock()
	if w.g.mu.closed || w.c.queue.n < w.g.capacity {
		return true
	}
	w.c.wantRoom = true
	return false
}

// item is an element in a queue.
type item struct {
	e    record.Element
	cost int
}

// ring is a queue that grows when more is pushed than it holds and keeps its memory.
type ring struct {
	buf  []item
	head int
	n    int
}

// push appends it; a first buffer holds at least capacity items.
func (r *ring) push(it item, capacity int) {
	if r.n == len(r.buf) {
		r.grow(capacity)
	}
	r.buf[(r.head+r.n)&(len(r.buf)-1)] = it
	r.n++
}

// pop removes the oldest item. The ring must not be empty.
func (r *ring) pop() item {
	it := r.buf[r.head]
	r.buf[r.head] = item{}
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.n--
	return it
}

// each calls f with all items, oldest first.
func (r *ring) each(f func(item)) {
	for i := range r.n {
		f(r.buf[(r.head+i)&(len(r.buf)-1)])
	}
}

// grow doubles the buffer, to a power of two that holds at least capacity items.
func (r *ring) grow(capacity int) {
	size := max(4, 2*len(r.buf))
	if size < capacity {
		size = 1 << bits.Len(uint(capacity-1))
	}
	buf := make([]item, size)
	for i := range r.n {
		buf[i] = r.buf[(r.head+i)&(len(r.buf)-1)]
	}
	r.buf, r.head = buf, 0
}
