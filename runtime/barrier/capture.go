// SPDX-License-Identifier: Apache-2.0

package barrier

import "github.com/weir-stream/weir/runtime/record"

// Capture copies what a barrier overtakes on the channels of one task: the batches before it, each of which is processed in this run
// all the same. Watermarks and idle markers aren't kept: sources bring new ones after a restore, as after one from an aligned snapshot.
//
// Whoever owns the queues adds first what they hold, then what arrives, until the capture is taken away. It has no lock of its own.
type Capture struct {
	checkpoint int64
	batches    [][]record.Batch
	done       []bool
}

// NewCapture returns the capture of a snapshot; past says of each channel whether its barrier, or its end, was read already. The
// capture owns past.
func NewCapture(checkpoint int64, past []bool) *Capture {
	return &Capture{checkpoint: checkpoint, batches: make([][]record.Batch, len(past)), done: past}
}

// Add takes the next element of a channel, which stays the caller's.
func (c *Capture) Add(ch int, e record.Element) {
	if c.done[ch] {
		return
	}
	switch e.Kind {
	case record.KindBatch:
		e.Batch.Retain(1)
		c.batches[ch] = append(c.batches[ch], e.Batch)
	case record.KindBarrier, record.KindCancelBarrier:
		c.done[ch] = e.Barrier.Checkpoint >= c.checkpoint
	case record.KindEnd:
		c.done[ch] = true
	default:
	}
}

// Done says that nothing more is captured of a channel.
func (c *Capture) Done(ch int) bool { return c.done[ch] }

// Channel returns what was captured of a channel, in its order. The batches belong to the capture.
func (c *Capture) Channel(ch int) []record.Batch { return c.batches[ch] }

// Release gives the batches back. It may be called more than once.
func (c *Capture) Release() {
	for ch, bs := range c.batches {
		for _, b := range bs {
			b.Release()
		}
		c.batches[ch] = nil
	}
}
