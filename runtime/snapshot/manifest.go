// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"time"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// ManifestName is the name of the manifest object in the directory of a snapshot.
const ManifestName = "_metadata"

// Manifest describes one snapshot in full. A snapshot is the manifest and the files it lists.
type Manifest struct {
	// Format is the version of this encoding.
	Format int `json:"format"`
	// JobID and JobName say which job it was taken of.
	JobID   string `json:"jobID"`
	JobName string `json:"jobName,omitempty"`
	// Checkpoint is the id, Kind checkpoint or savepoint.
	Checkpoint int64               `json:"checkpoint"`
	Kind       record.SnapshotKind `json:"kind"`
	// Stop says how the job was stopped with it, if it was. A drained savepoint is not resumed from without consent.
	Stop record.StopMode `json:"stop,omitempty"`
	// Attempt is the deployment that took it.
	Attempt string `json:"attempt"`
	// CreatedAt is the coordinator's clock when it was written; for people, never compared.
	CreatedAt time.Time `json:"createdAt"`
	// MaxParallelism is the number of key groups of the job.
	MaxParallelism int `json:"maxParallelism"`
	// Operators in order of name.
	Operators []OperatorState `json:"operators"`
}

// OperatorState is the state of one dataflow operator, identified by its name.
type OperatorState struct {
	Name string `json:"name"`
	// Parallelism it had.
	Parallelism int `json:"parallelism"`
	// Finished says that all its subtasks had read their bounded input to the end.
	Finished bool `json:"finished,omitempty"`
	// Subtasks in order of index; one without state may be missing.
	Subtasks []SubtaskState `json:"subtasks,omitempty"`
}

// SubtaskState is the state of one subtask of one operator.
type SubtaskState struct {
	Index int `json:"index"`
	// Finished says that this subtask had finished.
	Finished bool `json:"finished,omitempty"`
	// Keyed lists the files of keyed state; paths are relative to the directory of the manifest.
	Keyed []state.File `json:"keyed,omitempty"`
	// Lists is the operator state.
	Lists []operator.List `json:"lists,omitempty"`
	// Channels holds the elements in flight that the barrier overtook on their way to this subtask; only of the first operator of a chain.
	Channels []ChannelState `json:"channels,omitempty"`
}

// ChannelState is what a barrier overtook on one input channel, in the order of the channel. Several channels may share a file.
type ChannelState struct {
	// From is the dataflow operator that produced the elements, Input the logical input of the consumer, FromSubtask the producing subtask.
	From        string `json:"from"`
	Input       int    `json:"input,omitempty"`
	FromSubtask int    `json:"fromSubtask"`
	// Hashed says that the rows were sent by their key hash, which they carry: all belong to key groups of the subtask.
	Hashed bool `json:"hashed,omitempty"`
	// Type is the name of the type of the batches.
	Type string `json:"type"`
	// Path is relative to the directory of the manifest. The elements are the Length bytes from Offset, with that CRC32C (Castagnoli).
	Path   string `json:"path"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	CRC32C uint32 `json:"crc32c"`
	// Rows is the number of rows in them.
	Rows int64 `json:"rows"`
}
