// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Conditions of a StreamJob. Each carries the generation that it speaks of.
const (
	// ConditionReady is True when the cluster is as the spec of the observed generation says: the job runs, or is suspended as
	// asked, or has completed. Normally True.
	ConditionReady = "Ready"
	// ConditionReconciling is True while the operator works towards the spec. Normally False.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when the operator cannot get on before somebody changes something. What ran before keeps
	// running. Normally False.
	ConditionStalled = "Stalled"
	// ConditionRunning is True while all tasks of the job run, of whatever version. Normally True.
	ConditionRunning = "Running"
	// ConditionCheckpointsHealthy is True when checkpoints complete, False when the newest ones failed, and Unknown
	// before the first and for jobs without checkpoints. Normally True.
	ConditionCheckpointsHealthy = "CheckpointsHealthy"
	// ConditionCompleted is True when all input was read to its end; the job is not run again. Normally False for
	// unbounded jobs.
	ConditionCompleted = "Completed"
	// ConditionRolledBack is True while an older version runs instead of the one that the spec asks for, because that one did not
	// become stable. Normally False.
	ConditionRolledBack = "RolledBack"
)

// Reasons of the conditions.
const (
	// ReasonRunning means that all tasks run.
	ReasonRunning = "Running"
	// ReasonSuspended means that the job is suspended as asked.
	ReasonSuspended = "Suspended"
	// ReasonCompleted means that all input was read to its end.
	ReasonCompleted = "Completed"
	// ReasonPending means that nothing has been done yet, or that the StreamSnapshot to start from is not complete yet.
	ReasonPending = "Pending"
	// ReasonStarting means that pods are being started or tasks are being deployed.
	ReasonStarting = "Starting"
	// ReasonWaitingForWorkers means that the coordinator waits for worker slots.
	ReasonWaitingForWorkers = "WaitingForWorkers"
	// ReasonRestarting means that the engine restarts the tasks after a failure.
	ReasonRestarting = "Restarting"
	// ReasonChecking means that the new version is being checked while the old one runs.
	ReasonChecking = "Checking"
	// ReasonUpgrading means that a new version replaces the running one.
	ReasonUpgrading = "Upgrading"
	// ReasonConfiguring means that a change that needs no restart is being brought to the running job.
	ReasonConfiguring = "Configuring"
	// ReasonSuspending means that the job is being stopped with a savepoint.
	ReasonSuspending = "Suspending"
	// ReasonSavepointing means that a savepoint is being taken.
	ReasonSavepointing = "Savepointing"
	// ReasonDeleting means that the StreamJob is being deleted.
	ReasonDeleting = "Deleting"
	// ReasonUpToDate means that there is nothing to do.
	ReasonUpToDate = "UpToDate"
	// ReasonNotStalled means that nothing stands in the way.
	ReasonNotStalled = "NotStalled"
	// ReasonNotCompleted means that the job has not read all its input.
	ReasonNotCompleted = "NotCompleted"
	// ReasonNotRunning means that no version of the job runs.
	ReasonNotRunning = "NotRunning"

	// ReasonInvalidSpec means that the spec cannot be run; the message names the field and the remedy.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonCheckFailed means that the new version cannot start or cannot take the state; the old one keeps running.
	ReasonCheckFailed = "CheckFailed"
	// ReasonSavepointFailed means that the savepoint failed; the job goes on and it is tried again.
	ReasonSavepointFailed = "SavepointFailed"
	// ReasonImagePullFailed means that an image cannot be pulled.
	ReasonImagePullFailed = "ImagePullFailed"
	// ReasonUnschedulable means that no node takes a pod.
	ReasonUnschedulable = "Unschedulable"
	// ReasonPodConfigInvalid means that a pod cannot be made as asked, such as for a secret that does not exist.
	ReasonPodConfigInvalid = "PodConfigInvalid"
	// ReasonPodCrashing means that a container ends over and over.
	ReasonPodCrashing = "PodCrashing"
	// ReasonCoordinatorUnreachable means that the coordinator does not answer.
	ReasonCoordinatorUnreachable = "CoordinatorUnreachable"
	// ReasonStorageUnavailable means that the storage does not answer.
	ReasonStorageUnavailable = "StorageUnavailable"
	// ReasonStorageAccessDenied means that the storage refuses the credentials.
	ReasonStorageAccessDenied = "StorageAccessDenied"
	// ReasonStorageNotFound means that the bucket or the directory does not exist.
	ReasonStorageNotFound = "StorageNotFound"
	// ReasonStorageUnsuitable means that the storage lacks conditional writes.
	ReasonStorageUnsuitable = "StorageUnsuitable"
	// ReasonRestoreNotFound means that the snapshot to start from does not exist.
	ReasonRestoreNotFound = "RestoreNotFound"
	// ReasonRestoreCorrupt means that the snapshot to start from is damaged.
	ReasonRestoreCorrupt = "RestoreCorrupt"
	// ReasonRestoreClaimed means that another job owns the snapshot to start from.
	ReasonRestoreClaimed = "RestoreClaimed"
	// ReasonRewindUnsafe means that the stable version cannot go back to the snapshot from before the version that failed.
	ReasonRewindUnsafe = "RewindUnsafe"
	// ReasonIncompatibleState means that the state does not fit the job.
	ReasonIncompatibleState = "IncompatibleState"
	// ReasonInvalidJob means that the graph of the job cannot be built.
	ReasonInvalidJob = "InvalidJob"
	// ReasonRetainedState means that storage holds state of an earlier job of this name, which is being taken over.
	ReasonRetainedState = "RetainedState"
	// ReasonFenced means that another coordinator with a higher grant owns the state.
	ReasonFenced = "Fenced"
	// ReasonJobFailed means that the job failed for good by its restart strategy.
	ReasonJobFailed = "JobFailed"
	// ReasonRollingBack means that the job goes back to its newest stable version.
	ReasonRollingBack = "RollingBack"
	// ReasonRolledBack means that an older version runs because the one that the spec asks for did not become stable; the message says why.
	ReasonRolledBack = "RolledBack"
	// ReasonNotRolledBack means that the version runs that the spec asks for, or is on its way.
	ReasonNotRolledBack = "NotRolledBack"
	// ReasonRollbackBlocked means that going back might double output or lose state; the message says what to choose from.
	ReasonRollbackBlocked = "RollbackBlocked"
	// ReasonRollbackFailed means that the stable version did not come up either; nothing more is tried.
	ReasonRollbackFailed = "RollbackFailed"
	// ReasonStartDeadline means that a new version did not run in time.
	ReasonStartDeadline = "StartDeadlineExceeded"
	// ReasonCrashLoop means that a new version was restarted too often.
	ReasonCrashLoop = "CrashLoop"
	// ReasonPaused means that the annotation stream.weir.dev/paused keeps the operator from acting.
	ReasonPaused = "Paused"
	// ReasonCancelling means that the job is being ended without a savepoint.
	ReasonCancelling = "Cancelling"
	// ReasonCancelled means that the job is cancelled as asked.
	ReasonCancelled = "Cancelled"
	// ReasonStateWouldBeLost means that what the spec asks for would start empty where there is state, without consent.
	ReasonStateWouldBeLost = "StateWouldBeLost"
	// ReasonDeletionDeadline means that the savepoint before a deletion was given up, as spec.deletion.deadline says.
	ReasonDeletionDeadline = "DeletionDeadlineExceeded"
	// ReasonCheckpointNotTaken means that a checkpoint that was asked for failed; the job goes on and it is tried again.
	ReasonCheckpointNotTaken = "CheckpointNotTaken"
	// ReasonActionFailed means that something was refused, by Kubernetes or by the coordinator, or got no answer; it is tried again.
	ReasonActionFailed = "ActionFailed"
	// ReasonInternal means a fault of Weir.
	ReasonInternal = "Internal"

	// ReasonCheckpointing means that checkpoints complete.
	ReasonCheckpointing = "Checkpointing"
	// ReasonCheckpointsFailing means that the newest checkpoints failed.
	ReasonCheckpointsFailing = "CheckpointsFailing"
	// ReasonCheckpointExpired means that the newest checkpoint was not complete in time.
	ReasonCheckpointExpired = "CheckpointExpired"
	// ReasonCheckpointDeclined means that a task could not take its part of the newest checkpoint.
	ReasonCheckpointDeclined = "CheckpointDeclined"
	// ReasonCheckpointNotWritten means that manifest or head of the newest checkpoint could not be written.
	ReasonCheckpointNotWritten = "CheckpointNotWritten"
	// ReasonNoCheckpointYet means that the running version has not completed a checkpoint yet.
	ReasonNoCheckpointYet = "NoCheckpointYet"
	// ReasonCheckpointingDisabled means that the job has no checkpoints.
	ReasonCheckpointingDisabled = "CheckpointingDisabled"
)

// Finalizer keeps a StreamJob until its job has ended as deletionPolicy says.
const Finalizer = "stream.weir.dev/job"

// AnnotationPaused with the value "true", keeps the operator from doing anything for a StreamJob but watch and report: its pods run on.
const AnnotationPaused = "stream.weir.dev/paused"

// Labels of the objects that belong to a StreamJob.
const (
	// LabelJob names the StreamJob.
	LabelJob = "stream.weir.dev/job"
	// LabelGrant is the grant of the version that an object belongs to.
	LabelGrant = "stream.weir.dev/grant"
	// LabelComponent is coordinator, worker or agent.
	LabelComponent = "stream.weir.dev/component"
)
