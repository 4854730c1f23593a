// SPDX-License-Identifier: Apache-2.0

package checkpoint

// Reason says why a snapshot failed.
type Reason string

// The reasons (semantics.md §5).
const (
	ReasonExpired      Reason = "Expired"
	ReasonDeclined     Reason = "Declined"
	ReasonAsync        Reason = "AsyncFailure"
	ReasonFinalize     Reason = "FinalizeFailure"
	ReasonSubsumed     Reason = "Subsumed"
	ReasonSuspended    Reason = "CoordinatorSuspended"
	ReasonShutdown     Reason = "CoordinatorShutdown"
	ReasonTaskFailure  Reason = "TaskFailure"
	ReasonCancelled    Reason = "CancelBarrier"
	ReasonPartialUnion Reason = "UnionStatePartlyFinished"
)

// Counts says whether the reason counts towards the tolerable failures.
func (r Reason) Counts() bool {
	switch r {
	case ReasonExpired, ReasonDeclined, ReasonAsync, ReasonFinalize:
		return true
	default:
		return false
	}
}

// FailureManager counts consecutive failures of checkpoints.
type FailureManager struct {
	tolerable   int
	count       int
	lastSuccess int64
	counted     map[int64]bool
}

// NewFailureManager returns one that tolerates so many consecutive failures.
func NewFailureManager(tolerable int) *FailureManager {
	return &FailureManager{tolerable: tolerable, counted: map[int64]bool{}}
}

// Failed records a failure and says whether that is one too many. id is 0 for a checkpoint that got none; each
// other id counts at most once, ids up to the last success and savepoints never.
func (f *FailureManager) Failed(id int64, savepoint bool, r Reason) bool {
	if savepoint || !r.Counts() || (id > 0 && (id <= f.lastSuccess || f.counted[id])) {
		return false
	}
	if id > 0 {
		f.counted[id] = true
	}
	f.count++
	return f.count > f.tolerable
}

// Succeeded clears the count.
func (f *FailureManager) Succeeded(id int64) {
	f.lastSuccess = max(f.lastSuccess, id)
	f.Reset()
}

// Reset clears the count, for a new attempt.
func (f *FailureManager) Reset() {
	f.count = 0
	clear(f.counted)
}

// Count returns the consecutive failures so far.
func (f *FailureManager) Count() int { return f.count }
