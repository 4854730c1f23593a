// SPDX-License-Identifier: Apache-2.0

package program

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
)

// childMode makes this binary play a worker process, or the parent of one.
const childMode = "WEIR_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childMode) {
	case "":
		os.Exit(m.Run()) //nolint:forbidigo // as every TestMain
	case "obedient":
		untilLifelineEnds()
	case "stubborn":
		select {}
	case "done":
		os.Exit(0) //nolint:forbidigo // this is a process of its own
	case "brief":
		os.Exit(3) //nolint:forbidigo // this is a process of its own
	case "parent":
		// Starts a stubborn child and says which, then waits to be killed.
		_ = os.Setenv(childMode, "stubborn")
		p := &workerProcess{command: []string{os.Args[0]}, stderr: os.Stderr, started: func(pid int) { _, _ = fmt.Fprintln(os.Stdout, pid) }}
		_ = p.run(context.Background()) //nolint:forbidigo // this is a process of its own
	}
}

func untilLifelineEnds() {
	ctx, cut := withLifeline(context.Background(), os.Stdin) //nolint:forbidigo // this is a process of its own
	defer cut()
	<-ctx.Done()
}

func newProcess(t *testing.T, mode string) (*workerProcess, <-chan int) {
	t.Helper()
	t.Setenv(childMode, mode)
	pids := make(chan int, 100)
	return &workerProcess{
		command: []string{os.Args[0]}, name: mode, stderr: io.Discard, log: testr.New(t),
		started: func(pid int) { pids <- pid }, grace: 100 * time.Millisecond,
	}, pids
}

func TestWorkerProcess_EndsWithItsContext(t *testing.T) {
	for _, mode := range []string{"obedient", "stubborn"} {
		t.Run(mode, func(t *testing.T) {
			p, pids := newProcess(t, mode)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- p.run(ctx) }()
			pid := <-pids
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := syscall.Kill(pid, 0); err == nil {
				t.Errorf("process %d is still there", pid)
			}
		})
	}
}

func TestWorkerProcess_IsReplacedWhenItEnds(t *testing.T) {
	p, pids := newProcess(t, "brief")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.run(ctx) }()
	first, second := <-pids, <-pids
	if first == second {
		t.Errorf("the same process %d twice", first)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A worker that was told that the job is over ends a moment before the job does. Nobody hears then that another one is started.
func TestWorkerProcess_ThatEndsInOrderIsNotReportedAtOnce(t *testing.T) {
	p, pids := newProcess(t, "done")
	ended := make(chan time.Time, 100)
	p.ended = func(string) { ended <- time.Now() }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- p.run(ctx) }()
	<-pids
	if waited := (<-ended).Sub(begin); waited < respawnDelay {
		t.Errorf("its end was reported after %v, want not before %v", waited, respawnDelay)
	}
	<-pids
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWorkerProcess_ThatCannotStart(t *testing.T) {
	p, _ := newProcess(t, "obedient")
	p.command = []string{"weir-no-such-program"}
	if err := p.run(t.Context()); err == nil || !strings.Contains(err.Error(), "starting a worker process") {
		t.Errorf("got %v, want an error that says so", err)
	}
}

// A parent that is killed takes its worker processes with it.
func TestWorkerProcess_DiesWithItsParent(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childMode+"=parent")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for range 100 {
		if gone(child) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("process %d outlived its parent", child)
	_ = syscall.Kill(child, syscall.SIGKILL)
}

// gone says whether a process has ended; one that nobody waits for stays as a zombie.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}
