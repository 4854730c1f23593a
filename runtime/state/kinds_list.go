// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// A list is a run of bytes: each element with its length, as uvarint, before it. The run is cut into chunks, one entry of
// the table each. The first chunk begins with the number of elements and of bytes.
const (
	listChunk = 128
	listHead  = 16
)

// ScopedList is a state with a list of elements of type V for each key of type K and scope, which is a byte string. To append costs in
// proportion to what is appended. Methods take the hash of the key, as [Keys.Hash] returns it. Errors of coders
// are reported by [Memory.Err]. It is used from one goroutine.
type ScopedList[K, V any] struct {
	t     *Table
	keys  *Keys[K]
	coder Coder[V]
	pair  []byte
	buf   []byte
}

// OpenScopedList registers the state name and returns it, with what was restored. The coder may be nil for strings,
// byte slices and types without pointers.
func OpenScopedList[K, V any](m *Memory, name string, keys *Keys[K], coder Coder[V]) (*ScopedList[K, V], error) {
	coder, err := elementCoder(name, coder)
	if err != nil {
		return nil, err
	}
	t, err := m.Table(Descriptor{
		Name: name, Keys: PairKeys, Kind: ListKind, ValueSize: listChunk, KeyType: keys.typ, ValueType: "list of " + coder.Signature(),
	})
	if err != nil {
		return nil, err
	}
	return &ScopedList[K, V]{t: t, keys: keys, coder: coder}, nil
}

// Table returns the table behind the state.
func (l *ScopedList[K, V]) Table() *Table { return l.t }

// begin makes the part that the pair keys of all chunks of a list share.
func (l *ScopedList[K, V]) begin(key K, scope []byte) {
	l.pair = append(l.keys.appendOwner(l.pair[:0], key), scope...)
	l.pair = append(l.pair, 0, 0, 0, 0)
	if l.keys.err != nil {
		l.t.m.fail(l.keys.err)
	}
}

// at returns the pair key of chunk i of the list that begin was called for, and its hash.
func (l *ScopedList[K, V]) at(hash uint64, i uint32) ([]byte, uint64) {
	binary.LittleEndian.PutUint32(l.pair[len(l.pair)-4:], i)
	return l.pair, l.t.pairHash(hash, l.pair)
}

// chunk returns chunk i for writing, added if it is absent.
func (l *ScopedList[K, V]) chunk(hash uint64, i uint32) *[listChunk]byte {
	p, _ := l.t.RefBytes(l.at(hash, i))
	return (*[listChunk]byte)(p)
}

// sealed returns chunk i for reading, nil if it is absent.
func (l *ScopedList[K, V]) sealed(hash uint64, i uint32) *[listChunk]byte {
	return (*[listChunk]byte)(l.t.GetBytes(l.at(hash, i)))
}

// listPlace returns chunk and offset in it of byte off of the run.
func listPlace(off uint64) (chunk uint32, at int) {
	off += listHead
	return uint32(off / listChunk), int(off % listChunk)
}

// head returns the number of elements and bytes; begin was called.
func (l *ScopedList[K, V]) head(hash uint64) (n, size uint64) {
	c := l.sealed(hash, 0)
	if c == nil {
		return 0, 0
	}
	return binary.LittleEndian.Uint64(c[:]), binary.LittleEndian.Uint64(c[8:])
}

// Len is the number of elements.
func (l *ScopedList[K, V]) Len(key K, hash uint64, scope []byte) int {
	l.begin(key, scope)
	n, _ := l.head(hash)
	return int(n)
}

// Append adds elements at the end.
func (l *ScopedList[K, V]) Append(key K, hash uint64, scope []byte, vals ...V) {
	if len(vals) == 0 {
		return
	}
	l.buf = l.buf[:0]
	for i := range vals {
		if !l.encode(vals[i]) {
			return
		}
	}
	l.begin(key, scope)
	l.write(hash, l.buf, uint64(len(vals)))
}

// encode appends an element with its length to buf.
func (l *ScopedList[K, V]) encode(val V) bool {
	start := len(l.buf)
	b, err := l.coder.Append(append(l.buf, 0), val)
	if err != nil {
		l.t.m.fail(fmt.Errorf("encoding an element of state %q: %w", l.t.desc.Name, err))
		return false
	}
	l.buf = b
	size := len(b) - start - 1
	if size < 0x80 {
		b[start] = byte(size)
		return true
	}
	var n [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(n[:], uint64(size))
	l.buf = append(l.buf, n[:w-1]...) // makes room
	copy(l.buf[start+w:], l.buf[start+1:start+1+size])
	copy(l.buf[start:], n[:w])
	return true
}

// write adds n elements, encoded, at the end of the list that begin was called for.
func (l *ScopedList[K, V]) write(hash uint64, b []byte, n uint64) {
	first := l.chunk(hash, 0)
	had, size := binary.LittleEndian.Uint64(first[:]), binary.LittleEndian.Uint64(first[8:])
	binary.LittleEndian.PutUint64(first[:], had+n)
	binary.LittleEndian.PutUint64(first[8:], size+uint64(len(b)))
	i, at := listPlace(size)
	if i == 0 {
		b = b[copy(first[at:], b):]
		i, at = 1, 0
	}
	for ; len(b) > 0; i, at = i+1, 0 {
		b = b[copy(l.chunk(hash, i)[at:], b):]
	}
}

// Clear removes all elements and says whether there were any.
func (l *ScopedList[K, V]) Clear(key K, hash uint64, scope []byte) bool {
	l.begin(key, scope)
	n, size := l.head(hash)
	if n == 0 {
		return false
	}
	last, at := listPlace(size)
	if at == 0 {
		last--
	}
	for i := uint32(0); i <= last; i++ {
		l.t.DeleteBytes(l.at(hash, i))
	}
	return true
}

// All yields the elements in order, one at a time; those appended meanwhile are not among them. The list must not be cleared meanwhile.
func (l *ScopedList[K, V]) All(key K, hash uint64, scope []byte) iter.Seq[V] {
	return func(yield func(V) bool) {
		l.begin(key, scope)
		n, size := l.head(hash)
		r := listReader{size: size}
		var element []byte
		for range n {
			l.begin(key, scope)
			element = r.next(element[:0], func(i uint32) *[listChunk]byte { return l.sealed(hash, i) })
			val, err := l.coder.Decode(element)
			if r.short {
				err = fmt.Errorf("element ends too early")
			}
			if err != nil {
				l.t.m.fail(fmt.Errorf("decoding an element of state %q: %w", l.t.desc.Name, err))
				return
			}
			if !yield(val) {
				return
			}
		}
	}
}

// Move appends the elements of the list in scope from to that in scope to, and clears the former.
func (l *ScopedList[K, V]) Move(key K, hash uint64, from, to []byte) {
	l.begin(key, from)
	n, size := l.head(hash)
	if n == 0 {
		return
	}
	all := make([]byte, 0, size)
	for off := uint64(0); off < size; {
		i, at := listPlace(off)
		part := l.sealed(hash, i)[at:]
		part = part[:min(uint64(len(part)), size-off)]
		all = append(all, part...)
		off += uint64(len(part))
	}
	l.Clear(key, hash, from)
	l.begin(key, to)
	l.write(hash, all, n)
}

// listReader cuts elements out of chunks.
type listReader struct {
	off, size uint64
	short     bool
}

// next appends the next element to dst. chunk returns a chunk by its number.
func (r *listReader) next(dst []byte, chunk func(uint32) *[listChunk]byte) []byte {
	i, at := listPlace(r.off)
	c := chunk(i)
	length, shift := uint64(0), 0
	for {
		if c == nil || r.off >= r.size || shift > 63 {
			r.short = true
			return dst
		}
		b := c[at]
		length |= uint64(b&0x7f) << shift
		shift += 7
		r.off++
		if at++; at == listChunk {
			i, at = i+1, 0
			if r.off < r.size {
				c = chunk(i)
			}
		}
		if b < 0x80 {
			break
		}
	}
	if length > r.size-r.off {
		r.short = true
		return dst
	}
	for length > 0 {
		if c == nil {
			r.short = true
			return dst
		}
		n := min(length, uint64(listChunk-at))
		dst = append(dst, c[at:at+int(n)]...)
		length -= n
		r.off += n
		if at += int(n); at == listChunk && length > 0 {
			i, at = i+1, 0
			c = chunk(i)
		}
	}
	return dst
}

// List is [ScopedList] with one list for each key.
type List[K, V any] struct{ s *ScopedList[K, V] }

// OpenList is [OpenScopedList] for lists without a scope.
func OpenList[K, V any](m *Memory, name string, keys *Keys[K], coder Coder[V]) (*List[K, V], error) {
	s, err := OpenScopedList(m, name, keys, coder)
	if err != nil {
		return nil, err
	}
	return &List[K, V]{s}, nil
}

// Len is the number of elements of key.
func (l *List[K, V]) Len(key K, hash uint64) int { return l.s.Len(key, hash, nil) }

// Append adds elements at the end of the list of key.
func (l *List[K, V]) Append(key K, hash uint64, vals ...V) { l.s.Append(key, hash, nil, vals...) }

// Set makes vals the list of key.
func (l *List[K, V]) Set(key K, hash uint64, vals ...V) {
	l.s.Clear(key, hash, nil)
	l.s.Append(key, hash, nil, vals...)
}

// All yields the elements of key in order, see [ScopedList.All].
func (l *List[K, V]) All(key K, hash uint64) iter.Seq[V] { return l.s.All(key, hash, nil) }

// Clear removes the list of key and says whether it had elements.
func (l *List[K, V]) Clear(key K, hash uint64) bool { return l.s.Clear(key, hash, nil) }

// Table returns the table behind the state.
func (l *List[K, V]) Table() *Table { return l.s.t }
