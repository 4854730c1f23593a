// SPDX-License-Identifier: Apache-2.0

package txn_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator/operatortest"
	"github.com/weir-stream/weir/runtime/operator/txn"
	"github.com/weir-stream/weir/runtime/operator/txn/txntest"
)

// TestList_IsFrozen pins the list of handles that docs/formats/connectors.md describes: of all transactions that aren't committed, oldest first, and each
// handle is the bytes that the sink gave. An earlier version's list is committed.
func TestList_IsFrozen(t *testing.T) {
	t.Parallel()
	const golden = "transactions-1.golden"
	tests := map[string]func(*txntest.Outside) txn.Sink{
		"sink":   func(o *txntest.Outside) txn.Sink { return txntest.NewSink(o) },
		"client": func(o *txntest.Outside) txn.Sink { return txn.Blocking(txntest.NewClient(o)) },
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := txntest.NewOutside()
			w := open(t, out, contextOf("j", "1", nil))
			w.write(1, 2)
			w.snapshot(1)
			w.write(3)
			operatortest.Golden(t, golden, operatortest.Snapshot(t, w.op, 2))
			w.must(w.op.Close())

			c := contextOf("j", "2", nil)
			c.Restored, c.RestoredFrom = operatortest.Read(t, golden), 2
			op := txn.NewOperator(tc(out))
			w.must(op.Open(t.Context(), c))
			w.must(op.Close())
			if d := cmp.Diff([]int64{1, 2, 3}, out.Visible()); d != "" {
				t.Errorf("committed (-want +got):\n%s", d)
			}
		})
	}
}
