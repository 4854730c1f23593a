// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"unsafe"
)

// PutVarInt64 sets the value of key. The state has values of variable size.
// A value too large to store is reported by [Memory.Err].
func (t *Table) PutVarInt64(key int64, hash uint64, value []byte) {
	t.want(t.ints && t.logged, "PutVarInt64")
	g, r, p := t.findInt64(key, hash)
	if p != nil && t.replace(slotOf{g, r, p}, value) {
		return
	}
	var k [8]byte
	binary.LittleEndian.PutUint64(k[:], uint64(key))
	t.put(slotOf{g, r, p}, k[:], hash, value)
}

// PutVarBytes sets the value of key. The state has values of variable size.
// A value too large to store is reported by [Memory.Err].
func (t *Table) PutVarBytes(key []byte, hash uint64, value []byte) {
	t.want(!t.ints && t.desc.ValueSize == 0, "PutVarBytes")
	g, r, p := t.findBytes(key, hash)
	if p != nil && t.replace(slotOf{g, r, p}, value) {
		return
	}
	t.put(slotOf{g, r, p}, key, hash, value)
}

// replace writes the value where the old one is, if that is possible.
func (t *Table) replace(at slotOf, value []byte) bool {
	ref := slotRef(at.p)
	if !t.overwrites(ref, len(value)) {
		return false
	}
	t.writable(at.g, at.r, at.p) // the page counts as changed with its values
	t.overwrite(ref, value)
	return true
}

// slotOf says where a key is, as the find methods return it.
type slotOf struct {
	g *group
	r *pageRef
	p unsafe.Pointer
}

// put appends an entry and makes the slot of the key refer to it.
func (t *Table) put(at slotOf, key []byte, hash uint64, value []byte) {
	ref := t.appendEntry(key, value)
	if ref == 0 {
		return
	}
	switch {
	case at.p != nil:
		old := slotRef(at.p)
		setSlotRef(t.writable(at.g, at.r, at.p), ref)
		t.kill(old)
	case at.g == nil:
		slot, _ := t.refSpecial(hash)
		setSlotRef(slot, ref)
	case t.ints:
		setSlotRef(t.insert(at.g, uint64(int64(binary.LittleEndian.Uint64(key))^emptyKey), hash), ref)
	default:
		setSlotRef(t.insert(at.g, bytesTag(hash), hash), ref)
	}
	t.compactPending()
}

// GetVarInt64 returns the value of key and whether it is there. The slice must not be changed.
func (t *Table) GetVarInt64(key int64, hash uint64) ([]byte, bool) {
	t.want(t.ints && t.logged, "GetVarInt64")
	_, _, p := t.findInt64(key, hash)
	return t.varValue(p)
}

// GetVarBytes returns the value of key and whether it is there. The slice must not be changed.
func (t *Table) GetVarBytes(key []byte, hash uint64) ([]byte, bool) {
	t.want(!t.ints && t.desc.ValueSize == 0, "GetVarBytes")
	_, _, p := t.findBytes(key, hash)
	return t.varValue(p)
}

func (t *Table) varValue(p unsafe.Pointer) ([]byte, bool) {
	if p == nil {
		return nil, false
	}
	_, val := entryAt(t.log.pages, slotRef(p))
	return val, true
}
