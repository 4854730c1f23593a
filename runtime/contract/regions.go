// SPDX-License-Identifier: Apache-2.0

package contract

// RegionReport is one region of a job: the vertices that edges connect. A failure restarts the regions it hits; the others go on.
type RegionReport struct {
	// Name is that of its first vertex.
	Name string `json:"name"`
	// Vertices are the names of its chains of operators.
	Vertices []string `json:"vertices"`
	// Attempt is its newest deployment ("grant-n-k"), empty before the first.
	Attempt string `json:"attempt,omitempty"`
	// State is Running, or Restarting, also before it runs the first time.
	State RegionState `json:"state"`
	// Restarts under this coordinator, whatever the cause.
	Restarts int64 `json:"restarts"`
}

// RegionState says whether a region runs.
type RegionState string

// The states of a region.
const (
	// RegionRunning means that its tasks run, or have finished.
	RegionRunning RegionState = "Running"
	// RegionRestarting means that its tasks are being canceled, wait for their restart, or are being deployed.
	RegionRestarting RegionState = "Restarting"
)
