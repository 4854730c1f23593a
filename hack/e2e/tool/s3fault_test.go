// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestFaulty_FailsAsItIsTold(t *testing.T) {
	t.Parallel()
	store := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	tests := map[string]struct {
		mode, method string
		want         int
		code         string
		hits         string
	}{
		"ok":                  {"ok", http.MethodPut, http.StatusNoContent, "", "{}"},
		"denied":              {"denied", http.MethodGet, http.StatusForbidden, "AccessDenied", `{"192.0.2.1":1}`},
		"full when written":   {"full", http.MethodPut, http.StatusInsufficientStorage, "XMinioStorageFull", `{"192.0.2.1":1}`},
		"full when read":      {"full", http.MethodGet, http.StatusNoContent, "", "{}"},
		"full when deleted":   {"full", http.MethodDelete, http.StatusNoContent, "", "{}"},
		"down":                {"down", http.MethodGet, http.StatusServiceUnavailable, "ServiceUnavailable", `{"192.0.2.1":1}`},
		"slow is only slower": {"slow&delay=1ms", http.MethodGet, http.StatusNoContent, "", `{"192.0.2.1":1}`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &faulty{next: store, mode: "ok"}
			set := httptest.NewRecorder()
			f.ServeHTTP(set, httptest.NewRequestWithContext(t.Context(), http.MethodPost, modePath+"?set="+tc.mode, nil))
			if set.Code != http.StatusOK {
				t.Fatalf("setting the mode: %d %s", set.Code, set.Body)
			}
			got := httptest.NewRecorder()
			f.ServeHTTP(got, httptest.NewRequestWithContext(t.Context(), tc.method, "/bucket/key", nil))
			if got.Code != tc.want || !strings.Contains(got.Body.String(), tc.code) {
				t.Errorf("got %d %s, want %d %s", got.Code, got.Body, tc.want, tc.code)
			}
			hits := httptest.NewRecorder()
			f.ServeHTTP(hits, httptest.NewRequestWithContext(t.Context(), http.MethodGet, modePath, nil))
			if got := strings.TrimSpace(hits.Body.String()); got != tc.hits {
				t.Errorf("it has met %s, want %s", got, tc.hits)
			}
		})
	}
}

func TestFaulty_RefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, query := range []string{"set=sideways", "set=slow&delay=long"} {
		f := &faulty{mode: "ok"}
		got := httptest.NewRecorder()
		f.ServeHTTP(got, httptest.NewRequestWithContext(t.Context(), http.MethodPost, modePath+"?"+query, nil))
		if got.Code != http.StatusBadRequest || f.mode != "ok" {
			t.Errorf("%s: got %d and mode %s, want %d and ok", query, got.Code, f.mode, http.StatusBadRequest)
		}
	}
}

func TestFaulty_HoldsOneRequestBackUntilItIsDelivered(t *testing.T) {
	t.Parallel()
	var stored sync.Map
	f := &faulty{mode: "ok", next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		stored.Store(r.URL.Path, string(b))
		w.WriteHeader(http.StatusPreconditionFailed)
	})}
	ask := func(ctx context.Context, method, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body)))
		return w
	}
	if got := ask(t.Context(), http.MethodPost, modePath+"?deliver", ""); got.Code != http.StatusConflict {
		t.Errorf("nothing is held back: got %d, want %d", got.Code, http.StatusConflict)
	}
	ask(t.Context(), http.MethodPost, modePath+"?set=hold&suffix=/head.json", "")

	gone, leave := context.WithCancel(t.Context())
	answered := make(chan int)
	go func() { answered <- ask(gone, http.MethodPut, "/b/j/head.json", "first").Code }()
	for ask(t.Context(), http.MethodGet, modePath, "").Body.String() == "{}" {
		runtime.Gosched()
	}
	leave()
	ask(t.Context(), http.MethodPut, "/b/other", "other")
	if _, ok := stored.Load("/b/other"); !ok {
		t.Error("another request was held back")
	}
	if _, ok := stored.Load("/b/j/head.json"); ok {
		t.Error("the request was not held back")
	}
	var got delivery
	if err := json.Unmarshal(ask(t.Context(), http.MethodPost, modePath+"?deliver", "").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if want := (delivery{Status: http.StatusPreconditionFailed, Body: "first"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if code := <-answered; code != http.StatusPreconditionFailed {
		t.Errorf("the client was answered with %d", code)
	}
	if b, _ := stored.Load("/b/j/head.json"); b != "first" {
		t.Errorf("stored is %v, want first", b)
	}
}
