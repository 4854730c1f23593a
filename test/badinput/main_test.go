// SPDX-License-Identifier: Apache-2.0

// Package badinput_test gives the real binary bad input: each must end in an error that names cause and remedy, soon,
// under the restart strategy that a job has by default.
package badinput_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// timeout is within how long bad input must be told.
const timeout = 30 * time.Second

// weir is the binary under test, panics a program of a user.
var weir, panics string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "weir-badinput-")
	if err != nil {
		panic(err)
	}
	weir, panics = filepath.Join(dir, "weir"), filepath.Join(dir, "panics")
	for binary, source := range map[string]string{weir: "../../cmd/weir", panics: "./testdata/panics"} {
		if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
			panic(fmt.Sprintf("building %s: %v\n%s", source, err, out))
		}
	}
	m.Run() // its code is the exit code of the process
	_ = os.RemoveAll(dir)
}

// run runs a command to its end and returns what it wrote. ok says that it ended with success.
func run(t *testing.T, env []string, command ...string) (out string, ok bool) {
	t.Helper()
	return start(t, env, command...).wait(t)
}

// process is a command that was started.
type process struct {
	command string
	ended   chan struct{}
	// err is how it ended.
	err error

	mu   sync.Mutex
	out  bytes.Buffer
	grew chan struct{}
}

// start starts a command, which ends with the test at the latest.
func start(t *testing.T, env []string, command ...string) *process {
	t.Helper()
	p := &process{command: strings.Join(command, " "), ended: make(chan struct{}), grew: make(chan struct{}, 1)}
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = p, p
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	go func() {
		defer close(p.ended)
		p.err = cmd.Run()
	}()
	t.Cleanup(func() { <-p.ended }) // the context of the test ends it
	return p
}

// Write takes what the process writes.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.Write(b)
	select {
	case p.grew <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// wait waits for the end of the process and returns what it wrote. ok says that it ended with success.
func (p *process) wait(t *testing.T) (out string, ok bool) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(timeout):
		text := p.text()
		t.Fatalf("%s doesn't end:\n%s", p.command, text[max(0, len(text)-4000):])
	}
	return p.text(), p.err == nil
}

// tells waits until the process has written a line with all the words.
func (p *process) tells(t *testing.T, words ...string) {
	t.Helper()
	late, over := time.After(timeout), false
	for {
		text := p.text()
		for line := range strings.Lines(text) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				return
			}
		}
		if over {
			t.Fatalf("%s ended without a line with all of %q:\n%s", p.command, words, text)
		}
		select {
		case <-p.grew:
		case <-p.ended:
			over = true
		case <-late:
			t.Fatalf("%s writes no line with all of %q:\n%s", p.command, words, text)
		}
	}
}

// refused expects a command to fail, and its last line to name every one of the words.
func refused(t *testing.T, env, command []string, words ...string) {
	t.Helper()
	out, ok := run(t, env, command...)
	if ok {
		t.Errorf("%s ended with success:\n%s", strings.Join(command, " "), out)
	}
	message := out[max(0, strings.LastIndex(out, "weir: "), strings.LastIndex(out, "panics: ")):]
	for _, w := range words {
		if !strings.Contains(message, w) {
			t.Errorf("%s doesn't name %q:\n%s", strings.Join(command, " "), w, message)
		}
	}
}

// job is a StreamJob whose parts the tests change.
type job struct {
	// dir replaces DIR in all parts.
	dir string
	// spec are the fields beside storage and dataflow, storage is the value of that field.
	spec, storage string
	source        string
	// expression makes the column v of the source's rows.
	expression string
	sink       string
}

// newJob is a job that is fine: it has state and ends by itself.
func newJob(t *testing.T) *job {
	t.Helper()
	return &job{
		dir: t.TempDir(), spec: "checkpointing: {interval: 100ms}", storage: "{volume: {path: DIR/state}}",
		source: "generator: {keys: 10, rows: 1000}", expression: "key", sink: "log: {}",
	}
}

// file writes the job.
func (j *job) file(t *testing.T) string {
	t.Helper()
	text := `apiVersion: stream.weir.dev/v1alpha1
kind: StreamJob
metadata: {name: bad}
spec:
  ` + j.spec + `
  storage: ` + j.storage + `
  dataflow:
    operators:
    - name: rows
      ` + j.source + `
    - name: mapped
      inputs: [rows]
      map: {columns: [{name: v, expression: "` + j.expression + `"}]}
    - name: by-v
      inputs: [mapped]
      keyBy: {columns: [v]}
    - name: counts
      inputs: [by-v]
      aggregate: {aggregates: [{name: rows, function: Count}]}
    - name: out
      inputs: [counts]
      ` + j.sink + "\n"
	file := filepath.Join(j.dir, "job.yaml")
	write(t, file, strings.ReplaceAll(text, "DIR", j.dir))
	return file
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lines are the lines of the visible files of a sink.
func lines(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "part-*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")...)
	}
	return all
}

// closedPort is an address that nobody listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
