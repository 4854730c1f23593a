// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weir-stream/weir/runtime/graph"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/state"
)

const (
	// maxFollowed bounds the snapshots followed at once, maxMissing the channels named as missing a barrier.
	maxFollowed = 8
	maxMissing  = 8
)

// progress follows snapshots through the task: when their barriers came, and how far each is. It decides nothing. Only Core uses it,
// from the task's goroutine, but for shown.
type progress struct {
	channels []graph.Channel
	// followed ascends by id.
	followed []*followed
	// shown is what other goroutines see of it, replaced as a whole.
	shown atomic.Pointer[[]shownSnapshot]
}

// followed is one snapshot under way.
type followed struct {
	id int64
	// first and last are when the first and the last barrier came so far; of a trigger both are when it came.
	first, last time.Time
	lastChannel int
	// arrived and after are by channel: whether its barrier came, and how long after the first one.
	arrived []bool
	after   []time.Duration
	stage   protocol.Stage
	since   time.Time
}

// shownSnapshot is a followed one as others may see it.
type shownSnapshot struct {
	progress protocol.SnapshotProgress
	since    time.Time
}

// find returns the followed snapshot of that id, or nil.
func (p *progress) find(id int64) *followed {
	for _, f := range p.followed {
		if f.id == id {
			return f
		}
	}
	return nil
}

// follow begins with a snapshot whose first barrier, or trigger, comes now, or returns the one that is followed already.
func (p *progress) follow(id int64, now time.Time) *followed {
	if f := p.find(id); f != nil {
		return f
	}
	f := &followed{id: id, first: now, last: now, lastChannel: -1, stage: protocol.StageAligning, since: now}
	i, _ := slices.BinarySearchFunc(p.followed, id, func(f *followed, id int64) int { return int(f.id - id) })
	p.followed = slices.Insert(p.followed, i, f)
	if len(p.followed) > maxFollowed {
		p.followed = slices.Delete(p.followed, 0, 1)
	}
	return f
}

// barrier notes the arrival of a barrier of a snapshot that isn't settled.
func (p *progress) barrier(ch int, id int64, now time.Time) {
	f := p.follow(id, now)
	if f.arrived == nil {
		f.arrived, f.after = make([]bool, len(p.channels)), make([]time.Duration, len(p.channels))
	}
	if f.arrived[ch] {
		return
	}
	f.arrived[ch], f.after[ch] = true, now.Sub(f.first)
	f.last, f.lastChannel = now, ch
	p.show()
}

// reach notes that a snapshot got to another stage.
func (p *progress) reach(id int64, stage protocol.Stage, now time.Time) {
	f := p.follow(id, now)
	f.stage, f.since = stage, now
	p.show()
}

// settle forgets a snapshot that was acknowledged or given up.
func (p *progress) settle(id int64) {
	n := len(p.followed)
	p.followed = slices.DeleteFunc(p.followed, func(f *followed) bool { return f.id == id })
	if len(p.followed) < n {
		p.show()
	}
}

// overtaken forgets the snapshots below id that aren't being written: their barriers come too late.
func (p *progress) overtaken(id int64) {
	p.followed = slices.DeleteFunc(p.followed, func(f *followed) bool { return f.id < id && f.stage == protocol.StageAligning })
}

// ref names an input channel; nil for none.
func (p *progress) ref(ch int) *protocol.ChannelRef {
	if ch < 0 {
		return nil
	}
	return new(channelRef(p.channels[ch]))
}

func channelRef(c graph.Channel) protocol.ChannelRef {
	return protocol.ChannelRef{
		From: protocol.TaskID{Vertex: c.PhysicalEdge.From.Name, Subtask: c.From}, Input: c.PhysicalEdge.Input,
	}
}

// show publishes where the snapshots are.
func (p *progress) show() {
	out := make([]shownSnapshot, 0, len(p.followed))
	for _, f := range p.followed {
		s := shownSnapshot{progress: protocol.SnapshotProgress{Checkpoint: f.id, Stage: f.stage}, since: f.since}
		for ch := range f.arrived {
			if f.stage != protocol.StageAligning || f.arrived[ch] {
				continue
			}
			s.progress.MissingCount++
			if len(s.progress.Missing) < maxMissing {
				s.progress.Missing = append(s.progress.Missing, channelRef(p.channels[ch]))
			}
		}
		out = append(out, s)
	}
	p.shown.Store(&out)
}

// report is what a heartbeat says; safe from any goroutine.
func (p *progress) report(now time.Time) []protocol.SnapshotProgress {
	shown := p.shown.Load()
	if shown == nil || len(*shown) == 0 {
		return nil
	}
	out := make([]protocol.SnapshotProgress, len(*shown))
	for i, s := range *shown {
		out[i] = s.progress
		out[i].For = max(now.Sub(s.since), 0)
	}
	return out
}

// workload adds up how the task spends its time. The shell brackets each wait; nothing is counted per row.
type workload struct {
	// opened is when the task started to run; zero before.
	opened atomic.Pointer[time.Time]
	// idle and blocked are sums in nanoseconds; pausing is when the wait under way began, in nanoseconds since opened plus one, negative
	// for a wait for room, and 0 outside of one.
	idle, blocked, pausing atomic.Int64
}

func (w *workload) open(now time.Time) { w.opened.Store(&now) }

// pause begins a wait for something to do, or for room in the outputs.
func (w *workload) pause(now time.Time, blocked bool) {
	opened := w.opened.Load()
	if opened == nil {
		return
	}
	at := int64(now.Sub(*opened)) + 1
	if blocked {
		at = -at
	}
	w.pausing.Store(at)
}

// resume ends it.
func (w *workload) resume(now time.Time) {
	at, opened := w.pausing.Swap(0), w.opened.Load()
	switch {
	case opened == nil || at == 0:
	case at > 0:
		w.idle.Add(int64(now.Sub(*opened)) + 1 - at)
	default:
		w.blocked.Add(int64(now.Sub(*opened)) + 1 + at)
	}
}

// load is how the time since open was spent; safe from any goroutine, and then a wait that ends meanwhile may be left out.
func (w *workload) load(now time.Time) protocol.Load {
	opened := w.opened.Load()
	if opened == nil {
		return protocol.Load{}
	}
	total := int64(now.Sub(*opened))
	at := w.pausing.Load()
	idle, blocked := w.idle.Load(), w.blocked.Load()
	switch {
	case at > 0:
		idle += max(total+1-at, 0)
	case at < 0:
		blocked += max(total+1+at, 0)
	}
	return protocol.Load{Time: time.Duration(total), Idle: time.Duration(idle), Blocked: time.Duration(blocked)}
}

// since is what was added to a load.
func since(now, before protocol.Load) protocol.Load {
	return protocol.Load{Time: now.Time - before.Time, Idle: now.Idle - before.Idle, Blocked: now.Blocked - before.Blocked}
}

// meter counts what is written through it and the time that takes. It may be used by several goroutines if what it wraps may.
type meter struct {
	state.FileWriter
	now         func() time.Time
	bytes, time atomic.Int64
}

// WriteFile implements [state.FileWriter].
func (m *meter) WriteFile(ctx context.Context, data []byte) (state.File, error) {
	return m.measure(ctx, data, m.FileWriter.WriteFile)
}

// WriteShared implements [state.SharedWriter], if what it wraps does.
func (m *meter) WriteShared(ctx context.Context, data []byte) (state.File, error) {
	w, ok := m.FileWriter.(state.SharedWriter)
	if !ok {
		return state.File{}, errors.New("writing a state file: storage takes no shared files")
	}
	return m.measure(ctx, data, w.WriteShared)
}

func (m *meter) measure(ctx context.Context, data []byte, write func(context.Context, []byte) (state.File, error)) (state.File, error) {
	if p, ok := m.FileWriter.(state.PacedWriter); ok { // such a wait is no time in storage
		if err := p.KeepPace(ctx, len(data)); err != nil {
			return state.File{}, fmt.Errorf("writing a state file: %w", err)
		}
	}
	n, began := int64(len(data)), m.now()
	f, err := write(ctx, data)
	m.time.Add(int64(m.now().Sub(began)))
	if err == nil {
		m.bytes.Add(n)
	}
	return f, err
}

// noteBarrier notes the arrival of a barrier, unless its snapshot is settled or older than one that was begun.
func (c *Core) noteBarrier(ch int, id int64) {
	if (id > c.snap.last && !c.snap.aborted[id]) || c.progress.find(id) != nil {
		c.progress.barrier(ch, id, c.o.Now())
	}
}

// costs are what a snapshot has cost up to the end of its synchronous part, which began at start.
func (c *Core) costs(id int64, start, end time.Time) protocol.AckMetrics {
	f := c.progress.find(id)
	m := protocol.AckMetrics{Sync: end.Sub(start), Records: c.stats.in.Load()}
	if f != nil {
		m.Alignment, m.Waited, m.Last = f.since.Sub(f.first), start.Sub(f.since), c.progress.ref(f.lastChannel)
	}
	load := c.load.load(end)
	m.Load, c.snap.load = since(load, c.snap.load), load
	c.progress.reach(id, protocol.StageWriting, end)
	return m
}
