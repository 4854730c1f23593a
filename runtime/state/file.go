// SPDX-License-Identifier: Apache-2.0

package state

import "context"

// File is one file of keyed state in a snapshot, as listed in the manifest.
type File struct {
	// Path is relative to the directory of the snapshot, or as the writer of the file chose. Of a shared file it is
	// "../../shared/<name>".
	Path string `json:"path"`
	// Size in bytes.
	Size int64 `json:"size"`
	// CRC32C (Castagnoli) of all bytes.
	CRC32C uint32 `json:"crc32c"`
	// FirstGroup and LastGroup bound the key groups with entries in the file, both included.
	FirstGroup int `json:"firstGroup"`
	LastGroup  int `json:"lastGroup"`
	// Shared says that other checkpoints may refer to the file, too: it lies in the job's directory for shared files.
	Shared bool `json:"shared,omitempty"`
	// Reused says, in an acknowledgement, that the file was there before: it is one of the base's. Never set in a manifest.
	Reused bool `json:"reused,omitempty"`
	// Index says that the file holds no entries but says which sections of shared files are those of the snapshot. A shared
	// file is read only as far as the index of its subtask refers to it.
	Index bool `json:"index,omitempty"`
}

// FileWriter stores one new file. The data belongs to the caller and is reused once WriteFile has returned.
// The returned File has Path, Size and CRC32C; WriteFile may leave Size and CRC32C zero.
type FileWriter interface {
	WriteFile(ctx context.Context, data []byte) (File, error)
}

// SharedWriter is a FileWriter that also stores files to which later snapshots may refer. Incremental snapshots need it.
type SharedWriter interface {
	FileWriter
	// WriteShared is WriteFile for such a file: it gets a name that no other file had or will have, and the File is marked as shared.
	WriteShared(ctx context.Context, data []byte) (File, error)
}

// PacedWriter is a FileWriter that wants to be asked before each file, when its data is there. Who writes through it and measures asks first.
type PacedWriter interface {
	FileWriter
	// KeepPace waits until n bytes more should be written. The error is that of the context.
	KeepPace(ctx context.Context, n int) error
}

// FileReader reads n bytes of f from offset off; fewer are an error.
type FileReader interface {
	ReadFile(ctx context.Context, f File, off, n int64) ([]byte, error)
}

// BufferReader is a FileReader that can do with memory which it is given.
type BufferReader interface {
	FileReader
	// ReadFileInto is ReadFile. The bytes it returns are those of buf, if that has room for them and as the reader likes; they are
	// the caller's, who may give them to a later call. After an error, too, buf is the caller's again.
	ReadFileInto(ctx context.Context, f File, off, n int64, buf []byte) ([]byte, error)
}

// ConcurrentReader is a FileReader whose ReadFile is safe for use by several goroutines: a restore reads ahead of what it loads. With any
// other, it reads one part after the other in its own goroutine.
type ConcurrentReader interface {
	FileReader
	// ReadsAtOnce is how many reads of one restore may run at the same time.
	ReadsAtOnce() int
}
