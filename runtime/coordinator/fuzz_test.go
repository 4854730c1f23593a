// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-stream/weir/internal/fuzztest"
	"github.com/weir-stream/weir/runtime/contract"
)

// apiBound is how much a request may take: its body is JSON, of which no more than the limit is read.
var apiBound = fuzztest.Bound{Fixed: 256 << 10, PerByte: 300}

// send sends a body and returns the answer and what the loop was told.
func send(t *testing.T, path string, body []byte) (*httptest.ResponseRecorder, *fakeControl) {
	t.Helper()
	c := &fakeControl{}
	h := newAPIServer(c, http.NotFoundHandler(), nil, logr.Discard()).Handler
	method := http.MethodPost
	if path == contract.PathPolicy {
		method = http.MethodPut
	}
	r := httptest.NewRequestWithContext(t.Context(), method, path, bytes.NewReader(body))
	w := httptest.NewRecorder()
	apiBound.Check(t, min(len(body), contract.MaxRequestBytes), func() { h.ServeHTTP(w, r) })
	return w, c
}

// request is the request that asks for what the loop was told.
func (f *fakeControl) request(t *testing.T) any {
	t.Helper()
	switch {
	case len(f.submitted)+len(f.policies)+len(f.activated) != 1:
		t.Fatalf("one request made it %d operations, %d policies, %d activations", len(f.submitted), len(f.policies), len(f.activated))
	case len(f.policies) == 1:
		return f.policies[0]
	case len(f.activated) == 1:
		return f.activated[0]
	}
	s := f.submitted[0]
	switch s.typ {
	case contract.CheckpointOperation:
		return contract.CheckpointRequest{OperationID: s.id}
	case contract.SavepointOperation:
		return contract.SavepointRequest{OperationID: s.id, Target: s.target, Timeout: contract.Duration(s.timeout)}
	case contract.StopOperation:
		return contract.StopRequest{OperationID: s.id, Target: s.target, Drain: s.drain, Timeout: contract.Duration(s.timeout)}
	case contract.CancelOperation:
		return contract.CancelRequest{OperationID: s.id, Savepoint: s.savepoint, Target: s.target, Timeout: contract.Duration(s.timeout)}
	default:
		t.Fatalf("an operation of type %q", s.typ)
		return nil
	}
}

// FuzzAPI sends any body to any endpoint of the control API that takes one: memory in proportion to it, the answer is always JSON, an error says what is wrong
// and nothing is done then, and what is taken is the same when it is written as a request and sent again.
func FuzzAPI(f *testing.F) {
	paths := []string{contract.PathCheckpoints, contract.PathSavepoints, contract.PathStop, contract.PathCancel, contract.PathPolicy, contract.PathActivate}
	for _, body := range []string{
		`{"operationID":"a"}`,
		`{"operationID":"a","target":"savepoints/x","timeout":"10s"}`,
		`{"operationID":"a","target":"t","drain":true,"timeout":"-1s"}`,
		`{"operationID":"a","savepoint":true,"target":"t"}`,
		`{"revision":"r1","checkpointing":{"interval":"10s"}}`,
		`{"grant":3}`,
		`{"operationID":"../../x"}`, `{"operationID":"a"}{}`, `[]`, `null`, ``, `{"operationID":1e999}`, `{"timeout":"9999999h9999999h"}`,
		strings.Repeat(`[`, 20000), `{"operationID":"` + strings.Repeat("x", contract.MaxRequestBytes) + `"}`,
		`{"grant":9223372036854775808}`, `{"grant":-1}`, `{"revision":"r1","restart":{"strategy":"None"}}`, `{"revision":"r1","stateGiven":false}`,
		`{"operationID":"` + strings.Repeat(`\u0000`, 5000) + `"}`,
	} {
		for i := range paths {
			f.Add(uint8(i), []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, path uint8, body []byte) {
		p := paths[int(path)%len(paths)]
		w, c := send(t, p, body)
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("status %d, and the answer is no JSON: %q", w.Code, w.Body)
		}
		if w.Code < 300 {
			if !json.Valid(body) {
				t.Fatalf("%s took %q", p, body)
			}
			sendAgain(t, p, c)
			return
		}
		var e contract.APIError
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Message == "" {
			t.Fatalf("status %d without a message: %s", w.Code, w.Body)
		}
		if w.Code != http.StatusBadRequest && w.Code != http.StatusRequestEntityTooLarge && w.Code != http.StatusConflict {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if len(c.submitted)+len(c.policies)+len(c.activated) > 0 {
			t.Fatalf("refused with %d, and done all the same", w.Code)
		}
	})
}

// sendAgain writes what the loop was told as a request, as a client does, and sends that.
func sendAgain(t *testing.T, path string, first *fakeControl) {
	t.Helper()
	body, err := json.Marshal(first.request(t))
	if err != nil {
		t.Fatal(err)
	}
	w, second := send(t, path, body)
	if w.Code >= 300 && w.Code != http.StatusRequestEntityTooLarge { // what was escaped may have become longer
		t.Fatalf("%s is refused as a client writes it: %s: %s", path, body, w.Body)
	}
	if w.Code >= 300 {
		return
	}
	if d := cmp.Diff(first, second, cmp.AllowUnexported(fakeControl{}, submission{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("sent again as %s it is another request (-first +second):\n%s", body, d)
	}
}
