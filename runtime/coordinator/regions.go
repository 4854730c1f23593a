// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
)

// reportRegions adds the regions of a job that has several.
func reportRegions(out *contract.JobStatus, s job.Status) {
	if len(s.Regions) < 2 {
		return
	}
	for _, r := range s.Regions {
		g := contract.RegionReport{Name: r.Name, Vertices: r.Vertices, State: contract.RegionRunning, Restarts: r.Restarts}
		if r.Down {
			g.State = contract.RegionRestarting
		}
		if r.Attempt.K > 0 {
			g.Attempt = r.Attempt.String()
		}
		out.Regions = append(out.Regions, g)
	}
}
