// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// tracef adds a line to the account, if there is one.
func (w *world) tracef(p *process, format string, args ...any) {
	if !w.tracing {
		return
	}
	name := "-"
	if p != nil {
		name = p.name
	}
	w.trace = append(w.trace, fmt.Sprintf("%10.4f %-14s %s", w.clock.now.Sub(start).Seconds(), name, fmt.Sprintf(format, args...)))
}

// failf ends the run with a violation. The first one counts.
func (w *world) failf(format string, args ...any) {
	if w.failure != nil {
		return
	}
	w.failure = fmt.Errorf(format, args...)
	w.tracef(nil, "VIOLATION: %v", w.failure)
}

func stack() string {
	s := string(debug.Stack())
	if i := strings.Index(s, "panic("); i >= 0 {
		s = s[i:]
	}
	return s
}

// describe writes the scenario down.
func (w *world) describe() {
	s := w.scenario
	w.tracef(nil, "scenario: %d key groups, %d rows a key, ordered %v, capacity %d; faults: storage 1 in %d, commit 1 in %d, every %v until %v",
		s.groups, s.rowsPerKey, s.ordered, w.capacity, w.faults.storage, w.faults.commit, w.faults.between, w.faults.until.Sub(start))
}

func (w *world) traceToWorker(k *worker, m protocol.ToWorker) {
	if !w.tracing {
		return
	}
	switch {
	case m.Registered != nil:
		w.tracef(k.p, "is registered by epoch %d-%d", m.Registered.Epoch.Grant, m.Registered.Epoch.N)
	case m.Deploy != nil:
		w.tracef(k.p, "gets deploy %s from %d (%s): %s", m.Deploy.Attempt, m.Deploy.RestoredFrom, m.Deploy.RestoreDir, describeTasks(m.Deploy.Tasks))
	case m.Cancel != nil:
		w.tracef(k.p, "gets cancel %s", m.Cancel.Attempt)
	case m.Trigger != nil:
		w.tracef(k.p, "gets trigger %d %s stop=%d for %v", m.Trigger.Barrier.Checkpoint, m.Trigger.Barrier.Kind, m.Trigger.Barrier.Stop, m.Trigger.Tasks)
	case m.Complete != nil:
		w.tracef(k.p, "gets complete %d stop=%d of %s", m.Complete.Checkpoint, m.Complete.Stop, m.Complete.Attempt)
	case m.Aborted != nil:
		w.tracef(k.p, "gets aborted %d", m.Aborted.Checkpoint)
	}
}

// describeNews names the snapshot that tasks are told of.
func describeNews(m protocol.ToWorker) string {
	if m.Complete != nil {
		return fmt.Sprintf("complete %d", m.Complete.Checkpoint)
	}
	return fmt.Sprintf("aborted %d", m.Aborted.Checkpoint)
}

func describeTasks(tasks []protocol.TaskDeployment) string {
	var b strings.Builder
	for _, t := range tasks {
		fmt.Fprintf(&b, "%s", t.Task)
		if t.Finished {
			b.WriteString(" finished")
		}
		for _, name := range sortedKeys(t.Operators) {
			o := t.Operators[name]
			fmt.Fprintf(&b, " %s(%d files", name, len(o.Keyed))
			if n := len(o.Channels); n > 0 {
				fmt.Fprintf(&b, ", %d channels", n)
			}
			for _, l := range o.Lists {
				fmt.Fprintf(&b, ", %s %d", l.Name, len(l.Entries))
			}
			b.WriteString(")")
		}
		b.WriteString("; ")
	}
	return b.String()
}

func (w *world) traceFromWorker(k *worker, m protocol.FromWorker) {
	if !w.tracing {
		return
	}
	switch {
	case m.Status != nil:
		w.tracef(k.p, "says %s is %s %s", m.Status.Task, m.Status.State, m.Status.Error)
	case m.Ack != nil:
		w.tracef(k.p, "says %s has snapshot %d %s", m.Ack.Task, m.Ack.Checkpoint, describeState(m.Ack.Operators))
	case m.Decline != nil:
		w.tracef(k.p, "says %s declines snapshot %d: %s %s", m.Decline.Task, m.Decline.Checkpoint, m.Decline.Reason, m.Decline.Error)
	case m.EndOfData != nil:
		w.tracef(k.p, "says %s is at the end of data", m.EndOfData.Task)
	case m.Notified != nil:
		w.tracef(k.p, "says %s is notified of %d", m.Notified.Task, m.Notified.Checkpoint)
	}
}

func describeState(ops map[string]snapshot.SubtaskState) string {
	var b strings.Builder
	for _, name := range sortedKeys(ops) {
		s := ops[name]
		fmt.Fprintf(&b, "%s(", name)
		if s.Finished {
			b.WriteString("finished, ")
		}
		fmt.Fprintf(&b, "%d files", len(s.Keyed))
		if n := len(s.Channels); n > 0 {
			fmt.Fprintf(&b, ", %d channels", n)
		}
		for _, l := range s.Lists {
			fmt.Fprintf(&b, ", %s %d", l.Name, len(l.Entries))
		}
		b.WriteString(") ")
	}
	return b.String()
}

// situation says what the job waits for.
func (w *world) situation() string {
	if w.version == nil {
		return "nothing is known of it"
	}
	c := w.version.leads
	if c == nil || c.machine == nil || !c.lead {
		return "no coordinator leads"
	}
	s := c.machine.Status(c.now())
	var b strings.Builder
	fmt.Fprintf(&b, "%s is %s (%s), attempt %s, %d restarts; tasks", c.p.name, s.State, s.Message, s.Attempt, s.Restarts)
	for _, t := range s.Tasks {
		fmt.Fprintf(&b, " %s %s", t.Task, t.State)
		if t.EndOfData {
			b.WriteString(" at the end")
		}
	}
	if s.LastFailure != nil {
		fmt.Fprintf(&b, "; last failure %s", s.LastFailure.Error)
	}
	fmt.Fprintf(&b, "; snapshots %+v, pending %+v", s.Checkpoints, s.Pending)
	return b.String()
}

// describePlan lists vertices with their chains and inputs.
func describePlan(p *graph.Plan) string {
	var s strings.Builder
	for _, v := range p.Vertices {
		fmt.Fprintf(&s, "%s×%d", v.Name, v.Parallelism)
		for _, n := range v.Nodes[1:] {
			s.WriteString("+" + n.Name)
		}
		for _, e := range v.Inputs {
			fmt.Fprintf(&s, " <%s %s", e.Partition, e.From.Name)
		}
		s.WriteString("; ")
	}
	return s.String()
}

// describeHead lists what a head names.
func describeHead(h *snapshot.Head) string {
	var s strings.Builder
	fmt.Fprintf(&s, "epoch %d-%d, ids up to %d, checkpoints", h.Epoch.Grant, h.Epoch.N, h.ReservedUntil)
	for _, c := range h.Checkpoints {
		fmt.Fprintf(&s, " %d", c.ID)
	}
	for _, o := range h.Operations {
		fmt.Fprintf(&s, ", %s %s %s (%d)", o.Type, o.ID, o.Outcome, o.Checkpoint)
	}
	if o := h.Origin; o != nil && o.Claim != snapshot.NotClaimed {
		fmt.Fprintf(&s, ", origin %s", o.Claim)
	}
	if h.Final != nil {
		fmt.Fprintf(&s, ", final %s", h.Final.State)
	}
	return s.String()
}
