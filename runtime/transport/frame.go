// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/weir-stream/weir/runtime/record"
)

// The frames; docs/formats/wire.md describes them. Values are frozen.
const (
	frameOpen          byte = 1
	frameClose         byte = 2
	frameCredit        byte = 3
	frameReject        byte = 4
	frameBatch         byte = 16
	frameWatermark     byte = 17
	frameBarrier       byte = 18
	frameCancelBarrier byte = 19
	frameIdle          byte = 20
	frameEnd           byte = 21
	frameAhead         byte = 22
)

const (
	// headerSize is the size of a frame's header: length of the body, kind, channel number.
	headerSize = 4 + 1 + 4
	// targetFrame is the size of a frame that costs one credit; a larger one costs more.
	targetFrame = 32 << 10
	// splitFrame is the size above which a batch is sent as several.
	splitFrame = 1 << 20
	// maxFrame bounds a frame, and so a row.
	maxFrame = 32 << 20
	// maxCredit bounds what is granted at once.
	maxCredit = 1 << 30
	// maxText bounds strings in frames.
	maxText = 64 << 10
)

// ChannelID names one channel of the physical plan.
type ChannelID struct {
	// Edge is the index of the edge in the plan.
	Edge int
	// From is the upstream, To the downstream subtask.
	From int
	To   int
}

// String returns "edge E from subtask F to subtask T".
func (c ChannelID) String() string {
	return fmt.Sprintf("edge %d from subtask %d to subtask %d", c.Edge, c.From, c.To)
}

// opening is the body of an open frame.
type opening struct {
	attempt string
	id      ChannelID
	typ     string
}

// frameCost is what a frame of that size costs in credits.
func frameCost(size int) int { return 1 + (size-1)/targetFrame }

// beginFrame appends a header whose length endFrame fills in.
func beginFrame(dst []byte, kind byte, number uint32) []byte {
	dst = append(dst, 0, 0, 0, 0, kind)
	return binary.LittleEndian.AppendUint32(dst, number)
}

// endFrame fills in the length of the frame that starts at start.
func endFrame(dst []byte, start int) []byte {
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start-headerSize))
	return dst
}

// appendElement appends an element as a frame.
func appendElement(dst []byte, number uint32, e record.Element, t record.Type) ([]byte, error) {
	start := len(dst)
	var err error
	switch e.Kind {
	case record.KindBatch:
		dst = beginFrame(dst, frameBatch, number)
		if dst, err = t.AppendBatch(dst, e.Batch); err != nil {
			return nil, fmt.Errorf("encoding a batch of %s: %w", t.Name(), err)
		}
	case record.KindWatermark:
		dst = beginFrame(dst, frameWatermark, number)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Time))
	case record.KindBarrier:
		dst = beginFrame(dst, frameBarrier, number)
		dst = appendBarrier(dst, e.Barrier)
	case record.KindCancelBarrier:
		dst = beginFrame(dst, frameCancelBarrier, number)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Barrier.Checkpoint))
	case record.KindIdle:
		dst = beginFrame(dst, frameIdle, number)
	case record.KindEnd:
		dst = beginFrame(dst, frameEnd, number)
	default:
		return nil, fmt.Errorf("encoding an element: unknown %s", e.Kind)
	}
	return endFrame(dst, start), nil
}

func appendBarrier(dst []byte, b record.Barrier) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(b.Checkpoint))
	dst = append(dst, byte(b.Kind), byte(b.Stop))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(b.Base))
	mode := byte(0)
	if b.Unaligned {
		mode = 1
	}
	dst = append(dst, mode)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(b.AlignmentTimeout))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(b.Target)))
	dst = append(dst, b.Target...)
	return append(dst, b.Shared...)
}

// barrierSize is the size of a barrier's body without the two prefixes at its end.
const barrierSize = 8 + 1 + 1 + 8 + 1 + 8 + 4

// aheadFrame returns the announcement of an element that waits for credits: need of them let it go.
func aheadFrame(number uint32, need int64, e record.Element) []byte {
	dst := beginFrame(nil, frameAhead, number)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(min(need, maxCredit)))
	switch e.Kind {
	case record.KindBarrier:
		dst = appendBarrier(append(dst, frameBarrier), e.Barrier)
	case record.KindCancelBarrier:
		dst = binary.LittleEndian.AppendUint64(append(dst, frameCancelBarrier), uint64(e.Barrier.Checkpoint))
	default:
		dst = append(dst, frameEnd)
	}
	return endFrame(dst, 0)
}

// parseAhead decodes an announcement.
func parseAhead(body []byte) (need int, e record.Element, err error) {
	if len(body) < 5 || body[4] != frameBarrier && body[4] != frameCancelBarrier && body[4] != frameEnd {
		return 0, e, fmt.Errorf("decoding an announcement of %d bytes: %w", len(body), errFrame)
	}
	if need, err = parseCredit(body[:4]); err != nil {
		return 0, e, err
	}
	e, err = parseElement(body[4], body[5:], nil)
	return need, e, err
}

// openFrame returns an open frame.
func openFrame(number uint32, o opening) []byte {
	dst := beginFrame(nil, frameOpen, number)
	for _, n := range []int{o.id.Edge, o.id.From, o.id.To, len(o.attempt)} {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
	}
	dst = append(dst, o.attempt...)
	dst = append(dst, o.typ...)
	return endFrame(dst, 0)
}

// appendCredit appends a credit frame.
func appendCredit(dst []byte, number uint32, n int) []byte {
	start := len(dst)
	dst = beginFrame(dst, frameCredit, number)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
	return endFrame(dst, start)
}

// appendText appends a frame whose body is text; it may be empty.
func appendText(dst []byte, kind byte, number uint32, text string) []byte {
	start := len(dst)
	dst = beginFrame(dst, kind, number)
	return endFrame(append(dst, text...), start)
}

var errFrame = errors.New("malformed frame")

// parseElement decodes the body of a frame that carries an element.
func parseElement(kind byte, body []byte, t record.Type) (record.Element, error) {
	want := 0
	switch kind {
	case frameBatch:
		b, err := t.DecodeBatch(body)
		if err != nil {
			return record.Element{}, fmt.Errorf("decoding a batch of %s: %w", t.Name(), err)
		}
		return record.OfBatch(b), nil
	case frameBarrier:
		return parseBarrier(body)
	case frameWatermark, frameCancelBarrier:
		want = 8
	case frameIdle, frameEnd:
	default:
		return record.Element{}, fmt.Errorf("decoding an element: unknown kind %d: %w", kind, errFrame)
	}
	if len(body) != want {
		return record.Element{}, fmt.Errorf("decoding an element of kind %d: %d bytes: %w", kind, len(body), errFrame)
	}
	switch kind {
	case frameWatermark:
		return record.OfWatermark(int64(binary.LittleEndian.Uint64(body))), nil
	case frameCancelBarrier:
		return record.OfCancelBarrier(int64(binary.LittleEndian.Uint64(body))), nil
	case frameIdle:
		return record.Idle(), nil
	default:
		return record.End(), nil
	}
}

func parseBarrier(body []byte) (record.Element, error) {
	if len(body) < barrierSize || len(body) > barrierSize+2*maxText || body[8] > byte(record.Savepoint) || body[9] > byte(record.StopDrain) || body[18] > 1 {
		return record.Element{}, fmt.Errorf("decoding a barrier of %d bytes: %w", len(body), errFrame)
	}
	timeout, n := int64(binary.LittleEndian.Uint64(body[19:])), int64(binary.LittleEndian.Uint32(body[27:]))
	if text := body[barrierSize:]; timeout < 0 || n > int64(len(text)) {
		return record.Element{}, fmt.Errorf("decoding a barrier with timeout %d and a target of %d bytes: %w", timeout, n, errFrame)
	}
	return record.OfBarrier(record.Barrier{
		Checkpoint: int64(binary.LittleEndian.Uint64(body)),
		Kind:       record.SnapshotKind(body[8]),
		Stop:       record.StopMode(body[9]),
		Base:       int64(binary.LittleEndian.Uint64(body[10:])),
		Unaligned:  body[18] == 1,
		Target:     string(body[barrierSize : barrierSize+n]),
		Shared:     string(body[barrierSize+n:]),

		AlignmentTimeout: time.Duration(timeout),
	}), nil
}

func parseOpen(body []byte) (opening, error) {
	if len(body) < 16 || len(body) > maxText {
		return opening{}, fmt.Errorf("decoding an open frame of %d bytes: %w", len(body), errFrame)
	}
	n := int64(binary.LittleEndian.Uint32(body[12:]))
	rest := body[16:]
	if n > int64(len(rest)) {
		return opening{}, fmt.Errorf("decoding an open frame: name of %d bytes: %w", n, errFrame)
	}
	return opening{
		id: ChannelID{
			Edge: int(binary.LittleEndian.Uint32(body)),
			From: int(binary.LittleEndian.Uint32(body[4:])),
			To:   int(binary.LittleEndian.Uint32(body[8:])),
		},
		attempt: string(rest[:n]),
		typ:     string(rest[n:]),
	}, nil
}

func parseCredit(body []byte) (int, error) {
	if len(body) != 4 {
		return 0, fmt.Errorf("decoding a credit frame of %d bytes: %w", len(body), errFrame)
	}
	n := binary.LittleEndian.Uint32(body)
	if n == 0 || n > maxCredit {
		return 0, fmt.Errorf("decoding a credit frame: %d credits: %w", n, errFrame)
	}
	return int(n), nil
}

// frameReader yields the frames of one message. A body that lies in one buffer isn't copied.
type frameReader struct {
	msg     mem.BufferSlice
	at      int
	off     int
	left    int
	scratch []byte
	header  [headerSize]byte
}

// reset starts on a message. The reader doesn't own it.
func (r *frameReader) reset(msg mem.BufferSlice) {
	r.msg, r.at, r.off, r.left = msg, 0, 0, msg.Len()
}

// next returns the next frame; ok is false at the end of the message. The body is valid until the next call.
func (r *frameReader) next() (kind byte, number uint32, body []byte, ok bool, err error) {
	if r.left == 0 {
		return 0, 0, nil, false, nil
	}
	if r.left < headerSize {
		return 0, 0, nil, false, fmt.Errorf("reading a frame: %d bytes left: %w", r.left, errFrame)
	}
	h := r.take(headerSize, r.header[:0])
	n := int(binary.LittleEndian.Uint32(h))
	kind, number = h[4], binary.LittleEndian.Uint32(h[5:])
	if n > r.left || n > maxFrame {
		return 0, 0, nil, false, fmt.Errorf("reading a frame: length %d with %d bytes left: %w", n, r.left, errFrame)
	}
	if cap(r.scratch) < n && n > len(r.rest()) {
		r.scratch = make([]byte, 0, max(n, targetFrame))
	}
	return kind, number, r.take(n, r.scratch[:0]), true, nil
}

// rest is what is left of the current buffer.
func (r *frameReader) rest() []byte {
	for r.at < len(r.msg) {
		if b := r.msg[r.at].ReadOnlyData(); r.off < len(b) {
			return b[r.off:]
		}
		r.at, r.off = r.at+1, 0
	}
	return nil
}

// take returns the next n bytes, gathered in scratch when they don't lie in one buffer. There must be as many left.
func (r *frameReader) take(n int, scratch []byte) []byte {
	r.left -= n
	if b := r.rest(); len(b) >= n {
		r.off += n
		return b[:n:n]
	}
	for len(scratch) < n {
		b := r.rest()
		b = b[:min(len(b), n-len(scratch))]
		r.off += len(b)
		scratch = append(scratch, b...)
	}
	return scratch
}
