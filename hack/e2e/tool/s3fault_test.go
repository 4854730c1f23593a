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
