// SPDX-License-Identifier: Apache-2.0

package sweep_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/snapshot/sweep"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/filestore"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

const jobID = "0123456789"

// jobDir is the directory of the job in the store.
const jobDir = "ns/name/" + jobID + "/"

// bench is the storage of a job, with a clock.
type bench struct {
	t     *testing.T
	now   time.Time
	mem   *memstore.Memory
	store storage.Store
	head  snapshot.Head
	etag  string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	b.mem = memstore.New("test", func() time.Time { return b.now })
	b.store = b.mem.Client(memstore.Options{})
	b.head = snapshot.Head{Seq: 0, Owner: "me", Epoch: snapshot.Epoch{Grant: 1, N: 1}, JobID: jobID, ReservedUntil: 100}
	return b
}

func (b *bench) put(key, data string) {
	b.t.Helper()
	if err := b.store.PutIfAbsent(b.t.Context(), key, []byte(data)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) swap() {
	b.t.Helper()
	b.head.Seq++
	data, err := snapshot.EncodeHead(b.head)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.etag, err = b.store.Swap(b.t.Context(), jobDir+snapshot.HeadName, data, b.etag); err != nil {
		b.t.Fatal(err)
	}
}

func chkDir(id int64) string { return fmt.Sprintf("%scheckpoints/chk-%d/", jobDir, id) }

// manifest writes that of a checkpoint with private and shared files, and returns what the head is to say.
func (b *bench) manifest(id int64, private, shared []string) snapshot.CompletedCheckpoint {
	b.t.Helper()
	m := &snapshot.Manifest{JobID: jobID, Checkpoint: id, MaxParallelism: 128, Attempt: "1-1-1", CreatedAt: b.now}
	op := snapshot.OperatorState{Name: "op", Parallelism: 1, Subtasks: []snapshot.SubtaskState{{}}}
	for _, f := range private {
		op.Subtasks[0].Keyed = append(op.Subtasks[0].Keyed, state.File{Path: f, Size: 1, LastGroup: 127})
	}
	for _, f := range shared {
		op.Subtasks[0].Keyed = append(op.Subtasks[0].Keyed, state.File{Path: snapshot.SharedPrefix + f, Size: 1, LastGroup: 127, Shared: true})
	}
	m.Operators = []snapshot.OperatorState{op}
	data, err := snapshot.EncodeManifest(m)
	if err != nil {
		b.t.Fatal(err)
	}
	b.put(chkDir(id)+snapshot.ManifestName, string(data))
	return snapshot.CompletedCheckpoint{ID: id, Path: chkDir(id), ManifestCRC32C: snapshot.Checksum(data), Shared: len(shared) > 0, CompletedAt: b.now}
}

// commit completes a checkpoint, whose files it creates.
func (b *bench) commit(id int64, private, shared []string, retain int) {
	b.t.Helper()
	for _, f := range private {
		b.put(chkDir(id)+f, "p")
	}
	c := b.manifest(id, private, shared)
	b.head.Checkpoints = append(slices.Clone(b.head.Checkpoints), c)
	b.head.Checkpoints = b.head.Checkpoints[max(0, len(b.head.Checkpoints)-retain):]
	b.swap()
}

func (b *bench) sweep(o sweep.Options) (*sweep.Report, error) {
	o.Now = func() time.Time { return b.now }
	return sweep.Sweep(b.t.Context(), b.store, jobDir, o)
}

// orphans of a job with two checkpoints of which the second shares a file of the first.
func (b *bench) usual() {
	b.put(jobDir+"shared/a", "a")
	b.put(jobDir+"shared/b", "b")
	b.commit(1, []string{"p1"}, []string{"a"}, 2)
	b.commit(2, []string{"p2"}, []string{"a", "b"}, 2)
}

func paths(r *sweep.Report) []string {
	var out []string
	for _, o := range r.Orphans {
		out = append(out, strings.TrimPrefix(o.Path, jobDir))
	}
	return out
}

func TestSweep_FindsWhatNothingRefersTo(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		setUp   func(b *bench)
		want    []string
		refusal string
	}{
		"nothing": {setUp: func(*bench) {}},
		"a shared file of an acknowledgement that was lost": {
			setUp: func(b *bench) { b.put(jobDir+"shared/lost", "xx") }, want: []string{"shared/lost"},
		},
		"a checkpoint that was given up": {
			setUp: func(b *bench) { b.put(chkDir(3)+"x", "xx"); b.put(chkDir(3)+"y", "y") }, want: []string{"checkpoints/chk-3/"},
		},
		"a checkpoint whose manifest was written, but no head": {
			setUp: func(b *bench) { b.put(jobDir+"shared/c", "c"); b.manifest(3, nil, []string{"a", "c"}) },
			want:  []string{"checkpoints/chk-3/", "shared/c"},
		},
		"a file of a complete checkpoint that its manifest doesn't list": {
			setUp: func(b *bench) { b.put(chkDir(2)+"again", "x") }, want: []string{"checkpoints/chk-2/again"},
		},
		"checkpoints that were subsumed, and the files that only they needed": {
			setUp: func(b *bench) { b.commit(3, nil, []string{"b"}, 1) }, want: []string{"checkpoints/chk-1/", "checkpoints/chk-2/", "shared/a"},
		},
		"a pin keeps one, with its files": {
			setUp: func(b *bench) {
				b.put(jobDir+"pins/mine", `{"path":"checkpoints/chk-2/","reason":"another job starts from it"}`)
				b.commit(3, nil, []string{"b"}, 1)
			},
			want: []string{"checkpoints/chk-1/"},
		},
		"what the job started from stays": {
			setUp: func(b *bench) {
				b.head.Origin = &snapshot.Origin{Path: chkDir(1), Checkpoint: 1}
				b.commit(3, nil, []string{"b"}, 1)
			},
			want: []string{"checkpoints/chk-2/"},
		},
		"other objects are nobody's business": {
			setUp: func(b *bench) { b.put(jobDir+"notes", "n"); b.put("ns/name/other/shared/x", "x") },
		},
		"a manifest with shared files that is damaged": {
			setUp:   func(b *bench) { b.mem.Corrupt(chkDir(1)+"_metadata", func(d []byte) []byte { return d[1:] }) },
			refusal: "which shared files checkpoint 1 needs can't be told",
		},
		"a manifest with shared files that is gone": {
			setUp: func(b *bench) {
				if err := b.store.Delete(b.t.Context(), chkDir(2)+"_metadata"); err != nil {
					b.t.Fatal(err)
				}
			},
			refusal: "which shared files checkpoint 2 needs can't be told",
		},
		"a pin that can't be understood": {
			setUp: func(b *bench) { b.put(jobDir+"pins/bad", `{"path":"../x"}`) }, refusal: "correct or delete",
		},
		"a checkpoint elsewhere": {
			setUp:   func(b *bench) { b.head.Checkpoints[0].Path = "other/checkpoints/chk-1/"; b.swap() },
			refusal: "outside of the directory of job",
		},
		"a damaged head": {
			setUp:   func(b *bench) { b.mem.Corrupt(jobDir+"head.json", func(d []byte) []byte { return d[1:] }) },
			refusal: "reading the head",
		},
		"no head": {
			setUp: func(b *bench) {
				if err := b.store.Delete(b.t.Context(), jobDir+"head.json"); err != nil {
					b.t.Fatal(err)
				}
			},
			refusal: "nothing is deleted",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.usual()
			tc.setUp(b)
			b.now = b.now.Add(sweep.MinGrace + time.Second)
			b.put(jobDir+"shared/young", "y") // always stays
			b.put(chkDir(9)+"young", "y")
			before := b.mem.Keys()
			dry, err := b.sweep(sweep.Options{DryRun: true})
			if tc.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), tc.refusal) {
					t.Errorf("got %v, want %q", err, tc.refusal)
				}
				if _, err := b.sweep(sweep.Options{}); err == nil || !cmp.Equal(before, b.mem.Keys()) {
					t.Errorf("something was deleted, or all is well: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !cmp.Equal(paths(dry), tc.want) || dry.Young != 2 || dry.Deleted || !cmp.Equal(before, b.mem.Keys()) {
				t.Errorf("dry: %v, %d young, deleted %t; want %v", paths(dry), dry.Young, dry.Deleted, tc.want)
			}
			r, err := b.sweep(sweep.Options{})
			if err != nil || !cmp.Equal(paths(r), tc.want) {
				t.Fatalf("swept %v, %v; want %v", paths(r), err, tc.want)
			}
			want := slices.DeleteFunc(before, func(key string) bool {
				return slices.ContainsFunc(tc.want, func(p string) bool {
					return key == jobDir+p || strings.HasSuffix(p, "/") && strings.HasPrefix(key, jobDir+p)
				})
			})
			if diff := cmp.Diff(want, b.mem.Keys()); diff != "" {
				t.Errorf("what is left differs:\n%s", diff)
			}
			if n, size := r.Totals(); n != len(before)-len(want) || (n > 0) != (size > 0) {
				t.Errorf("%d objects with %d bytes are reported", n, size)
			}
		})
	}
}

func TestSweep_RefusesAShortGrace(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.usual()
	if _, err := b.sweep(sweep.Options{Grace: snapshot.CommitGrace}); err == nil || !strings.Contains(err.Error(), "at least 25h") {
		t.Errorf("got %v", err)
	}
}

// Without a head nothing is an orphan: what is there may be all that is left of a job.
func TestSweep_RefusesADirectoryWithoutAHead(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		keys []string
		want string
	}{
		"nothing there":    {want: "give the directory of one job"},
		"other things":     {keys: []string{"notes.txt", "a/checkpoints/chk-1/_metadata"}, want: "give the directory of one job"},
		"a checkpoint":     {keys: []string{"checkpoints/chk-1/_metadata", "checkpoints/chk-1/a"}, want: "2 objects, which may be all that is left of the state of a job: nothing is deleted"},
		"only shared ones": {keys: []string{"shared/a"}, want: "1 objects"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			for _, k := range tc.keys {
				b.put(jobDir+k, "x")
			}
			b.now = b.now.Add(100 * 24 * time.Hour)
			r, err := sweep.Sweep(t.Context(), b.store, jobDir, sweep.Options{Now: func() time.Time { return b.now }})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "there is no head.json") || r != nil {
				t.Errorf("got report %v and error %v, want one with %q", r, err, tc.want)
			}
			if got := len(b.mem.Keys()); got != len(tc.keys) {
				t.Errorf("%d objects are left, want %d", got, len(tc.keys))
			}
		})
	}
}

func TestSweep_AYoungObjectKeepsItsCheckpoint(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.usual()
	b.put(chkDir(3)+"x", "x")
	b.now = b.now.Add(sweep.MinGrace)
	b.put(chkDir(3)+"y", "y")
	b.now = b.now.Add(time.Second)
	if r, err := b.sweep(sweep.Options{}); err != nil || len(r.Orphans) > 0 || r.Young != 2 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestSweep_UnreadableCheckpointWithoutSharedFilesStays says so.
func TestSweep_UnreadableCheckpointWithoutSharedFilesStays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.commit(1, []string{"p1", "p2"}, nil, 2)
	b.mem.Corrupt(chkDir(1)+"_metadata", func(d []byte) []byte { return d[1:] })
	b.put(jobDir+"shared/x", "x")
	b.now = b.now.Add(sweep.MinGrace + time.Second)
	r, err := b.sweep(sweep.Options{})
	if err != nil || !cmp.Equal(paths(r), []string{"shared/x"}) || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "checkpoint 1 can't be read") {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestSweep_OnAFileStore sweeps a directory that was opened alone, as the command does.
func TestSweep_OnAFileStore(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	root := t.TempDir()
	store, err := filestore.Open(storage.FileConfig{Dir: root})
	if err != nil {
		t.Fatal(err)
	}
	b.store = store
	b.usual()
	b.put(jobDir+"shared/lost", "xx")
	b.put(jobDir+"shared/young", "y")
	old := time.Now().Add(-sweep.MinGrace - time.Minute)
	for _, name := range []string{"a", "b", "lost"} {
		if err := os.Chtimes(filepath.Join(root, jobDir, "shared", name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	alone, err := filestore.Open(storage.FileConfig{Dir: filepath.Join(root, jobDir)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = alone.Close() }()
	r, err := sweep.Sweep(t.Context(), alone, "", sweep.Options{Now: time.Now})
	if err != nil || len(r.Orphans) != 1 || r.Orphans[0].Path != "shared/lost" || r.Young != 1 || r.Kept != 6 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if _, err := os.Stat(filepath.Join(root, jobDir, "shared/lost")); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestUnpinned(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.usual()
	keys := []string{chkDir(1) + "p1", chkDir(1) + "_metadata", jobDir + "shared/a", jobDir + "shared/b"}
	if got, err := sweep.Unpinned(t.Context(), b.store, jobDir, keys); err != nil || !cmp.Equal(got, keys) {
		t.Errorf("without pins: %v, %v", got, err)
	}
	pin, err := sweep.EncodePin(sweep.Pin{Path: "checkpoints/chk-1", Reason: "test"})
	if err != nil {
		t.Fatal(err)
	}
	b.put(jobDir+"pins/one", string(pin))
	if got, err := sweep.Unpinned(t.Context(), b.store, jobDir, keys); err != nil || !cmp.Equal(got, []string{jobDir + "shared/b"}) {
		t.Errorf("with a pin: %v, %v", got, err)
	}
	b.mem.Corrupt(chkDir(1)+"_metadata", func(d []byte) []byte { return d[1:] })
	if got, err := sweep.Unpinned(t.Context(), b.store, jobDir, keys); err == nil {
		t.Errorf("what the pin holds can't be told, but %v may go", got)
	}
}

// What a coordinator that died has left of a savepoint is reported when it can't be completed any more, and stays.
func TestSweep_ReportsSavepointsThatWereNeverCompleted(t *testing.T) {
	b := newBench(t)
	b.usual()
	prefix := "savepoints/" + snapshot.SavepointDirPrefix(jobID)
	b.put(prefix+"lost/7-a", "12")
	b.put(prefix+"lost/7-b", "3")
	b.put(prefix+"done/8-a", "a")
	b.put(prefix+"done/"+snapshot.ManifestName, "m")
	b.put("savepoints/savepoint-others-lost/7-a", "a")
	b.now = b.now.Add(sweep.MinGrace + time.Minute)
	b.put(prefix+"young/9-a", "a")
	before := b.mem.Keys()
	r, err := b.sweep(sweep.Options{Savepoints: "savepoints/"})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Unfinished) != 1 || r.Unfinished[0].Path != prefix+"lost/" || r.Unfinished[0].Objects != 2 || r.Unfinished[0].Bytes != 3 {
		t.Errorf("Unfinished = %+v, want the one that is lost", r.Unfinished)
	}
	if len(r.Orphans) > 0 || !cmp.Equal(before, b.mem.Keys()) {
		t.Errorf("the sweep deleted %v", r.Orphans)
	}
	if r, err = b.sweep(sweep.Options{}); err != nil || len(r.Unfinished) > 0 {
		t.Errorf("without a directory of savepoints: %+v, %v", r, err)
	}
}
