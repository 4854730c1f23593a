// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// rereadDelay is waited before a manifest is read again, in units of Options.ResendInterval.
const rereadDelay = 10

// learning reads the manifests of kept checkpoints that an earlier incarnation completed, one after the other, newest first.
type learning struct {
	// reading is the checkpoint whose manifest is being read, 0 for none; damaged those that can't be read.
	reading int64
	damaged map[int64]bool
	retryAt time.Time
	// doomed were subsumed before their manifest was read, and are deleted afterwards: it alone names their files.
	doomed []snapshot.CompletedCheckpoint
}

// sharedDir is the directory of shared files.
func (o *Options) sharedDir() string { return o.Dir + "shared/" }

// newRegistry starts from what the head says.
func newRegistry(o *Options, head *snapshot.Head) *Registry {
	var unknown []int64
	for _, c := range head.Checkpoints {
		if c.Shared {
			unknown = append(unknown, c.ID)
		}
	}
	return NewRegistry(o.sharedDir(), unknown)
}

// readNext asks for the next manifest of a checkpoint whose shared files aren't known. The tasks run by then, so that it delays nothing.
func (c *Coordinator) readNext(now time.Time) {
	if !c.running || c.learn.reading != 0 || now.Before(c.learn.retryAt) {
		return
	}
	if k := c.unread(); k != nil {
		c.learn.reading = k.ID
		c.emit(ReadManifest{Checkpoint: k.ID, Path: k.Path, CRC32C: k.ManifestCRC32C})
	}
}

// unread is the checkpoint whose manifest is to be read next; nil for none.
func (c *Coordinator) unread() *snapshot.CompletedCheckpoint {
	for _, id := range c.shared.Unknown() {
		if k := c.readable(func(k *snapshot.CompletedCheckpoint) bool { return k.ID == id }); k != nil && !c.learn.damaged[id] {
			return k
		}
	}
	return nil
}

// kept says whether the head names a checkpoint.
func (c *Coordinator) kept(id int64) bool {
	return slices.ContainsFunc(c.head.Checkpoints, func(k snapshot.CompletedCheckpoint) bool { return k.ID == id })
}

// readable finds a checkpoint whose manifest is there: of the head, or doomed. Nil if there is none.
func (c *Coordinator) readable(is func(*snapshot.CompletedCheckpoint) bool) *snapshot.CompletedCheckpoint {
	for _, list := range [][]snapshot.CompletedCheckpoint{c.head.Checkpoints, c.learn.doomed} {
		for i := range list {
			if is(&list[i]) {
				return &list[i]
			}
		}
	}
	return nil
}

// HandleManifestRead takes a manifest of the head that was read, whoever asked for it; path is its directory. A nil manifest says that it
// couldn't be read, and permanent that reading again won't help: the shared files that it may refer to are kept as long as it is.
func (c *Coordinator) HandleManifestRead(now time.Time, path string, m *snapshot.Manifest, permanent bool) {
	k := c.readable(func(k *snapshot.CompletedCheckpoint) bool { return k.Path == path })
	if k == nil {
		return // left out meanwhile
	}
	id := k.ID
	if c.learn.reading == id {
		c.learn.reading = 0
	}
	switch {
	case m != nil:
		c.learn.retryAt = time.Time{} // storage answers
		c.free(c.shared.Learn(id, sharedFiles(path, m)))
	case permanent:
		c.learn.damaged[id] = true
	default:
		c.learn.retryAt = now.Add(rereadDelay * c.o.ResendInterval)
	}
	if i := slices.IndexFunc(c.learn.doomed, func(k snapshot.CompletedCheckpoint) bool { return k.ID == id }); i >= 0 && (m != nil || permanent) {
		c.learn.doomed = slices.Delete(c.learn.doomed, i, i+1)
		c.clean(Delete{Prefix: path, Paths: c.shared.Release(id)})
	}
	c.readNext(now)
	c.advance(now)
}

// discardSubsumed deletes a checkpoint that the head doesn't name any more, with the files that nobody else refers to.
func (c *Coordinator) discardSubsumed(k snapshot.CompletedCheckpoint) {
	if slices.Contains(c.shared.Unknown(), k.ID) && !c.learn.damaged[k.ID] {
		c.learn.doomed = append(c.learn.doomed, k)
		return
	}
	c.clean(Delete{Prefix: k.Path, Paths: c.shared.Release(k.ID)})
}

// sharedFiles are the names of the shared files of a manifest in dir.
func sharedFiles(dir string, m *snapshot.Manifest) []string {
	var names []string
	for _, f := range m.Files() {
		if f.Shared {
			names = append(names, snapshot.FileKey(dir, f.Path))
		}
	}
	return names
}

// free deletes shared files.
func (c *Coordinator) free(names []string) {
	if len(names) > 0 {
		c.clean(Delete{Paths: names})
	}
}

// chooseBase says which checkpoint the next one may refer to: the last one that this attempt completed, if the head goes on naming it.
func (c *Coordinator) chooseBase() int64 {
	for _, u := range c.updates {
		if slices.Contains(u.change.Subsume, c.base) {
			return 0
		}
	}
	if !c.kept(c.base) {
		return 0
	}
	return c.base
}

// subsumedBy lists the checkpoints that go when p is complete: those beyond retention. One that a newer snapshot in flight, or the next
// one to start, has as a base stays until a later commit: as long as the head names it, no sweeper takes its files.
func (c *Coordinator) subsumedBy(p *pending) []int64 {
	var ids []int64
	for i := range max(0, len(c.head.Checkpoints)+1-c.o.Retention) {
		id := c.head.Checkpoints[i].ID
		needed := c.o.Incremental && c.o.MaxConcurrent > 1 && id == c.base
		for _, q := range c.pending {
			needed = needed || (q.id > p.id && q.barrier.Base == id)
		}
		if !needed {
			ids = append(ids, id)
		}
	}
	return ids
}

// takeFiles enters the shared files of an acknowledgement. The error says why the snapshot can't be completed with it; what it created is
// known then all the same, and goes with the snapshot.
func (c *Coordinator) takeFiles(p *pending, a *protocol.Ack) error {
	var first error
	for name, f := range ackFiles(a) {
		if !f.Shared && !strings.HasPrefix(f.Path, "../") {
			continue
		}
		key := snapshot.FileKey(p.dir, f.Path)
		var err error
		switch {
		case p.barrier.Shared == "" || !f.Shared:
			err = fmt.Errorf("the file %q lies outside of its directory", f.Path)
		case f.Reused:
			err = c.shared.Reuse(p.id, key)
		default:
			err = c.shared.Create(p.id, key)
		}
		if err != nil && first == nil {
			first = fmt.Errorf("the acknowledgement of task %s can't be used: operator %q: %w", a.Task, name, err)
		}
	}
	return first
}

// ackFiles yields the files of keyed state of an acknowledgement with the operator, in order of operator.
func ackFiles(a *protocol.Ack) func(yield func(string, state.File) bool) {
	return func(yield func(string, state.File) bool) {
		for _, name := range sortedNames(a.Operators) {
			for _, f := range a.Operators[name].Keyed {
				if !yield(name, f) {
					return
				}
			}
		}
	}
}

func sortedNames(ops map[string]snapshot.SubtaskState) []string {
	names := make([]string, 0, len(ops))
	for n := range ops {
		names = append(names, n)
	}
	slices.SortFunc(names, cmp.Compare)
	return names
}

// strays takes the new shared files of an acknowledgement whose snapshot is neither kept nor in flight, and returns those that may be
// deleted. Of a snapshot that is kept they are known.
func (c *Coordinator) strays(a *protocol.Ack) []string {
	var names []string
	for _, f := range ackFiles(a) {
		key := snapshot.FileKey(fmt.Sprintf("%scheckpoints/chk-%d/", c.o.Dir, a.Checkpoint), f.Path)
		if f.Shared && !f.Reused && c.shared.Stray(key, a.Checkpoint >= c.firstID) {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	return names
}

// LeaveOut drops damaged snapshots that a restore went back behind, once the head doesn't name them any more. Their files stay until they
// are swept.
func (c *Coordinator) LeaveOut(out []snapshot.LeftOut) {
	c.head.LeaveOut(out)
	for _, l := range out {
		c.shared.Forget(l.Checkpoint)
		if c.learn.reading == l.Checkpoint {
			c.learn.reading = 0
		}
	}
	c.counts.LastCompleted, c.lastCommitted = 0, 0
	if n, ok := c.head.Newest(); ok {
		c.counts.LastCompleted, c.lastCommitted = n.ID, n.ID
	}
}

// Discard deletes checkpoints that the head doesn't name any more because the job went back behind them, with the files that nobody else refers to. It is
// to be called right after New.
func (c *Coordinator) Discard(dropped []snapshot.CompletedCheckpoint) {
	for _, k := range dropped {
		if k.Shared {
			c.shared.unknown[k.ID] = true
		}
	}
	for _, k := range dropped {
		c.discardSubsumed(k)
	}
}

// Release drops checkpoints that the end of the job takes along, and returns the shared files to delete with them.
func (c *Coordinator) Release(ids []int64) []string {
	var names []string
	for _, id := range ids {
		names = append(names, c.shared.Release(id)...)
	}
	slices.Sort(names)
	return names
}
