// SPDX-License-Identifier: Apache-2.0

package barrier

import "github.com/weir-stream/weir/runtime/record"

// Capture copies what a barrier overtakes on the channels of one task: the batches before it, each of which is processed in this run
// all the same. Watermarks and idle markers aren't kept: sources bring new ones after a restore, as after one from an aligned snapshot.
//
// What it takes beyond what is queued anyway is memory that nothing else bounds: rows that go on coming while a barrier is late. Past a limit, or the
// budget, it gives all batches back and takes no more, see [Capture.Full].
//
// Whoever owns the queues adds first what they hold, says so, then adds what arrives, until the capture is taken away. It has no lock of its own.
type Capture struct {
	// Budget is the memory that the batches are counted in; nil for none.
	Budget Budget
	// Types are those of the channels. Where one is known, rows of batches that are mostly empty are gathered instead of the batches.
	Types []record.Type

	checkpoint int64
	batches    [][]record.Batch
	// gather has the rows of batches that were mostly empty, which come after those of batches.
	gather []record.Splitter
	done   []bool
	// bytes is what is held, queued what it was when the queues had been added; what is added since arrives.
	bytes, queued int64
	arriving      bool
	full          Full
}

// Budget is memory that others take from, too.
type Budget interface {
	// TryHold counts n bytes more, unless that would be too many: then it says false.
	TryHold(n int64) bool
	// Drop takes n bytes back.
	Drop(n int64)
}

// Full says why a capture could not take all.
type Full int

// What a capture may be full for.
const (
	// NotFull says that it has all that came.
	NotFull Full = iota
	// OverLimit says that more came than one capture may hold, OverBudget that there was no memory left for it.
	OverLimit
	OverBudget
)

// The limit of a capture in bytes, for what comes when the queues have been captured: the larger of the two, the second for each channel. What producers may have
// waiting is below it, or, if rows are that large, below twice what was queued.
const (
	maxCaptured        = 256 << 20
	maxCapturedChannel = 32 << 20
)

const (
	// sparse is how many times the memory of its rows a batch takes that is mostly empty.
	sparse = 4
	// gathered is how many rows are gathered into one batch.
	gathered = record.TargetRows
)

// NewCapture returns the capture of a snapshot; past says of each channel whether its barrier, or its end, was read already. The
// capture owns past.
func NewCapture(checkpoint int64, past []bool) *Capture {
	return &Capture{checkpoint: checkpoint, batches: make([][]record.Batch, len(past)), gather: make([]record.Splitter, len(past)), done: past}
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

// Queued says that all has been added that the queues held, which costs nothing more than it did.
func (c *Capture) Queued() { c.queued, c.arriving = c.bytes, true }

// keep takes a batch, up to the limit.
func (c *Capture) keep(ch int, b record.Batch) {
	if c.full != NotFull {
		return
	}
	rows, all := record.MemoryOf(b)
	few := c.Types != nil && rows*sparse < all
	if few {
		all = rows
	}
	switch n := int64(all); {
	case c.arriving && c.bytes+n-c.queued > c.Limit():
		c.giveUp(OverLimit)
		return
	case c.Budget != nil && !c.Budget.TryHold(n):
		c.giveUp(OverBudget)
		return
	default:
		c.bytes += n
	}
	if !few {
		c.flush(ch)
		b.Retain(1)
		c.batches[ch] = append(c.batches[ch], b)
		return
	}
	if c.gather[ch] == nil {
		c.gather[ch] = c.Types[ch].NewSplitter(1)
	}
	c.gather[ch].Append(0, b)
	if c.gather[ch].Len(0) >= gathered {
		c.flush(ch)
	}
}

// flush makes a batch of the rows gathered of a channel.
func (c *Capture) flush(ch int) {
	if s := c.gather[ch]; s != nil {
		if b := s.Take(0); b != nil {
			c.batches[ch] = append(c.batches[ch], b)
		}
	}
}

func (c *Capture) giveUp(why Full) {
	c.full = why
	c.Release()
}

// Limit is how many bytes may be captured of what arrives.
func (c *Capture) Limit() int64 {
	return max(maxCaptured, maxCapturedChannel*int64(len(c.done)), 2*c.queued)
}

// Full says whether more came than may be captured, so that the snapshot can't be completed.
func (c *Capture) Full() Full { return c.full }

// Done says that nothing more is captured of a channel.
func (c *Capture) Done(ch int) bool { return c.done[ch] }

// Channel returns what was captured of a channel, in its order. The batches belong to the capture.
func (c *Capture) Channel(ch int) []record.Batch {
	c.flush(ch)
	return c.batches[ch]
}

// Release gives the batches back. It may be called more than once.
func (c *Capture) Release() {
	for ch := range c.batches {
		for _, b := range c.Channel(ch) {
			b.Release()
		}
		c.batches[ch] = nil
	}
	if c.Budget != nil {
		c.Budget.Drop(c.bytes)
	}
	c.bytes = 0
}
