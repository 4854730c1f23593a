// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// sharedWriter stores shared files where a job does.
type sharedWriter struct {
	fileWriter
	shared fileWriter
}

func (w *sharedWriter) WriteShared(ctx context.Context, data []byte) (state.File, error) {
	f, err := w.shared.WriteFile(ctx, data)
	f.Path, f.Shared = snapshot.SharedPrefix+f.Path, true
	return f, err
}

// newCheckpoints writes two incremental checkpoints, j/checkpoints/chk-1 and chk-2; the second one shares a file with the first.
func newCheckpoints(t *testing.T) (*memstore.Memory, *memstore.Client, []state.File) {
	t.Helper()
	mem := memstore.New("test", nil)
	c := mem.Client(memstore.Options{})
	m, err := state.NewMemory(state.Options{MaxParallelism: 16, Last: 15})
	if err != nil {
		t.Fatal(err)
	}
	table, err := m.Table(state.Descriptor{Name: "count", Keys: state.Int64Keys, ValueSize: 8})
	if err != nil {
		t.Fatal(err)
	}
	var files []state.File
	w := &sharedWriter{fileWriter: fileWriter{store: c}, shared: fileWriter{store: c, dir: "j/shared/"}}
	for i, keys := range []int64{5000, 3} {
		id := int64(i) + 1
		for k := range keys {
			table.RefInt64(k, state.HashInt64(k))
		}
		w.dir = fmt.Sprintf("j/checkpoints/chk-%d/", id)
		s := m.SealIncremental(id, id-1)
		if files, err = s.Write(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		s.Release()
		for i := range files {
			files[i].Reused = false
		}
		writeManifest(t, c, w.dir, id, files)
	}
	if len(files) != 3 || !files[0].Index || files[1].Path != snapshot.SharedPrefix+"file1" {
		t.Fatalf("the second checkpoint has files %+v", files)
	}
	return mem, c, files
}

func writeManifest(t *testing.T, c *memstore.Client, dir string, id int64, files []state.File) {
	t.Helper()
	b, err := snapshot.EncodeManifest(&snapshot.Manifest{
		JobID: "j", JobName: "views", Checkpoint: id, Kind: record.Checkpoint, Attempt: "1-1-1", CreatedAt: created, MaxParallelism: 16,
		Operators: []snapshot.OperatorState{{Name: "count", Parallelism: 1, Subtasks: []snapshot.SubtaskState{{Keyed: files}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.PutIfAbsent(t.Context(), dir+snapshot.ManifestName, b); err != nil {
		t.Fatal(err)
	}
}

func TestVerify_SharedFiles(t *testing.T) {
	_, c, files := newCheckpoints(t)
	for _, dir := range []string{"j/checkpoints/chk-1", "j/checkpoints/chk-2/_metadata"} {
		r, err := Verify(t.Context(), c, dir)
		if err != nil || !r.Whole() {
			t.Fatalf("%s: %v %+v", dir, err, r)
		}
		if dir == "j/checkpoints/chk-2/_metadata" && r.Files != len(files)+1 {
			t.Errorf("%d files were read, want the manifest and %d", r.Files, len(files))
		}
	}
}

func TestVerify_DamagedSharedFiles(t *testing.T) {
	tests := map[string]struct {
		object string
		damage func(b []byte) []byte
		want   string
	}{
		"shared with the checkpoint before": {"j/shared/file1", func(b []byte) []byte {
			b[200] ^= 1
			return b
		}, `j/shared/file1 (operator "count", subtask 0), bytes `},
		"shared, cut off": {"j/shared/file2", func(b []byte) []byte { return b[:len(b)-1] }, "j/shared/file2"},
		"index": {"j/checkpoints/chk-2/file2", func(b []byte) []byte {
			b[len(b)/2] ^= 1
			return b
		}, `j/checkpoints/chk-2/file2 (operator "count", subtask 0), bytes `},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			mem, c, _ := newCheckpoints(t)
			mem.Corrupt(tc.object, tc.damage)
			r, err := Verify(t.Context(), c, "j/checkpoints/chk-2")
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Damages) != 1 || !strings.Contains(r.Damages[0].String(), tc.want) {
				t.Errorf("damages are %v, want %q", r.Damages, tc.want)
			}
		})
	}
}

// An index that is whole in itself but refers to another file than the manifest lists.
func TestVerify_IndexOfAnotherFile(t *testing.T) {
	_, c, files := newCheckpoints(t)
	other := []state.File{files[0], files[1]}
	b, _, err := c.Get(t.Context(), "j/checkpoints/chk-2/"+files[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.PutIfAbsent(t.Context(), "j/checkpoints/chk-3/"+files[0].Path, b); err != nil {
		t.Fatal(err)
	}
	writeManifest(t, c, "j/checkpoints/chk-3/", 3, other)
	r, err := Verify(t.Context(), c, "j/checkpoints/chk-3")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Damages) != 1 || !strings.Contains(r.Damages[0].String(), "which the manifest doesn't list so") {
		t.Errorf("damages are %v", r.Damages)
	}
}
