// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Savepoint asks for savepoints of the running job.
//
// +kubebuilder:validation:XValidation:rule="!has(self.retention) || has(self.schedule)",fieldPath=".retention",message="retention is about the savepoints of a schedule: set schedule"
type Savepoint struct {
	// trigger is any text; each new value asks for one savepoint. It is remembered in status.savepointTrigger once that savepoint
	// is complete. Removing it asks for nothing.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Trigger string `json:"trigger,omitempty"`

	// target is the directory, within the storage of the job, below which the savepoint is written. Unset means
	// storage.savepoints.prefix.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[^/\s]([^\s]*[^/\s])?$`
	// +kubebuilder:validation:XValidation:rule="self.split('/').all(p, p != '' && p != '.' && p != '..') && !self.contains('\\\\') && !self.matches('\\\\p{Cc}')",message="use a relative path of non-empty parts, without parts . and .., backslashes and control characters"
	Target string `json:"target,omitempty"`

	// schedule takes savepoints regularly, each as a StreamSnapshot "<job>-<time>" with reclaimPolicy Delete: five fields as of cron, minute, hour, day
	// of month, month and day of week, in UTC, such as "0 3 * * *". A job that does not run is left out, and of the times that were missed
	// only the last is made up for. The StreamSnapshots outlive the StreamJob.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[^\s=@]+( [^\s=@]+){4}$`
	Schedule string `json:"schedule,omitempty"`

	// retention says how many of the savepoints of the schedule are kept. Unset means the newest 10.
	// +optional
	Retention *SavepointRetention `json:"retention,omitempty"`
}

// SavepointRetention says how many savepoints of a schedule are kept: each bound deletes what is beyond it. The newest one, and one that something
// still needs, such as a StreamJob that names it in restoreFrom, are kept whatever the bounds say.
//
// +kubebuilder:validation:MinProperties=1
type SavepointRetention struct {
	// count is how many completed ones are kept. Unset means 10.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Count int32 `json:"count,omitempty"`

	// maxAge is how old they get. Unset means that age does not matter.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m')",message="maxAge must be at least 1m"
	MaxAge metav1.Duration `json:"maxAge,omitempty,omitzero"`
}

// CheckpointNow asks for a checkpoint of the running job, besides the periodic ones.
type CheckpointNow struct {
	// trigger is any text; each new value asks for one checkpoint. It is remembered in status.checkpointTrigger once that checkpoint is
	// complete. Removing it asks for nothing.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Trigger string `json:"trigger,omitempty"`
}
