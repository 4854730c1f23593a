// SPDX-License-Identifier: Apache-2.0

package barrier

import "github.com/weir-stream/weir/runtime/record"

// Capture copies what a barrier overtakes on the channels of one task: the batches before it, each of which is processed in this run
// all the same. Watermarks and idle markers aren't kept: sources bring new ones after a restore, as after one from an aligned snapshot.
//
// What it takes beyond what is queued anyway is memory that nothing else bounds: rows that go on coming while a barrier is late. Past a limit it
// gives all batches back and takes no more, see [Capture.Full].
//
// Whoever owns the queues adds first what they hold, then what arrives, until the capture is taken away. It has no lock of its own.
type Capture struct {
	checkpoint int64
	batches    [][]record.Batch
	done       []bool
	rows       int
	full       bool
}

// The limit of a capture in rows: the larger of the two, the second for each channel. What channels hold under back-pressure is below it.
const (
	maxCaptured        = 16 << 20
	maxCapturedChannel = 256 << 10
)

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
		c.keep(ch, e.Batch)
	case record.KindBarrier, record.KindCancelBarrier:
		c.done[ch] = e.Barrier.Checkpoint >= c.checkpoint
	case record.KindEnd:
		c.done[ch] = true
	default:
	}
}

// keep takes a batch, up to the limit.
func (c *Capture) keep(ch int, b record.Batch) {
	if c.full {
		return
	}
	if c.rows += b.Len(); c.rows > c.Limit() {
		c.full = true
		c.Release()
		return
	}
	b.Retain(1)
	c.batches[ch] = append(c.batches[ch], b)
}

// Limit is how many rows may be captured.
func (c *Capture) Limit() int { return max(maxCaptured, maxCapturedChannel*len(c.done)) }

// Full says that more came than may be captured, so that the snapshot can't be completed.
func (c *Capture) Full() bool { return c.full }

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
