// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// savepointOf runs a job that never ends until it has state, interrupts it, and returns the path of its savepoint.
func savepointOf(t *testing.T, file string) string {
	t.Helper()
	completed := regexp.MustCompile(`checkpoint \d+ .* ago`)
	out := &lockedBuffer{}
	cmd := exec.Command(weir, "run", file)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	deadline := time.After(stepTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	asked := false
	for {
		select {
		case <-tick.C:
			if !asked && completed.MatchString(out.tail()) {
				asked = true
				_ = cmd.Process.Signal(os.Interrupt)
			}
		case <-deadline:
			t.Fatalf("the job doesn't end:\n%s", out.tail())
		case err := <-ended:
			path := regexp.MustCompile(`/\S+/savepoint-\S+`).FindString(out.tail())
			if err != nil || path == "" {
				t.Fatalf("the interrupted job ended with %v:\n%s", err, out.tail())
			}
			return path
		}
	}
}

// A savepoint with a wrong byte anywhere, a short file or a missing one is refused by verify and by a restore.
func TestBadInput_CorruptSnapshot(t *testing.T) {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d", s)
	r := rand.New(rand.NewPCG(s, 3))
	dir := t.TempDir()
	file := jobFile(t, dir, "generator: {keys: 10, rows: 1000}", "generator: {keys: 1000, rowsPerSecond: 5000}", "200ms", "400ms",
		"restart: {none: {}}", "restart: {exponentialDelay: {}}") // a restart can't mend a file, so none may be tried
	savepoint := strings.TrimSuffix(savepointOf(t, file), "/")
	restore := []string{weir, "run", "--new", "--restore", savepoint, file}
	if code, out := run(t, nil, weir, "snapshot", "verify", savepoint); code != 0 {
		t.Fatalf("the savepoint is damaged from the beginning:\n%s", out)
	}

	var files []string
	err := filepath.WalkDir(savepoint, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 3 {
		t.Fatalf("the savepoint has the files %q: %v", files, err)
	}
	for _, f := range files {
		name := filepath.Base(f)
		refusal := []string{name, "restore from another checkpoint or savepoint"}
		if name == "_metadata" {
			refusal = []string{filepath.Base(savepoint)}
		}
		good, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		flipped := append([]byte(nil), good...)
		at := r.IntN(len(good))
		flipped[at] ^= byte(1 + r.IntN(255))
		for what, change := range map[string]func() error{
			"a wrong byte": func() error { return os.WriteFile(f, flipped, 0o600) },
			"cut short":    func() error { return os.WriteFile(f, good[:at], 0o600) },
			"missing":      func() error { return os.Remove(f) },
		} {
			t.Logf("%s: %s, at %d of %d", name, what, at, len(good))
			if err := change(); err != nil {
				t.Fatal(err)
			}
			code, out := run(t, nil, weir, "snapshot", "verify", savepoint)
			wantRefused(t, code, out, name)
			code, out = run(t, nil, restore...)
			wantRefused(t, code, out, refusal...)
			if err := os.WriteFile(f, good, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	code, out := run(t, nil, weir, "run", "--new", "--restore", savepoint+"x", file)
	wantRefused(t, code, out, filepath.Base(savepoint)+"x", "check the path")
	damageHead(t, filepath.Join(dir, "state"))
	code, out = run(t, nil, weir, "run", file)
	wantRefused(t, code, out, "head.json", "damaged")
}

// damageHead changes a byte of the newest head of every job.
func damageHead(t *testing.T, state string) {
	t.Helper()
	changed := 0
	err := filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.Contains(path, "head") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if len(b) > 0 {
			b[len(b)/2] ^= 1
			changed++
		}
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil || changed == 0 {
		t.Fatalf("damaging the head: %d files changed, %v", changed, err)
	}
}
