// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/stream"
)

// rig drives all subtasks of the last operator of a job by hand: batches, watermarks and the clock as the test says, snapshots, and
// restores at other parallelisms, with outputs that have no room at random moments.
type rig[U any] struct {
	tb    testing.TB
	rnd   *rand.Rand
	nodes map[string]*graph.Node
	node  *graph.Node
	max   int
	now   time.Time
	tasks []*rigTask[U]
	// out is what was emitted since the last restore, and before the snapshot it went back to.
	out []U
	// emitted, if set, sees every row with its subtask.
	emitted func(subtask int, v U)
}

type rigTask[U any] struct {
	r        *rig[U]
	subtask  int
	op       operator.Operator
	mem      *state.Memory
	counters operator.Counters
}

// Emit is the output of a subtask.
func (k *rigTask[U]) Emit(b record.Batch) (operator.Status, error) {
	for _, v := range b.(*record.Rows[U]).Values {
		if k.r.emitted != nil {
			k.r.emitted(k.subtask, v)
		}
		k.r.out = append(k.r.out, v)
	}
	if b.Len() > record.TargetRows+8 {
		k.r.tb.Errorf("a batch of %d rows was emitted", b.Len())
	}
	if k.r.rnd.IntN(3) == 0 {
		return operator.Paused, nil
	}
	return operator.Done, nil
}

// files holds state files.
type files struct{ data [][]byte }

func (f *files) WriteFile(_ context.Context, data []byte) (state.File, error) {
	f.data = append(f.data, bytes.Clone(data))
	return state.File{Path: fmt.Sprint(len(f.data) - 1)}, nil
}

func (f *files) ReadFile(_ context.Context, file state.File, off, n int64) ([]byte, error) {
	var i int
	if _, err := fmt.Sscan(file.Path, &i); err != nil {
		return nil, err
	}
	return f.data[i][off : off+n], nil
}

// newRig drives the operator of that name.
func newRig[U any](tb testing.TB, seed uint64, maxParallelism int, name string, describe func(j *stream.Job)) *rig[U] {
	tb.Helper()
	j := &stream.Job{}
	describe(j)
	g, err := j.Graph()
	if err != nil {
		tb.Fatal(err)
	}
	r := &rig[U]{tb: tb, rnd: rand.New(rand.NewPCG(seed, 5)), nodes: map[string]*graph.Node{}, max: maxParallelism, now: time.UnixMilli(0)}
	for _, n := range g.Nodes {
		r.nodes[n.Name] = n
	}
	r.node = r.nodes[name]
	return r
}

// rigSnapshot is a snapshot of all subtasks, and how far the test was.
type rigSnapshot struct {
	manifest *snapshot.Manifest
	files    *files
	events   int
	outputs  int
	now      time.Time
}

func (r *rig[U]) snapshot(events int) *rigSnapshot {
	r.tb.Helper()
	s := &rigSnapshot{files: &files{}, events: events, outputs: len(r.out), now: r.now}
	o := snapshot.OperatorState{Name: r.node.Name, Parallelism: len(r.tasks)}
	for i, k := range r.tasks {
		sub := snapshot.SubtaskState{Index: i}
		if st, ok := k.op.(operator.Stateful); ok {
			async, err := st.Snapshot(record.Barrier{})
			r.must(err)
			sub.Lists, err = async(r.tb.Context())
			r.must(err)
		}
		if k.mem != nil {
			sealed := k.mem.Seal()
			var err error
			sub.Keyed, err = sealed.Write(r.tb.Context(), s.files)
			r.must(err)
			sealed.Release()
		}
		o.Subtasks = append(o.Subtasks, sub)
	}
	s.manifest = &snapshot.Manifest{Checkpoint: 1, MaxParallelism: r.max, Operators: []snapshot.OperatorState{o}}
	return s
}

func (r *rig[U]) must(err error) {
	r.tb.Helper()
	if err != nil {
		r.tb.Fatal(err)
	}
}

// start begins anew at a parallelism, from a snapshot if there is one.
func (r *rig[U]) start(p int, s *rigSnapshot) {
	r.tb.Helper()
	r.must(r.tryStart(p, s))
}

func (r *rig[U]) tryStart(p int, s *rigSnapshot) error {
	r.tb.Helper()
	r.close()
	var m *snapshot.Manifest
	r.out = r.out[:0]
	if s != nil {
		m, r.now = s.manifest, s.now
	}
	shape := assign.Shape{MaxParallelism: r.max, Vertices: []assign.Vertex{{
		Name: r.node.Name, Parallelism: p, Operators: []assign.Operator{{Name: r.node.Name, Keyed: r.node.Keyed}},
	}}}
	deployments, err := assign.Assign(shape, m, assign.Options{})
	if err != nil {
		return err
	}
	for i := range p {
		k := &rigTask[U]{r: r, subtask: i, op: r.node.NewOperator()}
		r.tasks = append(r.tasks, k)
		restore := deployments[protocol.TaskID{Vertex: r.node.Name, Subtask: i}].Operators[r.node.Name]
		if r.node.Keyed {
			o := state.Options{MaxParallelism: r.max}
			o.First, o.Last = state.GroupRange(i, p, r.max)
			if k.mem, err = state.NewMemory(o); err != nil {
				return err
			}
			if s != nil {
				if err := k.mem.Restore(r.tb.Context(), restore.Keyed, s.files); err != nil {
					return err
				}
			}
		}
		oc := &operator.Context{
			Name: r.node.Name, Subtask: i, Parallelism: p, MaxParallelism: r.max, Out: k, Keyed: k.mem, Restored: restore.Lists,
			Now: func() time.Time { return r.now }, Log: logr.Discard(), Counters: &k.counters,
		}
		if err := errors.Join(k.op.Open(r.tb.Context(), oc), oc.Unused()); err != nil {
			return err
		}
		if k.mem != nil {
			if lost := k.mem.Unclaimed(); len(lost) > 0 {
				return fmt.Errorf("states %q were not opened", lost)
			}
		}
	}
	return nil
}

func (r *rig[U]) close() {
	for _, k := range r.tasks {
		r.must(k.op.Close())
	}
	r.tasks = nil
}

// done resumes an operator until it has taken everything.
func (k *rigTask[U]) done(st operator.Status, err error) {
	k.r.tb.Helper()
	for err == nil && st == operator.Paused {
		st, err = k.op.Resume()
	}
	k.r.must(err)
	if k.mem != nil {
		k.r.must(k.mem.Err())
	}
}

// feed sends rows to the logical input, by key or to all.
func feed[U, T any](r *rig[U], input int, vs ...T) {
	r.tb.Helper()
	for _, e := range r.node.Inputs {
		if e.Input != input {
			continue
		}
		typ := r.nodes[e.From].Output
		b := typ.(*record.RowType[T]).Get()
		b.Values = append(b.Values, vs...)
		if e.Partition != graph.Hash {
			for i, k := range r.tasks {
				if e.Partition == graph.Broadcast || i == 0 {
					k.done(k.op.Process(input, b))
				}
			}
			b.Release()
			return
		}
		hashes := e.NewHasher().AppendHashes(nil, b)
		split := typ.NewSplitter(len(r.tasks))
		split.Scatter(b, hashes, graph.NewRouter(len(r.tasks), r.max).AppendOwners(nil, hashes))
		for i, k := range r.tasks {
			if part := split.Take(i); part != nil {
				k.done(k.op.Process(input, part))
				part.Release()
			}
		}
		b.Release()
		return
	}
	r.tb.Fatalf("no input %d", input)
}

func (r *rig[U]) watermark(t int64) {
	r.tb.Helper()
	for _, k := range r.tasks {
		k.done(k.op.(operator.WatermarkHandler).OnWatermark(t))
	}
}

// clock sets the time, and fires what is due.
func (r *rig[U]) clock(ms int64) {
	r.tb.Helper()
	r.now = time.UnixMilli(ms)
	for _, k := range r.tasks {
		h := k.op.(operator.TimerHandler)
		if at, ok := h.NextTimer(); ok && at <= ms {
			k.done(h.OnTime(ms))
		}
	}
}

// finish ends the input.
func (r *rig[U]) finish() {
	r.tb.Helper()
	for _, k := range r.tasks {
		if h, ok := k.op.(operator.WatermarkHandler); ok {
			k.done(h.OnWatermark(record.MaxTime))
		}
		if f, ok := k.op.(operator.Finisher); ok {
			k.done(f.Finish())
		}
	}
}

func (r *rig[U]) counter(name string) int64 {
	n := int64(0)
	for _, k := range r.tasks {
		n += k.counters.Snapshot()[name]
	}
	return n
}

// play plays events with snapshots, failures and other parallelisms at random, and returns what was emitted by the time all of
// them were done: exactly once.
func (r *rig[U]) play(events []func()) []U {
	r.tb.Helper()
	maxP := min(r.max, 16)
	var last *rigSnapshot
	var committed []U
	r.start(1+r.rnd.IntN(maxP), nil)
	failures := 0
	for i := 0; i < len(events); {
		events[i]()
		i++
		switch r.rnd.IntN(6) {
		case 0:
			last = r.snapshot(i)
			committed = append(committed, r.out...)
			r.out, last.outputs = r.out[:0], 0
		case 1:
			if failures++; failures > 6 {
				continue
			}
			i = 0
			if last != nil {
				i = last.events
			} else {
				committed, r.now = committed[:0], time.UnixMilli(0)
			}
			r.start(1+r.rnd.IntN(maxP), last)
		}
	}
	r.finish()
	committed = append(committed, r.out...)
	r.close()
	return committed
}
