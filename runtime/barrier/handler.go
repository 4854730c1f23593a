// SPDX-License-Identifier: Apache-2.0

package barrier

import (
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
)

// StepKind says what a task has to do.
type StepKind uint8

// The steps.
const (
	// Start says that the first barrier of a snapshot arrived.
	Start StepKind = iota + 1
	// Block says that the channel must not be read.
	Block
	// Unblock says that all blocked channels may be read again.
	Unblock
	// Trigger says that all barriers are in: forward the barrier and take the snapshot.
	Trigger
	// Abort says that the snapshot was given up: decline it and forward a cancel-barrier.
	Abort
	// Overtake says that the barrier goes ahead of what is queued: forward it at once, take the snapshot, and capture what the
	// channels hold, and still get, before their barriers.
	Overtake
	// Delivered says that every channel delivered the barrier that overtakes, so that the capture is complete.
	Delivered
)

// Step is one thing to do.
type Step struct {
	Kind StepKind
	// Channel for Block.
	Channel int
	// Barrier for Start, Trigger, Overtake and Delivered; of Abort only Checkpoint counts.
	Barrier record.Barrier
	// Reason for Abort.
	Reason protocol.DeclineReason
}

// Handler takes the control elements of the channels as they are read. Steps are valid until the next call.
type Handler interface {
	// Barrier takes a barrier of a channel.
	Barrier(ch int, b record.Barrier) []Step
	// Cancel takes a cancel-barrier of a channel.
	Cancel(ch int, checkpoint int64) []Step
	// End takes the end of a channel.
	End(ch int) []Step
}
