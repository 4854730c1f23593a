// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMountPoints_AreOnlyThoseBelow(t *testing.T) {
	info := []byte(`22 1 8:1 / / rw - ext4 /dev/a rw
23 22 0:5 / /var/lib/weir rw - tmpfs tmpfs rw
24 23 0:6 / /var/lib/weir/run/a\040b rw - tmpfs tmpfs rw
25 23 0:7 / /var/lib/weir/kubelet/pods/x rw - tmpfs tmpfs rw
26 22 0:8 / /var/lib/weirdo/x rw - tmpfs tmpfs rw
broken
`)
	want := []string{"/var/lib/weir/run/a b", "/var/lib/weir/kubelet/pods/x"}
	if diff := cmp.Diff(want, mountPoints(info, "/var/lib/weir")); diff != "" {
		t.Error(diff)
	}
}

func TestStamp_ChangesWithWhatAPartIsBuiltFrom(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("go.mod", "module a")
	seen := map[string]string{}
	look := func(when string, p part) string {
		t.Helper()
		s, err := stamp(dir, p)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	p := part{name: "a", packages: []string{"."}}
	first := look("first", p)
	put("README", "text that isn't built")
	if look("a file that isn't built", p) != first {
		t.Error("a file that isn't built changes the stamp")
	}
	seen["first"] = first
	put("go.sum", "x")
	seen["go.sum"] = look("go.sum", p)
	put("main.go", "package main")
	seen["main.go"] = look("main.go", p)
	seen["packages"] = look("packages", part{name: "a", packages: []string{"./b"}})
	for name, s := range seen {
		for other, o := range seen {
			if name != other && s == o {
				t.Errorf("%s and %s have the same stamp", name, other)
			}
		}
	}
}

func TestLinkerFlags_NameTheVersionOfKubernetes(t *testing.T) {
	flags, err := linkerFlags("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(flags, "version.gitVersion=v1.") || !strings.Contains(flags, "version.gitMajor=1 ") {
		t.Errorf("got %q", flags)
	}
	if flags, err := linkerFlags("pause"); err != nil || flags != "-s -w" {
		t.Errorf("a part of the main module: got %q, %v", flags, err)
	}
}

// A process is known by its id and its start, so that a successor with the same id is never taken for it.
func TestCluster_KnowsItsProcesses(t *testing.T) {
	c := newTestCluster(t)
	if err := os.Symlink(lookPath(t, "sleep"), filepath.Join(c.bin, "sleeper")); err != nil {
		t.Fatal(err)
	}
	if err := c.start(component{name: "sleeper", args: []string{"1000"}}); err != nil {
		t.Fatal(err)
	}
	s, ok := c.running("sleeper")
	if !ok {
		t.Fatal("it doesn't run")
	}
	if other := (started{pid: s.pid, ticks: s.ticks + "0"}); other.alive() {
		t.Error("a process that started at another time is taken for it")
	}
	if err := c.start(component{name: "sleeper", args: []string{"1000"}}); err != nil {
		t.Fatal(err)
	}
	if again, _ := c.running("sleeper"); again != s {
		t.Error("it was started twice")
	}
	if err := s.end(time.Second); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.running("sleeper"); ok {
		t.Error("it still runs")
	}
}

// A process whose file is lost, because the program that started it was killed, is found by what it was started with.
func TestCluster_FindsProcessesThatNobodyRemembers(t *testing.T) {
	c := newTestCluster(t)
	if err := os.Symlink(lookPath(t, "tail"), filepath.Join(c.bin, "follower")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.logFile("other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := component{name: "follower", args: []string{"-f", c.logFile("other")}}
	if err := c.start(p); err != nil {
		t.Fatal(err)
	}
	s, _ := c.running("follower")
	t.Cleanup(func() { _ = s.end(time.Second) })
	if err := os.Remove(c.pidFile("follower")); err != nil {
		t.Fatal(err)
	}
	other := &cluster{bin: c.bin, state: t.TempDir()}
	if _, ok := other.running("follower"); ok {
		t.Error("another cluster takes it for its own")
	}
	if err := c.start(p); err != nil {
		t.Fatal(err)
	}
	if again, ok := c.remembered("follower"); !ok || again != s {
		t.Errorf("got %v %v, want %v to be written down again", again, ok, s)
	}
	if err := c.stop("follower"); err != nil {
		t.Fatal(err)
	}
	if s.alive() {
		t.Error("it still runs")
	}
}

// Whoever looks for a process right after it was started finds it, rather than starting another one.
func TestExecuted_HasArguments(t *testing.T) {
	sleep := lookPath(t, "sleep")
	var all sync.WaitGroup
	for range 8 { // side by side, for this program to go on before the one that it has started
		all.Go(func() {
			for range 100 {
				cmd := exec.Command(sleep, "1000")
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				s, err := executed(cmd.Process.Pid)
				if args := arguments(s.pid); err != nil || len(args) != 2 {
					t.Errorf("got the arguments %q, %v", args, err)
				}
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		})
	}
	all.Wait()
}

// A component must not hold a lock for ever that a caller holds around the program, as flock does.
func TestCluster_ComponentsDoNotGetTheFilesOfTheCaller(t *testing.T) {
	c := newTestCluster(t)
	if err := os.Symlink(lookPath(t, "sleep"), filepath.Join(c.bin, "sleeper")); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	inherited, err := syscall.Dup(int(lock.Fd())) // a copy isn't closed when another program is executed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(inherited) })
	if err := c.start(component{name: "sleeper", args: []string{"1000"}}); err != nil {
		t.Fatal(err)
	}
	s, _ := c.running("sleeper")
	t.Cleanup(func() { _ = s.end(time.Second) })
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.pid))
	if err != nil || len(files) < 3 {
		t.Fatalf("got %v, %v", files, err)
	}
	for _, f := range files {
		if target, err := os.Readlink(f); err == nil && target == lock.Name() {
			t.Errorf("%s is the caller's %s", f, target)
		}
	}
}

func TestRemoval_TakesOnlyChainsOfKubernetes(t *testing.T) {
	const saved = `# Generated by iptables-save
*mangle
:PREROUTING ACCEPT [0:0]
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OTHER - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -j OTHER
-A KUBE-SERVICES -j KUBE-MARK-MASQ
COMMIT
`
	const want = `*nat
-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-F KUBE-SERVICES
-F KUBE-MARK-MASQ
-X KUBE-SERVICES
-X KUBE-MARK-MASQ
COMMIT
`
	if diff := cmp.Diff(want, removal(saved)); diff != "" {
		t.Error(diff)
	}
	if got := removal("*nat\n:OTHER - [0:0]\nCOMMIT\n"); got != "" {
		t.Errorf("without such chains: got %q", got)
	}
}

// What lies in folders of others is removed only when it points into the cluster's own.
func TestRemoveIf_LeavesTheFilesOfOthers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"ours", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeIf(dir, func(file string) bool { return filepath.Base(file) == "ours" }); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(dir + "/*")
	if diff := cmp.Diff([]string{filepath.Join(dir, "other")}, left); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if err := removeIf(filepath.Join(dir, "none"), nil); err != nil {
		t.Errorf("a folder that isn't there: %v", err)
	}
}

// Two at a time would build and start everything twice.
func TestCluster_OneAtATime(t *testing.T) {
	c := newTestCluster(t)
	inside, leave, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- c.alone(t.Context(), func(context.Context) error { close(inside); <-leave; return nil })
	}()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	if err := c.alone(ctx, func(context.Context) error { t.Error("both are inside"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := c.alone(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Errorf("after the other: %v", err)
	}
}

func TestCluster_WaitTellsTheEndOfTheLog(t *testing.T) {
	c := newTestCluster(t)
	if err := os.WriteFile(c.logFile("none"), []byte("first\nwhat went wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := c.wait(t.Context(), "none", func(context.Context) error { return errors.New("not ready") })
	if err == nil || !strings.Contains(err.Error(), "what went wrong") || !strings.Contains(err.Error(), "it has ended") {
		t.Errorf("got %v", err)
	}
}

func TestCluster_RefusesWhatItDoesNotKnow(t *testing.T) {
	for _, args := range [][]string{nil, {"dance"}, {"load-image"}} {
		if err := run(t.Context(), args); err == nil {
			t.Errorf("%v was done", args)
		}
	}
}

func TestComponents_AreBuilt(t *testing.T) {
	c := newTestCluster(t)
	var built []string
	for _, p := range parts() {
		built = append(built, p.binaries()...)
	}
	for _, p := range c.components() {
		if !slices.Contains(built, p.name) {
			t.Errorf("nothing builds %s", p.name)
		}
	}
}

func newTestCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{root: t.TempDir(), bin: t.TempDir(), state: t.TempDir(), begin: time.Now()}
	for _, dir := range []string{"run", "log"} {
		if err := os.MkdirAll(c.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func lookPath(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
