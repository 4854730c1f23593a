// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// fan gets every row in every subtask over a broadcast edge. It remembers which rows of each key it got, in broadcast state that is the
// same in all subtasks, and passes on the keys that are its own.
type fan struct {
	out     *outside
	ordered bool
	ctx     *operator.Context
	seen    map[int64]*[2]uint64
}

// Open implements operator.Operator.
func (f *fan) Open(_ context.Context, c *operator.Context) error {
	f.ctx, f.seen = c, map[int64]*[2]uint64{}
	for _, e := range c.List("seen") {
		if len(e) != 24 {
			return errors.New("an entry of the restored broadcast state has a wrong size")
		}
		le := binary.LittleEndian
		f.seen[int64(le.Uint64(e))] = &[2]uint64{le.Uint64(e[8:]), le.Uint64(e[16:])}
	}
	return nil
}

// Process implements operator.Operator.
func (f *fan) Process(_ int, b record.Batch) (operator.Status, error) {
	x := b.(*batch)
	x.check()
	out := newBatch(make([]row, 0, len(x.rows)))
	for _, r := range x.rows {
		f.note(r)
		if int(r.key)%f.ctx.Parallelism == f.ctx.Subtask {
			out.rows = append(out.rows, r)
		}
	}
	if len(out.rows) == 0 {
		return operator.Done, nil
	}
	return f.ctx.Out.Emit(out)
}

// note checks that a row comes once, in order if order is kept.
func (f *fan) note(r row) {
	s := f.seen[r.key]
	if s == nil {
		s = &[2]uint64{}
		f.seen[r.key] = s
	}
	before := count(*s)
	first := setBit(s, r.seq)
	switch {
	case f.out.lax:
	case !first:
		f.out.fail("%s/%d gets row %d of key %d twice", f.ctx.Name, f.ctx.Subtask, r.seq, r.key)
	case f.ordered && before != r.seq-1:
		f.out.fail("%s/%d gets row %d of key %d after %d rows", f.ctx.Name, f.ctx.Subtask, r.seq, r.key, before)
	}
}

// Resume implements operator.Operator.
func (f *fan) Resume() (operator.Status, error) { return operator.Done, nil }

// Snapshot implements operator.Stateful.
func (f *fan) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	l := operator.List{Name: "seen", Mode: operator.Broadcast}
	le := binary.LittleEndian
	for _, k := range slices.Sorted(maps.Keys(f.seen)) {
		e := le.AppendUint64(nil, uint64(k))
		l.Entries = append(l.Entries, le.AppendUint64(le.AppendUint64(e, f.seen[k][0]), f.seen[k][1]))
	}
	return func(context.Context) ([]operator.List, error) { return []operator.List{l}, nil }, nil
}

// Close implements operator.Operator.
func (f *fan) Close() error { return nil }
