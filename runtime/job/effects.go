// SPDX-License-Identifier: Apache-2.0

package job

import (
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// Effect is something the shell has to carry out, in order.
type Effect interface{ effect() }

// ReadHead asks for the head. Answer with HandleHeadRead.
type ReadHead struct{}

// SwapHead asks to put Head in the place of the head that was read or swapped in last (none, if Head.Seq is 1), on
// condition that it still is that one. Answer with HandleSwapped; after anything but plain success the outcome comes from reading
// back and snapshot.ResolveSwap(readBack, found, err, Head).
type SwapHead struct {
	Head snapshot.Head
}

// WriteManifest writes Manifest to Path + snapshot.ManifestName unless there is one. If the outcome is unknown, or there is one, the
// shell compares what is there with what it wanted to write. Answer with HandleManifestWritten.
type WriteManifest struct {
	Checkpoint int64
	Path       string
	Manifest   *snapshot.Manifest
}

// ReadManifest reads the manifest of the snapshot at Path: a directory, or the manifest itself. CRC32C is checked unless it is 0.
// Answer with HandleManifestRead.
type ReadManifest struct {
	Path   string
	CRC32C uint32
}

// DeleteObjects removes all objects whose keys begin with Prefix, if that is set, and those named by Paths. Answer with HandleDeleted, whatever the outcome.
type DeleteObjects struct {
	Token  int64
	Prefix string
	Paths  []string
}

// ClaimSnapshot makes the job the owner of the snapshot in Dir, which ends in "/", unless another job is. Doing it again does nothing. Answer with
// HandleSnapshotClaimed.
type ClaimSnapshot struct {
	Dir string
}

// DeleteOrigin deletes the snapshot in Dir, which ends in "/", if the job owns it. Answer with HandleOriginDeleted, without an error only if
// nothing of it is left to delete.
type DeleteOrigin struct {
	Dir string
}

// Send passes a message to a worker. It is best effort: a worker that can't be reached is reported as lost.
type Send struct {
	Worker  string
	Message protocol.ToWorker
}

// DropWorker closes the connection to a worker that doesn't do what it has to. The machine counts it as lost already.
type DropWorker struct {
	Worker string
	Reason string
}

// Reply gives the outcome of an operation to everybody who asked for that id.
type Reply struct {
	Operation snapshot.Operation
}

// Exit ends the incarnation: there are no effects after it.
type Exit struct {
	// State is Finished, Failed, Canceled or Suspended.
	State State
	// Ended says that the head names this end of the job: with Suspended, that it was stopped with a savepoint. Without, the job goes on elsewhere.
	Ended bool
	// Fenced says that another coordinator owns the job.
	Fenced bool
	// Err is nil for an orderly end. It wraps snapshot.ErrFenced if Fenced.
	Err error
}

func (ReadHead) effect()      {}
func (SwapHead) effect()      {}
func (WriteManifest) effect() {}
func (ReadManifest) effect()  {}
func (DeleteObjects) effect() {}
func (ClaimSnapshot) effect() {}
func (DeleteOrigin) effect()  {}
func (Send) effect()          {}
func (DropWorker) effect()    {}
func (Reply) effect()         {}
func (Exit) effect()          {}
