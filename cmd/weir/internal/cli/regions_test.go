// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
)

func TestPrintStatus_Regions(t *testing.T) {
	t.Parallel()
	s := &contract.JobStatus{Name: "j", Regions: []contract.RegionReport{
		{Name: "in", Vertices: []string{"in", "out"}, Attempt: "1-1-3", State: contract.RegionRunning, Restarts: 1},
		{Name: "other", Vertices: []string{"other"}, State: contract.RegionRestarting},
	}}
	tests := map[string]struct {
		regions []contract.RegionReport
		want    []string
	}{
		"several": {s.Regions, []string{"REGION STATE ATTEMPT RESTARTS PARTS", "in Running 1-1-3 1 in, out", "other Restarting - 0 other"}},
		"one":     {nil, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status := *s
			status.Regions = tc.regions
			var out bytes.Buffer
			if err := printStatus(&out, time.Now(), &status, &contract.CheckpointsReport{}); err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(out.String()) {
				if words := strings.Join(strings.Fields(line), " "); len(got) > 0 || strings.HasPrefix(words, "REGION") {
					got = append(got, words)
				}
			}
			if strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
