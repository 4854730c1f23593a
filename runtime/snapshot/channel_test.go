// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
