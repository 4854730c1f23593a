// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"fmt"
	"slices"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// replay is what is left of the channel state to process before anything new.
type replay struct {
	link *link
	flow flow
}

// openReplay reads the channel state of one operator. Of rows that a hash edge brought only those are kept that this subtask owns.
func (c *Core) openReplay(ctx context.Context, l *link) error {
	for _, s := range c.o.Deployment.Operators[l.node.Name].Channels {
		f := flow{operator: l.node.Name, origin: s}
		f.origin.Path, f.origin.Offset, f.origin.Length, f.origin.CRC32C, f.origin.Rows = "", 0, 0, 0, 0
		keep, typ, err := c.origin(l, s)
		if err != nil {
			return l.wrap(&FatalError{err})
		}
		f.typ = typ
		if f.batches, err = readChannel(ctx, c.o.Reader, s, typ); err != nil {
			return l.wrap(permanent(fmt.Errorf("restoring what was in flight from %q: %w", s.From, err)))
		}
		f.origin.Hashed = keep != nil
		if keep != nil {
			f.batches = keep.filter(f.batches, s.Hashed)
		}
		if len(f.batches) > 0 {
			c.replay = append(c.replay, replay{l, f})
		}
		for _, b := range f.batches {
			c.holdReplay(memoryOf(b))
		}
	}
	return nil
}

// holdReplay counts memory of what is left to replay. A restore can't do without it, so it isn't refused; captures find less left.
func (c *Core) holdReplay(n int64) {
	c.replayed += n
	c.o.Memory.Hold(n)
}

func memoryOf(b record.Batch) int64 {
	_, n := record.MemoryOf(b)
	return int64(n)
}

// origin finds the edge that the rows of a restored channel would come over today.
func (c *Core) origin(l *link, s snapshot.ChannelState) (keep *ownRows, t record.Type, err error) {
	match := func(n *graph.Node) bool { return n.Name == s.From || slices.Contains(n.PreviousNames, s.From) }
	i := slices.Index(c.links, l)
	switch {
	case i > 0 && match(c.links[i-1].node):
		t = c.links[i-1].node.Output
	case i == 0:
		for _, e := range c.o.Vertex.Inputs {
			if e.Input != s.Input || !match(e.From.Nodes[len(e.From.Nodes)-1]) {
				continue
			}
			t = e.Type
			if e.Partition == graph.Hash {
				keep = c.newOwnRows(e)
			}
			break
		}
	}
	switch {
	case t == nil:
		return nil, nil, fmt.Errorf("the snapshot holds rows on their way from %q, which is no input any more: keep the input, or name the old operator in previousNames of the new one", s.From)
	case t.Name() != s.Type:
		return nil, nil, fmt.Errorf("the snapshot holds rows of type %s on their way from %q, which now sends %s: change the type after a savepoint, which holds no rows in flight",
			s.Type, s.From, t.Name())
	}
	return keep, t, nil
}

// readChannel reads and decodes a part of a channel.
func readChannel(ctx context.Context, r state.FileReader, s snapshot.ChannelState, t record.Type) ([]record.Batch, error) {
	b, err := r.ReadFile(ctx, state.File{Path: s.Path, Size: s.Offset + s.Length}, s.Offset, s.Length)
	if err != nil {
		return nil, err
	}
	var out []record.Batch
	err = snapshot.DecodeChannel(s, b, func(enc []byte) error {
		batch, err := t.DecodeBatch(enc)
		if err == nil {
			out = append(out, batch)
		}
		return err
	})
	if err != nil {
		releaseAll(out)
		return nil, err
	}
	return out, nil
}

func releaseAll(bs []record.Batch) {
	for _, b := range bs {
		b.Release()
	}
}

// ownRows picks the rows whose key groups a subtask owns.
type ownRows struct {
	hasher      record.Hasher
	splitter    record.Splitter
	first, last int
	groups      int
	hashes      []uint64
	dests       []uint16
}

func (c *Core) newOwnRows(e *graph.PhysicalEdge) *ownRows {
	o := &ownRows{hasher: e.NewHasher(), splitter: e.Type.NewSplitter(2), groups: c.o.Plan.MaxParallelism}
	o.first, o.last = graph.KeyGroupRange(c.o.Subtask, c.o.Vertex.Parallelism, o.groups)
	return o
}

// filter returns the batches with the rows of others left out. It owns what it is given. Rows that were hashed are judged by the
// hashes they carry, so that each of them has an owner even if the job hashes otherwise now.
func (o *ownRows) filter(bs []record.Batch, hashed bool) []record.Batch {
	var out []record.Batch
	for _, b := range bs {
		hashes := b.Hashes()
		carried := hashed && hashes != nil
		if !carried {
			o.hashes = o.hasher.AppendHashes(o.hashes[:0], b)
			hashes = o.hashes
		}
		o.dests = o.dests[:0]
		own := 0
		for _, h := range hashes {
			if g := graph.KeyGroup(h, o.groups); g >= o.first && g <= o.last {
				o.dests = append(o.dests, 0)
				own++
			} else {
				o.dests = append(o.dests, 1)
			}
		}
		if own == b.Len() && carried {
			out = append(out, b)
			continue
		}
		o.splitter.Scatter(b, hashes, o.dests)
		b.Release()
		if own := o.splitter.Take(0); own != nil {
			out = append(out, own)
		}
		if other := o.splitter.Take(1); other != nil {
			other.Release()
		}
	}
	return out
}

// Replaying says that Replay may be called, and has to be before anything new is read.
func (c *Core) Replaying() bool {
	return len(c.replay) > 0 && !c.paused && c.frozen == 0 && c.phase == running
}

// Replay processes the next batch of what was in flight when the snapshot was taken that the task was restored from. Only to be
// called when Replaying.
func (c *Core) Replay() error {
	r := &c.replay[0]
	b := r.flow.batches[0]
	r.flow.batches = r.flow.batches[1:]
	l, input := r.link, r.flow.origin.Input
	if len(r.flow.batches) == 0 {
		c.replay = c.replay[1:]
	}
	c.stats.in.Add(int64(b.Len()))
	c.holdReplay(-memoryOf(b))
	if err := c.processBatch(l, input, b); err != nil {
		return err
	}
	c.beginWaiting()
	return c.goOn()
}

// beginWaiting begins the snapshots that had to wait for the end of the replay.
func (c *Core) beginWaiting() {
	if len(c.replay) > 0 {
		return
	}
	waiting := c.snap.waiting
	c.snap.waiting = nil
	for _, b := range waiting {
		c.begin(b, false)
	}
}

// remainder is what is left to replay, with a holder of its own for each batch.
func (c *Core) remainder() []flow {
	out := make([]flow, 0, len(c.replay)+len(c.channels))
	for _, r := range c.replay {
		f := r.flow
		f.batches = slices.Clone(f.batches)
		for _, b := range f.batches {
			b.Retain(1)
		}
		out = append(out, f)
	}
	return out
}

// processBatch gives an operator a batch that the core owns.
func (c *Core) processBatch(l *link, input int, b record.Batch) error {
	st, err := l.process(input, b)
	if err != nil {
		b.Release()
		return err
	}
	c.stats.out.Store(c.out.rows)
	if st == operator.Paused {
		c.held, c.paused = b, true
		return c.stateErr()
	}
	b.Release()
	return c.stateErr()
}
