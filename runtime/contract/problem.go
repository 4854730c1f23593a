// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"encoding/json"
	"fmt"
	"time"
)

// ProblemReason says what kind of problem keeps a coordinator or an agent from doing its work.
type ProblemReason string

// The problem reasons.
const (
	// StorageUnavailable means that the storage does not answer.
	StorageUnavailable ProblemReason = "StorageUnavailable"
	// StorageAccessDenied means that the storage refuses the credentials.
	StorageAccessDenied ProblemReason = "StorageAccessDenied"
	// StorageNotFound means that the bucket or the directory does not exist.
	StorageNotFound ProblemReason = "StorageNotFound"
	// StorageUnsuitable means that the storage lacks atomic conditional writes.
	StorageUnsuitable ProblemReason = "StorageUnsuitable"
	// RestoreNotFound means that the snapshot to start from, or the state of the job, does not exist.
	RestoreNotFound ProblemReason = "RestoreNotFound"
	// RestoreCorrupt means that the snapshot to start from is damaged.
	RestoreCorrupt ProblemReason = "RestoreCorrupt"
	// RestoreClaimed means that the snapshot to start from can't be claimed: another job owns it, or it is no snapshot that one job alone can own.
	RestoreClaimed ProblemReason = "RestoreClaimed"
	// RewindUnsafe means that the job can't go back to the snapshot that RewindTo names: a transactional sink may have committed with a newer one,
	// or a source may have given up upstream what would have to be read again.
	RewindUnsafe ProblemReason = "RewindUnsafe"
	// IncompatibleState means that the state does not fit the job.
	IncompatibleState ProblemReason = "IncompatibleState"
	// InvalidJob means that the graph of the job can't be built or planned.
	InvalidJob ProblemReason = "InvalidJob"
	// RetainedState means that storage holds state of another job of this namespace and name.
	RetainedState ProblemReason = "RetainedState"
	// Fenced means that a coordinator with a higher grant owns the job.
	Fenced ProblemReason = "Fenced"
	// InUse means that something needs the snapshot that is to be deleted.
	InUse ProblemReason = "InUse"
	// Internal is everything else.
	Internal ProblemReason = "Internal"
)

// Problem is what keeps a coordinator or an agent from doing its work.
type Problem struct {
	Reason ProblemReason `json:"reason"`
	// Message is the cause, Remedy what to do about it.
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
	// Since is when it began; RetryAt when it is tried again, zero: not by itself.
	Since   time.Time `json:"since,omitzero"`
	RetryAt time.Time `json:"retryAt,omitzero"`
	// JobID, HeadGrant and HeadFinal are what storage holds, for RetainedState and Fenced. HeadFinal is how that job
	// ended: Finished, Suspended, Canceled or Failed; empty: it hasn't.
	JobID     string `json:"jobID,omitempty"`
	HeadGrant int64  `json:"headGrant,omitempty"`
	HeadFinal string `json:"headFinal,omitempty"`
}

// TerminationLog is the file whose content Kubernetes shows as the termination message of a container.
const TerminationLog = "/dev/termination-log"

// maxAgentResult is what fits into a termination message.
const maxAgentResult = 4096

// The agent tasks, as an [AgentResult] names them.
const (
	AgentCheck   = "Check"
	AgentFence   = "Fence"
	AgentDispose = "Dispose"
	AgentInspect = "Inspect"
	AgentRemove  = "Remove"
)

// AgentResult is what an agent found out or did. It is written as JSON to the termination log.
type AgentResult struct {
	Task string `json:"task"`
	// OK says that it was done, and for Check that the job can start. Otherwise Problem says why not.
	OK      bool     `json:"ok"`
	Problem *Problem `json:"problem,omitempty"`
	// JobID, HeadGrant and HeadFinal are what storage holds of the job.
	JobID     string `json:"jobID,omitempty"`
	HeadGrant int64  `json:"headGrant,omitempty"`
	HeadFinal string `json:"headFinal,omitempty"`
	// Newest is the newest state of the job; nil when there is none.
	Newest *SnapshotInfo `json:"newest,omitempty"`
	// Rewind says whether the job could go back to the snapshot that was asked about (RewindTo of the configuration, or --rewind-to); nil when none
	// was, and when the head doesn't name it. Check has a problem, RewindUnsafe, when it could not; for the others it is information alone.
	Rewind *Rewind `json:"rewind,omitempty"`
	// Operations are those that were asked for, with the outcome that the head names.
	Operations []Operation `json:"operations,omitempty"`
	// Snapshot is the one that Inspect found, JobID its lineage. Pinned says that a pin keeps it.
	Snapshot *SnapshotInfo `json:"snapshot,omitempty"`
	Pinned   bool          `json:"pinned,omitempty"`
	// Deleted counts the objects that Dispose or Remove deleted.
	Deleted int64 `json:"deleted,omitempty"`
	// Warnings say what the user should know, such as state that would be dropped.
	Warnings []string `json:"warnings,omitempty"`
}

// Rewind says whether a job can go back to an older snapshot of its own. It is what the head said when it was read: as long as a coordinator of the job
// lives, a newer snapshot may change it. The coordinator that is to go back decides anew when it claims the head.
type Rewind struct {
	// Snapshot is the one that was asked about.
	Snapshot SnapshotInfo `json:"snapshot"`
	// Safe says that going back doubles no output and loses no input: neither of the next two is set.
	Safe bool `json:"safe"`
	// SinksMayHaveCommitted says that a transactional sink may have committed with a snapshot after it.
	SinksMayHaveCommitted bool `json:"sinksMayHaveCommitted,omitempty"`
	// SourcesMayHaveTrimmed says that a source may have given up upstream, with a snapshot after it, what would have to be read again.
	SourcesMayHaveTrimmed bool `json:"sourcesMayHaveTrimmed,omitempty"`
	// Newer counts the snapshots of the head that are newer, and that the job would leave behind.
	Newer int `json:"newer,omitempty"`
}

// Encode returns the result as JSON that fits into a termination message: texts are cut if need be.
func (r AgentResult) Encode() ([]byte, error) {
	for limit := maxAgentResult / 2; ; limit /= 2 {
		b, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("encoding the result of an agent: %w", err)
		}
		if len(b) <= maxAgentResult || limit < 16 {
			return b, nil
		}
		r = r.cut(limit)
	}
}

// cut returns a copy whose texts have at most limit bytes.
func (r AgentResult) cut(limit int) AgentResult {
	if r.Problem != nil {
		p := *r.Problem
		p.Message, p.Remedy = cutText(p.Message, limit), cutText(p.Remedy, limit)
		r.Problem = &p
	}
	warnings := r.Warnings[:min(len(r.Warnings), limit/64)]
	r.Warnings = nil
	for _, w := range warnings {
		r.Warnings = append(r.Warnings, cutText(w, limit/8))
	}
	operations := r.Operations
	r.Operations = nil
	for _, o := range operations {
		o.Error, o.Remedy = cutText(o.Error, limit/8), cutText(o.Remedy, limit/8)
		r.Operations = append(r.Operations, o)
	}
	return r
}

func cutText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "..."
}

// ParseAgentResult reads what an agent wrote to its termination log.
func ParseAgentResult(message string) (*AgentResult, error) {
	var r AgentResult
	if err := json.Unmarshal([]byte(message), &r); err != nil {
		return nil, fmt.Errorf("reading the result of an agent: %w", err)
	}
	return &r, nil
}
