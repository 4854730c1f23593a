// SPDX-License-Identifier: Apache-2.0

// Package format is where connectors that move bytes meet the code that knows rows: a
// [Decoder] makes rows of lines, an [Encoder] lines of rows. A connector knows neither
// columns nor JSON, the other side neither files nor networks.
package format

import (
	"fmt"

	"github.com/weir-stream/weir/runtime/record"
)

// Decoder makes batches of lines. It is used from one goroutine.
type Decoder interface {
	// Append decodes a line, given without its line end, into one row. It keeps no reference to line. An error is a
	// [*MalformedError], and then nothing of the line was added.
	Append(line []byte) error
	// Len is the number of rows since the last Take.
	Len() int
	// Full says that it is time to Take: the rows are enough for a batch, by number or by size.
	Full() bool
	// Take returns the rows as a batch that the caller owns and releases, or nil when there is none.
	Take() record.Batch
}

// Encoder makes lines of batches. It is used from one goroutine.
type Encoder interface {
	// AppendBatch appends one line for each row of b, each with its line end, and returns dst, extended.
	AppendBatch(dst []byte, b record.Batch) []byte
}

// MalformedError says why a line could not be decoded.
type MalformedError struct {
	// Offset of the byte in the line where it was noticed.
	Offset int
	// Reason says what is wrong, without the content of the line.
	Reason string
}

// Error implements error.
func (e *MalformedError) Error() string {
	return fmt.Sprintf("malformed line: byte %d: %s", e.Offset, e.Reason)
}
