// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
)

func newClient(t *testing.T, h http.HandlerFunc, o contract.ClientOptions) *contract.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := contract.NewClient(s.URL, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestNewClient_Addresses(t *testing.T) {
	tests := map[string]struct {
		addr string
		tls  *tls.Config
		ok   bool
	}{
		"host and port": {"127.0.0.1:8081", nil, true},
		"with TLS":      {"coordinator:8081", &tls.Config{MinVersion: tls.VersionTLS13}, true},
		"URL":           {"http://h:1/", nil, true},
		"empty":         {"", nil, false},
		"other scheme":  {"ftp://h:1", nil, false},
		"no host":       {"http://", nil, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := contract.NewClient(tc.addr, contract.ClientOptions{TLS: tc.tls})
			if (err == nil) != tc.ok {
				t.Errorf("got %v, want ok %t", err, tc.ok)
			}
		})
	}
}

func TestClient_WaitsUntilAnOperationEnded(t *testing.T) {
	calls := 0
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != contract.PathOperations+"/op-1" || r.URL.Query().Get("wait") == "" {
			t.Errorf("asked for %s", r.URL)
		}
		op := contract.Operation{ID: "op-1", Phase: contract.OperationRunning}
		if calls++; calls == 3 {
			op.Phase = contract.OperationSucceeded
		}
		_ = json.NewEncoder(w).Encode(op)
	}, contract.ClientOptions{})
	op, err := c.WaitOperation(t.Context(), "op-1")
	if err != nil || op.Phase != contract.OperationSucceeded || calls != 3 {
		t.Errorf("got %+v, %v after %d calls", op, err, calls)
	}
}

func TestClient_WaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		_ = json.NewEncoder(w).Encode(contract.Operation{Phase: contract.OperationRunning})
	}, contract.ClientOptions{})
	if _, err := c.WaitOperation(ctx, "op-1"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestClient_ASilentServerIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	c := newClient(t, func(http.ResponseWriter, *http.Request) { <-release }, contract.ClientOptions{Timeout: 50 * time.Millisecond})
	defer close(release)
	if _, err := c.Job(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestClient_Answers(t *testing.T) {
	tests := map[string]struct {
		code int
		body string
		want string
	}{
		"an API error":     {409, `{"error":"cause","remedy":"remedy"}`, "cause (remedy)"},
		"without a remedy": {404, `{"error":"cause"}`, "cause"},
		"another server":   {404, "<html>", "answered 404 Not Found (check that the address"},
		"an HTTPS server":  {400, "Client sent an HTTP request to an HTTPS server.", "speaks HTTPS (give the certificate of a client, with weir --tls DIR)"},
		"not JSON":         {200, "hello", "reading the answer of the control API"},
		"far too large":    {200, strings.Repeat(" ", 17<<20), "larger than"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.code)
				_, _ = w.Write([]byte(tc.body))
			}, contract.ClientOptions{})
			_, err := c.Job(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if e, ok := errors.AsType[*contract.APIError](err); ok != (tc.code >= 300) || (ok && e.Status != tc.code) {
				t.Errorf("the error is %#v", err)
			}
		})
	}
}
