// SPDX-License-Identifier: Apache-2.0

package reclaim_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/reclaim"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/filestore"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

const (
	lineage   = "0123456789"
	jobDir    = "ns/words/" + lineage + "/"
	chk2      = jobDir + "checkpoints/chk-2/"
	savepoint = "savepoints/savepoint-012345-a/"
	pin       = "ssnap-1"
)

// bench is a store with a job that has two checkpoints, the newer one with a shared file, and a savepoint.
type bench struct {
	t     *testing.T
	mem   *memstore.Memory
	store storage.Store
	head  snapshot.Head
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, mem: memstore.New("test", time.Now)}
	b.store = b.mem.Client(memstore.Options{})
	b.head = snapshot.Head{Owner: "me", Epoch: snapshot.Epoch{Grant: 1, N: 1}, JobID: lineage, ReservedUntil: 100, NamedState: true}
	b.put(jobDir+"shared/s1", "s")
	b.snapshot(jobDir+"checkpoints/chk-1/", 1, record.Checkpoint, "p1")
	b.snapshot(chk2, 2, record.Checkpoint, "p2", snapshot.SharedPrefix+"s1")
	b.snapshot(savepoint, 3, record.Savepoint, "f1", "f2")
	b.names(1, 2)
	return b
}

func (b *bench) put(key, data string) {
	b.t.Helper()
	if err := b.store.PutIfAbsent(b.t.Context(), key, []byte(data)); err != nil {
		b.t.Fatal(err)
	}
}

// snapshot writes a manifest and those of its files that are its own.
func (b *bench) snapshot(dir string, id int64, kind record.SnapshotKind, files ...string) {
	b.t.Helper()
	m := &snapshot.Manifest{JobID: lineage, Checkpoint: id, Kind: kind, MaxParallelism: 128, Attempt: "1-1-1", CreatedAt: time.Now()}
	op := snapshot.OperatorState{Name: "op", Parallelism: 1, Subtasks: []snapshot.SubtaskState{{}}}
	for _, f := range files {
		shared := strings.HasPrefix(f, snapshot.SharedPrefix)
		op.Subtasks[0].Keyed = append(op.Subtasks[0].Keyed, state.File{Path: f, Size: 1, LastGroup: 127, Shared: shared})
		if !shared {
			b.put(dir+f, "x")
		}
	}
	m.Operators = []snapshot.OperatorState{op}
	data, err := snapshot.EncodeManifest(m)
	if err != nil {
		b.t.Fatal(err)
	}
	b.put(dir+snapshot.ManifestName, string(data))
}

// names makes the head of the job name its checkpoints of those ids.
func (b *bench) names(ids ...int64) {
	b.t.Helper()
	b.head.Checkpoints = nil
	for _, id := range ids {
		b.head.Checkpoints = append(b.head.Checkpoints, snapshot.CompletedCheckpoint{
			ID: id, Path: fmt.Sprintf("%scheckpoints/chk-%d/", jobDir, id), CompletedAt: time.Now(),
		})
	}
	b.write(jobDir, b.head)
}

func (b *bench) write(dir string, h snapshot.Head) {
	b.t.Helper()
	h.Seq = 1
	data, err := snapshot.EncodeHead(h)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.store.Delete(b.t.Context(), dir+snapshot.HeadName); err != nil {
		b.t.Fatal(err)
	}
	b.put(dir+snapshot.HeadName, string(data))
}

// below returns the keys below a prefix.
func (b *bench) below(prefix string) []string {
	return slices.DeleteFunc(b.mem.Keys(), func(key string) bool { return !strings.HasPrefix(key, prefix) })
}

func TestInspect_FindsASavepointAndPinsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, p := range []string{savepoint, strings.TrimSuffix(savepoint, "/"), savepoint + snapshot.ManifestName} {
		f, err := reclaim.Inspect(t.Context(), b.store, p, pin)
		if err != nil || f.Dir != savepoint || !f.Savepoint() || f.Manifest.Checkpoint != 3 || f.Pinned {
			t.Errorf("%s: got %+v, %v", p, f, err)
		}
	}
	if got := b.below(jobDir + "pins/"); len(got) > 0 {
		t.Errorf("there are pins: %v", got)
	}
}

func TestInspect_PinsACheckpointOfAJobOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for range 2 {
		f, err := reclaim.Inspect(t.Context(), b.store, chk2, pin)
		if err != nil || f.Savepoint() || !f.Pinned {
			t.Fatalf("got %+v, %v", f, err)
		}
	}
	if diff := cmp.Diff([]string{jobDir + "pins/" + pin}, b.below(jobDir+"pins/")); diff != "" {
		t.Errorf("pins (-want +got):\n%s", diff)
	}
	if _, err := reclaim.Inspect(t.Context(), b.store, jobDir+"checkpoints/chk-1", pin); err == nil || !strings.Contains(err.Error(), "pins something else") {
		t.Errorf("the same pin for another checkpoint: %v", err)
	}
}

// A pin that comes after the head has ceased to name a checkpoint may come too late for whoever deletes it, though all of the checkpoint is there still.
func TestInspect_PinsOnlyWhatTheJobRetains(t *testing.T) {
	t.Parallel()
	notFound := func(err error) bool { return errors.Is(err, storage.ErrNotFound) }
	whole := func(err error) bool { return err == nil }
	tests := map[string]struct {
		before func(b *bench)
		is     func(error) bool
		pins   int
	}{
		"named":             {before: func(b *bench) { b.names(1, 2) }, is: whole, pins: 1},
		"not named":         {before: func(b *bench) { b.names(1) }, is: notFound},
		"none is named":     {before: func(b *bench) { b.names() }, is: notFound},
		"what it came from": {before: func(b *bench) { b.head.Origin = &snapshot.Origin{Path: chk2}; b.names() }, is: whole, pins: 1},
		"an unreadable head": {
			before: func(b *bench) { b.mem.Corrupt(jobDir+snapshot.HeadName, func(d []byte) []byte { return d[3:] }) },
			is:     func(err error) bool { return err != nil && !notFound(err) },
		},
		"no head":            {before: func(b *bench) { _ = b.store.Delete(b.t.Context(), jobDir+snapshot.HeadName) }, is: whole, pins: 1},
		"dropped since then": {before: func(b *bench) { mustInspect(b); b.names(1) }, is: notFound},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			tc.before(b)
			if f, err := reclaim.Inspect(t.Context(), b.store, chk2, pin); !tc.is(err) {
				t.Errorf("got %+v, %v", f, err)
			}
			if got := b.below(jobDir + "pins/"); len(got) != tc.pins {
				t.Errorf("pins: %v, want %d", got, tc.pins)
			}
		})
	}
}

func mustInspect(b *bench) {
	b.t.Helper()
	if _, err := reclaim.Inspect(b.t.Context(), b.store, chk2, pin); err != nil {
		b.t.Fatal(err)
	}
}

func TestInspect_Refuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		path string
		harm func(b *bench)
		is   func(error) bool
	}{
		"nothing there": {path: "savepoints/other", is: func(err error) bool { return errors.Is(err, storage.ErrNotFound) }},
		"a lost file":   {path: savepoint, harm: func(b *bench) { _ = b.store.Delete(b.t.Context(), savepoint+"f2") }, is: isCorrupt},
		"a lost shared file": {
			path: chk2, harm: func(b *bench) { _ = b.store.Delete(b.t.Context(), jobDir+"shared/s1") }, is: isCorrupt,
		},
		"a damaged manifest": {
			path: savepoint, harm: func(b *bench) { b.mem.Corrupt(savepoint+snapshot.ManifestName, func(d []byte) []byte { return d[3:] }) }, is: isCorrupt,
		},
		"everything": {path: "/", is: isPath},
		"a way out":  {path: "../other", is: isPath},
		"a detour":   {path: "savepoints/../ns", is: isPath},
		"absolute":   {path: "/savepoints/x", is: isPath},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			if tc.harm != nil {
				tc.harm(b)
			}
			if f, err := reclaim.Inspect(t.Context(), b.store, tc.path, pin); !tc.is(err) {
				t.Errorf("got %+v, %v", f, err)
			}
		})
	}
}

func isCorrupt(err error) bool {
	_, ok := errors.AsType[*snapshot.CorruptError](err)
	return ok
}

func isPath(err error) bool {
	_, ok := errors.AsType[*reclaim.PathError](err)
	return ok
}

func TestRemove_DeletesASavepointAndNothingElse(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.put(savepoint+"stray", "x")
	others := slices.DeleteFunc(b.mem.Keys(), func(key string) bool { return strings.HasPrefix(key, savepoint) })
	r, err := reclaim.Remove(t.Context(), b.store, savepoint, pin, reclaim.Identity{JobID: lineage, Checkpoint: 3})
	if err != nil || r.Deleted != 4 || r.Left != "" {
		t.Fatalf("got %+v, %v", r, err)
	}
	if diff := cmp.Diff(others, b.mem.Keys()); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if r, err := reclaim.Remove(t.Context(), b.store, savepoint, pin, reclaim.Identity{}); err != nil || r.Deleted != 0 || r.Left == "" {
		t.Errorf("again: %+v, %v", r, err)
	}
}

// A directory that isn't named like those of the engine may hold other things: only what the manifest lists goes.
func TestRemove_LeavesForeignFilesInAForeignDirectory(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.snapshot("mine/", 7, record.Savepoint, "f")
	b.put("mine/photos/1", "x")
	if r, err := reclaim.Remove(t.Context(), b.store, "mine", "", reclaim.Identity{}); err != nil || r.Deleted != 2 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if diff := cmp.Diff([]string{"mine/photos/1"}, b.below("mine/")); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
}

// The job whose head can't be read may need anything.
func TestRemove_RefusesWhileAHeadIsUnreadable(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"damaged": "{", "of another checksum": `{"checksum":"00000000","head":{}}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.put("ns/other/abcdef/"+snapshot.HeadName, content)
			before := b.mem.Keys()
			_, err := reclaim.Remove(t.Context(), b.store, savepoint, pin, reclaim.Identity{})
			e, ok := errors.AsType[*reclaim.HeadError](err)
			if !ok || e.Key != "ns/other/abcdef/"+snapshot.HeadName || e.Dir != savepoint || !strings.Contains(err.Error(), "the job in ns/other/abcdef needs") {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff(before, b.mem.Keys()); diff != "" {
				t.Errorf("it changed the storage:\n%s", diff)
			}
		})
	}
}

func TestRemove_RefusesWhatIsNeeded(t *testing.T) {
	t.Parallel()
	other := func() snapshot.Head {
		return snapshot.Head{Owner: "me", Epoch: snapshot.Epoch{Grant: 1, N: 1}, JobID: "abcdef", ReservedUntil: 100}
	}
	tests := map[string]struct {
		path string
		set  func(b *bench)
		want string
	}{
		"a job was stopped with it": {
			path: savepoint,
			set: func(b *bench) {
				b.head.SetOperation(snapshot.Operation{
					ID: "a", Type: snapshot.OperationStop, Outcome: snapshot.OutcomeDone, Checkpoint: 3, Path: savepoint, At: time.Now(),
				})
				b.names(1, 2)
			},
			want: "the job in ns/words/" + lineage,
		},
		"another job has started from it and has no checkpoint yet": {
			path: savepoint,
			set: func(b *bench) {
				h := other()
				h.Origin, h.NamedState = &snapshot.Origin{Path: savepoint + snapshot.ManifestName, Checkpoint: 3}, true
				b.write("ns/fork/abcdef/", h)
			},
			want: "the job in ns/fork/abcdef",
		},
		"a pin of the savepoint": {
			path: savepoint,
			set: func(b *bench) {
				b.names(1)
				b.put(savepoint+"pins/reader", "")
			},
			want: "the pin " + savepoint + "pins/reader",
		},
		"a job has claimed it": {
			path: savepoint,
			set:  func(b *bench) { b.put(savepoint+snapshot.OwnerName, `{"format":1,"jobID":"abcdef","job":"ns/fork"}`) },
			want: "the job ns/fork (abcdef), which has claimed it",
		},
		"another pin": {
			path: chk2,
			set: func(b *bench) {
				b.names(1)
				b.put(jobDir+"pins/mine", `{"path":"checkpoints/chk-2/","reason":"an audit"}`)
			},
			want: "pins/mine (an audit)",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			tc.set(b)
			before := b.mem.Keys()
			_, err := reclaim.Remove(t.Context(), b.store, tc.path, pin, reclaim.Identity{})
			e, ok := errors.AsType[*reclaim.InUseError](err)
			if !ok || len(e.By) != 1 || !strings.Contains(e.Error(), tc.want) {
				t.Errorf("got %v, want it to name %s", err, tc.want)
			}
			if diff := cmp.Diff(before, b.mem.Keys()); diff != "" {
				t.Errorf("something was deleted (-before +after):\n%s", diff)
			}
		})
	}
}

func TestRemove_OfARetainedCheckpointTakesOnlyThePin(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if _, err := reclaim.Inspect(t.Context(), b.store, chk2, pin); err != nil {
		t.Fatal(err)
	}
	r, err := reclaim.Remove(t.Context(), b.store, chk2, pin, reclaim.Identity{JobID: lineage})
	if err != nil || r.Deleted != 0 || !strings.Contains(r.Left, "its job retains it") {
		t.Fatalf("got %+v, %v", r, err)
	}
	if len(b.below(chk2)) != 2 || len(b.below(jobDir+"pins/")) != 0 {
		t.Errorf("what is left: %v", b.mem.Keys())
	}
}

// Of two StreamSnapshots of one checkpoint, which may be deleted at the same time, neither waits for the other: the checkpoint goes with the last one.
func TestRemove_OfACheckpointThatAnotherPinHoldsTakesOnlyThePin(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pins := []string{pin, "ssnap-2"}
	for _, p := range pins {
		if _, err := reclaim.Inspect(t.Context(), b.store, chk2, p); err != nil {
			t.Fatal(err)
		}
	}
	b.names(1)
	r, err := reclaim.Remove(t.Context(), b.store, chk2, pins[0], reclaim.Identity{JobID: lineage})
	if err != nil || r.Deleted != 0 || !strings.Contains(r.Left, "pins/ssnap-2") {
		t.Fatalf("the first: got %+v, %v", r, err)
	}
	if diff := cmp.Diff([]string{jobDir + "pins/" + pins[1]}, b.below(jobDir+"pins/")); diff != "" || len(b.below(chk2)) != 2 {
		t.Errorf("the first: %v is left, pins (-want +got):\n%s", b.below(chk2), diff)
	}
	if r, err = reclaim.Remove(t.Context(), b.store, chk2, pins[1], reclaim.Identity{JobID: lineage}); err != nil || r.Deleted != 2 {
		t.Fatalf("the last: got %+v, %v", r, err)
	}
	if left := append(b.below(chk2), b.below(jobDir+"pins/")...); len(left) > 0 {
		t.Errorf("the last: %v is left", left)
	}
}

// TestRemove_KnowsJobsWhoseStorageBeginsElsewhere names the snapshots of a job by a storage that begins above that of the job, or below it: the paths in its
// head are relative to its own.
func TestRemove_KnowsJobsWhoseStorageBeginsElsewhere(t *testing.T) {
	t.Parallel()
	for name, roots := range map[string]struct{ mine, its string }{"above": {"team/", ""}, "below": {"", "team/"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &bench{t: t, mem: memstore.New("test", time.Now)}
			b.store = b.mem.Client(memstore.Options{})
			b.snapshot(roots.mine+chk2, 2, record.Checkpoint, "p2")
			b.snapshot(roots.mine+savepoint, 3, record.Savepoint, "f1")
			h := snapshot.Head{
				Owner: "me", Epoch: snapshot.Epoch{Grant: 1, N: 1}, JobID: lineage, ReservedUntil: 100, NamedState: true,
				Checkpoints: []snapshot.CompletedCheckpoint{{ID: 2, Path: roots.its + chk2, CompletedAt: time.Now()}},
			}
			h.SetOperation(snapshot.Operation{
				ID: "a", Type: snapshot.OperationStop, Outcome: snapshot.OutcomeDone, Checkpoint: 3, Path: roots.its + savepoint, At: time.Now(),
			})
			b.write(roots.mine+jobDir, h)
			before := b.mem.Keys()
			r, err := reclaim.Remove(t.Context(), b.store, roots.mine+chk2, pin, reclaim.Identity{})
			if err != nil || !strings.Contains(r.Left, "its job retains it") {
				t.Errorf("the checkpoint: got %+v, %v", r, err)
			}
			_, err = reclaim.Remove(t.Context(), b.store, roots.mine+savepoint, pin, reclaim.Identity{})
			if _, ok := errors.AsType[*reclaim.InUseError](err); !ok {
				t.Errorf("the savepoint: got %v", err)
			}
			if diff := cmp.Diff(before, b.mem.Keys()); diff != "" {
				t.Errorf("something was deleted (-before +after):\n%s", diff)
			}
		})
	}
}

// Shared files may belong to newer checkpoints: they are the sweep's.
func TestRemove_OfACheckpointThatItsJobForgotLeavesSharedFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if _, err := reclaim.Inspect(t.Context(), b.store, chk2, pin); err != nil {
		t.Fatal(err)
	}
	b.names(1)
	r, err := reclaim.Remove(t.Context(), b.store, chk2, pin, reclaim.Identity{JobID: lineage})
	if err != nil || r.Deleted != 2 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if len(b.below(chk2)) != 0 || len(b.below(jobDir+"pins/")) != 0 || len(b.below(jobDir+"shared/")) != 1 {
		t.Errorf("what is left: %v", b.mem.Keys())
	}
}

func TestRemove_LeavesAnotherSnapshotAtTheSamePath(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, id := range []reclaim.Identity{{JobID: "other"}, {JobID: lineage, Checkpoint: 9}} {
		r, err := reclaim.Remove(t.Context(), b.store, savepoint, pin, id)
		if err != nil || r.Deleted != 0 || r.Left == "" || len(b.below(savepoint)) != 3 {
			t.Errorf("%+v: %+v, %v", id, r, err)
		}
	}
}

// TestRemove_WhereverItIsInterrupted fails each call of each kind of failure in turn: repeating it comes to the same end, and until then nobody finds
// a snapshot that looks whole but isn't.
func TestRemove_WhereverItIsInterrupted(t *testing.T) {
	t.Parallel()
	faults := map[string]func() memstore.Fault{
		"before": func() memstore.Fault { return memstore.FailBefore(nil) },
		"after":  func() memstore.Fault { return memstore.FailAfter(nil) },
	}
	for _, dir := range []string{chk2, savepoint} {
		for name, fault := range faults {
			t.Run(dir+" "+name, func(t *testing.T) {
				t.Parallel()
				removeInterrupted(t, dir, fault)
			})
		}
	}
}

func removeInterrupted(t *testing.T, dir string, fault func() memstore.Fault) {
	t.Helper()
	id := reclaim.Identity{JobID: lineage}
	for at := 1; ; at++ {
		b := newBench(t)
		if _, err := reclaim.Inspect(t.Context(), b.store, dir, pin); err != nil {
			t.Fatal(err)
		}
		b.names(1)
		hit := false
		calls := 0
		client := b.mem.Client(memstore.Options{Faults: func(string, string, int) memstore.Fault {
			if calls++; calls == at {
				hit = true
				return fault()
			}
			return memstore.None()
		}})
		_, err := reclaim.Remove(t.Context(), client, dir, pin, id)
		if !hit {
			if err != nil || at < 6 {
				t.Fatalf("after %d calls: %v", at, err)
			}
			return
		}
		if _, err := reclaim.Inspect(t.Context(), b.store, dir, ""); err != nil && !isCorrupt(err) && !errors.Is(err, storage.ErrNotFound) {
			t.Fatalf("call %d: the snapshot is neither whole nor damaged nor gone: %v", at, err)
		}
		if _, err := reclaim.Remove(t.Context(), b.store, dir, pin, id); err != nil {
			t.Fatalf("call %d: again: %v", at, err)
		}
		if left := append(b.below(dir), b.below(jobDir+"pins/")...); len(left) > 0 {
			t.Fatalf("call %d: %v is left", at, left)
		}
	}
}

func TestInspectAndRemove_InADirectory(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dir := t.TempDir()
	store, err := filestore.Open(storage.FileConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range b.mem.Keys() {
		data, _, err := b.store.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.PutIfAbsent(t.Context(), key, data); err != nil {
			t.Fatal(err)
		}
	}
	if f, err := reclaim.Inspect(t.Context(), store, chk2, pin); err != nil || !f.Pinned {
		t.Fatalf("got %+v, %v", f, err)
	}
	if r, err := reclaim.Remove(t.Context(), store, savepoint, pin, reclaim.Identity{}); err != nil || r.Deleted != 3 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if _, err := reclaim.Inspect(t.Context(), store, savepoint, pin); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("after the removal: %v", err)
	}
}
