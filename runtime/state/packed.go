// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// pairSize is the size of an entry with an integer key and a value of eight bytes.
const pairSize = 16

// maxPacked is how many bytes a packed entry takes at most: with more it would hardly be worth it.
const maxPacked = 12

// widths are how many bytes of key and value stand in a file for entries with an integer key and a value of eight bytes: the lowest ones, the others are zero. The zero
// value stands for entries that aren't packed. The memory that a checkpoint of often changed state writes, between records, is what it costs; most keys and counts are small.
type widths struct{ key, val uint8 }

// packed says that the entries are.
func (w widths) packed() bool { return w != widths{} }

// entry is the size of an entry of which the whole takes stride bytes.
func (w widths) entry(stride int) int {
	if w.packed() {
		return int(w.key) + int(w.val)
	}
	return stride
}

// valid says that a file may have these widths for a state.
func (w widths) valid(d Descriptor) bool {
	return !w.packed() || d.Keys == Int64Keys && d.ValueSize == 8 && w.key >= 1 && w.key <= 8 && w.val >= 1 && w.val <= 8
}

// hold says whether entries whose keys and values have been combined by or can be packed so.
func (w widths) hold(keys, vals uint64) bool {
	return bits.Len64(keys) <= 8*int(w.key) && bits.Len64(vals) <= 8*int(w.val)
}

// appendUnpacked appends the whole entries of packed ones.
func (w widths) appendUnpacked(to, b []byte) []byte {
	le := binary.LittleEndian
	key, entry := int(w.key), w.entry(0)
	keys, vals := ^uint64(0)>>(64-8*w.key), ^uint64(0)>>(64-8*w.val)
	to = grown(to, len(b)/entry*pairSize)
	for ; len(b) >= pairSize; b = b[entry:] {
		to = le.AppendUint64(to, le.Uint64(b)&keys)
		to = le.AppendUint64(to, le.Uint64(b[key:])&vals)
	}
	for ; len(b) >= entry; b = b[entry:] {
		var e [pairSize]byte
		copy(e[:], b[:key])
		copy(e[8:], b[key:entry])
		to = append(to, e[:]...)
	}
	return to
}

// packPairs is putPairs for packed entries. It returns the keys and the values, each combined by or, and whether the entries fill b; where they don't hold with these widths, what b has
// is of no use.
func packPairs(b []byte, page snapPage, w widths) (keys, vals uint64, full bool) {
	slots := unsafe.Slice((*[2]uint64)(page.ptr), page.mask+1)
	start, at, i := unsafe.Pointer(unsafe.SliceData(b)), 0, 0
	key, entry := int(w.key), w.entry(0)
	// Each entry writes over what is too much of the one before.
	for ; i < len(slots) && at+pairSize <= len(b); i++ {
		s := &slots[i]
		k, v := s[0]^emptyTag, s[1]
		binary.LittleEndian.PutUint64((*[8]byte)(unsafe.Add(start, at))[:], k)
		binary.LittleEndian.PutUint64((*[8]byte)(unsafe.Add(start, at+key))[:], v)
		used, n := uint64(0), 0
		if s[0] != 0 {
			used, n = ^uint64(0), entry
		}
		keys, vals = keys|k&used, vals|v&used
		at += n
	}
	for ; i < len(slots) && at < len(b); i++ {
		s := &slots[i]
		if s[0] == 0 {
			continue
		}
		var e [pairSize]byte
		k, v := s[0]^emptyTag, s[1]
		binary.LittleEndian.PutUint64(e[:], k)
		binary.LittleEndian.PutUint64(e[key:], v)
		copy(b[at:at+entry], e[:])
		keys, vals = keys|k, vals|v
		at += entry
	}
	return keys, vals, at == len(b)
}

// combined returns the keys and the values of whole entries, each combined by or.
func combined(b []byte) (keys, vals uint64) {
	for ; len(b) >= pairSize; b = b[pairSize:] {
		keys |= binary.LittleEndian.Uint64(b)
		vals |= binary.LittleEndian.Uint64(b[8:])
	}
	return keys, vals
}

// lens are how many bits the largest keys and values have; zero if they aren't known.
type lens struct{ key, val uint8 }

func lensOf(keys, vals uint64) lens {
	return lens{uint8(max(1, bits.Len64(keys))), uint8(max(1, bits.Len64(vals)))}
}

func (l lens) max(o lens) lens { return lens{max(l.key, o.key), max(l.val, o.val)} }

// widths are those that hold entries of these lengths, and values up to twice as large; none if that isn't worth it.
func (l lens) widths() widths {
	w := widths{(l.key + 7) / 8, min(8, (l.val+8)/8)}
	if l == (lens{}) || w.key+w.val > maxPacked {
		return widths{}
	}
	return w
}

// experience is what the snapshots of a table that were written have had for lengths. Their writers add to it, and the owner of the table looks. It only grows, so that
// state that is on the border is not written over again and again.
type experience struct{ v atomic.Uint32 }

func (e *experience) lens() lens {
	v := e.v.Load()
	return lens{uint8(v), uint8(v >> 8)}
}

func (e *experience) add(l lens) {
	for {
		old := e.v.Load()
		m := lens{uint8(old), uint8(old >> 8)}.max(l)
		if e.v.CompareAndSwap(old, uint32(m.key)|uint32(m.val)<<8) {
			return
		}
	}
}

// widths are those for the next snapshot of a table.
func (t *Table) widths() widths {
	if !t.ints || t.logged || t.stride != pairSize || t.special.ptr != nil {
		return widths{}
	}
	return t.experience.lens().widths()
}
