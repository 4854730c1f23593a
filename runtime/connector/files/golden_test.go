// SPDX-License-Identifier: Apache-2.0

package files

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/operator/operatortest"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/open"
)

// place stands in golden files for the directory of the test.
const place = "/the/directory"

// moved returns lists with one directory in the place of another, and entries in the order of their bytes: sources write them in any order.
func moved(lists []operator.List, from, to string) []operator.List {
	out := make([]operator.List, len(lists))
	for i, l := range lists {
		out[i] = l
		out[i].Entries = nil
		for _, e := range l.Entries {
			out[i].Entries = append(out[i].Entries, bytes.ReplaceAll(e, []byte(from), []byte(to)))
		}
		slices.SortFunc(out[i].Entries, bytes.Compare)
	}
	return out
}

// numbered returns the lines "<prefix>0" to "<prefix><n-1>".
func numbered(prefix string, n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return lines
}

// TestSourceState_IsFrozen pins what docs/formats/connectors.md says of the files source: state that an earlier version has written is read, files are recognized by
// it, reading goes on where it was, and the same state is written again.
func TestSourceState_IsFrozen(t *testing.T) {
	modified := time.Unix(1_700_000_000, 123456789)
	tests := map[string]struct {
		golden     string
		continuous *contract.Continuous
		// rest is what comes after the state.
		rest []string
	}{
		"bounded":    {"source-bounded-1.golden", nil, append(numbered("b", 150)[100:], "c0")},
		"continuous": {"source-continuous-1.golden", &contract.Continuous{}, append(append(numbered("b", 150)[100:], "c0"), "later")},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			a := strings.Join(numbered("a", 400), "\n") + "\n"
			if tc.continuous != nil {
				a += "half a line"
			}
			for name, content := range map[string]string{"a.txt": a, "b.txt": strings.Join(numbered("b", 150), "\n") + "\n", "sub/c.txt": "c0\n"} {
				write(t, filepath.Join(dir, name), content)
				if err := os.Chtimes(filepath.Join(dir, name), modified, modified); err != nil {
					t.Fatal(err)
				}
			}
			f := newFleet(t, contract.FilesSource{Path: dir, Continuous: tc.continuous})
			f.mustStart(1, nil)
			for len(f.rows) < 500 { // the decoder takes 100 lines at once
				if _, err := f.poll(0); err != nil {
					t.Fatal(err)
				}
			}
			operatortest.Golden(t, tc.golden, moved(f.snapshot(1), dir, place))
			f.close()
			f.rows = nil

			f.mustStart(1, moved(operatortest.Read(t, tc.golden), place, dir))
			operatortest.Golden(t, tc.golden, moved(f.snapshot(2), dir, place))
			f.close()

			write(t, filepath.Join(dir, "new.txt"), "later\n") // counts only if the set of files isn't fixed
			f.mustStart(2, moved(operatortest.Read(t, tc.golden), place, dir))
			if err := f.drain(); err != nil {
				t.Fatal(err)
			}
			f.want(tc.rest...)
			f.close()
		})
	}
}

// TestSourceState_RecognizesOverwrittenFiles has the hashes of the golden file meet other bytes.
func TestSourceState_RecognizesOverwrittenFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.txt"), "other\n")
	write(t, filepath.Join(dir, "b.txt"), strings.Repeat("x", 1000))
	write(t, filepath.Join(dir, "sub/c.txt"), "c0\n")
	f := newFleet(t, contract.FilesSource{Path: dir})
	f.mustStart(1, moved(operatortest.Read(t, "source-bounded-1.golden"), place, dir))
	defer f.close()
	wantError(t, f.drain(), "b.txt", "it was overwritten: 390 bytes of it were read before")
}

// random is the random part of the names of a sink.
var random = regexp.MustCompile(`-[A-Z2-7]{8}([."])`)

// TestSinkState_IsFrozen pins the handles that docs/formats/connectors.md describes: what an earlier version has staged is committed, and handles are
// written the same way.
func TestSinkState_IsFrozen(t *testing.T) {
	const golden = "sink-1.golden"
	dir := t.TempDir()
	s, ok := Sink(Output{Path: dir, Suffix: ".txt"}, appendInt)().(*sink)
	if !ok {
		t.Fatal("no sink")
	}
	if err := s.Open(t.Context(), sinkContext("the sink", "3-1-2", nil)); err != nil {
		t.Fatal(err)
	}
	b := intRows.Get()
	b.Values = append(b.Values, 1, 22)
	if _, err := s.Process(0, b); err != nil {
		t.Fatal(err)
	}
	b.Release()
	written := moved(operatortest.Snapshot(t, s, 7), dir, place)
	for _, e := range written[0].Entries {
		copy(e, random.ReplaceAll(e, []byte("-RANDOMAB$1")))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	operatortest.Golden(t, golden, written)

	dir = t.TempDir()
	const staged = "_staging/job-id/the%20sink/3-1-2/0-1-RANDOMAB"
	write(t, filepath.Join(dir, staged), "1\n22\n")
	restored := sinkContext("the sink", "4-1-1", moved(operatortest.Read(t, golden), place, dir))
	restored.RestoredFrom = 7
	s = Sink(Output{Path: dir, Suffix: ".txt"}, appendInt)().(*sink) // as above
	if err := s.Open(t.Context(), restored); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	got, err := os.ReadFile(filepath.Join(dir, "part-the%20sink-job-id-00000007-0-1-RANDOMAB.txt"))
	if err != nil || string(got) != "1\n22\n" {
		t.Errorf("committed: %q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, staged)); !os.IsNotExist(err) {
		t.Errorf("what is committed is staged still: %v", err)
	}
}

// TestSinkState_AddressesAreFrozen reads the addresses of stores in handles.
func TestSinkState_AddressesAreFrozen(t *testing.T) {
	tests := map[string]struct {
		address string
		want    storage.Config
	}{
		"directory": {"/the/directory", storage.Config{File: &storage.FileConfig{Dir: "/the/directory"}}},
		"bucket":    {"s3://parts/of/it", storage.Config{S3: &storage.S3Config{Bucket: "parts", Prefix: "of/it"}}},
		"bucket elsewhere": {
			"s3://parts/?endpoint=https%3A%2F%2Fs3.example.com%3A7070&region=eu-north-1",
			storage.Config{S3: &storage.S3Config{Bucket: "parts", Endpoint: "https://s3.example.com:7070", Region: "eu-north-1"}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var e entry
			if err := json.Unmarshal(fmt.Appendf(nil, `{"job":"j","store":%q,"staged":"s","final":"f","size":1}`, tc.address), &e); err != nil {
				t.Fatal(err)
			}
			got, err := open.Parse(e.Store)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("read (-want +got):\n%s", d)
			}
			if back, err := address(tc.want); err != nil || back != tc.address {
				t.Errorf("written as %s, %v, want %s", back, err, tc.address)
			}
		})
	}
}

// TestDeadLetterState_IsFrozen pins that a source keeps the handles of its dead letters beside its positions.
func TestDeadLetterState_IsFrozen(t *testing.T) {
	const golden = "dead-letters-1.golden"
	in, dead := t.TempDir(), t.TempDir()
	write(t, filepath.Join(in, "a.txt"), "BAD\n")
	spec := contract.FilesSource{Path: in, OnMalformed: string(deadLetter), DeadLetterPath: dead}
	f := newFleet(t, spec)
	f.mustStart(1, nil)
	if err := f.drain(); err != nil {
		t.Fatal(err)
	}
	lists := f.snapshot(7)
	f.close()
	written := moved(lists[len(lists)-1:], dead, place)
	for i, e := range written[0].Entries { // a dead letter names the file with its directory
		e = regexp.MustCompile(`"size":[1-9][0-9]+`).ReplaceAll(e, []byte(`"size":119`))
		written[0].Entries[i] = random.ReplaceAll(e, []byte("-RANDOMAB$1"))
	}
	operatortest.Golden(t, golden, written)

	dead = t.TempDir()
	const line = `{"file":"a.txt"}` + "\n"
	write(t, filepath.Join(dead, "_staging/job-id/in/1/0-1-RANDOMAB"), line)
	f = newFleet(t, contract.FilesSource{Path: in, OnMalformed: string(deadLetter), DeadLetterPath: dead})
	f.attempt = 1
	f.mustStart(1, append(lists[:len(lists)-1:len(lists)-1], moved(operatortest.Read(t, golden), place, dead)...))
	defer f.close()
	names, err := filepath.Glob(filepath.Join(dead, "part-in-job-id-00000007-0-1-RANDOMAB*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("committed are %v, %v", names, err)
	}
	if got, err := os.ReadFile(names[0]); err != nil || string(got) != line {
		t.Errorf("committed: %q, %v", got, err)
	}
}
