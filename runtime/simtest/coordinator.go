// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/assign"
	"github.com/weir-stream/weir/runtime/storage"
)

// coordinator is the shell of one incarnation.
type coordinator struct {
	w       *world
	p       *process
	machine *job.Machine
	owner   string
	line    *lineage
	version *version
	conns   map[string]*conn
	// head is the version of the head object as last read or swapped; empty for none.
	head string
	wake int64 // counts timers, so that only the newest counts
	// writing are the directories in which a manifest is being written.
	writing map[string]bool
	// givenUp is for the mutation that takes a checkpoint that was given up for a base.
	givenUp int64
	// restores is for the mutations that restore from another snapshot: its directory.
	restores map[string]string
	// learned are the directories whose manifest was read, learnedInTime those that were when the end of the job deleted checkpoints; nil
	// before that. inherited are the checkpoints that the head named when it was claimed.
	learned, learnedInTime map[string]bool
	inherited              []snapshot.CompletedCheckpoint
	// endedWith are the directories of checkpoints that the end of the job took out of the head.
	endedWith map[string]bool
	// acked is for the mutation that deletes files of duplicates.
	acked map[string]bool
	// lead is false once the incarnation exited; orderly says that it came to the end of its version.
	lead, orderly bool
	// endedJob says that it ended the job, hasty that it did so with deletions under way, of which there are as many as deleting says; refused that storage did
	// not carry out the last one.
	endedJob, hasty, refused bool
	deleting                 int
}

// How long a coordinator waits for something before it does without.
const (
	heartbeatTimeout = 5 * time.Second
	slotTimeout      = 20 * time.Second
	deployTimeout    = 5 * time.Second
	cancelTimeout    = 2 * time.Second
	stopTimeout      = 10 * time.Second
	cleanupTimeout   = 5 * time.Second
)

// startCoordinator starts an incarnation for a version and makes its workers find it. Now and then there are two at once, which race
// for the head.
func (w *world) startCoordinator(v *version) {
	if w.faulty() && w.clock.chance(8) && !w.scenario.volatile {
		w.startIncarnation(v)
	}
	w.startIncarnation(v)
}

func (w *world) startIncarnation(v *version) {
	w.incarnations++
	c := &coordinator{
		w: w, p: &process{name: fmt.Sprintf("coordinator-%d", w.incarnations), skew: w.skews.draw(maxSkew)}, version: v, line: v.line, conns: map[string]*conn{}, lead: true,
		learned: map[string]bool{}, endedWith: map[string]bool{}, restores: map[string]string{}, acked: map[string]bool{}, writing: map[string]bool{},
		owner: fmt.Sprintf("owner-%d", w.incarnations),
	}
	shape, headTimeout, commitGrace := assign.ShapeOf(v.plan), 30*time.Second, time.Duration(0)
	if w.sweeps {
		headTimeout, commitGrace = sweptHeadTimeout, sweptCommitGrace
	}
	m, err := job.New(job.Options{
		Config: v.config,
		Plan:   v.jobPlan(),
		Restore: func(m *snapshot.Manifest, dir string) (map[protocol.TaskID]protocol.TaskDeployment, error) {
			return assign.Assign(shape, c.asWritten(m, dir), assign.Options{AllowDrained: v.config.AllowDrained || w.mutation == DrainedUnasked})
		},
		FirstN: int64(w.incarnations), Grant: v.grant, Owner: c.owner, Dir: c.line.dir,
		Hello: protocol.Registered{HeartbeatInterval: time.Second, HeartbeatTimeout: heartbeatTimeout},
		Rand:  rand.New(rand.NewPCG(w.clock.rnd.Uint64(), 1)),
		// Small, so that the bounds themselves are tried.
		SlotTimeout: slotTimeout, DeployTimeout: deployTimeout, CancelTimeout: cancelTimeout, StopTimeout: stopTimeout,
		HeadTimeout: headTimeout, CommitGrace: commitGrace, RetryInterval: 50 * time.Millisecond, CleanupTimeout: cleanupTimeout,
		ResendInterval: 200 * time.Millisecond, ReserveIDs: 1 + w.clock.rnd.Int64N(8),
	})
	if err != nil {
		w.failf("making the life of the job: %v", err)
		return
	}
	c.machine = m
	v.leads = c
	w.tracef(c.p, "starts with grant %d", v.grant)
	w.clock.after(c.p, 0, func() { c.do(func(now time.Time) { m.HandleStart(now) }) })
}

// do lets the machine handle something and carries out what it wants.
func (c *coordinator) do(f func(now time.Time)) {
	if !c.lead || c.p.dead || c.w.failure != nil {
		return
	}
	if c.p.paused {
		c.p.run(func() { c.do(f) })
		return
	}
	f(c.now())
	c.settle()
}

// now is the time by the clock of its machine.
func (c *coordinator) now() time.Time { return c.w.timeOf(c.p) }

func (c *coordinator) settle() {
	for c.lead {
		effects := c.machine.Effects()
		if len(effects) == 0 {
			break
		}
		c.noteEnd(effects)
		for _, e := range effects {
			c.stumble()
			// A coordinator that was killed does nothing more; one that was paused goes on when it wakes up.
			c.p.run(func() {
				if c.lead {
					c.carryOut(e)
				}
			})
		}
	}
	c.p.run(c.arm)
}

// noteEnd notes which manifests were read when the end of the job deletes checkpoints.
func (c *coordinator) noteEnd(effects []job.Effect) {
	for _, e := range effects {
		if d, ok := e.(job.DeleteObjects); ok && d.Token < 0 && c.learnedInTime == nil {
			c.learnedInTime = maps.Clone(c.learned)
		}
	}
}

// learnedAll says whether the manifests of all checkpoints with shared files were read that the head named when it was claimed, but for those
// that went with the end of the job.
func (c *coordinator) learnedAll() bool {
	return !slices.ContainsFunc(c.inherited, func(k snapshot.CompletedCheckpoint) bool {
		return k.Shared && !c.learned[k.Path] && !c.endedWith[k.Path]
	})
}

// stumble kills or pauses the coordinator between any two of its effects.
func (c *coordinator) stumble() {
	w := c.w
	if !w.faulty() || !w.clock.chance(w.faults.crash) || c.p.dead || c.p.paused || c.version.leads != c {
		return
	}
	if w.clock.chance(2) {
		w.killCoordinator(c)
	} else {
		w.pauseCoordinator(c)
	}
}

func (c *coordinator) arm() {
	if !c.lead {
		return
	}
	at, ok := c.machine.NextWake()
	c.wake++
	if !ok {
		return
	}
	wake := c.wake
	d := max(at.Sub(c.now()), 0)
	if c.w.clock.chance(10) {
		d += c.w.clock.between(0, 20*time.Millisecond)
	}
	c.w.clock.after(c.p, d, func() {
		if wake == c.wake {
			c.do(c.machine.HandleTime)
		}
	})
}

func (c *coordinator) carryOut(e job.Effect) {
	switch e := e.(type) {
	case job.ReadHead:
		c.readHead()
	case job.SwapHead:
		c.swapHead(e.Head)
	case job.WriteManifest:
		c.writeManifest(e)
	case job.ReadManifest:
		c.readManifest(e)
	case job.DeleteObjects:
		c.deleteObjects(e)
	case job.ClaimSnapshot:
		c.claimSnapshot(e)
	case job.DeleteOrigin:
		c.deleteOrigin(e)
	case job.Send:
		c.send(e.Worker, e.Message)
	case job.DropWorker:
		c.w.tracef(c.p, "drops %s: %s", e.Worker, e.Reason)
		if k := c.conns[e.Worker]; k != nil {
			delete(c.conns, e.Worker)
			k.shut(false)
		}
	case job.Reply:
		c.w.tracef(c.p, "replies to %s: %s %s %s", e.Operation.ID, e.Operation.Outcome, e.Operation.Path, e.Operation.Error)
		c.w.replied(c.line, e.Operation)
	case job.Exit:
		c.exit(e)
	default:
		c.w.failf("unknown effect %T", e)
	}
}

func (c *coordinator) readHead() {
	call(c.w, c.p, "read head", func() (object, error) { return c.w.store.get(c.line.headName()) }, func(o object, err error) {
		h, found, err := decodeHead(o, err)
		if err == nil {
			c.head = o.version
		}
		switch c.w.mutation {
		case LowerGrant:
			h.Epoch.Grant = min(h.Epoch.Grant, c.version.grant)
		case RegistryForgets:
			for i := range h.Checkpoints {
				h.Checkpoints[i].Shared = false
			}
		case IDsReused:
			if n, ok := h.Newest(); ok {
				h.ReservedUntil = n.ID + 1
			}
		case RewindOverRestores:
			for i := range h.Operations {
				if o := &h.Operations[i]; o.Role == snapshot.RoleOutlived {
					o.Role = snapshot.RoleUsual
				}
			}
		default:
		}
		c.do(func(now time.Time) { c.machine.HandleHeadRead(now, h, found, err) })
	})
}

func decodeHead(o object, err error) (h snapshot.Head, found bool, _ error) {
	if errors.Is(err, storage.ErrNotFound) {
		return h, false, nil
	}
	if err != nil {
		return h, false, err
	}
	h, err = snapshot.DecodeHead(o.data)
	return h, err == nil, err
}

func (c *coordinator) swapHead(h snapshot.Head) {
	w := c.w
	data, err := snapshot.EncodeHead(h)
	if err != nil {
		w.failf("encoding the head: %v", err)
		return
	}
	if c.dieBeforeStop(h) {
		return
	}
	w.tracef(c.p, "swaps head %d", h.Seq)
	old := c.head
	if w.mutation == DeleteBeforeHead {
		c.deleteEarly(h)
	}
	if w.mutation == BlindSwap {
		o, _ := w.store.get(c.line.headName())
		old = o.version
	}
	call(w, c.p, fmt.Sprintf("swap head %d", h.Seq), func() (string, error) {
		v, err := w.store.swap(c.line.headName(), old, data)
		if err == nil {
			c.line.headSwapped(c, h)
		}
		return v, err
	}, func(v string, err error) {
		if err == nil {
			c.head = v
			c.do(func(now time.Time) { c.machine.HandleSwapped(now, snapshot.Swapped, nil) })
			return
		}
		if w.mutation == ConflictIsFenced && errors.Is(err, storage.ErrPrecondition) {
			c.do(func(now time.Time) { c.machine.HandleSwapped(now, snapshot.Fenced, err) })
			return
		}
		c.readBack(h, err)
	})
}

// dieBeforeStop kills the coordinator now and then when the savepoint of a stop is written and the head doesn't name it yet.
func (c *coordinator) dieBeforeStop(h snapshot.Head) bool {
	w := c.w
	stopping := func(o snapshot.Operation) bool { return o.Outcome == snapshot.OutcomeStopping }
	if !w.faulty() || !slices.ContainsFunc(h.Operations, stopping) || slices.ContainsFunc(c.line.head.Operations, stopping) || !w.clock.chance(6) {
		return false
	}
	w.clock.after(nil, w.clock.between(0, 100*time.Millisecond), func() { w.killCoordinator(c) })
	return true // and the request gets lost
}

// readBack finds out what became of a swap.
func (c *coordinator) readBack(h snapshot.Head, cause error) {
	call(c.w, c.p, "read head back", func() (object, error) { return c.w.store.get(c.line.headName()) }, func(o object, err error) {
		back, found, err := decodeHead(o, err)
		outcome := snapshot.ResolveSwap(back, found, err, h)
		if c.w.mutation == NoReadBack && errors.Is(cause, errNoAnswer) {
			outcome = snapshot.Swapped
		}
		if outcome == snapshot.Swapped {
			c.head = o.version
		}
		c.w.tracef(c.p, "head %d: %v after %v", h.Seq, outcome, cause)
		c.do(func(now time.Time) { c.machine.HandleSwapped(now, outcome, cause) })
	})
}

func (c *coordinator) writeManifest(e job.WriteManifest) {
	w := c.w
	data, err := snapshot.EncodeManifest(e.Manifest)
	if err != nil {
		w.failf("encoding a manifest: %v", err)
		return
	}
	name := e.Path + snapshot.ManifestName
	if e.Manifest.Stop != record.StopNone && w.faulty() && w.clock.chance(8) {
		name = c.line.headName() // taken, so that it fails; no object of that name is a manifest
	}
	c.writing[e.Path] = true
	done := func(err error) {
		delete(c.writing, e.Path)
		c.do(func(now time.Time) {
			c.machine.HandleManifestWritten(now, e.Checkpoint, snapshot.Checksum(data), int64(len(data)), err)
		})
		if err == nil {
			c.notifyEarly(e)
		}
	}
	call(w, c.p, "create "+name, func() (bool, error) { return true, w.store.create(name, data) }, func(_ bool, err error) {
		if err == nil {
			done(nil)
			return
		}
		w.keeper.of(e.Path).spoilt = true // the request may still be under way
		call(w, c.p, "read back "+name, func() (object, error) { return w.store.get(name) }, func(o object, readErr error) {
			if readErr == nil && bytes.Equal(o.data, data) {
				err = nil
			}
			done(err)
		})
	})
}

// notifyEarly is for the mutations that tell tasks of a snapshot that the head doesn't name yet.
func (c *coordinator) notifyEarly(e job.WriteManifest) {
	m := e.Manifest
	switch {
	case c.w.mutation == NotifyBeforeHead && m.Kind == record.Checkpoint:
	case c.w.mutation == SavepointOutsideHead && m.Stop != record.StopNone:
	default:
		return
	}
	for _, r := range c.machine.Status(c.now()).Regions {
		for _, name := range sortedKeys(c.conns) {
			c.deliver(name, protocol.ToWorker{Complete: &protocol.Complete{Attempt: r.Attempt, Checkpoint: e.Checkpoint, Stop: m.Stop}})
		}
	}
}

// deleteEarly is the mutation that deletes what the next head won't name.
func (c *coordinator) deleteEarly(next snapshot.Head) {
	for _, old := range c.line.head.Checkpoints {
		if !slices.ContainsFunc(next.Checkpoints, func(k snapshot.CompletedCheckpoint) bool { return k.ID == old.ID }) {
			_ = c.w.store.remove(c.w.store.list(old.Path, c.w.clock.now))
		}
	}
}

func (c *coordinator) readManifest(e job.ReadManifest) {
	dir := strings.TrimSuffix(e.Path, snapshot.ManifestName)
	if !strings.HasSuffix(dir, "/") {
		dir += "/"
	}
	dir, e.CRC32C = c.otherManifest(dir, e.CRC32C)
	name := dir + snapshot.ManifestName
	call(c.w, c.p, "read "+name, func() (object, error) { return c.w.store.get(name) }, func(o object, err error) {
		r := job.ManifestRead{Path: e.Path, Err: err, Permanent: errors.Is(err, storage.ErrNotFound)}
		switch {
		case err != nil:
		case e.CRC32C != 0 && snapshot.Checksum(o.data) != e.CRC32C:
			r.Err, r.Permanent = &snapshot.CorruptError{Object: name, Detail: "it isn't the one that the head names"}, true
		default:
			r.Manifest, r.Err = snapshot.DecodeManifest(o.data)
			r.Permanent = r.Err != nil
		}
		r.Damaged = r.Err != nil && damaged(r.Err)
		if r.Permanent && c.line.head.Owner == c.owner && !c.w.rotten[name] && c.line.wants(dir) && !c.takenAway(dir) {
			c.w.failf("%s is gone or damaged: %v", name, r.Err)
		}
		c.do(func(now time.Time) {
			if r.Err == nil {
				c.learned[e.Path] = true
			}
			c.machine.HandleManifestRead(now, r)
		})
	})
}

// takenAway says that an agent may have removed a checkpoint with its pin, which the head has ceased to name while its manifest was being read.
func (c *coordinator) takenAway(dir string) bool {
	named := slices.ContainsFunc(c.line.head.Checkpoints, func(k snapshot.CompletedCheckpoint) bool { return k.Path == dir })
	k := c.w.keeper.of(dir)
	return !named && (k.spoilt || len(k.refused) > 0)
}

// otherManifest is for the mutations that restore from another checkpoint than the newest.
func (c *coordinator) otherManifest(dir string, crc uint32) (string, uint32) {
	k := c.line.head.Checkpoints
	if len(k) < 2 || dir != k[len(k)-1].Path {
		return dir, crc
	}
	var other *snapshot.CompletedCheckpoint
	switch {
	case c.w.mutation == StaleRestore:
		other = &k[0]
	case c.w.mutation == SilentFallBack && c.w.rotten[dir+snapshot.ManifestName]:
		other = &k[len(k)-2]
	default:
		return dir, crc
	}
	c.restores[dir] = other.Path
	return other.Path, other.ManifestCRC32C
}

func (c *coordinator) deleteObjects(e job.DeleteObjects) {
	w := c.w
	if w.mutation == SavepointLeft && !strings.HasSuffix(e.Prefix, "/") {
		e.Prefix = ""
	}
	w.tracef(c.p, "deletes %q %d paths", e.Prefix, len(e.Paths))
	w.keeper.begins(e.Prefix, e.Paths)
	c.deleting++
	if e.Prefix == "" {
		c.deleteNames(e, nil)
		return
	}
	d := &deletion{}
	call(w, c.p, "list "+e.Prefix, func() ([]string, error) {
		d.at, d.view = w.clock.now, w.listView()
		return w.store.list(e.Prefix, d.view), nil
	}, func(names []string, err error) {
		if err != nil {
			c.deleted(e, d, err)
			return
		}
		d.names = names
		c.deleteNames(e, d)
	})
}

// deleteNames deletes what a deletion names, and what a list showed below its prefix. Others may have done anything since.
func (c *coordinator) deleteNames(e job.DeleteObjects, d *deletion) {
	names := e.Paths
	if d != nil {
		names = slices.Concat(e.Paths, d.names)
	}
	c.unpinned(names, func(names []string, err error) {
		if err != nil {
			c.deleted(e, d, err)
			return
		}
		call(c.w, c.p, "delete "+e.Prefix, func() (bool, error) {
			c.deleteShared(e.Prefix)
			return true, c.w.store.remove(names)
		}, func(_ bool, err error) { c.deleted(e, d, err) })
	})
}

func (c *coordinator) deleted(e job.DeleteObjects, d *deletion, err error) {
	c.w.keeper.deletes(c, e, d, err == nil)
	if c.w.mutation == RefusalForgotten {
		err = nil
	}
	c.do(func(now time.Time) { c.machine.HandleDeleted(now, e.Token, err) })
}

func (c *coordinator) exit(e job.Exit) {
	c.lead = false
	c.orderly = e.Err == nil && !e.Fenced
	c.endedJob, c.hasty = e.Ended, c.deleting > 0
	for path := range c.writing {
		c.w.keeper.of(path).spoilt = true // the manifest of a snapshot that was given up may still arrive
	}
	c.w.tracef(c.p, "exits: %s fenced=%v err=%v", e.State, e.Fenced, e.Err)
	if e.Fenced && c.line.head.Owner == c.owner {
		c.w.failf("%s says that it is fenced, but the head is its own: %v", c.p.name, e.Err)
	}
	for _, name := range sortedKeys(c.conns) {
		if e.Err == nil && e.State != job.StateSuspended {
			c.deliver(name, protocol.ToWorker{Shutdown: true})
		}
	}
	conns := c.conns
	c.conns = map[string]*conn{}
	for _, name := range sortedKeys(conns) {
		conns[name].shutAfterDelivery()
	}
	c.w.exited(c, e)
}

// send delivers a message of the machine to a worker.
func (c *coordinator) send(worker string, m protocol.ToWorker) {
	c.line.checkSend(c, m)
	if d := m.Deploy; d != nil && c.restores[d.RestoreDir] != "" {
		other := *d
		other.RestoreDir = c.restores[d.RestoreDir]
		m.Deploy = &other
	}
	if c.wrongBase(&m) {
		c.deliver(worker, m)
	}
}

func (c *coordinator) deliver(worker string, m protocol.ToWorker) {
	if k := c.conns[worker]; k != nil {
		k.toWorker(m)
	}
}

// connected takes the registration of a worker on a new connection.
func (c *coordinator) connected(k *conn, r protocol.Register) {
	if old := c.conns[r.Worker]; old != nil {
		c.lost(old, "it connected again")
		old.shut(false)
	}
	c.conns[r.Worker] = k
	c.do(func(now time.Time) { c.machine.HandleWorkerRegistered(now, r) })
}

// lost tells the machine once that a connection is gone.
func (c *coordinator) lost(k *conn, reason string) {
	if c.conns[k.worker.p.name] != k {
		return
	}
	delete(c.conns, k.worker.p.name)
	c.w.tracef(c.p, "loses %s: %s", k.worker.p.name, reason)
	c.do(func(now time.Time) { c.machine.HandleWorkerLost(now, k.worker.p.name, reason) })
}

// received takes a message of a worker.
func (c *coordinator) received(k *conn, m protocol.FromWorker) {
	if c.conns[k.worker.p.name] == k {
		if m.Ack != nil {
			c.w.keeper.acked(c.line.dirs[m.Ack.Checkpoint], m.Ack)
			if c.w.mutation == DuplicateAckDeletes {
				c.deleteDuplicate(m.Ack)
			}
		}
		c.do(func(now time.Time) { c.machine.HandleFromWorker(c.receivedAt(now, k.worker), k.worker.p.name, m) })
	}
}

// deleteDuplicate is the mutation that takes the files of an acknowledgement that came before for those of nobody.
func (c *coordinator) deleteDuplicate(a *protocol.Ack) {
	key := fmt.Sprintf("%s %s %d", a.Attempt, a.Task, a.Checkpoint)
	if !c.acked[key] {
		c.acked[key] = true
		return
	}
	dir := fmt.Sprintf("%scheckpoints/chk-%d/", c.line.dir, a.Checkpoint)
	for _, name := range sortedKeys(a.Operators) {
		for _, f := range a.Operators[name].Keyed {
			_ = c.w.store.remove([]string{dir + f.Path})
		}
	}
}
