// SPDX-License-Identifier: Apache-2.0

package record

import (
	"fmt"
	"time"
)

// Kind says what an [Element] is.
type Kind uint8

// The kinds of element. Zero is not a valid kind.
const (
	// KindBatch carries rows.
	KindBatch Kind = iota + 1
	// KindWatermark says that no row with an event time at or below Time follows on this channel.
	KindWatermark
	// KindBarrier separates the rows before a checkpoint from the rows after it.
	KindBarrier
	// KindCancelBarrier takes the place of the barrier of a checkpoint that was given up upstream.
	KindCancelBarrier
	// KindIdle says that the channel takes no part in the watermark until the next batch or watermark.
	KindIdle
	// KindEnd says that nothing follows on this channel: the input was bounded and is read to its end.
	KindEnd
)

// String returns the name of the kind, for traces and messages.
func (k Kind) String() string {
	switch k {
	case KindBatch:
		return "batch"
	case KindWatermark:
		return "watermark"
	case KindBarrier:
		return "barrier"
	case KindCancelBarrier:
		return "cancel-barrier"
	case KindIdle:
		return "idle"
	case KindEnd:
		return "end"
	default:
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
}

// Times of watermarks, in milliseconds since the Unix epoch.
const (
	// MinTime is the watermark of a channel that has not carried one.
	MinTime int64 = -1 << 63
	// MaxTime is the final watermark: no row follows.
	MaxTime int64 = 1<<63 - 1
)

// SnapshotKind says who asked for a snapshot and who owns it.
type SnapshotKind uint8

// The kinds of snapshot.
const (
	// Checkpoint is an automatic snapshot, owned by the system and subsumed by newer ones.
	Checkpoint SnapshotKind = iota
	// Savepoint is a snapshot on request: self-contained, relocatable, never subsumed.
	Savepoint
)

// String returns "checkpoint" or "savepoint".
func (k SnapshotKind) String() string {
	if k == Savepoint {
		return "savepoint"
	}
	return "checkpoint"
}

// StopMode says what a task does once it has taken its snapshot.
type StopMode uint8

// The stop modes.
const (
	// StopNone lets the task run on.
	StopNone StopMode = iota
	// StopFreeze freezes the task until the snapshot is complete (it then commits and finishes) or aborted (it then runs on).
	StopFreeze
	// StopDrain emits the final watermark and finishes the operators before the snapshot, then freezes.
	StopDrain
)

// Barrier is the content of a barrier or cancel-barrier element and of a trigger. It is a plain value.
type Barrier struct {
	// Checkpoint is the id of the snapshot, strictly ascending in the life of a job.
	Checkpoint int64 `json:"checkpoint"`
	// Kind is checkpoint or savepoint.
	Kind SnapshotKind `json:"kind,omitempty"`
	// Stop is other than StopNone for stop-with-savepoint.
	Stop StopMode `json:"stop,omitempty"`
	// Base is the completed checkpoint whose shared files an incremental snapshot may refer to; 0 asks for a full one.
	Base int64 `json:"base,omitempty"`
	// Target is the storage prefix (ending in "/") under which files of this snapshot alone are created.
	Target string `json:"target,omitempty"`
	// Shared is the storage prefix (ending in "/") under which files of keyed state are created that later checkpoints may refer
	// to; empty if they belong to this snapshot alone and go below Target.
	Shared string `json:"shared,omitempty"`
	// Unaligned lets the barrier overtake what is queued before it, where the edges allow it; what it overtakes is part of the snapshot.
	Unaligned bool `json:"unaligned,omitempty"`
	// AlignmentTimeout is how long each hop aligns, on its own clock, before an unaligned barrier overtakes; 0: it overtakes at once.
	AlignmentTimeout time.Duration `json:"alignmentTimeout,omitempty"`
}

// Element is one item on a channel. Which of the other fields count follows from Kind.
type Element struct {
	// Kind says what the element is.
	Kind Kind
	// Batch is set for KindBatch.
	Batch Batch
	// Time is the watermark for KindWatermark, in milliseconds since the Unix epoch.
	Time int64
	// Barrier is set for KindBarrier and KindCancelBarrier (there only Checkpoint counts).
	Barrier Barrier
}

// OfBatch returns the element that carries b.
func OfBatch(b Batch) Element { return Element{Kind: KindBatch, Batch: b} }

// OfWatermark returns a watermark element.
func OfWatermark(t int64) Element { return Element{Kind: KindWatermark, Time: t} }

// OfBarrier returns a barrier element.
func OfBarrier(b Barrier) Element { return Element{Kind: KindBarrier, Barrier: b} }

// OfCancelBarrier returns the cancel-barrier of checkpoint id.
func OfCancelBarrier(id int64) Element {
	return Element{Kind: KindCancelBarrier, Barrier: Barrier{Checkpoint: id}}
}

// End returns the end-of-data element.
func End() Element { return Element{Kind: KindEnd} }

// Idle returns the idle marker.
func Idle() Element { return Element{Kind: KindIdle} }
