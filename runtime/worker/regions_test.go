// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"testing"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/stream"
)

// twoRegions builds two counts that nothing connects.
func twoRegions(left, right *testJob) func(contract.JobConfig) (*graph.Graph, error) {
	return func(contract.JobConfig) (*graph.Graph, error) {
		return stream.Build(func(b *stream.Job) {
			for i, name := range []string{"left", "right"} {
				j := []*testJob{left, right}[i]
				src := stream.From(b, name, func() stream.Source[int64] { return &numbers{j: j} })
				checked := stream.Map(src, name+"-check", func(n int64) int64 {
					if j.onRow != nil {
						j.onRow(n)
					}
					return n
				})
				stream.ForEach(stream.Count(stream.KeyBy(checked, func(n int64) int64 { return n % j.keys }), name+"-count"), name+"-sink", j.sink)
			}
		})(contract.JobConfig{})
	}
}

// deployRegion deploys one of the two as an attempt of its own.
func deployRegion(k int64, name string, workers []*fakeConn) {
	for c, d := range deploymentOf(k, 2, workers, nil, name, name+"-count") {
		d.Region = name
		c.send(protocol.ToWorker{Deploy: d})
	}
}

// Attempts of two regions run beside each other on two workers: one is canceled, fails and is deployed again, the other goes on.
func TestRegionsRunBesideEachOther(t *testing.T) {
	f, left, right := newFakeCoordinator(t), newTestJob(), newTestJob()
	var conns []*fakeConn
	for _, name := range []string{"w1", "w2"} {
		o := options(t, name, f, left, newStore())
		o.DataListenAddr, o.Build = "127.0.0.1:0", twoRegions(left, right)
		startWorker(t.Context(), t, o)
		conns = append(conns, f.accept())
	}
	states := func(s protocol.TaskState, k int64) {
		t.Helper()
		for _, c := range conns {
			for id, st := range c.states(s, 2) {
				if st.Attempt != attemptK(k) {
					t.Errorf("task %s of attempt %s is %s, want attempt %d", id, st.Attempt, s, k)
				}
			}
		}
	}
	left.allow(100, false)
	right.allow(100, false)
	deployRegion(1, "left", conns)
	states(protocol.TaskRunning, 1)
	deployRegion(2, "right", conns)
	states(protocol.TaskRunning, 2)
	left.awaitTotal(t, 200)
	right.awaitTotal(t, 200)

	// Cancellation of a region, by an attempt that is newer than the other's.
	for _, c := range conns {
		c.send(protocol.ToWorker{Cancel: &protocol.Cancel{Attempt: attemptK(5), Region: "left"}})
	}
	states(protocol.TaskCanceled, 1)
	right.allow(200, false)
	right.awaitTotal(t, 400)

	// What was canceled doesn't start any more, a newer one does.
	left.reset()
	left.onRow = func(n int64) {
		if n == 50 {
			panic("the left one breaks")
		}
	}
	deployRegion(4, "left", conns)
	deployRegion(6, "left", conns)
	for _, c := range conns {
		failed := c.states(protocol.TaskFailed, 1)
		for id, st := range failed {
			if st.Attempt != attemptK(6) || st.State == protocol.TaskFailed && id.Vertex != "left" {
				t.Errorf("task %s of attempt %s is %s", id, st.Attempt, st.State)
			}
		}
	}
	right.allow(300, false)
	right.awaitTotal(t, 600)

	left.onRow = nil
	left.reset()
	deployRegion(7, "left", conns)
	for _, c := range conns {
		left := 2
		c.until(func(m protocol.FromWorker) bool {
			if m.Status != nil && m.Status.State == protocol.TaskRunning && m.Status.Attempt == attemptK(7) {
				left--
			}
			return left == 0
		})
	}
	left.awaitTotal(t, 200)
	right.allow(400, true)
	right.awaitTotal(t, 800)
}
