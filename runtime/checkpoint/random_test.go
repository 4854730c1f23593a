// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// TestRandomInterleavings drives coordinators through random schedules of tasks, storage, failures and successors, and checks
// after every effect what must never be otherwise. A failure prints the seed and the trace.
func TestRandomInterleavings(t *testing.T) {
	t.Parallel()
	seeds := uint64(1000)
	if testing.Short() {
		seeds = 300
	}
	completed := 0
	for seed := range seeds {
		m := newModel(t, seed)
		for range 300 {
			m.step()
			if t.Failed() {
				t.Fatalf("seed %d:\n%s", seed, strings.Join(m.trace, "\n"))
			}
		}
		m.drain()
		completed += m.completions
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, strings.Join(m.trace, "\n"))
		}
	}
	if completed < int(seeds) {
		t.Errorf("only %d snapshots completed in %d runs: the schedules test nothing", completed, seeds)
	}
}

// model is all that surrounds a coordinator. Events wait in bags, from which any may come next.
type model struct {
	t     *testing.T
	rnd   *rand.Rand
	c     *Coordinator
	o     Options
	now   time.Time
	trace []string

	head    snapshot.Head
	attempt protocol.Attempt
	tasks   []protocol.TaskID
	running bool

	// toTask are triggers that tasks have not answered; acks are answers under way, sent may be repeated.
	toTask []taskTrigger
	acks   []protocol.Ack
	sent   []protocol.Ack
	// writes, swaps and deletes are effects under way; notify are the tasks that answer a stop.
	writes  []WriteManifest
	swaps   []UpdateHead
	deletes []int64
	notify  []protocol.Notified

	lastID      int64
	ops         map[string]int
	opCount     int
	stopped     bool
	completions int
	// files of each snapshot whose manifest was written; created are the shared files that the coordinator has to delete one day, leaky says that it
	// may not know all of them, since a manifest was damaged.
	files   map[string][]string
	created map[string]bool
	// sizes are those of the manifests that were written.
	sizes  map[int64]int64
	leaky  bool
	nextNo int
	reads  []ReadManifest
	// retention is the one that was in force when a change of the head was asked for.
	retention map[int64]int
}

type taskTrigger struct {
	attempt protocol.Attempt
	task    protocol.TaskID
	barrier record.Barrier
}

func newModel(t *testing.T, seed uint64) *model {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 7))
	m := &model{
		t: t, rnd: rnd, now: time.Unix(1000, 0), ops: map[string]int{},
		files: map[string][]string{}, created: map[string]bool{}, sizes: map[int64]int64{},
		head: snapshot.Head{ReservedUntil: 1}, attempt: protocol.Attempt{Epoch: protocol.Epoch{Grant: 1, N: 1}},
	}
	m.o = Options{
		JobID: "abcdefgh", MaxParallelism: 4, Durable: true, Dir: "job/", Rand: rnd, TolerableFailures: 100,
		Interval: time.Duration(rnd.IntN(3)) * time.Second, Timeout: 8 * time.Second, MaxConcurrent: 1 + rnd.IntN(3),
		Retention: 1 + rnd.IntN(3), ReserveIDs: int64(1 + rnd.IntN(6)),
		Vertices: []Vertex{
			{Name: "a", Parallelism: 2, Operators: []string{"a"}},
			{Name: "b", Parallelism: 1, Operators: []string{"b"}, Inputs: []Input{{Vertex: "a"}}, Transactional: true},
		},
	}
	if m.o.MaxConcurrent == 1 && rnd.IntN(2) == 0 {
		m.o.MinPause = time.Second
	}
	m.o.Incremental = rnd.IntN(3) > 0
	m.o.Unaligned = m.o.MaxConcurrent == 1 && rnd.IntN(3) == 0
	m.tasks = []protocol.TaskID{{Vertex: "a"}, {Vertex: "a", Subtask: 1}, {Vertex: "b"}}
	m.incarnate()
	return m
}

func (m *model) failf(format string, args ...any) {
	m.t.Helper()
	m.t.Errorf(format, args...)
}

func (m *model) log(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf("%v ", m.now.Sub(time.Unix(1000, 0)))+fmt.Sprintf(format, args...))
}

// incarnate replaces the coordinator by a successor, which knows only the head.
func (m *model) incarnate() {
	m.log("new incarnation")
	c, err := New(m.o, m.head)
	if err != nil {
		m.t.Fatal(err)
	}
	m.c, m.running = c, false
	m.swaps, m.writes, m.deletes, m.reads = nil, nil, nil, nil
	m.created = m.needed(m.head) // what the crash left is for a sweeper
	m.retention = map[int64]int{}
	m.attempt.N++
	m.attempt.K = 0
	for id := range m.ops {
		if m.ops[id] == 0 {
			delete(m.ops, id) // its caller has to ask again
		}
	}
	m.settleStops()
}

// settleStops does what the job does with stops whose coordinator is gone.
func (m *model) settleStops() {
	for _, o := range m.head.Clone().Operations {
		if o.Outcome == snapshot.OutcomeStopping {
			o.Outcome = snapshot.OutcomeStopFailed
			m.head.SetOperation(o)
		}
	}
	c, err := New(m.o, m.head)
	if err != nil {
		m.t.Fatal(err)
	}
	m.c, m.stopped = c, false
}

func (m *model) start() {
	m.attempt.K++
	m.running, m.stopped = true, false
	m.log("start %v", m.attempt)
	m.c.Start(m.now, m.attempt, nil)
}

// pick takes a random element out of a bag.
func pick[T any](rnd *rand.Rand, bag *[]T) T {
	i := rnd.IntN(len(*bag))
	v := (*bag)[i]
	*bag = slices.Delete(*bag, i, i+1)
	return v
}

func (m *model) step() {
	switch n := m.rnd.IntN(100); {
	case !m.running && len(m.swaps) == 0 && n < 50:
		m.start()
	case n < 25 && len(m.toTask) > 0:
		m.answer(pick(m.rnd, &m.toTask))
	case n < 50 && len(m.acks) > 0:
		a := pick(m.rnd, &m.acks)
		m.log("ack %d of %v", a.Checkpoint, a.Task)
		m.sent = append(m.sent, a)
		m.arrive(a)
		m.c.HandleAck(m.now, a)
	case n < 53 && len(m.sent) > 0:
		a := m.sent[m.rnd.IntN(len(m.sent))]
		m.log("repeated ack %d of %v", a.Checkpoint, a.Task)
		m.c.HandleAck(m.now, a)
	case n < 63 && len(m.writes) > 0:
		m.write(pick(m.rnd, &m.writes))
	case n < 73 && len(m.swaps) > 0:
		m.swap()
	case n < 76 && len(m.reads) > 0:
		m.read(pick(m.rnd, &m.reads), m.rnd.IntN(8))
	case n < 78 && len(m.deletes) > 0:
		m.c.HandleDeleted(m.now, pick(m.rnd, &m.deletes))
	case n < 82 && len(m.notify) > 0:
		m.c.HandleNotified(m.now, pick(m.rnd, &m.notify))
	case n < 87:
		m.request()
	case n < 95:
		m.now = m.now.Add(time.Duration(m.rnd.IntN(1500)) * time.Millisecond)
		m.c.HandleTime(m.now)
	case n < 97:
		m.log("the attempt fails")
		m.running = false
		m.c.Suspend(m.now, ReasonTaskFailure, "a task failed")
	case n < 98:
		m.crash()
	case n < 99:
		m.changePolicy()
	}
	m.effects()
}

// crash ends the incarnation; the swap in flight may have happened or not.
func (m *model) crash() {
	if len(m.swaps) > 0 && m.rnd.IntN(2) == 0 {
		m.apply(m.swaps[0])
	}
	m.incarnate()
}

func (m *model) apply(u UpdateHead) {
	m.log("head takes %v", updateText(u))
	before := m.head.Clone()
	u.Apply(&m.head)
	if u.Complete != nil {
		m.completions++
		if want := m.sizes[u.Complete.ID]; u.Complete.Size != want {
			m.failf("checkpoint %d is said to be %d bytes, its manifest says %d", u.Complete.ID, u.Complete.Size, want)
		}
	}
	if n, ok := before.Newest(); ok {
		if after, ok := m.head.Newest(); !ok || after.ID < n.ID {
			m.failf("the newest state went from %d back to %d", n.ID, after.ID)
		}
	}
	// A change of the retention comes too late for a commit that is under way.
	n := m.retention[u.Token]
	if m.o.Incremental {
		n += 3 // bases of those in flight, and that of the next one
	}
	if u.Complete != nil && len(m.head.Checkpoints) > n {
		m.failf("%d checkpoints are kept, not %d", len(m.head.Checkpoints), n)
	}
}

func (m *model) swap() {
	u := m.swaps[0]
	m.swaps = m.swaps[1:]
	m.apply(u)
	m.c.HandleHeadUpdated(m.now, u.Token)
}

func (m *model) write(w WriteManifest) {
	var err error
	m.sizes[w.Checkpoint] = w.Manifest.StateSize()
	if m.rnd.IntN(10) == 0 {
		err = errors.New("storage is down")
	}
	m.log("manifest %d written: %v", w.Checkpoint, err)
	m.c.HandleManifestWritten(m.now, w.Checkpoint, 1, 1, err)
}

// answer is what a task does with a trigger; the task at the end hears of it through the barrier.
func (m *model) answer(g taskTrigger) {
	if m.rnd.IntN(20) == 0 {
		d := protocol.Decline{Attempt: g.attempt, Task: g.task, Checkpoint: g.barrier.Checkpoint, Reason: protocol.DeclinedAsync}
		if m.rnd.IntN(2) == 0 {
			d.Reason = protocol.DeclinedSubsumed
		}
		m.log("decline %d by %v", d.Checkpoint, d.Task)
		m.c.HandleDecline(m.now, d)
		return
	}
	m.acks = append(m.acks, protocol.Ack{
		Attempt: g.attempt, Task: g.task, Checkpoint: g.barrier.Checkpoint,
		Operators: map[string]snapshot.SubtaskState{g.task.Vertex: {
			Index: g.task.Subtask, Keyed: m.keyed(g), Lists: []operator.List{{Name: "positions", Entries: [][]byte{make([]byte, g.task.Subtask+1)}}},
		}},
	})
}

// keyed are the files of a task's part: some of the base's, and new ones.
func (m *model) keyed(g taskTrigger) []state.File {
	if g.barrier.Shared == "" {
		return []state.File{{Path: fmt.Sprintf("f-%v-%v", g.task.Vertex, g.task.Subtask), Size: 1}}
	}
	var files []state.File
	own := fmt.Sprintf("-%v-%v", g.task.Vertex, g.task.Subtask)
	for _, name := range m.files[fmt.Sprintf("job/checkpoints/chk-%d/", g.barrier.Base)] {
		if strings.HasSuffix(name, own) && m.rnd.IntN(3) > 0 {
			files = append(files, state.File{Path: "../../shared/" + path.Base(name), Size: 1, Shared: true, Reused: true})
		}
	}
	m.nextNo++
	name := fmt.Sprintf("%d%s", m.nextNo, own)
	return append(files, state.File{Path: "../../shared/" + name, Size: 1, Shared: true})
}

// arrive makes the files of an acknowledgement known to the coordinator: from now on it has to delete them.
func (m *model) arrive(a protocol.Ack) {
	for _, s := range a.Operators {
		for _, f := range s.Keyed {
			if f.Shared && !f.Reused {
				m.created["job/shared/"+path.Base(f.Path)] = true
			}
		}
	}
}

// needed are the shared files of the checkpoints of a head.
func (m *model) needed(h snapshot.Head) map[string]bool {
	out := map[string]bool{}
	for _, c := range h.Checkpoints {
		for _, f := range m.files[c.Path] {
			out[f] = true
		}
	}
	return out
}

// read gives a manifest that was asked for; some can't be reached or are damaged.
func (m *model) read(r ReadManifest, luck int) {
	if luck < 2 {
		m.log("manifest %d damaged: %v", r.Checkpoint, luck == 0)
		m.leaky = m.leaky || luck == 0
		m.c.HandleManifestRead(m.now, r.Path, nil, luck == 0)
		return
	}
	m.log("manifest %d read", r.Checkpoint)
	var s snapshot.SubtaskState
	for _, name := range m.files[r.Path] {
		s.Keyed = append(s.Keyed, state.File{Path: "../../shared/" + path.Base(name), Shared: true})
	}
	m.c.HandleManifestRead(m.now, r.Path, &snapshot.Manifest{
		Operators: []snapshot.OperatorState{{Subtasks: []snapshot.SubtaskState{s}}},
	}, false)
}

func (m *model) request() {
	m.opCount++
	id := fmt.Sprintf("op%d", m.opCount)
	if m.opCount > 1 && m.rnd.IntN(5) == 0 {
		id = fmt.Sprintf("op%d", 1+m.rnd.IntN(m.opCount-1)) // a repeat
		if _, ok := m.head.Operation(id); !ok && m.ops[id] > 0 {
			return // refused before, or forgotten by the head
		}
	}
	if _, open := m.ops[id]; !open {
		m.ops[id] = 0
	}
	switch m.rnd.IntN(5) {
	case 0, 1:
		m.log("request checkpoint %s", id)
		m.c.RequestCheckpoint(m.now, id)
	case 2, 3:
		m.log("request savepoint %s", id)
		m.c.RequestSavepoint(m.now, SavepointRequest{Operation: id, Timeout: time.Duration(m.rnd.IntN(3)) * time.Second})
	default:
		m.log("request stop %s", id)
		m.c.RequestSavepoint(m.now, SavepointRequest{Operation: id, Stop: record.StopFreeze, Timeout: time.Duration(m.rnd.IntN(3)) * time.Second})
	}
}

// changePolicy puts another policy into force.
func (m *model) changePolicy() {
	p := Policy{
		Interval: time.Duration(m.rnd.IntN(3)) * time.Second, Timeout: time.Duration(2+m.rnd.IntN(8)) * time.Second, TolerableFailures: 100,
		MaxConcurrent: 1 + m.rnd.IntN(3), Retention: 1 + m.rnd.IntN(3),
	}
	if p.MaxConcurrent == 1 && m.rnd.IntN(2) == 0 {
		p.MinPause = time.Second
	}
	m.log("policy %+v", p)
	if err := m.c.SetPolicy(m.now, p); err != nil {
		m.failf("setting a policy: %v", err)
	}
	m.o = *m.o.with(p)
}

// effects carries out and checks.
func (m *model) effects() {
	for _, e := range m.c.Effects() {
		switch e := e.(type) {
		case Trigger:
			m.triggered(e)
		case NotifyComplete:
			m.log("complete %d to %v", e.Checkpoint, e.Tasks)
			m.checkNamed(e.Checkpoint)
			for _, t := range e.Tasks {
				if e.Stop != record.StopNone {
					m.notify = append(m.notify, protocol.Notified{Attempt: m.attempt, Task: t, Checkpoint: e.Checkpoint})
				}
			}
		case NotifyAborted:
			m.log("aborted %d", e.Checkpoint)
			if m.names(e.Checkpoint) {
				m.failf("snapshot %d is said to be aborted, but the head names it", e.Checkpoint)
			}
			for _, t := range e.Tasks {
				m.notify = append(m.notify, protocol.Notified{Attempt: m.attempt, Task: t, Checkpoint: e.Checkpoint})
			}
		case WriteManifest:
			m.log("write manifest %d", e.Checkpoint)
			m.files[e.Path] = sharedFiles(e.Path, e.Manifest)
			m.writes = append(m.writes, e)
		case ReadManifest:
			m.reads = append(m.reads, e)
		case UpdateHead:
			m.swaps = append(m.swaps, e)
			m.retention[e.Token] = m.o.Retention
			m.checkCommits()
		case Delete:
			m.deletes = append(m.deletes, e.Token)
			m.checkDelete(e)
		case Answer:
			m.answered(e.Operation)
		case FailJob:
			m.running = false
			m.c.Suspend(m.now, ReasonTaskFailure, e.Reason)
		case Stopping:
			m.log("stopping with %s", e.Operation.ID)
			m.stopped = true
		}
	}
}

func (m *model) triggered(e Trigger) {
	id := e.Barrier.Checkpoint
	m.log("trigger %d base %d", id, e.Barrier.Base)
	if b := e.Barrier.Base; b != 0 && !m.names(b) {
		m.failf("the base %d of %d isn't in the head", b, id)
	}
	if e.Barrier.Kind == record.Savepoint && (e.Barrier.Shared != "" || e.Barrier.Unaligned) {
		m.failf("savepoint %d is incremental or unaligned: %+v", id, e.Barrier)
	}
	if id <= m.lastID {
		m.failf("id %d comes after %d", id, m.lastID)
	}
	if id >= m.head.ReservedUntil {
		m.failf("id %d is used, but only ids below %d are reserved", id, m.head.ReservedUntil)
	}
	if m.stopped {
		m.failf("snapshot %d starts after the savepoint of a stop is complete", id)
	}
	if !m.running {
		m.failf("snapshot %d starts while the job isn't running", id)
	}
	m.lastID = id
	for _, t := range m.tasks {
		m.toTask = append(m.toTask, taskTrigger{attempt: m.attempt, task: t, barrier: e.Barrier})
	}
}

// names says whether the head names a snapshot.
func (m *model) names(id int64) bool {
	return slices.ContainsFunc(m.head.Checkpoints, func(c snapshot.CompletedCheckpoint) bool { return c.ID == id }) ||
		slices.ContainsFunc(m.head.Operations, func(o snapshot.Operation) bool { return o.Checkpoint == id })
}

func (m *model) checkNamed(id int64) {
	if !m.names(id) {
		m.failf("snapshot %d is said to be complete, but the head doesn't name it", id)
	}
}

// checkCommits finds commits that overlap.
func (m *model) checkCommits() {
	n := 0
	for _, u := range m.swaps {
		if u.Complete != nil || (u.Operation != nil && u.Operation.Checkpoint > 0 && u.Operation.Outcome != snapshot.OutcomeStopFailed) {
			n++
		}
	}
	if n > 1 {
		m.failf("%d commits are in flight", n)
	}
}

// checkDelete finds deletions of what the head names, or a swap in flight is about to make it name.
func (m *model) checkDelete(d Delete) {
	m.log("delete %s%v", d.Prefix, d.Paths)
	for _, name := range d.Paths {
		delete(m.created, name) // a late acknowledgement that is repeated deletes again
	}
	heads := []snapshot.Head{m.head}
	for _, u := range m.swaps {
		h := heads[len(heads)-1].Clone()
		u.Apply(&h)
		heads = append(heads, h)
	}
	for _, h := range heads {
		for name := range m.needed(h) {
			if slices.Contains(d.Paths, name) {
				m.failf("%s is deleted, but a checkpoint of the head refers to it", name)
			}
		}
		var dirs []string
		for _, c := range h.Checkpoints {
			dirs = append(dirs, c.Path)
		}
		for _, o := range h.Operations {
			if o.Checkpoint > 0 && d.Prefix == o.Path+snapshot.SavepointFilePrefix(o.Checkpoint) {
				m.failf("%s is deleted, but the head names savepoint %d", d.Prefix, o.Checkpoint)
			}
			if o.Path != "" && o.Type != snapshot.OperationCheckpoint { // that of a checkpoint is kept only as long as the checkpoint
				dirs = append(dirs, o.Path)
			}
		}
		for _, dir := range dirs {
			hit := d.Prefix != "" && strings.HasPrefix(dir, d.Prefix)
			for _, p := range d.Paths {
				hit = hit || strings.HasPrefix(p, dir)
			}
			if hit {
				m.failf("%s%v is deleted, but the head names %s", d.Prefix, d.Paths, dir)
			}
		}
	}
}

func (m *model) answered(o snapshot.Operation) {
	m.log("answer %s %s", o.ID, o.Outcome)
	if _, asked := m.ops[o.ID]; !asked {
		m.failf("operation %s is answered, but nobody asked", o.ID)
	}
	m.ops[o.ID]++
	h, ok := m.head.Operation(o.ID)
	if o.Outcome != snapshot.OutcomeFailed && (!ok || h.Outcome != o.Outcome || h.Checkpoint != o.Checkpoint) {
		m.failf("operation %s is answered %s with %d, but the head says %s with %d", o.ID, o.Outcome, o.Checkpoint, h.Outcome, h.Checkpoint)
	}
}

// drain lets everything come to an end: every operation is answered, and a checkpoint still completes.
func (m *model) drain() {
	m.log("drain")
	m.running = false
	m.c.Suspend(m.now, ReasonTaskFailure, "a task failed")
	m.quiesce()
	for _, id := range slices.Sorted(maps.Keys(m.ops)) {
		if m.ops[id] == 0 {
			m.failf("operation %s is never answered", id)
		}
	}
	m.start()
	m.ops["last"] = 0
	m.c.RequestCheckpoint(m.now, "last")
	m.quiesce()
	if o, ok := m.head.Operation("last"); !ok || o.Outcome != snapshot.OutcomeDone {
		m.failf("the last checkpoint did not complete: %+v", o)
	}
	m.now = m.now.Add(rereadDelay * time.Second) // manifests that could not be reached are read again
	m.c.HandleTime(m.now)
	m.quiesce()
	if c := m.c; len(c.pending)+len(c.ready)+len(c.writing)+len(c.updates)+len(c.cleaning) > 0 || c.final != nil {
		m.failf("at rest it still holds snapshots: pending %d, ready %d, writing %d; updates %d, deletions %d", len(c.pending), len(c.ready), len(c.writing),
			len(c.updates), len(c.cleaning))
	}
	if needed := m.needed(m.head); !m.leaky {
		for _, name := range slices.Sorted(maps.Keys(m.created)) {
			if !needed[name] {
				m.failf("%s is left, but nothing refers to it", name)
			}
		}
	}
}

// quiesce answers everything, without failures and without time passing.
func (m *model) quiesce() {
	for range 10000 {
		m.effects()
		switch {
		case len(m.toTask) > 0:
			g := pick(m.rnd, &m.toTask)
			a := protocol.Ack{Attempt: g.attempt, Task: g.task, Checkpoint: g.barrier.Checkpoint}
			m.c.HandleAck(m.now, a)
		case len(m.acks) > 0:
			a := pick(m.rnd, &m.acks)
			m.arrive(a)
			m.c.HandleAck(m.now, a)
		case len(m.reads) > 0:
			m.read(pick(m.rnd, &m.reads), 7)
		case len(m.writes) > 0:
			w := pick(m.rnd, &m.writes)
			m.c.HandleManifestWritten(m.now, w.Checkpoint, 1, 1, nil)
		case len(m.swaps) > 0:
			m.swap()
		case len(m.deletes) > 0:
			m.c.HandleDeleted(m.now, pick(m.rnd, &m.deletes))
		case len(m.notify) > 0:
			m.c.HandleNotified(m.now, pick(m.rnd, &m.notify))
		default:
			return
		}
	}
	m.failf("it never comes to rest")
}
