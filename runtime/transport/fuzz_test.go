// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"testing"

	"github.com/weir-stream/weir/internal/fuzztest"
	"github.com/weir-stream/weir/runtime/record"
)

// wireBound is for frames: what they say is copied once, and that is all.
var wireBound = fuzztest.Bound{PerByte: 8}

// hugeTarget is the body of a barrier whose target claims to have 64 MiB.
func hugeTarget() []byte {
	b := appendBarrier(nil, record.Barrier{Checkpoint: 1, Target: "a"})
	copy(b[barrierSize-4:], "\x00\x00\x00\x04")
	return b
}

// FuzzElement decodes the body of a frame that carries an element, of any kind: what is understood is encoded to the same bytes.
func FuzzElement(f *testing.F) {
	typ := &intType{name: "int"}
	for _, e := range []record.Element{
		record.OfBatch(typ.batch(3)), record.OfWatermark(-5), record.OfWatermark(record.MaxTime), record.Idle(), record.End(), record.OfCancelBarrier(9),
		record.OfBarrier(record.Barrier{Checkpoint: 1 << 40, Kind: record.Savepoint, Stop: record.StopDrain, Base: 3, Target: "a/b/"}),
		record.OfBarrier(record.Barrier{Checkpoint: 4, Unaligned: true, AlignmentTimeout: 5, Target: "a", Shared: "b"}),
	} {
		b, err := appendElement(nil, 7, e, typ)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[4], b[headerSize:])
	}
	f.Add(byte(255), []byte{})
	f.Add(frameBarrier, hugeTarget())
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		var e record.Element
		var err error
		wireBound.Check(t, len(body), func() { e, err = parseElement(kind, body, typ) })
		if err != nil {
			return
		}
		again, err := appendElement(nil, 7, e, typ)
		if err != nil && kind == frameBatch {
			return // the type of this test refuses a value
		}
		if err != nil {
			t.Fatal(err)
		}
		if again[4] != kind || !bytes.Equal(again[headerSize:], body) {
			t.Errorf("kind %d, %x became kind %d, %x", kind, body, again[4], again[headerSize:])
		}
	})
}

// FuzzAhead decodes announcements of elements that wait for credits.
func FuzzAhead(f *testing.F) {
	for _, e := range []record.Element{record.End(), record.OfCancelBarrier(9), record.OfBarrier(record.Barrier{Checkpoint: 4, Unaligned: true, AlignmentTimeout: 5, Target: "a", Shared: "b"})} {
		f.Add(aheadFrame(7, 3, e)[headerSize:])
	}
	f.Add([]byte{1, 0, 0, 0, frameBatch})
	f.Add(append([]byte{1, 0, 0, 0, frameBarrier}, hugeTarget()...))
	f.Fuzz(func(t *testing.T, body []byte) {
		var need int
		var e record.Element
		var err error
		wireBound.Check(t, len(body), func() { need, e, err = parseAhead(body) })
		if err != nil {
			return
		}
		if again := aheadFrame(7, int64(need), e); !bytes.Equal(again[headerSize:], body) {
			t.Errorf("%x became %x", body, again[headerSize:])
		}
	})
}

// FuzzOpen decodes the body of a frame that opens a channel.
func FuzzOpen(f *testing.F) {
	f.Add(openFrame(1, opening{attempt: "1-2-3", id: ChannelID{1, 2, 3}, typ: "rows[int64]"})[headerSize:])
	f.Add([]byte{15: 4})
	f.Fuzz(func(t *testing.T, body []byte) {
		var o opening
		var err error
		wireBound.Check(t, len(body), func() { o, err = parseOpen(body) })
		if err != nil {
			return
		}
		if again := openFrame(1, o); !bytes.Equal(again[headerSize:], body) {
			t.Errorf("%x became %x", body, again[headerSize:])
		}
	})
}

// FuzzFrames cuts a message into frames, from buffers of any size: it takes no more memory than the message and one buffer.
func FuzzFrames(f *testing.F) {
	f.Add(appendCredit(appendText(nil, frameReject, 0, "no"), 0, 16), uint8(3))
	f.Add([]byte{0xff, 0xff, 0xff, 0x01, 16, 0, 0, 0, 0, 1, 2}, uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		var r frameReader
		r.reset(split(data, int(size)+1))
		var again []byte
		for {
			kind, number, body, ok, err := r.next()
			if cap(r.scratch) > len(data)+targetFrame {
				t.Fatalf("%d bytes of memory for %d bytes", cap(r.scratch), len(data))
			}
			if err != nil {
				return
			}
			if !ok {
				break
			}
			again = appendText(again, kind, number, string(body))
		}
		if !bytes.Equal(again, data) {
			t.Errorf("%x became %x", data, again)
		}
	})
}
