// SPDX-License-Identifier: Apache-2.0

package memstore_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		fault   memstore.Fault
		unknown bool
		keys    []string
		after   []string
	}{
		"before": {fault: memstore.FailBefore(boom), keys: nil, after: nil},
		"after":  {fault: memstore.FailAfter(boom), unknown: true, keys: []string{"put"}, after: []string{"put"}},
		"held":   {fault: memstore.Hold(), unknown: true, keys: nil, after: []string{"put"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := memstore.New("faults", nil)
			client := mem.Client(memstore.Options{Faults: func(op, key string, call int) memstore.Fault {
				if op != memstore.OpPutIfAbsent || key != "put" || call != 0 {
					t.Errorf("Faults(%s, %s, %d)", op, key, call)
				}
				return tc.fault
			}})
			err := client.PutIfAbsent(t.Context(), "put", []byte("x"))
			if err == nil || errors.Is(err, storage.ErrUnknownOutcome) != tc.unknown || !storage.Retriable(err) {
				t.Errorf("PutIfAbsent = %v", err)
			}
			if diff := cmp.Diff(tc.keys, mem.Keys()); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			for range mem.Held() {
				if err := mem.Release(0); err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(tc.after, mem.Keys()); diff != "" {
				t.Errorf("keys after the release (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHeldSwapChecksItsConditionLate(t *testing.T) {
	t.Parallel()
	mem := memstore.New("held", nil)
	zombie := mem.Client(memstore.Options{Faults: func(string, string, int) memstore.Fault { return memstore.Hold() }})
	owner := mem.Client(memstore.Options{})
	version, err := owner.Swap(t.Context(), "head", []byte("1"), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zombie.Swap(t.Context(), "head", []byte("zombie"), version); !errors.Is(err, storage.ErrUnknownOutcome) {
		t.Fatalf("Swap = %v", err)
	}
	if _, err := owner.Swap(t.Context(), "head", []byte("2"), version); err != nil {
		t.Fatal(err)
	}
	if err := mem.Release(0); !errors.Is(err, storage.ErrPrecondition) {
		t.Errorf("Release = %v", err)
	}
	if data, _, err := owner.Get(t.Context(), "head"); err != nil || string(data) != "2" {
		t.Errorf("Get = %q, %v", data, err)
	}
}

func TestFailAtEveryCall(t *testing.T) {
	t.Parallel()
	run := func(failAt int) (calls int, err error) {
		mem := memstore.New("every", nil)
		client := mem.Client(memstore.Options{Faults: func(_, _ string, call int) memstore.Fault {
			if call == failAt {
				return memstore.FailAfter(nil)
			}
			return memstore.None()
		}})
		ctx := t.Context()
		_, swapErr := client.Swap(ctx, "head", []byte("1"), "")
		_, _, getErr := client.Get(ctx, "head")
		_, rangeErr := client.GetRange(ctx, "head", 0, 1)
		err = errors.Join(swapErr, getErr, rangeErr,
			client.PutIfAbsent(ctx, "a", nil), client.Promote(ctx, "a", "b"), client.List(ctx, "", func(storage.Object) error { return nil }),
			client.Delete(ctx, "b", "head"))
		if got := mem.Keys(); len(got) != 0 {
			t.Errorf("failing at %d leaves %q", failAt, got)
		}
		return client.Calls(), err
	}
	calls, err := run(-1)
	if err != nil || calls != 7 {
		t.Fatalf("without faults: %d calls, %v", calls, err)
	}
	for i := range calls {
		if _, err := run(i); err == nil {
			t.Errorf("call %d fails unseen", i)
		}
	}
}
