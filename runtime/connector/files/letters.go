// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// letter is a malformed line with what is known of it.
type letter struct {
	File string `json:"file"`
	// Offset of the line in the file, and of the mistake in the line.
	Offset int64  `json:"offset"`
	Byte   int    `json:"byte"`
	Reason string `json:"reason"`
	// Line is the line; Base64 instead when it isn't UTF-8.
	Line   string `json:"line,omitempty"`
	Base64 string `json:"base64,omitempty"`
}

// letters writes malformed lines beside a source, exactly once like the rows.
type letters struct{ tx *transactions }

func openLetters(ctx context.Context, c *operator.Context, to target) (*letters, error) {
	to.stem = c.Name
	tx, err := openTransactions(ctx, c, to)
	if err != nil {
		return nil, err
	}
	return &letters{tx}, nil
}

func (d *letters) add(file string, at int64, bad *format.MalformedError, line []byte) {
	l := letter{File: file, Offset: at, Byte: bad.Offset, Reason: bad.Reason}
	if utf8.Valid(line) {
		l.Line = string(line)
	} else {
		l.Base64 = base64.StdEncoding.EncodeToString(line)
	}
	b, err := json.Marshal(l)
	if err != nil {
		d.tx.failure.Store(&err) // strings and numbers always encode
		return
	}
	d.tx.buf = append(append(d.tx.buf, b...), '\n')
}

// room says whether more lines may be added; false also after a failure, see err.
func (d *letters) room() bool {
	ok, err := d.tx.room()
	return ok && err == nil
}

func (d *letters) err() error { return d.tx.err() }

func (d *letters) snapshot(b record.Barrier) operator.AsyncSnapshot { return d.tx.snapshot(b) }

func (d *letters) complete(ctx context.Context, checkpoint int64) error {
	return d.tx.complete(ctx, checkpoint)
}

// finish makes everything visible when there are no snapshots. It waits: a source can't be resumed. The wait ends
// with the task at the latest.
func (d *letters) finish() error {
	if d.tx.checkpointed {
		return nil
	}
	for {
		done, err := d.tx.finish()
		if done || err != nil {
			return err
		}
		if err := d.tx.wait(); err != nil {
			return err
		}
	}
}

func (d *letters) close() error { return d.tx.close() }
