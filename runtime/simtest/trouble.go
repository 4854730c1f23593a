// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"fmt"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// scheduleTrouble lets the next fault happen.
func (w *world) scheduleTrouble() {
	d := w.clock.between(0, 2*w.faults.between)
	w.clock.after(nil, d, func() {
		if !w.faulty() {
			return
		}
		w.trouble()
		w.scheduleTrouble()
	})
}

func (w *world) trouble() {
	if w.scenario.rewinds && w.clock.chance(4) {
		w.abandon()
		return
	}
	switch w.clock.rnd.IntN(20) {
	case 0, 1, 2, 3:
		w.killWorker()
	case 4, 5, 6:
		w.killCoordinator(w.version.leads)
	case 7, 8, 9:
		w.pauseCoordinator(w.version.leads)
	case 10:
		w.abandon()
	case 11, 12, 13:
		w.pauseWorker()
	case 14, 15:
		w.breakControl()
	case 16, 17:
		w.breakData()
	case 18:
		if w.scenario.volatile {
			return
		}
		w.outage = w.clock.now.Add(w.clock.between(0, 5*time.Second))
		w.tracef(nil, "storage fails for %v", w.outage.Sub(w.clock.now))
	case 19:
		if w.scenario.volatile {
			return
		}
		w.outage = w.clock.now.Add(w.clock.between(0, 45*time.Second))
		w.tracef(nil, "storage fails for %v", w.outage.Sub(w.clock.now))
	}
}

// storageDown says whether storage fails every call.
func (w *world) storageDown() bool { return w.clock.now.Before(w.outage) }

// anyWorker picks a living worker of the present version, or nil.
func (w *world) anyWorker() *worker {
	var alive []*worker
	for _, k := range w.workers {
		if !k.p.dead {
			alive = append(alive, k)
		}
	}
	if len(alive) == 0 {
		return nil
	}
	return alive[w.clock.rnd.IntN(len(alive))]
}

func (w *world) killWorker() {
	if k := w.anyWorker(); k != nil {
		w.loseWorker(k)
	}
}

// loseWorker kills a worker process; another one takes its place.
func (w *world) loseWorker(k *worker) {
	k.kill("killed")
	v := w.version
	w.clock.after(nil, w.clock.between(0, 2*time.Second), func() {
		if w.version == v && !w.done {
			w.startWorker()
		}
	})
}

func (w *world) killCoordinator(c *coordinator) {
	if c == nil || c.p.dead {
		return
	}
	w.tracef(c.p, "is killed")
	c.p.dead = true
	for _, name := range sortedKeys(c.conns) {
		c.conns[name].shut(true)
	}
	w.clock.after(nil, w.clock.between(0, 2*time.Second), w.takeOver(c))
}

// pauseCoordinator stops a coordinator in the middle of whatever it does. Perhaps another one takes over before it wakes up.
func (w *world) pauseCoordinator(c *coordinator) {
	if c == nil || c.p.dead || c.p.paused || !c.lead {
		return
	}
	w.tracef(c.p, "is paused")
	c.p.paused = true
	sleep := w.clock.between(0, 6*time.Second)
	if w.sweeps {
		sleep = min(sleep, sweptPause)
	}
	w.clock.after(nil, sleep, func() {
		w.tracef(c.p, "wakes up")
		c.p.resume()
	})
	// Workers hang up on a coordinator that is silent.
	silent := w.clock.between(500*time.Millisecond, 2*time.Second)
	w.clock.after(nil, silent, func() {
		if c.p.paused {
			for _, name := range sortedKeys(c.conns) {
				c.conns[name].shut(true)
			}
		}
	})
	if w.clock.chance(2) && !w.scenario.volatile {
		w.clock.after(nil, w.clock.between(0, sleep), w.takeOver(c))
	}
}

// abandon cuts the present version off from whoever started it: the next one starts beside it, under a higher grant. The old
// coordinator and its workers go on for a while, and may be started again by their node.
func (w *world) abandon() {
	v := w.version
	if v.leads == nil || !v.leads.lead || w.scenario.deletes || w.scenario.volatile {
		return
	}
	w.tracef(nil, "version %d is cut off, the next one starts", v.number)
	w.nextVersion()
	w.clock.after(nil, w.clock.between(time.Second, 12*time.Second), func() {
		v.gone = true
		if c := v.leads; !c.p.dead {
			w.tracef(c.p, "is killed, its version is over")
			c.p.dead = true
			for _, name := range sortedKeys(c.conns) {
				c.conns[name].shut(true)
			}
		}
	})
}

func (w *world) pauseWorker() {
	k := w.anyWorker()
	if k == nil || k.p.paused {
		return
	}
	w.tracef(k.p, "is paused")
	k.p.paused = true
	w.clock.after(nil, w.clock.between(0, 4*time.Second), func() {
		w.tracef(k.p, "wakes up")
		k.p.resume()
	})
	w.clock.after(nil, w.clock.between(500*time.Millisecond, 2*time.Second), func() {
		if k.p.paused && k.conn != nil {
			k.conn.shut(true)
		}
	})
}

func (w *world) breakControl() {
	if k := w.anyWorker(); k != nil && k.conn != nil {
		w.tracef(k.p, "loses its connection to the coordinator")
		k.conn.shut(true)
	}
}

// breakData breaks the exchange of two workers in one direction.
func (w *world) breakData() {
	a, b := w.anyWorker(), w.anyWorker()
	if a == nil || a == b {
		return
	}
	w.tracef(a.p, "loses its connection to %s", b.p.name)
	for _, g := range a.regions {
		for _, t := range g.tasks {
			t.breakTo(b)
		}
	}
}

// breakTo breaks the channels from a task to a worker.
func (t *taskRun) breakTo(b *worker) {
	for _, p := range t.outputs {
		if p.to != nil && p.to.worker == b {
			p.fail("the connection broke")
		}
	}
}

// users ask for savepoints, checkpoints and the end of the job. They ask again until they hear the outcome.
type users struct {
	w    *world
	n    int
	open map[string]*request
}

type request struct {
	id        string
	version   *version
	kind      snapshot.OperationType
	stop      record.StopMode
	savepoint bool
	timeout   time.Duration
}

// schedule lets the next request come.
func (u *users) schedule() {
	u.w.clock.after(nil, u.w.clock.between(100*time.Millisecond, 3*time.Second), func() {
		if !u.w.faulty() {
			return
		}
		u.ask()
		u.schedule()
	})
}

// changePolicy gives the job another policy, which a coordinator that starts later finds in its configuration.
func (u *users) changePolicy() {
	w, v := u.w, u.w.version
	v.changePolicy(w.clock.rnd)
	c := *v.config.Checkpointing
	c.Alignment = nil
	w.tracef(nil, "a user changes the policy to %+v", c)
	if lead := v.leads; lead != nil && lead.lead {
		u.applyPolicy(lead, fmt.Sprintf("policy%d", u.n))
	}
}

// applyPolicy tells a coordinator of the policy of its version.
func (u *users) applyPolicy(lead *coordinator, revision string) {
	w, v := u.w, lead.version
	p := contract.Policy{Revision: revision, Checkpointing: v.config.Checkpointing, Restart: v.config.Restart}
	lead.p.run(func() {
		lead.do(func(now time.Time) {
			if err := lead.machine.HandlePolicy(now, p); err != nil && !strings.Contains(err.Error(), "has ended") {
				w.failf("the policy was refused: %v", err)
			}
		})
	})
}

func (u *users) ask() {
	u.n++
	if u.w.clock.chance(4) {
		u.changePolicy()
		return
	}
	r := &request{id: fmt.Sprintf("op%d", u.n), version: u.w.version}
	switch u.w.clock.rnd.IntN(8) {
	case 0, 1, 2:
		r.kind = snapshot.OperationSavepoint
	case 3:
		r.kind = snapshot.OperationCheckpoint
	case 4, 5:
		r.kind, r.stop = snapshot.OperationStop, record.StopFreeze
	case 6:
		r.kind, r.stop = snapshot.OperationStop, record.StopDrain
	case 7:
		r.kind, r.savepoint = snapshot.OperationCancel, u.w.clock.chance(2)
	}
	if u.w.scenario.deletes && (r.kind == snapshot.OperationStop || r.savepoint) {
		r.kind, r.stop, r.savepoint = snapshot.OperationCancel, record.StopNone, false
	}
	switch {
	case u.w.scenario.rare && u.w.clock.chance(2):
		r.timeout = u.w.clock.between(20*time.Millisecond, 400*time.Millisecond)
	case u.w.clock.chance(4):
		r.timeout = u.w.clock.between(50*time.Millisecond, 2*time.Second)
	}
	u.open[r.id] = r
	u.w.tracef(nil, "a user asks for %s %s stop=%d", r.kind, r.id, r.stop)
	u.send(r)
}

// send asks the coordinator that leads, and later again.
func (u *users) send(r *request) {
	w := u.w
	if u.open[r.id] == nil || r.version != w.version {
		return
	}
	if c := w.version.leads; c != nil && c.lead {
		c.p.run(func() {
			c.do(func(now time.Time) {
				switch r.kind {
				case snapshot.OperationCheckpoint:
					c.machine.HandleCheckpoint(now, r.id)
				case snapshot.OperationCancel:
					c.machine.HandleCancel(now, job.CancelRequest{Operation: r.id, Savepoint: r.savepoint, Timeout: r.timeout})
				default:
					c.machine.HandleSavepoint(now, checkpoint.SavepointRequest{Operation: r.id, Stop: r.stop, Timeout: r.timeout})
				}
			})
		})
	}
	w.clock.after(nil, w.clock.between(100*time.Millisecond, 3*time.Second), func() { u.send(r) })
}

// replied takes the outcome of an operation.
func (w *world) replied(l *lineage, o snapshot.Operation) {
	r := w.users.open[o.ID]
	if r == nil {
		return
	}
	if o.Outcome == snapshot.OutcomeUnknown || strings.Contains(o.Error, " ask again ") {
		return // and it is asked again
	}
	delete(w.users.open, o.ID)
	if w.closing == r.version && o.Outcome != snapshot.OutcomeDone {
		w.closing = nil // and it is tried again
	}
	if o.Outcome != snapshot.OutcomeDone || o.Checkpoint == 0 {
		return
	}
	if w.scenario.volatile && o.Type != snapshot.OperationCheckpoint {
		w.failf("operation %s is told to be done with a savepoint, but there is no storage", o.ID)
	}
	if !l.named[o.Checkpoint] {
		w.failf("operation %s is told to be done with snapshot %d, which no head names", o.ID, o.Checkpoint)
	}
	if o.Type == snapshot.OperationSavepoint || o.Type == snapshot.OperationStop {
		w.savepoints = append(w.savepoints, savepoint{o.Path, l.out})
	}
	if o.Type == snapshot.OperationStop {
		l.checkOutput(false)
	}
}
