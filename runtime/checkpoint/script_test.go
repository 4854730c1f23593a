// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// TestScripts runs the scripts in testdata: each line is an event, what follows "----" are the effects. The job is src (2 subtasks) -> sink
// (1 subtask, transactional); at says when, counted from the start. Run with -rewrite to accept what is printed.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "run" {
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			var out strings.Builder
			for line := range strings.Lines(d.Input) {
				line = strings.TrimSpace(line)
				if err := s.do(strings.Fields(line)); err != nil {
					d.Fatalf(t, "%s: %v", line, err)
				}
				fmt.Fprintf(&out, "> %s\n", line)
				s.print(&out)
			}
			return out.String()
		})
	})
}

// script drives a coordinator by the words of a line.
type script struct {
	c       *Coordinator
	now     time.Time
	attempt protocol.Attempt
	// swaps and deletes are the tokens not answered yet.
	swaps, deletes []int64
	head           snapshot.Head
	// older are the attempts of tasks of regions that went on when others were restarted.
	older map[protocol.TaskID]protocol.Attempt
	// files are those of the sink's next acknowledgement.
	files []state.File
	// union makes the positions of sources union state.
	union bool
}

var scriptStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

var stopModes = map[string]record.StopMode{"": record.StopNone, "freeze": record.StopFreeze, "drain": record.StopDrain}

func (s *script) do(w []string) error {
	arg := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	id, _ := strconv.ParseInt(arg(1), 10, 64)
	switch w[0] {
	case "new":
		return s.create(w[1:])
	case "start":
		s.attempt.K++
		s.older = nil
		s.c.Start(s.now, s.attempt, nil)
	case "interrupt": // the tasks named are gone
		s.c.Interrupt(s.now, ReasonTaskFailure, "a task failed", tasksOf(w[1:]))
	case "restart": // the tasks named are there again, the others still
		s.restart(tasksOf(w[1:]))
	case "suspend":
		s.c.Suspend(s.now, ReasonTaskFailure, "a task failed")
	case "at":
		return s.wait(arg(1))
	case "after": // like at, counted from now
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			return err
		}
		return s.wait((s.now.Sub(scriptStart) + d).String())
	case "late": // like at, but the coordinator wasn't woken
		d, err := time.ParseDuration(arg(1))
		s.now = scriptStart.Add(d)
		return err
	case "ack", "oldack":
		a := s.attempt
		if w[0] == "oldack" {
			a.K--
		}
		for _, name := range slices.DeleteFunc(slices.Clone(w[2:]), s.fileWord) {
			of := a
			if older, ok := s.older[taskOf(name)]; ok && w[0] == "ack" {
				of = older
			}
			s.c.HandleAck(s.now, s.ackOf(of, id, taskOf(name)))
		}
		s.files = nil
	case "manifest": // what ReadManifest gives: "manifest 3 a b", "manifest 3 damaged", "manifest 3 unreachable"
		s.manifest(id, w[2:])
	case "leave-out":
		s.c.LeaveOut([]snapshot.LeftOut{{Checkpoint: id}})
	case "decline":
		s.c.HandleDecline(s.now, protocol.Decline{
			Attempt: s.attempt, Checkpoint: id, Task: taskOf(arg(2)), Reason: protocol.DeclineReason(arg(3)), Error: strings.Join(w[min(4, len(w)):], " "),
		})
	case "written":
		var err error
		if len(w) > 2 {
			err = errors.New(strings.Join(w[2:], " "))
		}
		s.c.HandleManifestWritten(s.now, id, 0xabc, 100, err)
	case "swapped":
		if len(s.swaps) == 0 {
			return errors.New("no swap is open")
		}
		s.c.HandleHeadUpdated(s.now, s.swaps[0])
		s.swaps = s.swaps[1:]
	case "deleted":
		if len(s.deletes) == 0 {
			return errors.New("no deletion is open")
		}
		n := 1
		if arg(1) == "all" {
			n = len(s.deletes)
		}
		for _, token := range s.deletes[:n] {
			s.c.HandleDeleted(s.now, token)
		}
		s.deletes = s.deletes[n:]
	case "checkpoint":
		s.c.RequestCheckpoint(s.now, arg(1))
	case "savepoint":
		r := SavepointRequest{Operation: arg(1), Stop: stopModes[arg(2)]}
		for _, a := range w[min(3, len(w)):] {
			k, v, _ := strings.Cut(a, "=")
			switch k {
			case "to":
				r.Target = v
			case "within":
				r.Timeout, _ = time.ParseDuration(v)
			}
		}
		s.c.RequestSavepoint(s.now, r)
	case "policy":
		if err := s.c.SetPolicy(s.now, policyOf(w[1:])); err != nil {
			s.c.emit(noted("refused: " + err.Error()))
		}
	case "eod":
		s.c.HandleEndOfData(s.now, protocol.EndOfData{Attempt: s.attempt, Task: taskOf(arg(1))})
	case "finished":
		s.c.HandleFinished(s.now, taskOf(arg(1)))
	case "notified":
		s.c.HandleNotified(s.now, protocol.Notified{Attempt: cmp.Or(s.older[taskOf(arg(2))], s.attempt), Checkpoint: id, Task: taskOf(arg(2))})
	case "stopped?":
		o, ok := s.c.FinishStop(s.now)
		s.c.emit(noted(fmt.Sprintf("stop finished: %v %s", ok, o.Outcome)))
	case "summary":
		m := s.c.Summary()
		s.c.emit(noted(fmt.Sprintf("triggered %d completed %d failed %d in progress %d last %d consecutive failures %d waiting %q",
			m.Triggered, m.Completed, m.Failed, m.InProgress, m.LastCompleted, m.ConsecutiveFailures, m.Waiting)))
		if len(m.Unreadable) > 0 {
			s.c.emit(noted(fmt.Sprintf("unreadable %v", m.Unreadable)))
		}
	case "history":
		for _, h := range s.c.History() {
			s.c.emit(noted(fmt.Sprintf("%s %d %s %s after %v acked %d/%d missing %v %s", h.Kind, h.ID, h.State, h.Reason, h.Duration, h.Acked, h.Tasks, h.Missing, h.Error)))
		}
	default:
		return errors.New("unknown event")
	}
	return nil
}

// fileWord takes a file of an acknowledgement: +name was created below shared/, =name is one of the base's.
func (s *script) fileWord(w string) bool {
	name, reused := strings.CutPrefix(w, "=")
	if !reused && !strings.HasPrefix(w, "+") {
		return false
	}
	s.files = append(s.files, state.File{Path: "../../shared/" + strings.TrimPrefix(name, "+"), Size: 10, Shared: true, Reused: reused})
	return true
}

func (s *script) manifest(id int64, files []string) {
	m := &snapshot.Manifest{Operators: []snapshot.OperatorState{{Name: "sink", Subtasks: []snapshot.SubtaskState{{}}}}}
	for _, name := range files {
		m.Operators[0].Subtasks[0].Keyed = append(m.Operators[0].Subtasks[0].Keyed, state.File{Path: "../../shared/" + name, Shared: true})
	}
	damaged := slices.Contains(files, "damaged")
	if damaged || slices.Contains(files, "unreachable") {
		m = nil
	}
	s.c.HandleManifestRead(s.now, fmt.Sprintf("jobs/j/checkpoints/chk-%d/", id), m, damaged)
}

// noted is a line of the script's own.
type noted string

func (noted) effect() {}

func (s *script) create(args []string) error {
	s.union, s.head = false, snapshot.Head{}
	// The first delay of this source is the whole interval but for a hair.
	o := Options{
		JobID: "0123456789", MaxParallelism: 128, Durable: true, Dir: "jobs/j/", Rand: rand.New(longest{}), ReserveIDs: 100, Retention: 2,
		Vertices: []Vertex{
			{Name: "src", Parallelism: 2, Operators: []string{"src"}, Bounded: true},
			{Name: "sink", Parallelism: 1, Operators: []string{"sink"}, Inputs: []Input{{Vertex: "src"}}, Transactional: true},
		},
	}
	for _, a := range args {
		k, v, _ := strings.Cut(a, "=")
		n, _ := strconv.Atoi(v)
		d, _ := time.ParseDuration(v)
		switch k {
		case "interval":
			o.Interval = d
		case "minPause":
			o.MinPause = d
		case "timeout":
			o.Timeout = d
		case "maxConcurrent":
			o.MaxConcurrent = n
		case "tolerable":
			o.TolerableFailures = n
		case "retention":
			o.Retention = n
		case "ids":
			o.ReserveIDs = int64(n)
		case "grace":
			o.CommitGrace = d
		case "union":
			s.union = true
		case "incremental":
			o.Incremental = true
		case "unaligned":
			o.Unaligned, o.AlignmentTimeout = true, d
		case "regions": // another pipeline beside
			o.Vertices = append(o.Vertices,
				Vertex{Name: "other", Parallelism: 1, Operators: []string{"other"}},
				Vertex{Name: "print", Parallelism: 1, Operators: []string{"print"}, Inputs: []Input{{Vertex: "other"}}})
		case "memory":
			o.Durable = false
		case "again": // a new incarnation with the head as it is
			s.head = s.c.head
		default:
			return fmt.Errorf("unknown option %s", k)
		}
	}
	if s.now.IsZero() {
		s.now = scriptStart
	}
	c, err := New(o, s.head)
	s.c, s.swaps, s.deletes = c, nil, nil
	return err
}

func policyOf(args []string) Policy {
	var p Policy
	for _, a := range args {
		k, v, _ := strings.Cut(a, "=")
		n, _ := strconv.Atoi(v)
		d, _ := time.ParseDuration(v)
		switch k {
		case "interval":
			p.Interval = d
		case "minPause":
			p.MinPause = d
		case "timeout":
			p.Timeout = d
		case "maxConcurrent":
			p.MaxConcurrent = n
		case "tolerable":
			p.TolerableFailures = n
		case "retention":
			p.Retention = n
		case "unaligned":
			p.Unaligned, p.AlignmentTimeout = true, d
		}
	}
	return p
}

// restart starts the tasks named anew; the others keep their attempts.
func (s *script) restart(tasks []protocol.TaskID) {
	before := s.attempt
	s.attempt.K++
	var starts []TaskStart
	older := map[protocol.TaskID]protocol.Attempt{}
	for _, id := range s.c.order {
		if slices.Contains(tasks, id) {
			continue
		}
		older[id] = cmp.Or(s.older[id], before)
		starts = append(starts, TaskStart{Task: id, Attempt: older[id], Finished: s.c.tasks[id].finished, EndOfData: s.c.tasks[id].endOfData})
	}
	s.older = older
	s.c.Start(s.now, s.attempt, starts)
}

func tasksOf(names []string) []protocol.TaskID {
	var ids []protocol.TaskID
	for _, n := range names {
		ids = append(ids, taskOf(n))
	}
	return ids
}

// longest makes Int64N yield nearly its bound.
type longest struct{}

func (longest) Uint64() uint64 { return 1<<64 - 1 }

// wait lets time pass, with every wake-up in between.
func (s *script) wait(until string) error {
	d, err := time.ParseDuration(until)
	if err != nil {
		return err
	}
	end := scriptStart.Add(d)
	for range 1000 {
		w, ok := s.c.NextWake()
		if !ok || w.After(end) {
			s.now = end
			s.c.HandleTime(end)
			return nil
		}
		if w.After(s.now) {
			s.now = w
			s.c.emit(noted(fmt.Sprintf("time %v", w.Sub(scriptStart))))
		}
		s.c.HandleTime(s.now)
	}
	return errors.New("it never sleeps")
}

func taskOf(name string) protocol.TaskID {
	v, i, _ := strings.Cut(name, "/")
	n, _ := strconv.Atoi(i)
	return protocol.TaskID{Vertex: v, Subtask: n}
}

func (s *script) ackOf(a protocol.Attempt, id int64, t protocol.TaskID) protocol.Ack {
	st := snapshot.SubtaskState{Index: t.Subtask, Lists: []operator.List{{Name: "pos", Entries: [][]byte{{1}}}}}
	if s.union {
		st.Lists[0].Mode = operator.Union
	}
	if t.Vertex == "sink" {
		st = snapshot.SubtaskState{Index: t.Subtask, Keyed: []state.File{{Path: fmt.Sprintf("file-%d-%d", id, t.Subtask), Size: 10}}}
		if s.files != nil {
			st.Keyed = s.files
		}
	}
	return protocol.Ack{
		Attempt: a, Task: t, Checkpoint: id, Operators: map[string]snapshot.SubtaskState{t.Vertex: st}, Metrics: protocol.AckMetrics{Bytes: 10},
	}
}

func (s *script) print(out *strings.Builder) {
	for _, e := range s.c.Effects() {
		switch e := e.(type) {
		case Trigger:
			fmt.Fprintf(out, "  trigger %s %d%s at %v -> %s%s\n", e.Barrier.Kind, e.Barrier.Checkpoint, stopText(e.Barrier.Stop), e.Tasks, e.Barrier.Target, modeText(e.Barrier))
		case NotifyComplete:
			fmt.Fprintf(out, "  complete %d%s to %v\n", e.Checkpoint, stopText(e.Stop), e.Tasks)
			if len(e.Stay) > 0 {
				fmt.Fprintf(out, "  they stay: %v\n", e.Stay)
			}
		case NotifyAborted:
			fmt.Fprintf(out, "  aborted %d (latest %d) to %v\n", e.Checkpoint, e.LatestCompleted, e.Tasks)
		case WriteManifest:
			fmt.Fprintf(out, "  write manifest %d%s\n", e.Checkpoint, finishedText(e.Manifest))
		case ReadManifest:
			fmt.Fprintf(out, "  read manifest %d %s\n", e.Checkpoint, e.Path)
		case UpdateHead:
			s.swaps = append(s.swaps, e.Token)
			fmt.Fprintf(out, "  head:%s\n", updateText(e))
		case Delete:
			s.deletes = append(s.deletes, e.Token)
			fmt.Fprintf(out, "  delete %s%v\n", e.Prefix, e.Paths)
		case Answer:
			fmt.Fprintf(out, "  answer %s\n", operationText(e.Operation))
		case FailJob:
			fmt.Fprintf(out, "  fail the job: %s\n", e.Reason)
		case Stopping:
			fmt.Fprintf(out, "  stopping with %s\n", e.Operation.ID)
		case noted:
			fmt.Fprintf(out, "  %s\n", string(e))
		}
	}
}

func modeText(b record.Barrier) string {
	text := ""
	if b.Shared != "" {
		text += fmt.Sprintf(" base %d, shared below %s", b.Base, b.Shared)
	}
	if b.Unaligned {
		text += fmt.Sprintf(" unaligned after %v", b.AlignmentTimeout)
	}
	return text
}

func stopText(m record.StopMode) string {
	return [...]string{"", " freeze", " drain"}[m]
}

func finishedText(m *snapshot.Manifest) string {
	text := ""
	for _, o := range m.Operators {
		for _, s := range o.Subtasks {
			if s.Finished {
				text += fmt.Sprintf(" %s/%d finished", o.Name, s.Index)
			}
		}
		if o.Finished {
			text += fmt.Sprintf(" (%s finished)", o.Name)
		}
	}
	return text
}

func updateText(u UpdateHead) string {
	text := ""
	if u.Complete != nil {
		text += fmt.Sprintf(" checkpoint %d", u.Complete.ID)
		if u.Complete.Shared {
			text += " with shared files"
		}
	}
	if len(u.Subsume) > 0 {
		text += fmt.Sprintf(" without %v", u.Subsume)
	}
	if u.Operation != nil {
		text += " operation " + operationText(*u.Operation)
	}
	if u.ReserveUntil > 0 {
		text += fmt.Sprintf(" ids below %d", u.ReserveUntil)
	}
	return text
}

func operationText(o snapshot.Operation) string {
	text := fmt.Sprintf("%s %s %s", o.ID, o.Type, o.Outcome)
	if o.Path != "" {
		text += " " + o.Path
	}
	if o.Error != "" {
		text += ": " + o.Error
	}
	return text
}
