// SPDX-License-Identifier: Apache-2.0

package steps

import (
	"bytes"
	"math/bits"

	"github.com/weir-stream/weir/runtime/dataflow/columns"
)

// groups numbers the distinct keys of a batch from 0, in the order in which they appear.
type groups struct {
	// of is the group of each row; first the first row of each group; groupHashes the hash of its key.
	of          []uint32
	first       []uint32
	groupHashes []uint64
	// ints are the keys of the groups when they are integers, texts otherwise those of all rows.
	ints  []int64
	texts *columns.Vector

	// slots is a hash table of groups, counted from 1.
	slots []uint32
	shift uint
	// hashes is for rows that come without.
	hashes []uint64
}

func (g *groups) len() int { return len(g.first) }

// text is the key of a group.
func (g *groups) text(i int) []byte { return g.texts.Text(int(g.first[i])) }

func (g *groups) reset(n int) {
	g.of = g.of[:0]
	g.first, g.groupHashes, g.ints = g.first[:0], g.groupHashes[:0], g.ints[:0]
	log := max(bits.Len(uint(2*n)), 6)
	if len(g.slots) != 1<<log {
		g.slots = make([]uint32, 1<<log)
	} else {
		clear(g.slots)
	}
	g.shift = uint(64 - log)
}

// spread makes bits of a hash independent of its lower ones, which are the same for all keys of a key group.
func (g *groups) spread(h uint64) uint64 { return h * 0x9e3779b97f4a7c15 >> g.shift }

// byInt groups rows with integer keys. Different integers have different hashes.
func (g *groups) byInt(hashes []uint64, keys []int64) {
	g.reset(len(keys))
	mask := uint64(len(g.slots) - 1)
	for row, key := range keys {
		h := hashes[row]
		for at := g.spread(h); ; at = (at + 1) & mask {
			s := g.slots[at]
			if s == 0 {
				g.slots[at] = g.add(row, h)
				g.ints = append(g.ints, key)
				break
			}
			if g.groupHashes[s-1] == h {
				g.of = append(g.of, s-1)
				break
			}
		}
	}
}

// byText groups rows with keys of bytes.
func (g *groups) byText(hashes []uint64, keys *columns.Vector) {
	g.texts = keys
	g.reset(len(keys.Spans))
	mask := uint64(len(g.slots) - 1)
	for row := range keys.Spans {
		h := hashes[row]
		for at := g.spread(h); ; at = (at + 1) & mask {
			s := g.slots[at]
			if s == 0 {
				g.slots[at] = g.add(row, h)
				break
			}
			if g.groupHashes[s-1] == h && bytes.Equal(g.text(int(s-1)), keys.Text(row)) {
				g.of = append(g.of, s-1)
				break
			}
		}
	}
}

// add starts a group and returns its number, from 1.
func (g *groups) add(row int, hash uint64) uint32 {
	g.of = append(g.of, uint32(len(g.first)))
	g.first = append(g.first, uint32(row))
	g.groupHashes = append(g.groupHashes, hash)
	return uint32(len(g.first))
}
