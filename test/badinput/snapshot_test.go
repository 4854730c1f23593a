// SPDX-License-Identifier: Apache-2.0

package badinput_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A savepoint that isn't whole is refused by verify and by a restore; the restart strategy is the default, which would
// try again for ever.
func TestDamagedSnapshot(t *testing.T) {
	t.Parallel()
	j := newJob(t)
	j.source = "generator: {keys: 1000, rowsPerSecond: 10000}"
	file := j.file(t)
	savepoint := takeSavepoint(t, file)
	states, err := filepath.Glob(filepath.Join(savepoint, "*-*"))
	if err != nil || len(states) == 0 {
		t.Fatalf("no state files in %s: %v", savepoint, err)
	}
	manifest, state := filepath.Join(savepoint, "_metadata"), states[0]
	restore := func(path string) []string { return []string{weir, "run", file, "--new", "--restore", path} }
	verify := []string{weir, "snapshot", "verify", savepoint}
	if out, ok := run(t, nil, verify...); !ok {
		t.Fatalf("the savepoint isn't whole before it is damaged:\n%s", out)
	}
	const remedy = "restore from another"

	refused(t, nil, restore(savepoint+"-gone"), filepath.Base(savepoint)+"-gone", "it has no _metadata", "check the path")
	for name, tc := range map[string]struct {
		file    string
		change  func([]byte) []byte
		restore []string
	}{
		"byte of the manifest": {manifest, flip, []string{"manifest is damaged", remedy}},
		"byte of the state":    {state, flip, []string{filepath.Base(state), "is corrupt", remedy}},
		"short state":          {state, func(b []byte) []byte { return b[:len(b)-100] }, []string{filepath.Base(state), "is corrupt", remedy}},
		"missing state":        {state, nil, []string{filepath.Base(state), "doesn't exist", remedy}},
	} {
		t.Run(name, func(t *testing.T) {
			good, err := os.ReadFile(tc.file)
			if err != nil {
				t.Fatal(err)
			}
			defer write(t, tc.file, string(good))
			if tc.change == nil {
				err = os.Remove(tc.file)
			} else {
				err = os.WriteFile(tc.file, tc.change(append([]byte(nil), good...)), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			out, ok := run(t, nil, verify...)
			if ok || !strings.Contains(out, filepath.Base(tc.file)) || !strings.Contains(out, remedy) {
				t.Errorf("verify ended with success %v and without %s or a remedy:\n%s", ok, tc.file, out)
			}
			refused(t, nil, restore(savepoint), tc.restore...)
		})
	}
}

// flip changes a bit in the middle.
func flip(b []byte) []byte {
	b[len(b)/2] ^= 1
	return b
}

// takeSavepoint runs the job, stops it through its control API and returns the path of the savepoint.
func takeSavepoint(t *testing.T, file string) string {
	t.Helper()
	log := file + ".log"
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.CommandContext(t.Context(), weir, "run", file)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`control API on (\S+)`)
	for deadline := time.Now().Add(timeout); ; time.Sleep(50 * time.Millisecond) { // the log is all there is to wait for
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if m := address.FindSubmatch(b); m != nil && regexp.MustCompile(`running .* checkpoint \d`).Match(b) {
			out, ok := run(t, nil, weir, "stop", "--api", string(m[1]))
			if err := cmd.Wait(); err != nil || !ok {
				t.Fatalf("stopping the job: %v\n%s", err, out)
			}
			return strings.TrimRight(strings.TrimSpace(out), "/")
		}
		if time.Now().After(deadline) {
			t.Fatalf("the job has no checkpoint:\n%s", b[max(0, len(b)-2000):])
		}
	}
}
