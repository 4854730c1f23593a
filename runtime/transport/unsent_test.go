// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"testing"

	"github.com/weir-stream/weir/runtime/record"
)

// A batch that can't be sent leaves a hole. Nothing may follow it: with a barrier behind it a snapshot could complete without its rows.
func TestExchange_NothingFollowsWhatCannotBeSent(t *testing.T) {
	a, b := newSide(t, "a", nil, nil), newSide(t, "b", nil, nil)
	typ := &intType{name: "int"}
	ready, room := NewSignal(), NewSignal()
	g := NewGate(2, 0, ready)
	ids := []ChannelID{{To: 0}, {To: 1}}
	if err := b.RegisterGate("1", []GateChannel{{ID: ids[0], Index: 0, Type: typ}, {ID: ids[1], Index: 1, Type: typ}}, g); err != nil {
		t.Fatal(err)
	}
	var ws []Writer
	for _, id := range ids {
		w, err := a.OpenWriter("1", id, b.peer, typ, room)
		if err != nil {
			t.Fatal(err)
		}
		ws = append(ws, w)
	}
	for !ws[0].HasRoom() || !ws[1].HasRoom() {
		<-room.C()
	}
	bad := typ.batch(1)
	bad.keys[0] = -1
	ws[0].Push(record.OfBatch(bad))
	ws[0].Push(record.OfBarrier(record.Barrier{Checkpoint: 1}))
	ws[1].Push(record.OfBarrier(record.Barrier{Checkpoint: 1})) // on the same connection, behind the other
	wantFailure(t, a, "1: sending on edge 0 from subtask 0 to subtask 0", "a key that can't be encoded")
	for n := 0; n < 1; {
		ch, e, ok := g.Next()
		switch {
		case !ok:
			<-ready.C()
		case ch == 0:
			t.Fatalf("got %s on the channel with the hole", e.Kind)
		default:
			n++
		}
	}
	if _, e, ok := g.Next(); ok {
		t.Errorf("got %s as well", e.Kind)
	}
	if ws[0].HasRoom() {
		t.Error("a channel that is broken has room")
	}
}

// Workers stay connected over many deployments, each of which opens its channels anew.
func TestInbound_BoundsTheChannelsThatAreOpen(t *testing.T) {
	x := NewExchange(ExchangeOptions{Worker: "b"})
	c := newInbound(x, "a")
	body := openFrame(0, opening{attempt: "1", typ: "int"})[headerSize:]
	for n := range uint32(maxChannels + 1) {
		if err := c.open(n, body); err != nil {
			t.Fatalf("after %d channels, all of which were closed again: %v", n, err)
		}
		c.closed(n)
	}
}

// A channel that was refused is given up on both sides.
func TestExchange_RefusedChannelsAreClosed(t *testing.T) {
	x := NewExchange(ExchangeOptions{Worker: "a", Failed: func(string, error) {}})
	p := newPeer(x, Peer{Worker: "b"})
	w := p.open(opening{attempt: "1", typ: "int"}, &intType{name: "int"}, NewSignal())
	p.take() // what opened it
	p.rejected(w.number, "attempt 1 is over")
	var r frameReader
	r.reset(p.take())
	if kind, number, _, ok, err := r.next(); err != nil || !ok || kind != frameClose || number != w.number {
		t.Errorf("told the peer %d of channel %d (%t, %v), want that it is closed", kind, number, ok, err)
	}
}
