// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"context"
	"math"
	"slices"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// delay keeps the rows of each key in keyed list state until a timer of processing time fires, and emits them in their order then. What is
// kept, and the timers, are part of snapshots and move with their keys.
type delay struct {
	// d is the time in milliseconds from the first row of a key that is kept to the timer.
	d      int64
	ctx    *operator.Context
	rows   *state.List[int64, int64]
	timers *state.Timers[int64]
	rest   []row
}

// Open implements operator.Operator.
func (l *delay) Open(_ context.Context, c *operator.Context) error {
	l.ctx = c
	keys, err := state.KeysOf[int64](nil)
	if err != nil {
		return err
	}
	if l.rows, err = state.OpenList[int64, int64](c.Keyed, "rows", keys, nil); err != nil {
		return err
	}
	l.timers, err = state.OpenTimers(c.Keyed, "timers", keys)
	return err
}

// Process implements operator.Operator.
func (l *delay) Process(_ int, b record.Batch) (operator.Status, error) {
	x := b.(*batch)
	x.check()
	for _, r := range x.rows {
		h := state.HashInt64(r.key)
		if l.rows.Len(r.key, h) == 0 {
			l.timers.Register(r.key, h, l.ctx.Now().UnixMilli()+l.d, nil)
		}
		l.rows.Append(r.key, h, r.seq)
	}
	return operator.Done, nil
}

// NextTimer implements operator.TimerHandler.
func (l *delay) NextTimer() (int64, bool) { return l.timers.Next() }

// OnTime implements operator.TimerHandler.
func (l *delay) OnTime(now int64) (operator.Status, error) {
	for {
		t, ok := l.timers.Pop(now)
		if !ok {
			break
		}
		key := t.Key
		for seq := range l.rows.All(key, t.Hash) {
			l.rest = append(l.rest, row{key: key, seq: seq})
		}
		l.rows.Clear(key, t.Hash)
	}
	return l.Resume()
}

// Resume implements operator.Operator.
func (l *delay) Resume() (operator.Status, error) {
	for len(l.rest) > 0 {
		n := min(len(l.rest), 3)
		b := newBatch(slices.Clone(l.rest[:n]))
		l.rest = l.rest[n:]
		if s, err := l.ctx.Out.Emit(b); s == operator.Paused || err != nil {
			return s, err
		}
	}
	return operator.Done, nil
}

// Finish implements operator.Finisher.
func (l *delay) Finish() (operator.Status, error) { return l.OnTime(math.MaxInt64) }

// Close implements operator.Operator.
func (l *delay) Close() error { return nil }
