// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StreamJob is one streaming job: a dataflow graph with state, and how to run it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=streamjobs,shortName=sj,categories=weir
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.parallelism,statuspath=.status.parallelism,selectorpath=.status.selector
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Checkpoint",type=integer,JSONPath=`.status.lastCheckpoint.id`
// +kubebuilder:printcolumn:name="Checkpointed",type=date,JSONPath=`.status.lastCheckpoint.completedAt`
// +kubebuilder:printcolumn:name="Restarts",type=integer,JSONPath=`.status.job.restarts`
// +kubebuilder:printcolumn:name="Parallelism",type=integer,JSONPath=`.status.parallelism`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 40",message="metadata.name must start with a lower case letter, contain only lower case letters, digits and '-', end with a letter or digit, and have at most 40 characters"
type StreamJob struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec says what the job does and how it runs.
	// +required
	Spec StreamJobSpec `json:"spec,omitempty,omitzero"`

	// status is what the operator last knew of the job.
	// +optional
	Status StreamJobStatus `json:"status,omitempty,omitzero"`
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
// +kubebuilder:validation:ExactlyOneOf=dataflow;program
// +kubebuilder:validation:XValidation:rule="!has(self.storage) || !has(self.upgrade) || !has(self.upgrade.mode) || self.upgrade.mode != 'Stateless' || has(self.upgrade.discardState)",fieldPath=".upgrade.mode",message="mode Stateless of a job with storage needs upgrade.discardState, which consents to one start without the state: set it to a new value, or use Savepoint or LastCheckpoint"
// +kubebuilder:validation:XValidation:rule="!has(self.parallelism) || !has(self.maxParallelism) || self.parallelism <= self.maxParallelism",fieldPath=".parallelism",message="parallelism must not be larger than maxParallelism"
// +kubebuilder:validation:XValidation:rule="!has(self.maxParallelism) || !has(self.dataflow) || self.dataflow.operators.all(o, !has(o.parallelism) || o.parallelism <= self.maxParallelism)",fieldPath=".dataflow.operators",message="parallelism of an operator must not be larger than maxParallelism of the job"
// +kubebuilder:validation:XValidation:rule="!has(self.workers) || !has(self.workers.replicas) || !has(self.workers.slotsPerWorker) || ((has(self.parallelism) ? self.parallelism : 1) <= self.workers.replicas * self.workers.slotsPerWorker && (!has(self.dataflow) || self.dataflow.operators.all(o, !has(o.parallelism) || o.parallelism <= self.workers.replicas * self.workers.slotsPerWorker)))",fieldPath=".workers",message="replicas times slotsPerWorker must be at least the largest parallelism of the job: raise one of them, lower the parallelism, or leave slotsPerWorker out"
// +kubebuilder:validation:XValidation:rule="has(self.checkpointing) || !has(self.dataflow) || !self.dataflow.operators.exists(o, has(o.fileSink)) || !self.dataflow.operators.exists(o, (has(o.generator) && !has(o.generator.rows)) || (has(o.files) && has(o.files.continuous)))",fieldPath=".checkpointing",message="a fileSink of an unbounded job needs checkpointing, because its files become visible when a checkpoint completes: set checkpointing.interval, or make every source bounded (generator.rows set, files.continuous absent)"
// +kubebuilder:validation:XValidation:rule="(has(self.storage) && has(self.storage.s3)) || !has(self.dataflow) || !self.dataflow.operators.exists(o, (has(o.files) && !has(o.files.s3) && (o.files.path.startsWith('s3://') || (has(o.files.deadLetter) && o.files.deadLetter.path.startsWith('s3://')))) || (has(o.fileSink) && !has(o.fileSink.s3) && o.fileSink.path.startsWith('s3://')))",fieldPath=".dataflow.operators",message="an s3:// path needs to know the object store: set s3 beside it, or storage.s3 of the job"
type StreamJobSpec struct {
	// dataflow is the graph of the job: sources, steps and sinks with their expressions. It runs on the image of the
	// engine. Exactly one of dataflow and program is set.
	// +optional
	Dataflow *Dataflow `json:"dataflow,omitempty"`

	// program is a job of one's own, written with the Go SDK, in an image of one's own.
	// +optional
	Program *Program `json:"program,omitempty"`

	// state is Running, Suspended or Cancelled. Suspended stops the job with a savepoint; back to Running resumes it from exactly
	// that. Cancelled ends it without one; back to Running goes on from the newest state that was kept. Unset means Running.
	// +optional
	State DesiredState `json:"state,omitempty"`

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

	// coordinator says what the pod of the coordinator needs.
	// +optional
	Coordinator *Coordinator `json:"coordinator,omitempty"`

	// networkPolicy is None or Isolated: whether the operator makes a NetworkPolicy that lets only the pods of the job itself, the operator, and
	// namespaces that scrape metrics (label metrics: enabled) reach the pods of the job. It needs a network that enforces
	// policies. Unset means None.
	// +optional
	NetworkPolicy NetworkPolicyMode `json:"networkPolicy,omitempty"`

	// tracing says where the coordinator sends a trace of each checkpoint. Unset means nowhere.
	// +optional
	Tracing *Tracing `json:"tracing,omitempty"`

	// checkpointing says when and how automatic checkpoints are taken. Unset means no automatic checkpoints:
	// after a failure the job has no state to go back to.
	// +optional
	Checkpointing *Checkpointing `json:"checkpointing,omitempty"`

	// stateBackend says how keyed state is kept and how checkpoints write it. Unset means in memory, whole checkpoints, no limit.
	// +optional
	StateBackend *StateBackend `json:"stateBackend,omitempty"`

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

	// savepoint asks for a savepoint of the running job.
	// +optional
	Savepoint *Savepoint `json:"savepoint,omitempty"`

	// restoreFrom is the snapshot that the first start of the job reads its state from. It is ignored as soon as
	// the job has checkpoints of its own. Unset means that the job starts empty.
	// +optional
	RestoreFrom *RestoreFrom `json:"restoreFrom,omitempty"`

	// restartNonce is any text; each new value restarts the job once, as an upgrade to the same version would: with the state that
	// upgrade.mode says. It is remembered in status.restartNonce once the job runs again. Removing it asks for nothing.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	RestartNonce string `json:"restartNonce,omitempty"`

	// checkpoint asks for a checkpoint of the running job now.
	// +optional
	Checkpoint *CheckpointNow `json:"checkpoint,omitempty"`

	// deletionPolicy says what happens to the running job when the StreamJob is deleted: Cancel ends it, Savepoint takes a
	// savepoint first and keeps the StreamJob until that has succeeded or this field is set to Cancel. What becomes of
	// checkpoints is checkpointing.retention.onCancel; savepoints always stay. Unset means Cancel.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// deletion bounds how long the deletion of the StreamJob may take. It may be set while the StreamJob is being deleted.
	// +optional
	Deletion *Deletion `json:"deletion,omitempty"`
}

// Tracing says where traces go.
type Tracing struct {
	// endpoint is an OpenTelemetry collector that takes OTLP over gRPC: http://host:4317, or https:// for TLS.
	// +required
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https?://[^\s/@?#]+/?$`
	Endpoint string `json:"endpoint,omitempty"`
}

// DesiredState says whether a job should run.
//
// +kubebuilder:validation:Enum=Running;Suspended;Cancelled
type DesiredState string

const (
	// StateRunning runs the job.
	StateRunning DesiredState = "Running"
	// StateSuspended stops the job with a savepoint and keeps it stopped.
	StateSuspended DesiredState = "Suspended"
	// StateCancelled ends the job without a savepoint and keeps it ended; what becomes of checkpoints is
	// checkpointing.retention.onCancel.
	StateCancelled DesiredState = "Cancelled"
)

// DeletionPolicy says what happens to the running job when the StreamJob is deleted.
//
// +kubebuilder:validation:Enum=Cancel;Savepoint
type DeletionPolicy string

const (
	// CancelOnDeletion ends the job at once.
	CancelOnDeletion DeletionPolicy = "Cancel"
	// SavepointOnDeletion takes a savepoint first.
	SavepointOnDeletion DeletionPolicy = "Savepoint"
)

// Deletion bounds how long the deletion of a StreamJob may take.
//
// +kubebuilder:validation:MinProperties=1
type Deletion struct {
	// deadline is how long, counted from the deletion, deletionPolicy Savepoint is tried; then the job is cancelled without one, and an
	// event says so. Unset means that it is tried for ever.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="deadline must be at least 1s"
	Deadline metav1.Duration `json:"deadline,omitempty,omitzero"`

	// force lets the StreamJob go at once, whatever its engine and its storage are doing: nothing is asked, no savepoint is taken and no
	// checkpoint is deleted. Pods are deleted as usual; one that lives on somewhere is shut out as soon as a StreamJob of that name runs again.
	// Unset means false.
	// +optional
	Force bool `json:"force,omitempty"`
}

// Program is a job written with the Go SDK. Its binary is the entry point of the image.
type Program struct {
	// image is the container image with the program.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^\S+$`
	Image string `json:"image,omitempty"`

	// imagePullPolicy is that of the pods of the job. Unset means what Kubernetes makes of the image's tag.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// args are handed to the program, which reads them where it describes its job.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=4096
	Args []string `json:"args,omitempty"`
}

// RestoreMode says whose the snapshot is that a job starts from.
type RestoreMode string

// The restore modes.
const (
	// RestoreNoClaim leaves the snapshot to its owner.
	RestoreNoClaim RestoreMode = "NoClaim"
	// RestoreClaim makes the snapshot the job's own, which deletes it once it isn't needed any more.
	RestoreClaim RestoreMode = "Claim"
)

// RestoreFrom names a snapshot.
//
// +kubebuilder:validation:ExactlyOneOf=path;snapshot
type RestoreFrom struct {
	// path is a savepoint or a retained checkpoint: its directory or the _metadata file in it, either
	// s3://bucket/prefix or a path on the volume.
	// +optional
	Path Location `json:"path,omitempty"`

	// snapshot names a StreamSnapshot of this namespace. The job starts once that is complete, from the path in its status, which must lie in
	// the storage of the job.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	Snapshot string `json:"snapshot,omitempty"`

	// mode says whose the snapshot is from then on. NoClaim leaves it to its owner: the job reads it and never deletes any of it. Claim makes it
	// the job's own, which deletes it once it has as many completed checkpoints as checkpointing.retention keeps, and with
	// checkpointing.retention.onCancel Delete also when it ends before. Only a savepoint can be claimed, and by one job only. Unset means NoClaim.
	// +optional
	// +kubebuilder:validation:Enum=NoClaim;Claim
	Mode RestoreMode `json:"mode,omitempty"`

	// allowDrained lets the job start from a savepoint of a job that was stopped with drain: its operators
	// have finished, so they may behave as if the time in between had passed. Unset means that such a start is
	// refused.
	// +optional
	AllowDrained bool `json:"allowDrained,omitempty"`
}
