// SPDX-License-Identifier: Apache-2.0

package job

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// Machine is the life of a job in one incarnation of its coordinator. See the package comment. It is used from one goroutine.
type Machine struct {
	o        Options
	strategy Strategy
	// policy is the revision of the one that was set last.
	policy  string
	effects []Effect
	exited  bool

	state   State
	message string
	epoch   protocol.Epoch
	heads   headWriter
	// snapshots is nil until the head is claimed.
	snapshots *checkpoint.Coordinator
	// allTasks in order of vertex and subtask.
	allTasks []protocol.TaskID
	workers  map[string]WorkerInfo

	// regions are deployed and canceled each as a whole; regionIndex finds that of a vertex.
	regions     []*region
	regionIndex map[string]int
	// tasks are those deployed last of each region; placed says where the slots are, an empty one was on a worker that is lost.
	tasks  map[protocol.TaskID]*taskInfo
	placed []protocol.Placement

	// attempt is the deployment or cancellation under way, or what runs; nil during the delay of a restart.
	attempt *attempt
	// aloneUntil is until when regions may go on while others are down, whenever that is before the next checkpoint; zero for as long as it takes.
	aloneUntil time.Time
	// newest is the newest attempt there was, lastK its number.
	newest      protocol.Attempt
	lastK       int64
	lastFailure *Failure
	// damage are snapshots of the head that turned out to be damaged, with what is wrong; fallingBack says that the next attempt goes back
	// behind one.
	damage      map[int64]string
	fallingBack bool
	// fatal is the failure that no restart follows.
	fatal *Failure
	// restartAt ends the delay of the restart strategy; restartSaved says that its counters are in the head.
	restartAt    time.Time
	restartSaved bool
	// stopDeadline bounds the time from the savepoint of a stop to the end of the tasks.
	stopDeadline time.Time
	// cancel is the operation that cancels the job; cancelWith that of a cancel with savepoint, which stops it first.
	cancel     *snapshot.Operation
	cancelWith string

	// origin is the deletion of the snapshot that the job started from and owns.
	origin originDeletion
	ending *ending
	// deletions are those of objects that nothing refers to.
	deletions deletions
	restored  *snapshot.Restore
	taken     Taken
}

// New returns a machine that has not started.
func New(o Options) (*Machine, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s, err := NewStrategy(o.Config.Restart, o.Config.Checkpointing != nil)
	if err != nil {
		return nil, err
	}
	m := &Machine{
		o: o, strategy: s, state: StateInitializing, workers: map[string]WorkerInfo{}, allTasks: o.Plan.tasks(), tasks: map[protocol.TaskID]*taskInfo{},
	}
	m.regions, m.regionIndex = o.Plan.regions()
	if _, err := checkpoint.New(m.checkpointOptions(), snapshot.Head{}); err != nil {
		return nil, err
	}
	return m, nil
}

// checkpointOptions translates the configuration of the job.
func (m *Machine) checkpointOptions() checkpoint.Options {
	cfg := &m.o.Config
	o := checkpoint.Options{
		JobID: cfg.JobID, JobName: cfg.Name, MaxParallelism: m.o.Plan.MaxParallelism, Vertices: m.o.Plan.Vertices,
		Durable: cfg.Storage != nil, Dir: m.o.Dir,
		CommitGrace: m.o.CommitGrace, ResendInterval: m.o.ResendInterval, ReserveIDs: m.o.ReserveIDs, Rand: m.o.Rand,
	}
	if cfg.Storage != nil {
		o.SavepointDir = cfg.Storage.SavepointPrefix
	}
	if c := cfg.Checkpointing; c != nil {
		p := checkpointPolicy(c)
		o.Interval, o.Timeout, o.MinPause = p.Interval, p.Timeout, p.MinPause
		o.MaxConcurrent, o.TolerableFailures, o.Retention = p.MaxConcurrent, p.TolerableFailures, p.Retention
		o.Unaligned, o.AlignmentTimeout = alignment(c)
	}
	o.Incremental = o.Durable && cfg.StateBackend != nil && cfg.StateBackend.Incremental
	return o
}

// alignment says whether barriers may overtake, and after how long on each hop. At least once doesn't align at all.
func alignment(c *contract.Checkpointing) (unaligned bool, after time.Duration) {
	a := c.Alignment
	switch {
	case a == nil || c.Mode == contract.AtLeastOnce:
		return false, 0
	case a.Mode == contract.Unaligned:
		return true, 0
	case a.Mode == contract.AlignedThenUnaligned:
		return true, cmp.Or(a.Timeout.D(), contract.DefaultAlignmentTimeout)
	default:
		return false, 0
	}
}

// Effects returns what has to be carried out since the last call.
func (m *Machine) Effects() []Effect {
	e := m.effects
	m.effects = nil
	return e
}

func (m *Machine) emit(e Effect) {
	if !m.exited {
		m.effects = append(m.effects, e)
	}
}

// quit ends the incarnation and not the job, which waits for a successor.
func (m *Machine) quit(fenced bool, err error) {
	m.exit(Exit{State: StateSuspended, Fenced: fenced, Err: err})
}

// exitFinal ends the incarnation with the end of the job that the head names.
func (m *Machine) exitFinal(f *snapshot.Final) {
	m.exit(Exit{State: stateOf(f.State), Ended: true, Err: finalError(f)})
}

func (m *Machine) exit(e Exit) {
	m.state = e.State
	m.emit(e)
	m.exited = true
}

// HandleStart begins by reading the head.
func (m *Machine) HandleStart(now time.Time) {
	m.heads.start(now, m.o.HeadTimeout)
	m.emit(ReadHead{})
}

// HandleShutdown ends the incarnation without ending the job: a successor goes on from the newest snapshot.
func (m *Machine) HandleShutdown(now time.Time) {
	if m.exited {
		return
	}
	if m.ending != nil && m.ending.saved {
		m.leave()
		return
	}
	m.cancelTasks(slices.DeleteFunc(slices.Clone(m.regions), m.over))
	m.quit(false, nil)
	_ = now
}

// NextWake says when HandleTime wants to be called; false for never.
func (m *Machine) NextWake() (time.Time, bool) {
	if m.exited {
		return time.Time{}, false
	}
	var w time.Time
	at := func(t time.Time) {
		if !t.IsZero() && (w.IsZero() || t.Before(w)) {
			w = t
		}
	}
	at(m.heads.retryAt)
	at(m.stopDeadline)
	at(m.aloneEnds())
	at(m.origin.retryAt)
	if m.waitsToRestart() {
		at(m.restartAt)
	}
	if a := m.attempt; a != nil {
		at(a.deadline)
		at(a.readAgainAt)
	}
	if m.ending != nil {
		at(m.ending.deadline)
	}
	if m.snapshots != nil {
		if t, ok := m.snapshots.NextWake(); ok {
			at(t)
		}
	}
	return w, !w.IsZero()
}

// due says whether a point in time that is set has come.
func due(now, at time.Time) bool { return !at.IsZero() && !now.Before(at) }

// HandleTime lets time pass.
func (m *Machine) HandleTime(now time.Time) {
	if m.exited {
		return
	}
	if due(now, m.heads.retryAt) {
		m.retryHead()
	}
	if m.snapshots != nil {
		m.snapshots.HandleTime(now)
		m.pump(now)
	}
	if due(now, m.stopDeadline) {
		m.stopDeadline = time.Time{}
		m.fail(now, Failure{Error: fmt.Sprintf("the tasks did not stop within %v of the savepoint", m.o.StopTimeout)}, m.regions...)
	}
	if due(now, m.aloneEnds()) {
		m.aloneUntil = time.Time{}
		m.fail(now, Failure{Error: "the regions that went on would keep transactions open for too long: a region is not back yet, and no checkpoint commits them meanwhile"}, m.regions...)
	}
	if m.attempt != nil {
		m.attemptTime(now)
	}
	if due(now, m.origin.retryAt) {
		m.origin.retryAt = time.Time{}
		m.deleteOrigin()
	}
	if m.waitsToRestart() && due(now, m.restartAt) {
		m.startAttempt(now)
	}
	if m.ending != nil && due(now, m.ending.deadline) {
		m.leave()
	}
}

// pump carries out what the snapshot coordinator wants, until it wants nothing more.
func (m *Machine) pump(now time.Time) {
	for m.snapshots != nil && !m.exited {
		effects := m.snapshots.Effects()
		if len(effects) == 0 {
			return
		}
		for _, e := range effects {
			m.carryOut(now, e)
		}
	}
}

func (m *Machine) carryOut(now time.Time, e checkpoint.Effect) {
	switch e := e.(type) {
	case checkpoint.Trigger:
		m.toTasks(e.Tasks, func(a protocol.Attempt, tasks []protocol.TaskID) protocol.ToWorker {
			return protocol.ToWorker{Trigger: &protocol.Trigger{Attempt: a, Barrier: e.Barrier, Tasks: tasks}}
		})
	case checkpoint.NotifyComplete:
		m.committed()
		m.toTasks(e.Tasks, func(a protocol.Attempt, _ []protocol.TaskID) protocol.ToWorker {
			return protocol.ToWorker{Complete: &protocol.Complete{Attempt: a, Checkpoint: e.Checkpoint, Stop: e.Stop, Stay: e.Stay}}
		})
	case checkpoint.NotifyAborted:
		m.toTasks(e.Tasks, func(a protocol.Attempt, _ []protocol.TaskID) protocol.ToWorker {
			return protocol.ToWorker{Aborted: &protocol.Aborted{Attempt: a, Checkpoint: e.Checkpoint, LatestCompleted: e.LatestCompleted}}
		})
	case checkpoint.WriteManifest:
		m.emit(WriteManifest{Checkpoint: e.Checkpoint, Path: e.Path, Manifest: e.Manifest})
	case checkpoint.ReadManifest:
		m.emit(ReadManifest{Path: e.Path, CRC32C: e.CRC32C})
	case checkpoint.UpdateHead:
		m.updateHead(now, e.Apply, func(now time.Time) {
			m.snapshots.HandleHeadUpdated(now, e.Token)
			m.pump(now)
		})
	case checkpoint.Delete:
		m.deleteObjects(DeleteObjects{Token: e.Token, Prefix: e.Prefix, Paths: e.Paths})
	case checkpoint.Answer:
		m.answer(e.Operation)
	case checkpoint.FailJob:
		m.fail(now, Failure{Error: e.Reason}, m.regions...)
	case checkpoint.Stopping:
		m.stopDeadline = now.Add(m.o.StopTimeout)
		m.checkFinished(now)
	}
}

// HandleManifestWritten takes the outcome of WriteManifest: checksum and size of the manifest, or an error.
func (m *Machine) HandleManifestWritten(now time.Time, id int64, crc32c uint32, size int64, err error) {
	if m.exited || m.snapshots == nil {
		return
	}
	m.snapshots.HandleManifestWritten(now, id, crc32c, size, err)
	m.pump(now)
}

// errNoState says that the job had state and none of it is left.
var errNoState = errors.New("the head says that the job had state, and names none to go on from: restore it from a savepoint under a new name, or remove the job's directory from storage to start empty")
