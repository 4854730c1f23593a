// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/stream"
)

// laden is a source that has as much operator state as the test says.
type laden struct {
	numbers
	size func() int
}

func (l *laden) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	return func(context.Context) ([]operator.List, error) {
		half := make([]byte, l.size()/2)
		return []operator.List{{Name: "next", Entries: [][]byte{half, half}}}, nil
	}, nil
}

// A part of a snapshot that no message can hold is declined with what is too large; the worker, and its other snapshots, go on.
func TestSnapshotTooLargeToAcknowledgeIsDeclined(t *testing.T) {
	f, j := newFakeCoordinator(t), newTestJob()
	f.job.Checkpointing = &contract.Checkpointing{Interval: contract.Duration(time.Hour)}
	var size int
	o := options(t, "w", f, j, newStore())
	o.Build = func(contract.JobConfig) (*graph.Graph, error) {
		return stream.Build(func(b *stream.Job) {
			src := stream.From(b, "numbers", func() stream.Source[int64] { return &laden{numbers: numbers{j: j}, size: func() int { return size }} })
			stream.ForEach(src, "sink", func(int64) {}, stream.NoChain())
		})(contract.JobConfig{})
	}
	startWorker(t.Context(), t, o)
	c := f.accept()
	c.send(protocol.ToWorker{Deploy: deploymentOf(1, 1, []*fakeConn{c}, nil, "numbers", "sink")[c]})
	c.states(protocol.TaskRunning, 2)
	for i, tc := range []struct {
		size int
		want []string
	}{
		{size: 40 << 20},
		{size: 48 << 20, want: []string{`operator "numbers" has 50331648 bytes of operator state in 2 entries`, "keyed state", "raise the parallelism"}},
		{size: 100},
	} {
		size = tc.size
		task := protocol.TaskID{Vertex: "numbers"}
		c.send(protocol.ToWorker{Trigger: &protocol.Trigger{
			Attempt: attemptK(1), Barrier: record.Barrier{Checkpoint: int64(i + 1), Target: "chk/"}, Tasks: []protocol.TaskID{task},
		}})
		c.until(func(m protocol.FromWorker) bool {
			switch {
			case m.Decline != nil && tc.want == nil:
				t.Fatalf("%d bytes are declined: %s", tc.size, m.Decline.Error)
			case m.Ack != nil && m.Ack.Task == task && tc.want != nil:
				t.Fatalf("%d bytes are acknowledged", tc.size)
			case m.Decline != nil:
				if m.Decline.Reason != protocol.DeclinedAsync {
					t.Errorf("declined for %s", m.Decline.Reason)
				}
				for _, w := range tc.want {
					if !strings.Contains(m.Decline.Error, w) {
						t.Errorf("declined with %q, want %q", m.Decline.Error, w)
					}
				}
			}
			return m.Decline != nil || m.Ack != nil && m.Ack.Task == task
		})
	}
}
