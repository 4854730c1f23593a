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
	// IncompatibleState means that the state does not fit the job.
	IncompatibleState ProblemReason = "IncompatibleState"
	// InvalidJob means that the graph of the job can't be built or planned.
	InvalidJob ProblemReason = "InvalidJob"
	// RetainedState means that storage holds state of another job of this namespace and name.
	RetainedState ProblemReason = "RetainedState"
	// Fenced means that a coordinator with a higher grant owns the job.
	Fenced ProblemReason = "Fenced"
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
	// Operations are those that were asked for, with the outcome that the head names.
	Operations []Operation `json:"operations,omitempty"`
	// Deleted counts the objects that Dispose deleted.
	Deleted int64 `json:"deleted,omitempty"`
	// Warnings say what the user should know, such as state that would be dropped.
	Warnings []string `json:"warnings,omitempty"`
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
