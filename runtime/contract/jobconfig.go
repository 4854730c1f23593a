// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Duration is a duration that is written as a string ("10s") in JSON.
type Duration time.Duration

// D returns it as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String returns the usual form.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the string form.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the string form.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("reading a duration: want a string such as \"10s\": %w", err)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("reading a duration: %w", err)
	}
	*d = Duration(v)
	return nil
}

// JobConfig is everything that coordinator and workers need to know of a job. Unset fields
// mean the documented default; EnsureDefaults fills them in.
type JobConfig struct {
	// Namespace and Name identify the job for people; both are part of its storage prefix.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// JobID identifies the lineage of state; empty: the coordinator finds it in storage or makes a new one.
	JobID string `json:"jobID,omitempty"`
	// NewJobID is the id of the job to start when JobID is empty and storage has no state of a job of this namespace and name.
	// State of another job there is a problem, RetainedState, and nothing is started.
	NewJobID string `json:"newJobID,omitempty"`
	// Parallelism of nodes that set none. Default 1.
	Parallelism int `json:"parallelism,omitempty"`
	// MaxParallelism is the number of key groups; 0: min(max(roundUpPow2(1.5·parallelism), 128), 32768).
	MaxParallelism int `json:"maxParallelism,omitempty"`
	// DisableChaining makes every operator a task of its own.
	DisableChaining bool `json:"disableChaining,omitempty"`
	// Checkpointing is nil for a job without checkpoints.
	Checkpointing *Checkpointing `json:"checkpointing,omitempty"`
	// StateBackend says how keyed state is kept; nil: in memory, full checkpoints, no budget.
	StateBackend *StateBackend `json:"stateBackend,omitempty"`
	// Restart says what follows a failure; exactly one field is set, or none for the default: None without
	// checkpointing, ExponentialDelay with it.
	Restart Restart `json:"restart,omitzero"`
	// Storage is where snapshots go; nil: the coordinator's memory.
	Storage *Storage `json:"storage,omitempty"`
	// RestoreFrom is a savepoint or checkpoint (directory or _metadata) for the first start of the job; ignored when the head names state.
	RestoreFrom string `json:"restoreFrom,omitempty"`
	// RestoreMode says whose the snapshot of RestoreFrom is from then on. Default NoClaim.
	RestoreMode RestoreMode `json:"restoreMode,omitempty"`
	// RewindTo is a snapshot of this very job, its directory or _metadata: a retained checkpoint, or the savepoint of an operation that the head
	// remembers. The first coordinator that claims the job with a higher grant than the head's goes on from it instead of the newest one, and the job
	// leaves behind what is newer, in the same swap of the head: only if no transactional sink may have committed, and no source
	// may have trimmed its input, with anything newer; else it claims nothing, and the problem is RewindUnsafe. Later coordinators of the same grant
	// find that done and go on from the newest state. Empty: the newest state.
	RewindTo string `json:"rewindTo,omitempty"`
	// AllowNonRestoredState lets a restore drop the state of operators that the graph lacks.
	AllowNonRestoredState bool `json:"allowNonRestoredState,omitempty"`
	// AllowDrained consents to resuming from a drained savepoint.
	AllowDrained bool `json:"allowDrained,omitempty"`
	// Dataflow is the declarative form; nil for a program.
	Dataflow *Dataflow `json:"dataflow,omitempty"`
	// Args are for the program, which finds them here when it describes its job.
	Args []string `json:"args,omitempty"`
}

// RestoreMode says whose the snapshot is that a job starts from.
type RestoreMode string

// The restore modes.
const (
	// NoClaim leaves the snapshot to its owner: the job reads it, and never deletes any of it.
	NoClaim RestoreMode = "NoClaim"
	// Claim makes the job its owner: it deletes the snapshot once it has as many completed checkpoints of its own as it retains. Another job
	// can't claim it any more.
	Claim RestoreMode = "Claim"
)

// Mode is the guarantee of checkpoints.
type Mode string

// The modes.
const (
	ExactlyOnce Mode = "ExactlyOnce"
	AtLeastOnce Mode = "AtLeastOnce"
)

// Checkpointing holds the settings of semantics.md §1.
type Checkpointing struct {
	Interval          Duration `json:"interval"`
	Mode              Mode     `json:"mode,omitempty"`
	Timeout           Duration `json:"timeout,omitempty"`
	MinPause          Duration `json:"minPause,omitempty"`
	MaxConcurrent     int      `json:"maxConcurrent,omitempty"`
	TolerableFailures int      `json:"tolerableFailures,omitempty"`
	// RetentionCount is how many completed checkpoints are kept. Default 1.
	RetentionCount int `json:"retentionCount,omitempty"`
	// DeleteOnCancel deletes the checkpoints when the job is cancelled. Default: they stay.
	DeleteOnCancel bool `json:"deleteOnCancel,omitempty"`
	// Alignment says how barriers wait for each other; nil: Aligned.
	Alignment *Alignment `json:"alignment,omitempty"`
	// OnCorruption says what follows when the newest checkpoint can't be read whole. Default Fail.
	OnCorruption OnCorruption `json:"onCorruption,omitempty"`
}

// AlignmentMode says how barriers wait for each other under exactly once.
type AlignmentMode string

// The alignment modes.
const (
	// Aligned blocks a channel that delivered the barrier until the others did.
	Aligned AlignmentMode = "Aligned"
	// Unaligned lets the barrier overtake what is queued, which becomes part of the checkpoint.
	Unaligned AlignmentMode = "Unaligned"
	// AlignedThenUnaligned aligns for the timeout on each hop and overtakes after it.
	AlignedThenUnaligned AlignmentMode = "AlignedThenUnaligned"
)

// DefaultAlignmentTimeout is how long each hop aligns under AlignedThenUnaligned unless the job says otherwise.
const DefaultAlignmentTimeout = time.Second

// Alignment is how barriers wait for each other. Savepoints are always aligned.
type Alignment struct {
	Mode AlignmentMode `json:"mode"`
	// Timeout is for AlignedThenUnaligned: how long each hop aligns. Default [DefaultAlignmentTimeout].
	Timeout Duration `json:"timeout,omitempty"`
}

// OnCorruption says what follows when the newest checkpoint can't be read whole.
type OnCorruption string

// The policies.
const (
	// FailOnCorruption ends the job.
	FailOnCorruption OnCorruption = "Fail"
	// FallBackOnCorruption restores the next older checkpoint, if no transactional sink can have committed with those left out.
	FallBackOnCorruption OnCorruption = "FallBack"
)

// StateBackend says how keyed state is kept.
type StateBackend struct {
	// Type is Memory, the only one.
	Type string `json:"type,omitempty"`
	// Incremental lets checkpoints upload only what changed since the last completed one.
	Incremental bool `json:"incremental,omitempty"`
	// LocalRecovery lets workers that have a directory for it keep copies of the state files they write, and restore from those.
	LocalRecovery bool `json:"localRecovery,omitempty"`
	// MemoryBudget bounds the keyed state of each worker process in bytes; beyond it the job fails with an error that says so. Rows in flight that an unaligned checkpoint
	// holds get what the state leaves of it; beyond that the checkpoint is declined. 0: no bound.
	MemoryBudget int64 `json:"memoryBudget,omitempty"`
}

// Restart is a union: at most one field is set.
type Restart struct {
	None             *struct{}         `json:"none,omitempty"`
	FixedDelay       *FixedDelay       `json:"fixedDelay,omitempty"`
	FailureRate      *FailureRate      `json:"failureRate,omitempty"`
	ExponentialDelay *ExponentialDelay `json:"exponentialDelay,omitempty"`
}

// FixedDelay restarts at most Attempts times in the life of the job (nil: unlimited), each after Delay (default 1 s).
type FixedDelay struct {
	Attempts *int     `json:"attempts,omitempty"`
	Delay    Duration `json:"delay,omitempty"`
}

// FailureRate tolerates MaxFailures (default 1) within Interval (default 1 min); restarts follow after Delay (default 1 s).
type FailureRate struct {
	MaxFailures int      `json:"maxFailures,omitempty"`
	Interval    Duration `json:"interval,omitempty"`
	Delay       Duration `json:"delay,omitempty"`
}

// ExponentialDelay restarts after min(InitialDelay × Multiplier^n ± Jitter, MaxDelay); quiet for ResetAfter sets n to 0.
// Defaults: 1 s, 1 min, 1.5, 1 h, 0.1, unlimited attempts.
type ExponentialDelay struct {
	InitialDelay Duration `json:"initialDelay,omitempty"`
	MaxDelay     Duration `json:"maxDelay,omitempty"`
	Multiplier   float64  `json:"multiplier,omitempty"`
	ResetAfter   Duration `json:"resetAfter,omitempty"`
	Jitter       *float64 `json:"jitter,omitempty"`
	Attempts     *int     `json:"attempts,omitempty"`
}

// Storage is a union: exactly one of S3 and Volume.
type Storage struct {
	S3     *S3     `json:"s3,omitempty"`
	Volume *Volume `json:"volume,omitempty"`
	// SavepointPrefix is the default target of savepoints, a path in the same storage; default "savepoints".
	SavepointPrefix string `json:"savepointPrefix,omitempty"`
}

// SavepointDir is the directory below which savepoints are taken by default, ending in "/".
func (s *Storage) SavepointDir() string {
	if s == nil || s.SavepointPrefix == "" {
		return "savepoints/"
	}
	return strings.TrimSuffix(s.SavepointPrefix, "/") + "/"
}

// S3 names a bucket of S3-compatible storage. Credentials come from the environment (AWS_ACCESS_KEY_ID,
// AWS_SECRET_ACCESS_KEY), never from here.
type S3 struct {
	// Endpoint is a URL; http:// means no TLS.
	Endpoint string `json:"endpoint"`
	Bucket   string `json:"bucket"`
	Prefix   string `json:"prefix,omitempty"`
	Region   string `json:"region,omitempty"`
}

// Volume is a directory that coordinator and workers share.
type Volume struct {
	Path string `json:"path"`
}
