// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// echo starts a server that sends back what it gets, and returns its address.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

// wantEcho sends a text and wants it back, after the other side was told that nothing more comes.
func wantEcho(t *testing.T, c net.Conn, r io.Reader) time.Duration {
	t.Helper()
	begin := time.Now()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	closeWrite(c)
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "hello" {
		t.Fatalf("got %q, %v", got, err)
	}
	return time.Since(begin)
}

func TestHandler_ConnectsToWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(handler())
	defer s.Close()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n", echo(t)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("got %s", res.Status)
	}
	wantEcho(t, c, r)
}

func TestHandler_RefusesBadRequests(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(handler())
	defer s.Close()
	tests := map[string]struct {
		form url.Values
		want int
	}{
		"unknown signal":    {url.Values{"signal": {"TERM"}, "container": {strings.Repeat("a", 64)}}, http.StatusBadRequest},
		"no container":      {url.Values{"signal": {"KILL"}}, http.StatusBadRequest},
		"short id":          {url.Values{"signal": {"KILL"}, "container": {"a"}}, http.StatusBadRequest},
		"unknown container": {url.Values{"signal": {"KILL"}, "container": {strings.Repeat("z", 64)}}, http.StatusInternalServerError},
		"unknown shim":      {url.Values{"signal": {"KILL"}, "shim": {strings.Repeat("z", 64)}}, http.StatusInternalServerError},
	}
	for name, tc := range tests {
		res, err := http.PostForm(s.URL+"/signal", tc.form)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != tc.want {
			t.Errorf("%s: %s, want %d", name, res.Status, tc.want)
		}
	}
}

// TestRelay_IsSlowBetweenSignals passes a text on: fast, slow after a signal, and fast after the next.
func TestRelay_IsSlowBetweenSignals(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- relay(ctx, addr, echo(t)) }()
	through := func() time.Duration {
		var c net.Conn
		for c == nil { // it may not listen yet
			c, _ = net.Dial("tcp", addr)
		}
		defer c.Close()
		return wantEcho(t, c, c)
	}
	through()
	for _, slow := range []bool{true, false} {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		for (through() >= slowness) != slow { // the signal is on its way
			if t.Context().Err() != nil {
				t.Fatal("the signal has no effect")
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
