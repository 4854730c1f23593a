// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"encoding/binary"
	"errors"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// row is what flows through simulated jobs: the n-th row of a key, and how many rows of the key a counter had seen with it.
type row struct {
	key, seq, count int64
}

// batch is a batch of rows. It is never reused, so that a use after the last release is found.
type batch struct {
	record.Refs
	rows   []row
	hashes []uint64
	holds  int32
}

func newBatch(rows []row) *batch {
	b := &batch{rows: rows, holds: 1}
	b.Reset()
	return b
}

// Len implements record.Batch.
func (b *batch) Len() int { return len(b.rows) }

// Hashes implements record.Batch.
func (b *batch) Hashes() []uint64 { return b.hashes }

// Retain implements record.Batch.
func (b *batch) Retain(n int) {
	b.check()
	b.holds += int32(n)
	b.Refs.Retain(n)
}

// Release implements record.Batch.
func (b *batch) Release() {
	b.check()
	b.holds--
	if b.Drop() {
		b.rows, b.hashes = nil, nil
	}
}

func (b *batch) check() {
	if b.holds <= 0 {
		panic("a batch is used after its last release")
	}
}

// rowType is the record.Type of rows.
type rowType struct{}

// Name implements record.Type.
func (rowType) Name() string { return "simtest.row" }

// NewSplitter implements record.Type.
func (rowType) NewSplitter(dests int) record.Splitter { return &splitter{dests: make([]*batch, dests)} }

// AppendBatch implements record.Type.
func (rowType) AppendBatch(dst []byte, b record.Batch) ([]byte, error) {
	x := b.(*batch)
	x.check()
	dst = binary.AppendUvarint(dst, uint64(len(x.rows)))
	for _, r := range x.rows {
		dst = binary.AppendVarint(binary.AppendVarint(binary.AppendVarint(dst, r.key), r.seq), r.count)
	}
	hashed := byte(0)
	if x.hashes != nil {
		hashed = 1
	}
	return append(dst, hashed), nil
}

// DecodeBatch implements record.Type.
func (rowType) DecodeBatch(src []byte) (record.Batch, error) {
	n, used := binary.Uvarint(src)
	if used <= 0 || n > uint64(len(src)) {
		return nil, errors.New("decoding a batch of rows: its length is wrong")
	}
	src = src[used:]
	rows := make([]row, n)
	for i := range rows {
		for _, p := range []*int64{&rows[i].key, &rows[i].seq, &rows[i].count} {
			v, used := binary.Varint(src)
			if used <= 0 {
				return nil, errors.New("decoding a batch of rows: it ends early")
			}
			*p, src = v, src[used:]
		}
	}
	if len(src) != 1 {
		return nil, errors.New("decoding a batch of rows: its end is wrong")
	}
	b := newBatch(rows)
	if src[0] == 1 {
		b.hashes = keyHasher{}.AppendHashes(nil, b)
	}
	return b, nil
}

// splitter implements record.Splitter.
type splitter struct{ dests []*batch }

func (s *splitter) at(dest int) *batch {
	if s.dests[dest] == nil {
		s.dests[dest] = newBatch(nil)
	}
	return s.dests[dest]
}

// Scatter implements record.Splitter.
func (s *splitter) Scatter(b record.Batch, hashes []uint64, dests []uint16) {
	x := b.(*batch)
	x.check()
	for i, r := range x.rows {
		d := s.at(int(dests[i]))
		d.rows = append(d.rows, r)
		if hashes != nil {
			d.hashes = append(d.hashes, hashes[i])
		}
	}
}

// Append implements record.Splitter.
func (s *splitter) Append(dest int, b record.Batch) {
	x := b.(*batch)
	x.check()
	d := s.at(dest)
	d.rows = append(d.rows, x.rows...)
	d.hashes = append(d.hashes, x.hashes...)
}

// Len implements record.Splitter.
func (s *splitter) Len(dest int) int {
	if s.dests[dest] == nil {
		return 0
	}
	return len(s.dests[dest].rows)
}

// Take implements record.Splitter.
func (s *splitter) Take(dest int) record.Batch {
	b := s.dests[dest]
	s.dests[dest] = nil
	if b == nil {
		return nil
	}
	return b
}

// keyHasher hashes the key of a row.
type keyHasher struct{}

// AppendHashes implements record.Hasher.
func (keyHasher) AppendHashes(dst []uint64, b record.Batch) []uint64 {
	x := b.(*batch)
	x.check()
	for _, r := range x.rows {
		dst = append(dst, state.HashInt64(r.key))
	}
	return dst
}
