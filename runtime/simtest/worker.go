// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
)

// fenceTimeout is how long tasks go on without a coordinator.
const fenceTimeout = 5 * time.Second

// worker is the shell of one worker process.
type worker struct {
	w       *world
	p       *process
	version *version
	slots   int

	conn  *conn
	out   []protocol.FromWorker // for the next connection
	epoch protocol.Epoch
	// void are the newest attempts that must not start any more, by region; regions the newest of each, in order of their first deployment.
	void    map[string]protocol.Attempt
	regions []*attempt
	// fence counts the times a connection was made, so that an old fence doesn't count.
	fence int
	ready bool // registered on the connection
}

// attempt is one deployment of tasks on a worker.
type attempt struct {
	worker *worker
	deploy *protocol.Deploy
	tasks  []*taskRun
	ended  bool
}

// startWorker starts a worker process of the present version.
func (w *world) startWorker() {
	w.started++
	k := &worker{w: w, p: &process{name: fmt.Sprintf("worker-%d", w.started), skew: w.skews.draw(w.skews.worker)}, version: w.version, slots: w.slots}
	w.workers = append(w.workers, k)
	w.tracef(k.p, "starts")
	k.connect()
}

// now is the time by the clock of its machine.
func (k *worker) now() time.Time { return k.w.timeOf(k.p) }

// connect dials the coordinator that leads now.
func (k *worker) connect() {
	k.w.clock.after(k.p, k.w.clock.between(time.Millisecond, 100*time.Millisecond), func() {
		c := k.version.leads
		if k.conn != nil || k.w.done || k.version.gone {
			return
		}
		if c == nil || c.p.dead || !c.lead {
			k.connect()
			return
		}
		k.conn, k.ready = &conn{w: k.w, c: c, worker: k}, false
		r := protocol.Register{Worker: k.p.name, Slots: k.slots, DataAddr: k.p.name, Fingerprint: k.version.plan.Fingerprint}
		k.conn.toCoordinator(protocol.FromWorker{Register: &r})
		// Nothing heard of a paused coordinator: hang up.
		conn := k.conn
		k.w.clock.after(k.p, 3*time.Second, func() {
			if k.conn == conn && !k.ready {
				conn.shut(true)
			}
		})
	})
}

// disconnected takes the end of a connection: the tasks go on for a while.
func (k *worker) disconnected(c *conn) {
	if k.conn != c {
		return
	}
	k.conn, k.ready = nil, false
	k.fence++
	fence, running := k.fence, slices.Clone(k.regions)
	k.w.clock.after(k.p, fenceTimeout, func() {
		if fence == k.fence {
			endAll(running)
		}
	})
	k.connect()
}

// send passes a message to the coordinator, now or on the next connection.
func (k *worker) send(m protocol.FromWorker) {
	k.w.traceFromWorker(k, m)
	if k.w.tap != nil {
		k.w.tap(k, m)
		return
	}
	k.transmit(m)
	if m.Ack != nil && k.w.clock.chance(10) {
		// Acknowledgements may come twice, and late.
		k.w.clock.after(k.p, k.w.clock.between(0, 2*time.Second), func() { k.transmit(m) })
	}
}

func (k *worker) transmit(m protocol.FromWorker) {
	if k.conn == nil || !k.ready {
		k.out = append(k.out, m)
		return
	}
	k.conn.toCoordinator(m)
}

// receive takes a message of the coordinator.
func (k *worker) receive(c *conn, m protocol.ToWorker) {
	if k.conn != c || k.w.failure != nil {
		return
	}
	k.w.traceToWorker(k, m)
	if k.w.faulty() && k.w.clock.chance(k.w.faults.crash*4) {
		k.w.loseWorker(k)
		return
	}
	switch {
	case m.Registered != nil:
		k.registered(c, m.Registered)
	case m.Refused != "":
		k.w.failf("%s is refused: %s", k.p.name, m.Refused)
	case m.Shutdown:
		k.kill("is told to end")
	case m.Deploy != nil:
		k.deploy(m.Deploy)
	case m.Cancel != nil:
		k.cancelUpTo(m.Cancel)
	case m.Trigger != nil:
		if a := k.attempt(m.Trigger.Attempt); a != nil {
			a.trigger(m.Trigger)
		}
	case m.Complete != nil, m.Aborted != nil:
		k.hear(m)
	}
}

// lateness is how late the end of a snapshot may be heard of.
const lateness = 1500 * time.Millisecond

// hear takes what became of a snapshot. Such news may come late, behind what was sent after it, and twice.
func (k *worker) hear(m protocol.ToWorker) {
	clock := k.w.clock
	late := k.w.faulty() && clock.chance(15) || k.w.choosesBase(m)
	if late || clock.chance(10) {
		clock.after(k.p, clock.between(0, lateness), func() { k.notify(m, " late") })
	}
	if !late {
		k.notify(m, "")
	}
}

// notify tells the tasks of the end of a snapshot, if they still run.
func (k *worker) notify(m protocol.ToWorker, how string) {
	if k.w.failure != nil {
		return
	}
	if how != "" && k.w.tracing {
		k.w.tracef(k.p, "hears%s of %s", how, describeNews(m))
	}
	switch {
	case m.Complete != nil:
		if a := k.attempt(m.Complete.Attempt); a != nil {
			a.complete(m.Complete)
		}
	case m.Aborted != nil:
		if a := k.attempt(m.Aborted.Attempt); a != nil {
			a.aborted(m.Aborted)
		}
	}
}

func (k *worker) registered(c *conn, r *protocol.Registered) {
	if r.Epoch.Compare(k.epoch) < 0 {
		c.shut(true)
		return
	}
	k.ready = true
	k.fence++
	if r.Epoch.Compare(k.epoch) > 0 {
		k.epoch = r.Epoch
		endAll(k.regions)
	}
	out := k.out
	k.out = nil
	for _, m := range out {
		c.toCoordinator(m)
	}
}

// attempt returns the running attempt if it is the given one.
func (k *worker) attempt(id protocol.Attempt) *attempt {
	for _, a := range k.regions {
		if !a.ended && a.deploy.Attempt == id {
			return a
		}
	}
	return nil
}

// endAll cancels all tasks of some attempts.
func endAll(attempts []*attempt) {
	for _, a := range attempts {
		a.end(nil)
	}
}

// region is the place of a region in k.regions, or -1.
func (k *worker) region(name string) int {
	return slices.IndexFunc(k.regions, func(a *attempt) bool { return a.deploy.Region == name })
}

func (k *worker) deploy(d *protocol.Deploy) {
	var last *attempt
	i := k.region(d.Region)
	if i >= 0 {
		last = k.regions[i]
	}
	if d.Attempt.Compare(k.void[d.Region]) <= 0 || last != nil && d.Attempt.Compare(last.deploy.Attempt) <= 0 || d.Attempt.Epoch.Compare(k.epoch) < 0 {
		return
	}
	if last != nil {
		last.end(nil)
	}
	a := &attempt{worker: k, deploy: d}
	if i >= 0 {
		k.regions[i] = a
	} else {
		k.regions = append(k.regions, a)
	}
	for i := range d.Tasks {
		t := newTaskRun(a, &d.Tasks[i])
		a.tasks = append(a.tasks, t)
	}
	for _, t := range a.tasks {
		t.report(protocol.TaskDeploying, nil)
		// Reading state takes time.
		k.w.clock.after(k.p, k.w.clock.between(time.Millisecond, 50*time.Millisecond), t.open)
	}
}

func (k *worker) cancelUpTo(c *protocol.Cancel) {
	if c.Attempt.Compare(k.void[c.Region]) > 0 {
		if k.void == nil {
			k.void = map[string]protocol.Attempt{}
		}
		k.void[c.Region] = c.Attempt
	}
	if i := k.region(c.Region); i >= 0 && k.regions[i].deploy.Attempt.Compare(c.Attempt) <= 0 {
		k.regions[i].end(nil)
	}
}

// kill ends the process at once.
func (k *worker) kill(why string) {
	if k.p.dead {
		return
	}
	k.w.tracef(k.p, "dies: %s", why)
	k.p.dead = true
	for _, a := range k.regions {
		a.ended = true
		for _, t := range a.tasks {
			t.stop()
		}
		a.hangUp(k.p.name + " died")
	}
	if k.conn != nil {
		k.conn.shut(true)
	}
}

// end cancels all tasks; a cause other than nil is reported as a failure.
func (a *attempt) end(cause error) {
	if a.ended {
		return
	}
	a.ended = true
	for _, t := range a.tasks {
		if t.stopped || t.finished {
			t.stop()
			continue
		}
		t.stop()
		state := protocol.TaskCanceled
		if cause != nil {
			state = protocol.TaskFailed
		}
		a.worker.w.clock.after(a.worker.p, a.worker.w.clock.between(0, 20*time.Millisecond), func() { t.report(state, cause) })
	}
	if a.worker.w.clock.chance(2) {
		a.hangUp("the attempt ended on " + a.worker.p.name)
	}
}

func (a *attempt) hangUp(why string) {
	for _, t := range a.tasks {
		t.hangUp(why)
	}
}

// fail takes the failure of one task: it is reported, the others go on until they are cancelled.
func (a *attempt) fail(t *taskRun, err error) {
	if a.ended || t.stopped || t.finished {
		return
	}
	a.worker.w.tracef(a.worker.p, "task %s fails: %v", t.id, err)
	if errors.Is(err, errBroken) {
		a.end(err)
		return
	}
	t.stop()
	t.report(protocol.TaskFailed, err)
}

var errBroken = errors.New("a channel broke")

func (a *attempt) trigger(m *protocol.Trigger) {
	for _, t := range a.tasks {
		if !slices.Contains(m.Tasks, t.id) {
			continue
		}
		if t.finished || t.stopped {
			continue
		}
		m := t.ownBase(m)
		t.post(func() error {
			if t.triggeredItself() {
				t.answers.owe(m.Barrier.Checkpoint)
			}
			return t.core.Trigger(m.Barrier)
		})
	}
}

func (a *attempt) complete(m *protocol.Complete) {
	for _, t := range a.tasks {
		if t.finished && m.Stop != record.StopNone {
			t.Notified(m.Checkpoint)
			continue
		}
		t.post(func() error {
			t.answers.give(m.Checkpoint)
			if slices.Contains(m.Stay, t.id) {
				t.core.Stay(m.Checkpoint)
			}
			t.thawed(m.Stop != record.StopNone && m.Checkpoint >= t.frozenBy)
			return t.core.Complete(a.worker.w.ctx, t.completed(m.Checkpoint), m.Stop)
		})
	}
}

func (a *attempt) aborted(m *protocol.Aborted) {
	for _, t := range a.tasks {
		if t.finished {
			t.Notified(m.Checkpoint)
			continue
		}
		t.post(func() error {
			t.answers.give(m.Checkpoint)
			frozen := t.core.Frozen()
			t.thawed(m.Checkpoint == t.frozenBy)
			err := t.core.Aborted(t.givenUp(m.Checkpoint))
			switch {
			case err != nil:
			case t.frozenBy == m.Checkpoint && t.core.Frozen():
				t.w.failf("task %s is still frozen by snapshot %d, which was given up", t.id, m.Checkpoint)
			case t.frozenBy != m.Checkpoint && frozen && !t.core.Frozen() && !t.core.Finished():
				t.w.failf("task %s, frozen by snapshot %d, goes on because snapshot %d was given up", t.id, t.frozenBy, m.Checkpoint)
			}
			return err
		})
	}
}

// place says on which worker a subtask runs.
func (a *attempt) place(subtask int) string { return a.deploy.Slots[subtask].Worker }

// pipe returns the channel of that id in the attempt, made by whoever asks first.
func (w *world) pipe(a protocol.Attempt, id graph.ChannelID, e *graph.PhysicalEdge) *pipe {
	key := pipeKey{a, id}
	p := w.pipes[key]
	if p == nil {
		p = &pipe{w: w, id: id, typ: e.Type}
		w.pipes[key] = p
	}
	return p
}

type pipeKey struct {
	attempt protocol.Attempt
	id      graph.ChannelID
}
