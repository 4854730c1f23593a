// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Phase sums a job up in one word for people; it is derived from the rest of the status, and nothing is decided by it.
//
// +kubebuilder:validation:Enum=Pending;Starting;Running;Restarting;Upgrading;Suspending;Suspended;Cancelling;Cancelled;Completed;Failed;Stalled;Deleting
type Phase string

const (
	// PhasePending means that the job has not been started yet.
	PhasePending Phase = "Pending"
	// PhaseStarting means that pods are being started or tasks are being deployed.
	PhaseStarting Phase = "Starting"
	// PhaseRunning means that all tasks run.
	PhaseRunning Phase = "Running"
	// PhaseRestarting means that the engine restarts the tasks after a failure.
	PhaseRestarting Phase = "Restarting"
	// PhaseUpgrading means that a new version replaces the running one.
	PhaseUpgrading Phase = "Upgrading"
	// PhaseSuspending means that the job is being stopped with a savepoint.
	PhaseSuspending Phase = "Suspending"
	// PhaseSuspended means that the job is stopped and can be resumed.
	PhaseSuspended Phase = "Suspended"
	// PhaseCancelling means that the job is being ended without a savepoint.
	PhaseCancelling Phase = "Cancelling"
	// PhaseCancelled means that the job was ended without a savepoint and can be started again from what was kept.
	PhaseCancelled Phase = "Cancelled"
	// PhaseCompleted means that all input was read to its end.
	PhaseCompleted Phase = "Completed"
	// PhaseFailed means that the job failed for good.
	PhaseFailed Phase = "Failed"
	// PhaseStalled means that the job cannot start or go on until somebody changes something.
	PhaseStalled Phase = "Stalled"
	// PhaseDeleting means that the StreamJob is being deleted.
	PhaseDeleting Phase = "Deleting"
)

// StreamJobStatus is what the operator last knew of a job.
type StreamJobStatus struct {
	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions say how the job is: Ready, Reconciling, Stalled, Running, CheckpointsHealthy, RolledBack and
	// Completed.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// phase sums the conditions up in one word for people.
	// +optional
	Phase Phase `json:"phase,omitempty"`

	// parallelism is that of the version that is deployed.
	// +optional
	Parallelism int32 `json:"parallelism,omitempty"`

	// selector matches the worker pods of the job, for autoscalers.
	// +optional
	Selector string `json:"selector,omitempty"`

	// job is what the engine reported last.
	// +optional
	Job *JobReport `json:"job,omitempty"`

	// lastCheckpoint is the newest completed checkpoint that the operator has heard of. It is updated when something
	// else changes, every 5 seconds for a minute after that, and otherwise every 30 seconds. Without storage it has no path, and goes with its coordinator.
	// +optional
	LastCheckpoint *SnapshotReport `json:"lastCheckpoint,omitempty"`

	// lastSavepoint is the newest completed savepoint. It may have been deleted since, by whoever took it or with its StreamSnapshot.
	// +optional
	LastSavepoint *SnapshotReport `json:"lastSavepoint,omitempty"`

	// checkpoints sums up how the checkpoints of the running version go. It is updated when one fails, and otherwise together
	// with lastCheckpoint. `kubectl weir checkpoints` shows more.
	// +optional
	Checkpoints *CheckpointsReport `json:"checkpoints,omitempty"`

	// grant numbers the coordinator deployments of the job; it only grows. It is written here before the deployment exists.
	// +optional
	Grant int64 `json:"grant,omitempty"`

	// deployment is the version that has pods, or is about to, or had them last. Absent: the job was never started.
	// +optional
	Deployment *DeploymentReport `json:"deployment,omitempty"`

	// operation is the step in flight. It is written here before anything is done for it.
	// +optional
	Operation *OperationReport `json:"operation,omitempty"`

	// restore says where the state of the deployed version came from.
	// +optional
	Restore *RestoreReport `json:"restore,omitempty"`

	// savepointTrigger is the value of spec.savepoint.trigger whose savepoint is complete.
	// +optional
	SavepointTrigger string `json:"savepointTrigger,omitempty"`

	// lastUpgrade says how the newest upgrade went.
	// +optional
	LastUpgrade *UpgradeReport `json:"lastUpgrade,omitempty"`

	// restartNonce is the value of spec.restartNonce whose restart is done.
	// +optional
	RestartNonce string `json:"restartNonce,omitempty"`

	// checkpointTrigger is the value of spec.checkpoint.trigger whose checkpoint is complete.
	// +optional
	CheckpointTrigger string `json:"checkpointTrigger,omitempty"`

	// discardedState is the value of spec.upgrade.discardState that was used up by an empty start.
	// +optional
	DiscardedState string `json:"discardedState,omitempty"`

	// stability says how far the deployed version is on its way to count as stable. Absent: it is stable, or was never deployed.
	// +optional
	Stability *StabilityReport `json:"stability,omitempty"`

	// lastStable is the newest version that counted as stable: what a rollback goes back to, unless the deployed one began without its state.
	// +optional
	LastStable *StableReport `json:"lastStable,omitempty"`

	// rollback says which version was rolled back, and why. It goes when a version made from a newer spec is deployed.
	// +optional
	Rollback *RollbackReport `json:"rollback,omitempty"`

	// image is the image that the pods of the deployed version run.
	// +optional
	Image *ImageReport `json:"image,omitempty"`

	// effective is what is in force for the deployed version, with what the operator's configuration adds to the spec.
	// +optional
	Effective *EffectiveReport `json:"effective,omitempty"`

	// history are the newest versions that were deployed, the newest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	History []HistoryEntry `json:"history,omitempty"`
}

// JobReport is what the engine reported last.
type JobReport struct {
	// id of the job: the lineage of its state, and a part of its path in storage.
	// +optional
	ID string `json:"id,omitempty"`

	// epoch of the coordinator: the grant and how often that deployment has claimed the job.
	// +optional
	Epoch string `json:"epoch,omitempty"`

	// state of the engine: Starting, WaitingForWorkers, Deploying, Running, Restarting, Stopping, Stopped, Finished, Cancelled or
	// Failed.
	// +optional
	State string `json:"state,omitempty"`

	// maxParallelism is the number of key groups in force.
	// +optional
	MaxParallelism int32 `json:"maxParallelism,omitempty"`

	// restarts counts the restarts of the tasks in the life of the job.
	// +optional
	Restarts int64 `json:"restarts"`

	// recordsReplayed is about how many records the sources had emitted after the checkpoint when this coordinator restarted tasks from it,
	// and so emitted again; what came after the last heartbeat before a failure, one second at most, is not counted.
	// +optional
	RecordsReplayed int64 `json:"recordsReplayed,omitempty"`

	// startedAt is when the coordinator started.
	// +optional
	StartedAt metav1.Time `json:"startedAt,omitempty,omitzero"`

	// lastFailure is what ended the last attempt that failed.
	// +optional
	LastFailure *FailureReport `json:"lastFailure,omitempty"`
}

// FailureReport says what went wrong and when.
type FailureReport struct {
	// at is when.
	// +optional
	At metav1.Time `json:"at,omitempty,omitzero"`

	// message says what.
	// +optional
	Message string `json:"message,omitempty"`
}

// SnapshotReport describes a completed checkpoint or savepoint.
type SnapshotReport struct {
	// id of the snapshot, ascending in the life of the job.
	// +optional
	ID int64 `json:"id,omitempty"`

	// path is where it is: what restoreFrom takes.
	// +optional
	Path string `json:"path,omitempty"`

	// completedAt is when it was complete.
	// +optional
	CompletedAt metav1.Time `json:"completedAt,omitempty,omitzero"`

	// sizeBytes is how large all state in it is: files that it shares with other checkpoints are counted in full.
	// +optional
	SizeBytes int64 `json:"sizeBytes,omitempty"`

	// durationMillis is how long it took, in milliseconds.
	// +optional
	DurationMillis int64 `json:"durationMillis,omitempty"`
}

// CheckpointsReport sums up how the checkpoints of the running version go.
type CheckpointsReport struct {
	// completed counts the checkpoints and savepoints that completed since the coordinator started.
	// +optional
	Completed int64 `json:"completed,omitempty"`

	// failed counts those that failed since then, for whatever reason.
	// +optional
	Failed int64 `json:"failed,omitempty"`

	// consecutiveFailures counts the failures since the last success that count against tolerableFailures.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ConsecutiveFailures int32 `json:"consecutiveFailures,omitempty"`

	// startDelayMillis is how long the first barrier took to the task that it reached last, in milliseconds: the median of the newest completed
	// checkpoints, at most 50. Where it is most of the duration, barriers don't get through. Unset before the first checkpoint.
	// +optional
	// +kubebuilder:validation:Minimum=0
	StartDelayMillis *int64 `json:"startDelayMillis,omitempty"`

	// idleGapMillis is how long nothing was in flight before them, in milliseconds: the median, too. Where it is small beside the duration, the
	// interval is too short. Unset before the second checkpoint of a coordinator.
	// +optional
	// +kubebuilder:validation:Minimum=0
	IdleGapMillis *int64 `json:"idleGapMillis,omitempty"`

	// slowest is what took longest in the newest completed checkpoint.
	// +optional
	Slowest *CheckpointCulprit `json:"slowest,omitempty"`

	// lastFailure is the newest failure that counts against tolerableFailures.
	// +optional
	LastFailure *CheckpointFailure `json:"lastFailure,omitempty"`
}

// CheckpointCulprit is what took longest in a checkpoint.
type CheckpointCulprit struct {
	// id of the checkpoint.
	// +optional
	ID int64 `json:"id,omitempty"`

	// phase is Trigger, Channel (the barrier behind rows), Waiting, Synchronous, Asynchronous, Upload, Acknowledge or Finalize.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Phase string `json:"phase,omitempty"`

	// task is the operator chain and subtask where it was spent, or that held it up: "name/subtask".
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Task string `json:"task,omitempty"`

	// durationMillis is how long that phase took, in milliseconds.
	// +optional
	DurationMillis int64 `json:"durationMillis,omitempty"`

	// message says it in a sentence.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// CheckpointFailure is a checkpoint that failed.
type CheckpointFailure struct {
	// id of the checkpoint.
	// +optional
	ID int64 `json:"id,omitempty"`

	// at is when it failed.
	// +optional
	At metav1.Time `json:"at,omitempty,omitzero"`

	// reason is Expired, Declined, AsyncFailure or FinalizeFailure.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// message says why, and names the tasks.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// JobEnd is how a job ended.
//
// +kubebuilder:validation:Enum=Stopped;Finished;Cancelled;Failed
type JobEnd string

const (
	// EndStopped means that the job is suspended and can be resumed.
	EndStopped JobEnd = "Stopped"
	// EndFinished means that all input was read to its end.
	EndFinished JobEnd = "Finished"
	// EndCancelled means that the job was cancelled.
	EndCancelled JobEnd = "Cancelled"
	// EndFailed means that the job failed for good.
	EndFailed JobEnd = "Failed"
)

// DeploymentReport is the version of the job that was deployed last.
type DeploymentReport struct {
	// grant numbers it; its objects have it in their names.
	// +optional
	Grant int64 `json:"grant,omitempty"`

	// revision is a hash of what needs a restart.
	// +optional
	Revision string `json:"revision,omitempty"`

	// generation of the spec that it was made from.
	// +optional
	Generation int64 `json:"generation,omitempty"`

	// ended is how the job ended with this version; it has no pods any more. Absent: it has pods, or is about to.
	// +optional
	Ended JobEnd `json:"ended,omitempty"`

	// checkpointsDeleted says that the checkpoints of the job were deleted when it was cancelled.
	// +optional
	CheckpointsDeleted bool `json:"checkpointsDeleted,omitempty"`

	// restartNonce is the value of spec.restartNonce that this version is the answer to.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	RestartNonce string `json:"restartNonce,omitempty"`

	// discardState is the value of spec.upgrade.discardState by which this version was started empty.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	DiscardState string `json:"discardState,omitempty"`
}

// OperationType is the kind of an operation.
//
// +kubebuilder:validation:Enum=Upgrade;Rollback;Suspend;Savepoint;Checkpoint;Cancel
type OperationType string

const (
	// UpgradeOperation replaces the deployed version.
	UpgradeOperation OperationType = "Upgrade"
	// RollbackOperation goes back from a version that did not become stable to the newest stable one.
	RollbackOperation OperationType = "Rollback"
	// CheckpointOperation takes a checkpoint of the running job now.
	CheckpointOperation OperationType = "Checkpoint"
	// SuspendOperation stops the job with a savepoint.
	SuspendOperation OperationType = "Suspend"
	// SavepointOperation takes a savepoint of the running job.
	SavepointOperation OperationType = "Savepoint"
	// CancelOperation ends the job because its StreamJob is deleted, or because spec.state is Cancelled.
	CancelOperation OperationType = "Cancel"
)

// OperationPhase is how far an operation got.
//
// +kubebuilder:validation:Enum=Checking;Warming;Saving;Fencing;Starting;Waiting;Canceling;Disposing
type OperationPhase string

const (
	// OperationChecking means that an agent pod checks, with the new version, that it can start and take the state.
	OperationChecking OperationPhase = "Checking"
	// OperationWarming means that the pods of the new version are started, and stand by, while the old one runs.
	OperationWarming OperationPhase = "Warming"
	// OperationSaving means that the engine takes the savepoint.
	OperationSaving OperationPhase = "Saving"
	// OperationFencing means that an agent pod shuts out the old coordinator, which does not answer, and reads what it has done.
	OperationFencing OperationPhase = "Fencing"
	// OperationStarting means that the pods of the new version are being started.
	OperationStarting OperationPhase = "Starting"
	// OperationWaiting means that the last try failed and the next one follows at retryAt.
	OperationWaiting OperationPhase = "Waiting"
	// OperationCanceling means that the engine ends the job.
	OperationCanceling OperationPhase = "Canceling"
	// OperationDisposing means that an agent pod deletes the checkpoints.
	OperationDisposing OperationPhase = "Disposing"
)

// OperationReport is the write-ahead record of the step in flight.
type OperationReport struct {
	// id names the operation towards the engine; asking again with the same id starts nothing new.
	// +optional
	ID string `json:"id,omitempty"`

	// type is Upgrade, Rollback, Suspend, Savepoint, Checkpoint or Cancel.
	// +optional
	Type OperationType `json:"type,omitempty"`

	// phase is how far it got.
	// +optional
	Phase OperationPhase `json:"phase,omitempty"`

	// generation of the spec that asked for it.
	// +optional
	Generation int64 `json:"generation,omitempty"`

	// warm says that the pods of the new version are there before the old version stops.
	// +optional
	Warm bool `json:"warm,omitempty"`

	// trigger is the value of spec.savepoint.trigger or spec.checkpoint.trigger that asked for it.
	// +optional
	Trigger string `json:"trigger,omitempty"`

	// attempts counts the tries, this one included.
	// +optional
	Attempts int32 `json:"attempts,omitempty"`

	// startedAt is when the operation began, phaseStartedAt when its phase did.
	// +optional
	StartedAt metav1.MicroTime `json:"startedAt,omitempty,omitzero"`

	// phaseStartedAt is when the phase began.
	// +optional
	PhaseStartedAt metav1.MicroTime `json:"phaseStartedAt,omitempty,omitzero"`

	// downSince is since when an upgrade, a suspension or a deletion finds the job unable to take a savepoint, because it does not run or its
	// coordinator does not answer; unset while it is able to.
	// +optional
	DownSince metav1.MicroTime `json:"downSince,omitempty,omitzero"`

	// deadline is when this phase is given up.
	// +optional
	Deadline metav1.Time `json:"deadline,omitempty,omitzero"`

	// retryAt is when the next try begins.
	// +optional
	RetryAt metav1.Time `json:"retryAt,omitempty,omitzero"`

	// path of the savepoint once it is complete.
	// +optional
	Path string `json:"path,omitempty"`

	// reason is the condition reason of what the last try ran into.
	// +optional
	Reason string `json:"reason,omitempty"`

	// message says what the last try ran into.
	// +optional
	Message string `json:"message,omitempty"`

	// checkMillis is how long the check of the new version took.
	// +optional
	CheckMillis int64 `json:"checkMillis,omitempty"`

	// warmMillis is how long the pods of the new version took to stand by, or were waited for.
	// +optional
	WarmMillis int64 `json:"warmMillis,omitempty"`

	// saveMillis is how long the stop with savepoint took.
	// +optional
	SaveMillis int64 `json:"saveMillis,omitempty"`
}

// RestoreReport says where the state of the deployed version came from.
type RestoreReport struct {
	// requestedMode is what was asked for, by the spec or by what was found: Fresh, RestoreFrom, Savepoint, LastCheckpoint, Stateless, Resume,
	// Rollback, or Adopted where storage held state of a job of this name.
	// +optional
	RequestedMode string `json:"requestedMode,omitempty"`

	// effectiveMode is what was done. Adopted means that storage held state of a job of this name.
	// +optional
	EffectiveMode string `json:"effectiveMode,omitempty"`

	// path of the snapshot; absent after an empty start. Before effectiveMode is known: what it is to go back to.
	// +optional
	Path string `json:"path,omitempty"`

	// checkpointID of the snapshot.
	// +optional
	CheckpointID int64 `json:"checkpointID,omitempty"`

	// takenAt is when the snapshot was complete.
	// +optional
	TakenAt metav1.Time `json:"takenAt,omitempty,omitzero"`

	// ageMillis is how old the snapshot was when the operator saw the job run from it, in milliseconds.
	// +optional
	AgeMillis int64 `json:"ageMillis,omitempty"`

	// estimatedReplayMillis is how much processing is done again, in milliseconds of what the job did, and at most: the time from the
	// snapshot until the job was last known to run. 0 after a savepoint that stopped the job, unless another version had begun
	// from it before. Absent after an empty start, and if the state
	// is that of another StreamJob.
	// +optional
	EstimatedReplayMillis *int64 `json:"estimatedReplayMillis,omitempty"`

	// reason says why the effective mode is not the requested one.
	// +optional
	Reason string `json:"reason,omitempty"`
}

// UpgradeReport says how an upgrade went.
type UpgradeReport struct {
	// fromRevision and toRevision are the versions.
	// +optional
	FromRevision string `json:"fromRevision,omitempty"`

	// toRevision is the version that it led to, which runs since completedAt.
	// +optional
	ToRevision string `json:"toRevision,omitempty"`

	// path of the savepoint it went through.
	// +optional
	Path string `json:"path,omitempty"`

	// startedAt is when the edit was seen.
	// +optional
	StartedAt metav1.MicroTime `json:"startedAt,omitempty,omitzero"`

	// completedAt is when the new version ran.
	// +optional
	CompletedAt metav1.MicroTime `json:"completedAt,omitempty,omitzero"`

	// checkMillis is how long the new version was checked while the old one ran.
	// +optional
	CheckMillis int64 `json:"checkMillis,omitempty"`

	// warmMillis is how long it took from then, with upgrade.surge, until its pods stood by, or was waited for them; the old version ran.
	// +optional
	WarmMillis int64 `json:"warmMillis,omitempty"`

	// saveMillis is how long the stop with savepoint took.
	// +optional
	SaveMillis int64 `json:"saveMillis,omitempty"`

	// podsMillis is how long it took from then until the coordinator and all workers of the new version were there.
	// +optional
	PodsMillis int64 `json:"podsMillis,omitempty"`

	// restoreMillis is how long it took from then until all tasks ran.
	// +optional
	RestoreMillis int64 `json:"restoreMillis,omitempty"`
}
