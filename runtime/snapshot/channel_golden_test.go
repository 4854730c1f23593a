// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/internal/fuzztest"
	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/state"
)

// TestChannel_IsFrozen pins the bytes that docs/formats/channel-state.md describes: they are written and read like this for ever.
func TestChannel_IsFrozen(t *testing.T) {
	t.Parallel()
	const frozen = "57454952464c4f01" + "03000000" + "6f6e65" + "00000000" + "02000000" + "2121"
	s, b := channelSection(0, "one", "", "!!")
	if got := hex.EncodeToString(b); got != frozen {
		t.Errorf("it is written as\n%s, want\n%s", got, frozen)
	}
	old, err := hex.DecodeString(frozen)
	if err != nil {
		t.Fatal(err)
	}
	s.Length, s.CRC32C = int64(len(old)), snapshot.Checksum(old)
	var got []string
	if err := snapshot.DecodeChannel(s, old, func(b []byte) error { got = append(got, string(b)); return nil }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"one", "", "!!"}, got); d != "" {
		t.Errorf("batches (-want +got):\n%s", d)
	}
}

// TestChannel_NewerIsNotDamaged: what is damaged may be left out at a restore, what a newer version wrote may not.
func TestChannel_NewerIsNotDamaged(t *testing.T) {
	t.Parallel()
	for version, newer := range map[byte]bool{0: false, 2: true, 255: true} {
		s, b := channelSection(0, "one")
		b[7] = version
		s.CRC32C = snapshot.Checksum(b)
		err := snapshot.DecodeChannel(s, b, func([]byte) error { return nil })
		_, damaged := errors.AsType[*state.CorruptError](err)
		if err == nil || damaged == newer || newer != strings.Contains(err.Error(), "use the version of Weir that wrote it") {
			t.Errorf("version %d: got %v", version, err)
		}
	}
}

// FuzzDecodeChannel reads parts of any content whose length and checksum fit.
func FuzzDecodeChannel(f *testing.F) {
	_, b := channelSection(0, "one", "", "three")
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add(append(b[:8:8], 0xff, 0xff, 0xff, 0xff))
	bound := fuzztest.Bound{PerByte: 1}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := snapshot.ChannelState{From: "map", Path: "f", Offset: 7, Length: int64(len(b)), CRC32C: snapshot.Checksum(b), Rows: 1}
		total := 0
		var err error
		bound.Check(t, len(b), func() {
			err = snapshot.DecodeChannel(s, b, func(batch []byte) error {
				total += 4 + len(batch)
				return nil
			})
		})
		if total > len(b) {
			t.Fatalf("batches of %d bytes in %d", total, len(b))
		}
		if err == nil && total != len(b)-8 {
			t.Fatalf("%d of %d bytes were taken without an error", total, len(b))
		}
	})
}
