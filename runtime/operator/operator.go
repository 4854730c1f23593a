// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// Status says whether a batch was taken in full.
type Status uint8

// The statuses.
const (
	// Done means taken in full.
	Done Status = iota
	// Paused means that an output has no room; go on with Resume.
	Paused
)

// Output takes the batches an operator produces: the next operator of the chain, or the
// exchange at its end. The batch is borrowed until the answer is Done.
type Output interface {
	Emit(b record.Batch) (Status, error)
}

// Operator transforms or consumes batches.
type Operator interface {
	// Open prepares the instance; state in c is restored already. ctx ends with the task.
	Open(ctx context.Context, c *Context) error
	// Process takes a batch of the given logical input (0, or 0 and 1 for two inputs).
	Process(input int, b record.Batch) (Status, error)
	// Resume goes on after Paused. The operators further down have been resumed already.
	Resume() (Status, error)
	// Close releases what Open took; called once, also after a failure, also after a failed Open.
	Close() error
}

// PollState says how a source goes on.
type PollState uint8

// The poll states.
const (
	// More means poll again at once.
	More PollState = iota
	// Wait means poll again when woken, or at WakeAt if that is set.
	Wait
	// End means that the input is bounded and read to its end.
	End
)

// Polled is the result of one poll of a source.
type Polled struct {
	// Batch is nil or a batch of at most about [record.TargetRows] rows, borrowed until the next poll.
	Batch record.Batch
	// State says how to go on.
	State PollState
	// WakeAt is when to poll again after Wait, besides Context.Wake; zero for not by time.
	WakeAt time.Time
	// Watermark is emitted after the batch if it is above the last one; zero for none.
	Watermark int64
	// Idle marks the source as idle until it yields a batch.
	Idle bool
}

// Source produces batches from a position that its snapshot holds. It must implement
// [Stateful] unless it always starts anew.
type Source interface {
	Open(ctx context.Context, c *Context) error
	// Poll returns the next rows that are ready; it never blocks.
	Poll() (Polled, error)
	Close() error
}

// Stateful has operator state: lists of entries besides the keyed state that the engine
// snapshots by itself.
type Stateful interface {
	// Snapshot is the synchronous part: it fixes the state as of now and returns the part that
	// may run beside processing, in another goroutine, at most once, and produces the entries.
	Snapshot(b record.Barrier) (AsyncSnapshot, error)
}

// AsyncSnapshot produces the entries of a snapshot. It stops early when ctx ends.
type AsyncSnapshot func(ctx context.Context) ([]List, error)

// Preparer is told before a barrier is forwarded, to flush what must be before it.
type Preparer interface {
	PrepareSnapshot(b record.Barrier) (Status, error)
}

// Listener hears how snapshots end. Notifications may be lost, late or repeated: completion of
// n covers everything up to n. A source may give up its input upstream, up to its position in n; its node must be declared so (Trims).
type Listener interface {
	// NotifyComplete is called after the head names the snapshot: commit everything up to it, idempotently.
	// An error fails the job.
	NotifyComplete(ctx context.Context, checkpoint int64) error
	// NotifyAborted is called when the snapshot was given up; its data belongs to the next one.
	NotifyAborted(checkpoint int64)
}

// Finisher is told that an input, or all of them, ended.
type Finisher interface {
	// Finish is called once, after every input ended and before the end is forwarded: emit what is held back.
	Finish() (Status, error)
}

// WatermarkHandler hears of watermarks before they are forwarded.
type WatermarkHandler interface {
	OnWatermark(t int64) (Status, error)
}

// Mode says how the entries of a list are given to the subtasks of a new parallelism.
type Mode uint8

// The redistribution modes (semantics.md §10).
const (
	// Split concatenates the entries in old order and divides them evenly; unchanged at an unchanged parallelism.
	Split Mode = iota
	// Union gives all entries to all subtasks.
	Union
	// Broadcast gives new subtask i the copy of old subtask i mod p.
	Broadcast
)

// List is one named list of operator state.
type List struct {
	// Name is unique within the operator.
	Name string `json:"name"`
	// Mode says how it is redistributed.
	Mode Mode `json:"mode,omitempty"`
	// Type is a signature of what the entries are, for the operator to compare; the engine hands it on.
	Type string `json:"type,omitempty"`
	// Entries are opaque to the engine. An entry is small (kilobytes); large state is keyed. All entries of a task may have about 47 MiB together.
	Entries [][]byte `json:"entries,omitempty"`
}

// Context is what an operator instance knows of its surroundings.
type Context struct {
	// JobID and JobName identify the job; transactional sinks name their transactions by JobID.
	JobID, JobName string
	// Name is the operator's name, its identity.
	Name string
	// Subtask of Parallelism, from 0.
	Subtask, Parallelism int
	// MaxParallelism is the number of key groups.
	MaxParallelism int
	// Attempt is unique for every deployment of the job, usable in names ("1-2-3").
	Attempt string
	// Out is where to emit; nil for an operator without consumers.
	Out Output
	// Keyed is the keyed state of this operator; nil unless the node is declared keyed.
	Keyed *state.Memory
	// Restored holds the operator state given to this subtask; empty at a fresh start. Subtasks may share it: entries must not be changed.
	Restored []List
	// RestoredFrom is the id of the snapshot restored from, 0 at a fresh start.
	RestoredFrom int64
	// Checkpointed says whether snapshots are taken: without, a transactional sink commits at the end of input.
	Checkpointed bool
	// Wake makes the task poll the source again; safe from any goroutine; never blocks.
	Wake func()
	// Now is the clock of the engine.
	Now func() time.Time
	// Log is the logger of this subtask.
	Log logr.Logger
	// Counters count what the operator wants shown, e.g. skipped lines; safe for use by any goroutine.
	Counters *Counters

	// asked are the names that List was called with.
	asked []string
}

// List returns the restored list of that name; nil when there is none.
func (c *Context) List(name string) [][]byte {
	c.asked = append(c.asked, name)
	for i := range c.Restored {
		if c.Restored[i].Name == name {
			return c.Restored[i].Entries
		}
	}
	return nil
}
