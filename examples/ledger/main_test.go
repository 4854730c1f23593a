// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/operatortest"
)

// TestSource_StateIsFrozen has the ledger go on from state that an earlier version has written, at another parallelism.
func TestSource_StateIsFrozen(t *testing.T) {
	t.Parallel()
	const golden = "source-1.golden"
	open := func(subtask, parallelism int) *source {
		s := &source{keys: 3, rows: 3}
		c := &operator.Context{Name: "in", Subtask: subtask, Parallelism: parallelism, Now: time.Now, Restored: operatortest.Read(t, golden)}
		if err := s.Open(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return s
	}
	operatortest.Golden(t, golden, operatortest.Snapshot(t, open(0, 1), 1))

	var rows []entry
	for i := range 2 {
		var err error
		if rows, _, err = open(i, 2).Poll(rows); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]entry{{0, 3}, {2, 2}, {2, 3}, {1, 2}, {1, 3}}, rows); d != "" {
		t.Errorf("it goes on with (-want +got):\n%s", d)
	}
}
