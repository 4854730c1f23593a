// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"cmp"
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// Epoch is the fencing number of one coordinator incarnation; it ascends strictly.
type Epoch struct {
	// Grant numbers the deployments of the coordinator, given by who deploys it.
	Grant int64 `json:"grant"`
	// N counts the claims within a grant.
	N int64 `json:"n"`
}

// Compare orders epochs by grant, then by claim.
func (e Epoch) Compare(o Epoch) int {
	return cmp.Or(cmp.Compare(e.Grant, o.Grant), cmp.Compare(e.N, o.N))
}

// Attempt is one deployment of a region of a job: of the tasks that edges connect. Most jobs are one region.
type Attempt struct {
	Epoch
	// K counts deployments within the epoch, from 1.
	K int64 `json:"k"`
}

// Compare orders attempts by epoch, then by deployment.
func (a Attempt) Compare(o Attempt) int {
	return cmp.Or(a.Epoch.Compare(o.Epoch), cmp.Compare(a.K, o.K))
}

// String returns "grant-n-k", usable in object names.
func (a Attempt) String() string { return fmt.Sprintf("%d-%d-%d", a.Grant, a.N, a.K) }

// TaskID names one subtask of a vertex (a chain of operators) of the physical graph.
type TaskID struct {
	// Vertex is the name of the vertex: the name of the first operator of the chain.
	Vertex string `json:"vertex"`
	// Subtask from 0.
	Subtask int `json:"subtask"`
}

// String returns "vertex/subtask".
func (t TaskID) String() string { return fmt.Sprintf("%s/%d", t.Vertex, t.Subtask) }

// ControlVersion numbers what workers and coordinators understand of each other beyond a registration. It changes with every message that one which doesn't know it must not
// pass over.
const ControlVersion = 2

// Register is the first message of a worker on a connection.
type Register struct {
	// Worker is its name, stable over a reconnect of the same process, new for a new process.
	Worker string `json:"worker"`
	// Slots is how many slots it offers; one slot holds one subtask of every vertex.
	Slots int `json:"slots"`
	// DataAddr is where other workers dial it for the exchange.
	DataAddr string `json:"dataAddr"`
	// Protocol is the [ControlVersion] of the worker; 0 before there was one.
	Protocol int `json:"protocol,omitempty"`
	// Version of the build and Fingerprint of the job's graph as this worker builds it.
	Version     string `json:"version"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

// Registered answers Register.
type Registered struct {
	// Epoch of the coordinator.
	Epoch Epoch `json:"epoch"`
	// Job is the configuration of the job (contract.JobConfig as JSON).
	Job []byte `json:"job"`
	// Fingerprint of the graph as the coordinator builds it; a worker that builds another one fails its deployments. Empty: not compared.
	Fingerprint string `json:"fingerprint,omitempty"`
	// HeartbeatInterval of workers, which the coordinator answers; a peer silent for HeartbeatTimeout is lost.
	HeartbeatInterval time.Duration `json:"heartbeatInterval"`
	HeartbeatTimeout  time.Duration `json:"heartbeatTimeout"`
}

// Placement says where a slot is: slot i holds subtask i of every vertex with more than i subtasks.
type Placement struct {
	Worker   string `json:"worker"`
	DataAddr string `json:"dataAddr"`
}

// Deploy makes a worker start its tasks of an attempt.
type Deploy struct {
	Attempt Attempt `json:"attempt"`
	// Region that the tasks are of. Its older tasks end; those of other regions go on.
	Region string `json:"region,omitempty"`
	// Slots gives the placement of every slot of the job, also those of other workers.
	Slots []Placement `json:"slots"`
	// RestoredFrom is the id of the snapshot restored from, 0 for none.
	RestoredFrom int64 `json:"restoredFrom,omitempty"`
	// RestoreDir is the storage directory that relative paths of state files refer to.
	RestoreDir string `json:"restoreDir,omitempty"`
	// Tasks this worker starts, with their state, unless that came before in parts.
	Tasks []TaskDeployment `json:"tasks"`
}

// DeployPart is a part of the state of the tasks of a Deploy that follows on the same connection: one message can't hold all of a large state.
type DeployPart struct {
	// Attempt of the Deploy.
	Attempt Attempt `json:"attempt"`
	// List numbers the list that has the Entries, from 1; those of one list follow each other. Lists with the same entries are one: union state
	// comes once for all tasks of a worker. 0: the part has none.
	List    int      `json:"list,omitempty"`
	Entries [][]byte `json:"entries,omitempty"`
	// Operators refer to lists that came before.
	Operators []OperatorPart `json:"operators,omitempty"`
}

// OperatorPart is state of one operator of a task. What several parts have of it follows each other.
type OperatorPart struct {
	Task     TaskID `json:"task"`
	Operator string `json:"operator"`
	// Restore is the state; its lists have no entries.
	Restore OperatorRestore `json:"restore"`
	// Lists has, for each of the lists of Restore, the number of the list with its entries; 0: there are none.
	Lists []int `json:"lists,omitempty"`
}

// TaskDeployment is one task to start.
type TaskDeployment struct {
	Task TaskID `json:"task"`
	// Operators holds the state of the operators of the chain, by name; one without state is missing.
	Operators map[string]OperatorRestore `json:"operators,omitempty"`
	// Finished says that the task finished before the snapshot: it only forwards the end of data.
	Finished bool `json:"finished,omitempty"`
	// Stays says of such a task that it waits for a snapshot all the same: others of its vertex go on, and its part of their union state is
	// needed.
	Stays bool `json:"stays,omitempty"`
}

// OperatorRestore is the old state given to one new subtask of an operator.
type OperatorRestore struct {
	// Keyed lists old files that hold key groups of the new range; paths relative to Deploy.RestoreDir.
	Keyed []state.File `json:"keyed,omitempty"`
	// Lists is the operator state as redistributed.
	Lists []operator.List `json:"lists,omitempty"`
	// Channels is what had been overtaken on the way to this operator, to be processed before anything new, in this order; paths
	// relative to Deploy.RestoreDir. Of rows that a hash edge brought, the subtask keeps those of its own key groups.
	Channels []snapshot.ChannelState `json:"channels,omitempty"`
}

// Cancel makes a worker stop its tasks of the attempt, and of all older ones of the same region.
type Cancel struct {
	Attempt Attempt `json:"attempt"`
	Region  string  `json:"region,omitempty"`
}

// Trigger starts a snapshot at the named tasks.
type Trigger struct {
	Attempt Attempt        `json:"attempt"`
	Barrier record.Barrier `json:"barrier"`
	Tasks   []TaskID       `json:"tasks"`
}

// Complete tells all tasks of the attempt that a snapshot is in the head. Answered by Notified if Barrier.Stop is set.
type Complete struct {
	Attempt    Attempt `json:"attempt"`
	Checkpoint int64   `json:"checkpoint"`
	// Stop repeats the stop mode of the snapshot: frozen tasks commit and finish.
	Stop record.StopMode `json:"stop,omitempty"`
	// Stay lists tasks at the end of their data that commit but don't finish yet.
	Stay []TaskID `json:"stay,omitempty"`
}

// Aborted tells all tasks of the attempt that a snapshot was given up.
type Aborted struct {
	Attempt         Attempt `json:"attempt"`
	Checkpoint      int64   `json:"checkpoint"`
	LatestCompleted int64   `json:"latestCompleted"`
}

// TaskState is the state of a task as its worker sees it.
type TaskState string

// The task states.
const (
	TaskDeploying TaskState = "Deploying"
	TaskRunning   TaskState = "Running"
	TaskFinished  TaskState = "Finished"
	TaskFailed    TaskState = "Failed"
	TaskCanceled  TaskState = "Canceled"
)

// TaskStatus reports a change of state of a task.
type TaskStatus struct {
	Attempt Attempt   `json:"attempt"`
	Task    TaskID    `json:"task"`
	State   TaskState `json:"state"`
	// Error and its cause, for TaskFailed.
	Error string `json:"error,omitempty"`
	// Fatal says that a restart can't help (incompatible state, a graph that can't be built).
	Fatal bool `json:"fatal,omitempty"`
	// Damaged says that the state the task was to be restored from is damaged for good: objects are missing or aren't what was written.
	Damaged bool `json:"damaged,omitempty"`
}

// Ack reports that a task's part of a snapshot is durable.
type Ack struct {
	Attempt    Attempt `json:"attempt"`
	Task       TaskID  `json:"task"`
	Checkpoint int64   `json:"checkpoint"`
	// Operators holds the state of each operator of the chain, by name.
	Operators map[string]snapshot.SubtaskState `json:"operators,omitempty"`
	Metrics   AckMetrics                       `json:"metrics"`
}

// AckMetrics says what the snapshot of one task cost. Durations are by the monotonic clock of the task's machine; none is a
// difference of the clocks of two machines.
type AckMetrics struct {
	// Total is the time from the first barrier of the snapshot at the task (for a task without inputs: from the trigger) to this message.
	// What the acknowledgement took longer than that, counted by the coordinator from the trigger, is the start delay.
	Total time.Duration `json:"total,omitempty"`
	// Alignment is the time from the first barrier to the last one. Last is the channel that it came through.
	Alignment time.Duration `json:"alignment,omitempty"`
	Last      *ChannelRef   `json:"last,omitempty"`
	// Waited is the time from the last barrier, or the trigger, to the synchronous part: what was before it had to be finished, and
	// maybe the outputs had no room.
	Waited time.Duration `json:"waited,omitempty"`
	Sync   time.Duration `json:"sync,omitempty"`
	// Async is the asynchronous part, Upload the time of it that was spent in storage, summed over files.
	Async  time.Duration `json:"async,omitempty"`
	Upload time.Duration `json:"upload,omitempty"`
	// Bytes written to storage.
	Bytes int64 `json:"bytes,omitempty"`
	// AlignmentBytes is about the encoded size of what was queued in channels blocked by the alignment when it ended.
	AlignmentBytes int64 `json:"alignmentBytes,omitempty"`
	// ChannelBytes is the part of Bytes that holds what the barrier overtook.
	ChannelBytes int64 `json:"channelBytes,omitempty"`
	// Channels are the input channels that matter, the one with the latest barrier first: the three with the latest barriers and the three that
	// held back or were overtaken the most. Empty if the task has one channel, or if the alignment took less than a millisecond and nothing was queued.
	Channels []ChannelCost `json:"channels,omitempty"`
	// Operators are those of the chain that have state, in the order of the chain.
	Operators []OperatorCost `json:"operators,omitempty"`
	// Load says how the task spent the time since the snapshot before.
	Load Load `json:"load,omitzero"`
	// Records is how many the task has taken in up to the barrier, since its deployment; those of a source are what it has emitted.
	Records int64 `json:"records,omitempty"`
}

// ChannelRef names an input channel of a task by the task that produces it.
type ChannelRef struct {
	// From is the producing task.
	From TaskID `json:"from"`
	// Input is the logical input of the consumer, for two channels from the same task.
	Input int `json:"input,omitempty"`
}

// ChannelCost is what a snapshot cost one input channel of a task.
type ChannelCost struct {
	Channel ChannelRef `json:"channel"`
	// Delay is from the first barrier of the task to this channel's. Blocked is how long the channel was not read for having delivered its own.
	Delay   time.Duration `json:"delay,omitempty"`
	Blocked time.Duration `json:"blocked,omitempty"`
	// BlockedBytes is about the encoded size of what was queued when it was read again, OvertakenBytes what the barrier overtook in it.
	BlockedBytes   int64 `json:"blockedBytes,omitempty"`
	OvertakenBytes int64 `json:"overtakenBytes,omitempty"`
}

// OperatorCost is the part of one operator of a chain in the snapshot of a task.
type OperatorCost struct {
	Operator string        `json:"operator"`
	Sync     time.Duration `json:"sync,omitempty"`
	Async    time.Duration `json:"async,omitempty"`
	// Bytes written to storage.
	Bytes int64 `json:"bytes,omitempty"`
}

// Load says how a task spent a time: what is neither Idle nor Blocked is work.
type Load struct {
	// Time is how long it was.
	Time time.Duration `json:"time,omitempty"`
	// Idle is the time without anything to process, Blocked the time without room in the outputs.
	Idle    time.Duration `json:"idle,omitempty"`
	Blocked time.Duration `json:"blocked,omitempty"`
}

// Stage is how far a snapshot is at a task.
type Stage string

// The stages.
const (
	// StageAligning waits for barriers.
	StageAligning Stage = "Aligning"
	// StageWaiting has all barriers and waits until it may be taken: what is before the barrier has to be finished.
	StageWaiting Stage = "Waiting"
	// StageWriting is the asynchronous part; the barrier is on its way downstream.
	StageWriting Stage = "Writing"
)

// SnapshotProgress is a snapshot under way at a task.
type SnapshotProgress struct {
	Checkpoint int64 `json:"checkpoint"`
	Stage      Stage `json:"stage"`
	// For is how long it has been in that stage, by the task's clock.
	For time.Duration `json:"for,omitempty"`
	// Missing are channels whose barrier has not come, at most some; MissingCount counts all of them.
	Missing      []ChannelRef `json:"missing,omitempty"`
	MissingCount int          `json:"missingCount,omitempty"`
}

// DeclineReason says why a task declined a snapshot; some reasons count as failures (semantics.md §5).
type DeclineReason string

// The reasons.
const (
	// DeclinedAsync is an error of the asynchronous part or of storage. Counts.
	DeclinedAsync DeclineReason = "AsyncFailure"
	// DeclinedSubsumed means that a newer barrier arrived during alignment.
	DeclinedSubsumed DeclineReason = "Subsumed"
	// DeclinedCanceled means that a cancel-barrier arrived.
	DeclinedCanceled DeclineReason = "CancelBarrier"
)

// Decline reports that a task won't take its part of a snapshot.
type Decline struct {
	Attempt    Attempt       `json:"attempt"`
	Task       TaskID        `json:"task"`
	Checkpoint int64         `json:"checkpoint"`
	Reason     DeclineReason `json:"reason"`
	Error      string        `json:"error,omitempty"`
}

// EndOfData reports that a task has processed all of its bounded input and waits for a snapshot that starts after this, to commit and finish.
type EndOfData struct {
	Attempt Attempt `json:"attempt"`
	Task    TaskID  `json:"task"`
}

// Notified acknowledges a Complete or Aborted of a snapshot that stops the job, once the task acted on it.
type Notified struct {
	Attempt    Attempt `json:"attempt"`
	Task       TaskID  `json:"task"`
	Checkpoint int64   `json:"checkpoint"`
}

// Heartbeat shows that a peer lives; a worker's carries metrics.
type Heartbeat struct {
	// Tasks holds the counts of running tasks since their deployment.
	Tasks []TaskMetrics `json:"tasks,omitempty"`
}

// TaskMetrics are the running counts of one task.
type TaskMetrics struct {
	Attempt    Attempt          `json:"attempt"`
	Task       TaskID           `json:"task"`
	RecordsIn  int64            `json:"recordsIn"`
	RecordsOut int64            `json:"recordsOut"`
	Watermark  int64            `json:"watermark"`
	Counters   map[string]int64 `json:"counters,omitempty"`
	// Load says how the task spent the time since it was opened.
	Load Load `json:"load,omitzero"`
	// Snapshots are those under way, at most some, ids ascending.
	Snapshots []SnapshotProgress `json:"snapshots,omitempty"`
}

// ToWorker is one message from the coordinator; exactly one field is set.
type ToWorker struct {
	Registered *Registered `json:"registered,omitempty"`
	// Refused ends the connection: the worker can't serve this job, and why.
	Refused string `json:"refused,omitempty"`
	// Part comes before a Deploy whose state is too large for one message.
	Part      *DeployPart `json:"part,omitempty"`
	Deploy    *Deploy     `json:"deploy,omitempty"`
	Cancel    *Cancel     `json:"cancel,omitempty"`
	Trigger   *Trigger    `json:"trigger,omitempty"`
	Complete  *Complete   `json:"complete,omitempty"`
	Aborted   *Aborted    `json:"aborted,omitempty"`
	Heartbeat *Heartbeat  `json:"heartbeat,omitempty"`
	// Shutdown makes the worker process end: the job is over.
	Shutdown bool `json:"shutdown,omitempty"`
	// Drained answers Draining: there is nothing to wait for any more.
	Drained bool `json:"drained,omitempty"`
}

// FromWorker is one message from a worker; exactly one field is set.
type FromWorker struct {
	Register  *Register   `json:"register,omitempty"`
	Status    *TaskStatus `json:"status,omitempty"`
	Ack       *Ack        `json:"ack,omitempty"`
	Decline   *Decline    `json:"decline,omitempty"`
	EndOfData *EndOfData  `json:"endOfData,omitempty"`
	Notified  *Notified   `json:"notified,omitempty"`
	Heartbeat *Heartbeat  `json:"heartbeat,omitempty"`
	// Draining says that the worker is to end and waits for a checkpoint first, so that little is processed again.
	Draining bool `json:"draining,omitempty"`
}
