// SPDX-License-Identifier: Apache-2.0

package record

import "sync/atomic"

// TargetRows is how many rows a batch aims to hold: enough that work per batch vanishes
// beside work per row, small enough that a batch and what is made of it stay in the cache.
const TargetRows = 1024

// Batch is a sequence of rows as the engine sees it. See the package comment for ownership.
type Batch interface {
	// Len is the number of rows.
	Len() int
	// Hashes returns the key hash of each row, or nil when the rows carry none. Read only.
	Hashes() []uint64
	// Retain adds n holders.
	Retain(n int)
	// Release drops one holder; after the last one the batch is reused and must not be touched.
	Release()
}

// Sized is a batch that knows how much memory it takes.
type Sized interface {
	// Memory is about how many bytes the rows take, and how many the batch does with the room that it has for more.
	Memory() (rows, all int)
}

// MemoryOf is the memory of a batch; one that doesn't know it is taken for rows of a number and a hash.
func MemoryOf(b Batch) (rows, all int) {
	if s, ok := b.(Sized); ok {
		return s.Memory()
	}
	return 16 * b.Len(), 16 * b.Len()
}

// Splitter gathers rows for the destinations of an exchange into batches of its own. A row
// is copied once. It is used from one goroutine.
type Splitter interface {
	// Scatter appends row i of b, with key hash hashes[i], to what is gathered for dests[i].
	// hashes may be nil, then rows carry no hash. It takes the whole of b.
	Scatter(b Batch, hashes []uint64, dests []uint16)
	// Append appends all rows of b to what is gathered for dest, with the hashes b carries.
	Append(dest int, b Batch)
	// Len is the number of rows gathered for dest.
	Len(dest int) int
	// Take returns what is gathered for dest, owned by the caller, or nil when there is nothing.
	Take(dest int) Batch
}

// Type describes the batches of one edge. Both ends of an edge make an equal Type from the
// same program, in whatever process they run. Safe for use by several goroutines.
type Type interface {
	// Name identifies the type in messages and in the fingerprint of the graph.
	Name() string
	// NewSplitter returns a splitter for dests destinations.
	NewSplitter(dests int) Splitter
	// AppendBatch appends the encoding of b to dst and returns it, extended.
	AppendBatch(dst []byte, b Batch) ([]byte, error)
	// DecodeBatch decodes one batch; the result doesn't refer to src. It never panics on bad input.
	DecodeBatch(src []byte) (Batch, error)
}

// Hasher computes key hashes on a hash edge. One instance is used from one goroutine.
type Hasher interface {
	// AppendHashes appends the key hash of every row of b to dst.
	AppendHashes(dst []uint64, b Batch) []uint64
}

// Refs is the holder count of a batch, to be embedded. The zero value counts no holder;
// a batch taken from a pool starts with Reset.
type Refs struct{ n atomic.Int32 }

// Reset sets the count to one.
func (r *Refs) Reset() { r.n.Store(1) }

// Retain adds n holders.
func (r *Refs) Retain(n int) { r.n.Add(int32(n)) }

// Drop removes a holder and says whether it was the last.
func (r *Refs) Drop() bool { return r.n.Add(-1) == 0 }
