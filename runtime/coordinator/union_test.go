// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
	"github.com/weir-stream/weir/runtime/worker"
)

// hoarder is an idle source whose subtasks have 10 MiB of union state together.
type hoarder struct {
	restored *atomic.Int64
	own      [][]byte
}

func (h *hoarder) Open(_ context.Context, c *operator.Context) error {
	const all = 10 << 10 // of a KiB each
	for i := range all / c.Parallelism {
		e := binary.BigEndian.AppendUint64(make([]byte, 0, 1024), uint64(c.Subtask*all+i))
		h.own = append(h.own, e[:1024])
	}
	seen := map[uint64]bool{}
	for _, e := range c.List("all") {
		seen[binary.BigEndian.Uint64(e)] = true
	}
	if c.RestoredFrom != 0 {
		if want := all / c.Parallelism * c.Parallelism; len(seen) != want {
			return fmt.Errorf("subtask %d got %d entries, want %d", c.Subtask, len(seen), want)
		}
		h.restored.Add(1)
	}
	return nil
}
func (h *hoarder) Close() error                   { return nil }
func (h *hoarder) Poll() (operator.Polled, error) { return operator.Polled{State: operator.Wait}, nil }

func (h *hoarder) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	return func(context.Context) ([]operator.List, error) {
		return []operator.List{{Name: "all", Mode: operator.Union, Entries: h.own}}, nil
	}, nil
}

// dropper drops rows.
type dropper struct{}

func (dropper) Open(context.Context, *operator.Context) error      { return nil }
func (dropper) Close() error                                       { return nil }
func (dropper) Process(int, record.Batch) (operator.Status, error) { return operator.Done, nil }
func (dropper) Resume() (operator.Status, error)                   { return operator.Done, nil }

// Eight subtasks on one worker that get 10 MiB of union state each have more than a message can hold.
func TestRun_RestoresLargeUnionState(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var restored atomic.Int64
	build := func(contract.JobConfig) (*graph.Graph, error) {
		return &graph.Graph{Nodes: []*graph.Node{
			{Name: "src", Output: numbers, NewSource: func() operator.Source { return &hoarder{restored: &restored} }},
			{Name: "sink", Inputs: []graph.Edge{{From: "src"}}, NewOperator: func() operator.Operator { return dropper{} }},
		}}, nil
	}
	c := newCluster(t)
	o := c.options()
	o.Build, o.Job.Parallelism, o.Control = build, 8, listener
	o.HeartbeatTimeout = time.Minute // the machine may be busy
	r := c.start(o)
	run := func(name string) (end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = worker.Run(ctx, worker.Options{
				Name: name, Slots: 8, Build: build, Connect: worker.Dial(listener.Addr().String(), nil), Log: logr.Discard(),
				Store: func(context.Context, contract.JobConfig) (storage.Store, error) {
					return c.store.Client(memstore.Options{}), nil
				},
			})
		}()
		return func() {
			cancel()
			<-done
		}
	}
	end := run("w1")
	r.await("a checkpoint", hasCheckpoint)
	end()
	end = run("w2")
	s := r.await("a restart", func(s *contract.JobStatus) bool { return s.Restarts > 0 && isRunning(s) })
	if n := restored.Load(); n != 8 || s.Restarts != 1 {
		t.Errorf("%d subtasks were restored after %d restarts, want 8 after 1", n, s.Restarts)
	}
	last := s.LastCheckpoint.ID
	r.await("a checkpoint after it", func(s *contract.JobStatus) bool { return s.LastCheckpoint.ID > last+1 })
	r.cancel()
	_, _ = r.wait()
	end()
}
