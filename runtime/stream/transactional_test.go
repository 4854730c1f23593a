// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator/txn"
	"github.com/weir-stream/weir/runtime/operator/txn/txntest"
	"github.com/weir-stream/weir/runtime/stream"
	"github.com/weir-stream/weir/runtime/task/tasktest"
)

func TestToTransactional_CommitsEveryRowOnce(t *testing.T) {
	t.Parallel()
	var all []int64
	for i := range int64(100) {
		all = append(all, i)
	}
	for _, p := range []int{1, 3} {
		out := txntest.NewOutside()
		j := &stream.Job{}
		stream.ToTransactional(from(j, "in", all...), "out", func() txn.Client[int64] { return txntest.NewClient(out) },
			stream.TransactionTimeout(time.Hour))
		g, err := j.Graph()
		if err != nil {
			t.Fatal(err)
		}
		sink := g.Nodes[len(g.Nodes)-1]
		if !sink.Transactional || sink.TransactionTimeout != time.Hour {
			t.Errorf("the coordinator isn't told: %+v", sink)
		}
		tasktest.Run(t, g, p)
		if d := cmp.Diff(all, out.Visible()); d != "" {
			t.Errorf("rows at parallelism %d (-want +got):\n%s", p, d)
		}
		if n := out.Count(txntest.Committed); n != p {
			t.Errorf("%d transactions at parallelism %d without snapshots", n, p)
		}
		if v := slices.Concat(out.Violations()); len(v) > 0 {
			t.Error(v)
		}
	}
}
