// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StabilityReport says how far a version is on its way to count as stable.
type StabilityReport struct {
	// grant of the version.
	// +optional
	Grant int64 `json:"grant,omitempty"`

	// checkpoints counts those that it completed since its last restart; wanted is how many it takes.
	// +optional
	Checkpoints int32 `json:"checkpoints,omitempty"`

	// wanted is how many checkpoints it takes.
	// +optional
	Wanted int32 `json:"wanted,omitempty"`

	// restarts counts those of its tasks since it was deployed.
	// +optional
	Restarts int32 `json:"restarts,omitempty"`

	// restartsBefore is the engine's count of restarts when the version first ran.
	// +optional
	RestartsBefore int64 `json:"restartsBefore,omitempty"`

	// since is when it last began to run without a restart.
	// +optional
	Since metav1.Time `json:"since,omitempty,omitzero"`

	// afterCheckpoint is the newest checkpoint that was counted or came before: those with a higher id count.
	// +optional
	AfterCheckpoint int64 `json:"afterCheckpoint,omitempty"`

	// epoch of the coordinator that this is about.
	// +optional
	Epoch string `json:"epoch,omitempty"`

	// failingSince is since when its pods have a fault that will not pass by itself.
	// +optional
	FailingSince metav1.Time `json:"failingSince,omitempty,omitzero"`
}

// StableReport names a version that counted as stable.
type StableReport struct {
	// grant of the version. Its stored revision is kept under this number.
	// +optional
	Grant int64 `json:"grant,omitempty"`

	// revision is a hash of what needs a restart.
	// +optional
	Revision string `json:"revision,omitempty"`

	// generation of the spec that it was made from.
	// +optional
	Generation int64 `json:"generation,omitempty"`

	// at is when it became stable.
	// +optional
	At metav1.Time `json:"at,omitempty,omitzero"`
}

// RollbackReport says which version was rolled back, and why.
type RollbackReport struct {
	// fromRevision is the version that did not become stable.
	// +optional
	FromRevision string `json:"fromRevision,omitempty"`

	// fromGeneration is the newest generation of the spec that asks for it.
	// +optional
	FromGeneration int64 `json:"fromGeneration,omitempty"`

	// toRevision is the stable version that runs instead.
	// +optional
	ToRevision string `json:"toRevision,omitempty"`

	// restartNonce is the value of spec.restartNonce at that time; another one has the version tried again.
	// +optional
	RestartNonce string `json:"restartNonce,omitempty"`

	// reason is the condition reason of what was wrong with it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// message says what was wrong with it.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// grant of the version that was deployed instead.
	// +optional
	Grant int64 `json:"grant,omitempty"`

	// blockedBy says what kept the stable version from going on.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	BlockedBy string `json:"blockedBy,omitempty"`

	// outcome is how far the rollback got.
	// +optional
	Outcome RollbackOutcome `json:"outcome,omitempty"`

	// path is the snapshot from before the version that was rolled back. Absent: none is known.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path,omitempty"`

	// at is when the rollback began.
	// +optional
	At metav1.Time `json:"at,omitempty,omitzero"`

	// completedAt is when the stable version ran again.
	// +optional
	CompletedAt metav1.Time `json:"completedAt,omitempty,omitzero"`
}

// RollbackOutcome is how far a rollback got.
//
// +kubebuilder:validation:Enum=Started;Completed;Blocked;Failed
type RollbackOutcome string

const (
	// RollbackStarted means that it is under way.
	RollbackStarted RollbackOutcome = "Started"
	// RollbackCompleted means that the stable version runs.
	RollbackCompleted RollbackOutcome = "Completed"
	// RollbackBlocked means that the stable version cannot go on without doubling output or losing state; somebody has to choose.
	RollbackBlocked RollbackOutcome = "Blocked"
	// RollbackFailed means that the stable version did not come up either. It is not rolled back any further.
	RollbackFailed RollbackOutcome = "Failed"
)

// HistoryOutcome is what became of a version.
//
// +kubebuilder:validation:Enum=Deployed;Stable;Replaced;RolledBack;Suspended;Completed;Failed;Cancelled
type HistoryOutcome string

const (
	// OutcomeDeployed means that it runs and is not stable yet.
	OutcomeDeployed HistoryOutcome = "Deployed"
	// OutcomeStable means that it runs and is stable.
	OutcomeStable HistoryOutcome = "Stable"
	// OutcomeReplaced means that another version took its place.
	OutcomeReplaced HistoryOutcome = "Replaced"
	// OutcomeRolledBack means that it was rolled back.
	OutcomeRolledBack HistoryOutcome = "RolledBack"
	// OutcomeSuspended means that it was suspended.
	OutcomeSuspended HistoryOutcome = "Suspended"
	// OutcomeCompleted means that it read all its input.
	OutcomeCompleted HistoryOutcome = "Completed"
	// OutcomeFailed means that it failed for good.
	OutcomeFailed HistoryOutcome = "Failed"
	// OutcomeCancelled means that it was cancelled.
	OutcomeCancelled HistoryOutcome = "Cancelled"
)

// HistoryEntry is one version that was deployed.
type HistoryEntry struct {
	// grant of the version.
	// +optional
	Grant int64 `json:"grant,omitempty"`

	// revision is a hash of what needs a restart.
	// +optional
	Revision string `json:"revision,omitempty"`

	// generation of the spec that it was made from.
	// +optional
	Generation int64 `json:"generation,omitempty"`

	// deployedAt is when it was deployed.
	// +optional
	DeployedAt metav1.Time `json:"deployedAt,omitempty,omitzero"`

	// endedAt is when it was replaced, rolled back, or ended.
	// +optional
	EndedAt metav1.Time `json:"endedAt,omitempty,omitzero"`

	// outcome is what became of it.
	// +optional
	Outcome HistoryOutcome `json:"outcome,omitempty"`

	// requestedMode and restoredFrom say what it started from, as status.restore does.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	RequestedMode string `json:"requestedMode,omitempty"`

	// effectiveMode is what was done.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	EffectiveMode string `json:"effectiveMode,omitempty"`

	// restoreReason is why effectiveMode isn't requestedMode.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	RestoreReason string `json:"restoreReason,omitempty"`

	// restoredFrom is the snapshot that its tasks started from, also if they never all ran.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	RestoredFrom string `json:"restoredFrom,omitempty"`

	// message says why, where it was rolled back or failed.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
}
