// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/weir-stream/weir/runtime/record"
)

// intBatch is a batch of numbers with hashes.
type intBatch struct {
	record.Refs
	t      *intType
	keys   []int64
	hashes []uint64
}

func (b *intBatch) Len() int         { return len(b.keys) }
func (b *intBatch) Hashes() []uint64 { return b.hashes }
func (b *intBatch) Release() {
	if b.Drop() {
		b.t.held.Add(-1)
		b.t.pool.Put(b)
	}
}

// intType makes them and counts those in use. pad makes rows larger by that many bytes.
type intType struct {
	name string
	pad  int
	pool sync.Pool
	held atomic.Int64
}

func (t *intType) batch(n int) *intBatch {
	b, ok := t.pool.Get().(*intBatch)
	if !ok {
		b = &intBatch{t: t}
	}
	if cap(b.keys) < n {
		b.keys, b.hashes = make([]int64, n), make([]uint64, n)
	}
	b.keys, b.hashes = b.keys[:n], b.hashes[:n]
	if n > 0 {
		b.keys[0] = 0
	}
	b.Reset()
	t.held.Add(1)
	return b
}

func (t *intType) Name() string { return t.name }

func (t *intType) NewSplitter(dests int) record.Splitter {
	return &intSplitter{t: t, keys: make([][]int64, dests)}
}

func (t *intType) AppendBatch(dst []byte, b record.Batch) ([]byte, error) {
	ib := b.(*intBatch)
	if len(ib.keys) > 0 && ib.keys[0] == -1 {
		return nil, errors.New("a key that can't be encoded")
	}
	for i := range ib.keys {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(ib.keys[i]))
		dst = binary.LittleEndian.AppendUint64(dst, ib.hashes[i])
		dst = append(dst, make([]byte, t.pad)...)
	}
	return dst, nil
}

func (t *intType) DecodeBatch(src []byte) (record.Batch, error) {
	row := 16 + t.pad
	if len(src)%row != 0 {
		return nil, fmt.Errorf("%d bytes are no rows", len(src))
	}
	b := t.batch(len(src) / row)
	for i := range b.keys {
		b.keys[i] = int64(binary.LittleEndian.Uint64(src[i*row:]))
		b.hashes[i] = binary.LittleEndian.Uint64(src[i*row+8:])
	}
	return b, nil
}

// intSplitter gathers keys; the hash of a key is the key.
type intSplitter struct {
	t    *intType
	keys [][]int64
}

func (s *intSplitter) Scatter(b record.Batch, _ []uint64, dests []uint16) {
	for i, k := range b.(*intBatch).keys {
		s.keys[dests[i]] = append(s.keys[dests[i]], k)
	}
}

func (s *intSplitter) Append(dest int, b record.Batch) {
	s.keys[dest] = append(s.keys[dest], b.(*intBatch).keys...)
}
func (s *intSplitter) Len(dest int) int { return len(s.keys[dest]) }
func (s *intSplitter) Take(dest int) record.Batch {
	b := s.t.batch(len(s.keys[dest]))
	for i, k := range s.keys[dest] {
		b.keys[i], b.hashes[i] = k, uint64(k)
	}
	s.keys[dest] = nil
	return b
}
