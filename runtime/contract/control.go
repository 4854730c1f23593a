// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"time"
)

// Paths of the control API. All bodies are JSON. An error answer is an [APIError].
const (
	PathJob         = "/v1/job"
	PathCheckpoints = "/v1/checkpoints"
	PathSavepoints  = "/v1/savepoints"
	PathStop        = "/v1/stop"
	PathCancel      = "/v1/cancel"
	PathOperations  = "/v1/operations"
	PathPolicy      = "/v1/policy"
	PathHealth      = "/healthz"
	PathLive        = "/livez"
	PathReady       = "/readyz"
	PathMetrics     = "/metrics"
)

// MaxRequestBytes bounds the body of a request to the control API.
const MaxRequestBytes = 64 << 10

// MaxWait bounds how long one request for an operation may wait for its end.
const MaxWait = time.Minute

// JobState is where a job is in its life.
type JobState string

// The job states.
const (
	// JobStarting means that the coordinator is claiming the head and reading the state to start from.
	JobStarting JobState = "Starting"
	// JobStandby means that the coordinator has read the state to start from, accepts workers, and claims nothing until it is activated.
	JobStandby JobState = "Standby"
	// JobWaiting means that there are not enough worker slots yet.
	JobWaiting JobState = "WaitingForWorkers"
	// JobDeploying means that tasks are being started.
	JobDeploying JobState = "Deploying"
	// JobRunning means that all tasks run.
	JobRunning JobState = "Running"
	// JobRestarting means that an attempt failed and the next one follows after a delay.
	JobRestarting JobState = "Restarting"
	// JobStopping means that a stop with savepoint or a cancellation is under way.
	JobStopping JobState = "Stopping"
	// JobStopped means that the job ended with a savepoint and can be resumed from it.
	JobStopped JobState = "Stopped"
	// JobFinished means that all input was read to its end.
	JobFinished JobState = "Finished"
	// JobCancelled means that the job was cancelled.
	JobCancelled JobState = "Cancelled"
	// JobFailed means that the job failed for good.
	JobFailed JobState = "Failed"
	// JobSuspended means that this coordinator ended without ending the job: it was shut down or fenced.
	JobSuspended JobState = "Suspended"
)

// JobStates returns all states.
func JobStates() []JobState {
	return []JobState{
		JobStarting, JobStandby, JobWaiting, JobDeploying, JobRunning, JobRestarting, JobStopping,
		JobStopped, JobFinished, JobCancelled, JobFailed, JobSuspended,
	}
}

// Ended says whether the state is final.
func (s JobState) Ended() bool {
	switch s {
	case JobStopped, JobFinished, JobCancelled, JobFailed, JobSuspended:
		return true
	default:
		return false
	}
}

// Epoch is the fencing number of a coordinator incarnation, as shown to people.
type Epoch struct {
	Grant int64 `json:"grant"`
	N     int64 `json:"n"`
}

// JobStatus is the answer to GET /v1/job.
type JobStatus struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// JobID is empty until the head is claimed.
	JobID string   `json:"jobID,omitempty"`
	State JobState `json:"state"`
	// Message says what the job waits for, if it does.
	Message string `json:"message,omitempty"`
	// Problem is what keeps the coordinator from doing its work; nil when nothing does.
	Problem *Problem `json:"problem,omitempty"`
	// Standby says how far a coordinator in standby is; nil for one that isn't.
	Standby *StandbyReport `json:"standby,omitempty"`
	// StorageTrouble keeps checkpoints of a running job from being committed; nil when nothing does.
	StorageTrouble *StorageTrouble `json:"storageTrouble,omitempty"`
	// PolicyRevision is that of the [Policy] in force; empty: that of the configuration.
	PolicyRevision string `json:"policyRevision,omitempty"`
	// Durable says that snapshots outlive the coordinator.
	Durable bool `json:"durable"`
	// Epoch of the coordinator and the newest Attempt of tasks ("grant-n-k"); see Regions for that of the others.
	Epoch   Epoch  `json:"epoch"`
	Attempt string `json:"attempt,omitempty"`
	// Restarts counts restarts in the life of the job.
	Restarts int64 `json:"restarts"`
	// DeployedAt is when the tasks of the newest attempt were sent to the workers, which were all there then; zero before the first attempt.
	DeployedAt time.Time `json:"deployedAt,omitzero"`
	// StartedAt is when this coordinator started.
	StartedAt time.Time `json:"startedAt"`
	// LastFailure is what ended the last attempt that failed.
	LastFailure *Failure `json:"lastFailure,omitempty"`
	// RestoredFrom is the snapshot the running attempt started from; nil for an empty start.
	RestoredFrom *SnapshotInfo `json:"restoredFrom,omitempty"`

	Parallelism    int `json:"parallelism"`
	MaxParallelism int `json:"maxParallelism"`
	// SlotsNeeded and SlotsOffered say whether there are enough workers.
	SlotsNeeded  int `json:"slotsNeeded"`
	SlotsOffered int `json:"slotsOffered"`

	// RecordsIn counts what the sources of the attempt emitted, RecordsOut what its sinks took.
	// Two reports of the same attempt and their MeasuredAt give a rate.
	RecordsIn  int64     `json:"recordsIn"`
	RecordsOut int64     `json:"recordsOut"`
	MeasuredAt time.Time `json:"measuredAt"`
	// RecordsReplayed is an estimate of how many records the sources had emitted after the checkpoint when tasks of this coordinator were
	// restarted from it, and so emitted again. What came after the last heartbeat before a failure is not in it.
	RecordsReplayed int64 `json:"recordsReplayed"`

	LastCheckpoint *SnapshotInfo `json:"lastCheckpoint,omitempty"`
	LastSavepoint  *SnapshotInfo `json:"lastSavepoint,omitempty"`

	// Sweeps are the looks of this coordinator for objects in the directory of the job that nothing refers to; nil before the first one.
	Sweeps *Sweeps `json:"sweeps,omitempty"`

	// MaxOutage is how long the job may be down before the outside drops what a transactional sink has prepared and not committed: then that
	// is lost, and the job ends. 0: no bound.
	MaxOutage Duration `json:"maxOutage,omitempty"`

	// Regions are the parts of the job that are restarted each alone; empty for a job that is one.
	Regions []RegionReport `json:"regions,omitempty"`
	Tasks   []TaskReport   `json:"tasks,omitempty"`
	Workers []WorkerReport `json:"workers,omitempty"`
	// Operations are those in flight and those that ended last.
	Operations []Operation `json:"operations,omitempty"`
	// Storage says where snapshots go; Warnings hold what the user should know, such as checkpoints in memory.
	Storage  string   `json:"storage,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Sweeps says what a coordinator has found and deleted that crashes, lost answers and refused deletions had left.
type Sweeps struct {
	// At is when the last one ended.
	At time.Time `json:"at"`
	// Objects and Bytes have been deleted by all of them.
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
	// Error says why the last one could not be brought to its end; empty if it was. It is tried again after an hour.
	Error string `json:"error,omitempty"`
}

// StorageTrouble says what is wrong with the storage of a job whose tasks go on.
type StorageTrouble struct {
	Since   time.Time `json:"since"`
	Message string    `json:"message"`
}

// Failure says what went wrong, where and when.
type Failure struct {
	At      time.Time `json:"at"`
	Message string    `json:"message"`
	Task    string    `json:"task,omitempty"`
	Worker  string    `json:"worker,omitempty"`
}

// TaskReport is one task of the running attempt.
type TaskReport struct {
	// Task is "vertex/subtask"; Operators are those of its chain.
	Task      string   `json:"task"`
	Operators []string `json:"operators,omitempty"`
	Worker    string   `json:"worker,omitempty"`
	// State is Deploying, Running, Finished, Failed or Canceled.
	State      string           `json:"state"`
	RecordsIn  int64            `json:"recordsIn"`
	RecordsOut int64            `json:"recordsOut"`
	Watermark  int64            `json:"watermark,omitempty"`
	Counters   map[string]int64 `json:"counters,omitempty"`
}

// WorkerReport is one worker that is connected.
type WorkerReport struct {
	Name     string    `json:"name"`
	Slots    int       `json:"slots"`
	DataAddr string    `json:"dataAddr,omitempty"`
	LastSeen time.Time `json:"lastSeen"`
}

// SnapshotInfo describes a completed checkpoint or savepoint.
type SnapshotInfo struct {
	ID int64 `json:"id"`
	// Kind is Checkpoint or Savepoint.
	Kind string `json:"kind"`
	// Path is its directory in storage, with the storage's own location before it.
	Path           string    `json:"path"`
	CompletedAt    time.Time `json:"completedAt,omitzero"`
	SizeBytes      int64     `json:"sizeBytes,omitempty"`
	DurationMillis int64     `json:"durationMillis,omitempty"`
	// Stopped says that the job was stopped with it: nothing was processed after it. Only of what a job was restored from.
	Stopped bool `json:"stopped,omitempty"`
}

// OperationType is what was asked for.
type OperationType string

// The operation types.
const (
	CheckpointOperation OperationType = "Checkpoint"
	SavepointOperation  OperationType = "Savepoint"
	StopOperation       OperationType = "Stop"
	CancelOperation     OperationType = "Cancel"
)

// OperationPhase is how far it got.
type OperationPhase string

// The operation phases.
const (
	OperationRunning   OperationPhase = "Running"
	OperationSucceeded OperationPhase = "Succeeded"
	// OperationFailed means that it did not happen; the job goes on as before unless Error says otherwise.
	OperationFailed OperationPhase = "Failed"
	// OperationUnknown means that this coordinator ended before the outcome was known; the head knows.
	OperationUnknown OperationPhase = "Unknown"
)

// Ended says whether the phase is final.
func (p OperationPhase) Ended() bool { return p != OperationRunning && p != "" }

// Operation is something that was asked of the job, by its id. Asking again with the same id
// starts nothing new and gives the same operation.
type Operation struct {
	ID    string         `json:"id"`
	Type  OperationType  `json:"type"`
	Phase OperationPhase `json:"phase"`
	// Checkpoint and Path of the snapshot that was written; set also when a savepoint was
	// written but the job failed to stop with it.
	Checkpoint int64  `json:"checkpoint,omitempty"`
	Path       string `json:"path,omitempty"`
	// SizeBytes is how large that snapshot is; 0 when that isn't known.
	SizeBytes int64 `json:"sizeBytes,omitempty"`
	// Error and its Remedy, when Failed.
	Error  string `json:"error,omitempty"`
	Remedy string `json:"remedy,omitempty"`

	StartedAt time.Time `json:"startedAt,omitzero"`
	EndedAt   time.Time `json:"endedAt,omitzero"`
}

// CheckpointRequest asks for a checkpoint now.
type CheckpointRequest struct {
	OperationID string `json:"operationID"`
}

// SavepointRequest asks for a savepoint.
type SavepointRequest struct {
	OperationID string `json:"operationID"`
	// Target is the directory, in the job's storage, below which it is written; empty: the job's savepoint prefix.
	Target string `json:"target,omitempty"`
	// Timeout is when the savepoint is given up; 0: after the checkpoint timeout.
	Timeout Duration `json:"timeout,omitempty"`
}

// StopRequest asks to stop the job with a savepoint.
type StopRequest struct {
	OperationID string `json:"operationID"`
	Target      string `json:"target,omitempty"`
	// Drain ends all input first, so that everything held back is emitted; such a savepoint is not
	// resumed from without consent.
	Drain bool `json:"drain,omitempty"`
	// Timeout is when the savepoint is given up; 0: after the checkpoint timeout.
	Timeout Duration `json:"timeout,omitempty"`
}

// CancelRequest asks to cancel the job.
type CancelRequest struct {
	OperationID string `json:"operationID"`
	// Savepoint takes a savepoint first; if it fails the job is not cancelled.
	Savepoint bool   `json:"savepoint,omitempty"`
	Target    string `json:"target,omitempty"`
	// Timeout is when the savepoint is given up; 0: after the checkpoint timeout.
	Timeout Duration `json:"timeout,omitempty"`
}

// Policy is the part of a configuration that changes without a restart. Setting it again with the same revision does nothing.
type Policy struct {
	// Revision names it.
	Revision      string         `json:"revision"`
	Checkpointing *Checkpointing `json:"checkpointing,omitempty"`
	Restart       Restart        `json:"restart,omitzero"`
}

// APIError is the body of every answer that isn't a success.
type APIError struct {
	// Status is the HTTP status code.
	Status int `json:"-"`
	// Message is the cause, Remedy what to do about it.
	Message string `json:"error"`
	Remedy  string `json:"remedy,omitempty"`
}

// Error returns cause and remedy.
func (e *APIError) Error() string {
	if e.Remedy == "" {
		return e.Message
	}
	return fmt.Sprintf("%s (%s)", e.Message, e.Remedy)
}
