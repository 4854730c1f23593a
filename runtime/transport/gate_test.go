// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/record"
)

// countedBatch is a batch that counts its holders.
type countedBatch struct {
	record.Refs
	holders *int
}

func (b *countedBatch) Len() int         { return 1 }
func (b *countedBatch) Hashes() []uint64 { return nil }
func (b *countedBatch) Release()         { *b.holders-- }

func newCounted(holders *int) *countedBatch {
	*holders++
	return &countedBatch{holders: holders}
}

func raised(s *Signal) bool {
	select {
	case <-s.C():
		return true
	default:
		return false
	}
}

func TestGateKeepsOrderWithinAChannelAndTurnsBetweenThem(t *testing.T) {
	g := NewGate(3, 4, NewSignal())
	for ch := range 3 {
		w := g.Writer(ch, NewSignal())
		for i := range 3 {
			w.Push(record.OfWatermark(int64(10*ch + i)))
		}
	}
	var got []int64
	for {
		_, e, ok := g.Next()
		if !ok {
			break
		}
		got = append(got, e.Time)
	}
	want := []int64{0, 10, 20, 1, 11, 21, 2, 12, 22}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestGateLeavesOutBlockedChannels(t *testing.T) {
	ready := NewSignal()
	g := NewGate(130, 4, ready)
	a, b := g.Writer(1, NewSignal()), g.Writer(129, NewSignal())
	a.Push(record.OfWatermark(1))
	b.Push(record.OfWatermark(2))
	g.SetBlocked(1, true)
	if ch, _, ok := g.Next(); !ok || ch != 129 {
		t.Fatalf("Next() = %d, %v; want channel 129", ch, ok)
	}
	if _, _, ok := g.Next(); ok {
		t.Fatal("Next() yields from a blocked channel")
	}
	raised(ready)
	a.Push(record.OfWatermark(3))
	if raised(ready) {
		t.Error("a push to a blocked channel wakes the consumer")
	}
	g.SetBlocked(1, false)
	for _, want := range []int64{1, 3} {
		if _, e, ok := g.Next(); !ok || e.Time != want {
			t.Errorf("Next() = %d, %v; want %d", e.Time, ok, want)
		}
	}
}

func TestGateWakesTheConsumerOnlyWhenItFoundNothing(t *testing.T) {
	ready := NewSignal()
	g := NewGate(1, 4, ready)
	w := g.Writer(0, NewSignal())
	w.Push(record.Idle())
	if raised(ready) {
		t.Error("woken before it ever looked")
	}
	g.Next()
	g.Next()
	w.Push(record.Idle())
	if !raised(ready) {
		t.Error("not woken after it found nothing")
	}
	w.Push(record.Idle())
	if raised(ready) {
		t.Error("woken twice for one look")
	}
}

func TestGateGivesRoomBackAtHalf(t *testing.T) {
	room := NewSignal()
	g := NewGate(1, 4, NewSignal())
	w := g.Writer(0, room)
	for i := range 4 {
		if !w.HasRoom() {
			t.Fatalf("no room with %d of 4", i)
		}
		w.Push(record.Idle())
	}
	if w.HasRoom() {
		t.Fatal("room in a full queue")
	}
	w.Push(record.Idle())
	for left := 4; left >= 2; left-- {
		if raised(room) {
			t.Errorf("room is back with %d still queued", left+1)
		}
		g.Next()
	}
	if !raised(room) || !w.HasRoom() {
		t.Error("room did not come back at half the capacity")
	}
}

func TestGateReleasesWhatItDrops(t *testing.T) {
	holders := 0
	g := NewGate(2, 4, NewSignal())
	w := g.Writer(1, NewSignal())
	for range 10 {
		w.Push(record.OfBatch(newCounted(&holders)))
	}
	g.Close()
	if holders != 0 {
		t.Errorf("%d batches still held after Close", holders)
	}
	w.Push(record.OfBatch(newCounted(&holders)))
	if holders != 0 {
		t.Error("a push after Close keeps its batch")
	}
	if !w.HasRoom() {
		t.Error("a producer waits for a closed gate")
	}
}

func TestGateTellsTheCostOfWhatWasTaken(t *testing.T) {
	g := NewGate(1, 8, NewSignal())
	var told []int
	g.onDrain(0, func(cost int) { told = append(told, cost) })
	for _, cost := range []int{1, 1, 1, 1, 9, 1} {
		g.push(0, record.Idle(), cost)
	}
	for range 6 {
		g.Next()
	}
	if diff := cmp.Diff([]int{4, 9}, told); diff != "" {
		t.Errorf("costs told (-want +got):\n%s", diff)
	}
}

// TestGateUnderRandomLoad moves elements from several producers to a consumer that blocks
// channels at random, each side sleeping on its signal alone: a lost wake-up hangs it.
func TestGateUnderRandomLoad(t *testing.T) {
	const channels, each = 5, 3000
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	ready := NewSignal()
	g := NewGate(channels, 4, ready)
	var wg sync.WaitGroup
	for ch := range channels {
		room := NewSignal()
		w := g.Writer(ch, room)
		wg.Go(func() {
			for i := range each {
				w.Push(record.OfWatermark(int64(i)))
				for !w.HasRoom() {
					<-room.C()
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	next := make([]int64, channels)
	blocked := -1
	for got := 0; got < channels*each; {
		ch, e, ok := g.Next()
		if !ok {
			if blocked >= 0 {
				g.SetBlocked(blocked, false)
				blocked = -1
				continue
			}
			<-ready.C()
			continue
		}
		if ch == blocked || e.Time != next[ch] {
			t.Fatalf("channel %d (blocked %d) yields %d, want %d", ch, blocked, e.Time, next[ch])
		}
		next[ch]++
		got++
		if blocked < 0 && rng.IntN(20) == 0 {
			blocked = ch
			g.SetBlocked(ch, true)
		}
	}
	wg.Wait()
}

func BenchmarkGate(b *testing.B) {
	for _, channels := range []int{1, 8, 128} {
		b.Run(fmt.Sprintf("channels=%d", channels), func(b *testing.B) {
			b.ReportAllocs()
			ready, room := NewSignal(), NewSignal()
			g := NewGate(channels, 0, ready)
			ws := make([]Writer, channels)
			for i := range ws {
				ws[i] = g.Writer(i, room)
			}
			go func() {
				for i := range b.N {
					w := ws[i%channels]
					w.Push(record.Idle())
					for !w.HasRoom() {
						<-room.C()
					}
				}
			}()
			for got := 0; got < b.N; {
				if _, _, ok := g.Next(); ok {
					got++
					continue
				}
				<-ready.C()
			}
		})
	}
}
