// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// modePath is where the mode of [faulty] is set.
const modePath = "/_mode"

// slowAnswer is how long each answer takes in mode slow, unless parameter delay says otherwise.
const slowAnswer = 1500 * time.Millisecond

// faulty is an object store in front of another that fails as it is told: POST /_mode?set=MODE, for slow with &delay=DURATION if wanted. GET /_mode answers
// with how many requests it has refused or held up since then, by the address that they came from, as JSON.
//
// Mode hold keeps back the next PUT whose path ends in parameter suffix; all other requests pass. POST /_mode?deliver lets it go on, whether its client still
// waits or not, and answers with a [delivery] as JSON.
type faulty struct {
	next http.Handler

	mu    sync.Mutex
	mode  string
	delay time.Duration
	// suffix is, in mode hold, that of the path of the request to hold back; held is that request, nil if there is none.
	suffix string
	held   *heldRequest
	// hits counts the requests that the mode has refused or held up, by the address that they came from.
	hits map[string]int
}

// heldRequest waits to be delivered.
type heldRequest struct {
	body    []byte
	release chan struct{}
	status  chan int
}

// delivery is a request that was held back, and how it was answered.
type delivery struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
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
	mode, delay, held := f.meet(r)
	switch mode {
	case "hold":
		f.hold(w, r, held)
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
func (f *faulty) meet(r *http.Request) (mode string, delay time.Duration, held *heldRequest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	writes := r.Method == http.MethodPut || r.Method == http.MethodPost && !r.URL.Query().Has("delete")
	holds := r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, f.suffix) && f.held == nil
	if f.mode == "ok" || f.mode == "full" && !writes || f.mode == "hold" && !holds {
		return "ok", 0, nil
	}
	if f.mode == "hold" {
		f.held = &heldRequest{release: make(chan struct{}), status: make(chan int, 1)}
	}
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	f.hits[from]++
	return f.mode, f.delay, f.held
}

// hold keeps the request that was taken for it until it is to be delivered. A client that has gone doesn't take it back.
func (f *faulty) hold(w http.ResponseWriter, r *http.Request, h *heldRequest) {
	body, err := io.ReadAll(r.Body)
	h.body = body
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		h.status <- http.StatusBadRequest
		return
	}
	<-h.release
	r = r.WithContext(context.WithoutCancel(r.Context()))
	r.Body = io.NopCloser(bytes.NewReader(body))
	recorded := httptest.NewRecorder()
	f.next.ServeHTTP(recorded, r)
	h.status <- recorded.Code
	maps.Copy(w.Header(), recorded.Header())
	w.WriteHeader(recorded.Code)
	_, _ = w.Write(recorded.Body.Bytes())
}

// deliver lets the request that is held back go on.
func (f *faulty) deliver(w http.ResponseWriter) {
	f.mu.Lock()
	h := f.held
	f.held, f.mode = nil, "ok"
	f.mu.Unlock()
	if h == nil {
		http.Error(w, "no request is held back", http.StatusConflict)
		return
	}
	close(h.release)
	d := delivery{Status: <-h.status, Body: string(h.body)}
	if err := json.NewEncoder(w).Encode(d); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
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
	if r.Method == http.MethodPost && r.URL.Query().Has("deliver") {
		f.deliver(w)
		return
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
	case "ok", "denied", "full", "down", "slow", "hold":
		f.mode, f.delay, f.suffix, f.hits = mode, delay, r.URL.Query().Get("suffix"), map[string]int{}
	default:
		http.Error(w, fmt.Sprintf("unknown mode %q: want ok, denied, full, down, slow or hold", mode), http.StatusBadRequest)
	}
}

// refuse answers as an object store does.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, message)
}
