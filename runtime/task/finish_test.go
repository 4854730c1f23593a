// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"errors"
	"testing"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/task"
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

// A task whose part of union state is needed outlasts the snapshot that it could finish with.
func TestCore_StaysForAnotherSnapshot(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil)
	for ch := range 2 {
		h.must(h.core.HandleElement(ch, record.End()))
	}
	for id := range int64(2) {
		h.must(h.core.Trigger(record.Barrier{Checkpoint: id + 1}))
		h.finishAsync(id+1, nil)
	}
	h.core.Stay(1)
	h.must(h.core.Complete(t.Context(), 1, record.StopNone))
	if h.core.Finished() {
		t.Fatal("the task finished with the snapshot that it was to outlast")
	}
	h.must(h.core.Complete(t.Context(), 2, record.StopNone))
	if !h.core.Finished() {
		t.Error("the task doesn't finish with the next snapshot")
	}
}

// The same after a restore: it ends its outputs, processes nothing, and takes part in snapshots.
func TestCore_StaysAfterARestore(t *testing.T) {
	t.Parallel()
	h := start(t, 1, func(o *task.Options) { o.Deployment.Finished, o.Deployment.Stays = true, true })
	if h.core.Finished() || h.core.Readable() {
		t.Fatalf("finished %v, readable %v; want neither", h.core.Finished(), h.core.Readable())
	}
	h.want("end; end of data")
	h.must(h.core.Trigger(record.Barrier{Checkpoint: 8}))
	h.finishAsync(8, nil)
	h.must(h.core.Complete(t.Context(), 8, record.StopNone))
	if !h.core.Finished() {
		t.Error("the task doesn't finish with a snapshot that lets it")
	}
}
