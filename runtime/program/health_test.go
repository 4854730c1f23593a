// SPDX-License-Identifier: Apache-2.0

package program

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestHealth_IsAliveWhileTheSessionGetsOn(t *testing.T) {
	now := time.Unix(1000, 0)
	h := &health{now: func() time.Time { return now }}
	h.turn()
	check := func(want int, when string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.live(w, nil)
		if w.Code != want {
			t.Errorf("%s: %d %s", when, w.Code, w.Body)
		}
	}
	check(http.StatusOK, "at first")
	now = now.Add(turnLimit)
	check(http.StatusOK, "at the limit")
	now = now.Add(time.Second)
	check(http.StatusServiceUnavailable, "beyond it")
	h.turn()
	check(http.StatusOK, "when it got on")
	now = now.Add(time.Hour)
	h.over.Store(true)
	check(http.StatusOK, "after the end of the job")
}
