// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// component is a long-running process of the cluster.
type component struct {
	name string
	args []string
	env  []string
}

// started is what is remembered of a process: its id and when it started, in clock ticks since boot, which together are
// never used again.
type started struct {
	pid   int
	ticks string
}

func (c *cluster) pidFile(name string) string { return c.path("run", name+".pid") }
func (c *cluster) logFile(name string) string { return c.path("log", name+".log") }

// running returns the process of a component, also one that no file remembers; false when it doesn't run.
func (c *cluster) running(name string) (started, bool) {
	if s, ok := c.remembered(name); ok && s.alive() {
		return s, true
	}
	return c.find(name)
}

// remembered returns what was written down of a component's process.
func (c *cluster) remembered(name string) (started, bool) {
	b, err := os.ReadFile(c.pidFile(name))
	if err != nil {
		return started{}, false
	}
	pid, ticks, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	n, err := strconv.Atoi(pid)
	return started{n, ticks}, err == nil
}

func (s started) alive() bool {
	ticks, state, err := processStart(s.pid)
	return err == nil && ticks == s.ticks && state != "Z"
}

// processStart returns when a process started, and its state.
func processStart(pid int) (ticks, state string, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "", err
	}
	// The name of the program, in parentheses, may hold anything; the fields follow the last one.
	const startTime = 22 - 3
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) <= startTime {
		return "", "", fmt.Errorf("reading the state of process %d: it has %d fields", pid, len(fields))
	}
	return fields[startTime], fields[0], nil
}

// start starts a component unless it runs.
func (c *cluster) start(p component) error {
	if s, ok := c.running(p.name); ok {
		return c.remember(p.name, s)
	}
	log, err := os.OpenFile(c.logFile(p.name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	keepFiles()
	// No context: it outlives this program.
	cmd := exec.Command(filepath.Join(c.bin, p.name), p.args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, c.state
	cmd.Env = append([]string{"PATH=" + c.bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + c.state}, p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	s, err := executed(cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	return errors.Join(c.remember(p.name, s), cmd.Process.Release())
}

// executed returns a process that has just been started, as soon as find can find it: for a moment after the kernel has
// closed the files of the program before, which is what exec.Cmd waits for, a process has no arguments. One that has ended
// already has none either.
func executed(pid int) (started, error) {
	for {
		ticks, state, err := processStart(pid)
		if err != nil || state == "Z" || len(arguments(pid)) > 0 {
			return started{pid, ticks}, err
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// keepFiles sees to it that no process gets the files that this program has got from the one that started it: a lock in one of
// them would be held as long as the cluster runs.
func keepFiles() {
	files, err := filepath.Glob("/proc/self/fd/[0-9]*")
	if err != nil {
		return // the pattern is right
	}
	for _, f := range files {
		if fd, err := strconv.Atoi(filepath.Base(f)); err == nil && fd > syscall.Stderr {
			syscall.CloseOnExec(fd)
		}
	}
}

func (c *cluster) remember(name string, s started) error {
	return write(c.pidFile(name), fmt.Sprintf("%d %s\n", s.pid, s.ticks), 0o644)
}

// end ends a process: first politely, after the grace for good.
func (s started) end(grace time.Duration) error {
	deadline := time.Now().Add(grace)
	_ = syscall.Kill(s.pid, syscall.SIGCONT)
	_ = syscall.Kill(s.pid, syscall.SIGTERM)
	for hard := false; s.alive(); time.Sleep(20 * time.Millisecond) {
		if time.Now().Before(deadline) {
			continue
		}
		if hard {
			return fmt.Errorf("process %d doesn't end", s.pid)
		}
		_ = syscall.Kill(s.pid, syscall.SIGKILL)
		hard, deadline = true, time.Now().Add(5*time.Second)
	}
	return nil
}

// signals are those that signal sends.
var signals = map[string]syscall.Signal{"STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT, "KILL": syscall.SIGKILL}

// signal sends a signal to a component, for tests of what happens without it. What was killed is started again by up.
func (c *cluster) signal(name, signal string) error {
	number, ok := signals[signal]
	if !ok {
		return fmt.Errorf("unknown signal %q: want STOP, CONT or KILL", signal)
	}
	s, ok := c.running(name)
	if !ok {
		return fmt.Errorf("sending SIG%s to %s: it doesn't run", signal, name)
	}
	if err := syscall.Kill(s.pid, number); err != nil {
		return fmt.Errorf("sending SIG%s to %s: %w", signal, name, err)
	}
	return nil
}

// wait waits until a component is ready; when it ends meanwhile, or takes too long, the end of its log is in the error.
func (c *cluster) wait(ctx context.Context, name string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		_, alive := c.running(name)
		if alive && ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		what := "it has ended"
		if alive {
			what = "it is not ready after " + readyTimeout.String()
		}
		return fmt.Errorf("%s: %s: %w\nthe end of %s:\n%s", name, what, err, c.logFile(name), tail(c.logFile(name)))
	}
}

// tail returns the last lines of a file.
func tail(file string) string {
	const lines = 15
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
