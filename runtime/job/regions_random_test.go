// SPDX-License-Identifier: Apache-2.0

package job_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// regionModel is the outside of a machine whose job has several regions: workers, tasks and storage. It checks what the machine sends.
type regionModel struct {
	rnd  *rand.Rand
	m    *job.Machine
	now  time.Time
	plan job.Plan
	// slots are those of the workers that are connected.
	slots map[string]int
	named int
	// tasks are those deployed last, regions the newest attempt of each region.
	tasks   map[protocol.TaskID]*modelTask
	regions map[string]protocol.Attempt
	head    snapshot.Head
	found   bool
	// swaps are held while storage is slow.
	slow bool
	held *snapshot.Head
	// hit are the regions that a failure may take down since all ran, "*" for all of them.
	hit     map[string]bool
	partial int
	errs    []error
	exited  bool
}

type modelTask struct {
	attempt protocol.Attempt
	worker  string
	state   protocol.TaskState
	// told says that its worker was told to cancel it.
	told   bool
	frozen int64
}

func (t *modelTask) over() bool {
	return t.state == protocol.TaskFailed || t.state == protocol.TaskCanceled
}

func (r *regionModel) failf(format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

func newRegionModel(t *testing.T, seed uint64) *regionModel {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := &regionModel{
		rnd: rnd, now: epochStart, slots: map[string]int{}, tasks: map[protocol.TaskID]*modelTask{}, regions: map[string]protocol.Attempt{},
		hit: map[string]bool{},
	}
	r.plan = job.Plan{MaxParallelism: 128}
	for i := range 1 + rnd.IntN(4) {
		in, out := fmt.Sprintf("in%d", i), fmt.Sprintf("out%d", i)
		r.plan.Vertices = append(r.plan.Vertices,
			job.Vertex{Name: in, Parallelism: 1 + rnd.IntN(3), Operators: []string{in}},
			job.Vertex{Name: out, Parallelism: 1 + rnd.IntN(3), Operators: []string{out}, Inputs: []job.Input{{Vertex: in}}})
	}
	rnd.Shuffle(len(r.plan.Vertices), func(i, j int) {
		v := r.plan.Vertices
		if v[i].Name[0] == v[j].Name[0] { // inputs stay before those that read them
			v[i], v[j] = v[j], v[i]
		}
	})
	slices.SortStableFunc(r.plan.Vertices, func(a, b job.Vertex) int { return len(a.Inputs) - len(b.Inputs) })
	cfg := contract.JobConfig{Name: "job", JobID: "0123456789", Storage: &contract.Storage{Volume: &contract.Volume{Path: "v"}}}
	cfg.Checkpointing = &contract.Checkpointing{Interval: contract.Duration(20 * time.Second), TolerableFailures: rnd.IntN(3), RetentionCount: 2}
	cfg.Restart.FixedDelay = &contract.FixedDelay{Delay: contract.Duration(3 * time.Second)}
	m, err := job.New(job.Options{
		Config: cfg, Grant: 1, Owner: "o", Dir: "dir/", Rand: rnd, Plan: r.plan,
		Restore: func(*snapshot.Manifest, string) (map[protocol.TaskID]protocol.TaskDeployment, error) {
			return map[protocol.TaskID]protocol.TaskDeployment{}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.m = m
	return r
}

// step makes something happen.
func (r *regionModel) step() {
	switch r.rnd.IntN(12) {
	case 0:
		r.connect()
	case 1:
		if r.rnd.IntN(3) == 0 {
			r.loseWorker()
		}
	case 2, 3, 4, 5, 6:
		for range 4 {
			r.taskStep()
		}
	case 7:
		if r.rnd.IntN(3) == 0 {
			r.m.HandleCheckpoint(r.now, fmt.Sprintf("c%d", r.rnd.Int64()))
		}
	case 8:
		if r.rnd.IntN(3) == 0 {
			r.m.HandleSavepoint(r.now, checkpoint.SavepointRequest{
				Operation: fmt.Sprintf("s%d", r.rnd.Int64()), Stop: record.StopMode(r.rnd.IntN(2)) * record.StopFreeze, Timeout: time.Minute,
			})
		}
	case 9:
		r.slow = !r.slow
		if h := r.held; h != nil && !r.slow {
			r.held = nil
			r.head = *h
			r.m.HandleSwapped(r.now, snapshot.Swapped, nil)
		}
	default:
		r.pass(time.Duration(r.rnd.Int64N(int64(5 * time.Second))))
	}
	r.settle()
}

func (r *regionModel) pass(d time.Duration) {
	until := r.now.Add(d)
	for range 1000 {
		at, ok := r.m.NextWake()
		if !ok || at.After(until) {
			r.now = until
			return
		}
		r.now = at
		r.m.HandleTime(r.now)
		r.settle()
	}
	r.failf("the machine never rests at %v", r.now)
	r.now = until
}

func (r *regionModel) connect() {
	if len(r.slots) > 4 {
		return
	}
	r.named++
	name := fmt.Sprintf("w%d", r.named)
	r.slots[name] = 1 + r.rnd.IntN(3)
	r.m.HandleWorkerRegistered(r.now, protocol.Register{Worker: name, Slots: r.slots[name], DataAddr: name})
}

func (r *regionModel) loseWorker() {
	names := slices.Sorted(maps.Keys(r.slots))
	if len(names) == 0 {
		return
	}
	name := names[r.rnd.IntN(len(names))]
	delete(r.slots, name)
	for id, t := range r.tasks {
		if t.worker == name && !t.over() {
			t.state = protocol.TaskCanceled
			r.strike(id)
		}
	}
	r.m.HandleWorkerLost(r.now, name, "the test says so")
}

// strike notes that a task fails, and with it its region and those that are being deployed.
func (r *regionModel) strike(id protocol.TaskID) {
	r.hit[r.plan.Region(id.Vertex)] = true
	for _, g := range r.m.Status(r.now).Regions {
		r.hit[g.Name] = r.hit[g.Name] || g.Down
	}
}

// taskStep lets one task say something.
func (r *regionModel) taskStep() {
	ids := slices.SortedFunc(maps.Keys(r.tasks), func(a, b protocol.TaskID) int { return strings.Compare(a.String(), b.String()) })
	if len(ids) == 0 {
		return
	}
	id := ids[r.rnd.IntN(len(ids))]
	t := r.tasks[id]
	switch {
	case t.over():
		return
	case t.told:
		t.state = protocol.TaskCanceled
	case t.state == protocol.TaskDeploying:
		t.state = protocol.TaskRunning
	case r.rnd.IntN(60) == 0:
		t.state = protocol.TaskFailed
		r.strike(id)
	default:
		r.ack(id, t)
		return
	}
	r.say(id, t, protocol.FromWorker{Status: &protocol.TaskStatus{Attempt: t.attempt, Task: id, State: t.state, Error: "the test says so"}})
}

// ack acknowledges what is pending, as old attempts do, too.
func (r *regionModel) ack(id protocol.TaskID, t *modelTask) {
	for _, p := range r.m.Status(r.now).Pending {
		a := t.attempt
		if r.rnd.IntN(10) == 0 {
			a.K--
		}
		r.say(id, t, protocol.FromWorker{Ack: &protocol.Ack{Attempt: a, Task: id, Checkpoint: p.ID}})
	}
	if t.frozen > 0 {
		r.say(id, t, protocol.FromWorker{Notified: &protocol.Notified{Attempt: t.attempt, Task: id, Checkpoint: t.frozen}})
		t.frozen = 0
	}
}

func (r *regionModel) say(_ protocol.TaskID, t *modelTask, m protocol.FromWorker) {
	if _, there := r.slots[t.worker]; there {
		r.m.HandleFromWorker(r.now, t.worker, m)
		r.settle()
	}
}

func (r *regionModel) settle() {
	for !r.exited {
		effects := r.m.Effects()
		if len(effects) == 0 {
			break
		}
		for _, e := range effects {
			r.carryOut(e)
		}
	}
	r.checkSlots()
}

func (r *regionModel) carryOut(e job.Effect) {
	switch e := e.(type) {
	case job.ReadHead:
		r.m.HandleHeadRead(r.now, r.head.Clone(), r.found, nil)
	case job.SwapHead:
		if r.slow && r.found {
			r.held = &e.Head
			return
		}
		r.head, r.found = e.Head, true
		r.m.HandleSwapped(r.now, snapshot.Swapped, nil)
	case job.WriteManifest:
		r.m.HandleManifestWritten(r.now, e.Checkpoint, 7, 70, nil)
	case job.ReadManifest:
		m := &snapshot.Manifest{Checkpoint: 1, MaxParallelism: 128}
		if n, ok := r.head.Newest(); ok {
			m.Checkpoint = n.ID
		}
		r.m.HandleManifestRead(r.now, job.ManifestRead{Path: e.Path, Manifest: m})
	case job.DeleteObjects:
		r.m.HandleDeleted(r.now, e.Token, nil)
	case job.DropWorker:
		delete(r.slots, e.Worker)
		for id, t := range r.tasks {
			if t.worker == e.Worker && !t.over() {
				t.state = protocol.TaskCanceled
				r.strike(id)
			}
		}
	case job.Send:
		r.sent(e)
	case job.Exit:
		r.exited = true
	}
}

// sent checks a message against what runs.
func (r *regionModel) sent(e job.Send) {
	m := e.Message
	switch {
	case m.Deploy != nil:
		r.deployed(e.Worker, m.Deploy)
	case m.Cancel != nil:
		for _, t := range r.on(e.Worker, m.Cancel.Attempt) {
			t.told = true
		}
	case m.Trigger != nil:
		r.checkTrigger(e.Worker, m.Trigger)
	case m.Complete != nil:
		r.checkAttempt(e.Worker, m.Complete.Attempt)
	case m.Aborted != nil:
		r.checkAttempt(e.Worker, m.Aborted.Attempt)
		for _, t := range r.on(e.Worker, m.Aborted.Attempt) {
			t.frozen = m.Aborted.Checkpoint
		}
	}
}

// on are the tasks of an attempt on a worker that run.
func (r *regionModel) on(worker string, a protocol.Attempt) []*modelTask {
	var ts []*modelTask
	for _, t := range r.tasks {
		if t.worker == worker && t.attempt == a && !t.over() {
			ts = append(ts, t)
		}
	}
	return ts
}

// deployed takes a deployment: what ran of the region is over on every worker that is there, attempts ascend, and a region that nothing hit isn't
// deployed again.
func (r *regionModel) deployed(worker string, d *protocol.Deploy) {
	old := r.regions[d.Region]
	if d.Attempt.Compare(old) < 0 {
		r.failf("region %s is deployed as %s after %s", d.Region, d.Attempt, old)
	}
	if again := d.Attempt != old && old.K > 0; again && !r.hit[d.Region] && !r.hit["*"] {
		r.failf("region %s is deployed again as %s, though nothing has hit it", d.Region, d.Attempt)
	}
	r.regions[d.Region] = d.Attempt
	for id, t := range r.tasks {
		if r.plan.Region(id.Vertex) == d.Region && t.attempt != d.Attempt && !t.over() {
			r.failf("task %s of %s still runs on %s when %s is deployed", id, t.attempt, t.worker, d.Attempt)
		}
	}
	for _, t := range d.Tasks {
		if r.plan.Region(t.Task.Vertex) != d.Region || d.Slots[t.Task.Subtask].Worker != worker {
			r.failf("task %s of region %s comes to %s", t.Task, d.Region, worker)
		}
		r.tasks[t.Task] = &modelTask{attempt: d.Attempt, worker: worker, state: protocol.TaskDeploying}
	}
}

// checkTrigger wants all tasks of all regions to run.
func (r *regionModel) checkTrigger(worker string, m *protocol.Trigger) {
	r.checkAttempt(worker, m.Attempt)
	for id, t := range r.tasks {
		if t.state != protocol.TaskRunning && !t.over() || t.told {
			r.failf("snapshot %d is triggered while task %s is %s, told to end: %t", m.Barrier.Checkpoint, id, t.state, t.told)
		}
	}
}

// checkAttempt wants a message to be for the newest attempt of some region, with a task on the worker that wasn't told to end.
func (r *regionModel) checkAttempt(worker string, a protocol.Attempt) {
	if !slices.Contains(slices.Collect(maps.Values(r.regions)), a) {
		r.failf("a message for attempt %s, which is no region's newest", a)
	}
	for _, t := range r.on(worker, a) {
		if t.told {
			r.failf("a message for attempt %s, which was told to end", a)
		}
	}
}

// checkSlots wants each slot, that is each index of subtasks that run, in one place, and no more on a worker than it offers.
func (r *regionModel) checkSlots() {
	where := map[int]string{}
	used := map[string]map[int]bool{}
	running := map[string]bool{}
	for id, t := range r.tasks {
		if t.over() || t.told {
			continue
		}
		running[r.plan.Region(id.Vertex)] = true
		if w, there := where[id.Subtask]; there && w != t.worker {
			r.failf("slot %d is on %s and on %s", id.Subtask, w, t.worker)
		}
		where[id.Subtask] = t.worker
		if used[t.worker] == nil {
			used[t.worker] = map[int]bool{}
		}
		used[t.worker][id.Subtask] = true
	}
	for w, s := range used {
		if len(s) > r.slots[w] {
			r.failf("worker %s has %d slots in use and offers %d", w, len(s), r.slots[w])
		}
	}
	s := r.m.Status(r.now)
	if s.State == job.StateRunning {
		clear(r.hit)
	}
	if s.State == job.StateRestarting && len(running) > 0 && len(running) < len(s.Regions) {
		r.partial++
	}
	if f := s.LastFailure; f != nil && f.Task.Vertex == "" && f.Worker == "" && s.State != job.StateRunning {
		r.hit["*"] = true // checkpoints, a deployment or a stop that failed
	}
	if r.stopping(s) {
		r.hit["*"] = true
	}
}

// stopping says that the savepoint of a stop is in the head or on its way there: a failure takes down all.
func (r *regionModel) stopping(s job.Status) bool {
	operations := s.Operations
	if r.held != nil {
		operations = slices.Concat(operations, r.held.Operations)
	}
	return slices.ContainsFunc(operations, func(o snapshot.Operation) bool { return o.Outcome == snapshot.OutcomeStopping })
}

// Random failures of tasks and workers, with snapshots and stops in flight and slow storage.
func TestRegions_Random(t *testing.T) {
	t.Parallel()
	partial := 0
	for seed := range uint64(25) {
		r := newRegionModel(t, seed)
		r.m.HandleStart(r.now)
		r.settle()
		for i := 0; i < 400 && len(r.errs) == 0 && !r.exited; i++ {
			r.step()
		}
		if len(r.errs) > 0 {
			t.Fatalf("seed %d: %v", seed, errors.Join(r.errs...))
		}
		partial += r.partial
	}
	if partial < 50 {
		t.Errorf("only %d steps saw one region restart while another ran", partial)
	}
	t.Logf("%d steps saw one region restart while another ran", partial)
}
