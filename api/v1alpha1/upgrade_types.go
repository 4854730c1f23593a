// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// UpgradeMode says what a new version of the job starts from.
//
// +kubebuilder:validation:Enum=Savepoint;LastCheckpoint;Stateless
type UpgradeMode string

const (
	// UpgradeFromSavepoint stops the old version with a savepoint and starts the new one from it.
	UpgradeFromSavepoint UpgradeMode = "Savepoint"
	// UpgradeFromLastCheckpoint ends the old version without one and starts the new one from the newest checkpoint, after
	// which what came since is processed again.
	UpgradeFromLastCheckpoint UpgradeMode = "LastCheckpoint"
	// UpgradeStateless starts the new version empty. Where there is storage that takes a new value of discardState.
	UpgradeStateless UpgradeMode = "Stateless"
)

// Upgrade says how a new version of the job takes the state of the old one.
//
// +kubebuilder:validation:MinProperties=1
type Upgrade struct {
	// mode is what a new version starts from: Savepoint stops the old version with a savepoint, LastCheckpoint ends it without
	// and goes back to the newest checkpoint, Stateless starts empty; with storage, it needs discardState. Unset means Savepoint.
	// +optional
	Mode UpgradeMode `json:"mode,omitempty"`

	// allowNonRestoredState lets the job start from a snapshot that holds state of operators that the dataflow no
	// longer has; that state is dropped. Unset means that such a start is refused.
	// +optional
	AllowNonRestoredState bool `json:"allowNonRestoredState,omitempty"`

	// savepointTimeout is how long one try of the savepoint of an upgrade, a suspension or a deletion may take; then the job
	// goes on as before and it is tried again later. Unset means checkpointing.timeout, and 10m without that.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="savepointTimeout must be at least 1s"
	SavepointTimeout metav1.Duration `json:"savepointTimeout,omitempty,omitzero"`

	// discardState is any text; a new value consents to exactly one start without the state that there is, in mode Stateless. It is
	// remembered in status.discardedState once the job runs, and consents to nothing more. Unset means no consent: a job that has
	// state is never started empty.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DiscardState string `json:"discardState,omitempty"`

	// surge says whether the pods of a new version are started before the old version stops. Unset means Never.
	// +optional
	Surge Surge `json:"surge,omitempty"`

	// rollback says when a new version counts as stable, and what follows when it does not become so. Unset means its defaults.
	// +optional
	Rollback *Rollback `json:"rollback,omitempty"`
}

// Surge says whether the pods of a new version are started before the old version stops.
//
// +kubebuilder:validation:Enum=Never;IfPossible
type Surge string

const (
	// SurgeNever starts the pods of a new version when the old one has stopped.
	SurgeNever Surge = "Never"
	// SurgeIfPossible starts them before, as far as there is room, so that the job is down for no longer than its savepoint and its
	// restore take. While both versions have pods the job needs twice the resources.
	SurgeIfPossible Surge = "IfPossible"
)

// RollbackMode says what follows when a new version does not become stable.
//
// +kubebuilder:validation:Enum=Automatic;Disabled
type RollbackMode string

const (
	// RollbackAutomatic goes back to the newest stable version when the new one fails for a cause that will not pass.
	RollbackAutomatic RollbackMode = "Automatic"
	// RollbackDisabled leaves the new version where it is and says what is wrong.
	RollbackDisabled RollbackMode = "Disabled"
)

// Rollback says when a new version counts as stable, and what follows when it does not become so. The spec is never edited by a
// rollback: a version that was rolled back is tried again when the spec changes, or restartNonce does.
//
// +kubebuilder:validation:MinProperties=1
type Rollback struct {
	// mode is Automatic or Disabled. Unset means Automatic.
	// +optional
	Mode RollbackMode `json:"mode,omitempty"`

	// stableCheckpoints is how many checkpoints in a row a new version completes without a restart before it counts as stable. Unset means 3. A
	// job without checkpointing is stable when it has run for a minute without a restart.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	StableCheckpoints int32 `json:"stableCheckpoints,omitempty"`

	// maxRestarts is how many restarts of its tasks a new version may need before it is stable; one more rolls it back. Unset means 3.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	MaxRestarts *int32 `json:"maxRestarts,omitempty"`

	// startDeadline is how long a new version may take from the stop of the old one until all its tasks run, pods that find no node included.
	// Unset means 5m.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="startDeadline must be at least 1s"
	StartDeadline metav1.Duration `json:"startDeadline,omitempty,omitzero"`
}
