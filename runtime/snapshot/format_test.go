// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

// testManifest2 has what format 2 adds: shared files, an index of them, and channel state.
func testManifest2() *Manifest {
	m := testManifest()
	m.Format, m.Kind, m.Stop = 2, record.Checkpoint, record.StopNone
	m.Operators[1].Subtasks[1].Lists[0].Type = "int64"
	m.Operators[0].Subtasks[1] = SubtaskState{
		Index: 1,
		Keyed: []state.File{
			{Path: "i1", Size: 300, CRC32C: 5, FirstGroup: 64, LastGroup: 127, Index: true},
			{Path: SharedPrefix + "s1", Size: 9000, CRC32C: 6, FirstGroup: 64, LastGroup: 100, Shared: true},
		},
		Channels: []ChannelState{
			{From: "lines", FromSubtask: 0, Hashed: true, Type: "rows[int64]", Path: "c1", Length: 40, CRC32C: 8, Rows: 3},
			{From: "lines", FromSubtask: 1, Input: 1, Type: "rows[int64]", Path: "c1", Offset: 40, Length: 24, CRC32C: 9, Rows: 1},
		},
	}
	return m
}

// testHead1 has every field that format 1 has.
func testHead1() Head {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	return Head{
		Format: 1, Seq: 7, Owner: "o1", Epoch: Epoch{Grant: 2, N: 3}, JobID: "4f1c", ReservedUntil: 100,
		Restarts: RestartCounters{Total: 4, Streak: 1, LastFailure: at, LastDelay: time.Second, Failures: []time.Time{at}},
		Checkpoints: []CompletedCheckpoint{
			{ID: 4, Path: "c/chk-4/", ManifestCRC32C: 0xcafe, ManifestSize: 700, Size: 5000, CompletedAt: at},
			{ID: 9, Path: "c/chk-9/", ManifestCRC32C: 1, ManifestSize: 701, Size: 5001, SinksMayHaveCommitted: true, CompletedAt: at},
		},
		Operations: []Operation{
			{ID: "sp", Type: OperationSavepoint, Outcome: OutcomeDone, Checkpoint: 8, Path: "s/", ManifestCRC32C: 2, ManifestSize: 3, Size: 4, At: at},
			{ID: "no", Type: OperationStop, Outcome: OutcomeFailed, Stop: record.StopDrain, Error: "declined", At: at},
		},
		Origin: &Origin{Path: "old/", Checkpoint: 3}, NamedState: true, Final: &Final{State: FinalFailed, Error: "broken", At: at},
		Restores:        []Restore{{Attempt: "2-3-1", Checkpoint: 4, Path: "c/chk-4/", At: at}, {Attempt: "1-1-1", Empty: true, At: at}},
		RestoresDropped: 5, EmptyDropped: 1,
	}
}

// testHead2 has what format 2 adds.
func testHead2() Head {
	h := testHead1()
	h.Format = 2
	h.Checkpoints[1].Shared = true
	h.Operations = append(h.Operations, Operation{
		ID: "stop", Type: OperationStop, Outcome: OutcomeStopFailed, Checkpoint: 10, Path: "s10/", Stop: record.StopFreeze, SinksMayHaveCommitted: true, At: h.Final.At,
	})
	h.Restores = append(h.Restores, Restore{
		Attempt: "2-3-2", Regions: []string{"in"}, Checkpoint: 4, Path: "c/chk-4/", At: h.Final.At,
		LeftOut: []LeftOut{{Checkpoint: 9, Path: "c/chk-9/", Reason: "damaged"}},
	})
	return h
}

// testHead3 has what format 3 adds.
func testHead3() Head {
	h := testHead2()
	h.Format = 3
	h.Checkpoints[1].SourcesMayHaveTrimmed = true
	h.Operations[2].SourcesMayHaveTrimmed, h.Operations[2].Role = true, RoleLeftBehind
	h.Origin.Claim = Released
	h.CommittedUpTo, h.TrimmedUpTo = 12, 13
	return h
}

// golden holds bytes against a file of this version, which later versions must go on reading, and returns what the file has.
func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("the encoding changed; users have the old one (-old +new):\n%s", d)
	}
	return want
}

func TestManifest2_Golden(t *testing.T) {
	t.Parallel()
	m, err := DecodeManifest(golden(t, "manifest-2.golden", encode(t, testManifest2())))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(testManifest2(), m); d != "" {
		t.Errorf("what is read from the golden file differs (-want +got):\n%s", d)
	}
}

func TestHead_Goldens(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Head{"head-1.golden": testHead1(), "head-2.golden": testHead2(), "head-3.golden": testHead3()} {
		b, err := EncodeHead(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeHead(golden(t, name, b))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("what is read from %s differs (-want +got):\n%s", name, d)
		}
	}
}

// A head is written in format 3 only if it holds something of it, so that the version before can take over a job that uses nothing new.
func TestEncodeHead_TakesTheOldestFormatThatFits(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		add  func(*Head)
		want int
	}{
		"nothing of it":           {func(*Head) {}, 1},
		"a claimed origin":        {func(h *Head) { h.Origin.Claim = Claimed }, 3},
		"a source that trims":     {func(h *Head) { h.Checkpoints[0].SourcesMayHaveTrimmed = true }, 3},
		"one with a savepoint":    {func(h *Head) { h.Operations[0].SourcesMayHaveTrimmed = true }, 3},
		"a savepoint gone back":   {func(h *Head) { h.Operations[0].Role = RoleRewound }, 3},
		"a commit beyond":         {func(h *Head) { h.CommittedUpTo = 10 }, 3},
		"a trim beyond":           {func(h *Head) { h.TrimmedUpTo = 10 }, 3},
		"a commit that is named":  {func(h *Head) { h.Remember(&Head{CommittedUpTo: 9}) }, 1},
		"a commit that is newer":  {func(h *Head) { h.Remember(&Head{CommittedUpTo: 11}) }, 3},
		"a trim that is newer":    {func(h *Head) { h.Remember(&Head{TrimmedUpTo: 1}) }, 3},
		"shared files, format 2":  {func(h *Head) { h.Checkpoints[0].Shared = true }, 2},
		"a savepoint outlived":    {func(h *Head) { h.Operations[0].Role = RoleOutlived }, 3},
		"an operation left aside": {func(h *Head) { h.Operations[1].Role = RoleLeftBehind }, 3},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := testHead1()
			tc.add(&h)
			b, err := EncodeHead(h)
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeHead(b)
			if err != nil || got.Format != tc.want {
				t.Errorf("format %d, %v; want %d", got.Format, err, tc.want)
			}
		})
	}
	for name, bad := range map[string]func(*Head){
		"role": func(h *Head) { h.Operations[0].Role = "Other" }, "claim": func(h *Head) { h.Origin.Claim = "Other" },
	} {
		h := testHead1()
		bad(&h)
		if _, err := EncodeHead(h); err == nil || !strings.Contains(err.Error(), "unknown "+name) {
			t.Errorf("an unknown %s: %v", name, err)
		}
	}
}

// Format 1 doesn't say whether sinks can have committed with the savepoint of a stop: they may have.
func TestDecodeHead_OfFormat1AssumesTheWorst(t *testing.T) {
	t.Parallel()
	h := testHead1()
	h.Operations = append(h.Operations, Operation{ID: "stop", Type: OperationStop, Outcome: OutcomeStopping, Checkpoint: 10, Path: "s10/", At: h.Final.At})
	got, err := DecodeHead(headOf(t, h, 1))
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := got.Operation("stop"); !o.SinksMayHaveCommitted {
		t.Error("a fall-back could go behind a stop that may have committed")
	}
	h.Operations[2].SinksMayHaveCommitted = true
	if _, err := DecodeHead(headOf(t, h, 1)); err == nil || !strings.Contains(err.Error(), "takes format 2") {
		t.Errorf("a head of format 1 with what format 1 doesn't have: %v", err)
	}
}

// headOf encodes a head, and says that it has some format.
func headOf(t *testing.T, h Head, format int) []byte {
	t.Helper()
	b, err := EncodeHead(h)
	if err != nil {
		t.Fatal(err)
	}
	var env headEnvelope
	if err := strict(b, &env); err != nil {
		t.Fatal(err)
	}
	inner := strings.Replace(string(env.Head), `"format":2`, `"format":1`, 1)
	if format != 1 {
		t.Fatal("only to format 1")
	}
	return []byte(`{"checksum":"` + hex8(Checksum([]byte(inner))) + `","head":` + inner + "}\n")
}

func hex8(v uint32) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 8)
	for i := range b {
		b[i] = digits[v>>(28-4*i)&15]
	}
	return string(b)
}

// Every field that isn't zero in the examples above is one that a format knows. A new field belongs into the example of a new format, and makes it needed.
func TestFormats_KnowEveryField(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	note(reflect.ValueOf(testHead3()), "head", seen)
	note(reflect.ValueOf(testManifest()), "manifest", seen)
	note(reflect.ValueOf(testManifest2()), "manifest", seen)
	for field, set := range seen {
		if !set && !strings.HasSuffix(field, ".Reused") { // which no manifest has
			t.Errorf("%s is in no example: does an older reader know it?", field)
		}
	}
}

// note records of each field whether it is set in some value.
func note(v reflect.Value, path string, seen map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			note(v.Elem(), path, seen)
		}
	case reflect.Slice:
		for i := range v.Len() {
			note(v.Index(i), path, seen)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			p := path + "." + v.Type().Field(i).Name
			seen[p] = seen[p] || !v.Field(i).IsZero()
			note(v.Field(i), p, seen)
		}
	}
}
