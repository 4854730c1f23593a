// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/storage/storagetest"
)

// badInputTimeout bounds how long a command may take to say what is wrong.
const badInputTimeout = 90 * time.Second

// run runs a command to its end and returns its exit code and all it wrote. A command that hangs fails the test.
func run(t *testing.T, env []string, command ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), badInputTimeout)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	begin := time.Now()
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s hangs:\n%s", strings.Join(command, " "), out.String())
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if ok && exit.ExitCode() < 0 {
		t.Fatalf("%s: %v", strings.Join(command, " "), err)
	}
	t.Logf("exit code %d after %.1f s:\n%s", cmd.ProcessState.ExitCode(), time.Since(begin).Seconds(), out.String())
	return cmd.ProcessState.ExitCode(), out.String()
}

// wantRefused expects an error that names all of the parts.
func wantRefused(t *testing.T, code int, out string, parts ...string) {
	t.Helper()
	if code == 0 {
		t.Errorf("exit code 0:\n%s", out)
	}
	for _, p := range parts {
		if !strings.Contains(out, p) {
			t.Errorf("the message doesn't name %q:\n%s", p, out)
		}
	}
	if strings.Contains(out, "goroutine ") {
		t.Errorf("the message has a stack trace:\n%s", out)
	}
}

// yaml is a small bounded job. Parts of it are replaced by tests.
const yaml = `apiVersion: stream.weir.dev/v1alpha1
kind: StreamJob
metadata: {name: bad}
spec:
  parallelism: 2
  maxParallelism: 128
  restart: {none: {}}
  checkpointing: {interval: 200ms}
  storage: {volume: {path: DIR/state}}
  dataflow:
    operators:
    - name: rows
      generator: {keys: 10, rows: 1000}
    - name: even
      inputs: [rows]
      filter: {expression: seq % 2 == 0}
    - name: by-key
      inputs: [even]
      keyBy: {columns: [key]}
    - name: counts
      inputs: [by-key]
      aggregate: {aggregates: [{name: total, function: Count}]}
    - name: out
      inputs: [counts]
      fileSink: {path: DIR/out}
`

// jobFile writes the job with replacements, old and new in turn.
func jobFile(t *testing.T, dir string, replace ...string) string {
	t.Helper()
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(yaml, replace[i]) {
			t.Fatalf("the job doesn't contain %q", replace[i])
		}
	}
	text := strings.NewReplacer(append(replace, "DIR", dir)...).Replace(yaml)
	file := filepath.Join(dir, "job.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// The job of this file is fine as it is.
func TestBadInput_TheJobItselfIsGood(t *testing.T) {
	if code, out := run(t, nil, weir, "run", jobFile(t, t.TempDir())); code != 0 {
		t.Error(out)
	}
}

// What can be known before anything starts is said by validate and by run alike.
func TestBadInput_Files(t *testing.T) {
	tests := map[string]struct {
		replace []string
		want    []string
	}{
		"no YAML":              {[]string{"spec:", "spec: ]"}, []string{"job.yaml", "line"}},
		"unknown field":        {[]string{"parallelism: 2", "paralelism: 2"}, []string{"spec.paralelism"}},
		"wrong type":           {[]string{"parallelism: 2", "parallelism: two"}, []string{"spec.parallelism", "integer"}},
		"above the maximum":    {[]string{"maxParallelism: 128", "maxParallelism: 1"}, []string{"parallelism", "maxParallelism"}},
		"syntax of CEL":        {[]string{"seq % 2 == 0", "seq % == 0"}, []string{`operator "even"`, "seq % == 0"}},
		"unknown column":       {[]string{"seq % 2 == 0", "sequ % 2 == 0"}, []string{`operator "even"`, "undeclared reference to 'sequ'", "seq Int"}},
		"type of CEL":          {[]string{"seq % 2 == 0", "seq % 2"}, []string{`operator "even"`, "seq % 2", "Bool"}},
		"unknown input":        {[]string{"inputs: [even]", "inputs: [odd]"}, []string{`"by-key"`, `"odd"`}},
		"unknown key":          {[]string{"columns: [key]", "columns: [kee]"}, []string{`operator "by-key"`, `"kee"`, "key Int"}},
		"two kinds of storage": {[]string{"volume: {path: DIR/state}", "volume: {path: DIR/state}, s3: {endpoint: 'http://h:1', bucket: bbb}"}, []string{"spec.storage", "exactly one"}},
		"an interval of words": {[]string{"interval: 200ms", "interval: soon"}, []string{"spec.checkpointing.interval"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := jobFile(t, dir, tc.replace...)
			code, first := run(t, nil, weir, "validate", file)
			wantRefused(t, code, first, tc.want...)
			code, second := run(t, nil, weir, "run", file)
			wantRefused(t, code, second, tc.want...)
			if first != second {
				t.Errorf("validate and run say different things:\n%s\n%s", first, second)
			}
			if _, err := os.Stat(filepath.Join(dir, "state")); err == nil {
				t.Error("something was started")
			}
		})
	}
}

// Storage that can't be used ends the job with what is wrong with it.
func TestBadInput_Storage(t *testing.T) {
	s3 := storagetest.StartVersityGW(t)
	closed := "http://" + freeAddress(t)
	s3State := func(endpoint, bucket string) []string {
		return []string{"volume: {path: DIR/state}", fmt.Sprintf("s3: {endpoint: '%s', bucket: %s}", endpoint, bucket)}
	}
	good := []string{"AWS_ACCESS_KEY_ID=" + storagetest.AccessKey, "AWS_SECRET_ACCESS_KEY=" + storagetest.SecretKey}
	tests := map[string]struct {
		env     []string
		replace []string
		want    []string
	}{
		"unknown bucket":      {good, s3State(s3.Endpoint, "nowhere"), []string{"bucket", "nowhere", "create it"}},
		"wrong secret":        {[]string{good[0], "AWS_SECRET_ACCESS_KEY=wrong"}, s3State(s3.Endpoint, "weir"), []string{"AWS_SECRET_ACCESS_KEY"}},
		"unknown user":        {[]string{"AWS_ACCESS_KEY_ID=nobody", good[1]}, s3State(s3.Endpoint, "weir"), []string{"AWS_ACCESS_KEY_ID"}},
		"no credentials":      {[]string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, s3State(s3.Endpoint, "weir"), []string{"AWS_ACCESS_KEY_ID"}},
		"nobody listens":      {good, s3State(closed, "weir"), []string{closed[len("http://"):], "refused"}},
		"no such host":        {good, s3State("http://weir.invalid:9000", "weir"), []string{"weir.invalid"}},
		"not a directory":     {nil, []string{"volume: {path: DIR/state}", "volume: {path: DIR/job.yaml/state}"}, []string{"job.yaml"}},
		"bucket of the sink":  {good, append(s3State(s3.Endpoint, "weir"), "fileSink: {path: DIR/out}", "fileSink: {path: 's3://nowhere/out'}"), []string{`"out"`, "nowhere", "create it"}},
		"sink without server": {good, []string{"fileSink: {path: DIR/out}", "fileSink: {path: 's3://nowhere/out'}"}, []string{"an s3:// path needs to know the object store", "set s3 beside it"}},
		"files of the source": {nil, []string{"generator: {keys: 10, rows: 1000}", "files: {path: DIR/none, format: JSON, schema: [{name: key, type: Int}, {name: seq, type: Int}]}"}, []string{`"rows"`, "/none"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out := run(t, tc.env, weir, "run", jobFile(t, t.TempDir(), tc.replace...))
			wantRefused(t, code, out, tc.want...)
		})
	}
}

// A disk that fills up fails the job, with the path, and doesn't damage what was complete.
func TestBadInput_FullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system takes root")
	}
	for name, full := range map[string]string{"state": "volume: {path: DIR/state}", "sink": "fileSink: {path: DIR/out}"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			disk := filepath.Join(dir, "disk")
			if err := os.Mkdir(disk, 0o750); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
				t.Skipf("a small file system can't be mounted here: %v", err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(disk, 0) })
			file := jobFile(t, dir,
				full, strings.Replace(full, "DIR", disk, 1),
				"generator: {keys: 10, rows: 1000}", "generator: {keys: 100000}")
			code, out := run(t, nil, weir, "run", file)
			wantRefused(t, code, out, disk, "no space left on device")
		})
	}
}

// Lines that don't fit end the job, are skipped, or are put aside, as the job says.
func TestBadInput_MalformedLines(t *testing.T) {
	for name, tc := range map[string]struct {
		policy string
		want   []string
		fails  bool
	}{
		"Fail":       {"Fail", []string{`"rows"`, "in.jsonl", `column "seq" is Int`}, true},
		"unset":      {"", []string{`"rows"`, "in.jsonl", `column "seq" is Int`}, true},
		"Skip":       {"Skip", nil, false},
		"DeadLetter": {"DeadLetter", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			lines := "{\"key\":1,\"seq\":2}\n{\"key\":1,\"seq\":\"two\"}\n{\"key\":1,\"seq\":4}\n"
			if err := os.WriteFile(filepath.Join(dir, "in.jsonl"), []byte(lines), 0o600); err != nil {
				t.Fatal(err)
			}
			source := "files: {path: DIR/in.jsonl, format: JSON, schema: [{name: key, type: Int}, {name: seq, type: Int}]"
			if tc.policy != "" {
				source += ", onMalformed: " + tc.policy
			}
			if tc.policy == "DeadLetter" {
				source += ", deadLetter: {path: DIR/dead}"
			}
			code, out := run(t, nil, weir, "run", jobFile(t, dir, "generator: {keys: 10, rows: 1000}", source+"}"))
			if tc.fails {
				wantRefused(t, code, out, tc.want...)
				return
			}
			if code != 0 {
				t.Fatalf("exit code %d", code)
			}
			if got := lastLine(t, filepath.Join(dir, "out")); got != `{"key":1,"total":2}` {
				t.Errorf("the output ends in %s", got)
			}
			if tc.policy == "DeadLetter" {
				if got := lastLine(t, filepath.Join(dir, "dead")); !names(got, "in.jsonl", `"offset":18`, `\"two\"`) {
					t.Errorf("the dead letter is %s", got)
				}
			}
		})
	}
}

// lastLine is the last line of the visible files of a sink, in the order of their names.
func lastLine(t *testing.T, dir string) string {
	t.Helper()
	lines := outputLines(t, dir)
	return lines[len(lines)-1]
}

// outputLines are the lines of the visible files of a sink, in the order of their names.
func outputLines(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "part-*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return strings.Split(strings.TrimSpace(string(all)), "\n")
}

// A function of the user that panics fails the job and names the operator, wherever it runs.
func TestBadInput_Panic(t *testing.T) {
	tests := map[string]struct {
		where string
		want  []string
	}{
		"in a map":        {"map", []string{`"broken"`, "panic", "this is the user's mistake"}},
		"in process":      {"process", []string{`"broken"`, "panic", "this is the user's mistake"}},
		"in a source":     {"source", []string{`"numbers"`, "panic", "this is the user's mistake"}},
		"building":        {"build", []string{"building the job", "panic", "this is the user's mistake"}},
		"in the function": {"open", []string{`"broken"`, "panic", "this is the user's mistake"}},
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, workers := range []string{"0", "1"} {
				code, out := run(t, []string{programMode + "=" + tc.where}, self, "run", "--workers", workers)
				if code == 0 {
					t.Error("exit code 0")
				}
				if !names(strings.ToLower(out), tc.want...) {
					t.Errorf("with %s workers the message doesn't name all of %q", workers, tc.want)
				}
			}
		})
	}
}
