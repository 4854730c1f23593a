// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// Coordinator takes the snapshots of a job. See the package comment.
type Coordinator struct {
	o       Options
	effects []Effect
}

// TaskStart is the state of a task when snapshots become possible.
type TaskStart struct {
	Task protocol.TaskID
	// Finished and EndOfData say that it got that far already.
	Finished  bool
	EndOfData bool
}

// New returns a coordinator that goes on from the head, which must have been claimed.
func New(o Options, head snapshot.Head) (*Coordinator, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Coordinator{o: o}, nil
}

// Effects returns what has to be carried out since the last call.
func (c *Coordinator) Effects() []Effect {
	e := c.effects
	c.effects = nil
	return e
}

// NextWake says when HandleTime wants to be called; false for never.
func (c *Coordinator) NextWake() (time.Time, bool) { return time.Time{}, false }

// Start allows snapshots: all tasks of the attempt run or finished. The first periodic trigger follows after a random delay.
func (c *Coordinator) Start(now time.Time, a protocol.Attempt, tasks []TaskStart) {}

// Suspend stops snapshots because the job isn't running any more, and gives up those in flight, except one whose
// head is being swapped. Their operations fail with the reason given.
func (c *Coordinator) Suspend(now time.Time, r Reason, why string) {}

// RequestCheckpoint asks for a checkpoint now.
func (c *Coordinator) RequestCheckpoint(now time.Time, operation string) {}

// RequestSavepoint asks for a savepoint below target (empty: the default), with stop other than StopNone one that stops the job.
func (c *Coordinator) RequestSavepoint(now time.Time, operation, target string, stop record.StopMode) {}

// HandleAck takes an acknowledgement; it may be late, a duplicate or unknown.
func (c *Coordinator) HandleAck(now time.Time, a protocol.Ack) {}

// HandleDecline takes a refusal.
func (c *Coordinator) HandleDecline(now time.Time, d protocol.Decline) {}

// HandleEndOfData takes the report of a task that it waits for its last snapshot.
func (c *Coordinator) HandleEndOfData(now time.Time, e protocol.EndOfData) {}

// HandleFinished says that a task of the attempt finished.
func (c *Coordinator) HandleFinished(now time.Time, t protocol.TaskID) {}

// HandleNotified takes a task's answer to the notification of a snapshot that stops the job.
func (c *Coordinator) HandleNotified(now time.Time, n protocol.Notified) {}

// HandleManifestWritten takes the outcome of WriteManifest.
func (c *Coordinator) HandleManifestWritten(now time.Time, id int64, crc uint32, size int64, err error) {
}

// HandleHeadUpdated says that the head with the update is swapped in.
func (c *Coordinator) HandleHeadUpdated(now time.Time, token int64) {}

// HandleDeleted says that a Delete ended.
func (c *Coordinator) HandleDeleted(now time.Time, token int64) {}

// HandleTime lets time pass.
func (c *Coordinator) HandleTime(now time.Time) {}

// Summary returns the counts.
func (c *Coordinator) Summary() Summary { return Summary{} }

// Pending describes the snapshots in flight.
func (c *Coordinator) Pending(now time.Time) []Stats { return nil }

// History describes the ended snapshots, newest last.
func (c *Coordinator) History() []Stats { return nil }
