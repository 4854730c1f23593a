// SPDX-License-Identifier: Apache-2.0

package state

import "unsafe"

// Sum adds deltas[i] to the value of keys[i], for all i in order; nil deltas stand for ones. A key that is absent
// counts as zero. When out is not nil, out[i] is the sum after that addition. For integer keys of eight bytes
// this is the fastest there is.
func Sum[K any](v *Value[K, int64], keys []K, hashes []uint64, deltas, out []int64) {
	hashes = hashes[:len(keys)]
	if v.keys.size == 8 && v.coder == nil {
		v.t.AddInt64s(v.keys.int64s(keys), hashes, deltas, out)
		return
	}
	delta := int64(1)
	for i, key := range keys {
		if deltas != nil {
			delta = deltas[i]
		}
		sum := v.add(key, hashes[i], delta)
		if out != nil {
			out[i] = sum
		}
	}
}

// add returns the value of key plus delta, for values of type int64.
func (v *Value[K, V]) add(key K, hash uint64, delta int64) int64 {
	if v.coder == nil {
		p, _ := v.Ref(key, hash)
		n := (*int64)(unsafe.Pointer(p))
		*n += delta
		return *n
	}
	val, _ := v.decoded(key, hash)
	*(*int64)(unsafe.Pointer(&val)) += delta
	v.Set(key, hash, val)
	return *(*int64)(unsafe.Pointer(&val))
}

// AddAll is Add for a batch: it combines vals[i] with the value of keys[i], for all i in order. When out is not nil,
// out[i] is the result.
func (r *Reducing[K, V]) AddAll(keys []K, hashes []uint64, vals, out []V) {
	hashes, vals = hashes[:len(keys)], vals[:len(keys)]
	if r.coder == nil && r.keys.size == 8 {
		r.addAllInt64(r.keys.int64s(keys), hashes, vals, out)
		return
	}
	for i, key := range keys {
		val := r.Add(key, hashes[i], vals[i])
		if out != nil {
			out[i] = val
		}
	}
}

func (r *Reducing[K, V]) addAllInt64(keys []int64, hashes []uint64, vals, out []V) {
	for start := 0; start < len(keys); start += addChunk {
		end := min(start+addChunk, len(keys))
		r.t.prefetch(hashes[start:end])
		for i := start; i < end; i++ {
			p, created := r.t.RefInt64(keys[i], hashes[i])
			val := vals[i]
			if !created {
				val = r.reduce(*(*V)(p), val)
			}
			*(*V)(p) = val
			if out != nil {
				out[i] = val
			}
		}
	}
}

// int64s returns keys of eight bytes as what they are in memory.
func (k *Keys[K]) int64s(keys []K) []int64 {
	return unsafe.Slice((*int64)(unsafe.Pointer(unsafe.SliceData(keys))), len(keys))
}
