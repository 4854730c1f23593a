// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
)

// wire is what passed through a connection, in both directions.
type wire struct {
	mu            sync.Mutex
	sent, arrived bytes.Buffer
}

// tapped notes what passes through a connection.
type tapped struct {
	net.Conn
	wire *wire
}

// Write notes what it is about to send: the answer may be there before it returns.
func (c tapped) Write(b []byte) (int, error) {
	c.wire.mu.Lock()
	c.wire.sent.Write(b)
	c.wire.mu.Unlock()
	return c.Conn.Write(b)
}

func (c tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.wire.arrived.Write(b[:n])
	return n, err
}

// Kinds of HTTP/2 frames.
const (
	dataFrame   = 0x0
	pingFrame   = 0x6
	windowFrame = 0x8
)

// frames counts those of each kind among the bytes of one direction: each has its length in three bytes, its kind in one, and five more before its content.
func frames(raw []byte) map[byte]int {
	raw = bytes.TrimPrefix(raw, []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	counts := map[byte]int{}
	for len(raw) >= 9 {
		size := 9 + int(raw[0])<<16 + int(raw[1])<<8 + int(raw[2])
		if size > len(raw) {
			break
		}
		counts[raw[3]]++
		raw = raw[size:]
	}
	return counts
}

// Each message is one frame and wakes the other side once: nothing measures the connection meanwhile.
func TestHeartbeats_AreAllThatIsSentOnACalmConnection(t *testing.T) {
	const beats = 50
	addr := serve(t, nil, func(s CoordinatorStream) error {
		for {
			if _, err := s.Recv(); err != nil {
				return err
			}
			if err := s.Send(protocol.ToWorker{Heartbeat: &protocol.Heartbeat{}}); err != nil {
				return err
			}
		}
	})
	w := &wire{}
	tap := func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := dialTCP(ctx, addr)
		if err != nil {
			return nil, err
		}
		return tapped{Conn: c, wire: w}, nil
	}
	s, err := dialWith(t.Context(), addr, nil, tap)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	begin := time.Now()
	for range beats {
		if err := s.Send(protocol.FromWorker{Heartbeat: &protocol.Heartbeat{}}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	keepalives := int(time.Since(begin)/keepaliveTime) * 2
	for name, raw := range map[string][]byte{"sent": w.sent.Bytes(), "received": w.arrived.Bytes()} {
		counts := frames(raw)
		if n := counts[dataFrame]; n != beats {
			t.Errorf("%s %d messages, want %d", name, n, beats)
		}
		if n := counts[pingFrame]; n > keepalives {
			t.Errorf("%s %d pings beside %d heartbeats", name, n, beats)
		}
		if n := counts[windowFrame]; n > 2 {
			t.Errorf("%s %d window updates beside %d heartbeats", name, n, beats)
		}
	}
}
