// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
)

func TestCheckTransactions_RefusesATimeoutThatIsTooShort(t *testing.T) {
	t.Parallel()
	minute := contract.Duration(time.Minute)
	tests := map[string]struct {
		timeout time.Duration
		c       *contract.Checkpointing
		want    string
	}{
		"never expires":            {0, &contract.Checkpointing{Interval: minute}, ""},
		"twice the sum":            {6 * time.Minute, &contract.Checkpointing{Interval: minute, Timeout: 2 * minute}, ""},
		"less than twice the sum":  {6*time.Minute - 1, &contract.Checkpointing{Interval: minute, Timeout: 2 * minute}, "at least 6m0s"},
		"default timeout":          {20 * time.Minute, &contract.Checkpointing{Interval: minute}, "at least 22m0s"},
		"a long pause":             {9 * time.Minute, &contract.Checkpointing{Interval: minute, MinPause: 3 * minute, Timeout: 2 * minute}, "at least 10m0s"},
		"without checkpoints":      {time.Second, nil, ""},
		"not a transactional sink": {time.Second, &contract.Checkpointing{Interval: minute, Mode: "other"}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transactional := tc.c == nil || tc.c.Mode == ""
			g := &graph.Graph{Nodes: []*graph.Node{{Name: "out", Transactional: transactional, TransactionTimeout: tc.timeout}}}
			err := checkTransactions(g, tc.c)
			if tc.want == "" {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), `operator "out"`) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
