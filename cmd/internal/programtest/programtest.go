// SPDX-License-Identifier: Apache-2.0

// Package programtest tests programs as processes: the test's own binary is the program when it is told so.
package programtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// asMain makes a process of a test the program.
const asMain = "WEIR_TEST_AS_MAIN"

// patience is how long a program has to end once it is asked to.
const patience = 30 * time.Second

// Main is the TestMain of a program: it runs main in a process that is to be the program, and the tests in any other. It does not return.
func Main(m *testing.M, main func()) {
	if os.Getenv(asMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// SignalEnds starts the program with arguments that have it read a pipe, in which nothing ever comes, and fails the test unless an interrupt ends it as it ends
// any process that doesn't look at signals.
func SignalEnds(t *testing.T, args func(pipe string) []string) {
	t.Helper()
	pipe := filepath.Join(t.TempDir(), "pipe.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), os.Args[0], args(pipe)...) //nolint:gosec // the test itself
	c.Env = append(os.Environ(), asMain+"=1")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // the program reads from here on
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	defer late.Stop()
	_ = c.Wait()
	if s, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGINT {
		t.Errorf("it ended with %v, want it to be ended by the signal", c.ProcessState)
	}
}
