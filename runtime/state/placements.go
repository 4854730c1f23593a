// SPDX-License-Identifier: Apache-2.0

package state

import (
	"cmp"
	"slices"
	"sync"
)

// maxPlacements bounds how many placements are kept. Notifications may be lost, so it is a bound of its own.
const maxPlacements = 4

// placements holds what is known of the incremental snapshots that were written: of the last one known to be complete and of those
// of which that isn't known.
type placements struct {
	memory *Memory

	mu     sync.Mutex
	closed bool         // guarded by mu
	list   []*placement // guarded by mu; in order of checkpoint
	// complete is the newest snapshot known to be complete. Guarded by mu.
	complete int64
}

// SealIncremental is [Memory.Seal] for a snapshot with the given id that leaves out what the files of the complete snapshot base hold
// already. If base is 0, or nothing is known of it here, everything is written. The id must be higher than those before.
func (m *Memory) SealIncremental(checkpoint, base int64) *Snapshot {
	s := m.seal(0)
	s.checkpoint = checkpoint
	if base > 0 {
		s.base = m.placements.use(base)
	}
	return s
}

// Completed tells that the snapshot with this id is complete: no older one will be a base again, but for snapshots
// that are on their way. Safe for use by any goroutine.
func (m *Memory) Completed(checkpoint int64) { m.placements.completed(checkpoint) }

// Aborted tells that the snapshot with this id was given up: it will not be a base. Safe for use by any goroutine.
func (m *Memory) Aborted(checkpoint int64) {
	m.placements.mu.Lock()
	defer m.placements.mu.Unlock()
	m.placements.drop(func(l *placement) bool { return l.checkpoint == checkpoint })
}

// use returns the placement of a base. Since bases ascend, older placements are of no use any more.
func (k *placements) use(base int64) *placement {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.complete = max(k.complete, base)
	k.drop(func(l *placement) bool { return l.checkpoint < base })
	if len(k.list) > 0 && k.list[0].checkpoint == base {
		return k.list[0]
	}
	return nil
}

// completed lets go of what is older than the snapshot that was complete before: a trigger that is on its way may still name that one.
func (k *placements) completed(checkpoint int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if checkpoint <= k.complete {
		return
	}
	before := k.complete
	k.complete = checkpoint
	k.drop(func(l *placement) bool { return l.checkpoint < before })
}

// add keeps the placement of a snapshot that was written. When there are too many, the oldest goes, but not the one known to be complete.
func (k *placements) add(l *placement) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	k.memory.beside(l.cost())
	k.list = append(k.list, l)
	slices.SortFunc(k.list, func(a, b *placement) int { return cmp.Compare(a.checkpoint, b.checkpoint) })
	if len(k.list) > maxPlacements {
		oldest := k.list[0]
		if oldest.checkpoint == k.complete {
			oldest = k.list[1]
		}
		k.drop(func(l *placement) bool { return l == oldest })
	}
}

// drop lets go of placements. mu is held.
func (k *placements) drop(which func(*placement) bool) {
	k.list = slices.DeleteFunc(k.list, func(l *placement) bool {
		if !which(l) {
			return false
		}
		k.memory.beside(-l.cost())
		return true
	})
}

// close lets go of everything, for good.
func (k *placements) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.drop(func(*placement) bool { return true })
}
