// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weir-stream/weir/runtime/snapshot"
)

// held is what a snapshot says of the transactions of the sinks.
type held struct {
	snapshot int64
	attempt  string
	// listed are the handles in it.
	listed map[string]bool
	// finished are the subtasks that it has as finished and holds nothing of. Such a task said that it had finished before it acknowledged the
	// snapshot: it was at the end of its data, had taken its part after that, and committed it with another snapshot before it said so.
	finished map[writer]bool
}

// writer is a subtask of a sink.
type writer struct {
	sink    string
	subtask int
}

func heldBy(m *snapshot.Manifest) *held {
	h := &held{snapshot: m.Checkpoint, attempt: m.Attempt, listed: map[string]bool{}, finished: map[writer]bool{}}
	for _, o := range m.Operators {
		for _, s := range o.Subtasks {
			if s.Finished && len(s.Lists) == 0 {
				h.finished[writer{o.Name, s.Index}] = true
			}
			for _, x := range s.Lists {
				for _, e := range x.Entries {
					h.listed[string(e)] = true
				}
			}
		}
	}
	return h
}

// has says whether the rows of a transaction come before the snapshot: it lists its handle, or the transaction was committed with an earlier
// snapshot, by its attempt or an earlier one, or with a later one by a task that it has as finished.
func (h *held) has(id string, t *transaction) bool {
	switch {
	case h.listed[id]:
		return true
	case t.state != committed || olderAttempt(h.attempt, transactionAttempt(id)):
		return false
	default:
		return t.snapshot < h.snapshot || t.snapshot == h.snapshot && h.finished[writer{t.sink, t.subtask}]
	}
}

// upTo returns what had become visible, or was prepared, when a savepoint was taken.
func (l *ledger) upTo(m *snapshot.Manifest) map[string]map[int64]*visible {
	h := heldBy(m)
	past := &ledger{sinks: map[string]map[int64]*visible{}, lax: true}
	for _, id := range slices.Sorted(maps.Keys(l.transactions)) {
		t := l.transactions[id]
		if !h.has(id, t) {
			continue
		}
		for _, r := range t.rows {
			past.show(id, t.sink, r)
		}
	}
	return past.sinks
}

// checkHeld finds transactions that were prepared for a snapshot that is complete now, and which it doesn't hold: whoever restores it would lose
// their rows. It needn't hold what a task has committed already that it has as finished: it was committed before the head named the snapshot.
func (l *ledger) checkHeld(m *snapshot.Manifest) error {
	h := heldBy(m)
	for _, id := range l.prepared[m.Checkpoint] {
		if t := l.transactions[id]; !h.has(id, t) {
			return fmt.Errorf("snapshot %d is complete without transaction %s, which was prepared for it and isn't committed", m.Checkpoint, id)
		}
	}
	return nil
}
