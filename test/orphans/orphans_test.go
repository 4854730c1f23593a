// SPDX-License-Identifier: Apache-2.0

//go:build linux

package orphans_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/test/orphans"
)

// parentMode has this binary start a server that is guarded, say its id, and wait for a line.
const parentMode = "WEIR_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentMode) == "" {
		m.Run()
		return
	}
	if err := parent(); err != nil {
		panic(err)
	}
}

func parent() error {
	server := exec.Command("sleep", "600")
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := server.Start(); err != nil {
		return err
	}
	release, err := orphans.Guard()
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(os.Stdout, server.Process.Pid)
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	return release()
}

func TestGuard(t *testing.T) {
	for name, killed := range map[string]bool{"the process is killed": true, "the process comes to its end": false} {
		t.Run(name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), os.Args[0])
			c.Env, c.Stderr = append(os.Environ(), parentMode+"=1"), os.Stderr
			in, err := c.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			server, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = syscall.Kill(server, syscall.SIGKILL) })
			if killed {
				_ = c.Process.Kill()
			} else if _, err := in.Write([]byte("over\n")); err != nil {
				t.Fatal(err)
			}
			if err := c.Wait(); (err == nil) == killed {
				t.Fatalf("the process ended with %v", err)
			}
			// A guard that is told that it is over has ended by now.
			for end := time.Now().Add(30 * time.Second); killed && !gone(server) && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond) // it isn't a child of this process, so nothing tells
			}
			if got := gone(server); got != killed {
				t.Errorf("the server ended: %v, want %v", got, killed)
			}
		})
	}
}

// gone says that a process is no more, or only waits for somebody to ask how it ended.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(after, "Z")
}
