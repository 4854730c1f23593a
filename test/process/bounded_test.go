// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/runtime/contract"
)

// One file and three subtasks: two of them are at the end of their data at once. Checkpoints and a stop work all the same, and the job that goes
// on from there ends with exact counts.
func TestBoundedJob_SubtasksEndOneAfterTheOther(t *testing.T) {
	const lines = 30_000_000
	dir := t.TempDir()
	writeLines(t, filepath.Join(dir, "in", "only.txt"), lines)
	file := jobFile(t, dir, "parallelism: 2", "parallelism: 3", "interval: 200ms", "interval: 50ms", "generator: {keys: 10, rows: 1000}",
		"files: {path: DIR/in, format: Text}", "expression: seq % 2 == 0", "expression: line != ''", "columns: [key]", "columns: [line]")
	api := freeAddress(t)
	cmd := exec.CommandContext(t.Context(), weir, "run", file, "--api", api)
	var log lockedBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client, err := contract.NewClient(api, contract.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), stepTimeout)
	defer cancel()
	history := awaitCheckpoints(ctx, t, client, 5)
	if history.Failed > 0 {
		t.Errorf("%d checkpoints failed: %+v", history.Failed, history.Recent)
	}
	op, err := client.Stop(ctx, contract.StopRequest{OperationID: "half-way"})
	if err == nil {
		op, err = client.WaitOperation(ctx, op.ID)
	}
	if err != nil || op.Phase != contract.OperationSucceeded {
		t.Fatalf("stopping: %+v, %v\n%s", op, err, log.tail())
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, log.tail())
	}
	if code, out := run(t, nil, weir, "run", file); code != 0 || !names(out, "finished") {
		t.Errorf("the job that goes on ended with code %d:\n%s", code, out)
	}
	if got, want := lastLine(t, filepath.Join(dir, "out")), fmt.Sprintf(`{"line":"x","total":%d}`, lines); got != want {
		t.Errorf("the last count is %s, want %s", got, want)
	}
}

// awaitCheckpoints waits until so many have completed.
func awaitCheckpoints(ctx context.Context, t *testing.T, client *contract.Client, n int64) *contract.CheckpointsReport {
	t.Helper()
	for {
		r, err := client.Checkpoints(ctx)
		if err == nil && r.Completed >= n {
			return r
		}
		if ctx.Err() != nil {
			t.Fatalf("waiting for %d checkpoints in vain: %+v, %v", n, r, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// writeLines writes a file of short lines that are all the same.
func writeLines(t *testing.T, file string, n int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	block := strings.Repeat("x\n", 1000)
	for range n / 1000 {
		_, _ = w.WriteString(block)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
