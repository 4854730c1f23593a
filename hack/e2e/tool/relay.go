// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// slowness is by how much an answer is late while the relay is slow.
const slowness = 300 * time.Millisecond

// relay passes connections on until the process ends. SIGUSR1 makes it slow, and fast again.
func relay(ctx context.Context, from, to string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	defer signal.Stop(signals)
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", from)
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		_ = l.Close()
	}()
	slow := &atomic.Bool{}
	go toggle(ctx, slow, signals)
	dialer := net.Dialer{Timeout: dialTimeout}
	for {
		here, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		go func() {
			defer here.Close()
			there, err := dialer.DialContext(ctx, "tcp", to)
			if err != nil {
				fmt.Fprintln(os.Stderr, "tool:", err)
				return
			}
			defer there.Close()
			join(here, here, lateConn{there, slow})
		}()
	}
}

// toggle changes between fast and slow with each SIGUSR1.
func toggle(ctx context.Context, slow *atomic.Bool, signals <-chan os.Signal) {
	for {
		select {
		case <-signals:
			slow.Store(!slow.Load())
		case <-ctx.Done():
			return
		}
	}
}

// lateConn answers late while slow is set.
type lateConn struct {
	net.Conn
	slow *atomic.Bool
}

// Read implements [net.Conn].
func (c lateConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.slow.Load() {
		time.Sleep(slowness)
	}
	return n, err
}

// CloseWrite tells the other side that nothing more comes.
func (c lateConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
