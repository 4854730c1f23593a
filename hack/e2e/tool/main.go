// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// serveAddr is where serve listens.
const serveAddr = "127.0.0.1:3128"

const dialTimeout = 5 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tool:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve(ctx)
	case len(args) == 3 && args[0] == "relay":
		return relay(ctx, args[1], args[2])
	case len(args) == 3 && args[0] == "s3fault":
		return s3fault(ctx, args[1], args[2])
	default:
		return fmt.Errorf("usage: tool serve | tool relay FROM TO | tool s3fault FROM TO; got %q", args)
	}
}

// serve answers requests until the process is told to end.
func serve(ctx context.Context) error {
	s := &http.Server{Addr: serveAddr, ReadHeaderTimeout: dialTimeout, Handler: handler()}
	go func() {
		<-ctx.Done()
		_ = s.Close()
	}()
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler answers CONNECT with a connection to the address asked for, and POST /signal by sending a signal.
func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /signal", handleSignal)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			tunnel(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// tunnel connects the client with the host that it names.
func tunnel(w http.ResponseWriter, r *http.Request) {
	dialer := net.Dialer{Timeout: dialTimeout}
	there, err := dialer.DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer there.Close()
	w.WriteHeader(http.StatusOK)
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	join(here, buffered, there)
}

// join copies both ways until both are done.
func join(here net.Conn, fromHere io.Reader, there net.Conn) {
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(there, fromHere)
		closeWrite(there)
		close(done)
	}()
	_, _ = io.Copy(here, there)
	closeWrite(here)
	<-done
}

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
