// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

func channelSection(offset int64, batches ...string) (snapshot.ChannelState, []byte) {
	b := snapshot.AppendChannelHeader(nil)
	for _, s := range batches {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return snapshot.ChannelState{
		From: "map", FromSubtask: 1, Type: "rows[int64]", Path: "f", Offset: offset, Length: int64(len(b)), CRC32C: snapshot.Checksum(b), Rows: 1,
	}, b
}

func TestDecodeChannel_FindsEveryDamagedByte(t *testing.T) {
	t.Parallel()
	s, b := channelSection(100, "one", "", "three")
	var got []string
	err := snapshot.DecodeChannel(s, b, func(enc []byte) error {
		got = append(got, string(enc))
		return nil
	})
	if diff := cmp.Diff([]string{"one", "", "three"}, got); err != nil || diff != "" {
		t.Fatalf("decoding: %v; batches (-want +got):\n%s", err, diff)
	}
	for i := range b {
		b[i] ^= 0x10
		err := snapshot.DecodeChannel(s, b, func([]byte) error { return nil })
		if c, ok := errors.AsType[*state.CorruptError](err); !ok || c.Path != "f" || c.Offset != 100 {
			t.Fatalf("byte %d: got %v, want an error that names file and offset", i, err)
		}
		b[i] ^= 0x10
	}
	for n := range b {
		if err := snapshot.DecodeChannel(s, b[:n], func([]byte) error { return nil }); err == nil {
			t.Fatalf("cut after %d bytes: no error", n)
		}
	}
}

func TestManifest_ValidatesChannelState(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(a, b *snapshot.ChannelState)
		want   string
	}{
		"whole":         {func(*snapshot.ChannelState, *snapshot.ChannelState) {}, ""},
		"a gap":         {func(_, b *snapshot.ChannelState) { b.Offset++ }, "sections must follow each other"},
		"an overlap":    {func(a, _ *snapshot.ChannelState) { a.Length++ }, "sections must follow each other"},
		"not from 0":    {func(a, _ *snapshot.ChannelState) { a.Path = "x" }, "sections must follow each other"},
		"upwards":       {func(a, _ *snapshot.ChannelState) { a.Path = "../f" }, "not a clean path"},
		"no producer":   {func(a, _ *snapshot.ChannelState) { a.From = "" }, "producer"},
		"no type":       {func(a, _ *snapshot.ChannelState) { a.Type = "" }, "type"},
		"no rows":       {func(a, _ *snapshot.ChannelState) { a.Rows = 0 }, "impossible"},
		"a state file":  {func(a, b *snapshot.ChannelState) { a.Path, b.Path = "k", "k" }, "listed as another one"},
		"no such bytes": {func(a, _ *snapshot.ChannelState) { a.Length = 3 }, "3 bytes at 0"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _ := channelSection(0, "one")
			b, _ := channelSection(a.Length, "two")
			tc.change(&a, &b)
			m := &snapshot.Manifest{JobID: "j", Checkpoint: 1, MaxParallelism: 128, Operators: []snapshot.OperatorState{{
				Name: "op", Parallelism: 1, Subtasks: []snapshot.SubtaskState{{
					Channels: []snapshot.ChannelState{a, b}, Keyed: []state.File{{Path: "k", LastGroup: 3}},
				}},
			}}}
			err := m.Validate()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if err != nil {
				return
			}
			if got := m.Size(); got != a.Length+b.Length {
				t.Errorf("size %d, want %d", got, a.Length+b.Length)
			}
			if m.Operators[0].Empty() {
				t.Error("an operator with channel state counts as empty")
			}
		})
	}
}

// TestChannel_Golden pins the bytes that docs/formats/channel-state.md describes: later versions must be able to read them.
func TestChannel_Golden(t *testing.T) {
	t.Parallel()
	ints := record.NewRowType(record.MustCoderOf[int64]())
	hashed, plain := ints.Get(), ints.Get()
	hashed.Values, hashed.Keys = append(hashed.Values, 1, -2), append(hashed.Keys, 3, 4)
	plain.Values = append(plain.Values, 5)
	var file []byte
	var sections []snapshot.ChannelState
	for i, batches := range [][]*record.Rows[int64]{{hashed, plain}, {plain}} {
		at := len(file)
		file = snapshot.AppendChannelHeader(file)
		rows := int64(0)
		for _, b := range batches {
			enc, err := ints.AppendBatch(nil, b)
			if err != nil {
				t.Fatal(err)
			}
			file = binary.LittleEndian.AppendUint32(file, uint32(len(enc)))
			file = append(file, enc...)
			rows += int64(b.Len())
		}
		sections = append(sections, snapshot.ChannelState{
			From: "map", FromSubtask: i, Type: ints.Name(), Path: "f", Offset: int64(at), Length: int64(len(file) - at),
			CRC32C: snapshot.Checksum(file[at:]), Rows: rows,
		})
	}
	data, err := os.ReadFile("testdata/channel-1.hex")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join(strings.Fields(string(data)), "")
	if diff := cmp.Diff(want, hex.EncodeToString(file)); diff != "" {
		t.Fatalf("bytes of the file (-want +got):\n%s", diff)
	}
	old, err := hex.DecodeString(want)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range sections {
		err := snapshot.DecodeChannel(s, old[s.Offset:s.Offset+s.Length], func(enc []byte) error {
			b, err := ints.DecodeBatch(enc)
			if err == nil {
				r := b.(*record.Rows[int64])
				got = append(got, fmt.Sprint(r.Values, r.Hashes()))
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"[1 -2] [3 4]", "[5] []", "[5] []"}, got); diff != "" {
		t.Errorf("batches (-want +got):\n%s", diff)
	}
}
