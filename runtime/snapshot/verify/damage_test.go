// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/memstore"
)

// dir is where the snapshot of these tests lies.
const dir = "jobs/j/checkpoints/chk-2/"

// jobWriter writes files of the snapshot, and shared ones beside it.
type jobWriter struct {
	store storage.Writer
	n     int
}

func (w *jobWriter) write(ctx context.Context, path string, data []byte) (state.File, error) {
	f := state.File{Path: path, Size: int64(len(data)), CRC32C: snapshot.Checksum(data), Shared: strings.HasPrefix(path, snapshot.SharedPrefix)}
	return f, w.store.PutIfAbsent(ctx, snapshot.FileKey(dir, path), data)
}

func (w *jobWriter) WriteFile(ctx context.Context, data []byte) (state.File, error) {
	w.n++
	return w.write(ctx, fmt.Sprintf("own-%d", w.n), data)
}

func (w *jobWriter) WriteShared(ctx context.Context, data []byte) (state.File, error) {
	w.n++
	return w.write(ctx, fmt.Sprintf("%sf%d", snapshot.SharedPrefix, w.n), data)
}

func backend(t *testing.T, subtask int) (*state.Memory, *state.Table) {
	t.Helper()
	first, last := state.GroupRange(subtask, 2, 8)
	m, err := state.NewMemory(state.Options{MaxParallelism: 8, First: first, Last: last, PartSize: 600})
	if err != nil {
		t.Fatal(err)
	}
	table, err := m.Table(state.Descriptor{Name: "count", Keys: state.Int64Keys})
	if err != nil {
		t.Fatal(err)
	}
	return m, table
}

// put changes the values of keys of this subtask, from one key up to another.
func put(table *state.Table, subtask int, from, to int64, value string) {
	first, last := state.GroupRange(subtask, 2, 8)
	for k := from; k < to; k++ {
		h := state.HashInt64(k)
		if g := int(h % 8); g >= first && g <= last {
			table.PutVarInt64(k, h, []byte(strings.Repeat(value, int(k%10))))
		}
	}
}

// files seals a backend and writes it.
func files(t *testing.T, s *state.Snapshot, w *jobWriter) []state.File {
	t.Helper()
	defer s.Release()
	fs, err := s.Write(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	for i := range fs {
		fs[i].Reused = false
	}
	return fs
}

// everything writes a checkpoint with files of every kind: full keyed state, incremental keyed state on a base, and elements in flight on two channels.
// Lists are in the manifest.
func everything(t *testing.T) (*memstore.Memory, *memstore.Client) {
	t.Helper()
	mem := memstore.New("damage", nil)
	c := mem.Client(memstore.Options{})
	w := &jobWriter{store: c}
	full, table := backend(t, 0)
	put(table, 0, 0, 30, "v")
	inc, table := backend(t, 1)
	put(table, 1, 0, 30, "v")
	base := files(t, inc.SealIncremental(1, 0), w)
	put(table, 1, 3, 5, "w")
	increment := files(t, inc.SealIncremental(2, 1), w)
	for _, f := range base {
		if !f.Shared { // the base's own index, which went with it
			if err := c.Delete(t.Context(), snapshot.FileKey(dir, f.Path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var flow []byte
	var channels []snapshot.ChannelState
	for i := range 2 {
		at := len(flow)
		flow = snapshot.AppendChannelHeader(flow)
		for _, s := range []string{"a batch", "another"} {
			flow = binary.LittleEndian.AppendUint32(flow, uint32(len(s)))
			flow = append(flow, s...)
		}
		channels = append(channels, snapshot.ChannelState{
			From: "src", FromSubtask: i, Type: "rows[int64]", Path: "flow", Offset: int64(at), Length: int64(len(flow) - at),
			CRC32C: snapshot.Checksum(flow[at:]), Rows: 2,
		})
	}
	if _, err := w.write(t.Context(), "flow", flow); err != nil {
		t.Fatal(err)
	}
	b, err := snapshot.EncodeManifest(&snapshot.Manifest{
		JobID: "j", Checkpoint: 2, Attempt: "1-1-1", CreatedAt: created, MaxParallelism: 8,
		Operators: []snapshot.OperatorState{
			{Name: "count", Parallelism: 2, Subtasks: []snapshot.SubtaskState{
				{Index: 0, Keyed: files(t, full.Seal(), w), Channels: channels}, {Index: 1, Keyed: increment},
			}},
			{Name: "src", Parallelism: 1, Subtasks: []snapshot.SubtaskState{
				{Lists: []operator.List{{Name: "pos", Mode: operator.Union, Entries: [][]byte{{1, 2}, {3}}}}},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.PutIfAbsent(t.Context(), dir+snapshot.ManifestName, b); err != nil {
		t.Fatal(err)
	}
	return mem, c
}

// restore reads the snapshot as coordinator and tasks do, and returns its content.
func restore(ctx context.Context, t *testing.T, c storage.Reader) (map[string]string, error) {
	t.Helper()
	b, _, err := c.Get(ctx, dir+snapshot.ManifestName)
	if err != nil {
		return nil, err
	}
	m, err := snapshot.DecodeManifest(b)
	if err != nil {
		return nil, err
	}
	content := map[string]string{}
	for _, o := range m.Operators {
		for _, s := range o.Subtasks {
			if len(s.Keyed) > 0 {
				backend, table := backend(t, s.Index)
				if err := backend.Restore(ctx, s.Keyed, fileReader{store: c, dir: dir}); err != nil {
					return nil, err
				}
				table.Range(func(_ int, key, val []byte) bool {
					content[fmt.Sprintf("key %x", key)] = string(val)
					return true
				})
			}
			for _, l := range s.Lists {
				content["list "+l.Name] = string(bytes.Join(l.Entries, []byte(",")))
			}
			for _, ch := range s.Channels {
				b, err := c.GetRange(ctx, dir+ch.Path, ch.Offset, ch.Length)
				if err != nil {
					return nil, err
				}
				err = snapshot.DecodeChannel(ch, b, func(batch []byte) error {
					content[fmt.Sprintf("channel %d", ch.FromSubtask)] += string(batch)
					return nil
				})
				if err != nil {
					return nil, err
				}
			}
		}
	}
	return content, nil
}

// damaged is a snapshot, its undamaged objects and content.
type damaged struct {
	t       *testing.T
	mem     *memstore.Memory
	c       *memstore.Client
	objects map[string][]byte
	content map[string]string
}

func newDamaged(t *testing.T) *damaged {
	t.Helper()
	d := &damaged{t: t, objects: map[string][]byte{}}
	d.mem, d.c = everything(t)
	for _, key := range d.mem.Keys() {
		data, _, err := d.c.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		d.objects[key] = bytes.Clone(data)
	}
	r, err := Verify(t.Context(), d.c, dir)
	if err != nil || !r.Whole() || r.Files != len(d.objects) {
		t.Fatalf("the snapshot of %d objects isn't whole: %v, %+v", len(d.objects), err, r)
	}
	if d.content, err = restore(t.Context(), t, d.c); err != nil || len(d.content) < 30 {
		t.Fatalf("restored %d entries: %v", len(d.content), err)
	}
	return d
}

// anywhere stands for an offset when it doesn't matter which bytes are named.
const anywhere = -1

func (d *damaged) keys() []string { return slices.Sorted(maps.Keys(d.objects)) }

// replace puts other bytes in the place of an object and holds against the damage what Verify and a restore say: Verify names the object and bytes
// that contain those from at on; a restore refuses, or didn't need what is damaged.
func (d *damaged) replace(key string, data []byte, at int64, what string) {
	d.t.Helper()
	d.mem.Corrupt(key, func([]byte) []byte { return data })
	defer d.mem.Corrupt(key, func([]byte) []byte { return d.objects[key] })
	r, err := Verify(d.t.Context(), d.c, dir)
	if err != nil {
		d.t.Fatalf("%s of %s: verifying: %v", what, key, err)
	}
	d.named(r, key, at, what)
	d.refused(key, what)
}

func (d *damaged) named(r *Report, key string, at int64, what string) {
	d.t.Helper()
	i := slices.IndexFunc(r.Damages, func(x Damage) bool { return x.Object == key })
	if i < 0 {
		d.t.Fatalf("%s of %s isn't found: %v", what, key, r.Damages)
	}
	for _, x := range r.Damages {
		if x.Object == key && at == anywhere || x.Object == key && x.From <= at && (at < x.To || x.To == 0) {
			return
		}
	}
	d.t.Fatalf("%s of %s at %d is said to be elsewhere: %v", what, key, at, r.Damages)
}

// refused says that a restore refuses the damage and names it as such, or yields what was saved.
func (d *damaged) refused(key, what string) {
	d.t.Helper()
	got, err := restore(d.t.Context(), d.t, d.c)
	if err == nil {
		if diff := cmp.Diff(d.content, got); diff != "" {
			d.t.Fatalf("%s of %s: something else was restored (-want +got):\n%s", what, key, diff)
		}
		if !strings.Contains(key, "/shared/") {
			d.t.Fatalf("%s of %s: it was restored all the same", what, key)
		}
		return
	}
	_, damage := errors.AsType[*snapshot.CorruptError](err)
	_, file := errors.AsType[*state.CorruptError](err)
	if !damage && !file {
		d.t.Fatalf("%s of %s: the restore doesn't call it damage: %v", what, key, err)
	}
}

func TestDamage_EveryFlippedByteIsNamedAndRefused(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	widest := map[string]int64{}
	for _, key := range d.keys() {
		for i := range d.objects[key] {
			bad := bytes.Clone(d.objects[key])
			bad[i] ^= 1 << (i % 8)
			d.replace(key, bad, int64(i), "a flipped byte")
		}
		// The middle of a state file is narrowed down to one section.
		bad := bytes.Clone(d.objects[key])
		bad[len(bad)/2] ^= 1
		d.mem.Corrupt(key, func([]byte) []byte { return bad })
		r, err := Verify(t.Context(), d.c, dir)
		d.mem.Corrupt(key, func([]byte) []byte { return d.objects[key] })
		if err != nil {
			t.Fatal(err)
		}
		widest[key] = r.Damages[0].To - r.Damages[0].From
	}
	for key, n := range widest {
		if strings.Contains(key, "own-") && n > int64(len(d.objects[key]))/2 {
			t.Errorf("damage in the middle of %s is said to be in %d of its %d bytes", key, n, len(d.objects[key]))
		}
	}
}

func TestDamage_EveryTruncationIsNamedAndRefused(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	for _, key := range d.keys() {
		for n := range d.objects[key] {
			at := int64(len(d.objects[key]) - 1)
			if strings.HasSuffix(key, snapshot.ManifestName) {
				at = anywhere // how long it was is in the head
			}
			d.replace(key, d.objects[key][:n:n], at, fmt.Sprintf("cutting to %d bytes", n))
		}
	}
}

func TestDamage_AddedBytesAreNamed(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	for _, key := range d.keys() {
		long := append(bytes.Clone(d.objects[key]), 0)
		d.mem.Corrupt(key, func([]byte) []byte { return long })
		r, err := Verify(t.Context(), d.c, dir)
		if err != nil {
			t.Fatal(err)
		}
		d.named(r, key, int64(len(long)-1), "a byte more")
		d.mem.Corrupt(key, func([]byte) []byte { return d.objects[key] })
	}
}

func TestDamage_MissingFilesAreNamedAndRefused(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	for _, key := range d.keys() {
		if err := d.c.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		r, err := Verify(t.Context(), d.c, dir)
		if strings.HasSuffix(key, snapshot.ManifestName) {
			if !errors.Is(err, storage.ErrNotFound) || !strings.Contains(err.Error(), key) {
				t.Errorf("without %s: got %v", key, err)
			}
		} else if err != nil || len(r.Damages) == 0 || r.Damages[0].Object != key || !strings.Contains(r.Damages[0].String(), "is missing") {
			t.Errorf("without %s: got %v, %+v", key, err, r)
		}
		if _, err := restore(t.Context(), t, d.c); err == nil {
			t.Errorf("restored without %s", key)
		}
		if err := d.c.PutIfAbsent(t.Context(), key, d.objects[key]); err != nil {
			t.Fatal(err)
		}
	}
}

// Files that are whole in themselves but not where they belong.
func TestDamage_ExchangedFilesAreNamedAndRefused(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	other := newDamaged(t)
	for _, key := range d.keys() {
		for _, from := range other.keys() {
			if bytes.Equal(d.objects[key], other.objects[from]) {
				continue
			}
			d.replace(key, other.objects[from], anywhere, "putting "+from+" in the place")
		}
	}
}

// The file of another snapshot of the same size, with the same keys: only the manifest tells them apart.
func TestDamage_AnotherVersionOfAFileIsRefused(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	m, table := backend(t, 0)
	put(table, 0, 0, 30, "u")
	mem := memstore.New("other", nil)
	c := mem.Client(memstore.Options{})
	files(t, m.Seal(), &jobWriter{store: c})
	exchanged := 0
	for _, key := range d.keys() {
		for _, from := range mem.Keys() {
			data, _, err := c.Get(t.Context(), from)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(key, "own-") && len(data) == len(d.objects[key]) && !bytes.Equal(data, d.objects[key]) {
				exchanged++
				d.replace(key, data, anywhere, "putting another version in the place")
			}
		}
	}
	if exchanged == 0 {
		t.Error("no file could be exchanged")
	}
}

// A manifest that is whole but that of another snapshot is told by its checksum in the head.
func TestDamage_ManifestIsTiedToTheHead(t *testing.T) {
	t.Parallel()
	d := newDamaged(t)
	b := d.objects[dir+snapshot.ManifestName]
	m, err := snapshot.DecodeManifest(b)
	if err != nil {
		t.Fatal(err)
	}
	m.Kind = record.Savepoint
	other, err := snapshot.EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	if snapshot.Checksum(b) == snapshot.Checksum(other) {
		t.Error("two manifests have the same checksum")
	}
}
