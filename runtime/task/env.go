// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// Writer is the producing end of one output channel.
type Writer interface {
	// Push hands over an element, and with it the batch it holds. It never blocks or refuses.
	Push(e record.Element)
	// HasRoom says whether the task should go on producing.
	HasRoom() bool
}

// Inputs is the receiving end of the input channels.
type Inputs interface {
	// SetBlocked keeps a channel from being read, or lets it be read again.
	SetBlocked(ch int, blocked bool)
}

// Overtaking is what inputs can do, besides [Inputs], that let barriers overtake what is queued. A core uses it, if its inputs implement it and
// the edges allow it ([graph.Vertex.Overtakable]); else all barriers are aligned. Whoever implements it
//   - notes each barrier, cancel-barrier and end when it enters the queue of its channel, in order for each channel, has it come out of
//     Arrived once, and makes the shell call [Core.HandleArrivals] soon, whether or not the channel is blocked or the core is paused;
//     the element itself keeps its place in the queue;
//   - adds to a capture, from Capture to EndCapture, all elements of all queues in their order, and then each one that enters a queue.
type Overtaking interface {
	Inputs
	// Arrived appends to dst what arrived since the last call; at the first call, what there is in the queues. It is cheap when there is nothing.
	Arrived(dst []barrier.Arrival) []barrier.Arrival
	// Capture begins to copy: there is no other capture under way. Elements are retained by the capture, the queues stay as they are.
	Capture(c *barrier.Capture)
	// EndCapture ends it: nothing is added once it has returned.
	EndCapture()
}

// Measured is implemented by inputs that can tell how much waits in a channel.
type Measured interface {
	// Queued returns how many rows are queued in a channel, and the batch that is read next, which stays where it is; nil for none.
	Queued(ch int) (rows int, next record.Batch)
}

// Async is the asynchronous part of a snapshot. It may run in another goroutine, once.
type Async func(ctx context.Context, w state.FileWriter) (AsyncResult, error)

// AsyncResult is what the asynchronous part yields.
type AsyncResult struct {
	// Operators holds the state of each operator of the chain, by name.
	Operators map[string]snapshot.SubtaskState
	// Bytes written to storage, and the time that took, summed over files.
	Bytes  int64
	Upload time.Duration
	// Ended is when it was done: the task may be too busy to take the result at once.
	Ended time.Time
	// Overtaken is the part of Bytes that holds what the barrier overtook: first what a restore had not processed, then by channel. Nil: nothing.
	Overtaken []int64
	// Costs are those of the operators that have state, in the order of the chain.
	Costs []protocol.OperatorCost
}

// Env is what a core asks of its surroundings. Its methods don't block and don't call the core.
type Env interface {
	// StartAsync runs the asynchronous part of snapshot b, with a writer of new files below b.Target, and below b.Shared
	// if that is set: then it is a [state.SharedWriter]. It brings the outcome to [Core.AsyncDone].
	StartAsync(b record.Barrier, run Async)
	// CancelAsync ends the asynchronous part of a snapshot that was given up; its outcome doesn't matter.
	CancelAsync(checkpoint int64)
	// Ack and Decline report to the coordinator.
	Ack(checkpoint int64, operators map[string]snapshot.SubtaskState, m protocol.AckMetrics)
	Decline(checkpoint int64, reason protocol.DeclineReason, err error)
	// EndOfData reports that all bounded input is processed.
	EndOfData()
	// Notified reports that the task acted on the completion or the end of a snapshot that stops the job.
	Notified(checkpoint int64)
}

// Options make a core.
type Options struct {
	// Plan, Vertex and Subtask say which task this is.
	Plan    *graph.Plan
	Vertex  *graph.Vertex
	Subtask int
	// Deployment holds the state to restore.
	Deployment protocol.TaskDeployment
	// Attempt is the deployment of the job.
	Attempt protocol.Attempt
	// RestoredFrom is the snapshot restored from, 0 for none.
	RestoredFrom int64
	// AllowNonRestoredState drops restored state that an operator doesn't use any more.
	AllowNonRestoredState bool
	// JobID and JobName identify the job.
	JobID, JobName string
	// Checkpointed says whether snapshots are taken; AtLeastOnce skips alignment.
	Checkpointed, AtLeastOnce bool
	// Memory counts and bounds the keyed state of all tasks together; nil for no bound.
	Memory *state.Account
	// Reader reads state files.
	Reader state.FileReader
	// Env, Inputs, and the writers of each output edge of the vertex, in order of destination.
	Env     Env
	Inputs  Inputs
	Writers [][]Writer
	// Wake makes the task be driven again; for sources; safe from any goroutine.
	Wake func()
	// Now is the clock.
	Now func() time.Time
	// Linger is how long rows may wait for a batch to fill while the task is busy. Default 5 ms.
	Linger time.Duration
	// Log is the logger of the task.
	Log logr.Logger
}
