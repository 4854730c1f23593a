// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"slices"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// Effect is something the caller has to carry out, in order.
type Effect interface{ effect() }

// Trigger starts a snapshot at the tasks. It is also sent later to a task that reported the end of its data
// while the snapshot was in flight; a task that has seen the id ignores it.
type Trigger struct {
	Barrier record.Barrier
	Tasks   []protocol.TaskID
}

// NotifyComplete tells the tasks that the snapshot is in the head. With Stop it is repeated until each answered Notified. Those to Stay are
// at the end of their data and don't finish with it.
type NotifyComplete struct {
	Checkpoint  int64
	Stop        record.StopMode
	Tasks, Stay []protocol.TaskID
}

// NotifyAborted tells the tasks that the snapshot was given up. LatestCompleted is the newest that was completed to commit with:
// a checkpoint or the savepoint of a stop.
type NotifyAborted struct {
	Checkpoint      int64
	LatestCompleted int64
	Tasks           []protocol.TaskID
}

// WriteManifest writes a manifest to Path + snapshot.ManifestName, creating it. Answer with HandleManifestWritten.
type WriteManifest struct {
	Checkpoint int64
	Path       string
	Manifest   *snapshot.Manifest
}

// ReadManifest reads the manifest of a checkpoint of the head, to learn which shared files it refers to. CRC32C is its checksum. Answer with
// HandleManifestRead.
type ReadManifest struct {
	Checkpoint int64
	Path       string
	CRC32C     uint32
}

// UpdateHead asks for a change of the head. Answer with HandleHeadUpdated(Token) once it is swapped in.
type UpdateHead struct {
	Token int64
	// Complete is a checkpoint to add; Subsume names those to remove with it.
	Complete *snapshot.CompletedCheckpoint
	Subsume  []int64
	// Operation is an outcome to record.
	Operation *snapshot.Operation
	// ReserveUntil extends the block of ids; 0 for no change.
	ReserveUntil int64
}

// Apply makes the change.
func (u UpdateHead) Apply(h *snapshot.Head) {
	h.ReservedUntil = max(h.ReservedUntil, u.ReserveUntil)
	if len(u.Subsume) > 0 {
		h.Checkpoints = slices.DeleteFunc(slices.Clone(h.Checkpoints), func(c snapshot.CompletedCheckpoint) bool {
			return slices.Contains(u.Subsume, c.ID)
		})
	}
	if u.Complete != nil {
		h.Checkpoints = append(slices.Clone(h.Checkpoints), *u.Complete)
		h.NamedState = true
	}
	if u.Operation != nil {
		h.SetOperation(*u.Operation)
		if u.Operation.NamesStop() {
			h.NamedState = true
		}
	}
}

// Delete removes objects that nothing refers to: all whose keys begin with Prefix, if that is set, and Paths. Answer with HandleDeleted(Token),
// whatever the outcome: to try again is up to whoever deletes.
type Delete struct {
	Token  int64
	Prefix string
	Paths  []string
}

// Answer gives the outcome of an operation to whoever asked.
type Answer struct {
	Operation snapshot.Operation
}

// FailJob says that more snapshots failed than are tolerable.
type FailJob struct {
	Checkpoint int64
	Reason     string
}

// Stopping says that the savepoint of a stop is in the head: the tasks are being told to commit and finish.
type Stopping struct {
	Operation snapshot.Operation
}

func (Trigger) effect()        {}
func (NotifyComplete) effect() {}
func (NotifyAborted) effect()  {}
func (WriteManifest) effect()  {}
func (ReadManifest) effect()   {}
func (UpdateHead) effect()     {}
func (Delete) effect()         {}
func (Answer) effect()         {}
func (FailJob) effect()        {}
func (Stopping) effect()       {}
