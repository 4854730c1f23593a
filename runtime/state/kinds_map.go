// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// The parts of a map: the byte that follows the owner in a pair key.
const (
	mapCount byte = iota // number of entries, four bytes
	mapIndex             // entry number, four bytes → user key
	mapEntry             // user key → entry number, four bytes, and the value
)

// Map is a state with a map from M to V for each key of type K. An entry of the map is an entry of the table: reading
// and writing one costs the same however large the map is. Methods take the hash of the key, as [Keys.Hash]
// returns it. Errors of coders are reported by [Memory.Err]. It is used from one goroutine.
type Map[K, M, V any] struct {
	t     *Table
	keys  *Keys[K]
	users *Keys[M]
	coder Coder[V]
	pair  []byte
	val   []byte
}

// OpenMap registers the state name and returns it, with what was restored. The keys within the maps are those
// of users. The coder may be nil for strings, byte slices and types without pointers.
func OpenMap[K, M, V any](m *Memory, name string, keys *Keys[K], users *Keys[M], coder Coder[V]) (*Map[K, M, V], error) {
	coder, err := elementCoder(name, coder)
	if err != nil {
		return nil, err
	}
	t, err := m.Table(Descriptor{
		Name: name, Keys: PairKeys, Kind: MapKind, KeyType: keys.typ, ValueType: "map[" + users.typ + "]" + coder.Signature(),
	})
	if err != nil {
		return nil, err
	}
	return &Map[K, M, V]{t: t, keys: keys, users: users, coder: coder}, nil
}

// at makes the pair key of a part of the map of key, and returns it with its hash. It is valid until the next call.
func (s *Map[K, M, V]) at(key K, hash uint64, part byte) ([]byte, uint64) {
	s.pair = append(s.keys.appendOwner(s.pair[:0], key), part)
	s.check()
	return s.pair, s.t.pairHash(hash, s.pair)
}

func (s *Map[K, M, V]) atIndex(key K, hash uint64, i uint32) ([]byte, uint64) {
	s.pair = append(s.keys.appendOwner(s.pair[:0], key), mapIndex)
	s.pair = binary.LittleEndian.AppendUint32(s.pair, i)
	s.check()
	return s.pair, s.t.pairHash(hash, s.pair)
}

func (s *Map[K, M, V]) atEntry(key K, hash uint64, user M) ([]byte, uint64) {
	s.pair = append(s.keys.appendOwner(s.pair[:0], key), mapEntry)
	s.pair = s.users.AppendKey(s.pair, user)
	s.check()
	return s.pair, s.t.pairHash(hash, s.pair)
}

func (s *Map[K, M, V]) check() {
	if s.keys.err != nil {
		s.t.m.fail(s.keys.err)
	}
	if s.users.err != nil {
		s.t.m.fail(s.users.err)
	}
}

// Len is the number of entries in the map of key.
func (s *Map[K, M, V]) Len(key K, hash uint64) int {
	b, ok := s.t.GetVarBytes(s.at(key, hash, mapCount))
	if !ok {
		return 0
	}
	return int(binary.LittleEndian.Uint32(b))
}

func (s *Map[K, M, V]) setLen(key K, hash uint64, n uint32) {
	pair, h := s.at(key, hash, mapCount)
	if n == 0 {
		s.t.DeleteBytes(pair, h)
		return
	}
	s.t.PutVarBytes(pair, h, binary.LittleEndian.AppendUint32(s.val[:0], n))
}

// Get returns the value of user in the map of key and whether it is there.
func (s *Map[K, M, V]) Get(key K, hash uint64, user M) (val V, ok bool) {
	b, ok := s.t.GetVarBytes(s.atEntry(key, hash, user))
	if !ok {
		return val, false
	}
	return s.decode(b), true
}

// Has says whether user is in the map of key.
func (s *Map[K, M, V]) Has(key K, hash uint64, user M) bool {
	_, ok := s.t.GetVarBytes(s.atEntry(key, hash, user))
	return ok
}

func (s *Map[K, M, V]) decode(b []byte) V {
	val, err := s.coder.Decode(b[4:])
	if err != nil {
		s.t.m.fail(fmt.Errorf("decoding a value of state %q: %w", s.t.desc.Name, err))
	}
	return val
}

// Set sets the value of user in the map of key.
func (s *Map[K, M, V]) Set(key K, hash uint64, user M, val V) {
	pair, h := s.atEntry(key, hash, user)
	old, ok := s.t.GetVarBytes(pair, h)
	var i uint32
	if ok {
		i = binary.LittleEndian.Uint32(old)
	} else {
		i = uint32(s.Len(key, hash))
		pair, h = s.atEntry(key, hash, user)
	}
	b, err := s.coder.Append(binary.LittleEndian.AppendUint32(s.val[:0], i), val)
	if err != nil {
		s.t.m.fail(fmt.Errorf("encoding a value of state %q: %w", s.t.desc.Name, err))
		return
	}
	s.val = b
	s.t.PutVarBytes(pair, h, b)
	if ok {
		return
	}
	s.val = s.users.AppendKey(s.val[:0], user)
	pair, h = s.atIndex(key, hash, i)
	s.t.PutVarBytes(pair, h, s.val)
	s.setLen(key, hash, i+1)
}

// Remove removes user from the map of key and says whether it was there.
func (s *Map[K, M, V]) Remove(key K, hash uint64, user M) bool {
	pair, h := s.atEntry(key, hash, user)
	b, ok := s.t.GetVarBytes(pair, h)
	if !ok {
		return false
	}
	i := binary.LittleEndian.Uint32(b)
	s.t.DeleteBytes(pair, h)
	last := uint32(s.Len(key, hash)) - 1
	if i != last {
		s.renumber(key, hash, last, i)
	}
	pair, h = s.atIndex(key, hash, last)
	s.t.DeleteBytes(pair, h)
	s.setLen(key, hash, last)
	return true
}

// renumber gives the entry number from the number to.
func (s *Map[K, M, V]) renumber(key K, hash uint64, from, to uint32) {
	b, _ := s.t.GetVarBytes(s.atIndex(key, hash, from))
	user := append([]byte(nil), b...)
	pair, h := s.atIndex(key, hash, to)
	s.t.PutVarBytes(pair, h, user)
	s.at(key, hash, mapEntry)
	s.pair = append(s.pair, user...)
	h = s.t.pairHash(hash, s.pair)
	b, _ = s.t.GetVarBytes(s.pair, h)
	s.val = append(binary.LittleEndian.AppendUint32(s.val[:0], to), b[4:]...)
	s.t.PutVarBytes(s.pair, h, s.val)
}

// All yields the entries of the map of key, newest first unless some were removed, one at a time. During the iteration the entry
// at hand may be removed, and values may be set; entries that are added are not yielded. Removing another
// entry may have one yielded twice.
func (s *Map[K, M, V]) All(key K, hash uint64) iter.Seq2[M, V] {
	return func(yield func(M, V) bool) {
		for i := s.Len(key, hash) - 1; i >= 0; i-- {
			b, ok := s.t.GetVarBytes(s.atIndex(key, hash, uint32(i)))
			if !ok {
				continue // removed meanwhile
			}
			user, err := s.users.decode(b)
			if err != nil {
				s.t.m.fail(fmt.Errorf("decoding a key of a map of state %q: %w", s.t.desc.Name, err))
				return
			}
			val, _ := s.Get(key, hash, user)
			if !yield(user, val) {
				return
			}
		}
	}
}

// Clear removes all entries of the map of key.
func (s *Map[K, M, V]) Clear(key K, hash uint64) {
	for i := s.Len(key, hash) - 1; i >= 0; i-- {
		pair, h := s.atIndex(key, hash, uint32(i))
		b, _ := s.t.GetVarBytes(pair, h)
		s.val = append(s.val[:0], b...)
		s.t.DeleteBytes(pair, h)
		s.at(key, hash, mapEntry)
		s.pair = append(s.pair, s.val...)
		s.t.DeleteBytes(s.pair, s.t.pairHash(hash, s.pair))
	}
	s.setLen(key, hash, 0)
}

// Table returns the table behind the state.
func (s *Map[K, M, V]) Table() *Table { return s.t }
