// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StreamJob is one streaming job: a dataflow graph with state, and how to run it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=streamjobs,shortName=sj,categories=weir
// +kubebuilder:printcolumn:name="Parallelism",type=integer,JSONPath=`.spec.parallelism`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 40",message="metadata.name must start with a lower case letter, contain only lower case letters, digits and '-', end with a letter or digit, and have at most 40 characters"
type StreamJob struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec says what the job does and how it runs.
	// +required
	Spec StreamJobSpec `json:"spec,omitempty,omitzero"`
}

// StreamJobList is a list of StreamJobs.
//
// +kubebuilder:object:root=true
type StreamJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty,omitzero"`

	// items are the StreamJobs of the list.
	Items []StreamJob `json:"items"`
}

// StreamJobSpec says what a job does and how it runs.
//
// +kubebuilder:validation:XValidation:rule="!has(self.parallelism) || !has(self.maxParallelism) || self.parallelism <= self.maxParallelism",fieldPath=".parallelism",message="parallelism must not be larger than maxParallelism"
// +kubebuilder:validation:XValidation:rule="!has(self.maxParallelism) || self.dataflow.operators.all(o, !has(o.parallelism) || o.parallelism <= self.maxParallelism)",fieldPath=".dataflow.operators",message="parallelism of an operator must not be larger than maxParallelism of the job"
// +kubebuilder:validation:XValidation:rule="!has(self.workers) || !has(self.workers.replicas) || !has(self.workers.slotsPerWorker) || ((has(self.parallelism) ? self.parallelism : 1) <= self.workers.replicas * self.workers.slotsPerWorker && self.dataflow.operators.all(o, !has(o.parallelism) || o.parallelism <= self.workers.replicas * self.workers.slotsPerWorker))",fieldPath=".workers",message="replicas times slotsPerWorker must be at least the largest parallelism of the job: raise one of them, lower the parallelism, or leave slotsPerWorker out"
// +kubebuilder:validation:XValidation:rule="has(self.checkpointing) || !self.dataflow.operators.exists(o, has(o.fileSink)) || !self.dataflow.operators.exists(o, (has(o.generator) && !has(o.generator.rows)) || (has(o.files) && has(o.files.continuous)))",fieldPath=".checkpointing",message="a fileSink of an unbounded job needs checkpointing, because its files become visible when a checkpoint completes: set checkpointing.interval, or make every source bounded (generator.rows set, files.continuous absent)"
// +kubebuilder:validation:XValidation:rule="(has(self.storage) && has(self.storage.s3)) || !self.dataflow.operators.exists(o, (has(o.files) && !has(o.files.s3) && (o.files.path.startsWith('s3://') || (has(o.files.deadLetter) && o.files.deadLetter.path.startsWith('s3://')))) || (has(o.fileSink) && !has(o.fileSink.s3) && o.fileSink.path.startsWith('s3://')))",fieldPath=".dataflow.operators",message="an s3:// path needs to know the object store: set s3 beside it, or storage.s3 of the job"
type StreamJobSpec struct {
	// dataflow is the graph of the job: sources, steps and sinks with their expressions.
	// +required
	Dataflow Dataflow `json:"dataflow,omitempty,omitzero"`

	// parallelism is the number of parallel instances of each operator that does not set its own.
	// Unset means 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32768
	Parallelism int32 `json:"parallelism,omitempty"`

	// maxParallelism is the number of key groups, the units in which keyed state moves when the parallelism
	// changes. It is an upper limit of the parallelism and cannot change once the job has state.
	// Unset means that of the snapshot the job starts from, and for a fresh start
	// the power of two not below 1.5 times the parallelism, at least 128.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32768
	MaxParallelism int32 `json:"maxParallelism,omitempty"`

	// disableChaining runs every operator as a task of its own, instead of handing rows from operator to
	// operator inside one task where no exchange is needed. It costs speed and helps to find out which operator
	// is slow. Unset means that operators are chained.
	// +optional
	DisableChaining bool `json:"disableChaining,omitempty"`

	// workers says how many workers run the job.
	// Unset means one worker with as many slots as the largest parallelism.
	// +optional
	Workers *Workers `json:"workers,omitempty"`

	// checkpointing says when and how automatic checkpoints are taken. Unset means no automatic checkpoints:
	// after a failure the job has no state to go back to.
	// +optional
	Checkpointing *Checkpointing `json:"checkpointing,omitempty"`

	// storage is where checkpoints and savepoints are written. Unset means that small checkpoints are kept in the
	// memory of the coordinator: they survive the loss of a worker, not of the coordinator, and savepoints are
	// refused.
	// +optional
	Storage *Storage `json:"storage,omitempty"`

	// restart says what happens after a failure.
	// Unset means exponentialDelay with its defaults when checkpointing is set, and none without it.
	// +optional
	Restart *Restart `json:"restart,omitempty"`

	// upgrade says how a new version of the job takes the state of the old one.
	// +optional
	Upgrade *Upgrade `json:"upgrade,omitempty"`

	// restoreFrom is the snapshot that the first start of the job reads its state from. It is ignored as soon as
	// the job has checkpoints of its own. Unset means that the job starts empty.
	// +optional
	RestoreFrom *RestoreFrom `json:"restoreFrom,omitempty"`
}

// Workers says how many workers run the job.
//
// +kubebuilder:validation:MinProperties=1
type Workers struct {
	// replicas is the number of workers. Unset means as many as the largest parallelism needs with slotsPerWorker
	// slots each, and one if that is unset too.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	Replicas int32 `json:"replicas,omitempty"`

	// slotsPerWorker is the number of slots of each worker. A slot runs one parallel instance of every operator.
	// Unset means as many as the largest parallelism needs on the given number of workers.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	SlotsPerWorker int32 `json:"slotsPerWorker,omitempty"`
}

// Upgrade says how a new version of the job takes the state of the old one.
//
// +kubebuilder:validation:MinProperties=1
type Upgrade struct {
	// allowNonRestoredState lets the job start from a snapshot that holds state of operators that the dataflow no
	// longer has; that state is dropped. Unset means that such a start is refused.
	// +optional
	AllowNonRestoredState bool `json:"allowNonRestoredState,omitempty"`
}

// RestoreFrom names a snapshot.
type RestoreFrom struct {
	// path is a savepoint or a retained checkpoint: its directory or the _metadata file in it, either
	// s3://bucket/prefix or a path on the volume.
	// +required
	Path Location `json:"path,omitempty"`

	// allowDrained lets the job start from a savepoint of a job that was stopped with drain: its operators
	// have finished, so they may behave as if the time in between had passed. Unset means that such a start is
	// refused.
	// +optional
	AllowDrained bool `json:"allowDrained,omitempty"`
}
