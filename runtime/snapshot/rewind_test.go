// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/snapshot"
)

func TestHead_RewindTo(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change  func(*snapshot.Head)
		path    string
		dropped []int64
		newest  int64
		// committed, trimmed or outlived make it unsafe; unknown says that the head doesn't name it.
		committed, trimmed int64
		unknown, outlived  bool
	}{
		"the newest":                         {path: "c/6/", newest: 6},
		"an older checkpoint":                {path: "c/4", dropped: []int64{6}, newest: 4},
		"by its manifest":                    {path: "c/3/_metadata", dropped: []int64{4, 6}, newest: 3},
		"the savepoint of a stop":            {path: "s/5/", dropped: []int64{6}, newest: 5},
		"a savepoint newer than all":         {path: "s/7/", newest: 7},
		"a checkpoint that is subsumed":      {path: "c/2/", unknown: true},
		"somebody else's":                    {path: "other/6/", unknown: true},
		"a sink committed with the newest":   {change: func(h *snapshot.Head) { h.Checkpoints[2].SinksMayHaveCommitted = true }, path: "c/4/", committed: 6},
		"with that of a stop":                {change: func(h *snapshot.Head) { h.Operations[1].SinksMayHaveCommitted = true }, path: "c/4/", committed: 5},
		"with one that is subsumed":          {change: func(h *snapshot.Head) { h.CommittedUpTo = 5 }, path: "c/4/", committed: 5},
		"with it":                            {change: func(h *snapshot.Head) { h.Checkpoints[1].SinksMayHaveCommitted = true }, path: "c/4/", dropped: []int64{6}, newest: 4},
		"a source trimmed with the newest":   {change: func(h *snapshot.Head) { h.Checkpoints[2].SourcesMayHaveTrimmed = true }, path: "s/5/", trimmed: 6},
		"a source trimmed with a subsumed":   {change: func(h *snapshot.Head) { h.TrimmedUpTo = 6 }, path: "s/5/", trimmed: 6},
		"a savepoint that was found damaged": {change: func(h *snapshot.Head) { h.Operations[1].Outcome = snapshot.OutcomeFailed }, path: "s/5/", unknown: true},
		"forward to one left behind":         {change: func(h *snapshot.Head) { h.Operations[1].Role = snapshot.RoleLeftBehind }, path: "s/5/", dropped: []int64{6}, newest: 5},
		"one whose transactions are gone":    {change: func(h *snapshot.Head) { h.Outlive(6) }, path: "s/7/", outlived: true},
		"after a restore from it":            {change: func(h *snapshot.Head) { h.Outlive(7) }, path: "s/7/", newest: 7},
		"the savepoint of a stop, restored":  {change: func(h *snapshot.Head) { h.Outlive(4) }, path: "s/5/", dropped: []int64{6}, newest: 5},
		"a checkpoint after an empty start":  {change: func(h *snapshot.Head) { h.Outlive(0) }, path: "c/4/", dropped: []int64{6}, newest: 4},
		"behind one gone back to": {
			change: func(h *snapshot.Head) { h.Operations[0].Role = snapshot.RoleRewound }, path: "s/5/", dropped: []int64{6}, newest: 5,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := headOf()
			if tc.change != nil {
				tc.change(&h)
			}
			before := h.Clone()
			dropped, err := h.RewindTo(tc.path, true)
			if tc.unknown || tc.outlived || tc.committed > 0 || tc.trimmed > 0 {
				unsafe, isUnsafe := errors.AsType[*snapshot.UnsafeRewindError](err)
				_, isUnknown := errors.AsType[*snapshot.NotNamedError](err)
				if isUnknown != tc.unknown || !tc.unknown && (!isUnsafe || unsafe.Committed != tc.committed || unsafe.Trimmed != tc.trimmed || unsafe.Outlived != tc.outlived) {
					t.Errorf("got %v", err)
				}
				if d := cmp.Diff(before, h); d != "" {
					t.Errorf("refused, it changed the head all the same:\n%s", d)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var ids []int64
			for _, c := range dropped {
				ids = append(ids, c.ID)
			}
			n, _ := h.Newest()
			if !cmp.Equal(ids, tc.dropped) || n.ID != tc.newest || len(h.Checkpoints)+len(ids) != 3 {
				t.Errorf("dropped %v, the newest is %d; want %v and %d", ids, n.ID, tc.dropped, tc.newest)
			}
		})
	}
}

// A savepoint that stopped nothing is what a recovery starts from once the job went back to it, and nobody goes back behind it: its restore has committed what
// the sinks had prepared.
func TestHead_RewindToAPlainSavepointIsKept(t *testing.T) {
	t.Parallel()
	h := headOf()
	if _, err := h.RewindTo("s/7/", true); err != nil {
		t.Fatal(err)
	}
	for range 2 * snapshot.MaxHeadOperations {
		h.SetOperation(snapshot.Operation{ID: string(rune('a'+len(h.Operations))) + "-op", Type: snapshot.OperationSavepoint, Outcome: snapshot.OutcomeFailed})
	}
	if n, ok := h.Newest(); !ok || n.ID != 7 || n.Path != "s/7/" {
		t.Errorf("the newest is %+v", n)
	}
	if h.StoppedWith(7) {
		t.Error("the job is said to have stopped with it")
	}
	if _, _, err := h.FallBack(map[int64]string{7: "x"}); err == nil {
		t.Error("it falls back behind what its restore has committed")
	}
	if _, err := h.RewindTo("c/6/", true); err == nil {
		t.Error("it goes back behind what its restore has committed")
	}
}

// Without sinks that commit, nothing stands in the way of going back further.
func TestHead_RewindBehindAPlainSavepointOfSinksThatDoNotCommit(t *testing.T) {
	t.Parallel()
	h := headOf()
	if _, err := h.RewindTo("s/7/", false); err != nil {
		t.Fatal(err)
	}
	if n, ok := h.Newest(); !ok || n.ID != 7 {
		t.Errorf("the newest is %+v", n)
	}
	clone := h.Clone()
	if _, _, err := clone.FallBack(map[int64]string{7: "x"}); err != nil {
		t.Errorf("falling back: %v", err)
	}
	if _, err := h.RewindTo("c/6/", false); err != nil {
		t.Errorf("going back: %v", err)
	}
	if n, ok := h.Newest(); !ok || n.ID != 6 {
		t.Errorf("the newest is %+v", n)
	}
}

func TestHead_RememberKeepsWhatIsNotNamedAnyMore(t *testing.T) {
	t.Parallel()
	before := headOf(6)
	before.Checkpoints[2].SourcesMayHaveTrimmed = true
	next := before.Clone()
	next.Checkpoints = []snapshot.CompletedCheckpoint{{ID: 8, Path: "c/8/"}} // of a version without such sinks and sources
	next.Remember(&before)
	if next.CommittedUpTo != 6 || next.TrimmedUpTo != 6 {
		t.Errorf("it remembers %d and %d, want 6", next.CommittedUpTo, next.TrimmedUpTo)
	}
	last := next.Clone()
	last.Checkpoints = append(last.Checkpoints, snapshot.CompletedCheckpoint{ID: 9, SinksMayHaveCommitted: true, SourcesMayHaveTrimmed: true})
	last.Remember(&next)
	if last.CommittedUpTo != 0 || last.TrimmedUpTo != 0 {
		t.Errorf("it remembers %d and %d beside what it names", last.CommittedUpTo, last.TrimmedUpTo)
	}
}

// After the checkpoints were deleted on request, an older savepoint isn't the state of the job; the one that it was canceled with is.
func TestHead_LeaveBehind(t *testing.T) {
	t.Parallel()
	h := headOf()
	deleted := h.Checkpoints
	h.Checkpoints = nil
	h.LeaveBehind(deleted)
	if n, ok := h.Newest(); ok {
		t.Errorf("the newest is %+v: it is older than what was deleted", n)
	}
	h = headOf()
	h.SetOperation(snapshot.Operation{ID: "end", Type: snapshot.OperationStop, Outcome: snapshot.OutcomeDone, Checkpoint: 8, Path: "s/8/"})
	h.Checkpoints = nil
	h.LeaveBehind(deleted)
	if n, ok := h.Newest(); !ok || n.ID != 8 {
		t.Errorf("the newest is %+v, want the savepoint of the end", n)
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a/b": "a/b/", "a/b/": "a/b/", "a/b/_metadata": "a/b/", "/x/_metadata/": "/x/", "a/not_metadata": "a/not_metadata/"} {
		if got := snapshot.Directory(in); got != want {
			t.Errorf("Directory(%q) is %q, want %q", in, got, want)
		}
	}
}
