// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// flightFile is the size of a file of channel state above which another one is begun.
const flightFile = 32 << 20

// flight is what a barrier overtook on its way to one task.
type flight struct {
	// remainder is what a restore still had to process, before everything else.
	remainder []flow
	channels  []graph.Channel
	capture   *barrier.Capture
	// budget is that of the memory that the capture is counted in.
	budget int64
}

// flow is a part of one channel, in order.
type flow struct {
	// channel is its number plus one, or 0 for what a restore still had to process.
	channel  int
	operator string
	origin   snapshot.ChannelState
	typ      record.Type
	batches  []record.Batch
}

// release gives all batches back. It is called once, of a nil flight, too.
func (f *flight) release() {
	if f == nil {
		return
	}
	for _, r := range f.remainder {
		for _, b := range r.batches {
			b.Release()
		}
	}
	if f.capture != nil {
		f.capture.Release()
	}
}

// flows lists all there is, in the order in which a restore has to process it. head is the operator that the channels lead to.
func (f *flight) flows(head string) []flow {
	all := f.remainder
	for i, c := range f.channels {
		if bs := f.capture.Channel(i); len(bs) > 0 {
			nodes := c.PhysicalEdge.From.Nodes
			all = append(all, flow{
				channel: i + 1, operator: head, typ: c.PhysicalEdge.Type, batches: bs,
				origin: snapshot.ChannelState{
					From: nodes[len(nodes)-1].Name, Input: c.PhysicalEdge.Input, FromSubtask: c.From,
					Hashed: c.PhysicalEdge.Partition == graph.Hash, Type: c.PhysicalEdge.Type.Name(),
				},
			})
		}
	}
	return all
}

// flightWriter writes flows into files, several into one, one into several if it is large.
type flightWriter struct {
	w     state.FileWriter
	buf   []byte
	began int
	// open are the sections of the file in buf.
	open []*section
	done []*section
}

type section struct {
	channel  int
	operator string
	state    snapshot.ChannelState
}

// write writes all flows and adds them to the state of their operators. It returns how many bytes that are: first what a
// restore still had to process, then by channel.
func (f *flight) write(ctx context.Context, w state.FileWriter, head string, operators map[string]snapshot.SubtaskState) ([]int64, error) {
	if f == nil {
		return nil, nil
	}
	if err := f.incomplete(); err != nil {
		return nil, fmt.Errorf("writing what was in flight to %q: %w", head, err)
	}
	fw := &flightWriter{w: w}
	for _, fl := range f.flows(head) {
		if err := fw.flow(ctx, fl); err != nil {
			return nil, fmt.Errorf("writing what was in flight from %q to %q: %w", fl.origin.From, fl.operator, err)
		}
	}
	if err := fw.flush(ctx); err != nil {
		return nil, fmt.Errorf("writing what was in flight to %q: %w", head, err)
	}
	n := make([]int64, len(f.channels)+1)
	for _, s := range fw.done {
		n[s.channel] += s.state.Length
		o := operators[s.operator]
		o.Channels = append(o.Channels, s.state)
		operators[s.operator] = o
	}
	return n, nil
}

// incomplete says why not all that was in flight is there.
func (f *flight) incomplete() error {
	const remedy = "find out what delays the barriers of its slowest input, give the alignment a timeout, or align"
	switch c := f.capture; {
	case c == nil || c.Full() == barrier.NotFull:
		return nil
	case c.Full() == barrier.OverBudget:
		return fmt.Errorf("the rows that came up to the last barrier don't fit in the memory budget of %d bytes beside the state: raise the budget, %s", f.budget, remedy)
	default:
		return fmt.Errorf("more than %d bytes of rows came between the first and the last barrier: %s", c.Limit(), remedy)
	}
}

func (w *flightWriter) flow(ctx context.Context, f flow) error {
	for i, b := range f.batches {
		if err := ctx.Err(); err != nil {
			return err
		}
		full := len(w.buf) > flightFile
		if full && i > 0 {
			w.end()
		}
		if full {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
		if full || i == 0 {
			w.begin(f)
		}
		var err error
		at := len(w.buf)
		w.buf = append(w.buf, 0, 0, 0, 0)
		if w.buf, err = f.typ.AppendBatch(w.buf, b); err != nil {
			return err
		}
		binary.LittleEndian.PutUint32(w.buf[at:], uint32(len(w.buf)-at-4))
		w.open[len(w.open)-1].state.Rows += int64(b.Len())
	}
	w.end()
	return nil
}

// begin starts a section.
func (w *flightWriter) begin(f flow) {
	w.began = len(w.buf)
	s := &section{channel: f.channel, operator: f.operator, state: f.origin}
	s.state.Offset = int64(w.began)
	w.open = append(w.open, s)
	w.buf = snapshot.AppendChannelHeader(w.buf)
}

// end finishes the section that was begun last.
func (w *flightWriter) end() {
	s := w.open[len(w.open)-1]
	s.state.Length = int64(len(w.buf) - w.began)
	s.state.CRC32C = snapshot.Checksum(w.buf[w.began:])
}

// flush writes the file.
func (w *flightWriter) flush(ctx context.Context) error {
	if len(w.open) == 0 {
		return nil
	}
	file, err := w.w.WriteFile(ctx, w.buf)
	if err != nil {
		return err
	}
	for _, s := range w.open {
		s.state.Path = file.Path
	}
	w.done, w.open, w.buf = append(w.done, w.open...), nil, w.buf[:0]
	return nil
}
