// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/snapshot"
	"github.com/weir-stream/weir/runtime/storage"
	"github.com/weir-stream/weir/runtime/storage/filestore"
)

// incremental makes the job of badinput_test.go one that never ends, restarts by itself, and takes incremental checkpoints, of which it keeps three.
func incremental(t *testing.T, dir string, replace ...string) string {
	t.Helper()
	return jobFile(t, dir, append([]string{
		"generator: {keys: 10, rows: 1000}", "generator: {keys: 1000, rowsPerSecond: 5000}",
		"restart: {none: {}}", "restart: {exponentialDelay: {}}",
		"checkpointing: {interval: 200ms}", "checkpointing: {interval: 100ms, retention: {count: 3}, onCorruption: Fail}\n  stateBackend: {incremental: true}",
	}, replace...)...)
}

// edit replaces what is in the file of a job: expressions and texts in turn. Each has to be there.
func edit(t *testing.T, file string, replace ...string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		old := regexp.MustCompile(replace[i])
		if !old.Match(b) {
			t.Fatalf("the job doesn't contain %s:\n%s", old, b)
		}
		b = old.ReplaceAll(b, []byte(replace[i+1]))
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantCountsOfSequentialRun lets the unbounded job of incremental end after a million rows, writing what it counts to files from here on, and
// compares the last count of each key with that of a job that has never been disturbed: each of 1000 keys has 1000 numbers, and every other one counts.
func wantCountsOfSequentialRun(t *testing.T, file, dir string) {
	t.Helper()
	edit(t, file, `rowsPerSecond: \d+`, "rows: 1000000", `log: {}`, "fileSink: {path: "+dir+"/out}")
	if code, out := run(t, nil, weir, "run", file); code != 0 || !names(out, "finished") {
		t.Fatalf("the job ended with code %d:\n%s", code, out)
	}
	counts := map[int64]map[int64]bool{}
	for _, l := range outputLines(t, filepath.Join(dir, "out")) {
		var r struct{ Key, Total int64 }
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			t.Fatalf("%v in %s", err, l)
		}
		if counts[r.Key] == nil {
			counts[r.Key] = map[int64]bool{}
		}
		if counts[r.Key][r.Total] {
			t.Fatalf("key %d: the count %d came twice", r.Key, r.Total)
		}
		counts[r.Key][r.Total] = true
	}
	if len(counts) != 1000 {
		t.Fatalf("%d keys were counted, want 1000", len(counts))
	}
	for key, of := range counts {
		if highest := slices.Max(slices.Collect(maps.Keys(of))); highest != 500 {
			t.Errorf("key %d was counted %d times, want 500", key, highest)
		}
	}
	h, _ := headOf(t, dir)
	if last := h.Restores[len(h.Restores)-1]; last.Empty {
		t.Errorf("the job began anew: %+v", last)
	}
}

// runUntil runs the job until the head is as wanted, and then sends it a signal. It returns the last head and what was printed.
func runUntil(t *testing.T, file string, s syscall.Signal, want func(*snapshot.Head) bool) (*snapshot.Head, string) {
	t.Helper()
	out := &lockedBuffer{}
	cmd := exec.Command(weir, "run", file)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	deadline := time.After(stepTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if h, _ := headOf(t, filepath.Dir(file)); h != nil && want(h) {
				_ = cmd.Process.Signal(s)
				<-ended
				h, _ = headOf(t, filepath.Dir(file))
				return h, out.tail()
			}
		case <-ended:
			t.Fatalf("the job ended by itself:\n%s", out.tail())
		case <-deadline:
			_ = cmd.Process.Kill()
			t.Fatalf("the head isn't as wanted in time:\n%s", out.tail())
		}
	}
}

// headOf reads the head of the one job in a directory, and says where that is; nil if there is none yet.
func headOf(t *testing.T, dir string) (*snapshot.Head, string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "state", "*", "*", "*", snapshot.HeadName))
	if err != nil || len(found) != 1 {
		return nil, ""
	}
	job := filepath.Dir(found[0])
	store, err := filestore.Open(storage.FileConfig{Dir: job, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	b, _, err := store.Get(t.Context(), snapshot.HeadName)
	if err != nil {
		return nil, ""
	}
	h, err := snapshot.DecodeHead(b)
	if err != nil {
		t.Fatal(err)
	}
	return &h, job
}

// ownFile returns a file that only the newest checkpoint refers to: one that it has uploaded to share it, or else, if nothing had changed
// since the one before, its index.
func ownFile(t *testing.T, state string, h *snapshot.Head) string {
	t.Helper()
	users := map[string]int{}
	var last []snapshot.FileRef
	for _, c := range h.Checkpoints {
		b, err := os.ReadFile(filepath.Join(state, c.Path, snapshot.ManifestName))
		if err != nil {
			t.Fatal(err)
		}
		m, err := snapshot.DecodeManifest(b)
		if err != nil {
			t.Fatal(err)
		}
		last = m.Files()
		for _, f := range last {
			users[snapshot.FileKey(c.Path, f.Path)]++
		}
	}
	newest := h.Checkpoints[len(h.Checkpoints)-1]
	for _, shared := range []bool{true, false} {
		for _, f := range last {
			if key := snapshot.FileKey(newest.Path, f.Path); f.Shared == shared && users[key] == 1 {
				return filepath.Join(state, key)
			}
		}
	}
	t.Fatalf("the newest of the checkpoints %+v has no file of its own", h.Checkpoints)
	return ""
}

// A damaged newest checkpoint, in its manifest or in a file: by default the job refuses; with FallBack it goes on from the one before if its sinks commit
// nothing, and refuses if they do. The head says what was left out, a sweep leaves what is young, and in the end every row has been counted once.
func TestOnCorruption(t *testing.T) {
	enough := func(h *snapshot.Head) bool {
		return len(h.Checkpoints) == 3 && h.Checkpoints[0].ID > 2 && h.Checkpoints[2].Shared
	}
	tests := map[string]struct {
		sink     string
		manifest bool
		refused  string
	}{
		"manifest and no commits": {sink: "log: {}", manifest: true},
		"file and no commits":     {sink: "log: {}"},
		"manifest and commits":    {sink: "fileSink: {path: DIR/out}", manifest: true, refused: "a transactional sink can have committed with it"},
		"file and commits":        {sink: "fileSink: {path: DIR/out}", refused: "a transactional sink can have committed with it"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := incremental(t, dir, "fileSink: {path: DIR/out}", tc.sink)
			h, _ := runUntil(t, file, syscall.SIGKILL, enough)
			newest := h.Checkpoints[len(h.Checkpoints)-1]
			_, job := headOf(t, dir)
			state := filepath.Join(dir, "state")
			damaged := filepath.Join(state, newest.Path, snapshot.ManifestName)
			if !tc.manifest {
				damaged = ownFile(t, state, h)
			}
			b, err := os.ReadFile(damaged)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := os.WriteFile(damaged, b, 0o600); err != nil {
				t.Fatal(err)
			}

			code, out := run(t, nil, weir, "run", file)
			wantRefused(t, code, out, filepath.Base(damaged), "onCorruption is Fail")
			edit(t, file, `onCorruption: \w+`, "onCorruption: FallBack")
			if tc.refused != "" {
				code, out := run(t, nil, weir, "run", file)
				wantRefused(t, code, out, tc.refused)
				return
			}
			h, out = runUntil(t, file, syscall.SIGINT, func(h *snapshot.Head) bool {
				n, _ := h.Newest()
				return n.ID > newest.ID
			})
			leftOut := h.Restores[len(h.Restores)-1].LeftOut
			if len(leftOut) != 1 || leftOut[0].Checkpoint != newest.ID || !strings.Contains(leftOut[0].Reason, filepath.Base(damaged)) {
				t.Errorf("the head says that %+v was left out, want checkpoint %d; printed was:\n%s", leftOut, newest.ID, out)
			}
			if _, err := os.Stat(damaged); err != nil {
				t.Errorf("what is damaged should stay until it is swept: %v", err)
			}
			if code, out := run(t, nil, weir, "snapshot", "sweep", job); code != 0 || !strings.Contains(out, "0 objects (0 B) deleted") {
				t.Errorf("a sweep gave %d:\n%s", code, out)
			}
			wantCountsOfSequentialRun(t, file, dir)
		})
	}
}
