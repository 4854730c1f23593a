// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
)

// maxMissing bounds the tasks that a failed snapshot names.
const maxMissing = 16

// maxDiscarded bounds the ids whose late acknowledgements are cleaned up after.
const maxDiscarded = 256

// HandleAck takes an acknowledgement; it may be late, a duplicate or unknown.
func (c *Coordinator) HandleAck(now time.Time, a protocol.Ack) {
	p := c.find(a.Checkpoint)
	if p == nil {
		c.discardLate(&a)
		return
	}
	if !c.of(a.Task, a.Attempt) || p.state != collecting || !p.outstanding[a.Task] {
		if p.acks[a.Task] == nil { // else a duplicate, whose files are those of the first one
			c.discardShared(&a)
		}
		return // another attempt, a duplicate, or a task that takes no part
	}
	delete(p.outstanding, a.Task)
	p.acks[a.Task] = &a
	if err := c.takeFiles(p, &a); err != nil {
		c.base = 0 // whatever is wrong with it, the next one is whole
		c.abort(now, p, ReasonDeclined, c.andLacking(now, p, a.Task, err.Error()))
		c.advance(now)
		return
	}
	p.note(now, &a)
	c.checkAcked(now, p)
}

// discardLate deletes the files of an acknowledgement that came after its snapshot was given up. Files that belong to any other
// snapshot are left alone: it may have been completed. Shared files are deleted unless something refers to them.
func (c *Coordinator) discardLate(a *protocol.Ack) {
	paths := c.strays(a)
	if dir, ok := c.discarded[a.Checkpoint]; ok {
		paths = append(paths, ackPaths(dir, a)...)
	}
	if len(paths) > 0 {
		c.token++
		c.emit(Delete{Token: c.token, Paths: paths})
	}
}

// discardShared deletes the shared files of an acknowledgement that isn't used, unless something refers to them.
func (c *Coordinator) discardShared(a *protocol.Ack) {
	if paths := c.strays(a); len(paths) > 0 {
		c.token++
		c.emit(Delete{Token: c.token, Paths: paths})
	}
}

// ackPaths lists the files of an acknowledgement that belong to its snapshot alone.
func ackPaths(dir string, a *protocol.Ack) []string {
	var paths []string
	add := func(name string) {
		if name != "" && !strings.HasPrefix(name, "../") && !slices.Contains(paths, dir+name) {
			paths = append(paths, dir+name)
		}
	}
	for _, s := range a.Operators {
		for _, f := range s.Keyed {
			add(f.Path)
		}
		for _, ch := range s.Channels {
			add(ch.Path)
		}
	}
	slices.Sort(paths)
	return paths
}

// declined maps what a task says to what the failure manager goes by.
var declined = map[protocol.DeclineReason]Reason{
	protocol.DeclinedAsync:    ReasonAsync,
	protocol.DeclinedSubsumed: ReasonSubsumed,
	protocol.DeclinedCanceled: ReasonCancelled,
}

// HandleDecline takes a refusal. One of a task that isn't waited for, or of an unknown snapshot, is ignored.
func (c *Coordinator) HandleDecline(now time.Time, d protocol.Decline) {
	p := c.find(d.Checkpoint)
	if p == nil || !c.of(d.Task, d.Attempt) || p.state != collecting || !p.outstanding[d.Task] {
		return
	}
	r := cmp.Or(declined[d.Reason], ReasonDeclined)
	text := fmt.Sprintf("task %s declined it (%s)", d.Task, cmp.Or(string(d.Reason), "no reason given"))
	if d.Error != "" {
		text += ": " + snapshot.CutText(d.Error, snapshot.MaxText)
	}
	p.stats.Culprit = Culprit{Task: d.Task, Text: text}
	c.abort(now, p, r, c.andLacking(now, p, d.Task, text))
	c.advance(now)
}

func (c *Coordinator) expiredText(now time.Time, p *pending) string {
	if p.state != collecting {
		return fmt.Sprintf("not complete within %v: its manifest was not written in time", c.limit(p))
	}
	return fmt.Sprintf("not complete within %v: %s", c.limit(p), c.lacking(now, p, protocol.TaskID{}))
}

// andLacking adds to why a snapshot failed which tasks have not acknowledged beside the one that it failed for.
func (c *Coordinator) andLacking(now time.Time, p *pending, failed protocol.TaskID, why string) string {
	if others := c.lacking(now, p, failed); others != "" {
		return why + "; " + others
	}
	return why
}

// lacking says which tasks but one have not acknowledged, and where their barrier was seen last; empty if all have.
func (c *Coordinator) lacking(now time.Time, p *pending, but protocol.TaskID) string {
	ts := slices.DeleteFunc(p.unacknowledged(), func(t protocol.TaskID) bool { return t == but })
	if len(ts) == 0 {
		return ""
	}
	names := make([]string, min(len(ts), maxMissing))
	for i := range names {
		names[i] = ts[i].String()
	}
	text := "no acknowledgement of " + strings.Join(names, ", ")
	if n := len(ts) - len(names); n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	b := c.blamer(p)
	b.but = but
	if culprit := b.stuck(now.Sub(p.createdAt)).Text; culprit != "" {
		text += "; " + culprit
	}
	return text
}

// unacknowledged lists the tasks that have not acknowledged.
func (p *pending) unacknowledged() []protocol.TaskID {
	return slices.SortedFunc(maps.Keys(p.outstanding), compareTasks)
}

// missing are those that have not acknowledged, at most some.
func (p *pending) missing() []protocol.TaskID {
	ts := p.unacknowledged()
	return ts[:min(len(ts), maxMissing)]
}

// of says whether an attempt is the one that a task was deployed with.
func (c *Coordinator) of(id protocol.TaskID, a protocol.Attempt) bool {
	t := c.tasks[id]
	return t != nil && !t.gone && t.attempt == a
}

func compareTasks(a, b protocol.TaskID) int {
	return cmp.Or(cmp.Compare(a.Vertex, b.Vertex), cmp.Compare(a.Subtask, b.Subtask))
}

// abort gives up a snapshot whose head isn't being swapped yet: notify the tasks, discard what was written, count the
// failure, and record the outcome of its operation.
func (c *Coordinator) abort(now time.Time, p *pending, r Reason, why string) {
	why = snapshot.CutText(why, snapshot.MaxHeadText)
	c.remove(p)
	c.notifyAborted(now, p)
	if p.state == writing {
		c.writing[p.id] = p
	}
	c.discard(p)
	p.stats.State, p.stats.Reason, p.stats.Error = StateFailed, r, why
	c.remember(now, p)
	if p.request.final {
		c.finalNotBefore = now.Add(c.o.ResendInterval)
	}
	if p.request.operation != "" {
		c.recordFailure(now, p.request.operation, p.request.kind(), p.request.stop, fmt.Sprintf("%s %d: %s", p.barrier.Kind, p.id, why))
	}
	if p.request.stop != record.StopNone {
		c.stop = nil
		c.armPeriodic(now)
	}
	if c.failures.Failed(p.id, p.savepoint(), r) {
		c.failures.Reset()
		c.emit(FailJob{Checkpoint: p.id, Reason: fmt.Sprintf(
			"more than %d consecutive checkpoints failed, the last was checkpoint %d: %s", c.o.TolerableFailures, p.id, why)})
	}
}

// discard deletes what a snapshot that was given up has left in storage. The directory of a checkpoint is its
// own. That of a savepoint is named by the user's operation: another coordinator may be taking, or have completed, a savepoint for
// the same one there, so only what begins with the id goes, which is nobody else's.
func (c *Coordinator) discard(p *pending) {
	if len(c.discarded) >= maxDiscarded {
		delete(c.discarded, slices.Min(slices.Collect(maps.Keys(c.discarded))))
	}
	c.discarded[p.id] = p.dir
	free := c.shared.Release(p.id)
	if !p.savepoint() {
		c.clean(Delete{Prefix: p.dir, Paths: free})
		return
	}
	paths := free
	for _, a := range p.acks { // a list may be too old to show them
		paths = append(paths, ackPaths(p.dir, a)...)
	}
	if p.written {
		paths = append(paths, p.dir+snapshot.ManifestName)
	}
	slices.Sort(paths)
	c.clean(Delete{Prefix: p.dir + snapshot.SavepointFilePrefix(p.id), Paths: paths})
}

// clean deletes, and counts it as work for storage that holds back new snapshots.
func (c *Coordinator) clean(d Delete) {
	c.token++
	d.Token = c.token
	c.cleaning[d.Token] = true
	c.emit(d)
}

// recordFailure puts the outcome of an operation into the head; it is answered once it is there.
func (c *Coordinator) recordFailure(now time.Time, id string, typ snapshot.OperationType, stop record.StopMode, why string) {
	c.update(&update{change: UpdateHead{Operation: &snapshot.Operation{
		ID: id, Type: typ, Outcome: snapshot.OutcomeFailed, Stop: stop, Error: why, At: now,
	}}})
}
