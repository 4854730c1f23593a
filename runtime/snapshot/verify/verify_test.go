// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

type fileWriter struct {
	store storage.Writer
	dir   string
	n     int
}

func (w *fileWriter) WriteFile(ctx context.Context, data []byte) (state.File, error) {
	w.n++
	f := state.File{Path: fmt.Sprintf("file%d", w.n), Size: int64(len(data)), CRC32C: snapshot.Checksum(data)}
	return f, w.store.PutIfAbsent(ctx, w.dir+f.Path, data)
}

var created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// newSnapshot writes a snapshot of one keyed operator with real state files, and returns the storage.
func newSnapshot(t *testing.T, dir string, id int64) (*memstore.Memory, *memstore.Client) {
	t.Helper()
	mem := memstore.New("test", func() time.Time { return created })
	c := mem.Client(memstore.Options{})
	addSnapshot(t, c, dir, id)
	return mem, c
}

func addSnapshot(t *testing.T, c *memstore.Client, dir string, id int64) {
	t.Helper()
	addSnapshotOf(t, c, dir, id, "v")
}

// addSnapshotOf writes a snapshot whose values are made of filler.
func addSnapshotOf(t *testing.T, c *memstore.Client, dir string, id int64, filler string) {
	t.Helper()
	m, err := state.NewMemory(state.Options{MaxParallelism: 16, First: 0, Last: 15, PartSize: 600})
	if err != nil {
		t.Fatal(err)
	}
	table, err := m.Table(state.Descriptor{Name: "count", Keys: state.Int64Keys})
	if err != nil {
		t.Fatal(err)
	}
	for k := range int64(40) {
		table.PutVarInt64(k, state.HashInt64(k), []byte(strings.Repeat(filler, int(k))))
	}
	s := m.Seal()
	defer s.Release()
	files, err := s.Write(t.Context(), &fileWriter{store: c, dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 2 {
		t.Fatalf("the state is in %d files, want several", len(files))
	}
	channels := addChannels(t, c, dir)
	manifest := &snapshot.Manifest{
		JobID: "j", JobName: "views", Checkpoint: id, Kind: record.Savepoint, Stop: record.StopDrain, Attempt: "1-1-1", CreatedAt: created, MaxParallelism: 16,
		Operators: []snapshot.OperatorState{
			{Name: "count", Parallelism: 1, Subtasks: []snapshot.SubtaskState{{Keyed: files, Channels: channels}}},
			{Name: "src", Parallelism: 2, Subtasks: []snapshot.SubtaskState{
				{Index: 0, Finished: true},
				{Index: 1, Lists: []operator.List{{Name: "pos", Mode: operator.Union, Entries: [][]byte{{1, 2}, {3}}}}},
			}},
		},
	}
	b, err := snapshot.EncodeManifest(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.PutIfAbsent(t.Context(), dir+snapshot.ManifestName, b); err != nil {
		t.Fatal(err)
	}
}

// addChannels writes a file with what was in flight on two channels.
func addChannels(t *testing.T, c *memstore.Client, dir string) []snapshot.ChannelState {
	t.Helper()
	var file []byte
	var out []snapshot.ChannelState
	for i := range 2 {
		at := len(file)
		file = snapshot.AppendChannelHeader(file)
		file = append(file, 3, 0, 0, 0, 'r', 'o', 'w', 0, 0, 0, 0)
		out = append(out, snapshot.ChannelState{
			From: "src", FromSubtask: i, Type: "rows", Path: "channels", Offset: int64(at), Length: int64(len(file) - at),
			CRC32C: snapshot.Checksum(file[at:]), Rows: 1,
		})
	}
	if err := c.PutIfAbsent(t.Context(), dir+"channels", file); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestVerify_ChannelStateThatIsMissingOrTooLong(t *testing.T) {
	for name, tc := range map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"missing":  {func([]byte) []byte { return nil }, `a/channels (operator "count", subtask 0): it is missing`},
		"too long": {func(b []byte) []byte { return append(bytes.Clone(b), 1) }, `a/channels (operator "count", subtask 0), from byte 38 on: it goes on after its 38 bytes`},
		"too short": {
			func(b []byte) []byte { return b[:30] },
			`a/channels (operator "count", subtask 0), bytes 19 to 37: channel from src, subtask 1: it has 11 bytes, the manifest says 19`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			mem, c := newSnapshot(t, "a/", 1)
			if name == "missing" {
				if err := c.Delete(t.Context(), "a/channels"); err != nil {
					t.Fatal(err)
				}
			} else {
				mem.Corrupt("a/channels", tc.change)
			}
			r, err := Verify(t.Context(), c, "a")
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Damages) != 1 || r.Damages[0].String() != tc.want {
				t.Errorf("damages are %v, want %s", r.Damages, tc.want)
			}
		})
	}
}

func TestVerify_Whole(t *testing.T) {
	_, c := newSnapshot(t, "a/chk-1/", 1)
	for _, p := range []string{"a/chk-1", "a/chk-1/", "a/chk-1/_metadata"} {
		r, err := Verify(t.Context(), c, p)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Whole() || r.Files != 1+r.Snapshot.Files || r.Bytes <= r.Snapshot.Bytes || r.Snapshot.Path != "a/chk-1" {
			t.Errorf("%s: report is %+v", p, r)
		}
	}
}

// Every bit of every object counts.
func TestVerify_FindsEveryChangedByte(t *testing.T) {
	mem, c := newSnapshot(t, "s/", 1)
	for _, key := range mem.Keys() {
		data, _, err := c.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		for i := range data {
			mem.Corrupt(key, func(b []byte) []byte {
				b = bytes.Clone(b)
				b[i] ^= 1 << (i % 8)
				return b
			})
			r, err := Verify(t.Context(), c, "s")
			mem.Corrupt(key, func([]byte) []byte { return data })
			if err != nil {
				t.Fatalf("byte %d of %s: %v", i, key, err)
			}
			if len(r.Damages) != 1 || r.Damages[0].Object != key {
				t.Fatalf("byte %d of %s: damages are %v", i, key, r.Damages)
			}
			d := r.Damages[0]
			if inside := d.From <= int64(i) && int64(i) < d.To; !inside && !metadataRange(d, i, len(data)) {
				t.Fatalf("byte %d of %s: the damage is said to be at %d to %d", i, key, d.From, d.To)
			}
		}
	}
}

// metadataRange allows a damage in header, index or trailer to be told as one in another of these: they describe each other.
func metadataRange(d Damage, at, size int) bool {
	return strings.Contains(d.Detail, "header") || strings.Contains(d.Detail, "index") || strings.Contains(d.Detail, "trailer") || at > size-64
}

func TestVerify_Damages(t *testing.T) {
	for name, tc := range map[string]struct {
		damage func(ctx context.Context, mem *memstore.Memory, c *memstore.Client)
		want   string
	}{
		"file missing": {func(ctx context.Context, _ *memstore.Memory, c *memstore.Client) { _ = c.Delete(ctx, "s/file2") }, `s/file2 (operator "count", subtask 0): it is missing`},
		"file cut off": {func(_ context.Context, m *memstore.Memory, _ *memstore.Client) {
			m.Corrupt("s/file1", func(b []byte) []byte { return b[:len(b)-1] })
		}, "s/file1"},
		"file empty": {func(_ context.Context, m *memstore.Memory, _ *memstore.Client) {
			m.Corrupt("s/file1", func([]byte) []byte { return nil })
		}, "s/file1"},
		"file too long": {func(_ context.Context, m *memstore.Memory, _ *memstore.Client) {
			m.Corrupt("s/file1", func(b []byte) []byte { return append(b, 0) })
		}, "goes on after its"},
		"manifest truncated": {func(_ context.Context, m *memstore.Memory, _ *memstore.Client) {
			m.Corrupt("s/_metadata", func(b []byte) []byte { return b[:len(b)/2] })
		}, "s/_metadata, bytes 0 to"},
		"manifest empty": {func(_ context.Context, m *memstore.Memory, _ *memstore.Client) {
			m.Corrupt("s/_metadata", func([]byte) []byte { return nil })
		}, "doesn't begin with the header"},
	} {
		t.Run(name, func(t *testing.T) {
			mem, c := newSnapshot(t, "s/", 1)
			tc.damage(t.Context(), mem, c)
			r, err := Verify(t.Context(), c, "s")
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Damages) == 0 || !strings.Contains(r.Damages[0].String(), tc.want) {
				t.Errorf("damages are %v, want one with %q", r.Damages, tc.want)
			}
		})
	}
}

// A file that is whole in itself but is another one than the manifest lists.
func TestVerify_ExchangedFile(t *testing.T) {
	mem, c := newSnapshot(t, "s/", 1)
	addSnapshotOf(t, c, "o/", 1, "w")
	other, _, err := c.Get(t.Context(), "o/file1")
	if err != nil {
		t.Fatal(err)
	}
	mem.Corrupt("s/file1", func([]byte) []byte { return other })
	r, err := Verify(t.Context(), c, "s")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Damages) != 1 || !strings.Contains(r.Damages[0].Detail, "the manifest says") {
		t.Errorf("damages are %v, want one about the checksum in the manifest", r.Damages)
	}
}

func TestVerify_NoSnapshot(t *testing.T) {
	_, c := newSnapshot(t, "s/", 1)
	for _, p := range []string{"nothing", "", "s/file1"} {
		if _, err := Verify(t.Context(), c, p); err == nil || !strings.Contains(err.Error(), "there is no manifest") {
			t.Errorf("%q: got error %v", p, err)
		}
	}
}

func TestInspect(t *testing.T) {
	_, c := newSnapshot(t, "s/", 3)
	got, err := Inspect(t.Context(), c, "s/_metadata")
	if err != nil {
		t.Fatal(err)
	}
	if got.Files != got.Operators[0].Files || got.Bytes != got.Operators[0].Bytes || got.Files < 2 {
		t.Errorf("files and bytes are %d and %d, of the operator %d and %d", got.Files, got.Bytes, got.Operators[0].Files, got.Operators[0].Bytes)
	}
	got.Files, got.Bytes, got.Operators[0].Files, got.Operators[0].Bytes = 0, 0, 0, 0
	want := &Summary{
		Path: "s", Checkpoint: 3, Kind: "savepoint", Stop: "drained", JobID: "j", JobName: "views", Attempt: "1-1-1", CreatedAt: created, MaxParallelism: 16,
		Operators: []OperatorSummary{
			{Name: "count", Parallelism: 1, InFlightRows: 2},
			{Name: "src", Parallelism: 2, Finished: 1, Lists: []ListSummary{{Name: "pos", Mode: "union", Entries: 2, Bytes: 3}}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("summary differs (-want +got):\n%s", d)
	}
}

func TestList(t *testing.T) {
	mem, c := newSnapshot(t, "p/jobs/j/checkpoints/chk-10/", 10)
	addSnapshot(t, c, "p/jobs/j/checkpoints/chk-9/", 9)
	addSnapshot(t, c, "p/savepoints/savepoint-x/", 8)
	addSnapshot(t, c, "p/savepoints/savepoint-y/", 11)
	addSnapshot(t, c, "other/", 1)
	mem.Corrupt("p/savepoints/savepoint-y/_metadata", func(b []byte) []byte { return b[1:] })
	for prefix, want := range map[string][]string{
		"p/jobs":        {"p/jobs/j/checkpoints/chk-9", "p/jobs/j/checkpoints/chk-10"},
		"p/savepoints/": {"p/savepoints/savepoint-x", "p/savepoints/savepoint-y damaged"},
		"other":         {"other"},
		"nothing":       nil,
	} {
		entries, err := List(t.Context(), c, prefix)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			if e.Summary == nil {
				e.Path += " damaged"
				if !strings.Contains(e.Problem, "is damaged") {
					t.Errorf("problem is %q", e.Problem)
				}
			}
			got = append(got, e.Path)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: snapshots differ (-want +got):\n%s", prefix, d)
		}
	}
}
