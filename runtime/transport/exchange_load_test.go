// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/record"
)

// TestExchangeUnderRandomLoad moves elements and batches over two workers in both directions, with a consumer
// that blocks channels at random and each side sleeping on its signal alone: a credit or wake-up that is lost hangs it.
func TestExchangeUnderRandomLoad(t *testing.T) {
	const channels, each = 4, 500
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	sides := []*side{newSide(t, "a", nil, nil), newSide(t, "b", nil, nil)}
	typ := &intType{name: "int"}
	var wg sync.WaitGroup
	for i, from := range sides {
		to := sides[1-i]
		ready := NewSignal()
		g := NewGate(channels, 1+i*3, ready)
		var chs []GateChannel
		for ch := range channels {
			id := ChannelID{Edge: i, To: ch}
			chs = append(chs, GateChannel{ID: id, Index: ch, Type: typ})
			room := NewSignal()
			w, err := from.OpenWriter("1", id, to.peer, typ, room)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() { produceMixed(w, room, typ, each) })
		}
		if err := to.RegisterGate("1", chs, g); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { consumeMixed(t, g, ready, channels*each, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	wg.Wait()
	if n := typ.held.Load(); n != 0 {
		t.Errorf("%d batches are still held", n)
	}
}

// produceMixed pushes numbered elements, some as batches, some of them large.
func produceMixed(w Writer, room *Signal, typ *intType, n int) {
	for i := range n {
		if i%3 == 0 {
			b := typ.batch(1 + i%5*1000)
			b.keys[0] = int64(i)
			w.Push(record.OfBatch(b))
		} else {
			w.Push(record.OfWatermark(int64(i)))
		}
		for !w.HasRoom() {
			<-room.C()
		}
	}
}

func consumeMixed(t *testing.T, g *Gate, ready *Signal, n int, rng *rand.Rand) {
	t.Helper()
	next := make([]int64, g.Channels())
	blocked := -1
	for got := 0; got < n; {
		ch, e, ok := g.Next()
		switch {
		case ok:
			got++
		case blocked >= 0:
			g.SetBlocked(blocked, false)
			blocked = -1
			continue
		default:
			<-ready.C()
			continue
		}
		at := e.Time
		if e.Kind == record.KindBatch {
			at = e.Batch.(*intBatch).keys[0]
			e.Batch.Release()
		}
		if at != next[ch] || ch == blocked {
			t.Errorf("channel %d (blocked %d) yields %d, want %d", ch, blocked, at, next[ch])
			return
		}
		next[ch]++
		if blocked < 0 && rng.IntN(10) == 0 {
			blocked = ch
			g.SetBlocked(ch, true)
		}
	}
}
