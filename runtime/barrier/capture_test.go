// SPDX-License-Identifier: Apache-2.0

package barrier_test

import (
	"slices"
	"testing"

	"github.com/weir-stream/weir/runtime/barrier"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// sized is a batch that says that it takes that many bytes.
type sized struct {
	record.Refs
	bytes int
}

func (b *sized) Len() int           { return 1 }
func (b *sized) Hashes() []uint64   { return nil }
func (b *sized) Release()           { b.Drop() }
func (b *sized) Memory() (int, int) { return b.bytes, b.bytes }

func newSized(bytes int) *sized {
	b := &sized{bytes: bytes}
	b.Reset()
	return b
}

func TestCapture_IsBoundedInBytes(t *testing.T) {
	t.Parallel()
	c := barrier.NewCapture(1, make([]bool, 2))
	b := newSized(1 << 20)
	for range 1000 { // a gigabyte: it is there anyway
		c.Add(0, record.OfBatch(b))
	}
	c.Queued()
	if c.Full() != barrier.NotFull || c.Limit() != 2000<<20 {
		t.Fatalf("what was queued makes it full (%d), or allows %d bytes more, want twice as many", c.Full(), c.Limit())
	}
	c.Release()

	c = barrier.NewCapture(1, make([]bool, 2))
	c.Queued()
	for n := range 257 {
		if c.Full() != barrier.NotFull {
			t.Fatalf("it is full after %d MiB", n)
		}
		c.Add(0, record.OfBatch(b))
	}
	if c.Full() != barrier.OverLimit {
		t.Error("it takes more than 256 MiB")
	}
	if !b.Drop() {
		t.Error("it holds on to what it took")
	}
	if many := barrier.NewCapture(1, make([]bool, 100)); many.Limit() != 3200<<20 {
		t.Errorf("with 100 channels its limit is %d", many.Limit())
	}
}

func TestCapture_IsWithinItsBudget(t *testing.T) {
	t.Parallel()
	account := state.NewAccount(10 << 20)
	c := barrier.NewCapture(1, make([]bool, 1))
	c.Budget = account
	b := newSized(1 << 20)
	for range 10 {
		c.Add(0, record.OfBatch(b))
	}
	if c.Full() != barrier.NotFull || account.Used() != 10<<20 {
		t.Errorf("full %d with %d bytes counted, want room for 10 MiB", c.Full(), account.Used())
	}
	c.Add(0, record.OfBatch(b))
	if c.Full() != barrier.OverBudget || account.Used() != 0 || !b.Drop() {
		t.Errorf("full %d with %d bytes counted, want all let go", c.Full(), account.Used())
	}
	c.Release()
	if account.Used() != 0 {
		t.Errorf("%d bytes are counted in the end", account.Used())
	}
}

// A batch has room for a thousand rows and more. With a few in each, as they come without load, a capture would fill the memory with room.
func TestCapture_GathersRowsOfBatchesThatAreMostlyEmpty(t *testing.T) {
	t.Parallel()
	typ := record.NewRowType(record.MustCoderOf[int64]())
	account := state.NewAccount(0)
	c := barrier.NewCapture(1, make([]bool, 1))
	c.Budget, c.Types = account, []record.Type{typ}
	var want, got []int64
	add := func(n int) {
		b := typ.Get()
		for range n {
			b.Values, b.Keys = append(b.Values, int64(len(want))), append(b.Keys, uint64(len(want)))
			want = append(want, int64(len(want)))
		}
		c.Add(0, record.OfBatch(b))
		b.Release()
	}
	for range 10_000 {
		add(1)
	}
	add(1000) // keeps its place
	for range 100 {
		add(1)
	}
	if n := account.Used(); n > 16*int64(len(want))+64<<10 {
		t.Errorf("%d rows of 16 bytes are counted with %d bytes", len(want), n)
	}
	for _, b := range c.Channel(0) {
		r := b.(*record.Rows[int64])
		got = append(got, r.Values...)
		for i, h := range r.Hashes() {
			if h != uint64(r.Values[i]) {
				t.Fatalf("row %d has hash %d", r.Values[i], h)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d rows came out, or in another order, of %d", len(got), len(want))
	}
	if n := len(c.Channel(0)); n > 15 {
		t.Errorf("they are held in %d batches", n)
	}
	c.Release()
	if n := account.Used(); n != 0 {
		t.Errorf("%d bytes are counted in the end", n)
	}
}
