// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
	"github.com/weir-stream/weir/runtime/stream"
)

// testJob is a keyed count: every source subtask yields its numbers up to a limit that the test raises.
type testJob struct {
	keys int64
	// onRow, if set, is called for every row between source and count, in its own operator "check".
	onRow func(int64)

	mu struct {
		sync.Mutex
		limit int64
		ended bool
		wake  map[*numbers]func()
		// last is the highest count of each key that the sink saw; rows how many it got.
		last map[int64]int64
		rows int64
	}
	changed chan struct{}
}

func newTestJob() *testJob {
	j := &testJob{keys: 10, changed: make(chan struct{}, 1)}
	j.mu.wake = map[*numbers]func(){}
	j.mu.last = map[int64]int64{}
	return j
}

// allow lets every source subtask yield numbers below limit; end makes that the end of its input.
func (j *testJob) allow(limit int64, end bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mu.limit, j.mu.ended = limit, end
	for _, wake := range j.mu.wake {
		wake()
	}
}

func (j *testJob) build(contract.JobConfig) (*graph.Graph, error) {
	return stream.Build(func(b *stream.Job) {
		src := stream.From(b, "numbers", func() stream.Source[int64] { return &numbers{j: j} })
		checked := stream.Map(src, "check", func(n int64) int64 {
			if j.onRow != nil {
				j.onRow(n)
			}
			return n
		}, stream.NoChain())
		counted := stream.Count(stream.KeyBy(checked, func(n int64) int64 { return n % j.keys }), "count")
		stream.ForEach(counted, "sink", j.sink, stream.NoChain())
	})(contract.JobConfig{})
}

// sink notes what arrives.
func (j *testJob) sink(c stream.Counted[int64]) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mu.rows++
	j.mu.last[c.Key] = max(j.mu.last[c.Key], c.Count)
	select {
	case j.changed <- struct{}{}:
	default:
	}
}

// awaitTotal waits until the counts of all keys add up to n.
func (j *testJob) awaitTotal(t *testing.T, n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		j.mu.Lock()
		total := int64(0)
		for _, c := range j.mu.last {
			total += c
		}
		j.mu.Unlock()
		switch {
		case total == n:
			return
		case total > n:
			t.Fatalf("the counts add up to %d, want %d", total, n)
		}
		select {
		case <-j.changed:
		case <-ctx.Done():
			t.Fatalf("the counts add up to %d, want %d", total, n)
		}
	}
}

// reset forgets what the sink saw.
func (j *testJob) reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mu.last, j.mu.rows = map[int64]int64{}, 0
}

// numbers is a source with its position as state.
type numbers struct {
	j    *testJob
	next int64
}

func (s *numbers) Open(_ context.Context, c *operator.Context) error {
	for _, e := range c.List("next") {
		s.next = int64(binary.LittleEndian.Uint64(e))
	}
	s.j.mu.Lock()
	defer s.j.mu.Unlock()
	s.j.mu.wake[s] = c.Wake
	return nil
}

func (s *numbers) Poll(rows []int64) ([]int64, operator.Polled, error) {
	s.j.mu.Lock()
	limit, ended := s.j.mu.limit, s.j.mu.ended
	s.j.mu.Unlock()
	for s.next < limit && len(rows) < record.TargetRows {
		rows = append(rows, s.next)
		s.next++
	}
	p := operator.Polled{State: operator.More}
	if s.next == limit {
		p.State = operator.Wait
		if ended {
			p.State = operator.End
		}
	}
	return rows, p, nil
}

func (s *numbers) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	entry := binary.LittleEndian.AppendUint64(nil, uint64(s.next))
	return func(context.Context) ([]operator.List, error) {
		return []operator.List{{Name: "next", Entries: [][]byte{entry}}}, nil
	}, nil
}

func (s *numbers) Close() error {
	s.j.mu.Lock()
	defer s.j.mu.Unlock()
	delete(s.j.mu.wake, s)
	return nil
}

// vertices of the test job, and which of them are sources.
var vertices = []string{"numbers", "check", "count", "sink"}

// deployment places slot i on workers[i] and restores the given states.
func deployment(k int64, parallelism int, workers []*fakeConn, restored []protocol.FromWorker) map[*fakeConn]*protocol.Deploy {
	return deploymentOf(k, parallelism, workers, restored, vertices...)
}

func deploymentOf(k int64, parallelism int, workers []*fakeConn, restored []protocol.FromWorker, vertices ...string) map[*fakeConn]*protocol.Deploy {
	attempt := protocol.Attempt{Epoch: protocol.Epoch{Grant: 1, N: 1}, K: k}
	states := map[protocol.TaskID]map[string]snapshot.SubtaskState{}
	for _, m := range restored {
		if m.Ack != nil {
			states[m.Ack.Task] = m.Ack.Operators
		}
	}
	var slots []protocol.Placement
	for i := range parallelism {
		w := workers[i%len(workers)].worker
		slots = append(slots, protocol.Placement{Worker: w.Worker, DataAddr: w.DataAddr})
	}
	ds := map[*fakeConn]*protocol.Deploy{}
	for i := range parallelism {
		c := workers[i%len(workers)]
		if ds[c] == nil {
			ds[c] = &protocol.Deploy{Attempt: attempt, Slots: slots, RestoreDir: "chk/"}
		}
		for _, v := range vertices {
			d := protocol.TaskDeployment{Task: protocol.TaskID{Vertex: v, Subtask: i}}
			for name, s := range states[d.Task] {
				if d.Operators == nil {
					d.Operators = map[string]protocol.OperatorRestore{}
				}
				d.Operators[name] = protocol.OperatorRestore{Keyed: s.Keyed, Lists: s.Lists}
			}
			ds[c].Tasks = append(ds[c].Tasks, d)
		}
	}
	return ds
}

// options of a worker of the test.
func options(t *testing.T, name string, f *fakeCoordinator, j *testJob, store storage.Store) Options {
	t.Helper()
	log := logr.Discard()
	if testing.Verbose() {
		log = testr.New(t)
	}
	return Options{
		Name: name, Slots: 2, Connect: f.connect, Build: j.build, Log: log,
		Store: constStore(store),
	}
}

func constStore(s storage.Store) func(context.Context, contract.JobConfig) (storage.Store, error) {
	return func(context.Context, contract.JobConfig) (storage.Store, error) { return s, nil }
}

func newStore() storage.Store { return memstore.New("test", nil).Client(memstore.Options{}) }
