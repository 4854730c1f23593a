// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-stream/weir/runtime/connector/format"
	"github.com/weir-stream/weir/runtime/contract"
	"github.com/weir-stream/weir/runtime/operator"
	"github.com/weir-stream/weir/runtime/record"
	"github.com/weir-stream/weir/runtime/task"
)

var textRows = record.NewRowType(record.MustCoderOf[string]())

// testDecoder makes rows of lines; those that begin with BAD are malformed.
type testDecoder struct{ rows *record.Rows[string] }

func newTestDecoder() format.Decoder { return &testDecoder{rows: textRows.Get()} }

func (d *testDecoder) Append(line []byte) error {
	if strings.HasPrefix(string(line), "BAD") {
		return &format.MalformedError{Offset: 3, Reason: "it is bad"}
	}
	d.rows.Values = append(d.rows.Values, string(line))
	return nil
}
func (d *testDecoder) Len() int   { return len(d.rows.Values) }
func (d *testDecoder) Full() bool { return len(d.rows.Values) >= 100 }
func (d *testDecoder) Take() record.Batch {
	b := d.rows
	d.rows = textRows.Get()
	return b
}

// fleet is the sources of all subtasks.
type fleet struct {
	t        *testing.T
	spec     contract.FilesSource
	conn     Connectors
	sources  []operator.Source
	wakes    []chan struct{}
	counters *operator.Counters
	rows     []string
	ended    []bool
	attempt  int
	// checkpointed is whether the sources are told that snapshots are taken.
	checkpointed bool
}

func newFleet(t *testing.T, spec contract.FilesSource) *fleet {
	t.Helper()
	return &fleet{
		t: t, spec: spec, counters: &operator.Counters{},
		conn: Connectors{Job: contract.JobConfig{Checkpointing: &contract.Checkpointing{}}}, checkpointed: true,
	}
}

func (f *fleet) start(parallelism int, lists []operator.List) error {
	f.t.Helper()
	newSource, err := f.conn.FilesSource("in", &f.spec, newTestDecoder)
	if err != nil {
		f.t.Fatal(err)
	}
	f.attempt++
	f.sources, f.wakes, f.ended = nil, nil, make([]bool, parallelism)
	for i := range parallelism {
		wake := make(chan struct{}, 1)
		c := &operator.Context{
			JobID: "job-id", Name: "in", Subtask: i, Parallelism: parallelism, Attempt: fmt.Sprint(f.attempt), Restored: lists,
			Checkpointed: f.checkpointed, Now: time.Now, Log: logr.Discard(), Counters: f.counters,
			Wake: func() {
				select {
				case wake <- struct{}{}:
				default:
				}
			},
		}
		s := newSource()
		f.sources, f.wakes = append(f.sources, s), append(f.wakes, wake)
		if err := s.Open(f.t.Context(), c); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) mustStart(parallelism int, lists []operator.List) {
	f.t.Helper()
	if err := f.start(parallelism, lists); err != nil {
		f.t.Fatal(err)
	}
}

// poll polls one source once.
func (f *fleet) poll(i int) (operator.PollState, error) {
	p, err := f.sources[i].Poll()
	if err != nil {
		return operator.End, err
	}
	f.take(i, p)
	return p.State, nil
}

func (f *fleet) take(i int, p operator.Polled) {
	if p.Batch != nil {
		f.rows = append(f.rows, p.Batch.(*record.Rows[string]).Values...)
	}
	f.ended[i] = p.State == operator.End
}

// drain polls until every source ended, or says that it is idle.
func (f *fleet) drain() error {
	for i := range f.sources {
		for !f.ended[i] {
			p, err := f.sources[i].Poll()
			if err != nil {
				return err
			}
			f.take(i, p)
			if p.State != operator.Wait {
				continue
			}
			if p.Idle {
				break
			}
			<-f.wakes[i]
		}
	}
	return nil
}

// snapshot takes a snapshot of all.
func (f *fleet) snapshot(id int64) []operator.List {
	f.t.Helper()
	var all []operator.List
	for _, s := range f.sources {
		async, err := s.(operator.Stateful).Snapshot(record.Barrier{Checkpoint: id})
		if err != nil {
			f.t.Fatal(err)
		}
		lists, err := async(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		for _, l := range lists {
			i := slices.IndexFunc(all, func(o operator.List) bool { return o.Name == l.Name })
			if l.Mode != operator.Union {
				f.t.Fatal("every subtask must get all")
			}
			if i < 0 {
				all = append(all, l)
				continue
			}
			all[i].Entries = append(all[i].Entries, l.Entries...)
		}
	}
	return all
}

func (f *fleet) close() {
	f.t.Helper()
	for _, s := range f.sources {
		if err := s.Close(); err != nil {
			f.t.Error(err)
		}
	}
}

// want holds the rows against lines, in any order, and forgets them.
func (f *fleet) want(lines ...string) {
	f.t.Helper()
	slices.Sort(f.rows)
	slices.Sort(lines)
	if d := cmp.Diff(lines, f.rows); d != "" {
		f.t.Fatalf("rows differ (-want +got):\n%s", d)
	}
	f.rows = nil
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, name, content string) {
	t.Helper()
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	write(t, name, string(before)+content)
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
}

func TestSource_Paths(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"a.txt", "b.log", "sub/c.txt", "sub/deep/d.txt", ".hidden", "_staging/job/x.txt", ".weir-tmp/y.txt"} {
		write(t, filepath.Join(dir, n), n+"\n")
	}
	for name, tc := range map[string]struct {
		path string
		want []string
	}{
		"directory":     {dir, []string{"a.txt", "b.log", "sub/c.txt", "sub/deep/d.txt", ".hidden"}},
		"file":          {dir + "/sub/c.txt", []string{"sub/c.txt"}},
		"file URL":      {"file://" + dir + "/a.txt", []string{"a.txt"}},
		"star":          {dir + "/*.txt", []string{"a.txt"}},
		"any depth":     {dir + "/**/*.txt", []string{"a.txt", "sub/c.txt", "sub/deep/d.txt"}},
		"segment":       {dir + "/s?b/*.txt", []string{"sub/c.txt"}},
		"star in a dir": {dir + "/*/deep/*", []string{"sub/deep/d.txt"}},
		"nothing":       {dir + "/*.csv", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, contract.FilesSource{Path: tc.path})
			f.mustStart(3, nil)
			defer f.close()
			if err := f.drain(); err != nil {
				t.Fatal(err)
			}
			f.want(tc.want...)
		})
	}
}

func TestSource_Lines(t *testing.T) {
	long := strings.Repeat("x", 3*localChunk)
	for name, tc := range map[string]struct {
		content string
		want    []string
	}{
		"empty":              {"", nil},
		"no line end":        {"a\nb", []string{"a", "b"}},
		"carriage returns":   {"a\r\nb\r\n", []string{"a", "b"}},
		"empty lines":        {"\n\na\n", []string{"", "", "a"}},
		"longer than chunks": {"a\n" + long + "\nb\n" + long, []string{"a", long, "b", long}},
		"chunk ends at line": {strings.Repeat("x", localChunk-1) + "\n" + "b\n", []string{strings.Repeat("x", localChunk-1), "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir+"/f", tc.content)
			f := newFleet(t, contract.FilesSource{Path: dir})
			f.mustStart(1, nil)
			defer f.close()
			if err := f.drain(); err != nil {
				t.Fatal(err)
			}
			f.want(tc.want...)
		})
	}
}

func TestSource_TooLongLine(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/big", "ok\n"+strings.Repeat("x", maxLine+1))
	f := newFleet(t, contract.FilesSource{Path: dir})
	f.mustStart(1, nil)
	defer f.close()
	wantError(t, f.drain(), dir+"/big", "the line at byte 3 is longer than 16 MiB")
}

func TestSource_MissingPath(t *testing.T) {
	f := newFleet(t, contract.FilesSource{Path: t.TempDir() + "/none"})
	err := f.start(1, nil)
	wantError(t, err, "/none does not exist", "create it or correct the path")
	if _, ok := errors.AsType[*task.FatalError](err); !ok {
		t.Error("a restart would find the same")
	}
	f.close()
}

// manyFiles makes files of all sizes and returns their lines.
func manyFiles(t *testing.T, r *rand.Rand, dir string, n int) (all []string) {
	t.Helper()
	for i := range n {
		var b strings.Builder
		for j := range r.IntN(400) {
			l := fmt.Sprintf("file %d line %d %s", i, j, strings.Repeat("y", r.IntN(3000)))
			all = append(all, l)
			b.WriteString(l + "\n")
		}
		write(t, fmt.Sprintf("%s/%03d", dir, i), b.String())
	}
	return all
}

// Killed or rescaled anywhere, what counts as read is read exactly once.
func TestSource_RestoresAtAnyParallelism(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	all := manyFiles(t, r, dir, 20)
	for _, continuous := range []*contract.Continuous{nil, {PollInterval: contract.Duration(minPollInterval)}} {
		f := newFleet(t, contract.FilesSource{Path: dir, Continuous: continuous})
		f.mustStart(2, nil)
		var kept []string
		for id := int64(1); len(kept) < len(all); id++ {
			for range r.IntN(40) {
				if i := r.IntN(len(f.sources)); !f.ended[i] {
					if _, err := f.poll(i); err != nil {
						t.Fatal(err)
					}
				}
			}
			lists := f.snapshot(id)
			kept = append(kept, f.rows...)
			f.rows = nil
			for range r.IntN(5) { // lost with the failure
				if i := r.IntN(len(f.sources)); !f.ended[i] {
					if _, err := f.poll(i); err != nil {
						t.Fatal(err)
					}
				}
			}
			f.rows = nil
			f.close()
			f.mustStart(1+r.IntN(4), lists)
		}
		if err := f.drain(); err != nil {
			t.Fatal(err)
		}
		f.rows = append(f.rows, kept...)
		f.want(slices.Clone(all)...)
		f.close()
	}
}

// The set of files of a bounded source is fixed at its first start.
func TestSource_BoundedSetIsFixed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a", "a\n")
	write(t, dir+"/b", "b\n")
	f := newFleet(t, contract.FilesSource{Path: dir})
	f.mustStart(1, nil)
	lists := f.snapshot(1)
	f.close()
	write(t, dir+"/c", "c\n")
	f.rows = nil
	f.mustStart(2, lists)
	if err := f.drain(); err != nil {
		t.Fatal(err)
	}
	f.want("a", "b")
	f.close()
}

func TestSource_Malformed(t *testing.T) {
	const content = "one\nBAD \xff\ntwo\nBAD x\n"
	for name, tc := range map[string]struct {
		policy  string
		want    []string
		letters []string
	}{
		"Skip": {policy: "Skip", want: []string{"one", "two"}},
		"DeadLetter": {policy: "DeadLetter", want: []string{"one", "two"}, letters: []string{
			`{"file":"F","offset":4,"byte":3,"reason":"it is bad","base64":"QkFEIP8="}`,
			`{"file":"F","offset":14,"byte":3,"reason":"it is bad","line":"BAD x"}`,
		}},
	} {
		for _, checkpointed := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " snapshots ", checkpointed), func(t *testing.T) {
				dir, dead := t.TempDir(), ""
				if tc.policy == "DeadLetter" {
					dead = t.TempDir()
				}
				write(t, dir+"/f", content)
				f := newFleet(t, contract.FilesSource{Path: dir, OnMalformed: tc.policy, DeadLetterPath: dead})
				f.checkpointed = checkpointed
				f.mustStart(1, nil)
				defer f.close()
				if err := f.drain(); err != nil {
					t.Fatal(err)
				}
				f.want(tc.want...)
				if n := f.counters.Snapshot()[counterMalformed]; n != 2 {
					t.Errorf("%d malformed lines counted", n)
				}
				s := f.sources[0].(*source)
				if _, err := s.Finish(); err != nil {
					t.Fatal(err)
				}
				if checkpointed {
					f.snapshot(1)
					if got := deadLines(t, dead, dir); len(got) > 0 {
						t.Errorf("dead letters are visible before their checkpoint: %q", got)
					}
					if err := s.NotifyComplete(t.Context(), 1); err != nil {
						t.Fatal(err)
					}
				}
				if d := cmp.Diff(tc.letters, deadLines(t, dead, dir)); d != "" {
					t.Errorf("dead letters differ (-want +got):\n%s", d)
				}
			})
		}
	}
}

// deadLines returns the visible dead letters with the file called F.
func deadLines(t *testing.T, dead, dir string) (lines []string) {
	t.Helper()
	if dead == "" {
		return nil
	}
	names, err := filepath.Glob(dead + "/part-*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(b)) {
			lines = append(lines, strings.TrimSpace(strings.ReplaceAll(l, dir+"/f", "F")))
		}
	}
	return lines
}

func TestSource_MalformedFails(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/f", "one\nBAD\n")
	f := newFleet(t, contract.FilesSource{Path: dir})
	f.mustStart(1, nil)
	defer f.close()
	err := f.drain()
	wantError(t, err, dir+"/f", "malformed line at byte 4", "byte 3 of the line: it is bad", "set onMalformed to Skip or DeadLetter")
	if _, ok := errors.AsType[*task.FatalError](err); !ok {
		t.Error("a restart would meet the same line")
	}
}

func TestConnectors_Mistakes(t *testing.T) {
	for name, tc := range map[string]struct {
		spec contract.FilesSource
		want string
	}{
		"no path":        {contract.FilesSource{}, "path is empty"},
		"no bucket":      {contract.FilesSource{Path: "s3:///x"}, "names no bucket"},
		"policy":         {contract.FilesSource{Path: "x", OnMalformed: "Drop"}, `onMalformed "Drop" is not one of`},
		"no dead letter": {contract.FilesSource{Path: "x", OnMalformed: "DeadLetter"}, "onMalformed is DeadLetter: dead-letter path is empty"},
		"dead letter":    {contract.FilesSource{Path: "x", DeadLetterPath: "y"}, "a dead-letter path is given, but onMalformed is Fail"},
		"interval":       {contract.FilesSource{Path: "x", Continuous: &contract.Continuous{PollInterval: 1}}, "must be at least 10ms"},
		"other bucket":   {contract.FilesSource{Path: "s3://a/b", S3: &contract.S3{Bucket: "c"}}, `names the bucket "a", but s3.bucket is "c"`},
		"never visible": {
			contract.FilesSource{Path: "x", OnMalformed: "DeadLetter", DeadLetterPath: "y", Continuous: &contract.Continuous{}},
			"needs checkpointing when the source is continuous",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Connectors{}.FilesSource("in", &tc.spec, newTestDecoder)
			wantError(t, err, tc.want)
		})
	}
}
