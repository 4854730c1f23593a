// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/record"
)

// tally is a batch that counts its holders.
type tally struct {
	record.Refs
	name string
	left int
}

func newTally(name string) *tally {
	c := &tally{name: name, left: 1}
	c.Reset()
	return c
}

func (*tally) Len() int         { return 1 }
func (*tally) Hashes() []uint64 { return nil }
func (c *tally) Retain(n int)   { c.left += n; c.Refs.Retain(n) }
func (c *tally) Release()       { c.left--; c.Drop() }

func arrivals(g *Gate) string {
	var s []string
	for _, a := range g.Arrived(nil) {
		s = append(s, fmt.Sprintf("%d:%s %d", a.Channel, a.Element.Kind, a.Element.Barrier.Checkpoint))
	}
	return strings.Join(s, ", ")
}

func capturedOf(c *barrier.Capture, ch int) string {
	var s []string
	for _, b := range c.Channel(ch) {
		s = append(s, b.(*tally).name)
	}
	return strings.Join(s, " ")
}

func TestGate_TellsOfBarriersAheadOfTheQueue(t *testing.T) {
	t.Parallel()
	ready := NewSignal()
	g := NewGate(2, 4, ready)
	a, b := g.Writer(0, nil), g.Writer(1, nil)
	a.Push(record.OfBatch(newTally("a1")))
	a.Push(record.OfBarrier(record.Barrier{Checkpoint: 1}))
	if diff := cmp.Diff("0:barrier 1", arrivals(g)); diff != "" {
		t.Errorf("what was queued at the first call (-want +got):\n%s", diff)
	}
	g.SetBlocked(1, true)
	for _, e := range []record.Element{record.OfWatermark(3), record.OfBarrier(record.Barrier{Checkpoint: 2}), record.OfCancelBarrier(3), record.End()} {
		select {
		case <-ready.C():
			t.Fatal("woken by nothing")
		default:
		}
		b.Push(e)
		if e.Kind != record.KindWatermark {
			<-ready.C()
		}
	}
	if diff := cmp.Diff("1:barrier 2, 1:cancel-barrier 3, 1:end 0", arrivals(g)); diff != "" {
		t.Errorf("what arrived on a blocked channel (-want +got):\n%s", diff)
	}
	if got := arrivals(g); got != "" {
		t.Errorf("told twice of %s", got)
	}
	if ch, e, ok := g.Next(); !ok || ch != 0 || e.Kind != record.KindBatch {
		t.Errorf("read %s of channel %d, %t; want the batch of channel 0", e.Kind, ch, ok)
	}
}

func TestGate_CapturesUpToTheBarriers(t *testing.T) {
	t.Parallel()
	g := NewGate(3, 4, NewSignal())
	ws := []Writer{g.Writer(0, nil), g.Writer(1, nil), g.Writer(2, nil)}
	var all []*tally
	push := func(ch int, name string) {
		c := newTally(name)
		all = append(all, c)
		ws[ch].Push(record.OfBatch(c))
	}
	barrierTo := func(ch int, id int64) { ws[ch].Push(record.OfBarrier(record.Barrier{Checkpoint: id})) }
	push(0, "a1")
	push(0, "a2")
	barrierTo(0, 1)
	barrierTo(0, 2)
	push(0, "a3")
	push(1, "b1")
	push(2, "c1")
	g.Next() // a1 is processed
	c := barrier.NewCapture(2, []bool{false, false, true})
	g.Capture(c)
	push(1, "b2")
	push(1, "b3")
	barrierTo(1, 2)
	push(1, "b4")
	push(2, "c2")
	g.EndCapture()
	push(1, "b5")
	for ch, want := range []string{"a2", "b1 b2 b3", ""} {
		if diff := cmp.Diff(want, capturedOf(c, ch)); diff != "" {
			t.Errorf("captured of channel %d (-want +got):\n%s", ch, diff)
		}
	}
	read := 0
	for _, e, ok := g.Next(); ok; _, e, ok = g.Next() {
		if e.Kind == record.KindBatch {
			read++
			drop(e)
		}
	}
	if read != len(all)-1 {
		t.Errorf("%d batches were read after one of %d: capturing must not take any", read, len(all))
	}
	c.Release()
	c.Release()
	for i, b := range all {
		want := 0
		if i == 0 {
			want = 1 // it was read and not given back
		}
		if b.left != want {
			t.Errorf("batch %s has %d holders, want %d", b.name, b.left, want)
		}
	}
}

// remote is a channel between two exchanges, whose gate holds 2 elements.
func remote(t *testing.T, register bool) (w Writer, g *Gate, connect func()) {
	t.Helper()
	a, b := newSide(t, "a", nil, nil), newSide(t, "b", nil, nil)
	typ, room := &intType{name: "int"}, NewSignal()
	w, err := a.OpenWriter("1", ChannelID{}, b.peer, typ, room)
	if err != nil {
		t.Fatal(err)
	}
	g = NewGate(1, 2, NewSignal())
	g.Arrived(nil)
	connect = func() {
		if err := b.RegisterGate("1", []GateChannel{{ID: ChannelID{}, Type: typ}}, g); err != nil {
			t.Fatal(err)
		}
	}
	if register {
		w.HasRoom()
		connect()
		<-room.C()
	}
	return w, g, connect
}

// wait waits for n control elements to arrive.
func wait(t *testing.T, g *Gate, n int) []barrier.Arrival {
	t.Helper()
	var got []barrier.Arrival
	for len(got) < n {
		<-g.ready.C()
		got = g.Arrived(got)
	}
	return got
}

func queued(g *Gate) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.channels[0].queue.n
}

func TestExchange_UnalignedBarrierNeedsNoCredit(t *testing.T) {
	for name, connected := range map[string]bool{"on an open channel": true, "before the receiver is there": false} {
		t.Run(name, func(t *testing.T) {
			w, g, connect := remote(t, connected)
			for i := range 10 {
				w.Push(record.OfWatermark(int64(i)))
			}
			w.Push(record.OfBarrier(record.Barrier{Checkpoint: 1, Unaligned: true}))
			w.Push(record.OfWatermark(10))
			if !connected {
				connect()
			}
			if a := wait(t, g, 1); a[0].Ahead || a[0].Element.Barrier.Checkpoint != 1 {
				t.Errorf("arrived: %+v", a[0])
			}
			if n := queued(g); n != 11 {
				t.Errorf("%d elements arrived, want all up to the barrier, 11", n)
			}
			// What was taken in beyond the credits is paid back before more comes.
			got := collect(t, g, g.ready, 12)
			if last := got[11]; last.Time != 10 {
				t.Errorf("the last one is %+v", last)
			}
		})
	}
}

func TestExchange_TimedBarrierIsToldAheadAndFetched(t *testing.T) {
	for name, connected := range map[string]bool{"on an open channel": true, "before the receiver is there": false} {
		t.Run(name, func(t *testing.T) {
			w, g, connect := remote(t, connected)
			for i := range 10 {
				w.Push(record.OfWatermark(int64(i)))
			}
			w.Push(record.OfBarrier(record.Barrier{Checkpoint: 1, Unaligned: true, AlignmentTimeout: 1000}))
			for i := range 5 {
				w.Push(record.OfWatermark(int64(20 + i)))
			}
			if !connected {
				connect()
			}
			a := wait(t, g, 1)
			if !a[0].Ahead || a[0].Element.Barrier.AlignmentTimeout != 1000 {
				t.Errorf("told: %+v", a[0])
			}
			if n := queued(g); n > 2 {
				t.Errorf("%d elements arrived, the credits are 2", n)
			}
			c := barrier.NewCapture(1, []bool{false})
			g.Capture(c)
			if a := wait(t, g, 1); a[0].Ahead {
				t.Errorf("arrived: %+v", a[0])
			}
			g.EndCapture()
			if !c.Done(0) {
				t.Error("the capture isn't complete")
			}
			if n := queued(g); n != 11 {
				t.Errorf("%d elements arrived, want all up to the barrier, 11", n)
			}
			collect(t, g, g.ready, 16)
			// All that was advanced has been paid back: the channel holds as much as before.
			for i := range 10 {
				w.Push(record.OfWatermark(int64(30 + i)))
			}
			collect(t, g, g.ready, 10)
			g.mu.Lock()
			defer g.mu.Unlock()
			if o := g.channels[0].owed; o < -1 || o > 1 {
				t.Errorf("credits of %d are left over", o)
			}
		})
	}
}

func TestExchange_EndIsToldAheadAndFetched(t *testing.T) {
	w, g, _ := remote(t, true)
	for i := range 10 {
		w.Push(record.OfWatermark(int64(i)))
	}
	w.Push(record.End())
	if a := wait(t, g, 1); !a[0].Ahead || a[0].Element.Kind != record.KindEnd {
		t.Errorf("told: %+v", a[0])
	}
	c := barrier.NewCapture(1, []bool{false})
	g.Capture(c)
	if a := wait(t, g, 1); a[0].Ahead || !c.Done(0) {
		t.Errorf("arrived: %+v", a[0])
	}
	g.EndCapture()
	collect(t, g, g.ready, 11)
}
