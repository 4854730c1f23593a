// SPDX-License-Identifier: Apache-2.0

package contract

// PathActivate is where a coordinator in standby is told to claim the job and run it.
const PathActivate = "/v1/activate"

// StateOutcome is what becomes of the state of one operator.
type StateOutcome string

// The outcomes.
const (
	// StateMaps means that the operator goes on with the state that the snapshot has of it.
	StateMaps StateOutcome = "Maps"
	// StateStartsEmpty means that the snapshot has no state for the operator.
	StateStartsEmpty StateOutcome = "StartsEmpty"
	// StateDropped means that the graph has no operator for the state. Without the consent to drop it the plan is refused.
	StateDropped StateOutcome = "Dropped"
	// StateIncompatible means that the operator can't take the state that the snapshot has of it.
	StateIncompatible StateOutcome = "Incompatible"
)

// StatePlan says what becomes of the state of a snapshot when a job starts from it.
type StatePlan struct {
	// Snapshot is what the job would start from; nil: it would start empty.
	Snapshot *SnapshotInfo `json:"snapshot,omitempty"`
	// Accepted says that the job could start from it.
	Accepted bool `json:"accepted"`
	// Operators are those of the graph in its order, then those whose state would be dropped.
	Operators []OperatorPlan `json:"operators,omitempty"`
	// Problems say why it is refused, each with its remedy; empty when it is accepted.
	Problems []string `json:"problems,omitempty"`
	// Warnings say what the user should know, such as state that is dropped by consent.
	Warnings []string `json:"warnings,omitempty"`
}

// OperatorPlan is what becomes of the state of one operator.
type OperatorPlan struct {
	// Name of the operator in the graph; for dropped state that in the snapshot.
	Name    string       `json:"name"`
	Outcome StateOutcome `json:"outcome"`
	// From is the name that the state has in the snapshot, when that is another one.
	From string `json:"from,omitempty"`
	// Bytes is the size of its files and lists in the snapshot.
	Bytes int64 `json:"bytes,omitempty"`
	// Reason says why, for what is incompatible.
	Reason string `json:"reason,omitempty"`
}

// StandbyReport is how far a coordinator in standby is.
type StandbyReport struct {
	// Ready says that nothing but its activation is missing: the state fits the graph and there are enough workers.
	Ready bool `json:"ready"`
	// Plan is what becomes of the newest state as it was when the coordinator read it.
	Plan *StatePlan `json:"plan,omitempty"`
}

// ActivateRequest tells a coordinator in standby to claim the job. Asking again, or one that never was in standby, changes nothing.
type ActivateRequest struct {
	// Grant is that of the coordinator which is meant; another one refuses. 0: whichever it has.
	Grant int64 `json:"grant,omitempty"`
}

// Activation is the answer to an [ActivateRequest].
type Activation struct {
	// Grant of the coordinator that is not held back any more.
	Grant int64 `json:"grant"`
}
