// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"unsafe"
)

// bytesTag is the tag of a byte key: its hash, but never 0, which stands for an empty slot.
func bytesTag(hash uint64) uint64 {
	if hash == 0 {
		return 1
	}
	return hash
}

// RefBytes returns the value of key for reading and writing. A key that is absent is added with a value of zeroes.
// The state has values of a fixed size.
func (t *Table) RefBytes(key []byte, hash uint64) (val unsafe.Pointer, created bool) {
	inline, tag := inlineKey(key), bytesTag(hash)
	g := &t.groups[t.index(hash)]
	r := g.at(hash)
	i := uint32(hash>>slotBits) & r.mask
	for {
		p := unsafe.Add(r.ptr, uintptr(i)*t.stride)
		w := *(*uint64)(p)
		if w == tag && (inline != 0 && slotRef(p) == inline || inline == 0 && t.holds(p, key, 0)) {
			if r.epoch != t.epoch {
				t.unseal(g, r)
				p = unsafe.Add(r.ptr, uintptr(i)*t.stride)
			}
			return unsafe.Add(p, t.valOff), false
		}
		if w == 0 {
			return unsafe.Add(t.addBytes(g, key, hash, inline), t.valOff), true
		}
		i = (i + 1) & r.mask
	}
}

func (t *Table) addBytes(g *group, key []byte, hash, inline uint64) unsafe.Pointer {
	t.want(!t.ints && t.desc.ValueSize > 0, "RefBytes")
	ref := inline
	if ref == 0 {
		ref = t.appendEntry(key, nil)
		t.compactPending()
	}
	p := t.insert(g, bytesTag(hash), hash)
	setSlotRef(p, ref)
	return p
}

// GetBytes returns the value of key for reading, or nil when the key is absent.
func (t *Table) GetBytes(key []byte, hash uint64) unsafe.Pointer {
	t.want(!t.ints && t.desc.ValueSize > 0, "GetBytes")
	if _, _, p := t.findBytes(key, hash); p != nil {
		return unsafe.Add(p, t.valOff)
	}
	return nil
}

func (t *Table) findBytes(key []byte, hash uint64) (*group, *pageRef, unsafe.Pointer) {
	return t.probeBytes(key, hash, inlineKey(key))
}

// probeBytes returns the slot of key, nil when it is absent, and where it is. inline is inlineKey(key).
func (t *Table) probeBytes(key []byte, hash, inline uint64) (*group, *pageRef, unsafe.Pointer) {
	tag := bytesTag(hash)
	g := &t.groups[t.index(hash)]
	r := g.at(hash)
	i := uint32(hash>>slotBits) & r.mask
	for {
		p := unsafe.Add(r.ptr, uintptr(i)*t.stride)
		w := *(*uint64)(p)
		if w == tag && t.holds(p, key, inline) {
			return g, r, p
		}
		if w == 0 {
			return g, r, nil
		}
		i = (i + 1) & r.mask
	}
}

// holds says whether slot p, whose tag fits, is that of key.
func (t *Table) holds(p unsafe.Pointer, key []byte, inline uint64) bool {
	ref := slotRef(p)
	if ref&inlineRef != 0 || inline != 0 && t.desc.ValueSize != 0 {
		return ref == inline
	}
	have, _ := entryAt(t.log.pages, ref)
	return bytes.Equal(have, key)
}

// DeleteBytes removes key and says whether it was there.
func (t *Table) DeleteBytes(key []byte, hash uint64) bool {
	g, r, p := t.findBytes(key, hash)
	if p == nil {
		return false
	}
	ref := slotRef(p)
	t.remove(g, r, p)
	t.kill(ref)
	t.compactPending()
	return true
}

// prefetchLogFrom is how large the log of a state with values of a fixed size is when its entries, which are keys, are worth prefetching.
const prefetchLogFrom = 8 << 20

// PrefetchBytes touches the slots of keys, and what they refer to, so that the cache misses of a batch overlap. It changes nothing.
// It pays only for states far larger than the caches, whose keys are used evenly.
func (t *Table) PrefetchBytes(hashes []uint64) {
	t.prefetch(hashes)
	if t.desc.ValueSize == 0 || t.log.total >= prefetchLogFrom {
		t.prefetchLog(hashes)
	}
}

// prefetchLog touches the values in slots of keys, and the entries that the slots refer to: their first cache lines. It looks for the slot by its tag, which
// is that of another key very rarely.
func (t *Table) prefetchLog(hashes []uint64) {
	sum, last := byte(0), t.stride-1
	for _, h := range hashes {
		tag := bytesTag(h)
		r := t.groups[t.index(h)].at(h)
		i := uint32(h>>slotBits) & r.mask
		p := unsafe.Add(r.ptr, uintptr(i)*t.stride)
		w := *(*uint64)(p)
		for w != tag && w != 0 {
			i = (i + 1) & r.mask
			p = unsafe.Add(r.ptr, uintptr(i)*t.stride)
			w = *(*uint64)(p)
		}
		ref := slotRef(p)
		if w == 0 || ref&inlineRef != 0 {
			continue
		}
		buf := t.log.pages[ref>>32-1].buf
		off := int(uint32(ref))
		sum += buf[off] + buf[min(off+64, len(buf)-1)] + buf[min(off+128, len(buf)-1)]
		sum += *(*byte)(unsafe.Add(p, last)) + *(*byte)(unsafe.Add(p, last/2))
	}
	t.sink += uint64(sum)
}
