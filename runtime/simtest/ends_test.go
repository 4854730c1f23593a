// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"errors"
	"testing"

	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// A coordinator that gives up or is fenced is not the end of its job: another one goes on.
func TestEnded_OnlyWhenTheJobIs(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		exit job.Exit
		want bool
	}{
		"finished":                   {exit: job.Exit{State: job.StateFinished}, want: true},
		"canceled":                   {exit: job.Exit{State: job.StateCanceled}, want: true},
		"stopped with a savepoint":   {exit: job.Exit{State: job.StateSuspended}, want: true},
		"storage did not answer":     {exit: job.Exit{State: job.StateSuspended, Err: errors.New("giving up after 2s")}},
		"another one owns the job":   {exit: job.Exit{State: job.StateSuspended, Fenced: true, Err: snapshot.ErrFenced}},
		"failed":                     {exit: job.Exit{State: job.StateFailed, Err: errors.New("more than 0 consecutive checkpoints failed")}},
		"finished, and then trouble": {exit: job.Exit{State: job.StateFinished, Err: errors.New("the savepoint failed")}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := ended(tc.exit); got != tc.want {
				t.Errorf("ended: %v, want %v", got, tc.want)
			}
		})
	}
}

// Nothing may be in the directory of a job before its first head.
func TestCheckUntouched_FindsWhatIsThereBeforeTheHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t.Context(), 1, Options{})
	if w.line.checkUntouched(); w.failure != nil {
		t.Fatalf("nothing is there: %v", w.failure)
	}
	if err := w.store.create(w.line.headName(), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if w.line.checkUntouched(); w.failure != nil {
		t.Fatalf("the head is there: %v", w.failure)
	}
	if err := w.store.create("jobs/j/shared/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if w.line.checkUntouched(); w.failure == nil {
		t.Error("an object that is older than the head wasn't found")
	}
}
