// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFaulty_FailsAsItIsTold(t *testing.T) {
	t.Parallel()
	store := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	tests := map[string]struct {
		mode, method string
		want         int
		code         string
	}{
		"ok":                  {"ok", http.MethodPut, http.StatusNoContent, ""},
		"denied":              {"denied", http.MethodGet, http.StatusForbidden, "AccessDenied"},
		"full when written":   {"full", http.MethodPut, http.StatusInsufficientStorage, "XMinioStorageFull"},
		"full when read":      {"full", http.MethodGet, http.StatusNoContent, ""},
		"full when deleted":   {"full", http.MethodDelete, http.StatusNoContent, ""},
		"down":                {"down", http.MethodGet, http.StatusServiceUnavailable, "ServiceUnavailable"},
		"slow is only slower": {"slow", http.MethodGet, http.StatusNoContent, ""},
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
		})
	}
}

func TestFaulty_RefusesAnUnknownMode(t *testing.T) {
	t.Parallel()
	f := &faulty{mode: "ok"}
	got := httptest.NewRecorder()
	f.ServeHTTP(got, httptest.NewRequestWithContext(t.Context(), http.MethodPost, modePath+"?set=sideways", nil))
	if got.Code != http.StatusBadRequest {
		t.Errorf("got %d, want %d", got.Code, http.StatusBadRequest)
	}
}
