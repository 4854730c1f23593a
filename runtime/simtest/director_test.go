// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
)

// A director runs tasks under the real checkpoint coordinator, with a head that never fails to be swapped. After a
// failure it deploys all tasks anew from what the head names.
type director struct {
	w       *world
	plan    *version
	c       *checkpoint.Coordinator
	attempt protocol.Attempt
	head    snapshot.Head
	states  map[protocol.TaskID]protocol.TaskState
	atEnd   map[protocol.TaskID]bool
	started bool
	parts   []*worker
	last    map[*worker]time.Time
	wake    int
	ops     int
	// told counts how often tasks were told of the end of a snapshot.
	told map[int64]int
}

// begin makes the coordinator for the present plan.
func (d *director) begin() {
	cfg := d.plan.config.Checkpointing
	p := d.plan.jobPlan()
	c, err := checkpoint.New(checkpoint.Options{
		JobID: "j", MaxParallelism: p.MaxParallelism, Vertices: p.Vertices, Interval: cfg.Interval.D(), Timeout: cfg.Timeout.D(), MinPause: cfg.MinPause.D(),
		MaxConcurrent: cfg.MaxConcurrent, TolerableFailures: cfg.TolerableFailures, Retention: cfg.RetentionCount, Durable: true, Dir: d.w.line.dir,
		ResendInterval: 200 * time.Millisecond, ReserveIDs: 5, Rand: rand.New(rand.NewPCG(d.w.clock.rnd.Uint64(), 2)),
	}, d.head)
	if err != nil {
		d.w.failf("%v", err)
		return
	}
	d.c = c
	d.deploy()
}

func (d *director) deploy() {
	d.attempt.K++
	d.started = false
	d.states, d.atEnd = map[protocol.TaskID]protocol.TaskState{}, map[protocol.TaskID]bool{}
	var m *snapshot.Manifest
	n, found := d.head.Newest()
	if found {
		o, err := d.w.store.get(n.Path + snapshot.ManifestName)
		if err == nil {
			m, err = snapshot.DecodeManifest(o.data)
		}
		if err != nil {
			d.w.failf("reading the newest snapshot: %v", err)
			return
		}
	}
	tasks, err := assign.Assign(assign.ShapeOf(d.plan.plan), m, assign.Options{AllowDrained: true})
	if err != nil {
		d.w.failf("assigning: %v", err)
		return
	}
	var placed []protocol.Placement
	for i := range d.plan.plan.Slots {
		placed = append(placed, protocol.Placement{Worker: d.parts[i%len(d.parts)].p.name})
	}
	d.w.tracef(nil, "deploys %s from %d", d.attempt, n.ID)
	for i, k := range d.parts {
		k.version = d.plan
		dep := &protocol.Deploy{Attempt: d.attempt, Slots: placed, RestoredFrom: n.ID, RestoreDir: n.Path}
		for _, v := range d.plan.plan.Vertices {
			for s := range v.Parallelism {
				if s%len(d.parts) == i {
					dep.Tasks = append(dep.Tasks, tasks[protocol.TaskID{Vertex: v.Name, Subtask: s}])
				}
			}
		}
		d.post(k, func() { k.deploy(dep) })
	}
	d.w.restores++
}

// post brings something to a worker, or from it, in order.
func (d *director) post(k *worker, f func()) {
	at := d.w.clock.now.Add(d.w.clock.between(0, 10*time.Millisecond))
	if at.Before(d.last[k]) {
		at = d.last[k]
	}
	d.last[k] = at
	d.w.clock.after(nil, at.Sub(d.w.clock.now), f)
}

// do lets the coordinator handle something and carries out what it wants.
func (d *director) do(f func(now time.Time)) {
	if d.w.done || d.w.failure != nil {
		return
	}
	f(d.w.clock.now)
	for _, e := range d.c.Effects() {
		d.carryOut(e)
	}
	d.wake++
	wake := d.wake
	if at, ok := d.c.NextWake(); ok {
		d.w.clock.after(nil, max(0, at.Sub(d.w.clock.now)), func() {
			if wake == d.wake {
				d.do(d.c.HandleTime)
			}
		})
	}
}

func (d *director) later(f func(now time.Time)) {
	c := d.c
	d.w.clock.after(nil, d.w.clock.between(time.Millisecond, 30*time.Millisecond), func() {
		if d.c == c {
			d.do(f)
		}
	})
}

func (d *director) carryOut(e checkpoint.Effect) {
	w := d.w
	attempt := d.attempt
	switch e := e.(type) {
	case checkpoint.Trigger:
		for _, k := range d.parts {
			d.post(k, func() {
				if a := k.attempt(attempt); a != nil {
					w.tracef(k.p, "trigger %d", e.Barrier.Checkpoint)
					a.trigger(&protocol.Trigger{Attempt: attempt, Barrier: e.Barrier, Tasks: e.Tasks})
				}
			})
		}
	case checkpoint.NotifyComplete:
		if !w.line.named[e.Checkpoint] {
			w.failf("snapshot %d is announced before the head names it", e.Checkpoint)
		}
		for _, k := range d.parts {
			d.post(k, func() {
				if a := k.attempt(attempt); a != nil {
					w.tracef(k.p, "complete %d", e.Checkpoint)
					a.complete(&protocol.Complete{Attempt: attempt, Checkpoint: e.Checkpoint, Stop: e.Stop, Stay: e.Stay})
				}
			})
		}
	case checkpoint.NotifyAborted:
		if h := d.c.History(); len(h) > 0 && h[len(h)-1].Reason == checkpoint.ReasonPartialUnion {
			w.failf("snapshot %d is given up since a part of its union state has finished", e.Checkpoint)
		}
		if d.told[e.Checkpoint]++; d.told[e.Checkpoint] > 8 {
			w.failf("tasks are told %d times that snapshot %d was given up", d.told[e.Checkpoint], e.Checkpoint)
		}
		for _, k := range d.parts {
			d.post(k, func() {
				if a := k.attempt(attempt); a != nil {
					w.tracef(k.p, "aborted %d", e.Checkpoint)
					a.aborted(&protocol.Aborted{Attempt: attempt, Checkpoint: e.Checkpoint})
				}
			})
		}
	case checkpoint.WriteManifest:
		b, err := snapshot.EncodeManifest(e.Manifest)
		if err != nil {
			w.failf("%v", err)
			return
		}
		err = w.store.create(e.Path+snapshot.ManifestName, b)
		if w.faulty() && w.clock.chance(w.faults.storage) {
			err = errNoAnswer
		}
		d.later(func(now time.Time) {
			d.c.HandleManifestWritten(now, e.Checkpoint, snapshot.Checksum(b), int64(len(b)), err)
		})
	case checkpoint.UpdateHead:
		d.later(func(now time.Time) {
			h := d.head.Clone()
			h.Seq++
			e.Apply(&h)
			d.swapped(h)
			d.c.HandleHeadUpdated(now, e.Token)
		})
	case checkpoint.Delete:
		d.later(func(now time.Time) {
			names := e.Paths
			if e.Prefix != "" {
				names = slices.Concat(names, w.store.list(e.Prefix, now))
			}
			if err := w.store.remove(names); err != nil {
				w.failf("%v", err)
			}
			d.c.HandleDeleted(now, e.Token)
		})
	case checkpoint.Answer:
		w.tracef(nil, "answer %+v", e.Operation)
	case checkpoint.FailJob:
		d.fail(e.Reason)
	case checkpoint.Stopping:
		w.tracef(nil, "stopping")
	}
}

// swapped takes a new head.
func (d *director) swapped(h snapshot.Head) {
	for _, k := range h.Checkpoints {
		d.w.line.checkNamed(k.ID, k.Path, k.ManifestCRC32C, true)
	}
	for _, o := range h.Operations {
		if o.Checkpoint > 0 {
			d.w.line.checkNamed(o.Checkpoint, o.Path, o.ManifestCRC32C, o.NamesStop())
		}
	}
	d.head, d.w.line.head = h, h
}

// fail ends the attempt and starts another.
func (d *director) fail(why string) {
	a := d.attempt
	d.w.tracef(nil, "fails: %s", why)
	d.attempt.K++ // what comes from now on is stale
	d.c.Suspend(d.w.clock.now, checkpoint.ReasonTaskFailure, why)
	d.do(func(time.Time) {})
	for _, k := range d.parts {
		d.post(k, func() { k.cancelUpTo(&protocol.Cancel{Attempt: a}) })
	}
	d.again(d.attempt)
}

// again deploys once the head is settled: what is being committed decides what is restored.
func (d *director) again(a protocol.Attempt) {
	d.w.clock.after(nil, 100*time.Millisecond, func() {
		if d.attempt != a {
			return
		}
		if len(d.c.OpenOperations()) > 0 || len(d.c.Pending(d.w.clock.now)) > 0 {
			d.again(a)
			return
		}
		d.deploy()
	})
}

// receive takes a message of a worker.
func (d *director) receive(k *worker, m protocol.FromWorker) {
	d.post(k, func() { d.do(func(now time.Time) { d.handle(now, m) }) })
}

func (d *director) handle(now time.Time, m protocol.FromWorker) {
	switch {
	case m.Status != nil && m.Status.Attempt == d.attempt:
		d.status(now, m.Status)
	case m.Ack != nil:
		d.c.HandleAck(now, *m.Ack)
	case m.Decline != nil:
		d.c.HandleDecline(now, *m.Decline)
	case m.EndOfData != nil && m.EndOfData.Attempt == d.attempt:
		d.atEnd[m.EndOfData.Task] = true
		d.c.HandleEndOfData(now, *m.EndOfData)
	case m.Notified != nil:
		d.c.HandleNotified(now, *m.Notified)
	}
}

func (d *director) status(now time.Time, s *protocol.TaskStatus) {
	d.states[s.Task] = s.State
	if s.State == protocol.TaskFailed {
		d.fail(s.Error)
		return
	}
	ready, finished := true, true
	var starts []checkpoint.TaskStart
	for _, v := range d.plan.plan.Vertices {
		for i := range v.Parallelism {
			id := protocol.TaskID{Vertex: v.Name, Subtask: i}
			st := d.states[id]
			ready = ready && (st == protocol.TaskRunning || st == protocol.TaskFinished)
			finished = finished && st == protocol.TaskFinished
			starts = append(starts, checkpoint.TaskStart{Task: id, Finished: st == protocol.TaskFinished, EndOfData: d.atEnd[id]})
		}
	}
	switch {
	case ready && !d.started:
		d.started = true
		d.c.Start(now, d.attempt, starts)
	case d.started && s.State == protocol.TaskFinished:
		d.c.HandleFinished(now, s.Task)
	}
	if finished {
		d.allFinished(now)
	}
}

func (d *director) allFinished(now time.Time) {
	o, stopped := d.c.FinishStop(now)
	if !stopped {
		d.w.finish()
		return
	}
	d.w.line.checkOutput(false)
	h := d.head.Clone()
	h.SetOperation(o)
	d.swapped(h)
	d.attempt.K++
	var err error
	if d.plan, err = d.w.scenario.version(d.w.clock.rnd, 1, true, d.w.split, d.w.line.out); err != nil {
		d.w.failf("%v", err)
		return
	}
	d.w.version = d.plan
	d.w.tracef(nil, "%s", describePlan(d.plan.plan))
	d.w.versions++
	d.begin()
}

// request asks for something.
func (d *director) request() {
	if !d.w.faulty() || d.w.done {
		return
	}
	d.ops++
	id := fmt.Sprintf("op%d", d.ops)
	d.do(func(now time.Time) {
		switch d.w.clock.rnd.IntN(5) {
		case 0:
			d.c.RequestCheckpoint(now, id)
		case 1:
			d.c.RequestSavepoint(now, checkpoint.SavepointRequest{Operation: id, Stop: record.StopNone})
		case 2:
			d.c.RequestSavepoint(now, checkpoint.SavepointRequest{Operation: id, Stop: record.StopFreeze})
		case 3:
			d.c.RequestSavepoint(now, checkpoint.SavepointRequest{Operation: id, Stop: record.StopDrain})
		case 4:
			d.fail("by chance")
		}
	})
	d.w.clock.after(nil, d.w.clock.between(100*time.Millisecond, 3*time.Second), d.request)
}

func runDirected(t *testing.T, seed uint64, trace bool) *world {
	t.Helper()
	w := newWorld(t.Context(), seed, Options{Trace: trace, Mutation: Mutation(*mutationFlag)})
	w.bound()
	w.describe()
	d := &director{w: w, last: map[*worker]time.Time{}, told: map[int64]int{}}
	var err error
	if d.plan, err = w.scenario.version(w.clock.rnd, 1, true, false, w.line.out); err != nil {
		t.Fatal(err)
	}
	w.version = d.plan
	w.tracef(nil, "%s", describePlan(d.plan.plan))
	w.tap = d.receive
	for i := range 1 + w.clock.rnd.IntN(3) {
		d.parts = append(d.parts, &worker{w: w, p: &process{name: fmt.Sprintf("worker-%d", i)}})
	}
	d.head = snapshot.Head{Format: 1, Seq: 1, JobID: "j", ReservedUntil: 1}
	d.begin()
	w.clock.after(nil, w.clock.between(100*time.Millisecond, 3*time.Second), d.request)
	for w.failure == nil && !w.done && w.clock.step() {
		w.checkLimits()
	}
	if w.failure == nil && !w.done {
		w.failf("nothing happens any more")
	}
	if w.failure != nil {
		w.failure = fmt.Errorf("%w (pending %+v, open %v)", w.failure, d.c.Pending(w.clock.now), d.c.OpenOperations())
	}
	return w
}

// TestCheckpoints checks tasks and the checkpoint coordinator without the life of the job around them.
func TestCheckpoints(t *testing.T) {
	if *seedFlag != 0 {
		w := runDirected(t, *seedFlag, true)
		for _, l := range w.trace {
			t.Log(l)
		}
		if w.failure != nil {
			t.Error(w.failure)
		}
		return
	}
	checkpoints, restores, versions := 0, 0, 0
	for seed := uint64(1); seed <= *seedsFlag && !t.Failed(); seed++ {
		w := runDirected(t, seed, false)
		checkpoints += w.checkpoints
		restores += w.restores
		versions += w.versions
		if w.failure != nil {
			t.Errorf("seed %d: %v\nreplay: go test ./runtime/simtest -run TestCheckpoints -seed=%d -v", seed, w.failure, seed)
		}
	}
	t.Logf("%d checkpoints, %d restores, %d stops", checkpoints, restores, versions)
}
