// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CheckpointMode says what a checkpoint guarantees.
//
// +kubebuilder:validation:Enum=ExactlyOnce;AtLeastOnce
type CheckpointMode string

const (
	// ExactlyOnce aligns barriers: after a restore every row has taken effect on the state exactly once.
	ExactlyOnce CheckpointMode = "ExactlyOnce"
	// AtLeastOnce does not align: less delay, but after a restore some rows may take effect twice.
	AtLeastOnce CheckpointMode = "AtLeastOnce"
)

// Checkpointing says when and how automatic checkpoints are taken.
//
// +kubebuilder:validation:XValidation:rule="duration(self.interval) >= duration('10ms')",fieldPath=".interval",message="interval must be at least 10ms"
// +kubebuilder:validation:XValidation:rule="!has(self.timeout) || duration(self.timeout) >= duration('10ms')",fieldPath=".timeout",message="timeout must be at least 10ms"
// +kubebuilder:validation:XValidation:rule="!has(self.minPause) || duration(self.minPause) == duration('0s') || !has(self.maxConcurrent) || self.maxConcurrent == 1",fieldPath=".maxConcurrent",message="maxConcurrent must be 1 when minPause is larger than 0s"
// +kubebuilder:validation:XValidation:rule="!has(self.alignment) || self.alignment.mode == 'Aligned' || !has(self.mode) || self.mode == 'ExactlyOnce'",fieldPath=".alignment.mode",message="an unaligned mode needs checkpointing.mode ExactlyOnce: AtLeastOnce does not align at all"
// +kubebuilder:validation:XValidation:rule="!has(self.alignment) || self.alignment.mode == 'Aligned' || !has(self.maxConcurrent) || self.maxConcurrent == 1",fieldPath=".maxConcurrent",message="maxConcurrent must be 1 when alignment.mode is not Aligned"
// +kubebuilder:validation:XValidation:rule="!has(self.onCorruption) || self.onCorruption != 'FallBack' || (has(self.retention) && has(self.retention.count) && self.retention.count >= 2)",fieldPath=".onCorruption",message="FallBack needs an older checkpoint to fall back to: set retention.count to 2 or more"
type Checkpointing struct {
	// interval is the time from the start of one checkpoint to the start of the next, for example 10s.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	Interval metav1.Duration `json:"interval,omitempty,omitzero"`

	// mode is ExactlyOnce or AtLeastOnce. Unset means ExactlyOnce.
	// +optional
	Mode CheckpointMode `json:"mode,omitempty"`

	// timeout is how long a checkpoint may take before it is aborted. Unset means 10m.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	Timeout metav1.Duration `json:"timeout,omitempty,omitzero"`

	// minPause is the least time between the end of one checkpoint and the start of the next; more than 0s
	// excludes a maxConcurrent above 1. Unset means 0s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	MinPause metav1.Duration `json:"minPause,omitempty,omitzero"`

	// maxConcurrent is how many checkpoints may be in flight at the same time. Unset means 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MaxConcurrent int32 `json:"maxConcurrent,omitempty"`

	// tolerableFailures is how many checkpoints in a row may fail before the job itself fails and is restarted.
	// Unset means 0: the first failed checkpoint fails the job.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	TolerableFailures int32 `json:"tolerableFailures,omitempty"`

	// alignment says how the barriers of a checkpoint wait for each other. Unset means mode Aligned.
	// +optional
	Alignment *Alignment `json:"alignment,omitempty"`

	// retention says how many completed checkpoints are kept and what becomes of them when the job is cancelled.
	// +optional
	Retention *Retention `json:"retention,omitempty"`

	// onCorruption is Fail or FallBack: what follows when the newest checkpoint can't be read whole.
	// Unset means Fail.
	// +optional
	OnCorruption OnCorruption `json:"onCorruption,omitempty"`
}

// AlignmentMode says how the barriers of a checkpoint wait for each other.
//
// +kubebuilder:validation:Enum=Aligned;Unaligned;AlignedThenUnaligned
type AlignmentMode string

const (
	// AlignedMode holds back a channel that delivered its barrier until all others did.
	AlignedMode AlignmentMode = "Aligned"
	// UnalignedMode lets barriers overtake the rows in flight, which become part of the checkpoint: under back-pressure
	// checkpoints stay fast and become larger.
	UnalignedMode AlignmentMode = "Unaligned"
	// AlignedThenUnalignedMode aligns for the timeout on each hop and overtakes only then.
	AlignedThenUnalignedMode AlignmentMode = "AlignedThenUnaligned"
)

// Alignment says how the barriers of a checkpoint wait for each other. Savepoints are always aligned.
//
// +kubebuilder:validation:XValidation:rule="!has(self.timeout) || self.mode == 'AlignedThenUnaligned'",fieldPath=".timeout",message="timeout is only for mode AlignedThenUnaligned"
// +kubebuilder:validation:XValidation:rule="!has(self.timeout) || duration(self.timeout) >= duration('1ms')",fieldPath=".timeout",message="timeout must be at least 1ms"
type Alignment struct {
	// mode is Aligned, Unaligned or AlignedThenUnaligned.
	// +required
	Mode AlignmentMode `json:"mode,omitempty"`

	// timeout is how long each hop aligns before its barriers overtake, for mode AlignedThenUnaligned. Unset means 1s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	Timeout metav1.Duration `json:"timeout,omitempty,omitzero"`
}

// OnCorruption says what follows when the newest checkpoint can't be read whole.
//
// +kubebuilder:validation:Enum=Fail;FallBack
type OnCorruption string

const (
	// FailOnCorruption ends the job with an error that names the damage.
	FailOnCorruption OnCorruption = "Fail"
	// FallBackOnCorruption goes back to the next older checkpoint, unless a sink may have committed with the newer one: then
	// rows would come out twice, and the job ends as with Fail.
	FallBackOnCorruption OnCorruption = "FallBack"
)

// StateBackendType says where keyed state is kept while the job runs.
//
// +kubebuilder:validation:Enum=Memory
type StateBackendType string

// MemoryBackend keeps keyed state in the memory of the workers.
const MemoryBackend StateBackendType = "Memory"

// StateBackend says how keyed state is kept while the job runs, and how checkpoints write it.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.memoryBudget) || quantity(string(self.memoryBudget)).isGreaterThan(quantity('0'))",fieldPath=".memoryBudget",message="memoryBudget must be larger than 0"
type StateBackend struct {
	// type is Memory. Unset means Memory.
	// +optional
	Type StateBackendType `json:"type,omitempty"`

	// incremental lets a checkpoint upload only the pages of keyed state that changed since the last completed one, and refer to the
	// files of that for the rest. Savepoints are always whole. Unset means that every checkpoint is whole.
	// +optional
	Incremental bool `json:"incremental,omitempty"`

	// localRecovery lets each worker keep copies of the state files of its newest checkpoint on the disk of its node. A restart reads
	// them instead of storage where they are there and whole. Unset means that a restart reads from storage.
	// +optional
	LocalRecovery bool `json:"localRecovery,omitempty"`

	// memoryBudget is how much memory the keyed state of one worker may take, for example 2Gi, with the copies that checkpoints
	// hold and the rows that unaligned barriers have captured. Beyond it the job fails with an error that says so, before the worker runs out of memory. Unset means no limit.
	// +optional
	MemoryBudget *resource.Quantity `json:"memoryBudget,omitempty"`
}

// CancelRetention says what becomes of the checkpoints of a job that is cancelled.
//
// +kubebuilder:validation:Enum=Retain;Delete
type CancelRetention string

const (
	// RetainOnCancel keeps the checkpoints of a cancelled job.
	RetainOnCancel CancelRetention = "Retain"
	// DeleteOnCancel deletes the checkpoints of a cancelled job. Savepoints always stay.
	DeleteOnCancel CancelRetention = "Delete"
)

// Retention says how many completed checkpoints are kept and what becomes of them when the job is cancelled.
//
// +kubebuilder:validation:MinProperties=1
type Retention struct {
	// count is how many completed checkpoints are kept; older ones are deleted. Unset means 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Count int32 `json:"count,omitempty"`

	// onCancel is Retain or Delete. Unset means Retain: cancelling a job does not take its state with it.
	// +optional
	OnCancel CancelRetention `json:"onCancel,omitempty"`
}
