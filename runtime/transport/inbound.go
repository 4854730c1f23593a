// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// maxChannels bounds the channels that a peer may have open on one connection.
const maxChannels = 1 << 20

// inbound is a connection on which a peer sends.
type inbound struct {
	x      *Exchange
	worker string
	wake   *Signal
	// channels by the number the peer gave, in order of opening. Used by the receiving goroutine alone.
	channels map[uint32]*inChannel

	mu struct {
		sync.Mutex
		// back are frames to send: credits and rejections.
		back []byte
		idle bool
	}
}

// inChannel is the receiving end of a channel that a peer opened.
type inChannel struct {
	conn   *inbound
	number uint32
	key    gateKey
	typ    string
	// entry is set once the gate is registered; nothing may arrive before.
	entry atomic.Pointer[gateEntry]
}

func newInbound(x *Exchange, worker string) *inbound {
	return &inbound{x: x, worker: worker, wake: NewSignal(), channels: map[uint32]*inChannel{}}
}

// accept serves one connection of a peer.
func (x *Exchange) accept(ss grpc.ServerStream) error {
	worker, meant := names(ss.Context())
	if meant != x.opts.Worker {
		return status.Errorf(codes.FailedPrecondition, "this is worker %s, not %s", x.opts.Worker, meant)
	}
	if err := ss.SendHeader(nil); err != nil {
		return err
	}
	c := newInbound(x, worker)
	x.opts.Log.V(1).Info("Peer connected", "peer", worker)
	ctx, cancel := context.WithCancel(ss.Context())
	var wg sync.WaitGroup
	wg.Go(func() { c.send(ctx, ss) })
	err := c.receive(ss)
	cancel()
	wg.Wait()
	c.lost(err)
	if errors.Is(err, errFrame) {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return nil
}

// names returns the name of the peer and of the worker that it means to reach.
func names(ctx context.Context) (peer, meant string) {
	md, _ := metadata.FromIncomingContext(ctx)
	first := func(key string) string {
		if v := md.Get(key); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	return first(workerHeader), first(peerHeader)
}

// receive takes frames until the connection ends.
func (c *inbound) receive(ss grpc.ServerStream) error {
	var r frameReader
	for {
		var msg mem.BufferSlice
		if err := ss.RecvMsg(&msg); err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		r.reset(msg)
		err := c.handle(&r)
		msg.Free()
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
	}
}

// handle takes the frames of one message.
func (c *inbound) handle(r *frameReader) error {
	for {
		kind, number, body, ok, err := r.next()
		if err != nil || !ok {
			return err
		}
		switch kind {
		case frameOpen:
			err = c.open(number, body)
		case frameClose:
			c.closed(number)
		default:
			err = c.element(kind, number, body)
		}
		if err != nil {
			return err
		}
	}
}

// open takes a new channel.
func (c *inbound) open(number uint32, body []byte) error {
	o, err := parseOpen(body)
	if err != nil {
		return err
	}
	if c.channels[number] != nil || len(c.channels) >= maxChannels {
		return fmt.Errorf("opening channel number %d (%d are open): %w", number, len(c.channels), errFrame)
	}
	in := &inChannel{conn: c, number: number, key: gateKey{attempt: o.attempt, id: o.id}, typ: o.typ}
	c.channels[number] = in
	c.x.bind(in)
	return nil
}

// closed ends a channel that the peer is done with.
func (c *inbound) closed(number uint32) {
	if in := c.channels[number]; in != nil {
		c.x.unwait(in)
		delete(c.channels, number)
	}
}

// element hands an element to its gate.
func (c *inbound) element(kind byte, number uint32, body []byte) error {
	in := c.channels[number]
	if in == nil {
		return fmt.Errorf("element on channel number %d, which isn't open: %w", number, errFrame)
	}
	entry := in.entry.Load()
	if entry == nil {
		return fmt.Errorf("element on %s without credit: %w", in.key.id, errFrame)
	}
	if kind == frameAhead {
		need, e, err := parseAhead(body)
		if err == nil {
			entry.gate.announce(entry.index, e, need)
		}
		return err
	}
	e, err := parseElement(kind, body, entry.typ)
	if err != nil {
		c.x.opts.Failed(in.key.attempt, fmt.Errorf("receiving from worker %s on %s: %w", c.worker, in.key.id, err))
		return err
	}
	entry.gate.push(entry.index, e, frameCost(headerSize+len(body)))
	if kind == frameEnd {
		delete(c.channels, number)
	}
	return nil
}

// connect starts the flow into a gate.
func (in *inChannel) connect(entry *gateEntry) {
	in.entry.Store(entry)
	entry.gate.onDrain(entry.index, func(n int) { in.conn.credit(in.number, n) })
	in.conn.credit(in.number, entry.gate.capacity)
}

// credit grants the peer n credits on a channel.
func (c *inbound) credit(number uint32, n int) {
	c.sendBack(func(b []byte) []byte { return appendCredit(b, number, n) })
}

// reject refuses a channel.
func (c *inbound) reject(number uint32, reason string) {
	c.sendBack(func(b []byte) []byte { return appendText(b, frameReject, number, reason[:min(len(reason), maxText)]) })
}

func (c *inbound) sendBack(frame func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.back = frame(c.mu.back)
	if c.mu.idle {
		c.mu.idle = false
		c.wake.Set()
	}
}

// send sends credits and rejections until ctx ends. An error of the connection is found by receive.
func (c *inbound) send(ctx context.Context, ss grpc.ServerStream) {
	for {
		c.mu.Lock()
		back := c.mu.back
		c.mu.back = nil
		c.mu.idle = len(back) == 0
		c.mu.Unlock()
		if len(back) == 0 {
			select {
			case <-c.wake.C():
				continue
			case <-ctx.Done():
				return
			}
		}
		if ss.SendMsg(&mem.BufferSlice{mem.SliceBuffer(back)}) != nil {
			return
		}
	}
}

// lost ends all channels of a connection that ended. Those that weren't at their end fail their attempt.
func (c *inbound) lost(err error) {
	attempts := map[string]bool{}
	for _, in := range c.channels {
		c.x.unwait(in)
		attempts[in.key.attempt] = true
	}
	for a := range attempts {
		if !c.x.isClosed(a) {
			c.x.opts.Failed(a, fmt.Errorf("connection from worker %s lost: %w", c.worker, err))
		}
	}
}
