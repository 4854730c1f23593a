// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// Timer is a time that a key wants to be told of.
type Timer[K any] struct {
	// At is the time, in milliseconds since the Unix epoch for those who share it with watermarks and clocks.
	At int64
	// Key the timer belongs to, and its hash.
	Key  K
	Hash uint64
	// Scope tells timers of a key and time apart. It is valid until the next call.
	Scope []byte
}

// Timers is a set of timers, each with a time, a key of type K and a scope, which is a byte string. Timers lie in a table, so that they
// are part of snapshots and move with their keys when the job is rescaled; what finds the earliest is kept
// beside it, without pointers, sixteen bytes for each, and made anew at a restore. It is used from one goroutine.
type Timers[K any] struct {
	t    *Table
	keys *Keys[K]
	// heap has an entry for each timer in the table, and stale ones for timers that were deleted.
	heap []timerRef
	held int64 // bytes of heap in the account of the memory
	pair []byte
	key  []byte
}

// timerRef says when a timer is due, and where it is.
type timerRef struct {
	at   int64
	hash uint64
}

func (r timerRef) before(o timerRef) bool {
	return r.at < o.at || r.at == o.at && r.hash < o.hash
}

// OpenTimers registers the state name and returns it, with what was restored.
func OpenTimers[K any](m *Memory, name string, keys *Keys[K]) (*Timers[K], error) {
	t, err := m.Table(Descriptor{Name: name, Keys: PairKeys, Kind: TimersKind, KeyType: keys.typ})
	if err != nil {
		return nil, fmt.Errorf("opening timers: %w", err)
	}
	s := &Timers[K]{t: t, keys: keys}
	if err := s.rebuild(); err != nil {
		return nil, err
	}
	return s, nil
}

// Table returns the table behind the timers.
func (s *Timers[K]) Table() *Table { return s.t }

// Len is the number of timers.
func (s *Timers[K]) Len() int { return s.t.n }

// at makes the pair key of a timer and returns it with its hash.
func (s *Timers[K]) at(key K, hash uint64, at int64, scope []byte) ([]byte, uint64) {
	s.pair = s.keys.appendOwner(s.pair[:0], key)
	s.pair = binary.LittleEndian.AppendUint64(s.pair, uint64(at))
	s.pair = append(s.pair, scope...)
	if s.keys.err != nil {
		s.t.m.fail(s.keys.err)
	}
	return s.pair, s.t.pairHash(hash, s.pair)
}

// Register adds a timer and says whether it is new: registering one twice is the same as once.
func (s *Timers[K]) Register(key K, hash uint64, at int64, scope []byte) bool {
	pair, h := s.at(key, hash, at, scope)
	g, r, p := s.t.findBytes(pair, h)
	if p != nil {
		return false
	}
	s.t.put(slotOf{g, r, p}, pair, h, nil)
	s.push(timerRef{at, h})
	s.tidy()
	return true
}

// Delete removes a timer and says whether it was there.
func (s *Timers[K]) Delete(key K, hash uint64, at int64, scope []byte) bool {
	pair, h := s.at(key, hash, at, scope)
	if !s.t.DeleteBytes(pair, h) {
		return false
	}
	s.tidy()
	return true
}

// Next returns a time before which no timer is due, false if there is none. It is that of the earliest timer,
// or of one that was deleted.
func (s *Timers[K]) Next() (at int64, ok bool) {
	if len(s.heap) == 0 {
		return 0, false
	}
	return s.heap[0].at, true
}

// Pop removes the earliest timer and returns it, false if none is due at or before upTo. Timers come in order of time; those of the same
// time in an order that is the same after a restore.
func (s *Timers[K]) Pop(upTo int64) (Timer[K], bool) {
	for len(s.heap) > 0 && s.heap[0].at <= upTo {
		ref := s.popRef()
		pair := s.find(ref)
		if pair == nil {
			continue // deleted
		}
		s.key = append(s.key[:0], pair...)
		s.t.DeleteBytes(s.key, ref.hash)
		owner, rest := cutTimer(s.key)
		key, err := s.keys.decode(owner)
		if err != nil {
			s.t.m.fail(fmt.Errorf("decoding the key of a timer of %q: %w", s.t.desc.Name, err))
			return Timer[K]{}, false
		}
		return Timer[K]{At: ref.at, Key: key, Hash: HashBytes(owner), Scope: rest[8:]}, true
	}
	return Timer[K]{}, false
}

// cutTimer returns the key bytes of the owner of a timer, and time and scope.
func cutTimer(pair []byte) (owner, rest []byte) {
	owner, _ = pairOwner(pair)
	n, w := binary.Uvarint(pair)
	return owner, pair[w+int(n):]
}

// find returns the pair key of a timer by time and hash, nil if there is none. It is valid until the next write.
func (s *Timers[K]) find(ref timerRef) []byte {
	t, tag := s.t, bytesTag(ref.hash)
	r := t.groups[t.index(ref.hash)].at(ref.hash)
	for i := uint32(ref.hash>>slotBits) & r.mask; ; i = (i + 1) & r.mask {
		p := unsafe.Add(r.ptr, uintptr(i)*t.stride)
		switch *(*uint64)(p) {
		case 0:
			return nil
		case tag:
			pair, _ := entryAt(t.log.pages, slotRef(p))
			if _, rest := cutTimer(pair); int64(binary.LittleEndian.Uint64(rest)) == ref.at {
				return pair
			}
		}
	}
}

// staleTimers is how many entries of the heap may be stale, besides as many as there are timers.
const staleTimers = 1024

// tidy drops stale entries when there are many, and keeps the account of the memory.
func (s *Timers[K]) tidy() {
	if len(s.heap) > 2*s.t.n+staleTimers {
		s.fill()
	}
	s.account()
}

func (s *Timers[K]) account() {
	if bytes := int64(cap(s.heap)) * int64(unsafe.Sizeof(timerRef{})); bytes != s.held {
		s.t.m.bytes.Add(bytes - s.held)
		s.held = bytes
	}
}

// rebuild makes the heap of what was restored.
func (s *Timers[K]) rebuild() error {
	if bad := s.fill(); bad > 0 {
		return fmt.Errorf("opening timers %q: %d entries have no time; restore from another checkpoint or savepoint", s.t.desc.Name, bad)
	}
	s.account()
	return nil
}

// fill makes the heap of what is in the table and returns how many entries are no timers.
func (s *Timers[K]) fill() (bad int) {
	s.heap = make([]timerRef, 0, s.t.n)
	s.t.Range(func(_ int, pair, _ []byte) bool {
		if _, rest := cutTimer(pair); len(rest) >= 8 {
			s.heap = append(s.heap, timerRef{int64(binary.LittleEndian.Uint64(rest)), s.t.hashOf(pair)})
		} else {
			bad++
		}
		return true
	})
	s.order()
	return bad
}

// timerFan is the number of children of a node of the heap: four share a cache line.
const timerFan = 4

func (s *Timers[K]) order() {
	for i := len(s.heap) / timerFan; i >= 0; i-- {
		s.sink(i)
	}
}

func (s *Timers[K]) push(r timerRef) {
	s.heap = append(s.heap, r)
	i := len(s.heap) - 1
	for i > 0 {
		up := (i - 1) / timerFan
		if !r.before(s.heap[up]) {
			break
		}
		s.heap[i] = s.heap[up]
		i = up
	}
	s.heap[i] = r
}

func (s *Timers[K]) popRef() timerRef {
	first, last := s.heap[0], len(s.heap)-1
	s.heap[0] = s.heap[last]
	s.heap = s.heap[:last]
	s.sink(0)
	return first
}

// sink moves entry i down to where it belongs.
func (s *Timers[K]) sink(i int) {
	h := s.heap
	if i >= len(h) {
		return
	}
	r := h[i]
	for {
		child := timerFan*i + 1
		if child >= len(h) {
			break
		}
		least := child
		for c := child + 1; c < min(child+timerFan, len(h)); c++ {
			if h[c].before(h[least]) {
				least = c
			}
		}
		if !h[least].before(r) {
			break
		}
		h[i] = h[least]
		i = least
	}
	h[i] = r
}
