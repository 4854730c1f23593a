// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// modePath is where the mode of [faulty] is set.
const modePath = "/_mode"

// slowAnswer is how long each answer takes in mode slow.
const slowAnswer = 1500 * time.Millisecond

// faulty is an object store in front of another that fails as it is told: POST /_mode?set=MODE.
type faulty struct {
	next http.Handler

	mu   sync.Mutex
	mode string
}

// s3fault serves a faulty object store until the process ends.
func s3fault(ctx context.Context, from, to string) error {
	target, err := url.Parse("http://" + to)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	s := &http.Server{Addr: from, ReadHeaderTimeout: dialTimeout, Handler: &faulty{next: proxy, mode: "ok"}}
	go func() {
		<-ctx.Done()
		_ = s.Close()
	}()
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ServeHTTP implements [http.Handler].
func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == modePath {
		f.set(w, r)
		return
	}
	f.mu.Lock()
	mode := f.mode
	f.mu.Unlock()
	switch {
	case mode == "denied":
		refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied.")
	case mode == "full" && (r.Method == http.MethodPut || r.Method == http.MethodPost && !r.URL.Query().Has("delete")):
		refuse(w, http.StatusInsufficientStorage, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.")
	case mode == "down":
		refuse(w, http.StatusServiceUnavailable, "ServiceUnavailable", "The service is unavailable. Please retry.")
	case mode == "slow":
		select {
		case <-time.After(slowAnswer):
		case <-r.Context().Done():
			return
		}
		f.next.ServeHTTP(w, r)
	default:
		f.next.ServeHTTP(w, r)
	}
}

func (f *faulty) set(w http.ResponseWriter, r *http.Request) {
	mode := r.URL.Query().Get("set")
	switch mode {
	case "ok", "denied", "full", "down", "slow":
	default:
		http.Error(w, fmt.Sprintf("unknown mode %q: want ok, denied, full, down or slow", mode), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode = mode
}

// refuse answers as an object store does.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, message)
}
