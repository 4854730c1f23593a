// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
)

// planJob counts words; rename makes it another version.
func planJob(t *testing.T, root string, rename *strings.Replacer) string {
	t.Helper()
	text := rename.Replace(`
apiVersion: stream.weir.dev/v1alpha1
kind: StreamJob
metadata: {name: words, namespace: test}
spec:
  parallelism: 2
  checkpointing: {interval: 100ms}
  storage: {volume: {path: ROOT/state}}
  dataflow:
    operators:
    - {name: lines, files: {path: ROOT/in, format: Text, continuous: {pollInterval: 100ms}}}
    - {name: words, inputs: [lines], flatMap: {expression: line.words(), as: word}}
    - {name: by-word, inputs: [words], keyBy: {columns: [word]}}
    - {name: counts, inputs: [by-word], aggregate: {aggregates: [{name: count, function: Count}]}}
    - {name: out, inputs: [counts], fileSink: {path: ROOT/out}}
`)
	path := filepath.Join(t.TempDir(), "job.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "ROOT", root)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// savepoint runs a job until it has counted something, stops it, and returns its savepoint.
func savepoint(t *testing.T, root string) string {
	t.Helper()
	if err := os.Mkdir(filepath.Join(root, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "in", "a.txt"), []byte("one two two three three three\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	var out, errs bytes.Buffer
	a := &App{Out: &out, Err: &errs, Now: time.Now, Version: "v0", Signals: signals}
	job := planJob(t, root, strings.NewReplacer())
	done := make(chan int, 1)
	go func() { done <- a.Run(t.Context(), []string{"run", job}) }()
	for deadline := time.Now().Add(time.Minute); !counted(filepath.Join(root, "out")) && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond) // between two looks
	}
	signals <- os.Interrupt
	if code := <-done; code != exitOK {
		t.Fatalf("running the job: exit code %d: %s", code, errs.String())
	}
	found, err := filepath.Glob(filepath.Join(root, "state", "savepoints", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("savepoints %v, %v", found, err)
	}
	return found[0]
}

// counted says whether the last word was counted: a barrier has passed the sink after that.
func counted(dir string) bool {
	found := false
	_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error {
		b, err := os.ReadFile(path)
		found = found || err == nil && bytes.Contains(b, []byte("three"))
		return nil
	})
	return found
}

var (
	savepointName = regexp.MustCompile(`savepoint-[0-9a-z-]+`)
	savepointID   = regexp.MustCompile(`avepoint \d+`)
	sizes         = regexp.MustCompile(`\d+(\.\d+)? (B|kB|KiB|bytes)\b`)
	columns       = regexp.MustCompile(`  +`)
	listNames     = regexp.MustCompile(`holds \[[^\]]*\]`)    // files that are being read have a list of their own
	sinkState     = regexp.MustCompile(`out +maps +(-|SIZE)`) // what waits for a commit, if anything does
)

func TestSnapshotPlan(t *testing.T) {
	root := t.TempDir()
	path := savepoint(t, root)
	tests := map[string]struct {
		rename []string
		code   int
	}{
		"same":    {nil, exitOK},
		"renamed": {[]string{"name: counts, inputs", "name: totals, previousNames: [counts], inputs", "[counts]}", "[counts]}", "inputs: [counts], fileSink", "inputs: [totals], fileSink"}, exitOK},
		"gone":    {[]string{"name: counts, inputs", "name: totals, inputs", "inputs: [counts], fileSink", "inputs: [totals], fileSink"}, exitFailed},
		"kind":    {[]string{"files: {path: ROOT/in, format: Text, continuous: {pollInterval: 100ms}}", "generator: {keys: 3}", "line.words()", "'[string(key)]'"}, exitFailed},
		"type":    {[]string{"function: Count}", "function: Max, expression: word}"}, exitFailed},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, errs := weir(t, "snapshot", "plan", path, planJob(t, root, strings.NewReplacer(tc.rename...)))
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			text := strings.ReplaceAll(out+"---\n"+errs, root, "ROOT")
			for _, r := range []struct {
				what *regexp.Regexp
				by   string
			}{{savepointName, "SAVEPOINT"}, {savepointID, "avepoint ID"}, {sizes, "SIZE"}, {sinkState, "out  maps  SIZE"}, {listNames, "holds [LISTS]"}, {columns, "  "}} {
				text = r.what.ReplaceAllString(text, r.by)
			}
			golden(t, "plan_"+name+".txt", text)
		})
	}
	code, out, _ := weir(t, "snapshot", "plan", "--json", path, planJob(t, root, strings.NewReplacer()))
	var plan contract.StatePlan
	if err := json.Unmarshal([]byte(out), &plan); code != exitOK || err != nil || !plan.Accepted || plan.Snapshot == nil {
		t.Errorf("as JSON: exit code %d, %v, %+v", code, err, plan)
	}
	code, _, errs := weir(t, "snapshot", "plan", root, planJob(t, root, strings.NewReplacer()))
	if code != exitFailed || !strings.Contains(errs, "it is no snapshot: it has no _metadata") {
		t.Errorf("a directory without a snapshot: exit code %d, %s", code, errs)
	}
	code, _, errs = weir(t, "snapshot", "plan", path, programFile(t))
	if code != exitFailed || !strings.Contains(errs, "then its binary with: plan "+path) {
		t.Errorf("a program: exit code %d, %s", code, errs)
	}
}
