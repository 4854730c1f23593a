// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/internal/fuzztest"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/state"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func testManifest() *Manifest {
	return &Manifest{
		Format: 1, JobID: "4f1c", JobName: "page-views", Checkpoint: 17, Kind: record.Savepoint,
		Stop: record.StopFreeze, Attempt: "3-1-2", CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), MaxParallelism: 128,
		Operators: []OperatorState{
			{Name: "count", Parallelism: 2, Subtasks: []SubtaskState{
				{Index: 0, Keyed: []state.File{
					{Path: "a1", Size: 4096, CRC32C: 0xdeadbeef, FirstGroup: 0, LastGroup: 40},
					{Path: "a2", Size: 100, CRC32C: 7, FirstGroup: 40, LastGroup: 63},
				}},
				{Index: 1, Keyed: []state.File{{Path: "part/b1", Size: 0, FirstGroup: 64, LastGroup: 127}}},
			}},
			{Name: "lines", Parallelism: 2, Subtasks: []SubtaskState{
				{Index: 0, Finished: true},
				{Index: 1, Lists: []operator.List{{Name: "positions", Entries: [][]byte{{1, 2}, {}}}, {Name: "all", Mode: operator.Broadcast}}},
			}},
			{Name: "over", Parallelism: 300, Finished: true},
		},
	}
}

func encode(t *testing.T, m *Manifest) []byte {
	t.Helper()
	b, err := EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestManifest_RoundTrip(t *testing.T) {
	want := testManifest()
	got, err := DecodeManifest(encode(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("manifest differs (-want +got):\n%s", d)
	}
}

func TestManifest_Golden(t *testing.T) {
	file := filepath.Join("testdata", "manifest-1.golden")
	got := encode(t, testManifest())
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
		t.Errorf("the encoding changed; savepoints of users have the old one (-old +new):\n%s", d)
	}
	m, err := DecodeManifest(want)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(testManifest(), m); d != "" {
		t.Errorf("what is read from the golden file differs (-want +got):\n%s", d)
	}
}

func TestEncodeManifest_Sorts(t *testing.T) {
	m := testManifest()
	m.Operators[0], m.Operators[2] = m.Operators[2], m.Operators[0]
	subtasks := m.Operators[2].Subtasks
	subtasks[0], subtasks[1] = subtasks[1], subtasks[0]
	if !bytes.Equal(encode(t, m), encode(t, testManifest())) {
		t.Error("the encoding depends on the order of operators or subtasks")
	}
	if m.Operators[0].Name != "over" || subtasks[0].Index != 1 {
		t.Error("encoding changed the manifest it was given")
	}
}

func TestDecodeManifest_FindsEveryFlippedBit(t *testing.T) {
	good := encode(t, testManifest())
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			_, err := DecodeManifest(bad)
			if _, ok := errors.AsType[*CorruptError](err); !ok {
				t.Fatalf("bit %d of byte %d (%q) flipped: got error %v, want a CorruptError", bit, i, good[i], err)
			}
		}
	}
}

func TestDecodeManifest_FindsEveryTruncation(t *testing.T) {
	good := encode(t, testManifest())
	for n := range good {
		if _, err := DecodeManifest(good[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were accepted", n, len(good))
		}
	}
	if _, err := DecodeManifest(append(bytes.Clone(good), '\n')); err == nil {
		t.Error("a byte too many was accepted")
	}
}

func seal(format int, body string) []byte {
	return fmt.Appendf(nil, headerFormat+"%s", format, manifestSum(format, []byte(body)), len(body), body)
}

func TestDecodeManifest_Refuses(t *testing.T) {
	body := string(encode(t, testManifest()))
	body = body[strings.IndexByte(body, '\n')+1:]
	for name, tc := range map[string]struct {
		in   []byte
		want string
	}{
		"nothing":           {nil, "doesn't begin with the header"},
		"another file":      {[]byte("hello\nworld"), "its header is not that of a manifest"},
		"newer format":      {seal(3, `{"new":1}`), "use the version of Weir that wrote it"},
		"format zero":       {seal(0, body), "names format 0"},
		"unknown field":     {seal(1, `{"x":1,`+body[1:]), "unknown field"},
		"two values":        {seal(1, body+"{}"), "something follows"},
		"format too old":    {seal(1, strings.Replace(body, `"path":"a1"`, `"path":"../../shared/a1","shared":true`, 1)), "takes format 2"},
		"format disagrees":  {seal(1, strings.Replace(body, `"format":1`, `"format":3`, 1)), "disagree about the format"},
		"path up":           {seal(1, strings.Replace(body, `"a1"`, `"../a1"`, 1)), "not a clean path"},
		"operator unsorted": {seal(1, strings.Replace(body, `"count"`, `"zcount"`, 1)), "out of order"},
		"header with space": {bytes.Replace(seal(1, body), []byte(" 1 "), []byte("  1 "), 1), "exact form"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeManifest(tc.in)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestEncodeManifest_RefusesInvalid(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(m *Manifest)
		want   string
	}{
		"no job":                     {func(m *Manifest) { m.JobID = "" }, "job id is missing"},
		"id zero":                    {func(m *Manifest) { m.Checkpoint = 0 }, "must be 1 or more"},
		"kind":                       {func(m *Manifest) { m.Kind = 9 }, "kind of snapshot"},
		"stop mode":                  {func(m *Manifest) { m.Stop = 9 }, "stop mode"},
		"groups":                     {func(m *Manifest) { m.MaxParallelism = MaxKeyGroups + 1 }, "max parallelism"},
		"same operator":              {func(m *Manifest) { m.Operators[1].Name = "count" }, "the same"},
		"no name":                    {func(m *Manifest) { m.Operators[0].Name = "" }, "its name has 0 bytes"},
		"parallelism":                {func(m *Manifest) { m.Operators[2].Parallelism = 0 }, "its parallelism is 0"},
		"too many subtasks":          {func(m *Manifest) { m.Operators[0].Parallelism = 1 }, "2 subtasks at parallelism 1"},
		"subtask outside":            {func(m *Manifest) { m.Operators[1].Subtasks[1].Index = 2 }, "outside of parallelism"},
		"same subtask":               {func(m *Manifest) { m.Operators[1].Subtasks[1].Index = 0 }, "the same"},
		"same file":                  {func(m *Manifest) { m.Operators[0].Subtasks[0].Keyed[1].Path = "a1" }, "more than once"},
		"group outside":              {func(m *Manifest) { m.Operators[0].Subtasks[0].Keyed[1].LastGroup = 64 }, "outside of those of the subtask"},
		"negative size":              {func(m *Manifest) { m.Operators[0].Subtasks[0].Keyed[1].Size = -1 }, "has size -1"},
		"absolute path":              {func(m *Manifest) { m.Operators[0].Subtasks[0].Keyed[1].Path = "/a" }, "not a clean path"},
		"list mode":                  {func(m *Manifest) { m.Operators[1].Subtasks[1].Lists[0].Mode = 7 }, "unknown mode"},
		"same list":                  {func(m *Manifest) { m.Operators[1].Subtasks[1].Lists[0].Name = "all" }, "more than once"},
		"list without name":          {func(m *Manifest) { m.Operators[1].Subtasks[1].Lists[0].Name = "" }, "name of a list"},
		"keyed above maxParallelism": {func(m *Manifest) { m.Operators[0].Parallelism = 129 }, "above max parallelism"},
	} {
		t.Run(name, func(t *testing.T) {
			m := testManifest()
			tc.change(m)
			_, err := EncodeManifest(m)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestManifest_FilesAndSize(t *testing.T) {
	m := testManifest()
	var got []string
	for _, f := range m.Files() {
		got = append(got, fmt.Sprintf("%s/%d %s", f.Operator, f.Subtask, f.Path))
	}
	if d := cmp.Diff([]string{"count/0 a1", "count/0 a2", "count/1 part/b1"}, got); d != "" {
		t.Errorf("files differ (-want +got):\n%s", d)
	}
	if m.Size() != 4196 {
		t.Errorf("size is %d, want 4196", m.Size())
	}
	if m.StateSize() != 4198 {
		t.Errorf("with lists it is %d, want 4198", m.StateSize())
	}
	for i, want := range []bool{false, false, true} {
		if got := m.Operators[i].Empty(); got != want {
			t.Errorf("operator %s: empty is %v, want %v", m.Operators[i].Name, got, want)
		}
	}
}

func FuzzDecodeManifest(f *testing.F) {
	b, err := EncodeManifest(testManifest())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[bytes.IndexByte(b, '\n')+1:], true)
	f.Add(b, false)
	two, err := EncodeManifest(testManifest2())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(two, false)
	f.Add(two[bytes.IndexByte(two, '\n')+1:], true)
	f.Add([]byte(`{"format":1,"jobID":"x","checkpoint":1,"maxParallelism":1,"operators":[{"name":"a","parallelism":1}]}`), true)
	bound := fuzztest.Bound{Fixed: 1 << 20, PerByte: 300}
	f.Fuzz(func(t *testing.T, b []byte, addHeader bool) {
		if addHeader {
			b = seal(1+len(b)%2, string(b))
		}
		var m *Manifest
		var err error
		bound.Check(t, len(b), func() { m, err = DecodeManifest(b) })
		if err != nil {
			if err.Error() == "" || len(err.Error()) > 20<<10 {
				t.Fatalf("the error has %d bytes", len(err.Error()))
			}
			return
		}
		once := encode(t, m)
		again, err := DecodeManifest(once)
		if err != nil {
			t.Fatal(err)
		}
		if twice := encode(t, again); !bytes.Equal(once, twice) {
			t.Errorf("the encoding isn't stable:\n%s\n%s", once, twice)
		}
	})
}
