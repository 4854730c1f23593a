// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"errors"
	"testing"

	"github.com/weir-stream/weir/runtime/record"
)

// A snapshot taken before the end of the data holds the task as it ran. The coordinator takes a task that has finished for
// finished in every snapshot that still waits for it, so the task must not finish before it has answered that one.
func TestCore_FinishesAfterOlderSnapshots(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(h *harness){
		"acknowledged": func(h *harness) {
			h.finishAsync(1, nil)
			h.want("ack 1")
		},
		"declined": func(h *harness) {
			h.finishAsync(1, errors.New("full"))
			h.want("decline 1 AsyncFailure full")
		},
		"given up": func(h *harness) {
			h.must(h.core.Aborted(1))
			h.want("cancel async 1; aborted 1; notified 1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, 1, nil)
			for ch := range 2 {
				h.must(h.core.HandleElement(ch, barrierOf(1, record.StopNone)))
			}
			for ch := range 2 {
				h.must(h.core.HandleElement(ch, record.End()))
			}
			h.must(h.core.Trigger(record.Barrier{Checkpoint: 2}))
			h.finishAsync(2, nil)
			h.must(h.core.Trigger(record.Barrier{Checkpoint: 3})) // taken after the end: it needn't be waited for
			h.must(h.core.Complete(t.Context(), 2, record.StopNone))
			h.take()
			if h.core.Finished() {
				t.Fatal("the task finished while snapshot 1 is being written")
			}
			end(h)
			if !h.core.Finished() {
				t.Error("the task doesn't finish")
			}
		})
	}
}

// The same for a task that is stopped: it stays frozen until then.
func TestCore_StopsAfterOlderSnapshots(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil)
	for id, stop := range []record.StopMode{record.StopNone, record.StopFreeze} {
		for ch := range 2 {
			h.must(h.core.HandleElement(ch, barrierOf(int64(id)+1, stop)))
		}
	}
	h.finishAsync(2, nil)
	h.must(h.core.Complete(t.Context(), 2, record.StopFreeze))
	if h.core.Finished() || !h.core.Frozen() {
		t.Fatal("the task finished, or goes on, while snapshot 1 is being written")
	}
	h.finishAsync(1, nil)
	if !h.core.Finished() {
		t.Error("the task doesn't finish")
	}
}
