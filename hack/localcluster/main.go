// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const usage = "usage: localcluster build [envtest] | up | load-image FILE... | signal COMPONENT STOP|CONT|KILL | status | down"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "localcluster:", err)
		os.Exit(1)
	}
}

// run does one command.
func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("localcluster", flag.ContinueOnError)
	state := f.String("state", "/var/lib/weir-localcluster", "folder for everything that the cluster keeps")
	if err := f.Parse(args); err != nil {
		return err
	}
	root, err := findRoot()
	if err != nil {
		return err
	}
	c := &cluster{root: root, bin: filepath.Join(root, "bin", "k8s"), state: *state, begin: time.Now()}
	args = f.Args()
	if len(args) == 0 {
		return errors.New(usage)
	}
	switch rest := args[1:]; args[0] {
	case "build":
		return c.alone(ctx, func(ctx context.Context) error { return c.build(ctx, len(rest) == 1 && rest[0] == "envtest") })
	case "up":
		return c.privileged(ctx, func(ctx context.Context) error { return c.alone(ctx, c.up) })
	case "down":
		return c.privileged(ctx, func(ctx context.Context) error { return c.alone(ctx, c.down) })
	case "status":
		return c.status()
	case "signal":
		if len(rest) != 2 {
			return errors.New("signal needs a COMPONENT, as status names them, and a signal: STOP, CONT or KILL")
		}
		return c.privileged(ctx, func(context.Context) error { return c.signal(rest[0], rest[1]) })
	case "load-image":
		if len(rest) == 0 {
			return errors.New("load-image needs at least one FILE")
		}
		return c.privileged(ctx, func(ctx context.Context) error { return c.loadImages(ctx, rest) })
	}
	return fmt.Errorf("unknown command %q: %s", args[0], usage)
}

// cluster is where things are.
type cluster struct {
	// root of the repository, bin for binaries, state for all else.
	root, bin, state string
	begin            time.Time
}

func (c *cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.state}, elem...)...)
}

func (c *cluster) sayf(format string, args ...any) {
	fmt.Printf("[%5.1fs] %s\n", time.Since(c.begin).Seconds(), fmt.Sprintf(format, args...))
}

func (c *cluster) privileged(ctx context.Context, f func(context.Context) error) error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("a local cluster needs root on Linux: use kind elsewhere, and CLUSTER=kind with make")
	}
	return f(ctx)
}

// alone does something while no other localcluster of this tree builds, starts or ends anything.
func (c *cluster) alone(ctx context.Context, f func(context.Context) error) error {
	if err := os.MkdirAll(c.bin, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(c.bin)
	if err != nil {
		return err
	}
	// Closing it gives the lock back, the end of the program, too.
	defer func() { _ = dir.Close() }()
	for said := false; ; said = true {
		err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f(ctx)
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("locking %s: %w", c.bin, err)
		}
		if !said {
			c.sayf("Waiting for another localcluster to finish")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// findRoot looks for the root of the repository from the working directory upwards.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "hack", "localcluster", "main.go")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run it inside the repository")
		}
	}
}

// command runs a program and returns what it printed, which is in the error, too.
func command(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
