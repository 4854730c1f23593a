// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
)

// conn is the control connection between a coordinator and a worker. Messages of one direction keep their order; when
// it breaks those under way are lost, and either side finds out some time later.
type conn struct {
	w      *world
	c      *coordinator
	worker *worker
	broken bool
	// down and up are when the last message of a direction arrives.
	down, up time.Time
}

func (k *conn) arrival(last *time.Time) time.Duration {
	at := k.w.clock.now.Add(k.w.clock.between(200*time.Microsecond, k.w.maxLatency))
	if k.w.clock.chance(40) {
		at = at.Add(k.w.clock.between(0, 200*time.Millisecond))
	}
	if at.Before(*last) {
		at = *last
	}
	*last = at
	return at.Sub(k.w.clock.now)
}

// toWorker sends a message; it arrives unless the connection breaks before.
func (k *conn) toWorker(m protocol.ToWorker) {
	k.w.clock.after(nil, k.arrival(&k.down), func() {
		if !k.broken {
			k.worker.p.run(func() { k.worker.receive(k, m) })
		}
	})
}

// toCoordinator sends a message; it arrives unless the connection breaks before.
func (k *conn) toCoordinator(m protocol.FromWorker) {
	k.w.clock.after(nil, k.arrival(&k.up), func() {
		if k.broken {
			return
		}
		k.c.p.run(func() {
			if m.Register != nil {
				k.c.connected(k, *m.Register)
				return
			}
			k.c.received(k, m)
		})
	})
}

// shut breaks the connection, by chance or because one side went away or closed it. lost says whether the coordinator is to find out.
func (k *conn) shut(lost bool) {
	if k.broken {
		return
	}
	k.broken = true
	if lost {
		k.w.clock.after(k.c.p, k.w.clock.between(0, 2*time.Second), func() { k.c.lost(k, "its connection broke") })
	}
	k.w.clock.after(k.worker.p, k.w.clock.between(0, 2*time.Second), func() { k.worker.disconnected(k) })
}

// shutAfterDelivery closes the connection once what is under way to the worker has arrived.
func (k *conn) shutAfterDelivery() {
	k.w.clock.after(nil, max(k.down.Sub(k.w.clock.now), 0), func() { k.shut(false) })
}

// pipe is one channel of the exchange of one attempt.
type pipe struct {
	w   *world
	id  graph.ChannelID
	typ record.Type
	// from and to are the two ends, once they are there.
	from, to *taskRun
	// channel is its number at the consumer.
	channel int
	// local says that both ends are in one worker.
	local bool
	queue []record.Element
	// flying counts the elements under way, last is when the newest arrives.
	flying int
	last   time.Time
	// wanted says that the producer found no room.
	wanted bool
	broken bool
	// held is a barrier that a mutation holds back.
	held *record.Element
}

func (p *pipe) String() string { return p.id.String() }

// Push implements the producer's end of a channel.
func (p *pipe) Push(e record.Element) {
	if e.Kind == record.KindBatch && p.from.frozen {
		p.w.failf("task %s sends rows while it is frozen by snapshot %d", p.from.id, p.from.frozenBy)
	}
	e = p.from.undisguise(e)
	switch p.w.mutation {
	case LateBarrier:
		p.swapped(e, record.KindBarrier, record.KindBatch)
	case OvertakenRows:
		p.swapped(e, record.KindBatch, record.KindBarrier)
	case CancelIgnored:
		if e.Kind != record.KindCancelBarrier {
			p.push(e)
		}
	default:
		p.push(e)
	}
}

// swapped is for the mutations that let an element of one kind be overtaken by one of another kind right behind it.
func (p *pipe) swapped(e record.Element, slow, fast record.Kind) {
	if p.held != nil && e.Kind == fast {
		p.push(e)
		p.releaseHeld()
		return
	}
	if p.held != nil && (slow == record.KindBatch || e.Kind == record.KindEnd || e.Kind == slow) {
		p.releaseHeld()
	}
	if e.Kind != slow {
		p.push(e)
		return
	}
	p.held = &e
	p.w.clock.after(nil, 50*time.Millisecond, p.releaseHeld)
}

func (p *pipe) releaseHeld() {
	if p.held != nil {
		e := *p.held
		p.held = nil
		p.push(e)
	}
}

func (p *pipe) push(e record.Element) {
	if p.broken {
		drop(e)
		return
	}
	latency := 200 * time.Microsecond
	if !p.local {
		e = p.copied(e)
		latency = p.w.maxLatency
	}
	at := p.w.clock.now.Add(p.w.clock.between(0, latency))
	if p.w.clock.chance(60) {
		at = at.Add(p.w.clock.between(0, 50*time.Millisecond))
	}
	if at.Before(p.last) {
		at = p.last
	}
	p.last = at
	p.flying++
	if e.Kind == record.KindBarrier && e.Barrier.Unaligned && e.Barrier.AlignmentTimeout > 0 && !p.local && p.w.clock.chance(2) {
		p.w.clock.after(nil, p.w.clock.between(0, at.Sub(p.w.clock.now)), func() {
			if p.to != nil && !p.broken {
				p.to.ahead(p.channel, e)
			}
		})
	}
	p.w.clock.after(nil, at.Sub(p.w.clock.now), func() {
		p.flying--
		if p.broken {
			drop(e)
			return
		}
		p.queue = append(p.queue, e)
		if p.to != nil {
			p.to.arrived(p.channel, e)
			p.to.wake()
		}
	})
}

// copied encodes and decodes the batch of an element, as the network does.
func (p *pipe) copied(e record.Element) record.Element {
	if e.Kind != record.KindBatch {
		return e
	}
	b, err := p.typ.AppendBatch(nil, e.Batch)
	if err == nil {
		e.Batch.Release()
		e.Batch, err = p.typ.DecodeBatch(b)
	}
	if err != nil {
		p.w.failf("copying a batch on channel %s: %v", p.id, err)
	}
	return e
}

// HasRoom implements the producer's end of a channel.
func (p *pipe) HasRoom() bool {
	if p.broken || p.flying+len(p.queue) < p.w.capacity {
		return true
	}
	p.wanted = true
	return false
}

// pop takes the oldest element; there must be one.
func (p *pipe) pop() record.Element {
	e := p.queue[0]
	p.queue = p.queue[1:]
	if p.wanted && p.flying+len(p.queue) < p.w.capacity {
		p.wanted = false
		if p.from != nil {
			p.from.wake()
		}
	}
	return e
}

// shut ends the channel: what is under way is dropped, and so is what is pushed later.
func (p *pipe) shut() {
	p.broken = true
	for _, e := range p.queue {
		drop(e)
	}
	p.queue = nil
	if p.held != nil {
		drop(*p.held)
		p.held = nil
	}
}

// fail breaks a channel between workers: both ends find out.
func (p *pipe) fail(why string) {
	if p.broken {
		return
	}
	p.shut()
	for _, t := range []*taskRun{p.from, p.to} {
		if t != nil {
			p.tell(t, why)
		}
	}
}

// tell lets the task at one end find out that the channel broke.
func (p *pipe) tell(t *taskRun, why string) {
	p.w.clock.after(t.worker.p, p.w.clock.between(0, 300*time.Millisecond), func() {
		t.attempt.fail(t, fmt.Errorf("%w: %s: %s", errBroken, p.id, why))
	})
}

func drop(e record.Element) {
	if e.Batch != nil {
		e.Batch.Release()
	}
}
