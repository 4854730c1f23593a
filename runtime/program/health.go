// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
)

const (
	// healthTimeout bounds one health check.
	healthTimeout = 5 * time.Second
	// turnLimit is how long the session of a worker may stand still. The longest that it rightly does is when tasks end slowly.
	turnLimit = time.Minute
)

// health answers the health checks of a worker: alive while its session with the coordinator gets on, or is tried for, ready while it is registered.
type health struct {
	registered atomic.Bool
	// turned is when the session got on last, in nanoseconds; over says that there is none any more and nothing to get on with.
	turned  atomic.Int64
	over    atomic.Bool
	now     func() time.Time
	server  *http.Server
	serving sync.WaitGroup
}

// startHealth serves health checks until stop.
func startHealth(ctx context.Context, addr string) (*health, error) {
	l, err := listen(ctx, addr, "health checks (--health)")
	if err != nil {
		return nil, err
	}
	h := &health{now: time.Now}
	h.turn()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+contract.PathHealth, h.live)
	mux.HandleFunc("GET "+contract.PathLive, h.live)
	mux.HandleFunc("GET "+contract.PathReady, func(w http.ResponseWriter, _ *http.Request) {
		if !h.registered.Load() {
			http.Error(w, "the coordinator has not accepted this worker yet", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	h.server = &http.Server{Handler: mux, ReadHeaderTimeout: healthTimeout, ReadTimeout: healthTimeout, WriteTimeout: healthTimeout}
	h.serving.Go(func() {
		if err := h.server.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			h.registered.Store(false)
		}
	})
	return h, nil
}

// turn notes that the session got on.
func (h *health) turn() { h.turned.Store(h.now().UnixNano()) }

// live answers whether the session gets on.
func (h *health) live(w http.ResponseWriter, _ *http.Request) {
	if still := h.now().Sub(time.Unix(0, h.turned.Load())); still > turnLimit && !h.over.Load() {
		http.Error(w, "the session with the coordinator has not got on for "+still.Round(time.Second).String(), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

func (h *health) stop() {
	_ = h.server.Close()
	h.serving.Wait()
}
