// SPDX-License-Identifier: Apache-2.0

package graph

import "github.com/weir-stream/weir/runtime/state"

// KeyGroup returns the key group of a key hash.
func KeyGroup(hash uint64, maxParallelism int) int { return int(hash % uint64(maxParallelism)) }

// KeyGroupRange returns the first and last key group of subtask i of p:
// [⌈i·max/p⌉, ⌊((i+1)·max−1)/p⌋].
func KeyGroupRange(i, p, maxParallelism int) (first, last int) {
	return state.GroupRange(i, p, maxParallelism)
}

// Router finds the subtask that owns a key hash. It is immutable.
type Router struct {
	maxParallelism uint64
	mask           uint64 // maxParallelism-1 if that is a power of two, else 0
	owner          []uint16
}

// NewRouter returns the router of a consumer with p subtasks.
func NewRouter(p, maxParallelism int) *Router {
	r := &Router{maxParallelism: uint64(maxParallelism), owner: make([]uint16, maxParallelism)}
	if maxParallelism&(maxParallelism-1) == 0 {
		r.mask = r.maxParallelism - 1
	}
	for i := range p {
		first, last := KeyGroupRange(i, p, maxParallelism)
		for g := first; g <= last; g++ {
			r.owner[g] = uint16(i)
		}
	}
	return r
}

// AppendOwners appends the owner of every hash to dst.
func (r *Router) AppendOwners(dst []uint16, hashes []uint64) []uint16 {
	if r.mask != 0 {
		owner := r.owner
		for _, h := range hashes {
			dst = append(dst, owner[h&r.mask])
		}
		return dst
	}
	for _, h := range hashes {
		dst = append(dst, r.owner[h%r.maxParallelism])
	}
	return dst
}
