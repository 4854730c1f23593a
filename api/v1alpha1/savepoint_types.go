// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Savepoint asks for a savepoint of the running job.
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
	Target string `json:"target,omitempty"`
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
