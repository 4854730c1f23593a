// SPDX-License-Identifier: Apache-2.0

package txn_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/txn"
	"github.com/weir-stream/weir/runtime/operator/txn/txntest"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
	"github.com/weir-stream/weir/runtime/task"
	"github.com/weir-stream/weir/runtime/task/tasktest"
)

const (
	// parts is how many parts the input has, and perPart how many rows each of them.
	parts   = 4
	perPart = 40
	maxPar  = 3
)

// parted reads parts of numbered rows; row n of part p is p*perPart+n. Each part is read by one subtask.
type parted struct {
	// bounded says that the end of the parts is the end of the input.
	bounded *bool
	next    map[int]int64
	buf     *record.Rows[int64]
}

func (s *parted) Open(_ context.Context, c *operator.Context) error {
	s.next, s.buf = map[int]int64{}, ints.Get()
	if c.RestoredFrom == 0 {
		for p := c.Subtask; p < parts; p += c.Parallelism {
			s.next[p] = 0
		}
		return nil
	}
	for _, e := range c.List("positions") {
		p, n, err := position(e)
		if err != nil {
			return err
		}
		s.next[p] = n
	}
	return nil
}

func position(entry []byte) (part int, next int64, err error) {
	_, err = fmt.Sscanf(string(entry), "%d:%d", &part, &next)
	return part, next, err
}

// Poll yields a few rows of each part.
func (s *parted) Poll() (operator.Polled, error) {
	s.buf.Values = s.buf.Values[:0]
	for p := range parts {
		n, mine := s.next[p]
		for i := 0; mine && i < 1+p && n < perPart; i++ {
			s.buf.Values = append(s.buf.Values, int64(p)*perPart+n)
			n++
			s.next[p] = n
		}
	}
	if len(s.buf.Values) == 0 {
		if *s.bounded {
			return operator.Polled{State: operator.End}, nil
		}
		return operator.Polled{State: operator.Wait}, nil
	}
	return operator.Polled{Batch: s.buf, State: operator.More}, nil
}

func (s *parted) Snapshot(record.Barrier) (operator.AsyncSnapshot, error) {
	list := operator.List{Name: "positions"}
	for p := range parts {
		if n, mine := s.next[p]; mine {
			list.Entries = append(list.Entries, fmt.Appendf(nil, "%d:%d", p, n))
		}
	}
	return func(context.Context) ([]operator.List, error) { return []operator.List{list}, nil }, nil
}

func (*parted) Close() error { return nil }

// env gathers what a core reports.
type env struct {
	tasktest.NoEnv
	async map[int64]task.Async
	acks  map[int64]map[string]snapshot.SubtaskState
	ended bool
}

func (e *env) StartAsync(b record.Barrier, run task.Async) { e.async[b.Checkpoint] = run }
func (e *env) CancelAsync(id int64)                        { delete(e.async, id) }
func (e *env) EndOfData()                                  { e.ended = true }
func (e *env) Ack(id int64, ops map[string]snapshot.SubtaskState, _ protocol.AckMetrics) {
	e.acks[id] = ops
}

// job is a job of source and sink in one chain, on real task cores, with a coordinator that the test plays.
type job struct {
	t       *testing.T
	out     *txntest.Outside
	id      string
	attempt int64
	lastID  int64
	cores   []*task.Core
	envs    []*env
	wakes   []chan struct{}
	// blocking says that the sink is a client whose calls block.
	blocking bool
	// bounded says that the input ends, as it does when the job may run to its end.
	bounded bool
	// committed is the newest complete snapshot, encoded; nil for none.
	committed []byte
}

func newJob(t *testing.T, blocking bool) *job {
	t.Helper()
	return &job{t: t, out: txntest.NewOutside(), id: "j", blocking: blocking}
}

// both runs a test with each form of a sink.
func both(t *testing.T, f func(t *testing.T, blocking bool)) {
	t.Helper()
	t.Parallel()
	t.Run("sink", func(t *testing.T) { t.Parallel(); f(t, false) })
	t.Run("blocking client", func(t *testing.T) { t.Parallel(); f(t, true) })
}

func (j *job) plan(parallelism int) *graph.Plan {
	j.t.Helper()
	plan, err := graph.NewPlan(&graph.Graph{Nodes: []*graph.Node{
		{Name: "in", Output: ints, Bounded: true, NewSource: func() operator.Source { return &parted{bounded: &j.bounded} }},
		{
			Name: "out", Inputs: []graph.Edge{{From: "in"}}, Transactional: true,
			NewOperator: func() operator.Operator {
				if j.blocking {
					return txn.NewOperator(txn.Blocking(txntest.NewClient(j.out)))
				}
				return txn.NewOperator(txntest.NewSink(j.out))
			},
		},
	}}, graph.Options{Parallelism: parallelism, MaxParallelism: 16})
	if err != nil {
		j.t.Fatal(err)
	}
	return plan
}

// manifest decodes the newest complete snapshot.
func (j *job) manifest() *snapshot.Manifest {
	j.t.Helper()
	if j.committed == nil {
		return nil
	}
	m, err := snapshot.DecodeManifest(j.committed)
	if err != nil {
		j.t.Fatal(err)
	}
	return m
}

// start deploys an attempt from the committed snapshot.
func (j *job) start(parallelism int) error {
	j.t.Helper()
	j.attempt++
	plan, m := j.plan(parallelism), j.manifest()
	given, err := assign.Assign(assign.ShapeOf(plan), m, assign.Options{})
	if err != nil {
		j.t.Fatal(err)
	}
	from := int64(0)
	if m != nil {
		from = m.Checkpoint
	}
	j.cores, j.envs, j.wakes = nil, nil, nil
	v := plan.Vertices[0]
	for s := range v.Parallelism {
		e := &env{async: map[int64]task.Async{}, acks: map[int64]map[string]snapshot.SubtaskState{}}
		wake := make(chan struct{}, 1)
		c := task.New(task.Options{
			Plan: plan, Vertex: v, Subtask: s, Deployment: given[protocol.TaskID{Vertex: v.Name, Subtask: s}],
			Attempt: protocol.Attempt{K: j.attempt}, RestoredFrom: from, JobID: j.id, Checkpointed: true, Env: e,
			Now: func() time.Time { return time.Unix(0, 0) }, Log: logr.Discard(),
			Wake: func() {
				select {
				case wake <- struct{}{}:
				default:
				}
			},
		})
		j.cores, j.envs, j.wakes = append(j.cores, c), append(j.envs, e), append(j.wakes, wake)
		if err := errors.Join(c.Open(j.t.Context()), c.Start()); err != nil {
			return err
		}
	}
	return nil
}

// kill ends the attempt. What the sinks say while they are closed is of no interest.
func (j *job) kill() {
	for _, c := range j.cores {
		_ = c.Close()
	}
	j.cores, j.envs = nil, nil
}

// recover starts again until that succeeds.
func (j *job) recover() {
	j.t.Helper()
	for range 1000 {
		j.kill()
		if j.start(1+int(j.attempt)%maxPar) == nil {
			return
		}
	}
	j.t.Fatal("the job doesn't start")
}

func (j *job) poll(times int) error {
	for range times {
		for i, c := range j.cores {
			if !c.Pollable() {
				continue
			}
			_, _, err := c.Poll()
			for err == nil && c.Paused() {
				<-j.wakes[i]
				err = c.Resume()
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

var errDeclined = errors.New("declined")

// snapshot takes one and returns its manifest, encoded.
func (j *job) snapshot(b record.Barrier) ([]byte, error) {
	j.t.Helper()
	j.lastID++
	b.Checkpoint = j.lastID
	for _, c := range j.cores {
		if err := c.Trigger(b); err != nil {
			return nil, err
		}
	}
	m := &snapshot.Manifest{JobID: j.id, Checkpoint: b.Checkpoint, Kind: b.Kind, Stop: b.Stop, Attempt: "1-1-1", MaxParallelism: 16}
	ops := map[string]*snapshot.OperatorState{}
	for i, c := range j.cores {
		e := j.envs[i]
		run := e.async[b.Checkpoint]
		if run == nil {
			continue // finished
		}
		r, err := run(j.t.Context(), nil)
		c.AsyncDone(b.Checkpoint, r, err)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errDeclined, err)
		}
		for name, s := range e.acks[b.Checkpoint] {
			if ops[name] == nil {
				ops[name] = &snapshot.OperatorState{Name: name, Parallelism: len(j.cores)}
			}
			ops[name].Subtasks = append(ops[name].Subtasks, s)
		}
	}
	for _, o := range ops {
		m.Operators = append(m.Operators, *o)
	}
	return snapshot.EncodeManifest(m)
}

// checkpoint takes one that completes; without notify nobody hears of it.
func (j *job) checkpoint(notify bool) error {
	m, err := j.snapshot(record.Barrier{})
	if err != nil {
		return j.given(err)
	}
	j.committed = m
	if !notify {
		return nil
	}
	return j.complete(j.lastID, record.StopNone)
}

// given makes of a decline what the coordinator makes of it: the snapshot is given up, the job goes on.
func (j *job) given(err error) error {
	if !errors.Is(err, errDeclined) {
		return err
	}
	for _, c := range j.cores {
		if err := c.Aborted(j.lastID); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) complete(id int64, stop record.StopMode) error {
	for _, c := range j.cores {
		if err := c.Complete(j.t.Context(), id, stop); err != nil {
			return err
		}
	}
	return nil
}

// covered returns the rows before the positions of the committed snapshot.
func (j *job) covered() []int64 {
	j.t.Helper()
	m := j.manifest()
	if m == nil {
		return nil
	}
	var rows []int64
	for _, o := range m.Operators {
		for _, s := range o.Subtasks {
			for _, l := range s.Lists {
				if l.Name != "positions" {
					continue
				}
				for _, e := range l.Entries {
					p, n, err := position(e)
					if err != nil {
						j.t.Fatal(err)
					}
					for i := range n {
						rows = append(rows, int64(p)*perPart+i)
					}
				}
			}
		}
	}
	slices.Sort(rows)
	return rows
}

// check holds what is visible against what may be.
func (j *job) check() {
	j.t.Helper()
	may := map[int64]bool{}
	for _, r := range j.covered() {
		may[r] = true
	}
	rows := j.out.Visible()
	for i, r := range rows {
		if i > 0 && rows[i-1] == r {
			j.t.Fatalf("row %d is visible twice", r)
		}
		if !may[r] {
			j.t.Fatalf("row %d is visible, but not covered by a complete snapshot", r)
		}
	}
	if v := j.out.Violations(); len(v) > 0 {
		j.t.Fatal(v)
	}
}

// exact says that what the committed snapshot covers is visible.
func (j *job) exact() {
	j.t.Helper()
	if d := cmp.Diff(j.covered(), j.out.Visible()); d != "" {
		j.t.Fatalf("visible rows (-want +got):\n%s", d)
	}
	j.check()
}

// end lets the job run to the end of its input without trouble: the last checkpoint commits the last transactions.
func (j *job) end() {
	j.t.Helper()
	j.out.Fault, j.bounded = nil, true
	j.kill()
	if err := j.start(2); err != nil {
		j.t.Fatal(err)
	}
	if err := j.poll(2 * perPart); err != nil {
		j.t.Fatal(err)
	}
	for i, e := range j.envs {
		if !e.ended || j.cores[i].Finished() {
			j.t.Fatalf("subtask %d: end of data %v, finished before its last checkpoint %v", i, e.ended, j.cores[i].Finished())
		}
	}
	if err := j.checkpoint(true); err != nil {
		j.t.Fatal(err)
	}
	for i, c := range j.cores {
		if !c.Finished() {
			j.t.Fatalf("subtask %d isn't finished", i)
		}
	}
	j.exact()
	if n := len(j.out.Visible()); n != parts*perPart {
		j.t.Fatalf("%d rows are visible, want %d", n, parts*perPart)
	}
	j.kill()
	if n := j.out.Count(txntest.Open) + j.out.Count(txntest.PreCommitted); n > 0 {
		j.t.Fatalf("%d transactions are left over", n)
	}
}

// script is a life with every kind of step; a step that fails restarts the job.
func (j *job) script() {
	j.t.Helper()
	steps := []func() error{
		func() error { return j.start(2) },
		func() error { return j.poll(3) },
		func() error { return j.checkpoint(true) },
		func() error { return j.poll(2) },
		func() error { // given up
			_, err := j.snapshot(record.Barrier{})
			for _, c := range j.cores {
				err = errors.Join(err, c.Aborted(j.lastID))
			}
			if errors.Is(err, errDeclined) {
				return nil
			}
			return err
		},
		func() error { return j.poll(1) },
		func() error { _, err := j.snapshot(record.Barrier{Kind: record.Savepoint}); return j.given(err) },
		func() error { return j.checkpoint(false) }, // the notification is lost
		func() error { return j.poll(2) },
		func() error { j.kill(); return j.start(3) },
		func() error { return j.poll(2) },
		func() error { return j.checkpoint(false) },
		func() error { return j.poll(1) },
		func() error { return j.checkpoint(true) }, // covers both
		func() error { return j.poll(1) },
		j.stop,
	}
	for _, s := range steps {
		if err := s(); err != nil {
			j.recover()
		}
		j.check()
	}
}

// stop stops with a savepoint, which commits, and starts again from it.
func (j *job) stop() error {
	m, err := j.snapshot(record.Barrier{Kind: record.Savepoint, Stop: record.StopFreeze})
	if err != nil {
		return j.given(err)
	}
	j.committed = m
	if err := j.complete(j.lastID, record.StopFreeze); err != nil {
		return err // it was written, but some task didn't stop
	}
	for i, c := range j.cores {
		if !c.Finished() {
			j.t.Fatalf("subtask %d is still there after the stop", i)
		}
	}
	j.exact()
	j.kill()
	return j.start(1)
}

func TestJob_WithoutTrouble(t *testing.T) { both(t, testWithoutTrouble) }

func testWithoutTrouble(t *testing.T, blocking bool) {
	t.Helper()
	j := newJob(t, blocking)
	j.script()
	j.end()
}

// Every call to the outside fails once, before or after it is done: in each phase of a transaction.
func TestJob_FaultAtEveryCall(t *testing.T) { both(t, testFaultAtEveryCall) }

func testFaultAtEveryCall(t *testing.T, blocking bool) {
	t.Helper()
	counted := newJob(t, blocking)
	hit := map[txntest.Phase]int{}
	counted.out.Fault = func(p txntest.Phase, _ int) txntest.Fault { hit[p]++; return txntest.None }
	counted.script()
	total := counted.out.Calls()
	for _, p := range []txntest.Phase{txntest.Connect, txntest.Begin, txntest.Write, txntest.PreCommit, txntest.Commit, txntest.AbortLeftovers, txntest.Abort} {
		if hit[p] == 0 {
			t.Fatalf("the script makes no call of phase %s, only %v", p, slices.Collect(maps.Keys(hit)))
		}
	}
	tests := map[string]struct {
		fault txntest.Fault
		times int
	}{
		"lost": {txntest.Before, 1}, "answer lost": {txntest.After, 1}, "four lost": {txntest.Before, 4}, "four answers lost": {txntest.After, 4},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := range total {
				j := newJob(t, blocking)
				j.out.Fault = func(_ txntest.Phase, call int) txntest.Fault {
					if call >= at && call < at+tc.times {
						return tc.fault
					}
					return txntest.None
				}
				j.script()
				j.end()
				if t.Failed() {
					t.Fatalf("with a fault at call %d", at)
				}
			}
		})
	}
}

func TestJob_RandomLife(t *testing.T) { both(t, testRandomLife) }

func testRandomLife(t *testing.T, blocking bool) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, i))
		j := newJob(t, blocking)
		j.out.Fault = func(txntest.Phase, int) txntest.Fault {
			switch r.IntN(40) {
			case 0:
				return txntest.Before
			case 1:
				return txntest.After
			}
			return txntest.None
		}
		j.randomLife(r)
		j.end()
		if t.Failed() {
			t.Fatalf("in life %d", i)
		}
	}
}

func (j *job) randomLife(r *rand.Rand) {
	j.t.Helper()
	j.recover()
	for range 30 {
		var err error
		switch r.IntN(8) {
		case 0, 1, 2:
			err = j.poll(1 + r.IntN(3))
		case 3:
			err = j.checkpoint(true)
		case 4:
			err = j.checkpoint(false)
		case 5:
			_, err = j.snapshot(record.Barrier{Kind: record.SnapshotKind(r.IntN(2))})
			if err = j.given(err); err == nil {
				for _, c := range j.cores {
					err = errors.Join(err, c.Aborted(j.lastID))
				}
			}
		case 6:
			if m := j.manifest(); m != nil {
				err = j.complete(m.Checkpoint, record.StopNone) // repeated or late
			}
		case 7:
			err = errors.New("killed")
		}
		if err != nil {
			j.recover()
		}
		j.check()
	}
}

// A transaction that the outside dropped is never passed over: the job fails for good, when it commits and when it restores.
func TestJob_ExpiredTransactionEndsTheJob(t *testing.T) { both(t, testExpiredTransactionEndsTheJob) }

func testExpiredTransactionEndsTheJob(t *testing.T, blocking bool) {
	t.Helper()
	j := newJob(t, blocking)
	for _, err := range []error{j.start(1), j.poll(2), j.checkpoint(false)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	j.out.Expire()
	err := j.complete(j.lastID, record.StopNone)
	if _, fatal := errors.AsType[*task.FatalError](err); !fatal {
		t.Errorf("on completion: got %v", err)
	}
	j.kill()
	err = j.start(1)
	if _, fatal := errors.AsType[*task.FatalError](err); !fatal {
		t.Errorf("on restore: got %v", err)
	}
	if _, ok := errors.AsType[*txn.ExpiredError](err); !ok {
		t.Errorf("on restore: got %v", err)
	}
	j.kill()
	if rows := j.out.Visible(); len(rows) > 0 {
		t.Errorf("rows %v are visible", rows)
	}
}

// A job started from the savepoint of another one commits what that holds, and touches nothing else of it.
func TestJob_ForkFromASavepoint(t *testing.T) { both(t, testForkFromASavepoint) }

func testForkFromASavepoint(t *testing.T, blocking bool) {
	t.Helper()
	j := newJob(t, blocking)
	for _, err := range []error{j.start(2), j.poll(2), j.checkpoint(true), j.poll(1)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	m, err := j.snapshot(record.Barrier{Kind: record.Savepoint})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.poll(1); err != nil { // open when the fork starts
		t.Fatal(err)
	}
	fork := &job{t: t, out: j.out, id: "fork", blocking: blocking, committed: m, lastID: j.lastID}
	if err := fork.start(3); err != nil {
		t.Fatal(err)
	}
	fork.exact()
	if n := j.out.Count(txntest.Aborted); n > 0 {
		t.Errorf("the fork aborted %d transactions", n)
	}
	fork.kill()
	for _, err := range []error{j.checkpoint(true)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	j.exact()
	j.kill()
}
