// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/record"
)

// HeadFormat is the newest version of the encoding of the head. All versions up to it are read; a head is written in the oldest that has all it
// holds, so that the version of Weir before can take over.
const HeadFormat = 3

// Bounds of the head. They keep it a small object whatever the job does.
const (
	// MaxHeadSize is the largest encoded head that is read or written.
	MaxHeadSize = 4 << 20
	// MaxHeadOperations is how many finished operations the head remembers.
	MaxHeadOperations = 64
	// MaxHeadRestores is how many restores the head remembers; older ones are only counted.
	MaxHeadRestores = 64
	// MaxHeadCheckpoints is how many completed checkpoints the head may name.
	MaxHeadCheckpoints = 1024
	// MaxHeadFailures is how many times of failures the head remembers for a failure rate.
	MaxHeadFailures = 1024
	// MaxHeadText bounds every string of the head.
	MaxHeadText = 8 << 10
)

// MaxText bounds what a task, a worker or the storage says of a failure. Errors of users' code may have any length, and the head takes less than they:
// they are cut where they come in, so that there is room for what others put around them.
const MaxText = 4 << 10

// CutText cuts a text to n bytes, and says so at its end.
func CutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	note := fmt.Sprintf(" (cut, %d bytes in all)", len(s))
	return cut(s, max(n-len(note)-len("…"), 0)) + note
}

// Epoch is the fencing number of one coordinator incarnation; it ascends strictly. It converts to
// and from the Epoch of package protocol, which can't be imported here.
type Epoch struct {
	Grant int64 `json:"grant"`
	N     int64 `json:"n"`
}

// Compare orders epochs by grant, then by claim.
func (e Epoch) Compare(o Epoch) int {
	return cmp.Or(cmp.Compare(e.Grant, o.Grant), cmp.Compare(e.N, o.N))
}

// Head is the one mutable object of a job. What it names has happened; what it doesn't name has not.
type Head struct {
	// Format is the version of the encoding.
	Format int `json:"format"`
	// Seq counts the swaps of the head, from 1.
	Seq int64 `json:"seq"`
	// Owner is random, of the coordinator incarnation that wrote it last.
	Owner string `json:"owner"`
	// Epoch of the owner.
	Epoch Epoch `json:"epoch"`
	// JobID identifies the lineage of state.
	JobID string `json:"jobID"`
	// ReservedUntil is the end of the reserved block of checkpoint ids: every id below it may have been used.
	ReservedUntil int64 `json:"reservedUntil"`
	// Restarts counts failures and restarts over the life of the job.
	Restarts RestartCounters `json:"restarts,omitzero"`
	// Checkpoints are the completed ones that are kept, ids ascending.
	Checkpoints []CompletedCheckpoint `json:"checkpoints,omitempty"`
	// Operations are the finished ones, oldest first, and a stop whose savepoint is complete.
	Operations []Operation `json:"operations,omitempty"`
	// Origin is the snapshot of another lineage that the job first started from.
	Origin *Origin `json:"origin,omitempty"`
	// NamedState is true once the head named any state: the job never starts empty again.
	NamedState bool `json:"namedState,omitempty"`
	// Final is set once the job ended.
	Final *Final `json:"final,omitempty"`
	// Restores says what each attempt started from, oldest first.
	Restores []Restore `json:"restores,omitempty"`
	// CommittedUpTo is the newest snapshot that a transactional sink may have committed with, and TrimmedUpTo the newest that a source may have given
	// up its input with, as far as no snapshot of the head says so any more. 0: what the head names says it all. See [Head.Remember].
	CommittedUpTo int64 `json:"committedUpTo,omitempty"`
	TrimmedUpTo   int64 `json:"trimmedUpTo,omitempty"`
	// RestoresDropped counts the restores that are not listed any more, EmptyDropped those of them that started empty.
	RestoresDropped int64 `json:"restoresDropped,omitempty"`
	EmptyDropped    int64 `json:"emptyDropped,omitempty"`
}

// RestartCounters is what the restart strategies remember. All of them use the same fields.
type RestartCounters struct {
	// Total restarts in the life of the job.
	Total int64 `json:"total,omitempty"`
	// Streak is the exponent of the exponential delay.
	Streak int64 `json:"streak,omitempty"`
	// LastFailure and LastDelay decide about the end of a streak.
	LastFailure time.Time     `json:"lastFailure,omitzero"`
	LastDelay   time.Duration `json:"lastDelay,omitempty"`
	// Failures are the times of the last failures, for the failure rate.
	Failures []time.Time `json:"failures,omitempty"`
}

// CompletedCheckpoint is a checkpoint that a job can be restored from.
type CompletedCheckpoint struct {
	ID int64 `json:"id"`
	// Path is its directory, ending in "/"; the manifest is Path + ManifestName.
	Path string `json:"path"`
	// ManifestCRC32C and ManifestSize are those of the manifest object.
	ManifestCRC32C uint32 `json:"manifestCRC32C"`
	ManifestSize   int64  `json:"manifestSize,omitempty"`
	// Size is that of all state in it, in bytes, as [Manifest.StateSize] says.
	Size int64 `json:"size"`
	// SinksMayHaveCommitted says that a transactional sink can have committed with it.
	SinksMayHaveCommitted bool `json:"sinksMayHaveCommitted,omitempty"`
	// SourcesMayHaveTrimmed says that a source can have given up upstream, with it, what came before.
	SourcesMayHaveTrimmed bool `json:"sourcesMayHaveTrimmed,omitempty"`
	// Shared says that its manifest refers to files in the job's directory for shared files.
	Shared bool `json:"shared,omitempty"`
	// CompletedAt is the coordinator's clock; for people.
	CompletedAt time.Time `json:"completedAt"`
}

// OperationType says what was asked for.
type OperationType string

// The types of operation.
const (
	OperationCheckpoint OperationType = "Checkpoint"
	OperationSavepoint  OperationType = "Savepoint"
	OperationStop       OperationType = "Stop"
	OperationCancel     OperationType = "Cancel"
)

// Outcome says how an operation ended.
type Outcome string

// The outcomes.
const (
	// OutcomeDone means done in full.
	OutcomeDone Outcome = "Done"
	// OutcomeStopping means that the savepoint of a stop is complete and the tasks have been told to stop.
	OutcomeStopping Outcome = "Stopping"
	// OutcomeStopFailed means that the savepoint is complete but the job didn't stop with it: it was restored from it.
	OutcomeStopFailed Outcome = "StopFailed"
	// OutcomeFailed means that nothing was done; the job runs on.
	OutcomeFailed Outcome = "Failed"
	// OutcomeUnknown is never in a head: the coordinator ended before it knew. Ask again.
	OutcomeUnknown Outcome = "Unknown"
)

// Operation is an operation with its outcome.
type Operation struct {
	// ID is chosen by the caller; a repeat of the same id is answered from the head.
	ID      string        `json:"id"`
	Type    OperationType `json:"type"`
	Outcome Outcome       `json:"outcome"`
	// Checkpoint is the id of the snapshot and Path its directory ending in "/"; only if there is a complete one.
	Checkpoint     int64  `json:"checkpoint,omitempty"`
	Path           string `json:"path,omitempty"`
	ManifestCRC32C uint32 `json:"manifestCRC32C,omitempty"`
	ManifestSize   int64  `json:"manifestSize,omitempty"`
	Size           int64  `json:"size,omitempty"`
	// Stop is how the tasks stopped, for OperationStop.
	Stop record.StopMode `json:"stop,omitempty"`
	// SinksMayHaveCommitted says, for OperationStop and for what the job went back to, that a transactional sink can have committed with it;
	// SourcesMayHaveTrimmed that a source can have given up its input.
	SinksMayHaveCommitted bool `json:"sinksMayHaveCommitted,omitempty"`
	SourcesMayHaveTrimmed bool `json:"sourcesMayHaveTrimmed,omitempty"`
	// Role of its savepoint in a recovery, if it isn't the usual one.
	Role  RecoveryRole `json:"role,omitempty"`
	Error string       `json:"error,omitempty"`
	At    time.Time    `json:"at"`
}

// RecoveryRole says whether a recovery starts from the savepoint of an operation.
type RecoveryRole string

// The roles.
const (
	// RoleUsual is that of the type: the savepoint of a stop is what a recovery starts from, another one isn't.
	RoleUsual RecoveryRole = ""
	// RoleRewound is that of a savepoint which stopped nothing, and which the job went back to: a recovery starts from it.
	RoleRewound RecoveryRole = "Rewound"
	// RoleLeftBehind is that of a savepoint which no recovery starts from any more: the job went back behind it, or what came after it was deleted.
	RoleLeftBehind RecoveryRole = "LeftBehind"
	// RoleOutlived is that of a savepoint which stopped nothing, when a job whose sinks commit was restored from an older snapshot since: such a restore gives up what
	// they had prepared with the savepoint. No recovery starts from it, and the job can't go back to it.
	RoleOutlived RecoveryRole = "Outlived"
)

// NamesStop says whether the operation has the savepoint of a stop that a recovery may have to start from.
func (o Operation) NamesStop() bool {
	return o.Type == OperationStop && o.Checkpoint > 0 && o.Outcome != OutcomeFailed && o.Role != RoleLeftBehind
}

// Restorable says whether a recovery may have to start from the savepoint of the operation.
func (o Operation) Restorable() bool {
	return o.NamesStop() || o.Role == RoleRewound && o.Checkpoint > 0 && o.Outcome != OutcomeFailed
}

// Origin is the snapshot that a job started from the first time.
type Origin struct {
	Path       string `json:"path"`
	Checkpoint int64  `json:"checkpoint"`
	// Claim says whose it is.
	Claim OriginClaim `json:"claim,omitempty"`
}

// OriginClaim says whose the snapshot is that a job started from.
type OriginClaim string

// The claims, in the order in which they follow each other.
const (
	// NotClaimed means that it is somebody else's.
	NotClaimed OriginClaim = ""
	// Claimed means that the job owns it, and may still need it.
	Claimed OriginClaim = "Claimed"
	// Released means that the job owns it and doesn't need it any more: it is being deleted, and nothing is restored from it.
	Released OriginClaim = "Released"
	// Deleted means that it is gone.
	Deleted OriginClaim = "Deleted"
)

// Usable says whether a job can start from it.
func (o *Origin) Usable() bool { return o != nil && (o.Claim == NotClaimed || o.Claim == Claimed) }

// FinalState says how a job ended.
type FinalState string

// The final states.
const (
	// FinalFinished means that all input was processed, or that the job was drained.
	FinalFinished FinalState = "Finished"
	// FinalFailed means that the restart strategy gave up or that no restart could help.
	FinalFailed FinalState = "Failed"
	// FinalCanceled means that it was canceled.
	FinalCanceled FinalState = "Canceled"
	// FinalSuspended means that it was stopped with a savepoint and can go on from there.
	FinalSuspended FinalState = "Suspended"
)

// Final is the end of a job under one grant. A coordinator with the same grant doesn't run it again;
// one with a higher grant goes on from the newest state.
type Final struct {
	State FinalState `json:"state"`
	Error string     `json:"error,omitempty"`
	At    time.Time  `json:"at"`
}

// Restore is the start of one attempt.
type Restore struct {
	// Attempt as "grant-n-k"; of several regions the first, they have consecutive ones.
	Attempt string `json:"attempt"`
	// Regions that were started; empty: all. The others went on.
	Regions []string `json:"regions,omitempty"`
	// Checkpoint restored from and its directory; both unset for an empty start.
	Checkpoint int64  `json:"checkpoint,omitempty"`
	Path       string `json:"path,omitempty"`
	// Empty says that the attempt started without any state.
	Empty bool `json:"empty,omitempty"`
	// LeftOut are newer snapshots that were found damaged, newest first: the attempt fell back behind them.
	LeftOut []LeftOut `json:"leftOut,omitempty"`
	At      time.Time `json:"at"`
}

// LeftOut is a damaged snapshot that a restore fell back behind. The head doesn't name it any more; its files stay where they are.
type LeftOut struct {
	Checkpoint int64  `json:"checkpoint"`
	Path       string `json:"path"`
	// Reason says what is damaged.
	Reason string `json:"reason"`
}

// Newest is the snapshot that a recovery starts from.
type Newest struct {
	ID             int64
	Path           string
	ManifestCRC32C uint32
	Stop           record.StopMode
}

// Newest returns the newest completed checkpoint or stop-savepoint, whichever has the higher id; false if there is none. A savepoint that the job
// went back to is like that of a stop.
func (h *Head) Newest() (Newest, bool) {
	var n Newest
	for _, c := range h.Checkpoints {
		if c.ID > n.ID {
			n = Newest{ID: c.ID, Path: c.Path, ManifestCRC32C: c.ManifestCRC32C}
		}
	}
	for _, o := range h.Operations {
		if o.Restorable() && o.Checkpoint > n.ID {
			n = Newest{ID: o.Checkpoint, Path: o.Path, ManifestCRC32C: o.ManifestCRC32C, Stop: o.Stop}
		}
	}
	return n, n.ID > 0
}

// StoppedWith says whether the job came to its end with the savepoint of that id. After a stop that failed when its savepoint was complete, the
// job goes on from that instead.
func (h *Head) StoppedWith(id int64) bool {
	return slices.ContainsFunc(h.Operations, func(o Operation) bool {
		return o.NamesStop() && o.Checkpoint == id && o.Outcome == OutcomeDone
	})
}

// Operation returns the operation with that id.
func (h *Head) Operation(id string) (Operation, bool) {
	i := slices.IndexFunc(h.Operations, func(o Operation) bool { return o.ID == id })
	if i < 0 {
		return Operation{}, false
	}
	return h.Operations[i], true
}

// SetOperation adds or replaces the operation of that id and drops the oldest beyond the bound; the newest one that
// names a savepoint to recover from is never dropped.
func (h *Head) SetOperation(o Operation) {
	o.Error = CutText(o.Error, MaxHeadText)
	h.Operations = slices.Clone(h.Operations)
	if i := slices.IndexFunc(h.Operations, func(x Operation) bool { return x.ID == o.ID }); i >= 0 {
		h.Operations[i] = o
		return
	}
	h.Operations = append(h.Operations, o)
	if len(h.Operations) <= MaxHeadOperations {
		return
	}
	keep := h.newestStop()
	for i := range h.Operations {
		if i != keep {
			h.Operations = slices.Delete(h.Operations, i, i+1)
			return
		}
	}
}

// newestStop is the index of the operation with the newest savepoint to recover from; -1 if there is none.
func (h *Head) newestStop() int {
	best := -1
	for i, o := range h.Operations {
		if o.Restorable() && (best < 0 || o.Checkpoint > h.Operations[best].Checkpoint) {
			best = i
		}
	}
	return best
}

// AddRestore appends the start of an attempt and drops the oldest beyond the bound.
func (h *Head) AddRestore(r Restore) {
	h.Restores = append(slices.Clone(h.Restores), r)
	for len(h.Restores) > MaxHeadRestores {
		h.RestoresDropped++
		if h.Restores[0].Empty {
			h.EmptyDropped++
		}
		h.Restores = h.Restores[1:]
	}
	if !r.Empty {
		h.NamedState = true
	}
}

// Clone returns a deep copy.
func (h *Head) Clone() Head {
	c := *h
	c.Restarts.Failures = slices.Clone(h.Restarts.Failures)
	c.Checkpoints = slices.Clone(h.Checkpoints)
	c.Operations = slices.Clone(h.Operations)
	c.Restores = slices.Clone(h.Restores)
	if h.Origin != nil {
		c.Origin = new(*h.Origin)
	}
	if h.Final != nil {
		c.Final = new(*h.Final)
	}
	return c
}
