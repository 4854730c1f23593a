// SPDX-License-Identifier: Apache-2.0

package contract

import "time"

// CheckpointsReport is the answer to GET /v1/checkpoints. Counts are those of this coordinator.
type CheckpointsReport struct {
	Triggered int64 `json:"triggered"`
	Completed int64 `json:"completed"`
	Failed    int64 `json:"failed"`
	InFlight  int64 `json:"inFlight"`
	// FailedByReason splits Failed up.
	FailedByReason map[string]int64 `json:"failedByReason,omitempty"`
	// ConsecutiveFailures is what is compared with tolerableFailures.
	ConsecutiveFailures int `json:"consecutiveFailures,omitempty"`
	// Waiting says why the next one doesn't start, if something holds it.
	Waiting string `json:"waiting,omitempty"`
	// Advice says what the last checkpoints tell of the settings, in sentences.
	Advice []string `json:"advice,omitempty"`
	// Summary is over the completed checkpoints among the last 50 snapshots; nil if there is none.
	Summary *CheckpointsSummary `json:"summary,omitempty"`
	// Totals add up what the completed snapshots of this coordinator cost.
	Totals CheckpointTotals `json:"totals"`
	// Retained are the completed checkpoints that storage keeps, newest first.
	Retained []SnapshotInfo `json:"retained,omitempty"`
	// Recent are the last 20 snapshots with what they cost, newest first.
	Recent []CheckpointReport `json:"recent,omitempty"`
	// Newest is the newest ended checkpoint (no savepoint) by operator; nil if there is none.
	Newest []VertexCheckpoint `json:"newest,omitempty"`
}

// Spread is the distribution of a quantity. Percentiles are values that occurred (nearest rank).
type Spread struct {
	Min int64 `json:"min"`
	Avg int64 `json:"avg"`
	P50 int64 `json:"p50"`
	P95 int64 `json:"p95"`
	P99 int64 `json:"p99"`
	Max int64 `json:"max"`
}

// CheckpointsSummary says how completed checkpoints went. The quantities are those of [CheckpointReport].
type CheckpointsSummary struct {
	// Count is how many it is of.
	Count          int    `json:"count"`
	DurationMillis Spread `json:"durationMillis"`
	IdleGapMillis  Spread `json:"idleGapMillis"`
	// TriggerDelayMillis is part of StartDelayMillis.
	TriggerDelayMillis Spread `json:"triggerDelayMillis"`
	StartDelayMillis   Spread `json:"startDelayMillis"`
	AlignmentMillis    Spread `json:"alignmentMillis"`
	SyncMicros         Spread `json:"syncMicros"`
	AsyncMillis        Spread `json:"asyncMillis"`
	UploadMillis       Spread `json:"uploadMillis"`
	FinalizeMillis     Spread `json:"finalizeMillis"`
	SizeBytes          Spread `json:"sizeBytes"`
	WrittenBytes       Spread `json:"writtenBytes"`
}

// CheckpointTotals are sums over completed snapshots, of the quantities of [CheckpointReport].
type CheckpointTotals struct {
	DurationMillis     int64 `json:"durationMillis"`
	TriggerDelayMillis int64 `json:"triggerDelayMillis"`
	StartDelayMillis   int64 `json:"startDelayMillis"`
	AlignmentMillis    int64 `json:"alignmentMillis"`
	WaitedMillis       int64 `json:"waitedMillis"`
	SyncMicros         int64 `json:"syncMicros"`
	AsyncMillis        int64 `json:"asyncMillis"`
	UploadMillis       int64 `json:"uploadMillis"`
	FinalizeMillis     int64 `json:"finalizeMillis"`
	WrittenBytes       int64 `json:"writtenBytes"`
	ReusedBytes        int64 `json:"reusedBytes"`
	ChannelBytes       int64 `json:"channelBytes"`
}

// CheckpointReport says how one snapshot went. Every duration is by one clock: those of tasks, of which it holds the longest of any task, by
// the monotonic clock of the task's machine, the others by the coordinator's.
type CheckpointReport struct {
	SnapshotInfo
	TriggeredAt time.Time `json:"triggeredAt,omitzero"`
	// State is InFlight, Completed or Failed; Reason and Error say why it failed.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	// Counted says of a failed one that it counts against tolerableFailures.
	Counted bool `json:"counted,omitempty"`
	// Acked of Tasks have delivered; Missing names some that have not.
	Acked   int      `json:"acked"`
	Tasks   int      `json:"tasks"`
	Missing []string `json:"missing,omitempty"`
	// WrittenBytes is what was uploaded for it; SizeBytes is all it consists of, ReusedBytes what files of checkpoints before it hold of that.
	WrittenBytes int64 `json:"writtenBytes,omitempty"`
	ReusedBytes  int64 `json:"reusedBytes,omitempty"`
	// AlignmentBytes waited in blocked channels, by an estimate; ChannelBytes were overtaken by barriers and are part of WrittenBytes.
	AlignmentBytes int64 `json:"alignmentBytes,omitempty"`
	ChannelBytes   int64 `json:"channelBytes,omitempty"`
	// QueuedMillis is how long the request waited for its turn; IdleGapMillis how long nothing had been in flight before the trigger, nil if
	// something was or nothing had been yet.
	QueuedMillis  int64  `json:"queuedMillis,omitempty"`
	IdleGapMillis *int64 `json:"idleGapMillis,omitempty"`
	// TriggerDelayMillis is from the trigger until the slowest source acted on it, StartDelayMillis until the first barrier was at the task
	// that it came to last.
	TriggerDelayMillis int64 `json:"triggerDelayMillis"`
	StartDelayMillis   int64 `json:"startDelayMillis"`
	// AlignmentMillis is from the first barrier to the last, WaitedMillis from there to the synchronous part.
	AlignmentMillis int64 `json:"alignmentMillis"`
	WaitedMillis    int64 `json:"waitedMillis"`
	SyncMicros      int64 `json:"syncMicros"`
	// UploadMillis is the part of AsyncMillis that was spent in storage, summed over files.
	AsyncMillis  int64 `json:"asyncMillis"`
	UploadMillis int64 `json:"uploadMillis"`
	// FinalizeMillis is from the last acknowledgement to the end: manifest and head.
	FinalizeMillis int64 `json:"finalizeMillis"`
	// SlowestTask acknowledged last.
	SlowestTask string `json:"slowestTask,omitempty"`
	// Culprit is what took longest, or what keeps one in flight from its end.
	Culprit *Culprit `json:"culprit,omitempty"`
}

// Culprit names what made a snapshot slow, failed it, or keeps it from its end.
type Culprit struct {
	// Phase is Trigger, Channel, Waiting, Synchronous, Asynchronous, Upload, Acknowledge or Finalize; empty for a task that declined.
	Phase string `json:"phase,omitempty"`
	// Task is "vertex/subtask".
	Task string `json:"task,omitempty"`
	// Channel is "vertex/subtask -> vertex/subtask", the one that the barrier was late on.
	Channel string `json:"channel,omitempty"`
	// HeldUpBy is the task downstream that Task had to wait for most of the time.
	HeldUpBy string `json:"heldUpBy,omitempty"`
	Millis   int64  `json:"millis,omitempty"`
	// Text says it in a sentence.
	Text string `json:"text"`
}

// CheckpointDetail is the answer to GET /v1/checkpoints/{id}.
type CheckpointDetail struct {
	CheckpointReport
	// Vertices are in topological order.
	Vertices []VertexCheckpoint `json:"vertices,omitempty"`
}

// VertexCheckpoint is the part of one vertex, a chain of operators, in a snapshot: the longest and the sums over its subtasks.
type VertexCheckpoint struct {
	Vertex    string   `json:"vertex"`
	Operators []string `json:"operators,omitempty"`
	Acked     int      `json:"acked"`
	Tasks     int      `json:"tasks"`
	// Slowest is the subtask that acknowledged last, or the first one that has not.
	Slowest          int   `json:"slowest"`
	AckedMillis      int64 `json:"ackedMillis"`
	StartDelayMillis int64 `json:"startDelayMillis"`
	AlignmentMillis  int64 `json:"alignmentMillis"`
	WaitedMillis     int64 `json:"waitedMillis"`
	SyncMicros       int64 `json:"syncMicros"`
	AsyncMillis      int64 `json:"asyncMillis"`
	UploadMillis     int64 `json:"uploadMillis"`
	// AckDelayMillis is from the end of the asynchronous part until the task got to acknowledge it.
	AckDelayMillis int64 `json:"ackDelayMillis,omitempty"`
	SizeBytes      int64 `json:"sizeBytes"`
	WrittenBytes   int64 `json:"writtenBytes"`
	ReusedBytes    int64 `json:"reusedBytes,omitempty"`
	// AlignmentBytes is an estimate.
	AlignmentBytes int64 `json:"alignmentBytes,omitempty"`
	ChannelBytes   int64 `json:"channelBytes,omitempty"`
	// ByOperator are the parts of the operators that have state, in the order of the chain.
	ByOperator []OperatorCheckpoint `json:"byOperator,omitempty"`
	// Subtasks are by number, and Omitted is how many are left out: only the slowest of a very large vertex are told.
	Subtasks []SubtaskCheckpoint `json:"subtasks,omitempty"`
	Omitted  int                 `json:"omitted,omitempty"`
}

// SubtaskCheckpoint is the part of one subtask in a snapshot.
type SubtaskCheckpoint struct {
	Subtask int  `json:"subtask"`
	Acked   bool `json:"acked"`
	// AckedMillis is from the trigger to the acknowledgement, StartDelayMillis the part of it before the first barrier.
	AckedMillis      int64 `json:"ackedMillis,omitempty"`
	StartDelayMillis int64 `json:"startDelayMillis,omitempty"`
	AlignmentMillis  int64 `json:"alignmentMillis,omitempty"`
	// LastFrom produces the channel that the last barrier came through.
	LastFrom     string `json:"lastFrom,omitempty"`
	WaitedMillis int64  `json:"waitedMillis,omitempty"`
	SyncMicros   int64  `json:"syncMicros,omitempty"`
	AsyncMillis  int64  `json:"asyncMillis,omitempty"`
	UploadMillis int64  `json:"uploadMillis,omitempty"`
	// AckDelayMillis is from the end of the asynchronous part until the task got to acknowledge it.
	AckDelayMillis int64 `json:"ackDelayMillis,omitempty"`
	SizeBytes      int64 `json:"sizeBytes,omitempty"`
	WrittenBytes   int64 `json:"writtenBytes,omitempty"`
	ReusedBytes    int64 `json:"reusedBytes,omitempty"`
	// AlignmentBytes is an estimate, by the size of one batch of each edge.
	AlignmentBytes int64 `json:"alignmentBytes,omitempty"`
	ChannelBytes   int64 `json:"channelBytes,omitempty"`
	// Channels are input channels, the one with the latest barrier first: the three with the latest barriers, and the three that held back or were
	// overtaken the most. Empty for a subtask with one channel, and if the alignment took less than a millisecond and nothing was queued.
	Channels []ChannelCheckpoint `json:"channels,omitempty"`
	// ByOperator are the parts of the operators that have state, in the order of the chain.
	ByOperator []OperatorCheckpoint `json:"byOperator,omitempty"`
	// BusyPercent and BlockedPercent say how it spent the time since the snapshot before; the rest it was idle. Blocked is without room in the
	// outputs.
	BusyPercent    int `json:"busyPercent"`
	BlockedPercent int `json:"blockedPercent"`
	// Stage of one that has not acknowledged: Aligning, Waiting or Writing, for StageMillis; empty: it has not seen the snapshot, as far as it
	// said. MissingFrom produce channels whose barrier has not come, MissingCount counts all of them.
	Stage        string   `json:"stage,omitempty"`
	StageMillis  int64    `json:"stageMillis,omitempty"`
	MissingFrom  []string `json:"missingFrom,omitempty"`
	MissingCount int      `json:"missingCount,omitempty"`
}

// ChannelCheckpoint is what a snapshot cost one input channel of a subtask.
type ChannelCheckpoint struct {
	// From is the subtask that produces it, Input the logical input of the consumer.
	From  string `json:"from"`
	Input int    `json:"input,omitempty"`
	// DelayMillis is from the first barrier of the subtask to the one of this channel. BlockedMillis is how long it was not read afterwards.
	DelayMillis   int64 `json:"delayMillis"`
	BlockedMillis int64 `json:"blockedMillis"`
	// BlockedBytes were queued in it when it was read again, as an estimate by the size of one batch; OvertakenBytes were overtaken by the barrier.
	BlockedBytes   int64 `json:"blockedBytes,omitempty"`
	OvertakenBytes int64 `json:"overtakenBytes,omitempty"`
}

// OperatorCheckpoint is the part of one operator of a chain: of a vertex the longest of any subtask, and the sum of the bytes.
type OperatorCheckpoint struct {
	Operator     string `json:"operator"`
	SyncMicros   int64  `json:"syncMicros"`
	AsyncMillis  int64  `json:"asyncMillis"`
	WrittenBytes int64  `json:"writtenBytes"`
}
