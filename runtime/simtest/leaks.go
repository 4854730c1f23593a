// SPDX-License-Identifier: Apache-2.0

package simtest

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/runtime/job"
	"github.com/weir-stream/weir/runtime/protocol"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/sweep"
)

// settleTime is how long after the end of a job requests may be under way: to storage, and those that were held back.
const settleTime = 10 * time.Second

// custody is what is known of the objects of one checkpoint, or of the files of one savepoint, whose directory may hold those of others: which coordinators are to delete them if the snapshot comes to nothing.
type custody struct {
	owners []*coordinator
	// acked are the files that a coordinator was told of.
	acked map[string]bool
	// deletion is the last one of everything below the directory; refused says by what was to be deleted, and to whom, which deletions storage has refused
	// and not carried out since; spoilt says that something else may have left objects behind.
	deletion *deletion
	refused  map[string]refusal
	spoilt   bool
	// underway are deletions whose outcome nobody has heard yet; a coordinator that dies in one takes its next step with it.
	underway int
	// inherited are the checkpoints of predecessors with it that a coordinator took out of the head.
	inherited []inheritance
}

// inheritance is a checkpoint of an earlier incarnation that a coordinator took out of the head. Its manifest alone says which shared files
// it refers to, and only the manifests of all such checkpoints say that none of the others does. Tasks don't wait until they are read; if the
// job ends before, the files stay for the sweeper.
type inheritance struct {
	by   *coordinator
	path string
	// ended says that it was taken out by the end of the job, which deletes at once. Otherwise the coordinator deletes it when it has read it.
	ended bool
}

// unknown says that the coordinator never came to know which files it has to delete with the checkpoint: it had not read its manifest when
// the end of the job deleted it, or at its own end not those of all the others.
func (i inheritance) unknown() bool {
	return !i.by.learnedAll() || i.ended && !i.by.learnedInTime[i.path]
}

// unlearned says that the coordinator that took the last checkpoint with the object out of the head never came to know that. What its
// predecessors knew doesn't count: for them, that checkpoint still needed the object.
func (s *custody) unlearned() bool {
	if len(s.inherited) == 0 {
		return false
	}
	last := s.inherited[len(s.inherited)-1].by
	return !slices.ContainsFunc(s.inherited, func(i inheritance) bool { return i.by == last && !i.unknown() })
}

// refusal is a deletion that a coordinator asked for and storage did not carry out. The coordinator tries it again as soon as another one works, at the latest
// with the end of the job.
type refusal struct {
	by *coordinator
	// late says that the coordinator had exited.
	late bool
}

// excused says that the coordinator could not do better: it did not end the job, had no time left for it, or the last of its deletions failed, too.
func (r refusal) excused() bool { return r.late || !r.by.endedJob || r.by.hasty || r.by.refused }

// deletion is that of a directory: the names that a list showed at a time, which may be as of a time before that.
type deletion struct {
	at, view time.Time
	names    []string
}

// missed says that an object was there when the directory was listed, but the list was too old to show it.
func (d *deletion) missed(created time.Time) bool {
	return d != nil && created.After(d.view) && !created.After(d.at)
}

// keeper is the custody of all snapshots of a run by what the keys of their objects begin with, and the writers of files that tasks have written.
type keeper struct {
	dirs    map[string]*custody
	writers map[string]*stateWriter
}

func (k *keeper) of(dir string) *custody {
	c := k.dirs[dir]
	if c == nil {
		c = &custody{acked: map[string]bool{}}
		k.dirs[dir] = c
	}
	return c
}

// triggered notes that a coordinator asked for files in a directory.
func (k *keeper) triggered(c *coordinator, dir string) {
	if s := k.of(dir); !slices.Contains(s.owners, c) {
		s.owners = append(s.owners, c)
	}
}

// acked notes the files that an acknowledgement names.
func (k *keeper) acked(dir string, a *protocol.Ack) {
	for _, o := range a.Operators {
		for _, f := range o.Keyed {
			key := snapshot.FileKey(dir, f.Path)
			if f.Shared {
				k.of(key).acked[key] = true
			} else {
				k.of(custodian(key)).acked[key] = true
			}
		}
		for _, c := range o.Channels {
			k.of(custodian(dir + c.Path)).acked[dir+c.Path] = true
		}
	}
}

// begins notes that a coordinator begins to delete.
func (k *keeper) begins(prefix string, paths []string) {
	if prefix != "" {
		k.of(prefix).underway++
	}
	for _, p := range paths {
		k.of(custodian(p)).underway++
	}
}

// deletes notes the end of a deletion by a coordinator, and whether storage carried it out.
func (k *keeper) deletes(c *coordinator, e job.DeleteObjects, d *deletion, ok bool) {
	r := refusal{by: c, late: !c.lead}
	c.deleting--
	if !r.late {
		c.refused = !ok
	}
	if e.Prefix != "" {
		s := k.of(e.Prefix)
		s.underway--
		s.deletion = d
		s.note(e.Prefix, r, ok)
	}
	for _, p := range e.Paths {
		s := k.of(custodian(p))
		s.underway--
		s.note(p, r, ok)
	}
}

// note notes how the deletion of an object or a directory ended.
func (s *custody) note(what string, r refusal, ok bool) {
	switch {
	case ok:
		delete(s.refused, what)
	case s.refused == nil:
		s.refused = map[string]refusal{what: r}
	default:
		s.refused[what] = r
	}
}

// failed says that storage may have kept what was to be deleted.
func (s *custody) failed() bool {
	for _, r := range s.refused {
		if r.excused() {
			return true
		}
	}
	return s.spoilt
}

// created notes that a task of a snapshot with that directory writes a shared file.
func (k *keeper) created(name, dir string) {
	s := k.of(name)
	s.owners = append(s.owners, k.of(dir).owners...)
}

// custodian is the key of the custody of an object: its directory, or of a shared file itself. Of a savepoint it is the directory for the manifest alone, and for
// the files with the beginning of their names.
func custodian(name string) string {
	if strings.Contains(name, "/shared/") {
		return name
	}
	dir := name[:strings.LastIndexByte(name, '/')+1]
	if id, _, ok := strings.Cut(name[len(dir):], "-"); ok && !strings.Contains(dir, "/checkpoints/") {
		return dir + id + "-"
	}
	return dir
}

// checkLeaks finds objects that nobody needs and that no fault explains. An object is explained if a coordinator that had to
// delete it did not come to an orderly end, died while it deleted it, or didn't come in time to reading the manifests that say what to delete; if
// storage failed the last deletions of its coordinator or showed an old list of its directory; or if no coordinator could know of it, and its task could not
// delete it: it was written when all that belonged to its snapshot had been deleted, and the task died, was refused the deletion, or acknowledged it to nobody.
func (w *world) checkLeaks() {
	needed := map[string]bool{}
	for _, l := range w.lines {
		l.needs(needed)
	}
	for _, name := range w.store.mem.Keys() {
		if needed[name] {
			continue
		}
		dir := custodian(name)
		if w.released(name) { // whoever claimed it deletes all that is there
			dir = name[:strings.LastIndexByte(name, '/')+1]
		}
		s := w.keeper.of(dir)
		w.orphans++
		if w.explained(s, dir, name) {
			continue
		}
		deleted := "never"
		if s.deletion != nil {
			deleted = s.deletion.at.Sub(start).String()
		}
		w.failf("%s is left over: nothing refers to it, and no fault explains it (written after %v, its directory deleted: %s, acknowledged %v)",
			name, w.store.created[name].Sub(start), deleted, s.acked[name])
	}
}

func (w *world) explained(s *custody, dir, name string) bool {
	if s.unlearned() {
		return true
	}
	if s.failed() || s.underway > 0 || len(s.owners) == 0 || slices.ContainsFunc(s.owners, func(c *coordinator) bool { return !c.orderly }) {
		return true
	}
	created := w.store.created[name]
	if s.deletion.missed(created) {
		return true
	}
	if s.acked[name] || strings.HasSuffix(name, snapshot.ManifestName) {
		return false
	}
	if strings.HasSuffix(name, snapshot.OwnerName) {
		return true // of a claim, which checkClaim looks at
	}
	if k := w.keeper.writers[name]; k == nil || !k.lost() {
		return false
	}
	if dir == name {
		return true // a shared file: only an acknowledgement tells of it
	}
	for _, l := range w.lines {
		if l.completedIn(dir) {
			return true // of a task that finished before it could acknowledge: it goes with the directory
		}
	}
	return s.deletion != nil && !created.Before(s.deletion.at)
}

// completedIn says whether the head names a snapshot whose files have keys that begin so.
func (l *lineage) completedIn(prefix string) bool {
	return slices.ContainsFunc(l.head.Checkpoints, func(c snapshot.CompletedCheckpoint) bool { return c.Path == prefix }) ||
		slices.ContainsFunc(l.head.Operations, func(o snapshot.Operation) bool {
			return o.Checkpoint > 0 && o.Path+snapshot.SavepointFilePrefix(o.Checkpoint) == prefix
		})
}

// needs adds the objects that a head refers to, and the head.
func (l *lineage) needs(needed map[string]bool) {
	needed[l.headName()] = true
	l.needsPins(needed)
	for name, ids := range l.partOf {
		if slices.ContainsFunc(ids, l.keeps) && !l.w.released(name) || slices.ContainsFunc(ids, l.pinHolds) {
			needed[name] = true
		}
	}
}

// checkUntouched finds objects in the directory of a job that are older than its first head. A sweeper refuses a directory without a head, because it
// can't tell what is there from the state of a job whose head was lost; so there must be nothing before the head.
func (l *lineage) checkUntouched() {
	for _, name := range l.w.store.list(l.dir, l.w.clock.now) {
		if name != l.headName() {
			l.w.failf("%s is there before job %s has its first head", name, l.id)
		}
	}
}

// sweep does what a sweeper does a day later. Then nothing is there but what is needed, and all of that.
func (w *world) sweep() {
	for _, l := range w.lines {
		ahead := w.skews.draw(maxSkew)
		now := func() time.Time { return w.clock.now.Add(ahead + sweep.MinGrace + time.Hour) }
		if _, err := sweep.Sweep(w.ctx, w.swept(w.store.c), l.dir, sweep.Options{Now: now}); err != nil {
			w.failf("sweeping after job %s: %v", l.id, err)
		}
	}
	needed, left := map[string]bool{}, map[string]bool{}
	for _, l := range w.lines {
		l.needs(needed)
	}
	for _, name := range w.store.mem.Keys() {
		left[name] = true
		if !needed[name] && strings.HasPrefix(name, "jobs/") && !w.inPinned(name) {
			w.failf("%s is there after a sweep, although nothing refers to it", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(needed)) {
		if !left[name] {
			w.failf("%s is gone after a sweep, although a head needs it", name)
		}
	}
}
