// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
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

// widths are those for the next snapshot of a table. It says too whether it is worth while to look how long entries are: once they were too long, they stay so.
func (t *Table) widths() (w widths, learn bool) {
	if !t.ints || t.logged || t.stride != pairSize {
		return widths{}, false
	}
	l := t.experience.lens()
	w = l.widths()
	learn = l == (lens{}) || w.packed()
	if t.special.ptr != nil {
		w = widths{}
	}
	return w, learn
}
