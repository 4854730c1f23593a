// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

func headOf(committed ...int64) snapshot.Head {
	h := snapshot.Head{Checkpoints: []snapshot.CompletedCheckpoint{
		{ID: 3, Path: "c/3/", ManifestCRC32C: 33}, {ID: 4, Path: "c/4/", ManifestCRC32C: 44}, {ID: 6, Path: "c/6/", ManifestCRC32C: 66},
	}}
	h.Operations = []snapshot.Operation{
		{ID: "save", Type: snapshot.OperationSavepoint, Outcome: snapshot.OutcomeDone, Checkpoint: 7, Path: "s/7/"},
		{ID: "stop", Type: snapshot.OperationStop, Outcome: snapshot.OutcomeDone, Checkpoint: 5, Path: "s/5/", Stop: record.StopFreeze},
	}
	for i := range h.Checkpoints {
		for _, id := range committed {
			h.Checkpoints[i].SinksMayHaveCommitted = h.Checkpoints[i].SinksMayHaveCommitted || h.Checkpoints[i].ID == id
		}
	}
	for _, id := range committed {
		h.Operations[1].SinksMayHaveCommitted = h.Operations[1].SinksMayHaveCommitted || id == 5
	}
	return h
}

func TestHead_FallBack(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		committed []int64
		damaged   map[int64]string
		want      int64
		leftOut   []int64
		refusal   string
	}{
		"nothing damaged":                        {want: 6},
		"the newest":                             {damaged: map[int64]string{6: "x"}, want: 5, leftOut: []int64{6}},
		"the newest two, one a stop's savepoint": {damaged: map[int64]string{6: "x", 5: "y"}, want: 4, leftOut: []int64{6, 5}},
		"an older one doesn't matter":            {damaged: map[int64]string{4: "x"}, want: 6},
		"it didn't commit, an older one did":     {committed: []int64{4}, damaged: map[int64]string{6: "x"}, want: 5, leftOut: []int64{6}},
		"a sink can have committed with it":      {committed: []int64{6}, damaged: map[int64]string{6: "x"}, refusal: "checkpoint 6 can't be left out"},
		"with one behind it":                     {committed: []int64{5}, damaged: map[int64]string{6: "x", 5: "x"}, refusal: "savepoint 5 can't be left out"},
		"all of them":                            {damaged: map[int64]string{6: "x", 5: "x", 4: "x", 3: "x"}, refusal: "no older snapshot is left"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := headOf(tc.committed...)
			n, out, err := h.FallBack(tc.damaged)
			if tc.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), tc.refusal) {
					t.Fatalf("got %v, want an error with %q", err, tc.refusal)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var ids []int64
			for _, l := range out {
				ids = append(ids, l.Checkpoint)
			}
			if n.ID != tc.want || !cmp.Equal(ids, tc.leftOut) {
				t.Errorf("got %d leaving out %v, want %d and %v", n.ID, ids, tc.want, tc.leftOut)
			}
			h.LeaveOut(out)
			if newest, _ := h.Newest(); newest != n {
				t.Errorf("the head then names %+v as the newest, want %+v", newest, n)
			}
		})
	}
}

// What a source has given up can't be read again, and what was committed with a checkpoint that is subsumed since would be written again.
func TestHead_FallBackRefusesBehindEffects(t *testing.T) {
	t.Parallel()
	newest := map[int64]string{6: "x"}
	tests := map[string]struct {
		change  func(*snapshot.Head)
		damaged map[int64]string
		refusal string
	}{
		"a source can have trimmed with it":   {func(h *snapshot.Head) { h.Checkpoints[2].SourcesMayHaveTrimmed = true }, newest, "checkpoint 6 can't be left out, although it is damaged: a source"},
		"with a savepoint behind it":          {func(h *snapshot.Head) { h.Operations[1].SourcesMayHaveTrimmed = true }, map[int64]string{6: "x", 5: "y"}, "savepoint 5 can't be left out"},
		"with an older one":                   {func(h *snapshot.Head) { h.Checkpoints[0].SourcesMayHaveTrimmed = true }, newest, ""},
		"a subsumed one committed in between": {func(h *snapshot.Head) { h.CommittedUpTo = 5; h.Operations = nil }, newest, "can have committed with checkpoint 5"},
		"a subsumed one trimmed in between":   {func(h *snapshot.Head) { h.TrimmedUpTo = 5; h.Operations = nil }, newest, "given up its input up to checkpoint 5"},
		"a subsumed one before":               {func(h *snapshot.Head) { h.CommittedUpTo, h.TrimmedUpTo = 5, 5 }, newest, ""},
		"nothing damaged":                     {func(h *snapshot.Head) { h.CommittedUpTo, h.TrimmedUpTo = 9, 9 }, nil, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := headOf()
			tc.change(&h)
			_, _, err := h.FallBack(tc.damaged)
			if tc.refusal == "" && err != nil || tc.refusal != "" && (err == nil || !strings.Contains(err.Error(), tc.refusal)) {
				t.Errorf("got %v, want %q", err, tc.refusal)
			}
		})
	}
}

func TestHead_LeaveOutKeepsTheOperation(t *testing.T) {
	t.Parallel()
	h := headOf()
	h.LeaveOut([]snapshot.LeftOut{{Checkpoint: 5, Reason: "a file is gone"}, {Checkpoint: 7, Reason: "not a stop"}})
	if o := h.Operations[1]; o.Outcome != snapshot.OutcomeFailed || !strings.Contains(o.Error, "a file is gone") || o.Path == "" {
		t.Errorf("the stop is now %+v", o)
	}
	if o := h.Operations[0]; o.Outcome != snapshot.OutcomeDone {
		t.Errorf("a savepoint that stopped nothing is now %+v", o)
	}
	if len(h.Checkpoints) != 3 {
		t.Errorf("%d checkpoints are left, want 3", len(h.Checkpoints))
	}
}
