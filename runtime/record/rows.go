// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/binary"
	"fmt"
	"sync"
	"unsafe"
)

// maxRows bounds the rows of a decoded batch.
const maxRows = 1 << 20

// Rows is a batch of typed rows, as the Go SDK uses it.
type Rows[T any] struct {
	Refs
	// Values are the rows.
	Values []T
	// Keys holds the key hash of each row, or nothing.
	Keys []uint64

	home *RowType[T]
}

// Len is the number of rows.
func (r *Rows[T]) Len() int { return len(r.Values) }

// Hashes returns the key hashes, nil when there are none.
func (r *Rows[T]) Hashes() []uint64 {
	if len(r.Keys) == 0 {
		return nil
	}
	return r.Keys
}

// Release drops a holder and gives the batch back to its pool after the last.
func (r *Rows[T]) Release() {
	if !r.Drop() || r.home == nil {
		return
	}
	if r.home.pointers {
		clear(r.Values)
	}
	r.Values, r.Keys = r.Values[:0], r.Keys[:0]
	r.home.pool.Put(r)
}

// Memory implements [Sized]. What rows refer to is counted exactly where a built-in coder tells what that is, and else by how some of them are encoded.
func (r *Rows[T]) Memory() (rows, all int) {
	var zero T
	beside := 0
	if r.home != nil && r.home.pointers {
		beside = r.home.beside(r.Values)
	}
	size := int(unsafe.Sizeof(zero))
	return size*len(r.Values) + 8*len(r.Keys) + beside, size*cap(r.Values) + 8*cap(r.Keys) + beside
}

// sampled is how many rows of a batch are encoded to find out how large all are.
const sampled = 16

// beside is about how much memory rows refer to.
func (t *RowType[T]) beside(rows []T) (n int) {
	if c, ok := t.coder.(fieldCoder[T]); ok {
		return c.beside(rows)
	}
	if len(rows) == 0 {
		return 0
	}
	defer func() { _ = recover() }() // a coder that can't encode a row says so to whoever needs the encoding
	var buf []byte
	took, step := 0, (len(rows)+sampled-1)/sampled
	for i := 0; i < len(rows); i += step {
		buf = t.coder.Append(buf[:0], rows[i])
		took++
		n += len(buf)
	}
	return n * len(rows) / took
}

// RowType is the [Type] of [Rows] of T. Make it with [NewRowType].
type RowType[T any] struct {
	coder    Coder[T]
	bulk     BulkCoder[T]
	pointers bool
	pool     sync.Pool
}

// NewRowType returns the type of batches of T, encoded by coder.
func NewRowType[T any](coder Coder[T]) *RowType[T] {
	t := &RowType[T]{coder: coder, pointers: hasPointers[T]()}
	t.bulk, _ = coder.(BulkCoder[T])
	t.pool.New = func() any {
		return &Rows[T]{home: t, Values: make([]T, 0, TargetRows+TargetRows/2), Keys: make([]uint64, 0, TargetRows+TargetRows/2)}
	}
	return t
}

// Name is "rows[...]" with the name of the coder.
func (t *RowType[T]) Name() string { return "rows[" + t.coder.Name() + "]" }

// Get returns an empty batch with one holder.
func (t *RowType[T]) Get() *Rows[T] {
	r := t.pool.Get().(*Rows[T]) // the pool holds nothing else
	r.Reset()
	return r
}

// NewSplitter returns a splitter for dests destinations.
func (t *RowType[T]) NewSplitter(dests int) Splitter {
	return &rowSplitter[T]{home: t, out: make([]*Rows[T], dests)}
}

type rowSplitter[T any] struct {
	home *RowType[T]
	out  []*Rows[T]
}

func (s *rowSplitter[T]) get(dest int) *Rows[T] {
	o := s.out[dest]
	if o == nil {
		o = s.home.Get()
		s.out[dest] = o
	}
	return o
}

// Scatter appends each row to its destination.
func (s *rowSplitter[T]) Scatter(b Batch, hashes []uint64, dests []uint16) {
	in := b.(*Rows[T]).Values // an edge carries one type
	for d := range s.out {
		s.get(d)
	}
	out := s.out
	dests = dests[:len(in)]
	if hashes == nil {
		for i, v := range in {
			o := out[dests[i]]
			o.Values = append(o.Values, v)
		}
		return
	}
	hashes = hashes[:len(in)]
	for i, v := range in {
		o := out[dests[i]]
		o.Values = append(o.Values, v)
		o.Keys = append(o.Keys, hashes[i])
	}
}

// Append appends all rows to one destination.
func (s *rowSplitter[T]) Append(dest int, b Batch) {
	in := b.(*Rows[T]) // an edge carries one type
	o := s.get(dest)
	o.Values = append(o.Values, in.Values...)
	o.Keys = append(o.Keys, in.Keys...)
}

// Len is the number of rows gathered for dest.
func (s *rowSplitter[T]) Len(dest int) int {
	if o := s.out[dest]; o != nil {
		return len(o.Values)
	}
	return 0
}

// Take returns what is gathered for dest.
func (s *rowSplitter[T]) Take(dest int) Batch {
	o := s.out[dest]
	if o == nil || len(o.Values) == 0 {
		return nil
	}
	s.out[dest] = nil
	return o
}

// AppendBatch encodes: uvarint rows, one byte that says whether hashes follow, the hashes
// (8 bytes little endian each), then the rows by the coder.
func (t *RowType[T]) AppendBatch(dst []byte, b Batch) ([]byte, error) {
	r, ok := b.(*Rows[T])
	if !ok {
		return dst, fmt.Errorf("encoding a batch: got %T on an edge of %s", b, t.Name())
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Values)))
	if len(r.Keys) == 0 {
		dst = append(dst, 0)
	} else {
		dst = append(dst, 1)
		dst = append(dst, rawBytes(r.Keys)...)
	}
	if t.bulk != nil {
		return t.bulk.AppendAll(dst, r.Values), nil
	}
	for i := range r.Values {
		dst = t.coder.Append(dst, r.Values[i])
	}
	return dst, nil
}

// DecodeBatch decodes what AppendBatch wrote.
func (t *RowType[T]) DecodeBatch(src []byte) (Batch, error) {
	n, w := binary.Uvarint(src)
	if w <= 0 || n > maxRows || len(src) < w+1 {
		return nil, fmt.Errorf("decoding a batch of %s: bad header", t.Name())
	}
	hashed, src := src[w], src[w+1:]
	r := t.Get()
	if err := t.decode(r, int(n), hashed, src); err != nil {
		r.Release()
		return nil, fmt.Errorf("decoding a batch of %s: %w", t.Name(), err)
	}
	return r, nil
}

func (t *RowType[T]) decode(r *Rows[T], n int, hashed byte, src []byte) (err error) {
	switch hashed {
	case 0:
	case 1:
		if len(src) < 8*n {
			return errShort
		}
		r.Keys = appendRaw(r.Keys, src[:8*n])
		src = src[8*n:]
	default:
		return fmt.Errorf("unknown flag %d", hashed)
	}
	if t.bulk != nil {
		r.Values, src, err = t.bulk.DecodeAll(r.Values, n, src)
	} else {
		for range n {
			var v T
			if v, src, err = t.coder.Decode(src); err != nil {
				return err
			}
			r.Values = append(r.Values, v)
		}
	}
	if err == nil && len(src) > 0 {
		err = fmt.Errorf("%d bytes too many", len(src))
	}
	return err
}

// rawBytes is the memory of a slice of fixed-size values without pointers.
func rawBytes[T any](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*int(unsafe.Sizeof(s[0])))
}

// appendRaw appends the values whose memory src is.
func appendRaw[T any](dst []T, src []byte) []T {
	var zero T
	n := len(src) / int(unsafe.Sizeof(zero))
	at := len(dst)
	if cap(dst)-at < n {
		grown := make([]T, at, at+n)
		copy(grown, dst)
		dst = grown
	}
	dst = dst[:at+n]
	copy(rawBytes(dst[at:]), src)
	return dst
}

// Coder returns how rows are encoded.
func (t *RowType[T]) Coder() Coder[T] { return t.coder }
