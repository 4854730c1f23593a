// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/mem"

	"github.com/weir-stream/weir/runtime/record"
)

// TestFramesAreFrozen pins the bytes that docs/formats/wire.md describes.
func TestFramesAreFrozen(t *testing.T) {
	element := func(e record.Element) []byte {
		b, err := appendElement(nil, 0x01020304, e, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tests := map[string]struct {
		got  []byte
		want string
	}{
		"open":           {openFrame(1, opening{attempt: "1-2-3", id: ChannelID{1, 2, 3}, typ: "t"}), "16000000" + "01" + "01000000" + "01000000" + "02000000" + "03000000" + "05000000" + "312d322d33" + "74"},
		"close":          {appendText(nil, frameClose, 1, ""), "00000000" + "02" + "01000000"},
		"credit":         {appendCredit(nil, 1, 16), "04000000" + "03" + "01000000" + "10000000"},
		"reject":         {appendText(nil, frameReject, 1, "no"), "02000000" + "04" + "01000000" + "6e6f"},
		"watermark":      {element(record.OfWatermark(-2)), "08000000" + "11" + "04030201" + "feffffffffffffff"},
		"barrier":        {element(record.OfBarrier(record.Barrier{Checkpoint: 7, Kind: 1, Stop: 2, Base: 6, Target: "x/"})), "21000000" + "12" + "04030201" + "0700000000000000" + "01" + "02" + "0600000000000000" + "00" + "0000000000000000" + "02000000" + "782f"},
		"unaligned":      {element(record.OfBarrier(record.Barrier{Checkpoint: 7, Unaligned: true, AlignmentTimeout: 258, Target: "x/", Shared: "s/"})), "23000000" + "12" + "04030201" + "0700000000000000" + "00" + "00" + "0000000000000000" + "01" + "0201000000000000" + "02000000" + "782f" + "732f"},
		"ahead, end":     {aheadFrame(1, 258, record.End()), "05000000" + "16" + "01000000" + "02010000" + "15"},
		"ahead, cancel":  {aheadFrame(1, 1, record.OfCancelBarrier(7)), "0d000000" + "16" + "01000000" + "01000000" + "13" + "0700000000000000"},
		"ahead, barrier": {aheadFrame(1, 1, record.OfBarrier(record.Barrier{Checkpoint: 7, Unaligned: true})), "24000000" + "16" + "01000000" + "01000000" + "12" + "0700000000000000" + "00" + "00" + "0000000000000000" + "01" + "0000000000000000" + "00000000"},
		"cancel-barrier": {element(record.OfCancelBarrier(7)), "08000000" + "13" + "04030201" + "0700000000000000"},
		"idle":           {element(record.Idle()), "00000000" + "14" + "04030201"},
		"end":            {element(record.End()), "00000000" + "15" + "04030201"},
	}
	for name, tc := range tests {
		if got := hex.EncodeToString(tc.got); got != tc.want {
			t.Errorf("%s is\n%s, want\n%s", name, got, tc.want)
		}
	}
}

// split cuts data into buffers of n bytes.
func split(data []byte, n int) mem.BufferSlice {
	var s mem.BufferSlice
	for len(data) > 0 {
		k := min(n, len(data))
		s = append(s, mem.SliceBuffer(data[:k]))
		data = data[k:]
	}
	return s
}

func TestFramesAcrossBuffers(t *testing.T) {
	var data []byte
	var want [][]byte
	for i, size := range []int{0, 1, 8, 9, 10, 100, 70000} {
		body := bytes.Repeat([]byte{byte(i)}, size)
		want = append(want, body)
		data = appendText(data, frameReject, uint32(i), string(body))
	}
	for _, n := range []int{1, 2, 3, 7, 9, 64, 16384, len(data)} {
		var r frameReader
		r.reset(split(data, n))
		for i := range want {
			_, number, body, ok, err := r.next()
			if err != nil || !ok || number != uint32(i) || !bytes.Equal(body, want[i]) {
				t.Fatalf("buffers of %d: frame %d: number %d, %d bytes, %v, %v", n, i, number, len(body), ok, err)
			}
		}
		if _, _, _, ok, err := r.next(); ok || err != nil {
			t.Errorf("buffers of %d: something after the last frame: %v, %v", n, ok, err)
		}
	}
}

// FuzzInbound feeds a connection with anything: no panic, and what it understands arrives.
func FuzzInbound(f *testing.F) {
	open := openFrame(0, opening{attempt: "1", typ: "int"})
	all := open
	typ := &intType{name: "int"}
	for _, e := range []record.Element{
		record.OfBatch(typ.batch(2)), record.OfWatermark(1),
		record.OfBarrier(record.Barrier{Checkpoint: 1, Target: "x/"}), record.OfCancelBarrier(2), record.Idle(), record.End(),
	} {
		b, err := appendElement(nil, 0, e, typ)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint8(3))
		all = append(all, b...)
	}
	f.Add(all, uint8(11))
	f.Add(appendText(all, frameClose, 0, ""), uint8(200))
	f.Add(appendCredit(open, 0, 5), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		x := NewExchange(ExchangeOptions{Log: logr.Discard(), Failed: func(string, error) {}})
		g := NewGate(1, 0, NewSignal())
		if err := x.RegisterGate("1", []GateChannel{{Type: &intType{name: "int"}}}, g); err != nil {
			t.Fatal(err)
		}
		c := newInbound(x, "fuzz")
		var r frameReader
		r.reset(split(data, int(size)+1))
		err := c.handle(&r)
		c.lost(err)
		if cap(r.scratch) > len(data)+targetFrame {
			t.Errorf("%d bytes of memory for %d bytes", cap(r.scratch), len(data))
		}
		// What arrived is encoded again to what was sent.
		again := bytes.Clone(open)
		n := 0
		for {
			_, e, ok := g.Next()
			if !ok {
				break
			}
			n++
			b, err := appendElement(nil, 0, e, typ)
			if err != nil {
				t.Fatal(err)
			}
			again = append(again, b...)
		}
		if n > 0 && err == nil && bytes.HasPrefix(data, open) && len(again) == len(data) {
			if diff := cmp.Diff(data, again); diff != "" {
				t.Errorf("(-sent +arrived):\n%s", diff)
			}
		}
	})
}

// FuzzPeer feeds the way back with anything.
func FuzzPeer(f *testing.F) {
	f.Add(appendCredit(appendText(nil, frameReject, 0, "no"), 0, 16))
	f.Add(appendCredit(nil, 0, 16))
	f.Fuzz(func(_ *testing.T, data []byte) {
		x := NewExchange(ExchangeOptions{Log: logr.Discard(), Failed: func(string, error) {}})
		p := newPeer(x, Peer{Worker: "w", Addr: "addr"})
		w := p.open(opening{attempt: "1"}, &intType{name: "int"}, NewSignal())
		w.Push(record.Idle())
		var r frameReader
		r.reset(split(data, 16))
		_ = p.handle(&r)
		w.HasRoom()
		p.fail(errFrame)
	})
}
