// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"testing"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/task"
)

func atLeastOnce(o *task.Options) { o.AtLeastOnce = true }

// With at least once, a snapshot is given up alone: barriers of an older one may still be under way on other channels.
func TestCore_CancelBarrierLeavesOlderSnapshots(t *testing.T) {
	t.Parallel()
	h := start(t, 1, atLeastOnce)
	h.must(h.core.HandleElement(0, barrierOf(1, record.StopNone)))
	h.must(h.core.HandleElement(0, record.OfCancelBarrier(2)))
	h.want("decline 2 CancelBarrier <nil>; cancel-barrier 2")
	h.must(h.core.HandleElement(1, barrierOf(1, record.StopNone)))
	h.want("prepare 1; barrier 1; snapshot 1; async 1")
	h.finishAsync(1, nil)
	h.want("ack 1")
	h.must(h.core.HandleElement(1, record.OfCancelBarrier(2)))
	h.want("")
	h.must(h.core.HandleElement(0, barrierOf(3, record.StopNone)))
	h.must(h.core.HandleElement(1, barrierOf(3, record.StopNone)))
	h.want("prepare 3; barrier 3; snapshot 3; async 3")
}

// A snapshot that was given up isn't followed any more, whatever comes of it later.
func TestCore_LateBarrierOfAGivenUpSnapshotIsntFollowed(t *testing.T) {
	t.Parallel()
	h := start(t, 1, atLeastOnce)
	h.must(h.core.HandleElement(0, barrierOf(1, record.StopNone)))
	h.must(h.core.HandleElement(0, record.OfCancelBarrier(2)))
	h.must(h.core.HandleElement(1, barrierOf(2, record.StopNone)))
	for _, p := range h.core.Metrics().Snapshots {
		if p.Checkpoint != 1 {
			t.Errorf("the task says that it waits for barriers of snapshot %d", p.Checkpoint)
		}
	}
}

// A snapshot that can't be completed any more, because a channel went on to a newer one, is declined before that is taken.
func TestCore_OvertakenSnapshotIsDeclined(t *testing.T) {
	t.Parallel()
	h := start(t, 1, atLeastOnce)
	h.must(h.core.HandleElement(0, barrierOf(1, record.StopNone)))
	h.must(h.core.HandleElement(0, barrierOf(2, record.StopNone)))
	h.want("")
	h.must(h.core.HandleElement(1, barrierOf(2, record.StopNone)))
	h.want("decline 1 Subsumed <nil>; cancel-barrier 1; prepare 2; barrier 2; snapshot 2; async 2")
}

// The end of a channel may complete several snapshots at once.
func TestCore_EndCompletesSeveralSnapshots(t *testing.T) {
	t.Parallel()
	h := start(t, 1, atLeastOnce)
	h.must(h.core.HandleElement(0, barrierOf(1, record.StopNone)))
	h.must(h.core.HandleElement(0, barrierOf(2, record.StopNone)))
	h.must(h.core.HandleElement(1, record.End()))
	h.want("prepare 1; barrier 1; snapshot 1; async 1; prepare 2; barrier 2; snapshot 2; async 2")
}

// A task at its end that is triggered for a snapshot that it has given up has nobody left to tell but the coordinator.
func TestCore_NothingFollowsTheEnd(t *testing.T) {
	t.Parallel()
	h := start(t, 1, func(o *task.Options) { o.AtLeastOnce, o.Checkpointed = true, true })
	h.must(h.core.HandleElement(0, record.OfCancelBarrier(2)))
	h.must(h.core.HandleElement(0, record.End()))
	h.must(h.core.HandleElement(1, record.End()))
	h.take()
	h.must(h.core.Trigger(record.Barrier{Checkpoint: 2}))
	h.want("decline 2 CancelBarrier <nil>")
	h.must(h.core.Trigger(record.Barrier{Checkpoint: 3}))
	h.want("prepare 3; snapshot 3; async 3")
}
