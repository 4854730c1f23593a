// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weir-stream/weir/runtime/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// side is one worker of a test.
type side struct {
	*Exchange
	peer   Peer
	stop   context.CancelFunc
	failed chan error
}

// newSide starts an exchange that is stopped at the end of the test.
func newSide(tb testing.TB, name string, server, client *tls.Config) *side {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &side{peer: Peer{Worker: name, Addr: l.Addr().String()}, failed: make(chan error, 100)}
	s.Exchange = NewExchange(ExchangeOptions{
		Worker: name, Listener: l, ServerTLS: server, ClientTLS: client, Log: logr.Discard(),
		Failed: func(attempt string, err error) { s.failed <- fmt.Errorf("%s: %w", attempt, err) },
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	s.stop = cancel
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return s
}

// collect reads n elements.
func collect(tb testing.TB, g *Gate, ready *Signal, n int) []record.Element {
	tb.Helper()
	var got []record.Element
	deadline := time.After(20 * time.Second)
	for len(got) < n {
		if _, e, ok := g.Next(); ok {
			got = append(got, e)
			continue
		}
		select {
		case <-ready.C():
		case <-deadline:
			tb.Fatalf("got %d elements, want %d", len(got), n)
		}
	}
	return got
}

func wantFailure(t *testing.T, s *side, want ...string) {
	t.Helper()
	select {
	case err := <-s.failed:
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("failure %q, want it to say %q", err, w)
			}
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("no failure; want %q", want)
	}
}

func TestExchangeCarriesEveryElement(t *testing.T) {
	a, b := newSide(t, "a", nil, nil), newSide(t, "b", nil, nil)
	typ, id, ready := &intType{name: "int"}, ChannelID{Edge: 1, From: 2, To: 3}, NewSignal()
	w, err := a.OpenWriter("1-1-1", id, b.peer, typ, NewSignal())
	if err != nil {
		t.Fatal(err)
	}
	batch := typ.batch(3)
	copy(batch.keys, []int64{7, -8, 9})
	copy(batch.hashes, []uint64{1, 2, 3})
	barrier := record.Barrier{
		Checkpoint: 5, Kind: record.Savepoint, Stop: record.StopFreeze, Base: 4, Target: "a/b/", Shared: "s/", Unaligned: true, AlignmentTimeout: time.Second,
	}
	want := []record.Element{
		record.OfWatermark(-5), record.OfBarrier(barrier), record.OfCancelBarrier(6), record.Idle(), record.End(),
	}
	w.Push(record.OfBatch(batch))
	for _, e := range want {
		w.Push(e)
	}
	g := NewGate(2, 0, ready)
	if err := b.RegisterGate("1-1-1", []GateChannel{{ID: id, Index: 1, Type: typ}}, g); err != nil {
		t.Fatal(err)
	}
	got := collect(t, g, ready, len(want)+1)
	gotBatch := got[0].Batch.(*intBatch)
	if diff := cmp.Diff([]int64{7, -8, 9}, gotBatch.keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint64{1, 2, 3}, gotBatch.hashes); diff != "" {
		t.Errorf("hashes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, got[1:]); diff != "" {
		t.Errorf("elements (-want +got):\n%s", diff)
	}
	gotBatch.Release()
	if n := typ.held.Load(); n != 0 {
		t.Errorf("%d batches are still held", n)
	}
}

func TestExchangeSendsNothingWithoutCredit(t *testing.T) {
	a, b := newSide(t, "a", nil, nil), newSide(t, "b", nil, nil)
	typ, ready, room := &intType{name: "int"}, NewSignal(), NewSignal()
	slow, fast := ChannelID{To: 0}, ChannelID{To: 1}
	ws, err := a.OpenWriter("1", slow, b.peer, typ, room)
	if err != nil {
		t.Fatal(err)
	}
	wf, err := a.OpenWriter("1", fast, b.peer, typ, NewSignal())
	if err != nil {
		t.Fatal(err)
	}
	if ws.HasRoom() {
		t.Error("room before the receiver registered the channel")
	}
	gs, gf := NewGate(1, 4, NewSignal()), NewGate(1, 4, ready)
	if err := b.RegisterGate("1", []GateChannel{{ID: slow, Type: typ}}, gs); err != nil {
		t.Fatal(err)
	}
	<-room.C()
	for i := range 10 {
		ws.Push(record.OfWatermark(int64(i)))
	}
	if ws.HasRoom() {
		t.Error("room with the credits used up")
	}
	// What comes on the other channel of the same connection afterwards shows that no more of slow is coming.
	if err := b.RegisterGate("1", []GateChannel{{ID: fast, Type: typ}}, gf); err != nil {
		t.Fatal(err)
	}
	wf.Push(record.Idle())
	collect(t, gf, ready, 1)
	gs.mu.Lock()
	queued := gs.channels[0].queue.n
	gs.mu.Unlock()
	if queued != 4 {
		t.Errorf("%d elements arrived, want the 4 granted", queued)
	}
	got := collect(t, gs, gs.ready, 10)
	for i, e := range got {
		if e.Time != int64(i) {
			t.Errorf("element %d is %d", i, e.Time)
		}
	}
	<-room.C()
}

func TestExchangeSplitsLargeBatchesAndRefusesLargeRows(t *testing.T) {
	a, b := newSide(t, "a", nil, nil), newSide(t, "b", nil, nil)
	ready := NewSignal()
	typ := &intType{name: "int", pad: 300 << 10}
	g := NewGate(1, 0, ready)
	if err := b.RegisterGate("1", []GateChannel{{Type: typ}}, g); err != nil {
		t.Fatal(err)
	}
	w, err := a.OpenWriter("1", ChannelID{}, b.peer, typ, NewSignal())
	if err != nil {
		t.Fatal(err)
	}
	batch := typ.batch(23)
	for i := range batch.keys {
		batch.keys[i] = int64(i)
	}
	w.Push(record.OfBatch(batch))
	w.Push(record.End())
	next := int64(0)
	for {
		e := collect(t, g, ready, 1)[0]
		if e.Kind == record.KindEnd {
			break
		}
		for _, k := range e.Batch.(*intBatch).keys {
			if k != next {
				t.Fatalf("key %d, want %d", k, next)
			}
			next++
		}
		e.Batch.Release()
	}
	if next != 23 {
		t.Errorf("%d rows arrived, want 23", next)
	}
	if n := typ.held.Load(); n != 0 {
		t.Errorf("%d batches are still held", n)
	}
	huge := &intType{name: "huge", pad: maxFrame}
	w, err = a.OpenWriter("2", ChannelID{}, b.peer, huge, NewSignal())
	if err != nil {
		t.Fatal(err)
	}
	w.Push(record.OfBatch(huge.batch(1)))
	wantFailure(t, a, "2: ", "limited to 33554432 bytes")
}

func TestExchangeReportsWhatIsBroken(t *testing.T) {
	typ := &intType{name: "int"}
	t.Run("the receiver goes", func(t *testing.T) {
		a, b := newSide(t, "a", nil, nil), newSide(t, "b", nil, nil)
		room := NewSignal()
		if err := b.RegisterGate("1", []GateChannel{{Type: typ}}, NewGate(1, 0, NewSignal())); err != nil {
			t.Fatal(err)
		}
		w, err := a.OpenWriter("1", ChannelID{}, b.peer, typ, room)
		if err != nil {
			t.Fatal(err)
		}
		if !w.HasRoom() {
			<-room.C()
		}
		b.stop()
		wantFailure(t, a, "1: connection to worker b at "+b.peer.Addr+" lost")
		w.Push(record.OfBatch(typ.batch(1)))
		if w.HasRoom() {
			t.Error("a channel whose connection broke has room")
		}
	})
	t.Run("the sender goes", func(t *testing.T) {
		a, b := newSide(t, "a", nil, nil), newSide(t, "b", nil, nil)
		ready := NewSignal()
		g := NewGate(1, 0, ready)
		if err := b.RegisterGate("1", []GateChannel{{Type: typ}}, g); err != nil {
			t.Fatal(err)
		}
		w, err := a.OpenWriter("1", ChannelID{}, b.peer, typ, NewSignal())
		if err != nil {
			t.Fatal(err)
		}
		w.Push(record.Idle())
		collect(t, g, ready, 1)
		a.stop()
		wantFailure(t, b, "1: connection from worker a lost")
	})
	t.Run("nobody listens", func(t *testing.T) {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		a := newSide(t, "a", nil, nil)
		a.opts.ConnectTimeout = 200 * time.Millisecond
		if _, err := a.OpenWriter("1", ChannelID{}, Peer{Worker: "b", Addr: l.Addr().String()}, typ, NewSignal()); err != nil {
			t.Fatal(err)
		}
		wantFailure(t, a, "1: connection to worker b at "+l.Addr().String()+" lost", "no answer for 200ms", "connection refused")
	})
	t.Run("a listener that says nothing", func(t *testing.T) {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		a := newSide(t, "a", nil, nil)
		a.opts.ConnectTimeout = 200 * time.Millisecond
		if _, err := a.OpenWriter("1", ChannelID{}, Peer{Worker: "b", Addr: l.Addr().String()}, typ, NewSignal()); err != nil {
			t.Fatal(err)
		}
		wantFailure(t, a, "1: connection to worker b", "no answer for 200ms")
	})
	t.Run("somebody else listens", func(t *testing.T) {
		a, b := newSide(t, "a", nil, nil), newSide(t, "b", nil, nil)
		if _, err := a.OpenWriter("1", ChannelID{}, Peer{Worker: "c", Addr: b.peer.Addr}, typ, NewSignal()); err != nil {
			t.Fatal(err)
		}
		wantFailure(t, a, "1: connection to worker c", "this is worker b, not c")
	})
	t.Run("another type", func(t *testing.T) {
		a, b := newSide(t, "a", nil, nil), newSide(t, "b", nil, nil)
		if err := b.RegisterGate("1", []GateChannel{{Type: &intType{name: "other"}}}, NewGate(1, 0, NewSignal())); err != nil {
			t.Fatal(err)
		}
		if _, err := a.OpenWriter("1", ChannelID{}, b.peer, typ, NewSignal()); err != nil {
			t.Fatal(err)
		}
		wantFailure(t, a, "refuses edge 0 from subtask 0 to subtask 0", "carries other, not int")
		wantFailure(t, b, "worker a sends int, want other")
	})
	t.Run("a batch that can't be encoded", func(t *testing.T) {
		a, b := newSide(t, "a", nil, nil), newSide(t, "b", nil, nil)
		w, err := a.OpenWriter("1", ChannelID{}, b.peer, typ, NewSignal())
		if err != nil {
			t.Fatal(err)
		}
		batch := typ.batch(1)
		batch.keys[0] = -1
		w.Push(record.OfBatch(batch))
		wantFailure(t, a, "encoding a batch of int: a key that can't be encoded")
	})
	t.Run("a batch that can't be decoded", func(t *testing.T) {
		a, b := newSide(t, "a", nil, nil), newSide(t, "b", nil, nil)
		if err := b.RegisterGate("1", []GateChannel{{Type: &intType{name: "int", pad: 5}}}, NewGate(1, 0, NewSignal())); err != nil {
			t.Fatal(err)
		}
		w, err := a.OpenWriter("1", ChannelID{}, b.peer, typ, NewSignal())
		if err != nil {
			t.Fatal(err)
		}
		w.Push(record.OfBatch(typ.batch(1)))
		wantFailure(t, b, "receiving from worker a", "16 bytes are no rows")
		wantFailure(t, a, "connection to worker")
	})
}

func TestExchangeAttempts(t *testing.T) {
	typ := &intType{name: "int"}
	a, b := newSide(t, "a", nil, nil), newSide(t, "b", nil, nil)
	ready, room := NewSignal(), NewSignal()
	g := NewGate(1, 0, ready)
	if err := b.RegisterGate("1", []GateChannel{{Type: typ}}, g); err != nil {
		t.Fatal(err)
	}
	if err := b.RegisterGate("1", []GateChannel{{Type: typ}}, g); err == nil {
		t.Error("one channel is registered twice")
	}
	w1, err := a.OpenWriter("1", ChannelID{}, b.peer, typ, room)
	if err != nil {
		t.Fatal(err)
	}
	w1.Push(record.OfWatermark(1))
	collect(t, g, ready, 1)

	// The next attempt has the same channels on the same connection.
	a.CloseAttempt("1")
	w1.Push(record.OfWatermark(2))
	w2, err := a.OpenWriter("2", ChannelID{}, b.peer, typ, room)
	if err != nil {
		t.Fatal(err)
	}
	w2.Push(record.OfWatermark(3))
	b.CloseAttempt("1")
	ready2 := NewSignal()
	g2 := NewGate(1, 0, ready2)
	if err := b.RegisterGate("2", []GateChannel{{Type: typ}}, g2); err != nil {
		t.Fatal(err)
	}
	if e := collect(t, g2, ready2, 1)[0]; e.Time != 3 {
		t.Errorf("the new attempt gets %d, want 3", e.Time)
	}
	if _, _, ok := g.Next(); ok {
		t.Error("the closed attempt still gets elements")
	}
	if err := b.RegisterGate("1", nil, g); err == nil {
		t.Error("channels of a closed attempt are registered")
	}
	if _, err := a.OpenWriter("1", ChannelID{}, b.peer, typ, room); err == nil {
		t.Error("a channel of a closed attempt is opened")
	}
	// A worker that is late is told that its attempt is over; the other one isn't disturbed.
	b.CloseAttempt("0")
	if _, err := a.OpenWriter("0", ChannelID{}, b.peer, typ, room); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, a, "0: ", "attempt 0 is over")
	if _, err := a.OpenWriter("2", ChannelID{}, b.peer, typ, room); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, a, "2: ", "is open already")
	select {
	case err := <-b.failed:
		t.Errorf("the receiver reports %v", err)
	default:
	}
}

func TestExchangeWithTLS(t *testing.T) {
	server, client := testTLS(t)
	a, b := newSide(t, "a", server, client), newSide(t, "b", server, client)
	typ, ready := &intType{name: "int"}, NewSignal()
	g := NewGate(1, 0, ready)
	if err := b.RegisterGate("1", []GateChannel{{Type: typ}}, g); err != nil {
		t.Fatal(err)
	}
	w, err := a.OpenWriter("1", ChannelID{}, b.peer, typ, NewSignal())
	if err != nil {
		t.Fatal(err)
	}
	w.Push(record.OfWatermark(1))
	collect(t, g, ready, 1)
}

func testTLS(tb testing.TB) (server, client *tls.Config) {
	tb.Helper()
	dir := tb.TempDir()
	if err := GenerateCerts(dir, nil); err != nil {
		tb.Fatal(err)
	}
	server, err := CertFiles(dir, "worker").Server(RoleWorker)
	if err != nil {
		tb.Fatal(err)
	}
	client, err = CertFiles(dir, "worker").Client(RoleWorker)
	if err != nil {
		tb.Fatal(err)
	}
	return server, client
}

// BenchmarkExchange moves rows of 16 bytes from two producers to two consumers over loopback.
func BenchmarkExchange(b *testing.B) {
	server, client := testTLS(b)
	for name, tc := range map[string]struct{ server, client *tls.Config }{
		"plain": {}, "mTLS": {server, client},
	} {
		b.Run(name, func(b *testing.B) { benchExchange(b, tc.server, tc.client) })
	}
}

func benchExchange(b *testing.B, server, client *tls.Config) {
	b.Helper()
	const producers, consumers, rows = 2, 2, record.TargetRows
	from, to := newSide(b, "a", server, client), newSide(b, "b", server, client)
	typ := &intType{name: "int"}
	var wg sync.WaitGroup
	batches := (b.N/rows + 2) &^ 1 // even, so that both consumers get as many
	b.ResetTimer()
	for c := range consumers {
		ready := NewSignal()
		g := NewGate(producers, 0, ready)
		var chs []GateChannel
		for p := range producers {
			chs = append(chs, GateChannel{ID: ChannelID{From: p, To: c}, Index: p, Type: typ})
		}
		if err := to.RegisterGate("1", chs, g); err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			sum := int64(0)
			for got, want := 0, batches; got < want; {
				_, e, ok := g.Next()
				if !ok {
					<-ready.C()
					continue
				}
				for _, k := range e.Batch.(*intBatch).keys {
					sum += k
				}
				e.Batch.Release()
				got++
			}
		})
	}
	for p := range producers {
		room := NewSignal()
		ws := make([]Writer, consumers)
		for c := range consumers {
			w, err := from.OpenWriter("1", ChannelID{From: p, To: c}, to.peer, typ, room)
			if err != nil {
				b.Fatal(err)
			}
			ws[c] = w
		}
		wg.Go(func() {
			for i := p; i < consumers*batches; i += producers {
				// each consumer gets batches in total, from the producers in turn
				w := ws[i/producers%consumers]
				for !w.HasRoom() {
					<-room.C()
				}
				w.Push(record.OfBatch(typ.batch(rows)))
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(consumers*batches*rows)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

func TestExchangeEndsWhileAConnectionIsBeingMade(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := NewExchange(ExchangeOptions{Worker: "a", Listener: l, Log: logr.Discard()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	silent, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	// The server's first bytes: it has taken the connection, and waits for those of the client.
	if _, err := io.ReadFull(silent, make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("a client that never says a word holds up the end")
	}
}
