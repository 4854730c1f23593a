// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
)

// gamma is the step of the generator of keys, an odd number close to 2^64 divided by the golden ratio.
const gamma = 0x9e3779b97f4a7c15

// mix scrambles the bits of z so that a counter becomes uniformly random.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// keyGen yields uniformly random keys below a bound: n-th key of a seed, at the cost of three multiplications.
type keyGen struct {
	counter, keys uint64
}

func newKeyGen(subtask int, keys uint64) keyGen {
	return keyGen{counter: mix(uint64(subtask) + 1), keys: keys}
}

// fill replaces dst with the next keys and returns their sum.
func (g *keyGen) fill(dst []int64) int64 {
	c, sum := g.counter, int64(0)
	for i := range dst {
		c += gamma
		hi, _ := bits.Mul64(mix(c), g.keys)
		dst[i] = int64(hi)
		sum += int64(hi)
	}
	g.counter = c
	return sum
}

// mark is what a source or sink of a benchmark leaves in the snapshot.
type mark struct {
	// Rows and the Sum of their values, where those are numbers.
	Rows int64 `json:"rows"`
	Sum  int64 `json:"sum"`
	// Start is when it opened or was first polled, End when the snapshot was taken or the last batch had come; nanoseconds.
	Start int64 `json:"start"`
	End   int64 `json:"end"`
	// First is when the first batch came after the last start.
	First int64 `json:"first,omitempty"`
}

const markList = "bench"

// snapshot puts a mark into operator state.
func (m mark) snapshot() (operator.AsyncSnapshot, error) {
	if m.End == 0 {
		m.End = time.Now().UnixNano()
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding the mark: %w", err)
	}
	return func(context.Context) ([]operator.List, error) {
		return []operator.List{{Name: markList, Entries: [][]byte{b}}}, nil
	}, nil
}

// restored is the mark that a snapshot left for this subtask, empty at a first start.
func restored(c *operator.Context) (mark, error) {
	var m mark
	for _, e := range c.List(markList) {
		if err := json.Unmarshal(e, &m); err != nil {
			return m, fmt.Errorf("reading the mark: %w", err)
		}
	}
	return m, nil
}

// source emits random keys without end, or nothing at all if keys is 0.
type source struct {
	keys uint64
	gen  keyGen
	mark mark
	// emitted is what all sources of this process have emitted, nil if nobody looks.
	emitted *atomic.Int64
}

// Open starts the generator where the snapshot left it.
func (s *source) Open(_ context.Context, c *operator.Context) (err error) {
	s.gen = newKeyGen(c.Subtask, s.keys)
	if s.mark, err = restored(c); err != nil {
		return err
	}
	s.gen.counter += gamma * uint64(s.mark.Rows)
	return nil
}

// Poll emits a batch of keys.
func (s *source) Poll(rows []int64) ([]int64, operator.Polled, error) {
	if s.keys == 0 {
		return rows, operator.Polled{State: operator.Wait}, nil
	}
	if s.mark.Start == 0 {
		s.mark.Start = time.Now().UnixNano()
	}
	rows = rows[:min(cap(rows), record.TargetRows)]
	s.mark.Sum += s.gen.fill(rows)
	s.mark.Rows += int64(len(rows))
	if s.emitted != nil {
		s.emitted.Add(int64(len(rows)))
	}
	return rows, operator.Polled{State: operator.More}, nil
}

// Snapshot leaves the mark.
func (s *source) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) { return s.mark.snapshot() }

// Close has nothing to release.
func (s *source) Close() error { return nil }

// sink counts rows and discards them.
type sink struct {
	mark mark
	// timed notes the time of each batch, for a job whose input runs dry before it is stopped.
	timed bool
}

func newSink() operator.Operator      { return &sink{} }
func newTimedSink() operator.Operator { return &sink{timed: true} }

// Open notes the time.
func (s *sink) Open(_ context.Context, c *operator.Context) (err error) {
	if s.mark, err = restored(c); err != nil {
		return err
	}
	s.mark.Start, s.mark.First = time.Now().UnixNano(), 0
	return nil
}

// Process counts the rows.
func (s *sink) Process(_ int, b record.Batch) (operator.Status, error) {
	s.mark.Rows += int64(b.Len())
	if s.mark.First == 0 {
		s.mark.First = time.Now().UnixNano()
	}
	if s.timed {
		s.mark.End = time.Now().UnixNano()
	}
	return operator.Done, nil
}

// Resume has nothing left.
func (s *sink) Resume() (operator.Status, error) { return operator.Done, nil }

// Snapshot leaves the mark.
func (s *sink) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) { return s.mark.snapshot() }

// Close has nothing to release.
func (s *sink) Close() error { return nil }
