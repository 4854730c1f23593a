// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// modePath is where the mode of [faulty] is set.
const modePath = "/_mode"

// slowAnswer is how long each answer takes in mode slow, unless parameter delay says otherwise.
const slowAnswer = 1500 * time.Millisecond

// faulty is an object store in front of another that fails as it is told: POST /_mode?set=MODE, for slow with &delay=DURATION if wanted. GET /_mode answers
// with how many requests it has refused or held up since then, by the address that they came from, as JSON.
type faulty struct {
	next http.Handler

	mu    sync.Mutex
	mode  string
	delay time.Duration
	// hits counts the requests that the mode has refused or held up, by the address that they came from.
	hits map[string]int
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
		f.answer(w, r)
		return
	}
	mode, delay := f.meet(r)
	switch mode {
	case "denied":
		refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied.")
	case "full":
		refuse(w, http.StatusInsufficientStorage, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.")
	case "down":
		refuse(w, http.StatusServiceUnavailable, "ServiceUnavailable", "The service is unavailable. Please retry.")
	case "slow":
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return
		}
		f.next.ServeHTTP(w, r)
	default:
		f.next.ServeHTTP(w, r)
	}
}

// meet returns the mode as far as it concerns a request, which it counts then.
func (f *faulty) meet(r *http.Request) (mode string, delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	writes := r.Method == http.MethodPut || r.Method == http.MethodPost && !r.URL.Query().Has("delete")
	if f.mode == "ok" || f.mode == "full" && !writes {
		return "ok", 0
	}
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	f.hits[from]++
	return f.mode, f.delay
}

// answer takes a new mode, or says how many requests the one that is set has met.
func (f *faulty) answer(w http.ResponseWriter, r *http.Request) {
	mode, delay := r.URL.Query().Get("set"), slowAnswer
	if d := r.URL.Query().Get("delay"); d != "" {
		var err error
		if delay, err = time.ParseDuration(d); err != nil {
			http.Error(w, fmt.Sprintf("delay %q is no duration: %v", d, err), http.StatusBadRequest)
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodGet {
		b, err := json.Marshal(f.hits)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(b)
		return
	}
	switch mode {
	case "ok", "denied", "full", "down", "slow":
		f.mode, f.delay, f.hits = mode, delay, map[string]int{}
	default:
		http.Error(w, fmt.Sprintf("unknown mode %q: want ok, denied, full, down or slow", mode), http.StatusBadRequest)
	}
}

// refuse answers as an object store does.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, message)
}
