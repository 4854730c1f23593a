// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
)

// Phase is a part of the life of a snapshot.
type Phase string

// The phases, in the order of the life of a snapshot.
const (
	// PhaseTrigger is from the trigger until a task without inputs acts on it.
	PhaseTrigger Phase = "Trigger"
	// PhaseChannel is the way of a barrier through a channel, behind the rows before it.
	PhaseChannel Phase = "Channel"
	// PhaseWaiting is from the last barrier to the synchronous part: for what was before it, and for room in the outputs.
	PhaseWaiting Phase = "Waiting"
	// PhaseSync, PhaseAsync and PhaseUpload are parts of the work of one task.
	PhaseSync   Phase = "Synchronous"
	PhaseAsync  Phase = "Asynchronous"
	PhaseUpload Phase = "Upload"
	// PhaseAck is from the end of the asynchronous part until the task got to acknowledge it.
	PhaseAck Phase = "Acknowledge"
	// PhaseFinalize is from the last acknowledgement to the end: manifest and head.
	PhaseFinalize Phase = "Finalize"
)

// Culprit names what made a snapshot slow, or keeps it from its end.
type Culprit struct {
	Phase Phase `json:"phase,omitempty"`
	// Task is where it was spent; zero for PhaseFinalize.
	Task protocol.TaskID `json:"task,omitzero"`
	// From produces the channel into Task that the barrier was late on; zero when that isn't the point.
	From protocol.TaskID `json:"from,omitzero"`
	// HeldUpBy is the task downstream that Task had to wait for, when it had no room in its outputs most of the time.
	HeldUpBy protocol.TaskID `json:"heldUpBy,omitzero"`
	// Duration of the phase, as far as it got.
	Duration time.Duration `json:"duration,omitempty"`
	// Text says it in a sentence without a capital or a full stop.
	Text string `json:"text,omitempty"`
}

// blamer finds the culprit of one snapshot.
type blamer struct {
	vertices  []Vertex
	parts     map[protocol.TaskID]*SubtaskStats
	unaligned bool
	// outstanding have not acknowledged; triggered ones don't wait for a barrier.
	outstanding, triggered map[protocol.TaskID]bool
	progress               func(protocol.TaskID) *protocol.SnapshotProgress
	load                   func(protocol.TaskID) protocol.Load
	// but is the task that declined it, which isn't what keeps it from being complete.
	but protocol.TaskID
}

func (c *Coordinator) blamer(p *pending) *blamer {
	return &blamer{
		vertices: c.o.Vertices, parts: p.costs.parts, outstanding: p.outstanding, triggered: p.triggered, unaligned: p.barrier.Unaligned,
		progress: func(id protocol.TaskID) *protocol.SnapshotProgress { return c.progressOf(p, id) },
		load: func(id protocol.TaskID) protocol.Load {
			if t := p.costs.parts[id]; t != nil && t.Cost.Load.Time > 0 {
				return t.Cost.Load
			}
			now, before := c.ledger.seen[id].Load, p.costs.before[id]
			if now.Time <= before.Time { // nothing was heard of it since the trigger, or it was deployed anew
				return now
			}
			return protocol.Load{Time: now.Time - before.Time, Idle: now.Idle - before.Idle, Blocked: now.Blocked - before.Blocked}
		},
	}
}

// slowest finds the longest step of the critical path of a completed snapshot. The path is followed backwards: from the last
// acknowledgement through the parts of its task to the channel of its last barrier, to the task that sent it, and so on up to a source.
// The steps are in the coordinator's time, so no clocks of machines are compared.
func (b *blamer) slowest(s *Stats) Culprit {
	worst := Culprit{Phase: PhaseFinalize, Duration: s.Finalize}
	step := func(c Culprit) {
		if c.Duration > worst.Duration {
			worst = c
		}
	}
	t := b.parts[s.Slowest]
	// A path has no more tasks than there are vertices, whatever workers say.
	for n := 0; t != nil && n < len(b.vertices); n++ {
		first := n == 0
		if first {
			upload := min(t.Cost.Upload, t.Cost.Async)
			step(Culprit{Phase: PhaseUpload, Task: t.Task, Duration: upload})
			step(Culprit{Phase: PhaseAsync, Task: t.Task, Duration: t.Cost.Async - upload})
			step(Culprit{Phase: PhaseSync, Task: t.Task, Duration: t.Cost.Sync})
			step(Culprit{Phase: PhaseAck, Task: t.Task, Duration: t.AckDelay()})
			if b.unaligned && t.Cost.Last != nil {
				// What the barriers overtake is part of the snapshot, so the task that acknowledges last had to wait for all of them.
				step(Culprit{Phase: PhaseChannel, Task: t.Task, From: t.Cost.Last.From, Duration: t.Cost.Alignment})
			}
		}
		step(Culprit{Phase: PhaseWaiting, Task: t.Task, Duration: t.Cost.Waited})
		if t.Cost.Last == nil {
			step(Culprit{Phase: PhaseTrigger, Task: t.Task, Duration: t.StartDelay})
			break
		}
		up, arrived := b.parts[t.Cost.Last.From], b.aligned(t)
		sent := time.Duration(0)
		if up != nil {
			sent = b.aligned(up) + up.Cost.Waited
		}
		step(Culprit{Phase: PhaseChannel, Task: t.Task, From: t.Cost.Last.From, Duration: arrived - sent})
		t = up
	}
	return b.tell(worst)
}

// aligned is when a task had the barriers that it needs to send its own, counted from the trigger.
func (b *blamer) aligned(t *SubtaskStats) time.Duration {
	if b.unaligned {
		return t.StartDelay
	}
	return t.StartDelay + t.Cost.Alignment
}

// stuck finds what keeps a snapshot of that age from having all acknowledgements: the first task, in topological order, that has not sent the
// barrier on, or else the task that has been writing the longest.
func (b *blamer) stuck(age time.Duration) Culprit {
	var writing Culprit
	for i := range b.vertices {
		v := &b.vertices[i]
		for n := range v.Parallelism {
			id := protocol.TaskID{Vertex: v.Name, Subtask: n}
			if !b.outstanding[id] || id == b.but {
				continue
			}
			p := b.progress(id)
			switch {
			case p == nil:
				return b.tell(b.unreached(v, id, age))
			case p.Stage == protocol.StageWriting:
				if p.For > writing.Duration || writing.Phase == "" {
					writing = Culprit{Phase: PhaseAsync, Task: id, Duration: p.For}
				}
			case p.Stage == protocol.StageWaiting:
				return b.tell(Culprit{Phase: PhaseWaiting, Task: id, Duration: p.For})
			default:
				c := Culprit{Phase: PhaseChannel, Task: id, Duration: p.For}
				if len(p.Missing) > 0 {
					c.From = b.missing(p.Missing)
				}
				return b.tell(c)
			}
		}
	}
	if writing.Phase != "" {
		writing = b.tell(writing)
	}
	return writing
}

// unreached is for a task that said nothing of the snapshot.
func (b *blamer) unreached(v *Vertex, id protocol.TaskID, age time.Duration) Culprit {
	c := Culprit{Phase: PhaseChannel, Task: id, Duration: age}
	switch {
	case b.triggered[id]:
		c.Phase = PhaseTrigger
	case len(v.Inputs) > 0 && v.Inputs[0].Forward:
		c.From = protocol.TaskID{Vertex: v.Inputs[0].Vertex, Subtask: id.Subtask}
	}
	return c
}

// missing picks the channel to name: one whose producer has not sent the barrier, or else the first.
func (b *blamer) missing(refs []protocol.ChannelRef) protocol.TaskID {
	for _, r := range refs {
		if !b.sent(r.From) {
			return r.From
		}
	}
	return refs[0].From
}

// sent says that a task has sent its barriers on.
func (b *blamer) sent(id protocol.TaskID) bool {
	if !b.outstanding[id] {
		return true
	}
	p := b.progress(id)
	return p != nil && (b.unaligned || p.Stage == protocol.StageWriting)
}

// heldUp says that a task had no room in its outputs most of the time.
func heldUp(l protocol.Load) bool { return l.Time > 0 && 2*l.Blocked > l.Time }

// holder follows back-pressure downstream, always to the task that is idle the least, until one isn't held up itself; zero if the task
// isn't held up.
func (b *blamer) holder(id protocol.TaskID) protocol.TaskID {
	var found protocol.TaskID
	for range b.vertices {
		if !heldUp(b.load(id)) {
			break
		}
		next, ok := b.pressing(id)
		if !ok {
			break
		}
		id, found = next, next
	}
	return found
}

// pressing finds the task after this one that is idle the least.
func (b *blamer) pressing(id protocol.TaskID) (least protocol.TaskID, ok bool) {
	share := 2.0
	for i := range b.vertices {
		v := &b.vertices[i]
		for _, in := range v.Inputs {
			if in.Vertex != id.Vertex {
				continue
			}
			for n := range v.Parallelism {
				t := protocol.TaskID{Vertex: v.Name, Subtask: n}
				l := b.load(t)
				if in.Forward && n != id.Subtask || l.Time <= 0 {
					continue
				}
				if s := float64(l.Idle) / float64(l.Time); s < share {
					least, share, ok = t, s, true
				}
			}
		}
	}
	return least, ok
}

// tell adds who holds a task up, and says it all in a sentence.
func (b *blamer) tell(c Culprit) Culprit {
	d := round(c.Duration)
	switch c.Phase {
	case PhaseTrigger:
		c.Text = fmt.Sprintf("%s acted on the trigger after %v", c.Task, d)
		if b.outstanding[c.Task] {
			c.Text = fmt.Sprintf("%s had not acted on the trigger after %v", c.Task, d)
		}
	case PhaseChannel:
		switch {
		case c.From == (protocol.TaskID{}):
			c.Text = fmt.Sprintf("no barrier had come to %s for %v", c.Task, d)
		case !b.sent(c.From):
			c.Text = fmt.Sprintf("%s had not sent the barrier to %s after %v", c.From, c.Task, d)
		default:
			c.Text = fmt.Sprintf("the barrier was behind rows in the channel from %s to %s for %v", c.From, c.Task, d)
		}
	case PhaseWaiting:
		c.Text = fmt.Sprintf("%s had to finish what was before the barrier for %v", c.Task, d)
	case PhaseSync:
		c.Text = fmt.Sprintf("the synchronous part of %s took %v", c.Task, d)
	case PhaseAsync:
		c.Text = fmt.Sprintf("the asynchronous part of %s took %v", c.Task, d)
		if b.outstanding[c.Task] {
			c.Text = fmt.Sprintf("%s had been writing its part for %v", c.Task, d)
		}
	case PhaseAck:
		c.Text = fmt.Sprintf("%s was too busy for %v to acknowledge what was written", c.Task, d)
	case PhaseUpload:
		c.Text = fmt.Sprintf("the upload of %s took %v", c.Task, d)
	case PhaseFinalize:
		c.Text = fmt.Sprintf("writing manifest and head took %v", d)
	}
	if c.Phase != PhaseTrigger && c.Phase != PhaseChannel && c.Phase != PhaseWaiting {
		return c
	}
	if c.HeldUpBy = b.holder(c.Task); c.HeldUpBy != (protocol.TaskID{}) {
		c.Text += fmt.Sprintf("; %s was held up by %s, %s", c.Task, c.HeldUpBy, busy(b.load(c.HeldUpBy)))
	} else if l := b.load(c.Task); l.Time > 0 {
		c.Text += fmt.Sprintf("; %s was %s", c.Task, busy(l))
	}
	return c
}

// busy says how a time was spent.
func busy(l protocol.Load) string {
	return fmt.Sprintf("busy %d%% of the time", 100*(l.Time-l.Idle-l.Blocked)/max(l.Time, 1))
}

// round shortens a duration for people.
func round(d time.Duration) time.Duration {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second)
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	default:
		return d.Round(time.Millisecond)
	}
}
