// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"github.com/weir-stream/weir/runtime/record"
)

// sendTarget is how many bytes of frames go into one message before it is sent.
const sendTarget = 256 << 10

// peer is the connection to one worker, on which this one sends. Once broken it stays so.
type peer struct {
	x    *Exchange
	to   Peer
	wake *Signal

	mu struct {
		sync.Mutex
		// out are frames to send, in order; those of channels have their credit.
		out mem.BufferSlice
		// idle says that the sender waits for wake.
		idle    bool
		writers map[uint32]*remoteWriter
		next    uint32
		broken  bool
	}
}

func newPeer(x *Exchange, to Peer) *peer {
	p := &peer{x: x, to: to, wake: NewSignal()}
	p.mu.writers = map[uint32]*remoteWriter{}
	return p
}

// open adds a channel; nil means that the connection is broken.
func (p *peer) open(o opening, t record.Type, room *Signal) *remoteWriter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.broken {
		return nil
	}
	w := &remoteWriter{p: p, number: p.mu.next, attempt: o.attempt, id: o.id, typ: t, room: room}
	p.mu.next++
	p.mu.writers[w.number] = w
	p.enqueue(mem.SliceBuffer(openFrame(w.number, o)))
	return w
}

// enqueue adds a frame to what is sent. The lock is held.
func (p *peer) enqueue(b mem.Buffer) {
	p.mu.out = append(p.mu.out, b)
	if p.mu.idle {
		p.mu.idle = false
		p.wake.Set()
	}
}

// take takes the frames of the next message out; gRPC keeps the slice until they are written.
func (p *peer) take() mem.BufferSlice {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, size := 0, 0
	for n < len(p.mu.out) && size < sendTarget {
		size += p.mu.out[n].Len()
		n++
	}
	msg := slices.Clone(p.mu.out[:n])
	rest := copy(p.mu.out, p.mu.out[n:])
	clear(p.mu.out[rest:])
	p.mu.out = p.mu.out[:rest]
	p.mu.idle = n == 0
	return msg
}

// run connects, sends and receives until the connection breaks or ctx ends.
func (p *peer) run(ctx context.Context) {
	err := p.converse(ctx)
	if ctx.Err() != nil {
		err = errors.New("the worker ends")
	}
	p.fail(err)
}

// converse is the life of the connection; it always ends with an error.
func (p *peer) converse(ctx context.Context) error {
	conn, err := p.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := p.connect(ctx, cancel, conn)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	var sent error
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		sent = p.send(ctx, stream)
	})
	received := p.receive(stream)
	cancel()
	wg.Wait()
	if errors.Is(received, io.EOF) || received == nil {
		received = sent
	}
	return received
}

func (p *peer) dial() (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if p.x.opts.ClientTLS != nil {
		creds = credentials.NewTLS(p.x.opts.ClientTLS)
	}
	conn, err := grpc.NewClient("passthrough:///"+p.to.Addr,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithStaticStreamWindowSize(windowSize),
		grpc.WithStaticConnWindowSize(windowSize),
		grpc.WithReadBufferSize(bufferSize),
		grpc.WithWriteBufferSize(bufferSize),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
	)
	if err != nil {
		return nil, fmt.Errorf("dialing: %w", err)
	}
	return conn, nil
}

// connect opens the stream; a peer that doesn't answer in time is an error.
func (p *peer) connect(ctx context.Context, cancel context.CancelFunc, conn *grpc.ClientConn) (grpc.ClientStream, error) {
	var late atomic.Bool
	timer := time.AfterFunc(p.x.opts.ConnectTimeout, func() {
		late.Store(true)
		cancel()
	})
	defer timer.Stop()
	ctx = metadata.AppendToOutgoingContext(ctx, workerHeader, p.x.opts.Worker, peerHeader, p.to.Worker)
	desc := &grpc.StreamDesc{StreamName: dataStream, ServerStreams: true, ClientStreams: true}
	stream, err := conn.NewStream(ctx, desc, "/"+dataService+"/"+dataStream, grpc.WaitForReady(true))
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil && late.Load() {
		return nil, fmt.Errorf("no answer for %s: %w", p.x.opts.ConnectTimeout, err)
	}
	return stream, err
}

// send sends what is enqueued until that fails or ctx ends.
func (p *peer) send(ctx context.Context, stream grpc.ClientStream) error {
	for {
		msg := p.take()
		if len(msg) == 0 {
			select {
			case <-p.wake.C():
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := stream.SendMsg(&msg); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	}
}

// receive takes credits and rejections until the connection ends.
func (p *peer) receive(stream grpc.ClientStream) error {
	var r frameReader
	for {
		var msg mem.BufferSlice
		if err := stream.RecvMsg(&msg); err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		r.reset(msg)
		err := p.handle(&r)
		msg.Free()
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
	}
}

// handle takes the frames of one message.
func (p *peer) handle(r *frameReader) error {
	for {
		kind, number, body, ok, err := r.next()
		if err != nil || !ok {
			return err
		}
		switch kind {
		case frameCredit:
			n, err := parseCredit(body)
			if err != nil {
				return err
			}
			p.credit(number, n)
		case frameReject:
			p.rejected(number, string(body))
		default:
			return fmt.Errorf("frame of kind %d on the way back: %w", kind, errFrame)
		}
	}
}

// credit gives a channel n credits and sends what waited for them.
func (p *peer) credit(number uint32, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.mu.writers[number]
	if w == nil {
		return
	}
	c := w.credits.Add(int64(n))
	sent := 0
	for sent < len(w.pending) && (c > 0 || sent < w.urgent) {
		c = w.credits.Add(-int64(frameCost(w.pending[sent].Len())))
		p.enqueue(w.pending[sent])
		sent++
	}
	w.sent(sent)
	if w.wantRoom && c > 0 {
		w.wantRoom = false
		w.room.Set()
	}
}

// rejected ends a channel that the peer won't take.
func (p *peer) rejected(number uint32, reason string) {
	p.mu.Lock()
	w := p.mu.writers[number]
	if w != nil {
		p.close(w)
	}
	p.mu.Unlock()
	if w != nil {
		p.x.opts.Failed(w.attempt, fmt.Errorf("connecting to worker %s at %s: it refuses %s: %s", p.to.Worker, p.to.Addr, w.id, reason))
	}
}

// end makes a channel drop what it has and gets. The lock is held.
func (p *peer) end(w *remoteWriter) {
	delete(p.mu.writers, w.number)
	w.ended = true
	w.credits.Store(-1 << 40)
	for _, b := range w.pending {
		b.Free()
	}
	w.pending = nil
}

// closeAttempt ends the channels of an attempt in good order.
func (p *peer) closeAttempt(attempt string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.mu.writers {
		if w.attempt == attempt {
			p.close(w)
		}
	}
}

// close ends a channel and tells the peer, unless it has ended. The lock is held.
func (p *peer) close(w *remoteWriter) {
	if w.ended {
		return
	}
	p.end(w)
	p.enqueue(mem.SliceBuffer(appendText(nil, frameClose, w.number, "")))
}

// fail breaks the connection and with it the attempts that use it.
func (p *peer) fail(err error) {
	p.x.forget(p)
	p.mu.Lock()
	p.mu.broken = true
	attempts := map[string]bool{}
	for _, w := range p.mu.writers {
		attempts[w.attempt] = true
		p.end(w)
	}
	for _, b := range p.mu.out {
		b.Free()
	}
	p.mu.out = nil
	p.mu.Unlock()
	for a := range attempts {
		p.x.opts.Failed(a, fmt.Errorf("connection to worker %s at %s lost: %w", p.to.Worker, p.to.Addr, err))
	}
}

// remoteWriter is the producer's end of a channel to another worker. Fields but credits are
// guarded by the lock of the peer.
type remoteWriter struct {
	p       *peer
	number  uint32
	attempt string
	id      ChannelID
	typ     record.Type
	room    *Signal
	// credits left; a large frame may take them below zero.
	credits atomic.Int64
	// pending are frames that wait for credits.
	pending []mem.Buffer
	// connected says that the receiver granted the first credit: before it nothing may be sent.
	connected bool
	// urgent is how many of pending go with that, credits or not; untold are those that the receiver hears of then.
	urgent   int
	untold   []untold
	wantRoom bool
	ended    bool
}

// Push implements [Writer]: it encodes the element in the caller's goroutine.
func (w *remoteWriter) Push(e record.Element) {
	defer drop(e)
	if e.Kind == record.KindBatch {
		w.pushBatch(e)
		return
	}
	b, err := appendElement(make([]byte, 0, 64), w.number, e, nil)
	if err != nil {
		w.fail(err)
		return
	}
	w.enqueueControl(mem.SliceBuffer(b), e)
}

// pushBatch encodes a batch into a frame from the pool.
func (w *remoteWriter) pushBatch(e record.Element) {
	buf := w.p.x.pool.Get(targetFrame)
	b, err := appendElement((*buf)[:0], w.number, e, w.typ)
	if err != nil {
		w.p.x.pool.Put(buf)
		w.fail(err)
		return
	}
	*buf = b
	if len(b) > splitFrame && e.Batch.Len() > 1 {
		w.p.x.pool.Put(buf)
		w.pushHalves(e.Batch)
		return
	}
	if len(b) > maxFrame {
		w.fail(fmt.Errorf("a row of %d bytes; rows between workers are limited to %d bytes", len(b), maxFrame))
		return
	}
	w.enqueue(mem.NewBuffer(buf, &w.p.x.pool))
}

// fail ends the channel because of something that can't be sent. Nothing follows it: with a barrier behind it a snapshot could
// complete that lacks it.
func (w *remoteWriter) fail(err error) {
	w.p.mu.Lock()
	w.p.close(w)
	w.p.mu.Unlock()
	w.p.x.opts.Failed(w.attempt, fmt.Errorf("sending on %s: %w", w.id, err))
}

// pushHalves sends a batch that is too large as two.
func (w *remoteWriter) pushHalves(b record.Batch) {
	s := w.typ.NewSplitter(2)
	dests := make([]uint16, b.Len())
	for i := len(dests) / 2; i < len(dests); i++ {
		dests[i] = 1
	}
	s.Scatter(b, b.Hashes(), dests)
	w.Push(record.OfBatch(s.Take(0)))
	w.Push(record.OfBatch(s.Take(1)))
}

// enqueue sends a frame if there is credit for it, or keeps it until there is.
func (w *remoteWriter) enqueue(b mem.Buffer) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	switch {
	case w.ended:
		b.Free()
	case w.credits.Load() > 0:
		w.credits.Add(-int64(frameCost(b.Len())))
		w.p.enqueue(b)
	default:
		w.pending = append(w.pending, b)
	}
}

// HasRoom implements [Writer]. A channel whose connection broke never has room.
func (w *remoteWriter) HasRoom() bool {
	if w.credits.Load() > 0 {
		return true
	}
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	if w.credits.Load() > 0 {
		return true
	}
	w.wantRoom = true
	return false
}
