// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// asMain makes a process of this test the program.
const asMain = "WEIR_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// A command that waits for nothing of which a signal could be the end is ended by it as any program is.
func TestMain_ASignalEndsACommandThatDoesNotLookAtSignals(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "job.json")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), os.Args[0], "plan", "--job", pipe, "none")
	c.Env = append(os.Environ(), asMain+"=1")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // the command reads it from here on, and gets nothing
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill() })
	defer late.Stop()
	_ = c.Wait()
	if s, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGINT {
		t.Errorf("it ended with %v, want it to be ended by the signal", c.ProcessState)
	}
}
