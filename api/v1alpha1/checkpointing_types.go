// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
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

	// retention says how many completed checkpoints are kept and what becomes of them when the job is cancelled.
	// +optional
	Retention *Retention `json:"retention,omitempty"`
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
