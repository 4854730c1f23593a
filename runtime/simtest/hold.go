// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// hold adds an offset to keys like shift, and keeps some rows back: until more come, until a watermark, or until its input has
// ended. At a snapshot it emits them first, or with keep makes them a part of its state.
type hold struct {
	offset int64
	keep   bool
	ctx    *operator.Context
	held   []row
	// target is how many rows may stay while it emits.
	target   int
	finished bool
}

// Open implements operator.Operator.
func (h *hold) Open(_ context.Context, c *operator.Context) error {
	h.ctx = c
	for _, e := range c.List("held") {
		if len(e) != 24 {
			return errors.New("a row of the restored list has a wrong size")
		}
		h.held = append(h.held, row{
			key: int64(binary.LittleEndian.Uint64(e)), seq: int64(binary.LittleEndian.Uint64(e[8:])), count: int64(binary.LittleEndian.Uint64(e[16:])),
		})
	}
	return nil
}

// Process implements operator.Operator.
func (h *hold) Process(_ int, b record.Batch) (operator.Status, error) {
	x := b.(*batch)
	x.check()
	if h.finished {
		return operator.Done, errors.New("rows come after the end")
	}
	for _, r := range x.rows {
		r.key += h.offset
		h.held = append(h.held, r)
	}
	return h.emit(5)
}

// emit sends rows on until only target are left.
func (h *hold) emit(target int) (operator.Status, error) {
	h.target = target
	return h.Resume()
}

// Resume implements operator.Operator.
func (h *hold) Resume() (operator.Status, error) {
	for len(h.held) > h.target {
		r := h.held[0]
		h.held = h.held[1:]
		if s, err := h.ctx.Out.Emit(newBatch([]row{r})); s == operator.Paused || err != nil {
			return s, err
		}
	}
	return operator.Done, nil
}

// OnWatermark implements operator.WatermarkHandler.
func (h *hold) OnWatermark(t int64) (operator.Status, error) { return h.emit(int(t % 5)) }

// PrepareSnapshot implements operator.Preparer.
func (h *hold) PrepareSnapshot(record.Barrier) (operator.Status, error) {
	if h.keep {
		return operator.Done, nil
	}
	return h.emit(0)
}

// Finish implements operator.Finisher.
func (h *hold) Finish() (operator.Status, error) {
	if h.finished {
		return operator.Done, errors.New("it is finished twice")
	}
	h.finished = true
	return h.emit(0)
}

// Snapshot implements operator.Stateful.
func (h *hold) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	l := operator.List{Name: "held"}
	for _, r := range h.held {
		e := binary.LittleEndian.AppendUint64(nil, uint64(r.key))
		e = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(e, uint64(r.seq)), uint64(r.count))
		l.Entries = append(l.Entries, e)
	}
	if !h.keep && len(l.Entries) > 0 {
		return nil, errors.New("rows are held back at a snapshot although they were emitted before it")
	}
	return func(context.Context) ([]operator.List, error) { return []operator.List{l}, nil }, nil
}

// Close implements operator.Operator.
func (h *hold) Close() error { return nil }
