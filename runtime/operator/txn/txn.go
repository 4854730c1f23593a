// SPDX-License-Identifier: Apache-2.0

package txn

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// ListName is the name of the list of operator state that holds the handles. It is a union list: whoever aborts must know all that is to be committed.
const ListName = "transactions"

// Sink is what a connector implements: the outside as one subtask sees it. Commit is called by the goroutine of the task, and without snapshots by
// another one at the end; the other methods by the goroutine of the task only.
type Sink interface {
	// Open connects. It commits and aborts nothing. ctx ends with the task.
	Open(ctx context.Context, c *operator.Context) error
	// Begin opens a transaction. It doesn't block: it may wait with that until there is something to write.
	Begin() (Transaction, error)
	// Commit makes visible what the handles stand for, wholly and once: a handle that is committed already is a success. Handles may stem from other
	// subtasks, attempts and, if the job started from their snapshot, jobs. A transaction that can't be committed any more is an [ExpiredError].
	Commit(ctx context.Context, handles [][]byte) error
	// AbortLeftovers aborts every transaction of this job and operator, of whatever subtask, that isn't committed, except for those to keep and those of
	// this attempt (JobID, Name and Attempt of the context that Open was given). Only the first subtask is asked to.
	AbortLeftovers(ctx context.Context, keep [][]byte) error
	// Close disconnects; called once after Open, also if that failed. What is pre-committed must survive it.
	Close() error
}

// Transaction is what is written between two barriers. Its methods are called by the goroutine of the task, but for PreCommit.
type Transaction interface {
	// Write adds a batch, which is borrowed until the answer is Done. It doesn't block: after Paused the sink wakes the task, and Resume goes on.
	Write(b record.Batch) (operator.Status, error)
	// Resume goes on after Paused.
	Resume() (operator.Status, error)
	// Seal ends the writing at the barrier of a snapshot, which is the first one to hold this transaction; 0 at the end of a job without snapshots.
	Seal(checkpoint int64)
	// PreCommit makes durable what was written and returns the handles by which it is committed, usually one. It runs beside the task, and beside writes to the next
	// transaction. After an error it may be called again, never after a success, and never twice at the same time.
	PreCommit(ctx context.Context) ([][]byte, error)
	// Abort gives up a transaction that was never sealed; the last call. It is a courtesy: a process that is killed doesn't make it.
	Abort(ctx context.Context) error
}

// ExpiredError says that a transaction was dropped outside before it was committed, for instance because it had been open for too long:
// its rows are lost. It ends the job; no restart mends it.
type ExpiredError struct {
	// Transaction names it as the outside does.
	Transaction string
	// Err is what the outside said; may be nil.
	Err error
}

// Error names the transaction and what can be done.
func (e *ExpiredError) Error() string {
	text := fmt.Sprintf("transaction %s was dropped outside before it could be committed, its rows are lost: restore them from the input, start the job again "+
		"with this operator under another name, and give transactions a longer timeout than an outage of the job may last", e.Transaction)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns what the outside said.
func (e *ExpiredError) Unwrap() error { return e.Err }

// CheckTimeout refuses a transaction timeout that ordinary checkpoints may exceed: it must be at least twice the sum of checkpoint interval and checkpoint timeout.
// A timeout of 0 means that transactions don't expire.
func CheckTimeout(timeout, interval, checkpointTimeout time.Duration) error {
	least := 2 * (interval + checkpointTimeout)
	if timeout == 0 || timeout >= least {
		return nil
	}
	return fmt.Errorf("transactions expire after %s, but a checkpoint may come %s after the one before and take %s, so that they must last for at least %s, twice the sum: "+
		"raise the transaction timeout, or lower the interval or the timeout of checkpoints", timeout, interval, checkpointTimeout, least)
}

// Outage is how long a job may be away before a transaction expires that was pre-committed just before: 0 for no bound.
func Outage(timeout, interval, checkpointTimeout time.Duration) time.Duration {
	if timeout == 0 {
		return 0
	}
	return max(timeout-interval-checkpointTimeout, 1)
}
