// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-stream/weir/internal/fuzztest"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

func aHead() snapshot.Head {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	h := snapshot.Head{
		Format: 1, Seq: 7, Owner: "o1", Epoch: snapshot.Epoch{Grant: 2, N: 3}, JobID: "j", ReservedUntil: 100,
		Restarts:    snapshot.RestartCounters{Total: 1, LastFailure: at},
		Checkpoints: []snapshot.CompletedCheckpoint{{ID: 4, Path: "c/chk-4/", CompletedAt: at}, {ID: 9, Path: "c/chk-9/", CompletedAt: at}},
		NamedState:  true,
	}
	h.SetOperation(snapshot.Operation{ID: "op", Type: snapshot.OperationSavepoint, Outcome: snapshot.OutcomeDone, Checkpoint: 8, Path: "s/", At: at})
	h.AddRestore(snapshot.Restore{Attempt: "2-3-1", Checkpoint: 4, Path: "c/chk-4/", At: at})
	return h
}

func TestHead_RoundTrip(t *testing.T) {
	t.Parallel()
	want := aHead()
	b, err := snapshot.EncodeHead(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := snapshot.DecodeHead(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("head (-want +got):\n%s", diff)
	}
}

func TestDecodeHead_FindsEveryFlippedByte(t *testing.T) {
	t.Parallel()
	b, err := snapshot.EncodeHead(aHead())
	if err != nil {
		t.Fatal(err)
	}
	want, _ := snapshot.DecodeHead(b)
	for i := range b {
		for _, bit := range []byte{1, 0x20, 0x80} {
			c := append([]byte{}, b...)
			c[i] ^= bit
			if got, err := snapshot.DecodeHead(c); err == nil && !cmp.Equal(got, want) {
				t.Fatalf("byte %d flipped to %q: a different head was read", i, c[i])
			}
		}
	}
	for n := range len(b) - 1 {
		if _, err := snapshot.DecodeHead(b[:n]); err == nil {
			t.Fatalf("cut after %d bytes: no error", n)
		}
	}
}

func FuzzDecodeHead(f *testing.F) {
	b, err := snapshot.EncodeHead(aHead())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, false)
	f.Add([]byte(`{"checksum":"00000000","head":{}}`), false)
	for _, name := range []string{"head-1", "head-2", "head-3"} {
		b, err := os.ReadFile("testdata/" + name + ".golden")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		var env struct{ Head json.RawMessage }
		if err := json.Unmarshal(b, &env); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(env.Head), true)
	}
	bound := fuzztest.Bound{Fixed: 1 << 20, PerByte: 300}
	f.Fuzz(func(t *testing.T, b []byte, fit bool) {
		if fit { // so that the fuzzer gets past the checksum
			b = fmt.Appendf(nil, `{"checksum":"%08x","head":%s}`, snapshot.Checksum(b), b)
		}
		var h snapshot.Head
		var err error
		bound.Check(t, len(b), func() { h, err = snapshot.DecodeHead(b) })
		if err != nil {
			return
		}
		again, err := snapshot.EncodeHead(h)
		if err != nil {
			t.Fatalf("a head that was read can't be written: %v", err)
		}
		back, err := snapshot.DecodeHead(again)
		if err != nil {
			t.Fatalf("a head that was written can't be read: %v", err)
		}
		if d := cmp.Diff(h, back, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("a head is another after it was written (-read +written and read):\n%s", d)
		}
	})
}

func TestClaim(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		found   bool
		grant   int64
		want    snapshot.Epoch
		wantSeq int64
		fenced  bool
	}{
		"a new job":      {false, 1, snapshot.Epoch{Grant: 1, N: 1}, 1, false},
		"the same grant": {true, 2, snapshot.Epoch{Grant: 2, N: 4}, 8, false},
		"a higher grant": {true, 5, snapshot.Epoch{Grant: 5, N: 1}, 8, false},
		"a lower grant":  {true, 1, snapshot.Epoch{}, 0, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := snapshot.Claim(aHead(), tc.found, tc.grant, "o2", "j")
			if tc.fenced {
				if !errors.Is(err, snapshot.ErrFenced) {
					t.Fatalf("got %v, want to be fenced", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Epoch != tc.want || got.Seq != tc.wantSeq || got.Owner != "o2" {
				t.Errorf("got epoch %v, seq %d, owner %s", got.Epoch, got.Seq, got.Owner)
			}
		})
	}
}

func TestResolveSwap(t *testing.T) {
	t.Parallel()
	mine := aHead()
	change := func(f func(*snapshot.Head)) snapshot.Head {
		h := aHead()
		f(&h)
		return h
	}
	tests := map[string]struct {
		back  snapshot.Head
		found bool
		err   error
		want  snapshot.SwapOutcome
	}{
		"mine is there":        {mine, true, nil, snapshot.Swapped},
		"a later one of mine":  {change(func(h *snapshot.Head) { h.Seq++ }), true, nil, snapshot.Swapped},
		"my last one":          {change(func(h *snapshot.Head) { h.Seq-- }), true, nil, snapshot.NotSwapped},
		"can't be read":        {snapshot.Head{}, false, errors.New("down"), snapshot.SwapUnknown},
		"gone":                 {snapshot.Head{}, false, nil, snapshot.SwapUnknown},
		"a later claim":        {change(func(h *snapshot.Head) { h.Owner, h.Epoch.N = "o2", 4 }), true, nil, snapshot.Fenced},
		"same epoch, other":    {change(func(h *snapshot.Head) { h.Owner = "o2" }), true, nil, snapshot.Fenced},
		"the one I claim from": {change(func(h *snapshot.Head) { h.Owner, h.Epoch.N, h.Seq = "o0", 2, 6 }), true, nil, snapshot.NotSwapped},
		"it moved on before":   {change(func(h *snapshot.Head) { h.Owner, h.Epoch.N, h.Seq = "o0", 2, 8 }), true, nil, snapshot.Raced},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := snapshot.ResolveSwap(tc.back, tc.found, tc.err, mine); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestHead_KeepsTheNewestStop(t *testing.T) {
	t.Parallel()
	h := aHead()
	h.SetOperation(snapshot.Operation{ID: "stop", Type: snapshot.OperationStop, Outcome: snapshot.OutcomeStopping, Checkpoint: 50, Path: "s50/", Stop: record.StopFreeze})
	for i := range 3 * snapshot.MaxHeadOperations {
		h.SetOperation(snapshot.Operation{ID: fmt.Sprintf("op-%d", i), Type: snapshot.OperationSavepoint, Outcome: snapshot.OutcomeFailed})
	}
	if len(h.Operations) > snapshot.MaxHeadOperations {
		t.Errorf("%d operations are kept", len(h.Operations))
	}
	if n, ok := h.Newest(); !ok || n.ID != 50 || n.Path != "s50/" {
		t.Errorf("newest is %+v, want the stop's savepoint 50", n)
	}
}
