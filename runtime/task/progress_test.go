// SPDX-License-Identifier: Apache-2.0

package task_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/task"
)

// measured is a harness with a clock that keeps what acknowledgements say.
type measured struct {
	*harness
	now  time.Time
	acks map[int64]protocol.AckMetrics
}

// ackKeeper is the environment of a measured core.
type ackKeeper struct {
	task.Env
	acks map[int64]protocol.AckMetrics
}

func (k ackKeeper) Ack(id int64, ops map[string]snapshot.SubtaskState, m protocol.AckMetrics) {
	k.acks[id] = m
	k.Env.Ack(id, ops, m)
}

func measure(t *testing.T, change func(*task.Options)) *measured {
	t.Helper()
	m := &measured{now: time.Unix(100, 0), acks: map[int64]protocol.AckMetrics{}}
	m.harness = start(t, 1, func(o *task.Options) {
		o.Env, o.Now = ackKeeper{o.Env, m.acks}, func() time.Time { return m.now }
		if change != nil {
			change(o)
		}
	})
	return m
}

// pass lets time pass.
func (m *measured) pass(d time.Duration) { m.now = m.now.Add(d) }

func in(subtask int) protocol.ChannelRef {
	return protocol.ChannelRef{From: protocol.TaskID{Vertex: "in", Subtask: subtask}}
}

func (m *measured) wantProgress(want ...protocol.SnapshotProgress) {
	m.t.Helper()
	if diff := cmp.Diff(want, m.core.Metrics().Snapshots); diff != "" {
		m.t.Errorf("progress (-want +got):\n%s", diff)
	}
}

func TestCore_AckSaysWhatTheSnapshotCost(t *testing.T) {
	t.Parallel()
	m := measure(t, nil)
	m.must(m.core.HandleElement(1, barrierOf(1, record.StopNone)))
	m.pass(3 * time.Second)
	m.wantProgress(protocol.SnapshotProgress{
		Checkpoint: 1, Stage: protocol.StageAligning, For: 3 * time.Second, Missing: []protocol.ChannelRef{in(0)}, MissingCount: 1,
	})
	m.must(m.core.HandleElement(0, barrierOf(1, record.StopNone)))
	m.pass(4 * time.Second)
	m.wantProgress(protocol.SnapshotProgress{Checkpoint: 1, Stage: protocol.StageWriting, For: 4 * time.Second})
	m.finishAsync(1, nil)
	m.wantProgress()
	want := protocol.AckMetrics{
		Total: 7 * time.Second, Alignment: 3 * time.Second, Last: new(in(0)), Async: 4 * time.Second,
		Load: protocol.Load{Time: 3 * time.Second},
		Channels: []protocol.ChannelCost{
			{Channel: in(0), Delay: 3 * time.Second}, {Channel: in(1), Blocked: 3 * time.Second},
		},
		Operators: []protocol.OperatorCost{{Operator: "mid"}},
	}
	if diff := cmp.Diff(want, m.acks[1]); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestCore_AckSaysHowLongTheBarrierWaitedForRoom(t *testing.T) {
	t.Parallel()
	m := &measured{now: time.Unix(100, 0), acks: map[int64]protocol.AckMetrics{}}
	m.harness = pausedSource(t, func(o *task.Options) {
		o.Env, o.Now = ackKeeper{o.Env, m.acks}, func() time.Time { return m.now }
	})
	m.must(m.core.Trigger(record.Barrier{Checkpoint: 1}))
	m.pass(2 * time.Second)
	m.wantProgress(protocol.SnapshotProgress{Checkpoint: 1, Stage: protocol.StageWaiting, For: 2 * time.Second})
	m.room = true
	m.must(m.core.Resume())
	m.finishAsync(1, nil)
	want := protocol.AckMetrics{Total: 2 * time.Second, Waited: 2 * time.Second, Load: protocol.Load{Time: 2 * time.Second}, Records: 1}
	if diff := cmp.Diff(want, m.acks[1]); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestCore_ProgressOfEveryEnd(t *testing.T) {
	t.Parallel()
	aligning := func(m *measured, id int64) { m.must(m.core.HandleElement(0, barrierOf(id, record.StopNone))) }
	both := func(m *measured, id int64) {
		aligning(m, id)
		m.must(m.core.HandleElement(1, barrierOf(id, record.StopNone)))
	}
	tests := map[string]struct {
		do   func(m *measured)
		want []protocol.SnapshotProgress
	}{
		"aborted during the alignment": {do: func(m *measured) { aligning(m, 1); m.must(m.core.Aborted(1)) }},
		"aborted while written":        {do: func(m *measured) { both(m, 1); m.must(m.core.Aborted(1)) }},
		"completed while written":      {do: func(m *measured) { both(m, 1); m.must(m.core.Complete(m.t.Context(), 1, record.StopNone)) }},
		"a cancel-barrier": {do: func(m *measured) {
			aligning(m, 1)
			m.must(m.core.HandleElement(1, record.OfCancelBarrier(1)))
		}},
		"a stale barrier": {do: func(m *measured) {
			both(m, 2)
			m.must(m.core.Aborted(2))
			aligning(m, 1)
		}},
		"a barrier of an aborted one": {do: func(m *measured) { m.must(m.core.Aborted(1)); aligning(m, 1) }},
		"overtaken by a newer one": {
			do:   func(m *measured) { aligning(m, 1); both(m, 2) },
			want: []protocol.SnapshotProgress{{Checkpoint: 2, Stage: protocol.StageWriting}},
		},
		"two are written at once": {
			do: func(m *measured) { both(m, 1); both(m, 2) },
			want: []protocol.SnapshotProgress{
				{Checkpoint: 1, Stage: protocol.StageWriting}, {Checkpoint: 2, Stage: protocol.StageWriting},
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := measure(t, nil)
			tc.do(m)
			m.wantProgress(tc.want...)
		})
	}
}

func TestCore_ProgressIsBounded(t *testing.T) {
	t.Parallel()
	m := measure(t, func(o *task.Options) { o.AtLeastOnce = true })
	for id := int64(1); id <= 40; id++ {
		m.must(m.core.HandleElement(0, barrierOf(id, record.StopNone)))
	}
	got := m.core.Metrics().Snapshots
	if len(got) != 8 || got[0].Checkpoint != 33 || got[7].Checkpoint != 40 {
		t.Errorf("followed %+v, want the newest 8", got)
	}
}
