// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"testing"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// A snapshot has the transactions that it lists, those that were committed before it, and those of a task that committed its part with a later
// snapshot and finished before it acknowledged this one.
func TestHeld_HasWhatComesBeforeTheSnapshot(t *testing.T) {
	t.Parallel()
	handle := func(ids ...string) snapshot.SubtaskState {
		l := operator.List{Name: "transactions"}
		for _, id := range ids {
			l.Entries = append(l.Entries, []byte(id))
		}
		return snapshot.SubtaskState{Lists: []operator.List{l}}
	}
	finished := func(s snapshot.SubtaskState) snapshot.SubtaskState {
		s.Finished = true
		return s
	}
	const own = "j sink 1-2-1 0 8"
	tests := map[string]struct {
		id    string
		state transactionState
		part  snapshot.SubtaskState
		want  bool
	}{
		"listed":                                {id: own, state: prepared, part: handle(own), want: true},
		"listed, finished":                      {id: own, state: prepared, part: finished(handle(own)), want: true},
		"finished with a later one":             {id: own, state: committed, part: finished(snapshot.SubtaskState{}), want: true},
		"finished, but never committed":         {id: own, state: prepared, part: finished(snapshot.SubtaskState{})},
		"committed with it, but still running":  {id: own, state: committed, part: handle()},
		"another subtask finished":              {id: "j sink 1-2-1 1 8", state: committed, part: finished(snapshot.SubtaskState{})},
		"of an earlier snapshot":                {id: "j sink 1-2-1 0 7", state: committed, part: handle(), want: true},
		"of an earlier attempt":                 {id: "j sink 1-1-9 0 3", state: committed, part: handle(), want: true},
		"of an earlier snapshot, not committed": {id: "j sink 1-2-1 0 7", state: prepared, part: handle()},
		"given up":                              {id: "j sink 1-2-1 0 7", state: aborted, part: handle()},
		"of a later snapshot":                   {id: "j sink 1-2-1 0 9", state: committed, part: finished(snapshot.SubtaskState{})},
		"of a later attempt":                    {id: "j sink 1-3-1 0 8", state: committed, part: finished(snapshot.SubtaskState{})},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t.Errorf)
			l.prepare(tc.id, "sink", []row{{key: 1, seq: 1, count: 1}})
			l.transactions[tc.id].state = tc.state
			m := &snapshot.Manifest{Checkpoint: 8, Attempt: "1-2-1", Operators: []snapshot.OperatorState{
				{Name: "sink", Parallelism: 1, Subtasks: []snapshot.SubtaskState{tc.part}},
			}}
			if got := heldBy(m).has(tc.id, l.transactions[tc.id]); got != tc.want {
				t.Errorf("has %s: %v, want %v", tc.id, got, tc.want)
			}
			_, before := l.upTo(m)["sink"]
			if before != tc.want {
				t.Errorf("its rows come before the snapshot: %v, want %v", before, tc.want)
			}
			bad := !tc.want && transactionSnapshot(tc.id) == m.Checkpoint
			if err := l.checkHeld(m); (err != nil) != bad {
				t.Errorf("checking the snapshot: %v, want an error: %v", err, bad)
			}
		})
	}
}
