// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
)

func TestMachinePlan_ShortestTransactionTimeout(t *testing.T) {
	t.Parallel()
	sink := func(name string, transactional bool, timeout time.Duration) *graph.Vertex {
		return &graph.Vertex{Name: name, Parallelism: 1, Nodes: []*graph.Node{{Name: name, Transactional: transactional, TransactionTimeout: timeout}}}
	}
	tests := map[string]struct {
		sinks []*graph.Vertex
		want  time.Duration
	}{
		"none":                    {[]*graph.Vertex{sink("a", false, 0), sink("b", true, 0)}, 0},
		"the shortest":            {[]*graph.Vertex{sink("a", true, time.Hour), sink("b", true, time.Minute), sink("c", true, 0)}, time.Minute},
		"of transactional sinks":  {[]*graph.Vertex{sink("a", true, time.Hour), sink("b", false, time.Minute)}, time.Hour},
		"whatever their order is": {[]*graph.Vertex{sink("a", true, time.Minute), sink("b", true, time.Hour)}, time.Minute},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := machinePlan(&graph.Plan{Vertices: tc.sinks}).TransactionTimeout; got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestReportRegions(t *testing.T) {
	t.Parallel()
	attempt := protocol.Attempt{Epoch: protocol.Epoch{Grant: 1, N: 2}, K: 3}
	one := job.RegionInfo{Name: "a", Vertices: []string{"a", "b"}, Attempt: attempt, Restarts: 1}
	two := job.RegionInfo{Name: "c", Vertices: []string{"c"}, Down: true}
	tests := map[string]struct {
		regions []job.RegionInfo
		want    []contract.RegionReport
	}{
		"a job of one region says nothing of it": {[]job.RegionInfo{one}, nil},
		"two": {[]job.RegionInfo{one, two}, []contract.RegionReport{
			{Name: "a", Vertices: []string{"a", "b"}, Attempt: "1-2-3", State: contract.RegionRunning, Restarts: 1},
			{Name: "c", Vertices: []string{"c"}, State: contract.RegionRestarting},
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out contract.JobStatus
			reportRegions(&out, job.Status{Regions: tc.regions})
			if diff := cmp.Diff(tc.want, out.Regions); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
