// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StreamSnapshot is one snapshot of the state of a job, as an object: a savepoint that is taken because the object exists, or a
// snapshot that was there before. It outlives the StreamJob that it was taken of.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=streamsnapshots,shortName=ssnap,categories=weir
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Job",type=string,JSONPath=`.spec.jobRef.name`
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.status.kind`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Bytes",type=integer,JSONPath=`.status.sizeBytes`,description="size of the snapshot"
// +kubebuilder:printcolumn:name="Milliseconds",type=integer,JSONPath=`.status.durationMillis`,description="time it took"
// +kubebuilder:printcolumn:name="Completed",type=date,JSONPath=`.status.completedAt`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Path",type=string,priority=1,JSONPath=`.status.path`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name must have at most 63 characters, because it becomes the value of a label"
type StreamSnapshot struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec says which snapshot it is, and what becomes of it with the object.
	// +required
	Spec StreamSnapshotSpec `json:"spec,omitempty,omitzero"`

	// status is what the operator last knew of the snapshot.
	// +optional
	Status StreamSnapshotStatus `json:"status,omitempty,omitzero"`
}

// StreamSnapshotList is a list of StreamSnapshots.
//
// +kubebuilder:object:root=true
type StreamSnapshotList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty,omitzero"`

	// items are the StreamSnapshots of the list.
	Items []StreamSnapshot `json:"items"`
}

// StreamSnapshotSpec says which snapshot it is, and what becomes of it with the object. Everything but reclaimPolicy stays what it was.
//
// +kubebuilder:validation:XValidation:rule="has(self.jobRef) || has(self.path)",message="set jobRef to take a savepoint of a job, or path to adopt a snapshot that exists"
// +kubebuilder:validation:XValidation:rule="!has(self.path) || has(self.jobRef) != has(self.storage)",fieldPath=".storage",message="a path needs to know its storage: set exactly one of storage and jobRef, whose storage is used then"
// +kubebuilder:validation:XValidation:rule="has(self.path) || !has(self.storage)",fieldPath=".storage",message="storage is for path; a savepoint of jobRef is written to the storage of the job"
// +kubebuilder:validation:XValidation:rule="!has(self.path) || !has(self.target)",fieldPath=".target",message="target is for a savepoint that is taken; path names one that exists"
// +kubebuilder:validation:XValidation:rule="!has(self.storage) || !has(self.storage.volume) || has(self.storage.volume.claimName)",fieldPath=".storage.volume.claimName",message="name the persistent volume claim that holds the snapshot"
// +kubebuilder:validation:XValidation:rule="has(self.jobRef) == has(oldSelf.jobRef) && (!has(self.jobRef) || self.jobRef == oldSelf.jobRef)",fieldPath=".jobRef",message="jobRef cannot change: create another StreamSnapshot"
// +kubebuilder:validation:XValidation:rule="has(self.path) == has(oldSelf.path) && (!has(self.path) || self.path == oldSelf.path)",fieldPath=".path",message="path cannot change: create another StreamSnapshot"
// +kubebuilder:validation:XValidation:rule="has(self.storage) == has(oldSelf.storage) && (!has(self.storage) || self.storage == oldSelf.storage)",fieldPath=".storage",message="storage cannot change: create another StreamSnapshot"
// +kubebuilder:validation:XValidation:rule="has(self.target) == has(oldSelf.target) && (!has(self.target) || self.target == oldSelf.target)",fieldPath=".target",message="target cannot change: create another StreamSnapshot"
// +kubebuilder:validation:XValidation:rule="has(self.timeout) == has(oldSelf.timeout) && (!has(self.timeout) || self.timeout == oldSelf.timeout)",fieldPath=".timeout",message="timeout cannot change: create another StreamSnapshot"
type StreamSnapshotSpec struct {
	// jobRef names the StreamJob, in this namespace, that a savepoint is taken of; with path, the one whose storage holds the snapshot.
	// +optional
	JobRef *JobReference `json:"jobRef,omitempty"`

	// path adopts a snapshot that exists instead of taking one: the directory of a savepoint or a checkpoint or the _metadata file in it, either
	// s3://bucket/prefix or a path on the volume.
	// +optional
	Path Location `json:"path,omitempty"`

	// storage is where path is, when no jobRef says so.
	// +optional
	Storage *Storage `json:"storage,omitempty"`

	// target is the directory, within the storage of the job, below which the savepoint is written. Unset means
	// storage.savepoints.prefix of the job.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[^/\s]([^\s]*[^/\s])?$`
	// +kubebuilder:validation:XValidation:rule="self.split('/').all(p, p != '' && p != '.' && p != '..') && !self.contains('\\\\') && !self.matches('\\\\p{Cc}')",message="use a relative path of non-empty parts, without parts . and .., backslashes and control characters"
	Target string `json:"target,omitempty"`

	// timeout is how long one try of the savepoint may take; it is tried again later then. Unset means 10m.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="timeout must be at least 1s"
	Timeout metav1.Duration `json:"timeout,omitempty,omitzero"`

	// reclaimPolicy says what becomes of the snapshot in storage when this object is deleted: Retain leaves it, Delete deletes it, unless something
	// still needs it, and keeps this object until that is done. Unset means Retain.
	// +optional
	ReclaimPolicy ReclaimPolicy `json:"reclaimPolicy,omitempty"`
}

// JobReference names a StreamJob of the same namespace.
type JobReference struct {
	// name of the StreamJob.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`
}

// ReclaimPolicy says what becomes of a snapshot in storage when its StreamSnapshot is deleted.
//
// +kubebuilder:validation:Enum=Delete;Retain
type ReclaimPolicy string

const (
	// ReclaimDelete deletes the snapshot.
	ReclaimDelete ReclaimPolicy = "Delete"
	// ReclaimRetain leaves it, with the pin that keeps it.
	ReclaimRetain ReclaimPolicy = "Retain"
)

// SnapshotState is how far a snapshot got.
//
// +kubebuilder:validation:Enum=Pending;InProgress;Completed;Failed;Deleting
type SnapshotState string

const (
	// SnapshotPending means that nothing has been begun, or that the next try follows at retryAt.
	SnapshotPending SnapshotState = "Pending"
	// SnapshotInProgress means that the engine takes it, or an agent pod looks at it.
	SnapshotInProgress SnapshotState = "InProgress"
	// SnapshotCompleted means that it is there.
	SnapshotCompleted SnapshotState = "Completed"
	// SnapshotFailed means that there will be none: the job that it was to be taken of is gone.
	SnapshotFailed SnapshotState = "Failed"
	// SnapshotDeleting means that it is being deleted with its object.
	SnapshotDeleting SnapshotState = "Deleting"
)

// StreamSnapshotStatus is what the operator last knew of a snapshot.
type StreamSnapshotStatus struct {
	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions say how the snapshot is: Ready, Reconciling and Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// state is how far it got.
	// +optional
	State SnapshotState `json:"state,omitempty"`

	// kind is Savepoint or Checkpoint.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Kind string `json:"kind,omitempty"`

	// operationID names the try towards the engine. It is written here before the engine hears of it; asking again with it starts nothing new.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	OperationID string `json:"operationID,omitempty"`

	// attempts counts the tries, this one included.
	// +optional
	Attempts int32 `json:"attempts,omitempty"`

	// retryAt is when the next try begins.
	// +optional
	RetryAt metav1.Time `json:"retryAt,omitempty,omitzero"`

	// path is where it is: what restoreFrom.path takes.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Path string `json:"path,omitempty"`

	// checkpointID is the number of the snapshot in the life of the job.
	// +optional
	CheckpointID int64 `json:"checkpointID,omitempty"`

	// jobID is the lineage of state that it is of.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	JobID string `json:"jobID,omitempty"`

	// jobUID is that of the StreamJob that was asked for it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	JobUID string `json:"jobUID,omitempty"`

	// sizeBytes is how large all state in it is, whether it was taken or adopted: files that it shares with checkpoints are counted in full, and the
	// rest of its manifest is not.
	// +optional
	SizeBytes int64 `json:"sizeBytes,omitempty"`

	// startedAt is when the newest try began.
	// +optional
	StartedAt metav1.Time `json:"startedAt,omitempty,omitzero"`

	// completedAt is when the snapshot was complete.
	// +optional
	CompletedAt metav1.Time `json:"completedAt,omitempty,omitzero"`

	// durationMillis is how long it took, in milliseconds.
	// +optional
	DurationMillis int64 `json:"durationMillis,omitempty"`

	// pinned says that a pin in storage keeps the retention of the job from deleting this checkpoint.
	// +optional
	Pinned bool `json:"pinned,omitempty"`

	// storage is where it is, as far as it had to be known. With it the snapshot can be deleted when the StreamJob is gone.
	// +optional
	Storage *Storage `json:"storage,omitempty"`

	// message says what it waits for, or what the last try ran into.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// SnapshotFinalizer keeps a StreamSnapshot until its snapshot has been dealt with as reclaimPolicy says.
const SnapshotFinalizer = "stream.weir.dev/snapshot"

// AnnotationForceDelete on a StreamSnapshot, with the value "true", lets it go at once when it is deleted; what is in storage stays.
const AnnotationForceDelete = "stream.weir.dev/force-delete"

// Labels of StreamSnapshots and of their agent pods.
const (
	// LabelSnapshot names the StreamSnapshot that an agent pod works for.
	LabelSnapshot = "stream.weir.dev/snapshot"
	// LabelScheduled is "true" on a StreamSnapshot that a schedule made; [LabelJob] names its StreamJob.
	LabelScheduled = "stream.weir.dev/scheduled"
)

// AnnotationScheduled on a StreamJob is the newest time of spec.savepoint.schedule that was dealt with.
const AnnotationScheduled = "stream.weir.dev/savepoint-scheduled"

// Reasons of the conditions of a StreamSnapshot, besides those of a StreamJob.
const (
	// ReasonSnapshotCompleted means that the snapshot is complete.
	ReasonSnapshotCompleted = "SnapshotCompleted"
	// ReasonSnapshotInspecting means that an agent pod looks at the snapshot.
	ReasonSnapshotInspecting = "Inspecting"
	// ReasonRetrying means that the last try failed and the next one follows.
	ReasonRetrying = "Retrying"
	// ReasonJobNotFound means that the StreamJob does not exist.
	ReasonJobNotFound = "JobNotFound"
	// ReasonJobNotRunning means that the job does not run, and will not before somebody changes that.
	ReasonJobNotRunning = "JobNotRunning"
	// ReasonNoStorage means that the job keeps no snapshots.
	ReasonNoStorage = "NoStorage"
	// ReasonJobGone means that the StreamJob was deleted before the savepoint was complete.
	ReasonJobGone = "JobGone"
	// ReasonSnapshotInUse means that something needs the snapshot that is to be deleted; the message says what.
	ReasonSnapshotInUse = "SnapshotInUse"
)
