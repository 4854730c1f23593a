// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/contract"
)

// FuzzAPI sends any body to any endpoint of the control API that takes one: the answer is always JSON, and an error says what is wrong.
func FuzzAPI(f *testing.F) {
	paths := []string{contract.PathCheckpoints, contract.PathSavepoints, contract.PathStop, contract.PathCancel, contract.PathPolicy}
	for i, body := range []string{
		`{"operationID":"a"}`,
		`{"operationID":"a","target":"savepoints/x","timeout":"10s"}`,
		`{"operationID":"a","target":"t","drain":true,"timeout":"-1s"}`,
		`{"operationID":"a","savepoint":true,"target":"t"}`,
		`{"revision":"r1","stateGiven":false}`,
		`{"operationID":"../../x"}`, `{"operationID":"a"}{}`, `[]`, `null`, ``, `{"operationID":1e999}`, `{"timeout":"9999999h9999999h"}`,
		strings.Repeat(`[`, 20000), `{"operationID":"` + strings.Repeat("x", contract.MaxRequestBytes) + `"}`,
	} {
		f.Add(uint8(i%len(paths)), []byte(body))
	}
	f.Fuzz(func(t *testing.T, path uint8, body []byte) {
		c := &fakeControl{}
		h := newAPIServer(c, http.NotFoundHandler(), nil, logr.Discard()).Handler
		p := paths[int(path)%len(paths)]
		method := http.MethodPost
		if p == contract.PathPolicy {
			method = http.MethodPut
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, p, strings.NewReader(string(body))))
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("status %d, and the answer is no JSON: %q", w.Code, w.Body)
		}
		if w.Code < 300 {
			if !json.Valid(body) {
				t.Fatalf("%s took %q", p, body)
			}
			return
		}
		var e contract.APIError
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Message == "" {
			t.Fatalf("status %d without a message: %s", w.Code, w.Body)
		}
		if w.Code != http.StatusBadRequest && w.Code != http.StatusRequestEntityTooLarge && w.Code != http.StatusConflict {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if len(c.submitted)+len(c.policies) > 0 {
			t.Fatalf("refused with %d, and done all the same", w.Code)
		}
	})
}
