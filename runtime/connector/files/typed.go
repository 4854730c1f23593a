// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"
	"time"
	"unsafe"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/stream"
	"github.com/weir-stream/weir/runtime/task"
)

// Input says what [Lines] reads.
type Input struct {
	// Path is a file, a directory (all files below it), or a pattern, local or as s3://bucket/prefix. In a pattern * and ?
	// stand for characters of one segment and ** for any number of segments.
	Path string
	// S3 is how to reach an s3:// path; nil: as the storage of the job, or, if that is none of S3, as AWS_ENDPOINT_URL_S3 and AWS_REGION of the environment say.
	S3 *contract.S3
	// PollInterval is the time between two looks for new files; 0: the input is bounded, what is there at the start is
	// read to its end. Give stream.Bounded() then.
	PollInterval time.Duration
}

// Lines returns a maker of sources of the lines of files, for stream.From. Line ends are not part of the lines.
func Lines(in Input) func() stream.Source[string] {
	return func() stream.Source[string] {
		return &lineSource{lineReader: lineReader{in: input{
			path: in.Path, settings: in.S3, continuous: in.PollInterval != 0, policy: failOnMalformed,
			interval: max(in.PollInterval, minPollInterval),
		}}}
	}
}

type lineSource struct {
	lineReader
	taker stringTaker
}

// Configure implements [stream.Configured].
func (s *lineSource) Configure(job contract.JobConfig) {
	s.in.settings = Connectors{Job: job}.settings(s.in.settings)
}

// Open implements [stream.Source].
func (s *lineSource) Open(ctx context.Context, c *operator.Context) error {
	if err := s.in.check(); err != nil {
		return &task.FatalError{Err: err}
	}
	return atStart(c, s.open(ctx, c))
}

// Poll implements [stream.Source].
func (s *lineSource) Poll(rows []string) ([]string, operator.Polled, error) {
	s.taker.rows = rows
	err := s.fill(&s.taker)
	return s.taker.rows, s.state(len(s.taker.rows)), err
}

// textBlock is how many bytes of text share one allocation.
const textBlock = 16 << 10

// stringTaker makes strings of lines. They share blocks that are never written again.
type stringTaker struct {
	rows  []string
	block []byte
}

// Full says that the rows are enough for a batch.
func (t *stringTaker) Full() bool { return len(t.rows) >= record.TargetRows }

// Append adds a line.
func (t *stringTaker) Append(line []byte) error {
	if len(line) > textBlock/8 {
		t.rows = append(t.rows, string(line))
		return nil
	}
	if cap(t.block)-len(t.block) < len(line) {
		t.block = make([]byte, 0, textBlock)
	}
	at := len(t.block)
	t.block = append(t.block, line...)
	t.rows = append(t.rows, unsafe.String(unsafe.SliceData(t.block[at:]), len(line)))
	return nil
}

// Output says where [Sink] writes.
type Output struct {
	// Path is a directory or s3://bucket/prefix.
	Path string
	// S3 is how to reach an s3:// path; nil: as the storage of the job, or, if that is none of S3, as AWS_ENDPOINT_URL_S3 and AWS_REGION of the environment say.
	S3 *contract.S3
	// Suffix ends the names of the files. Default ".jsonl".
	Suffix string
}

// Sink returns a maker of transactional sinks, for stream.To with stream.Transactional(). appendRow appends a row to
// dst, with its line end, and returns it, extended.
func Sink[T any](out Output, appendRow func(dst []byte, row T) []byte) func() operator.Operator {
	if out.Suffix == "" {
		out.Suffix = finalSuffix
	}
	return func() operator.Operator {
		return &sink{
			to:         target{path: out.Path, settings: out.S3, suffix: out.Suffix},
			newEncoder: func() format.Encoder { return rowEncoder[T](appendRow) },
		}
	}
}

type rowEncoder[T any] func(dst []byte, row T) []byte

// AppendBatch implements [format.Encoder].
func (e rowEncoder[T]) AppendBatch(dst []byte, b record.Batch) []byte {
	for _, v := range b.(*record.Rows[T]).Values {
		dst = e(dst, v)
	}
	return dst
}
