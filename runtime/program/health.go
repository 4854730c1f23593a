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

// healthTimeout bounds one health check.
const healthTimeout = 5 * time.Second

// health answers the health checks of a worker: alive while the process answers, ready while it is registered.
type health struct {
	registered atomic.Bool
	server     *http.Server
	serving    sync.WaitGroup
}

// startHealth serves health checks until stop.
func startHealth(ctx context.Context, addr string) (*health, error) {
	l, err := listen(ctx, addr, "health checks (--health)")
	if err != nil {
		return nil, err
	}
	h := &health{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+contract.PathHealth, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
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

func (h *health) stop() {
	_ = h.server.Close()
	h.serving.Wait()
}
