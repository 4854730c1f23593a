// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"

	"github.com/weir-stream/weir/runtime/contract"
)

func TestNewestFailure_TellsFailuresOfCheckpointsOnly(t *testing.T) {
	t.Parallel()
	report := func(id int64, state, reason string, counted bool) contract.CheckpointReport {
		return contract.CheckpointReport{SnapshotInfo: contract.SnapshotInfo{ID: id}, State: state, Reason: reason, Counted: counted, Error: "why"}
	}
	tests := map[string]struct {
		recent []contract.CheckpointReport
		want   string
	}{
		"nothing yet":             {nil, ""},
		"in flight":               {[]contract.CheckpointReport{report(1, "InFlight", "", false)}, ""},
		"completed":               {[]contract.CheckpointReport{report(2, "Completed", "", false), report(1, "Failed", "Expired", true)}, ""},
		"failed":                  {[]contract.CheckpointReport{report(2, "Failed", "Expired", true), report(1, "Completed", "", false)}, "2 failed: why"},
		"failed before a flight":  {[]contract.CheckpointReport{report(3, "InFlight", "", false), report(2, "Failed", "Expired", true)}, "2 failed: why"},
		"given up for a restart":  {[]contract.CheckpointReport{report(2, "Failed", "TaskFailure", false), report(1, "Completed", "", false)}, ""},
		"failed before a restart": {[]contract.CheckpointReport{report(2, "Failed", "TaskFailure", false), report(1, "Failed", "Expired", true)}, "1 failed: why"},
		"an engine without words": {[]contract.CheckpointReport{report(2, "Failed", "", false)}, "2 failed: why"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := newestFailure(&contract.CheckpointsReport{Recent: tc.recent}); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
