// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// checkAcked goes on with a snapshot that has all its acknowledgements.
func (c *Coordinator) checkAcked(now time.Time, p *pending) {
	if p.state != collecting || len(p.outstanding) > 0 {
		return
	}
	m, err := c.manifest(now, p)
	if err != nil {
		c.abort(now, p, ReasonPartialUnion, err.Error())
		return
	}
	p.manifest, p.state, p.stats.State = m, acked, StateFinalizing
	c.ready = append(c.ready, p)
	c.finalize()
}

// finalize starts to complete the next snapshot that is ready, if none is being completed: commits never overlap.
func (c *Coordinator) finalize() {
	if c.final != nil || len(c.ready) == 0 {
		return
	}
	p := c.ready[0]
	c.ready = c.ready[1:]
	c.final, p.state = p, writing
	c.emit(WriteManifest{Checkpoint: p.id, Path: p.dir, Manifest: p.manifest})
}

// HandleManifestWritten takes the outcome of WriteManifest.
func (c *Coordinator) HandleManifestWritten(now time.Time, id int64, crc uint32, size int64, err error) {
	if p := c.writing[id]; p != nil { // it was given up meanwhile
		delete(c.writing, id)
		if err == nil {
			c.clean(Delete{Paths: []string{p.dir + snapshot.ManifestName}})
		}
		return
	}
	p := c.final
	if p == nil || p.id != id || p.state != writing {
		return
	}
	p.state, p.written = acked, err == nil // no outcome is to come any more
	if !p.costs.ackedAt.IsZero() {
		p.stats.Manifest = now.Sub(p.costs.ackedAt)
	}
	switch {
	case err != nil:
		c.abort(now, p, ReasonFinalize, "writing its manifest: "+snapshot.CutText(err.Error(), snapshot.MaxText))
	case now.Sub(p.createdAt) >= c.o.CommitGrace:
		c.abort(now, p, ReasonFinalize, fmt.Sprintf("it is older than the %v after which its files may be swept", c.o.CommitGrace))
	default:
		p.state = committing
		c.update(&update{change: c.commitOf(now, p, crc, size), commit: p})
		return
	}
	c.finalize()
	c.advance(now)
}

// commitOf is the change of the head that makes a snapshot complete.
func (c *Coordinator) commitOf(now time.Time, p *pending, crc uint32, size int64) UpdateHead {
	var u UpdateHead
	if !p.savepoint() {
		u.Complete = &snapshot.CompletedCheckpoint{
			ID: p.id, Path: p.dir, ManifestCRC32C: crc, ManifestSize: size, Size: p.stats.Size,
			SinksMayHaveCommitted: c.transactional(), SourcesMayHaveTrimmed: c.trims(),
			CompletedAt: now,
		}
		u.Complete.Shared = c.shared.Refers(p.id)
		u.Subsume = c.subsumedBy(p)
	}
	if p.request.operation == "" {
		return u
	}
	u.Operation = &snapshot.Operation{
		ID: p.request.operation, Type: p.request.kind(), Outcome: snapshot.OutcomeDone, Stop: p.request.stop,
		Checkpoint: p.id, Path: p.dir, ManifestCRC32C: crc, ManifestSize: size, Size: p.stats.Size, At: now,
	}
	if p.request.stop != record.StopNone {
		u.Operation.Outcome = snapshot.OutcomeStopping
		u.Operation.SinksMayHaveCommitted, u.Operation.SourcesMayHaveTrimmed = c.transactional(), c.trims()
	}
	return u
}

// transactional says whether the job has a sink that commits to the outside.
func (c *Coordinator) transactional() bool {
	return slices.ContainsFunc(c.o.Vertices, func(v Vertex) bool { return v.Transactional })
}

// trims says whether the job has a source that gives up its input upstream.
func (c *Coordinator) trims() bool {
	return slices.ContainsFunc(c.o.Vertices, func(v Vertex) bool { return v.Trims })
}

// HandleHeadUpdated says that the head with the update is swapped in.
func (c *Coordinator) HandleHeadUpdated(now time.Time, token int64) {
	u := c.updates[token]
	if u == nil {
		return
	}
	delete(c.updates, token)
	dropped := c.dropped(u.change.Subsume)
	u.change.Apply(&c.head)
	c.reserved = max(c.reserved, u.change.ReserveUntil)
	if c.reserving == token {
		c.reserving = 0
	}
	if u.commit != nil {
		c.committed(now, u)
	}
	for _, d := range dropped {
		c.discardSubsumed(d)
	}
	if o := u.change.Operation; o != nil && o.Outcome != snapshot.OutcomeStopping {
		c.emit(Answer{Operation: *o})
	}
	c.finalize()
	c.advance(now)
}

// dropped finds the checkpoints that are subsumed.
func (c *Coordinator) dropped(ids []int64) []snapshot.CompletedCheckpoint {
	var out []snapshot.CompletedCheckpoint
	for _, k := range c.head.Checkpoints {
		if slices.Contains(ids, k.ID) {
			out = append(out, k)
		}
	}
	return out
}

// committed goes on after the commit point: subsume older ones in flight, then tell the tasks.
func (c *Coordinator) committed(now time.Time, u *update) {
	p := u.commit
	c.remove(p)
	c.free(c.shared.Complete(p.id))
	c.lastCompletionAt = now
	c.counts.LastCompleted = max(c.counts.LastCompleted, p.id)
	p.stats.State = StateCompleted
	c.remember(now, p)
	stops := p.request.stop != record.StopNone
	if !p.savepoint() {
		c.failures.Succeeded(p.id)
	}
	if !p.savepoint() && c.running && c.attempt == p.attempt {
		c.base = max(c.base, p.id)
	}
	if !p.savepoint() || stops {
		c.lastCommitted = max(c.lastCommitted, p.id)
		// A recovery starts from p now, never from an older one.
		for _, older := range slices.Clone(c.pending) {
			if older.id < p.id && !older.savepoint() {
				c.abort(now, older, ReasonSubsumed, fmt.Sprintf("%s %d completed first", p.barrier.Kind, p.id))
			}
		}
	}
	if stops {
		c.stopSaved(now, *u.change.Operation)
		return
	}
	ts := c.toldOf(p)
	if p.savepoint() || len(ts) == 0 {
		return
	}
	stay := c.staying(p)
	for id := range p.atEnd {
		if t := c.tasks[id]; p.atEnd[id] && !t.finished && !slices.Contains(stay, id) {
			t.finishing = true
		}
	}
	c.emit(NotifyComplete{Checkpoint: p.id, Tasks: ts, Stay: stay})
}

// staying lists the tasks at the end of their data that must not finish with a checkpoint: their vertex has union state, of which every
// checkpoint needs the part of each subtask until all of them are at the end.
func (c *Coordinator) staying(p *pending) []protocol.TaskID {
	var stay []protocol.TaskID
	for i := range c.o.Vertices {
		v := &c.o.Vertices[i]
		var atEnd []protocol.TaskID
		goesOn, union := false, false
		for s := range v.Parallelism {
			id := protocol.TaskID{Vertex: v.Name, Subtask: s}
			switch {
			case p.finished[id]:
			case p.atEnd[id] || ended(p.acks[id]):
				atEnd = append(atEnd, id)
			default:
				goesOn = true
			}
			union = union || hasUnion(p.acks[id])
		}
		if goesOn && union {
			stay = append(stay, atEnd...)
		}
	}
	return stay
}

// ended says whether a task took its part after the end of its data, which may have been before that was heard of.
func ended(a *protocol.Ack) bool {
	if a == nil {
		return false
	}
	for _, o := range a.Operators {
		if o.Finished {
			return true
		}
	}
	return false
}

// hasUnion says whether a task has union state.
func hasUnion(a *protocol.Ack) bool {
	if a == nil {
		return false
	}
	for _, o := range a.Operators {
		if slices.ContainsFunc(o.Lists, func(l operator.List) bool { return l.Mode == operator.Union }) {
			return true
		}
	}
	return false
}

// manifest describes the snapshot. It fails for an operator with union state of which only some subtasks have finished.
func (c *Coordinator) manifest(now time.Time, p *pending) (*snapshot.Manifest, error) {
	m := &snapshot.Manifest{
		JobID: c.o.JobID, JobName: c.o.JobName, Checkpoint: p.id, Kind: p.barrier.Kind, Stop: p.request.stop,
		Attempt: p.attempt.String(), CreatedAt: now, MaxParallelism: c.o.MaxParallelism,
	}
	for i := range c.o.Vertices {
		v := &c.o.Vertices[i]
		for _, name := range v.Operators {
			o := operatorState(p, v, name)
			if err := checkUnion(&o); err != nil {
				return nil, err
			}
			m.Operators = append(m.Operators, o)
		}
	}
	return m, nil
}

func operatorState(p *pending, v *Vertex, name string) snapshot.OperatorState {
	o := snapshot.OperatorState{Name: name, Parallelism: v.Parallelism, Finished: true}
	for i := range v.Parallelism {
		id := protocol.TaskID{Vertex: v.Name, Subtask: i}
		if p.finished[id] {
			o.Subtasks = append(o.Subtasks, snapshot.SubtaskState{Index: i, Finished: true})
			continue
		}
		var s snapshot.SubtaskState
		has := false
		if a := p.acks[id]; a != nil {
			s, has = a.Operators[name]
		}
		o.Finished = o.Finished && has && s.Finished
		if has {
			s.Index, s.Keyed = i, written(s.Keyed)
			o.Subtasks = append(o.Subtasks, s)
		}
	}
	return o
}

// written are the files as they stand in a manifest.
func written(files []state.File) []state.File {
	out := slices.Clone(files)
	for i := range out {
		out[i].Reused = false
	}
	return out
}
