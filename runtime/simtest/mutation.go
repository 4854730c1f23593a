// SPDX-License-Identifier: Apache-2.0

package simtest

// Mutation is a deliberate mistake in the protocol. It is made by the simulator around the cores, never in them.
type Mutation string

// The mutations.
const (
	// NoMutation runs the protocol as it is.
	NoMutation Mutation = ""

	// NoAlignment doesn't block channels that delivered their barrier.
	NoAlignment Mutation = "NoAlignment"
	// LateBarrier forwards a barrier only after the batch that follows the snapshot: first the snapshot, then the broadcast.
	LateBarrier Mutation = "LateBarrier"
	// OvertakenRows lets a barrier overtake the batch in front of it without making that a part of the snapshot.
	OvertakenRows Mutation = "OvertakenRows"
	// CancelIgnored loses cancel-barriers: whoever aligns waits for the barrier that they replace.
	CancelIgnored Mutation = "CancelIgnored"
	// CancelEndsOlder lets a task that only counts barriers take a cancel-barrier for the end of older snapshots as well, without a word.
	CancelEndsOlder Mutation = "CancelEndsOlder"
	// ChannelsForgotten leaves what a barrier overtook out of the snapshot.
	ChannelsForgotten Mutation = "ChannelsForgotten"
	// RemainderForgotten leaves that out of a snapshot taken while a restored task still works on what was in flight before.
	RemainderForgotten Mutation = "RemainderForgotten"
	// EndlessCapture copies rows behind a barrier, too, as if it had overtaken them.
	EndlessCapture Mutation = "EndlessCapture"
	// LateState lets sources read their position when it is written, not at the barrier.
	LateState Mutation = "LateState"
	// NotFrozen lets a source go on although the snapshot that stops the job froze it.
	NotFrozen Mutation = "NotFrozen"
	// TimersNotFrozen lets timers fire in such a task.
	TimersNotFrozen Mutation = "TimersNotFrozen"
	// EarlyFinish lets a task finish at the end of its data without waiting for a last snapshot.
	EarlyFinish Mutation = "EarlyFinish"

	// CompleteMeansNewest lets a task commit everything when it hears that any snapshot is complete.
	CompleteMeansNewest Mutation = "CompleteMeansNewest"
	// AnyAbortThaws lets a frozen task go on when it hears that any snapshot was given up.
	AnyAbortThaws Mutation = "AnyAbortThaws"

	// NotifyBeforeHead tells tasks that a checkpoint is complete when its manifest is written, before the head names it.
	NotifyBeforeHead Mutation = "NotifyBeforeHead"
	// SavepointOutsideHead stops the tasks with a savepoint whose manifest is written, but which no head names.
	SavepointOutsideHead Mutation = "SavepointOutsideHead"
	// NoReadBack takes a swap of the head without an answer for done.
	NoReadBack Mutation = "NoReadBack"
	// ConflictIsFenced takes a swap that fails for the version of the head as proof that somebody else has it.
	ConflictIsFenced Mutation = "ConflictIsFenced"
	// BlindSwap writes the head without comparing versions.
	BlindSwap Mutation = "BlindSwap"
	// LowerGrant lets a coordinator of an old revision claim a head with a higher grant.
	LowerGrant Mutation = "LowerGrant"
	// IDsReused lets a coordinator count on from the newest snapshot in the head, not from the reserved block.
	IDsReused Mutation = "IDsReused"
	// StaleRestore restores from the oldest checkpoint of the head instead of the newest.
	StaleRestore Mutation = "StaleRestore"

	// DrainedUnasked lets a job go on that was drained, though nobody consented.
	DrainedUnasked Mutation = "DrainedUnasked"
	// DrainedIsDrained takes the savepoint of a drain for the end of the job, even if the job goes on from it after a failure.
	DrainedIsDrained Mutation = "DrainedIsDrained"

	// SilentFallBack restores the checkpoint before a damaged one and doesn't say so.
	SilentFallBack Mutation = "SilentFallBack"
	// FallBackOverCommits leaves out damaged checkpoints with which a sink has committed.
	FallBackOverCommits Mutation = "FallBackOverCommits"
	// RewindOverCommits goes back to a snapshot although a sink has committed with a newer one.
	RewindOverCommits Mutation = "RewindOverCommits"
	// RewindOverTrims goes back to a snapshot although a source has given up input with a newer one.
	RewindOverTrims Mutation = "RewindOverTrims"
	// RewindOverRestores goes back to a savepoint although the job was restored from an older snapshot since.
	RewindOverRestores Mutation = "RewindOverRestores"

	// SendersClock lets a coordinator take the time at which a worker sent a message, by the clock of the worker, for that at which it came.
	SendersClock Mutation = "SendersClock"
	// DuplicateAckDeletes deletes the files of an acknowledgement that came before.
	DuplicateAckDeletes Mutation = "DuplicateAckDeletes"
	// RefusalForgotten has a coordinator take a deletion that storage did not carry out for done.
	RefusalForgotten Mutation = "RefusalForgotten"
	// SavepointLeft has a coordinator delete of a savepoint that was given up only what was acknowledged.
	SavepointLeft Mutation = "SavepointLeft"
	// PartLeft lets a task leave the files of its part of a snapshot that was given up.
	PartLeft Mutation = "PartLeft"
	// OriginDeletedEarly deletes a savepoint that a job claims as soon as it owns it.
	OriginDeletedEarly Mutation = "OriginDeletedEarly"
	// ClaimTaken lets a job go on as the owner of a savepoint that another one has claimed.
	ClaimTaken Mutation = "ClaimTaken"
	// OwnerGoesFirst deletes the mark of the owner before what it owns.
	OwnerGoesFirst Mutation = "OwnerGoesFirst"
	// SweepWithoutGrace lets sweepers take objects for orphans that were written just now.
	SweepWithoutGrace Mutation = "SweepWithoutGrace"
	// PinsIgnored lets a coordinator delete what pins hold, SweepOverPins sweepers.
	PinsIgnored   Mutation = "PinsIgnored"
	SweepOverPins Mutation = "SweepOverPins"
	// PinTooLate takes a checkpoint for pinned if it is there still, though the head doesn't name it any more.
	PinTooLate Mutation = "PinTooLate"
	// DeleteBeforeHead deletes what a new head won't name before it is swapped in.
	DeleteBeforeHead Mutation = "DeleteBeforeHead"

	// AbortedBase lets an incremental checkpoint refer to what was uploaded for one that was given up.
	AbortedBase Mutation = "AbortedBase"
	// TaskChoosesBase lets tasks take the last checkpoint they acknowledged as the base, complete or not.
	TaskChoosesBase Mutation = "TaskChoosesBase"
	// SharedGoesWithCheckpoint deletes the shared files of a checkpoint with it, though newer ones refer to them.
	SharedGoesWithCheckpoint Mutation = "SharedGoesWithCheckpoint"
	// RegistryForgets lets a coordinator take over without learning which shared files there are.
	RegistryForgets Mutation = "RegistryForgets"

	// EarlyTrim lets sources give up their input at the barrier, before the snapshot is complete.
	EarlyTrim Mutation = "EarlyTrim"
	// AbortDiscards lets a sink throw away what it prepared for a snapshot that was given up.
	AbortDiscards Mutation = "AbortDiscards"
	// RestoreSkipsCommit lets a sink forget what the restored snapshot holds.
	RestoreSkipsCommit Mutation = "RestoreSkipsCommit"
	// ForkTouchesOrigin lets a sink commit transactions of the job that its own started from.
	ForkTouchesOrigin Mutation = "ForkTouchesOrigin"
)

// Mutations lists all but NoMutation.
func Mutations() []Mutation {
	return []Mutation{
		NoAlignment, LateBarrier, OvertakenRows, CancelIgnored, CancelEndsOlder, ChannelsForgotten, RemainderForgotten, EndlessCapture, LateState, NotFrozen, TimersNotFrozen, EarlyFinish,
		CompleteMeansNewest, AnyAbortThaws,
		NotifyBeforeHead, SavepointOutsideHead, NoReadBack, ConflictIsFenced, BlindSwap, LowerGrant, IDsReused, StaleRestore,
		DrainedUnasked, DrainedIsDrained, SilentFallBack, FallBackOverCommits, RewindOverCommits, RewindOverTrims, RewindOverRestores,
		SendersClock, DuplicateAckDeletes, RefusalForgotten, SavepointLeft, PartLeft, OriginDeletedEarly, ClaimTaken, OwnerGoesFirst, SweepWithoutGrace, PinsIgnored, SweepOverPins, PinTooLate, DeleteBeforeHead, AbortedBase, TaskChoosesBase, SharedGoesWithCheckpoint, RegistryForgets,
		EarlyTrim, AbortDiscards, RestoreSkipsCommit, ForkTouchesOrigin,
	}
}
