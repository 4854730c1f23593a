// SPDX-License-Identifier: Apache-2.0

package storagetest

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// ProxyFault is what a Proxy does with a request.
type ProxyFault int

const (
	// Pass hands the request on and its answer back.
	Pass ProxyFault = iota
	// LoseRequest cuts the connection before the server sees the request.
	LoseRequest
	// LoseAnswer lets the server carry the request out and cuts the connection instead of answering.
	LoseAnswer
	// Hang lets the server carry the request out and never answers.
	Hang
	// Fail answers 503 without the server.
	Fail
	// Pretend answers that an object was created, without the server.
	Pretend
	// Missing answers that there is no such object, without the server.
	Missing
)

// Proxy stands between a store and its server and loses things.
type Proxy struct {
	// Endpoint is its URL.
	Endpoint string

	target string
	client *http.Client
	ended  context.Context //nolint:containedctx // it ends hanging requests with the test

	mu struct {
		sync.Mutex
		fault func(*http.Request) ProxyFault
	}
}

// StartProxy starts a proxy before an endpoint. It ends with the test.
func StartProxy(t testing.TB, endpoint string) *Proxy {
	t.Helper()
	ended, end := context.WithCancel(t.Context())
	p := &Proxy{target: endpoint, client: &http.Client{Transport: &http.Transport{DisableCompression: true}}, ended: ended}
	server := httptest.NewServer(p)
	t.Cleanup(func() {
		end()
		server.CloseClientConnections()
		server.Close()
		p.client.CloseIdleConnections()
	})
	p.Endpoint = server.URL
	return p
}

// SetFault says what happens to each request from now on; nil passes all.
func (p *Proxy) SetFault(fault func(*http.Request) ProxyFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.fault = fault
}

func (p *Proxy) faultOf(r *http.Request) ProxyFault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.fault == nil {
		return Pass
	}
	return p.mu.fault(r)
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault := p.faultOf(r)
	if fault == LoseRequest {
		panic(http.ErrAbortHandler)
	}
	if fault == Fail {
		http.Error(w, "injected", http.StatusServiceUnavailable)
		return
	}
	if fault == Pretend {
		w.Header().Set("ETag", `"00000000000000000000000000000000"`)
		return
	}
	if fault == Missing {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<Error><Code>NoSuchKey</Code><Message>injected</Message></Error>")
		return
	}
	resp, err := p.forward(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	if fault == Hang {
		select {
		case <-r.Context().Done():
		case <-p.ended.Done():
		}
	}
	if fault != Pass {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// forward sends the request on with the Host that was signed.
func (p *Proxy) forward(r *http.Request) (*http.Response, error) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, p.target+r.URL.RequestURI(), r.Body)
	if err != nil {
		return nil, err
	}
	out.Header, out.Host, out.ContentLength = r.Header.Clone(), r.Host, r.ContentLength
	return p.client.Do(out)
}
