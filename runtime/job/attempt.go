// SPDX-License-Identifier: Apache-2.0

package job

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// attempt is a deployment of the regions that are down, from the wait for slots on, or their cancellation.
type attempt struct {
	// first and id are the oldest and the newest: each region that is deployed with it has one of its own.
	first, id protocol.Attempt
	// phase of the deployment.
	phase attemptPhase
	// deadline bounds the phase.
	deadline time.Time
	// source is the snapshot to restore; its path is empty for an empty start.
	source source
	// readAgainAt is when its manifest is read, or it is claimed, again.
	readAgainAt time.Time
	readError   string
}

type attemptPhase uint8

const (
	waitingForSlots attemptPhase = iota
	reading
	claiming
	recording
	deploying
	up
	canceling
)

// source is where the state of an attempt comes from.
type source struct {
	path   string
	crc32c uint32
	// foreign says that it is of another lineage: restoreFrom.
	foreign bool
	// claim is what the head says, or is to say, of whose it is.
	claim snapshot.OriginClaim
	tasks map[protocol.TaskID]protocol.TaskDeployment
	id    int64
	dir   string
	// taken is what the manifest says of itself.
	taken Taken
	// leftOut are newer snapshots that are damaged.
	leftOut []snapshot.LeftOut
}

type taskInfo struct {
	state     protocol.TaskState
	worker    string
	endOfData bool
}

// over says that nothing of the task runs any more.
func (t *taskInfo) over() bool {
	return t.state == protocol.TaskFinished || t.state == protocol.TaskFailed || t.state == protocol.TaskCanceled
}

// startAttempt begins with the wait for slots.
func (m *Machine) startAttempt(now time.Time) {
	first := m.lastK + 1
	for _, r := range m.downRegions() {
		m.lastK++
		m.newest = protocol.Attempt{Epoch: m.epoch, K: m.lastK}
		r.attempt = m.newest
		for _, id := range r.tasks {
			delete(m.tasks, id)
		}
	}
	m.state, m.restartAt, m.restartSaved, m.stopDeadline = StateCreated, time.Time{}, false, time.Time{}
	m.attempt = &attempt{
		first:    protocol.Attempt{Epoch: m.epoch, K: first},
		id:       m.newest,
		deadline: now.Add(m.o.SlotTimeout),
	}
	m.trySlots(now)
}

// trySlots goes on once there are enough slots.
func (m *Machine) trySlots(now time.Time) {
	a := m.attempt
	if a == nil || a.phase != waitingForSlots {
		return
	}
	if have := m.slots(); have < m.o.Plan.Slots {
		m.message = fmt.Sprintf("waiting for worker slots: %d of %d are there", have, m.o.Plan.Slots)
		return
	}
	m.message = ""
	src, err := m.chooseSource()
	if err != nil {
		m.fail(now, Failure{Error: err.Error(), Fatal: true})
		return
	}
	a.source = src
	a.deadline = now.Add(m.o.DeployTimeout)
	if src.path == "" {
		m.record(now)
		return
	}
	a.phase = reading
	m.emit(ReadManifest{Path: src.path, CRC32C: src.crc32c})
}

func (m *Machine) slots() int {
	n := 0
	for _, w := range m.workers {
		n += w.Slots
	}
	return n
}

// chooseSource decides what to start from; never from nothing where there was state.
func (m *Machine) chooseSource() (source, error) {
	h := &m.heads.head
	if src, ok, err := m.newestIntact(); ok {
		return src, err
	}
	switch {
	case h.Origin.Usable():
		return source{path: h.Origin.Path, foreign: true, claim: h.Origin.Claim}, nil
	case h.NamedState:
		return source{}, errNoState
	case m.o.Config.RestoreFrom != "":
		return m.fromElsewhere()
	}
	return source{}, nil
}

// HandleManifestRead takes the outcome of ReadManifest.
func (m *Machine) HandleManifestRead(now time.Time, r ManifestRead) {
	if m.exited {
		return
	}
	m.learned(now, &r)
	a := m.attempt
	if a == nil || a.phase != reading || r.Path != a.source.path {
		return
	}
	if r.Err != nil {
		if r.Damaged {
			m.manifestDamaged(now, snapshot.CutText(r.Err.Error(), snapshot.MaxText))
			return
		}
		if r.Permanent {
			m.fail(now, Failure{Error: fmt.Sprintf("restoring from %s: %v", r.Path, r.Err), Fatal: true})
			return
		}
		a.readError = snapshot.CutText(r.Err.Error(), snapshot.MaxText)
		m.message = "waiting for storage: " + a.readError
		a.readAgainAt = now.Add(m.o.RetryInterval)
		return
	}
	dir := strings.TrimSuffix(strings.TrimSuffix(r.Path, snapshot.ManifestName), "/") + "/"
	tasks, err := m.o.Restore(m.consented(&a.source, r.Manifest), dir)
	if err != nil {
		m.fail(now, Failure{Error: fmt.Sprintf("restoring from %s: %v", r.Path, err), Fatal: true})
		return
	}
	m.message = ""
	a.source.tasks, a.source.dir = tasks, dir
	a.source.taken = Taken{Kind: r.Manifest.Kind, Stop: r.Manifest.Stop, At: r.Manifest.CreatedAt, Size: r.Manifest.StateSize()}
	if a.source.foreign {
		a.source.id = r.Manifest.Checkpoint
		m.snapshots.SkipTo(r.Manifest.Checkpoint)
	}
	m.claimFirst(now, r.Manifest)
}

// consented returns the manifest as a restore from src sees it. The savepoint of a stop that failed is that of a job that goes on: nobody
// has to consent to a recovery from it, even if the job was to be drained.
func (m *Machine) consented(src *source, sn *snapshot.Manifest) *snapshot.Manifest {
	if src.foreign || sn.Stop == record.StopNone || m.heads.head.StoppedWith(src.id) {
		return sn
	}
	c := *sn
	c.Stop = record.StopNone
	return &c
}

// ManifestRead is the outcome of ReadManifest.
type ManifestRead struct {
	Path     string
	Manifest *snapshot.Manifest
	// Err is why there is no manifest. Permanent says that trying again can't help: it doesn't exist or is corrupt.
	Err       error
	Permanent bool
	// Damaged says of an error that the manifest isn't there, or isn't what was written: the snapshot is lost.
	Damaged bool
}

// record puts into the head what the attempt starts from, before any task can.
func (m *Machine) record(now time.Time) {
	a := m.attempt
	a.phase = recording
	r := snapshot.Restore{
		Attempt: a.first.String(), Regions: m.namesOf(m.downRegions()), Checkpoint: a.source.id, Path: a.source.dir, Empty: a.source.path == "", At: now,
		LeftOut: a.source.leftOut,
	}
	m.updateHead(now, func(h *snapshot.Head) {
		h.AddRestore(r)
		m.outlive(h, r.Checkpoint)
		leaveOut(h, r.LeftOut)
		if a.source.foreign {
			h.Origin = &snapshot.Origin{Path: a.source.path, Checkpoint: a.source.id, Claim: a.source.claim}
			h.ReservedUntil = max(h.ReservedUntil, a.source.id+1)
		}
	}, func(now time.Time) {
		m.snapshots.LeaveOut(r.LeftOut)
		if m.attempt == a && a.phase == recording {
			m.restored, m.taken = &r, a.source.taken
			m.deploy(now)
		}
	})
}

// deploy gives every slot to a worker and sends the tasks out.
func (m *Machine) deploy(now time.Time) {
	a := m.attempt
	if !m.place() { // a worker was lost meanwhile
		a.phase = waitingForSlots
		a.deadline = now.Add(m.o.SlotTimeout)
		m.trySlots(now)
		return
	}
	a.phase = deploying
	a.deadline = now.Add(m.o.DeployTimeout)
	for _, r := range m.downRegions() {
		m.deployRegion(r)
	}
	a.source.tasks = nil
}

// deployRegion sends the tasks of one region out.
func (m *Machine) deployRegion(r *region) {
	a := m.attempt
	r.deployments++
	byWorker := map[string][]protocol.TaskDeployment{}
	for _, id := range r.tasks {
		d, ok := a.source.tasks[id]
		if !ok {
			d = protocol.TaskDeployment{}
		}
		d.Task = id
		w := m.placed[id.Subtask].Worker
		m.tasks[id] = &taskInfo{state: protocol.TaskDeploying, worker: w}
		byWorker[w] = append(byWorker[w], d)
	}
	for _, w := range sortedKeys(byWorker) {
		m.emit(Send{Worker: w, Message: protocol.ToWorker{Deploy: &protocol.Deploy{
			Attempt: r.attempt, Region: r.name, Slots: slices.Clone(m.placed),
			RestoredFrom: a.source.id, RestoreDir: a.source.dir, Tasks: byWorker[w],
		}}})
	}
}

// place spreads the slots over the workers, one each in turn. While some regions go on, slots stay where they are, but for those of
// workers that were lost.
func (m *Machine) place() bool {
	slots := make([]protocol.Placement, m.o.Plan.Slots)
	if !m.allDown() {
		copy(slots, m.placed)
	}
	free := map[string]int{}
	names := sortedKeys(m.workers)
	for _, n := range names {
		free[n] = m.workers[n].Slots
	}
	for _, s := range slots {
		if s.Worker != "" {
			free[s.Worker]--
		}
	}
	for next := 0; ; {
		before := next
		for _, n := range names {
			for next < len(slots) && slots[next].Worker != "" {
				next++
			}
			if next == len(slots) {
				m.placed = slots
				return true
			}
			if free[n] > 0 {
				free[n]--
				slots[next] = protocol.Placement{Worker: n, DataAddr: m.workers[n].DataAddr}
				next++
			}
		}
		if next == before {
			return next == len(slots)
		}
	}
}

// attemptTime checks the deadlines of an attempt.
func (m *Machine) attemptTime(now time.Time) {
	a := m.attempt
	if due(now, a.readAgainAt) {
		a.readAgainAt = time.Time{}
		m.readAgain()
	}
	if !due(now, a.deadline) {
		return
	}
	a.deadline = time.Time{}
	switch a.phase {
	case waitingForSlots:
		m.fail(now, Failure{Error: fmt.Sprintf("only %d of %d worker slots were there within %v: start more workers, or lower the parallelism",
			m.slots(), m.o.Plan.Slots, m.o.SlotTimeout)})
	case reading:
		m.fail(now, Failure{Error: fmt.Sprintf("the manifest of %s could not be read within %v: %s", a.source.path, m.o.DeployTimeout, a.readError)})
	case claiming:
		m.fail(now, Failure{Error: fmt.Sprintf("the snapshot %s could not be claimed within %v: %s", a.source.path, m.o.DeployTimeout, a.readError)})
	case recording: // the head has its own deadline
	case deploying:
		m.fail(now, Failure{Error: fmt.Sprintf("%s did not start within %v", m.laggards(protocol.TaskDeploying), m.o.DeployTimeout)})
	case canceling:
		m.dropStuck(now)
	case up:
	}
}

// laggards names the tasks in a state.
func (m *Machine) laggards(s protocol.TaskState) string {
	var names []string
	for _, id := range m.allTasks {
		if t := m.tasks[id]; t != nil && t.state == s {
			names = append(names, id.String())
		}
	}
	if len(names) > 5 {
		names = append(names[:5], fmt.Sprintf("and %d more", len(names)-5))
	}
	return "tasks " + strings.Join(names, ", ")
}

// checkRunning starts snapshots once all tasks of all regions run or have finished.
func (m *Machine) checkRunning(now time.Time) {
	a := m.attempt
	if a == nil || a.phase != deploying {
		return
	}
	var starts []checkpoint.TaskStart
	for _, id := range m.allTasks {
		t := m.tasks[id]
		if t.state == protocol.TaskDeploying {
			return
		}
		starts = append(starts, checkpoint.TaskStart{
			Task: id, Attempt: m.regionOf(id).attempt, Finished: t.state == protocol.TaskFinished, EndOfData: t.endOfData,
		})
	}
	for _, r := range m.regions {
		r.down = false
	}
	a.phase, a.deadline = up, time.Time{}
	m.state = StateRunning
	m.snapshots.Start(now, a.id, starts)
	m.pump(now)
	m.checkFinished(now)
}

// toTasks sends a message to every worker that has one of the tasks, one for each region.
func (m *Machine) toTasks(tasks []protocol.TaskID, message func(protocol.Attempt, []protocol.TaskID) protocol.ToWorker) {
	byWorker := map[string]map[int][]protocol.TaskID{}
	for _, id := range tasks {
		if t := m.tasks[id]; t != nil {
			if byWorker[t.worker] == nil {
				byWorker[t.worker] = map[int][]protocol.TaskID{}
			}
			i := m.regionIndex[id.Vertex]
			byWorker[t.worker][i] = append(byWorker[t.worker][i], id)
		}
	}
	for _, w := range sortedKeys(byWorker) {
		if _, there := m.workers[w]; !there {
			continue
		}
		for _, i := range sortedKeys(byWorker[w]) {
			m.emit(Send{Worker: w, Message: message(m.regions[i].attempt, byWorker[w][i])})
		}
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
