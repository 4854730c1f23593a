// SPDX-License-Identifier: Apache-2.0

package job

import (
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// State is where the job is in its life.
type State string

// The states.
const (
	// StateInitializing claims the head.
	StateInitializing State = "Initializing"
	// StateCreated waits for worker slots, reads what is to be restored and deploys the tasks.
	StateCreated State = "Created"
	// StateRunning has all tasks running (or finished).
	StateRunning State = "Running"
	// StateFailing cancels the tasks of a failed attempt.
	StateFailing State = "Failing"
	// StateRestarting waits out the delay of the restart strategy.
	StateRestarting State = "Restarting"
	// StateCancelling cancels the tasks because the job was canceled.
	StateCancelling State = "Cancelling"
	StateCanceled   State = "Canceled"
	StateFinished   State = "Finished"
	StateFailed     State = "Failed"
	// StateSuspended means stopped with a savepoint, or that this coordinator ended without ending the job.
	StateSuspended State = "Suspended"
)

// Terminal says whether the job has ended, as far as this coordinator goes.
func (s State) Terminal() bool {
	switch s {
	case StateCanceled, StateFinished, StateFailed, StateSuspended:
		return true
	default:
		return false
	}
}

// TaskInfo describes one task of the current attempt.
type TaskInfo struct {
	Task protocol.TaskID `json:"task"`
	// Attempt that it was deployed with.
	Attempt   protocol.Attempt   `json:"attempt"`
	State     protocol.TaskState `json:"state"`
	Worker    string             `json:"worker,omitempty"`
	EndOfData bool               `json:"endOfData,omitempty"`
}

// RegionInfo describes one region: vertices that edges connect, which are restarted together.
type RegionInfo struct {
	// Name is that of its first vertex.
	Name     string   `json:"name"`
	Vertices []string `json:"vertices"`
	// Attempt is its newest deployment, zero before the first.
	Attempt protocol.Attempt `json:"attempt,omitzero"`
	// Down says that it is being restarted, or started the first time.
	Down bool `json:"down,omitempty"`
	// Restarts under this coordinator, whatever the cause.
	Restarts int64 `json:"restarts,omitempty"`
}

// WorkerInfo describes one registered worker.
type WorkerInfo struct {
	Name     string `json:"name"`
	Slots    int    `json:"slots"`
	DataAddr string `json:"dataAddr,omitempty"`
}

// Failure is a failure of an attempt.
type Failure struct {
	At      time.Time        `json:"at"`
	Attempt protocol.Attempt `json:"attempt"`
	// Task and Worker that failed, if it was one.
	Task   protocol.TaskID `json:"task,omitzero"`
	Worker string          `json:"worker,omitempty"`
	Error  string          `json:"error"`
	Fatal  bool            `json:"fatal,omitempty"`
}

// Status is a copy of what is known of the job.
type Status struct {
	State State `json:"state"`
	// Message says what the job waits for, if it does.
	Message string `json:"message,omitempty"`
	// Trouble is what reading or swapping the head runs into, since TroubleSince; empty if the last try succeeded.
	Trouble      string         `json:"trouble,omitempty"`
	TroubleSince time.Time      `json:"troubleSince,omitzero"`
	JobID        string         `json:"jobID"`
	Epoch        protocol.Epoch `json:"epoch"`
	// Attempt is the newest; each region has its own.
	Attempt protocol.Attempt `json:"attempt"`
	// StartedAt is when the tasks of the attempt were deployed.
	StartedAt time.Time `json:"startedAt,omitzero"`
	// Restarts in the life of the job.
	Restarts int64 `json:"restarts"`
	// LastFailure is nil if nothing failed yet under this coordinator.
	LastFailure *Failure `json:"lastFailure,omitempty"`
	// Restored says what the attempt started from.
	Restored *snapshot.Restore `json:"restored,omitempty"`
	// Taken describes the snapshot of Restored; the zero value after an empty start.
	Taken Taken      `json:"taken,omitzero"`
	Tasks []TaskInfo `json:"tasks,omitempty"`
	// Regions of the graph, in order of their first vertices.
	Regions []RegionInfo `json:"regions,omitempty"`
	Workers []WorkerInfo `json:"workers,omitempty"`
	// Slots needed and offered.
	SlotsNeeded  int `json:"slotsNeeded"`
	SlotsOffered int `json:"slotsOffered"`
	// Checkpoints counts, Pending and History (newest last) describe snapshots.
	Checkpoints checkpoint.Summary `json:"checkpoints"`
	Pending     []checkpoint.Stats `json:"pending,omitempty"`
	History     []checkpoint.Stats `json:"history,omitempty"`
	// Completed are the checkpoints that the head names.
	Completed []snapshot.CompletedCheckpoint `json:"completed,omitempty"`
	// Operations are the finished ones that the head names.
	Operations []snapshot.Operation `json:"operations,omitempty"`
}

// Taken is what the manifest of a snapshot says of how it was taken.
type Taken struct {
	Kind record.SnapshotKind `json:"kind,omitempty"`
	// Stop says how the job was stopped with it, if it was.
	Stop record.StopMode `json:"stop,omitempty"`
	// At is when its manifest was written, by the clock of the coordinator then.
	At time.Time `json:"at,omitzero"`
	// Size is that of all state in it, in bytes.
	Size int64 `json:"size,omitempty"`
}
