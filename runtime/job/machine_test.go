// SPDX-License-Identifier: Apache-2.0

package job_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weir-stream/weir/runtime/checkpoint"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// script drives one machine by the commands of a golden file. Storage answers by itself unless it is held.
type script struct {
	t     *testing.T
	now   time.Time
	m     *job.Machine
	head  snapshot.Head
	found bool
	hold  bool
	// refusals is how many deletions storage refuses from now on.
	refusals int
	// deleting are deletions that have no answer yet; stalls says that the next ones get none.
	deleting  []int64
	stalls    bool
	held      *snapshot.Head
	triggered int64
	where     map[protocol.TaskID]string
	// attempts are those that tasks were deployed with, regions those of the job.
	attempts map[protocol.TaskID]protocol.Attempt
	tasksOf  []protocol.TaskID
	regions  bool
	out      strings.Builder
	// damaged are the directories of manifests that can't be read; manifests are those with shared files.
	damaged map[string]bool
	denied  string
	// claims and deletions are the outcomes to come of claiming the origin, and of deleting it; none: success.
	claims, deletions []string
	manifests         map[string]*snapshot.Manifest
}

var epochStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestMachine(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{t: t, now: epochStart, where: map[protocol.TaskID]string{}, attempts: map[protocol.TaskID]protocol.Attempt{}}
		s.damaged, s.manifests = map[string]bool{}, map[string]*snapshot.Manifest{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			s.out.Reset()
			s.command(d)
			s.settle()
			if s.out.Len() == 0 {
				return "-\n"
			}
			return s.out.String()
		})
	})
}

func (s *script) printf(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

func (s *script) arg(d *datadriven.TestData, key, def string) string {
	for _, a := range d.CmdArgs {
		if a.Key == key && len(a.Vals) > 0 {
			return a.Vals[0]
		}
	}
	return def
}

func (s *script) flag(d *datadriven.TestData, key string) bool {
	for _, a := range d.CmdArgs {
		if a.Key == key {
			return true
		}
	}
	return false
}

// create makes the machine of a coordinator: a source and a sink, each with two subtasks; with regions, another pipeline beside.
func (s *script) create(d *datadriven.TestData) {
	cfg := contract.JobConfig{Name: "job", JobID: "0123456789", Storage: &contract.Storage{Volume: &contract.Volume{Path: "v"}}}
	cfg.Checkpointing = &contract.Checkpointing{Interval: contract.Duration(time.Hour), RetentionCount: 2, DeleteOnCancel: s.flag(d, "delete")}
	cfg.Checkpointing.RetentionCount, _ = strconv.Atoi(s.arg(d, "retention", "2"))
	if s.flag(d, "fallback") {
		cfg.Checkpointing.OnCorruption = contract.FallBackOnCorruption
	}
	if s.flag(d, "incremental") {
		cfg.StateBackend = &contract.StateBackend{Incremental: true}
	}
	cfg.RestoreFrom, cfg.RewindTo = s.arg(d, "restoreFrom", ""), s.arg(d, "rewindTo", "")
	cfg.RestoreMode = contract.RestoreMode(s.arg(d, "mode", ""))
	if s.flag(d, "claim") {
		cfg.RestoreMode = contract.Claim
	}
	if s.flag(d, "nostorage") {
		cfg.Storage = nil
	}
	attempts := 2
	switch s.arg(d, "restart", "fixed") {
	case "none":
		cfg.Restart.None = &struct{}{}
	case "always":
		cfg.Restart.FixedDelay = &contract.FixedDelay{Delay: contract.Duration(3 * time.Second)}
	case "rate":
		cfg.Restart.FailureRate = &contract.FailureRate{MaxFailures: 2, Interval: contract.Duration(time.Minute), Delay: contract.Duration(3 * time.Second)}
	default:
		cfg.Restart.FixedDelay = &contract.FixedDelay{Attempts: &attempts, Delay: contract.Duration(3 * time.Second)}
	}
	grant, err := strconv.ParseInt(s.arg(d, "grant", "1"), 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	vertices := []job.Vertex{
		{Name: "src", Parallelism: 2, Operators: []string{"src"}, Trims: s.flag(d, "trims")},
		{Name: "out", Parallelism: 2, Operators: []string{"out"}, Inputs: []checkpoint.Input{{Vertex: "src"}}, Transactional: !s.flag(d, "plain")},
	}
	if s.regions = s.flag(d, "regions"); s.regions {
		vertices = append(vertices,
			job.Vertex{Name: "in2", Parallelism: 1, Operators: []string{"in2"}},
			job.Vertex{Name: "out2", Parallelism: 1, Operators: []string{"out2"}, Inputs: []checkpoint.Input{{Vertex: "in2"}}})
	}
	transactions, _ := time.ParseDuration(s.arg(d, "transactions", "0s"))
	s.tasksOf = nil
	for _, v := range vertices {
		for i := range v.Parallelism {
			s.tasksOf = append(s.tasksOf, protocol.TaskID{Vertex: v.Name, Subtask: i})
		}
	}
	drained := s.flag(d, "drained")
	m, err := job.New(job.Options{
		Config: cfg, Grant: grant, Owner: "owner-" + s.arg(d, "owner", "a"), Dir: "dir/", Rand: rand.New(rand.NewPCG(1, 1)),
		Plan: job.Plan{MaxParallelism: 128, TransactionTimeout: transactions, Fingerprint: "f", Vertices: vertices},
		Restore: func(m *snapshot.Manifest, dir string) (map[protocol.TaskID]protocol.TaskDeployment, error) {
			if m.MaxParallelism != 128 {
				return nil, errors.New("the snapshot has other key groups")
			}
			if m.Stop == record.StopDrain && !drained {
				return nil, errors.New("the job was drained with it")
			}
			return map[protocol.TaskID]protocol.TaskDeployment{}, nil
		},
	})
	if err != nil {
		s.printf("error: %v", err)
		return
	}
	s.m = m
	s.m.HandleStart(s.now)
}

func (s *script) command(d *datadriven.TestData) {
	switch d.Cmd {
	case "coordinator":
		s.create(d)
	case "hold":
		s.hold = true
	case "refuse":
		s.refusals, _ = strconv.Atoi(s.arg(d, "deletions", "0"))
	case "stall": // deletions, until they are "deleted"
		s.stalls = true
	case "deleted":
		deleting := s.deleting
		s.deleting, s.stalls = nil, false
		for _, token := range deleting {
			s.m.HandleDeleted(s.now, token, nil)
		}
	case "swap":
		s.swap(d)
	case "worker":
		slots, _ := strconv.Atoi(s.arg(d, "slots", "2"))
		s.m.HandleWorkerRegistered(s.now, protocol.Register{
			Worker: d.CmdArgs[0].Key, Slots: slots, DataAddr: d.CmdArgs[0].Key + ":1", Fingerprint: s.arg(d, "fingerprint", "f"),
		})
	case "lost":
		s.m.HandleWorkerLost(s.now, d.CmdArgs[0].Key, "its connection ended")
	case "tasks":
		s.tasks(d)
	case "end-of-data":
		for _, id := range s.named(d) {
			s.from(id, protocol.FromWorker{EndOfData: &protocol.EndOfData{Attempt: s.attempts[id], Task: id}})
		}
	case "ack":
		for _, id := range s.named(d) {
			a := &protocol.Ack{Attempt: s.attempts[id], Task: id, Checkpoint: s.triggered}
			if names := s.arg(d, "shared", ""); names != "" && id.Vertex == "out" {
				a.Operators = map[string]snapshot.SubtaskState{"out": {Keyed: sharedFiles(names, id.Subtask)}}
			}
			s.from(id, protocol.FromWorker{Ack: a})
		}
	case "notified":
		for _, id := range s.named(d) {
			s.from(id, protocol.FromWorker{Notified: &protocol.Notified{Attempt: s.attempts[id], Task: id, Checkpoint: s.triggered}})
		}
	case "checkpoint":
		s.m.HandleCheckpoint(s.now, d.CmdArgs[0].Key)
	case "savepoint":
		stop := map[string]record.StopMode{"none": record.StopNone, "freeze": record.StopFreeze, "drain": record.StopDrain}[s.arg(d, "stop", "none")]
		timeout, _ := time.ParseDuration(s.arg(d, "timeout", "0s"))
		s.m.HandleSavepoint(s.now, checkpoint.SavepointRequest{Operation: d.CmdArgs[0].Key, Stop: stop, Timeout: timeout})
	case "cancel":
		s.m.HandleCancel(s.now, job.CancelRequest{Operation: d.CmdArgs[0].Key, Savepoint: s.flag(d, "savepoint")})
	case "policy":
		if err := s.m.HandlePolicy(s.now, s.policy(d)); err != nil {
			s.printf("refused: %v (needs a restart: %v)", err, errors.Is(err, job.ErrNeedsRestart))
		}
		s.printf("in force: %q", s.m.Policy().Revision)
	case "damage": // a manifest, by the directory
		s.damaged[d.CmdArgs[0].Key] = true
	case "claims":
		for _, a := range d.CmdArgs {
			s.claims = append(s.claims, a.Key)
		}
	case "deletions":
		for _, a := range d.CmdArgs {
			s.deletions = append(s.deletions, a.Key)
		}
	case "deny": // reading a manifest, for good, without any damage
		s.denied = d.CmdArgs[0].Key
	case "shutdown":
		s.m.HandleShutdown(s.now)
	case "pass":
		s.pass(d.CmdArgs[0].Key)
	case "status":
		st := s.m.Status(s.now)
		s.printf("%s restarts=%d completed=%d message=%q", st.State, st.Restarts, len(st.Completed), st.Message)
		if s.regions {
			for _, r := range st.Regions {
				s.printf("region %s %v: attempt %s down=%t restarts=%d", r.Name, r.Vertices, r.Attempt, r.Down, r.Restarts)
			}
		}
	default:
		s.t.Fatalf("unknown command %s", d.Cmd)
	}
}

// policy reads one from the arguments.
func (s *script) policy(d *datadriven.TestData) contract.Policy {
	interval, _ := time.ParseDuration(s.arg(d, "interval", "1h"))
	p := contract.Policy{
		Revision:      d.CmdArgs[0].Key,
		Checkpointing: &contract.Checkpointing{Interval: contract.Duration(interval), Mode: contract.Mode(s.arg(d, "mode", "")), RetentionCount: 2},
	}
	if s.flag(d, "off") {
		p.Checkpointing = nil
	}
	strategy := s.arg(d, "restart", "fixed")
	if strategy != "fixed" {
		p.Restart.None = &struct{}{}
	}
	if strategy != "none" {
		attempts, _ := strconv.Atoi(s.arg(d, "attempts", "2"))
		p.Restart.FixedDelay = &contract.FixedDelay{Attempts: &attempts, Delay: contract.Duration(3 * time.Second)}
	}
	return p
}

// sharedFiles are those of a subtask: "b+a" are a, one of the base's, and b, a new one.
func sharedFiles(names string, subtask int) []state.File {
	created, reused, _ := strings.Cut(names, "+")
	files := []state.File{{Path: fmt.Sprintf("../../shared/%s%d", created, subtask), Shared: true}}
	if reused != "" {
		files = append(files, state.File{Path: fmt.Sprintf("../../shared/%s%d", reused, subtask), Shared: true, Reused: true})
	}
	return files
}

func (s *script) from(id protocol.TaskID, msg protocol.FromWorker) {
	s.m.HandleFromWorker(s.now, s.where[id], msg)
}

// named returns the tasks of the arguments; all of them for none.
func (s *script) named(d *datadriven.TestData) []protocol.TaskID {
	var ids []protocol.TaskID
	for _, id := range s.tasksOf {
		if (len(d.CmdArgs) == 0 || d.CmdArgs[0].Key == "shared") || s.flag(d, id.String()) {
			ids = append(ids, id)
		}
	}
	return ids
}

// tasks reports a state: "tasks running", "tasks failed src/0 error=...".
func (s *script) tasks(d *datadriven.TestData) {
	became := map[string]protocol.TaskState{
		"running": protocol.TaskRunning, "finished": protocol.TaskFinished, "failed": protocol.TaskFailed, "canceled": protocol.TaskCanceled,
	}[d.CmdArgs[0].Key]
	all := len(d.CmdArgs) == 1
	for _, id := range s.tasksOf {
		attempt := s.attempts[id]
		if s.flag(d, "stale") {
			attempt.K--
		}
		if all || s.flag(d, id.String()) {
			s.from(id, protocol.FromWorker{Status: &protocol.TaskStatus{
				Attempt: attempt, Task: id, State: became, Error: s.arg(d, "error", ""), Fatal: s.flag(d, "fatal"),
				Damaged: s.flag(d, "damaged"),
			}})
		}
	}
}

func (s *script) pass(by string) {
	d, err := time.ParseDuration(by)
	if err != nil {
		s.t.Fatal(err)
	}
	until := s.now.Add(d)
	for {
		at, ok := s.m.NextWake()
		if !ok || at.After(until) {
			break
		}
		s.now = at
		s.m.HandleTime(s.now)
		s.settle()
	}
	s.now = until
}

// swap answers a held swap.
func (s *script) swap(d *datadriven.TestData) {
	h := s.held
	s.held = nil
	switch d.CmdArgs[0].Key {
	case "done":
		s.head, s.found = *h, true
		s.m.HandleSwapped(s.now, snapshot.Swapped, nil)
	case "fenced":
		s.m.HandleSwapped(s.now, snapshot.Fenced, errors.New("precondition failed"))
	case "lost":
		s.m.HandleSwapped(s.now, snapshot.SwapUnknown, errors.New("no answer"))
	case "release":
		s.hold = false
		s.head, s.found = *h, true
		s.m.HandleSwapped(s.now, snapshot.Swapped, nil)
	}
}

// settle carries out effects, and writes down those that matter.
func (s *script) settle() {
	for {
		effects := s.m.Effects()
		if len(effects) == 0 {
			return
		}
		for _, e := range effects {
			s.carryOut(e)
		}
	}
}

func (s *script) carryOut(e job.Effect) {
	switch e := e.(type) {
	case job.ReadHead:
		s.printf("read head")
		s.m.HandleHeadRead(s.now, s.head.Clone(), s.found, nil)
	case job.SwapHead:
		s.printf("swap head %s", headText(e.Head))
		if s.hold {
			s.held = &e.Head
			return
		}
		s.head, s.found = e.Head, true
		s.m.HandleSwapped(s.now, snapshot.Swapped, nil)
	case job.WriteManifest:
		if slices.ContainsFunc(e.Manifest.Files(), func(f snapshot.FileRef) bool { return f.Shared }) {
			s.manifests[e.Path] = e.Manifest
		}
		s.printf("write manifest %s", e.Path)
		s.m.HandleManifestWritten(s.now, e.Checkpoint, 7, 70, nil)
	case job.ReadManifest:
		s.readManifest(e)
	case job.DeleteObjects:
		s.deletion(e)
	case job.ClaimSnapshot:
		s.claimed(e)
	case job.DeleteOrigin:
		s.originDeleted(e)
	case job.Send:
		s.send(e)
	case job.DropWorker:
		s.printf("drop %s: %s", e.Worker, e.Reason)
	case job.Reply:
		o := e.Operation
		s.printf("reply %s: %s %s path=%q error=%q", o.ID, o.Type, o.Outcome, o.Path, o.Error)
	case job.Exit:
		s.printf("EXIT %s fenced=%t err=%v", e.State, e.Fenced, e.Err)
	}
}

// deletion carries a deletion out unless storage refuses it.
func (s *script) deletion(e job.DeleteObjects) {
	if s.stalls {
		s.printf("delete %s%s: no answer yet", e.Prefix, strings.Join(e.Paths, ","))
		s.deleting = append(s.deleting, e.Token)
		return
	}
	if s.refusals == 0 {
		s.printf("delete %s%s", e.Prefix, strings.Join(e.Paths, ","))
		s.m.HandleDeleted(s.now, e.Token, nil)
		return
	}
	s.refusals--
	s.printf("delete %s%s: refused", e.Prefix, strings.Join(e.Paths, ","))
	s.m.HandleDeleted(s.now, e.Token, errors.New("refused"))
}

// outcome takes the next one of those to come.
func outcome(of *[]string) string {
	if len(*of) == 0 {
		return ""
	}
	o := (*of)[0]
	*of = (*of)[1:]
	return o
}

func (s *script) claimed(e job.ClaimSnapshot) {
	o := outcome(&s.claims)
	s.printf("claim %s %s", e.Dir, o)
	switch o {
	case "":
		s.m.HandleSnapshotClaimed(s.now, e.Dir, nil, false)
	case "lost":
		s.m.HandleSnapshotClaimed(s.now, e.Dir, errors.New("no answer"), false)
	case "owned":
		s.m.HandleSnapshotClaimed(s.now, e.Dir, &snapshot.ClaimError{Why: "job x owns it"}, true)
	case "crash":
	}
}

func (s *script) originDeleted(e job.DeleteOrigin) {
	o := outcome(&s.deletions)
	s.printf("delete origin %s %s", e.Dir, o)
	switch o {
	case "":
		s.m.HandleOriginDeleted(s.now, e.Dir, nil)
	case "fails":
		s.m.HandleOriginDeleted(s.now, e.Dir, errors.New("no answer"))
	case "crash":
	}
}

func (s *script) readManifest(e job.ReadManifest) {
	s.printf("read manifest %s crc=%d", e.Path, e.CRC32C)
	r := job.ManifestRead{Path: e.Path}
	switch {
	case s.denied == e.Path:
		r.Err, r.Permanent = errors.New("it has format 99, which this version does not read"), true
	case s.damaged[e.Path]:
		r.Err, r.Permanent, r.Damaged = errors.New("its checksum is wrong"), true, true
	case s.manifests[e.Path] != nil:
		r.Manifest = s.manifests[e.Path]
	case strings.Contains(e.Path, "missing"):
		r.Err, r.Permanent = errors.New("it has no _metadata: check the path"), true
	case strings.Contains(e.Path, "incremental"):
		r.Manifest = &snapshot.Manifest{JobID: "other", Checkpoint: 40, MaxParallelism: 128, Operators: []snapshot.OperatorState{{
			Name: "src", Subtasks: []snapshot.SubtaskState{{Keyed: []state.File{{Path: "../../shared/x", Shared: true}}}},
		}}}
	case strings.Contains(e.Path, "other"):
		r.Manifest = &snapshot.Manifest{Checkpoint: 40, MaxParallelism: 64}
	default:
		id, stop := int64(40), record.StopNone
		if n, ok := s.head.Newest(); ok && n.Path == e.Path {
			id, stop = n.ID, n.Stop
		}
		for _, c := range s.head.Checkpoints {
			if c.Path == e.Path {
				id = c.ID
			}
		}
		r.Manifest = &snapshot.Manifest{Checkpoint: id, Stop: stop, MaxParallelism: 128}
	}
	s.m.HandleManifestRead(s.now, r)
}

func (s *script) send(e job.Send) {
	m := e.Message
	switch {
	case m.Registered != nil:
		s.printf("%s: registered in epoch %d-%d", e.Worker, m.Registered.Epoch.Grant, m.Registered.Epoch.N)
	case m.Refused != "":
		s.printf("%s: refused: %s", e.Worker, m.Refused)
	case m.Deploy != nil:
		var ids []string
		for _, t := range m.Deploy.Tasks {
			s.where[t.Task], s.attempts[t.Task] = e.Worker, m.Deploy.Attempt
			ids = append(ids, t.Task.String())
		}
		s.printf("%s: deploy %s from %d %q: %s", e.Worker, m.Deploy.Attempt, m.Deploy.RestoredFrom, m.Deploy.RestoreDir, strings.Join(ids, " "))
	case m.Cancel != nil:
		s.printf("%s: cancel %s", e.Worker, m.Cancel.Attempt)
	case m.Trigger != nil:
		s.triggered = m.Trigger.Barrier.Checkpoint
		s.printf("%s: trigger %s %d at %v%s", e.Worker, m.Trigger.Barrier.Kind, m.Trigger.Barrier.Checkpoint, m.Trigger.Tasks, s.of(m.Trigger.Attempt))
	case m.Complete != nil:
		s.printf("%s: complete %d stop=%d%s", e.Worker, m.Complete.Checkpoint, m.Complete.Stop, s.of(m.Complete.Attempt))
	case m.Aborted != nil:
		s.printf("%s: aborted %d, latest %d%s", e.Worker, m.Aborted.Checkpoint, m.Aborted.LatestCompleted, s.of(m.Aborted.Attempt))
	}
}

// of names an attempt, if there can be several.
func (s *script) of(a protocol.Attempt) string {
	if !s.regions {
		return ""
	}
	return " for " + a.String()
}

func headText(h snapshot.Head) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d epoch=%d-%d", h.Seq, h.Epoch.Grant, h.Epoch.N)
	for _, c := range h.Checkpoints {
		fmt.Fprintf(&b, " chk-%d", c.ID)
	}
	for _, o := range h.Operations {
		fmt.Fprintf(&b, " %s=%s", o.ID, o.Outcome)
		if o.Role != snapshot.RoleUsual {
			fmt.Fprintf(&b, "(%s)", o.Role)
		}
	}
	fmt.Fprintf(&b, " restarts=%d restores=%d", h.Restarts.Total, len(h.Restores))
	if n := len(h.Restores); n > 0 && h.Restores[n-1].Empty {
		b.WriteString(" empty")
	}
	if n := len(h.Restores); n > 0 && len(h.Restores[n-1].Regions) > 0 {
		fmt.Fprintf(&b, " of=%v", h.Restores[n-1].Regions)
	}
	if n := len(h.Restores); n > 0 {
		for _, l := range h.Restores[n-1].LeftOut {
			fmt.Fprintf(&b, " without=%d (%s)", l.Checkpoint, l.Reason)
		}
	}
	if h.Origin != nil && h.Origin.Claim != snapshot.NotClaimed {
		fmt.Fprintf(&b, " origin=%s", h.Origin.Claim)
	}
	if h.Final != nil {
		fmt.Fprintf(&b, " final=%s", h.Final.State)
	}
	return b.String()
}
