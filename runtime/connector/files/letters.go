// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
	"github.com/weir-stream/weir/runtime/record"
)

// letter is a malformed line with what is known of it.
type letter struct {
	File string `json:"file"`
	// Offset of the line in the file, and of the mistake in the line.
	Offset int64  `json:"offset"`
	Byte   int    `json:"byte"`
	Reason string `json:"reason"`
	// Line is the line, also an empty one; Base64 instead when it isn't UTF-8.
	Line   *string `json:"line,omitempty"`
	Base64 string  `json:"base64,omitempty"`
}

// letters writes malformed lines beside a source, exactly once like the rows.
type letters struct {
	tx *transactions
	m  *txn.Manager
}

// openLetters opens them. What it returns must be closed also after an error.
func openLetters(ctx context.Context, c *operator.Context, to target) (*letters, error) {
	to.stem = c.Name
	d := &letters{tx: &transactions{to: to}}
	d.m = txn.NewManager(d.tx)
	return d, d.m.Open(ctx, c)
}

// current is the open transaction; with create it is begun if there is none, else nil.
func (d *letters) current(create bool) *transaction {
	if d.m.IfOpen() == nil && !create {
		return nil
	}
	x, err := d.m.Current()
	if err != nil {
		d.tx.failure.Store(&err)
		return nil
	}
	return x.(*transaction) // they are begun by transactions
}

func (d *letters) add(file string, at int64, bad *format.MalformedError, line []byte) {
	b, err := json.Marshal(newLetter(file, at, bad, line))
	if err != nil {
		d.tx.failure.Store(&err) // strings and numbers always encode
		return
	}
	if x := d.current(true); x != nil {
		x.buf = append(append(x.buf, b...), '\n')
	}
}

func newLetter(file string, at int64, bad *format.MalformedError, line []byte) letter {
	l := letter{File: file, Offset: at, Byte: bad.Offset, Reason: bad.Reason}
	if utf8.Valid(line) {
		l.Line = new(string(line))
	} else {
		l.Base64 = base64.StdEncoding.EncodeToString(line)
	}
	return l
}

// room says whether more lines may be added; false also after a failure, see err.
func (d *letters) room() bool {
	x := d.current(false)
	if x == nil {
		return d.err() == nil
	}
	ok, err := x.room()
	return ok && err == nil
}

func (d *letters) err() error { return d.tx.err() }

func (d *letters) snapshot(b record.Barrier) operator.AsyncSnapshot { return d.m.Snapshot(b) }

func (d *letters) complete(ctx context.Context, checkpoint int64) error {
	return d.m.NotifyComplete(ctx, checkpoint)
}

// finish makes everything visible when there are no snapshots. It waits: a source can't be resumed. The wait ends
// with the task at the latest.
func (d *letters) finish() error { return d.m.FinishAndWait() }

func (d *letters) close() error { return d.m.Close() }
